"""Models on disk: safetensors, readable text and digests; never a pickle.

A checkpoint is a folder: `model.safetensors` (the averaged weights), `config.ini`,
`checkpoint.json` (step, seed, digests of the files) and `README.md`, its card for people and hubs;
`conditioning.json` with its classes or its vocabulary, where it is conditioned on any.
That of a run also holds `training.safetensors`, from which training goes on. It is written to a
temporary folder, flushed and renamed: there is a whole checkpoint or none.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sd.checkpoints.adapted import load_adapted
from sd.checkpoints.card import card
from sd.checkpoints.first_stage import read_first_stage, stored_tensors
from sd.checkpoints.model import Model
from sd.checkpoints.record import (
    ABOUT,
    CARD,
    CONFIG,
    FIRST_STAGE,
    FORMAT,
    LICENSE,
    RAIL_M,
    STATE,
    TRAINING,
    WEIGHTS,
    check_digests,
    checkpoint_label,
    member,
    newest_checkpoint,
    read_about,
    record_digest,
)
from sd.checkpoints.weights import (
    check_finite,
    check_kind,
    compare_shapes,
    empty_network,
    read_tensors,
)
from sd.common.disk import digest, write_folder
from sd.common.text import printable
from sd.common.validation import InputError
from sd.config import Config
from sd.networks.conditioning import conditioner_of
from sd.networks.conditioning_metadata import CONDITIONING, read_metadata

READ = (WEIGHTS, CONFIG, CONDITIONING, FIRST_STAGE)  # by whoever samples
DTYPES = {"float32": torch.float32, "float16": torch.float16}


def save_checkpoint(
    model: Model,
    folder: Path,
    about: Mapping[str, Any],
    training: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a model to a new `folder`, whole or not at all; return it.

    `about` (step, seed, ...) is kept in checkpoint.json beside format and digests. Weights are
    stored as training.weights_dtype says, the tensors of `training` as they are. Raises
    `InputError` if the folder is there already or a weight is not finite in that type, `OSError`
    if it cannot be written.
    """
    if folder.exists():
        raise InputError(f"{folder.name}: there is a checkpoint of that name already")
    dtype = DTYPES[model.config.training.weights_dtype]
    state = model.network.stored_state()
    weights = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in state.items()}
    check_finite(f"{folder.name} as {model.config.training.weights_dtype}", weights)
    on_card = {name: value for name, value in about.items() if name != STATE}
    parameters = sum(each.numel() for each in model.network.parameters())
    restricted = replace(model, about=about).is_restricted
    told = {LICENSE: RAIL_M} if restricted else {}
    texts = {
        CONFIG: model.config.to_ini(),
        CARD: card(model.config, parameters, on_card, restricted),
    }
    if model.conditioner is not None:
        texts[CONDITIONING] = json.dumps(model.conditioner.metadata(), ensure_ascii=False, indent=1)
    tensors: dict[str, Mapping[str, Tensor]] = {WEIGHTS: weights}
    if training is not None:
        tensors[TRAINING] = training
    if model.latents is not None and not model.config.training.lora_rank:
        tensors[FIRST_STAGE] = stored_tensors(model.latents)

    def write(target: Path) -> None:
        for name, each in tensors.items():
            try:
                save_file(dict(each), target / name, metadata={"format": "pt"})
            except SafetensorError as error:  # a full disk, say
                raise OSError(f"{folder.name}/{name} cannot be written: {error}") from error
        for name, words in texts.items():
            (target / name).write_text(words, encoding="utf-8")
        digests = {name: digest(target / name) for name in (*tensors, *texts) if name != CARD}
        record = {"format": FORMAT, **about, **told}
        record["sha256"] = {**digests, ABOUT: record_digest(record)}
        (target / ABOUT).write_text(json.dumps(record, indent=1), encoding="utf-8")

    write_folder(folder, write)
    return folder


def load_checkpoint(path: str | Path, device: str = "cpu") -> Model:
    """Read a model from a checkpoint folder, or the newest of a run folder, in float32.

    Raises `InputError` for a missing, damaged, foreign or mismatching file, with the reason.
    """
    folder = newest_checkpoint(Path(path))
    about = read_about(folder)
    weights = member(folder, WEIGHTS)
    check_kind(weights)
    check_digests(folder, about, [name for name in about["sha256"] if name in READ])
    config = Config.read(member(folder, CONFIG))
    if config.training.lora_rank:
        return load_adapted(folder, config, about, read_metadata(folder), device)
    if config.is_latent and FIRST_STAGE not in about["sha256"]:
        raise InputError(f"{checkpoint_label(folder)}: has no file {FIRST_STAGE}")
    unet = empty_network(config, weights.stat().st_size)
    with torch.device("meta" if config.conditioning.encoder is None else "cpu"):
        conditioner = conditioner_of(config, read_metadata(folder))
    latents = read_first_stage(folder, config).to(device) if config.is_latent else None
    model = Model(unet, config, about, conditioner, latents)
    wanted = {name: list(each.shape) for name, each in model.network.stored_state().items()}
    state = read_tensors(weights, partial(compare_shapes, WEIGHTS, wanted=wanted))
    model.network.load_stored(state, assign=True)
    model.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.network.eval().requires_grad_(False)
    return model


def load_training(folder: Path) -> dict[str, Tensor]:
    """Read the tensors from which training goes on, after checking every file of a checkpoint.

    Raises `InputError` for what is missing or damaged.
    """
    about = read_about(folder)
    if TRAINING not in about["sha256"]:
        label = checkpoint_label(folder)
        raise InputError(f"{label}: was kept without {TRAINING}, which resuming needs")
    check_digests(folder, about, [name for name in about["sha256"] if name != ABOUT])
    try:
        return load_file(folder / TRAINING)
    except (SafetensorError, OSError) as error:
        reason = printable(str(error))
        raise InputError(f"{TRAINING}: not readable as safetensors ({reason})") from None
