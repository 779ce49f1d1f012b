"""Models on disk: safetensors, readable text and digests; never a pickle.

A checkpoint is a folder: `model.safetensors` (the averaged weights), `config.ini`,
`checkpoint.json` (step, seed, digests of the files) and `README.md`, its card for people and hubs;
`conditioning.json` with its classes or its vocabulary, where it is conditioned on any.
That of a run also holds `training.safetensors`, from which training goes on. It is written to a
temporary folder, flushed and renamed: there is a whole checkpoint or none.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sd.checkpoints.card import card
from sd.checkpoints.model import Model
from sd.checkpoints.record import (
    ABOUT,
    CARD,
    CONFIG,
    FORMAT,
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
from sd.common.disk import digest, write_folder
from sd.common.text import brief, printable
from sd.common.validation import InputError
from sd.config import Config
from sd.networks.blueprint import blueprint
from sd.networks.conditioning import conditioner_of
from sd.networks.conditioning_metadata import CONDITIONING, read_metadata
from sd.networks.unet import UNetModel

READ = (WEIGHTS, CONFIG, CONDITIONING)  # by whoever samples
DTYPES = {"float32": torch.float32, "float16": torch.float16}
FLOATS = ("F32", "F16", "BF16")
NO_WEIGHTS = (  # what people upload instead, by its first bytes
    (b"\x80", "it is a pickle, which can run code; only safetensors are read"),
    (b"PK", "it is a zip (a torch pickle?), which can run code; only safetensors are read"),
    (b"version https://git-lfs", "it is a git-lfs pointer, not the file itself"),
    (b"<", "it is an HTML page, not the file itself"),
)


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
    _check_finite(f"{folder.name} as {model.config.training.weights_dtype}", weights)
    on_card = {name: value for name, value in about.items() if name != STATE}
    parameters = sum(each.numel() for each in model.network.parameters())
    texts = {CONFIG: model.config.to_ini(), CARD: card(model.config, parameters, on_card)}
    if model.conditioner is not None:
        texts[CONDITIONING] = json.dumps(model.conditioner.metadata(), ensure_ascii=False, indent=1)
    tensors = {WEIGHTS: weights, **({TRAINING: training} if training is not None else {})}

    def write(target: Path) -> None:
        for name, each in tensors.items():
            try:
                save_file(dict(each), target / name, metadata={"format": "pt"})
            except SafetensorError as error:  # a full disk, say
                raise OSError(f"{folder.name}/{name} cannot be written: {error}") from error
        for name, words in texts.items():
            (target / name).write_text(words, encoding="utf-8")
        digests = {name: digest(target / name) for name in (*tensors, *texts) if name != CARD}
        record = {"format": FORMAT, **about}
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
    _check_kind(weights)
    check_digests(folder, about, [name for name in about["sha256"] if name in READ])
    config = Config.read(member(folder, CONFIG))
    unet = _empty_network(config, weights.stat().st_size)
    with torch.device("meta" if config.conditioning.encoder is None else "cpu"):
        conditioner = conditioner_of(config, read_metadata(folder))
    model = Model(unet, config, about, conditioner)
    state = _read_weights(weights, model.network.stored_state())
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


def _empty_network(config: Config, size: int) -> UNetModel:
    """Return a configuration's network without storage, if weights of `size` bytes can be its.

    No weights take less than a byte each, so a few bytes never make a gigantic network.
    """
    unet, training = config.unet, config.training
    if unet.dims != 2:
        raise InputError(f"{CONFIG}: unet.dims = {unet.dims}: models of pictures have dims = 2")
    parameters = blueprint(unet, training.input_height, training.input_width).parameters
    if parameters > size:
        raise InputError(
            f"{CONFIG}: describes {parameters:,} parameters; {WEIGHTS} has only {size:,} bytes"
        )
    with torch.device("meta"):
        return UNetModel.from_config(unet)


def _check_kind(path: Path) -> None:
    """Raise `InputError` with what a file is instead of safetensors, whose text starts at byte 8.

    The eight bytes before are a length and may look like anything.
    """
    with path.open("rb") as file:
        head = file.read(64)
    for start, reason in NO_WEIGHTS:
        if head.startswith(start) and head[8:9] != b"{":
            raise InputError(f"{path.name}: {reason}")


def _read_weights(path: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the file's tensors as float32, after holding their names and shapes to `wanted`."""
    try:
        with safe_open(path, framework="pt") as stored:
            slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
            shapes = {name: part.get_shape() for name, part in slices.items()}
            _compare(path.name, shapes, {n: list(t.shape) for n, t in wanted.items()})
            for name, part in slices.items():
                if part.get_dtype() not in FLOATS:
                    raise InputError(f"{path.name}: {name} is stored as {part.get_dtype()}")
            state = {name: stored.get_tensor(name).float() for name in slices}
    except (SafetensorError, OSError) as error:
        reason = printable(str(error))
        raise InputError(f"{path.name}: not readable as safetensors ({reason})") from None
    _check_finite(path.name, state)
    return state


def _check_finite(label: str, weights: Mapping[str, Tensor]) -> None:
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{label}: {name} holds values that are not finite")


def _compare(file: str, found: Mapping[str, Sequence[int]], wanted: Mapping[str, Any]) -> None:
    """Raise `InputError` naming the first tensors that are missing, unknown or of another shape."""
    faults = [f"missing {name}" for name in wanted if name not in found]
    faults += [f"unknown {brief(printable(name))}" for name in found if name not in wanted]
    faults += [
        f"{name} is {list(found[name])}, not {shape}"
        for name, shape in wanted.items()
        if name in found and list(found[name]) != shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(f"{file}: not this network's: {'; '.join(faults[:3])}{more}")
