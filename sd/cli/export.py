"""The ways out and in: export writes a model for other programs, pull fetches one of a hub."""

import argparse
import json
from pathlib import Path

from sd.checkpoints.adapted import write_lora
from sd.checkpoints.adapters.adding import MERGED
from sd.checkpoints.closed_form_model import ClosedFormModel
from sd.checkpoints.hub import fetch, is_pinned, look_up
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.building import open_pretrained
from sd.checkpoints.pretrained.choices import parse_place
from sd.checkpoints.pretrained.export import DTYPES, write_pipeline, write_single
from sd.checkpoints.pretrained.inspection import inspect
from sd.checkpoints.record import CONFIG
from sd.cli.pictures import read_and_remark
from sd.common import validation
from sd.common.outputs import check_free, make_place, output_of
from sd.common.validation import InputError
from sd.config import Config
from sd.generation.registry import load_model, model_at
from sd.runs import default_home
from sd.training.planning import memory

FORMS = (".safetensors",)


def export(args: argparse.Namespace) -> None:
    """Write a model, one's own or a published one, for other programs."""
    out = output_of("--out", args.out, FORMS)
    dtype = validation.choice("--dtype", args.dtype, list(DTYPES))
    read = [parse_place(args.model)[0]] + ([Path(args.thumbnail)] if args.thumbnail else [])
    check_free("--out", out, read, args.overwrite)
    if args.thumbnail and not out.is_file:
        raise InputError("--thumbnail: only a single file has one; a folder has none")
    entry = model_at(default_home(), args.model)
    if entry.checkpoint is not None:
        config = Config.read(entry.checkpoint / CONFIG)
        if config.training.lora_rank:
            if out.is_file:
                make_place(out)
            write_lora(entry.checkpoint, config, out.path)
            print(f"written: {out.path}")
            return
    if entry.published:  # a LoRA that is said becomes part of what is written
        model: Model | ClosedFormModel = open_pretrained(
            entry.place, room=memory.left(), merge=True
        )
    else:
        model = load_model(entry, "cpu")
    if not isinstance(model, Model):
        raise InputError(f"{args.model}: has no weights to write; it is its pictures")
    if out.is_file:
        picture = read_and_remark(args.thumbnail) if args.thumbnail else None
        make_place(out)
        write_single(model, out.path, dtype, picture)
    else:
        write_pipeline(model, out.path, dtype)
    for line in model.about.get(MERGED, ()):
        print(f"merged: {line}")
    print(f"written: {out.path}")


def pull(args: argparse.Namespace) -> None:
    """Tell what a model of the hub is and how large; fetch it where its revision is said."""
    model = look_up(args.place)
    pinned = is_pinned(args.place)
    if args.json:
        told = {"place": model.place, "bytes": model.bytes, "licence": model.licence}
        print(json.dumps({**told, "path": str(fetch(model)) if pinned else None}))
        return
    print(model.line, flush=True)
    if not pinned:
        print(f"nothing was fetched; to fetch it: python -m sd pull {model.place}")
        return
    path = fetch(model)
    try:
        print("\n".join(inspect(path).lines()))
    except InputError as error:  # as another text encoder, for conditioning.encoder
        print(error)
    print(f"fetched: {path}")
