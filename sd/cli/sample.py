"""The sample command: flags become a recipe, a recipe becomes pictures, in the form asked for.

`--recipe FILE.png` takes the recipe from a picture that was made before; `--at` leaves it on its
way.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from sd.checkpoints.closed_form_model import ClosedFormModel
from sd.checkpoints.closed_form_name import parse_name
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.choices import parse_place
from sd.cli.conditioning import read_branch_conditioning, read_conditioning, remarks
from sd.cli.like import take_like
from sd.cli.pictures import read_and_remark
from sd.common import validation
from sd.common.device import Machine, choose
from sd.common.encoding import png_bytes
from sd.common.outputs import Output, check_apart, check_free, make_place, output_of
from sd.common.text import brief, printable
from sd.common.validation import InputError
from sd.data import masks
from sd.data.images import fit_picture, read_picture, to_pil
from sd.data.masks import anew_of, fit_mask
from sd.data.reading.source import BUNDLED_SETS
from sd.diffusion.timesteps import most_steps
from sd.generation import export
from sd.generation.attention_pictures import AttentionRecorder, check_attention, write_attention
from sd.generation.price import size_factor_of
from sd.generation.recipe import MOST_PICTURES, Branch, Recipe, Start, from_json, parse_size
from sd.generation.registry import ModelEntry, digest, load_model, load_recipe_model, model_at
from sd.generation.save import FORMS, Generation, prepare_output, save
from sd.runs import default_home

COUNT = 16  # pictures, unless told
USUAL_OF_PUBLISHED = {"sampler": "dpmpp_2m", "steps": 20}  # unless told; each step takes seconds
MATMULS = ("mkl", "onednn")
DIGITS_DEPEND_ON = ("device", "threads", "matmul", "torch")  # of a machine's record
TYPED_AS_IS = ("sampler", "variance", "spacing")  # a recipe's own fields, as typed
NUMBERS = ("steps", "seed", "seed_to")
# What a recipe says itself, by flag: with --recipe only the output and the device are given.
OWN = {
    "checkpoint": "CHECKPOINT",
    "count": "--count",
    **{name: f"--{name.replace('_', '-')}" for name in (*NUMBERS, "eta", *TYPED_AS_IS, "no_clip")},
    **{name: f"--{name}" for name in ("label", "prompt", "negative", "guidance", "rescale")},
    "interval": "--interval",
    "unconditional": "--unconditional",
    "picture": "--from",
    "t": "--t",
    "mask": "--mask",
    "size": "--size",
    "grid": "--grid",
    "like": "--like",
}
OF_BRANCH = {  # what may differ from the step on at which a recipe is left
    *("steps", "seed", "eta", *TYPED_AS_IS, "label", "prompt", "negative", "guidance", "rescale"),
    *("interval", "unconditional"),
}


def sample(args: argparse.Namespace) -> None:
    """Sample pictures, as flags or a recipe tell, and write them."""
    out, attention = _outputs(args)
    if args.at is not None and args.recipe is None:
        raise InputError("--at: tell with --recipe FILE.png what is left at that step")
    generation, lines = _from_recipe(args) if args.recipe is not None else _from_flags(args)
    recorder = None if attention is None else record_attention(generation)
    steps = generation.steps(recorder)
    if isinstance(generation.source, Model):
        generation.source.release_text_encoder()
    out = prepare_output(out, generation.source.config.training.save_path)
    if attention is not None:
        make_place(attention)
    if args.keep_steps and out.form == ".png":
        lines.append("--keep-steps changes nothing: a sheet has the end alone; a folder has all")
    for line in lines:
        print(line, file=sys.stderr)
    save(out, steps, generation, args.keep_steps)
    if attention is not None and recorder is not None:
        write_attention(attention, recorder.record())
        print(f"where it looked: {args.attention}")
    count = len(generation.indices)
    print(f"{count} picture{'s' if count > 1 else ''} on {generation.machine.label}: {out.path}")


def _outputs(args: argparse.Namespace) -> tuple[Output | None, Output | None]:
    """Return what --out and --attention name, if they may be written."""
    out = check_output(args, FORMS)
    attention = None if args.attention is None else check_attention(args.attention)
    if attention is not None:
        check_free("--attention", attention, _files_read(args), args.overwrite)
    if out is not None and attention is not None:
        check_apart("--out", out, "--attention", attention)
    return out, attention


def check_output(args: argparse.Namespace, forms: Sequence[str]) -> Output | None:
    """Return what --out names, if it may be written; None where it names nothing."""
    if args.out is None:
        return None
    out = output_of("--out", args.out, forms)
    check_free("--out", out, _files_read(args), args.overwrite)
    return out


def _files_read(args: argparse.Namespace) -> list[Path]:
    """Return the files and folders that are read, in whose place nothing may be written."""
    given = (args.picture, args.mask, args.recipe, args.like)
    read = [Path(each) for each in given if each is not None]
    if args.checkpoint is not None:
        _, data = parse_name(args.checkpoint) or ("", args.checkpoint)
        read += [] if data in BUNDLED_SETS else [parse_place(data)[0]]
    return read


def record_attention(generation: Generation) -> AttentionRecorder:
    """Return a recorder of where the first picture looks; `InputError` for a closed form."""
    source, recipe = generation.source, generation.recipe
    if not isinstance(source, Model):
        raise InputError(
            f"--attention: {validation.shown(recipe.model)} has no attention to look at"
        )
    index = generation.index or 0
    prompt = recipe.prompts[index % len(recipe.prompts)] if recipe.prompts else ""
    words = [] if source.conditioner is None else source.conditioner.spans(prompt)
    return AttentionRecorder(source.unet, source.space, recipe.count, words, index, full=True)


def _from_flags(args: argparse.Namespace) -> tuple[Generation, list[str]]:
    """Return the sampling that the flags describe, and what there is to remark."""
    machine = choose(args.device).apply()
    entry = model_at(default_home(), place_of(args))
    source = load_model(entry, machine.device)
    return generation_of(args, entry, source, machine)


def generation_of(
    args: argparse.Namespace, entry: ModelEntry, source: Model | ClosedFormModel, machine: Machine
) -> tuple[Generation, list[str]]:
    """Return the sampling of a model that the flags describe, and what there is to remark."""
    lines = take_like(args)
    if args.size is not None:
        size = parse_size("--size", args.size)
        lines += size_remarks(source, size)
        source = source if size == source.space.picture_shape[1:] else source.resized(*size)
    recipe = recipe_of(args, entry, source)
    lines += remarks(args, recipe, source)
    if args.mask is not None:
        painted, under = (  # what there is to remark of the files was said when they were read
            read_picture(Path(each), each, transparency=True) for each in (args.mask, args.picture)
        )
        lines += masks.remarks(painted, under.size)
    return Generation(recipe, source, machine), lines


def _from_recipe(args: argparse.Namespace) -> tuple[Generation, list[str]]:
    """Return the sampling that a PNG's recipe describes, and what is not as it was."""
    for name, flag in OWN.items():
        if args.at is not None and name in OF_BRANCH:
            continue
        if getattr(args, name) is not None and getattr(args, name) is not False:
            raise InputError(f"--recipe: {flag} cannot be given; the recipe tells it")
    file = Path(args.recipe)
    try:
        carried = export.read_recipe(file)
        recipe = from_json(carried.get("recipe"))
        index = validation.whole("recipe: index", carried.get("index"), 0, recipe.count - 1)
    except InputError as error:
        raise InputError(f"{brief(printable(file.name))}: {error}") from error
    machine, remark = same_machine(carried.get("made"), args.device)
    source = load_recipe_model(default_home(), recipe, machine.device)
    wanted = None if carried.get("sheet") is True else index
    lines = [remark] if remark else []
    if args.at is not None:
        recipe = branch_of(args, recipe, source)
        lines += remarks(args, recipe, source)
    return Generation(recipe, source, machine, wanted), lines


def branch_of(args: argparse.Namespace, parent: Recipe, source: Model | ClosedFormModel) -> Recipe:
    """Return the recipe that leaves another after step --at; what no flag tells stays as it was."""
    at = validation.whole("--at", args.at, 1, max(1, parent.steps - 1))
    told = read_branch_conditioning(args, parent, source)
    settings = {"steps": parent.steps - at, **sampler_settings(args, source), **told}
    settings |= {"branch": Branch(parent, at), "start": None, "seed_to": None}
    return replace(parent, **settings)


def size_remarks(source: Model | ClosedFormModel, size: tuple[int, int]) -> list[str]:
    """Return the line about pictures of another size than a model's own, if they are."""
    own = source.space.picture_shape[1:]
    if size == own:
        return []
    times = size_factor_of(source.config, size)
    return [
        f"{size[0]}x{size[1]}: never trained, {own[0]}x{own[1]} was; a picture takes {times:.2g} "
        "times the operations"
    ]


def place_of(args: argparse.Namespace) -> str:
    """Return what CHECKPOINT names; `InputError` without one."""
    if args.checkpoint is None:
        raise InputError(
            "CHECKPOINT: give a checkpoint or run folder, a file of Stable Diffusion, ideal:DATA, "
            "linear:DATA, or --recipe"
        )
    return str(args.checkpoint)


def same_machine(made: Any, device: str) -> tuple[Machine, str]:
    """Return the machine of a file's record, set up, so that its pictures come out the same.

    Where it is another now, a line says so. `made` comes from anywhere: what is unfit is ignored.
    """
    record: Mapping[str, Any] = made if isinstance(made, dict) else {}
    usual = choose(device)
    if device == "auto":
        with suppress(InputError):
            usual = choose(record.get("device", device))
    with suppress(InputError):
        threads = validation.whole("threads", record.get("threads"), 1, os.cpu_count() or 1)
        usual = replace(usual, threads=threads)
    with suppress(InputError):
        usual = replace(usual, matmul=validation.choice("matmul", record.get("matmul"), MATMULS))
    here = usual.record()
    same = all(record.get(name) == here[name] for name in DIGITS_DEPEND_ON)
    remark = "" if same else "made on another machine or torch: the last digits may differ"
    return usual.apply(), remark


def recipe_of(
    args: argparse.Namespace, entry: ModelEntry, source: Model | ClosedFormModel
) -> Recipe:
    """Return the recipe that the flags describe."""
    settings = sampler_settings(args, source) | read_conditioning(args, source)
    if entry.published:
        settings = USUAL_OF_PUBLISHED | settings
    count = 1 if entry.published else COUNT
    return Recipe(
        entry.name,
        entry.step,
        digest(entry),
        clip_x0=not args.no_clip,
        count=validation.whole(
            "--count", count if args.count is None else args.count, 1, MOST_PICTURES
        ),
        size=None if args.size is None else source.space.picture_shape[1:],
        start=start_of(args, source),
        **settings,
    )


def sampler_settings(args: argparse.Namespace, source: Model | ClosedFormModel) -> dict[str, Any]:
    """Return a recipe's fields of sampler, steps and seed that the flags tell."""
    settings: dict[str, Any] = {
        name: validation.seed(OWN[name], value)
        for name in ("seed", "seed_to")
        if (value := getattr(args, name)) is not None
    }
    if args.steps is not None:
        most = most_steps(source.diffusion.schedule)
        settings["steps"] = validation.whole("--steps", args.steps, 1, most)
    settings |= {
        name: getattr(args, name) for name in TYPED_AS_IS if getattr(args, name) is not None
    }
    if args.eta is not None:
        settings["eta"] = validation.real("--eta", args.eta, 0, 1)
    return settings


def start_of(args: argparse.Namespace, source: Model | ClosedFormModel) -> Start | None:
    """Return the picture of --from at --t, and what of it is made anew."""
    if args.picture is None:
        for name in ("t", "mask"):
            if getattr(args, name) is not None:
                raise InputError(f"--{name}: tell with --from PICTURE which picture is meant")
        return None
    highest = source.diffusion.schedule.timesteps
    if args.t is None:
        raise InputError(f"--from: tell with --t how far it is noised, above 0, at most {highest}")
    t = validation.real("--t", args.t, 0, highest, above=True)
    picture, (channels, height, width) = read_and_remark(args.picture), source.space.picture_shape
    fit, mask = source.config.training.fit, None
    fitted = to_pil(fit_picture(picture, height, width, channels, fit))
    if args.mask is not None:
        drawn = anew_of(read_and_remark(args.mask))
        mask = png_bytes(Image.fromarray(fit_mask(drawn, picture.size, height, width, fit)))
    return Start(png_bytes(fitted), t, mask)
