"""Weights in a file: safetensors alone, held to names, shapes and finite values before use."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sd.checkpoints.record import CONFIG, WEIGHTS
from sd.common.text import brief, printable
from sd.common.validation import InputError
from sd.config import Config
from sd.networks.blueprint import blueprint
from sd.networks.unet import UNetModel

FLOATS = ("F32", "F16", "BF16")
NO_WEIGHTS = (  # what people upload instead, by its first bytes
    (b"\x80", "it is a pickle, which can run code; only safetensors are read"),
    (b"PK", "it is a zip (a torch pickle?), which can run code; only safetensors are read"),
    (b"version https://git-lfs", "it is a git-lfs pointer, not the file itself"),
    (b"<", "it is an HTML page, not the file itself"),
)

PROOF = "sha256"  # among a file's metadata: the digest of its tensors

Shapes = Mapping[str, list[int]]


def check_kind(path: Path) -> None:
    """Raise `InputError` with what a file is instead of safetensors, whose text starts at byte 8.

    The eight bytes before are a length and may look like anything.
    """
    with path.open("rb") as file:
        head = file.read(64)
    for start, reason in NO_WEIGHTS:
        if head.startswith(start) and head[8:9] != b"{":
            raise InputError(f"{path.name}: {reason}")


def read_shapes(path: Path) -> dict[str, list[int]]:
    """Return the shapes of a file's tensors by name, of which none is read."""
    check_kind(path)
    try:
        with safe_open(path, framework="pt") as stored:
            return {name: stored.get_slice(name).get_shape() for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None


def write_proved(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors with their digest, by which `read_tensors` knows them to be undamaged.

    `OSError` where they cannot be written.
    """
    try:
        # No second entry: their order would be chance, and equal tensors make equal files.
        save_file(dict(tensors), path, metadata={PROOF: _digest(tensors)})
    except SafetensorError as error:  # a full disk, say
        raise OSError(f"{path.name} cannot be written: {error}") from error


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors and their names."""
    whole = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        whole.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def read_tensors(path: Path, check: Callable[[Shapes], None]) -> dict[str, Tensor]:
    """Return the file's tensors as float32, after `check` has seen their shapes.

    Raises `InputError` where they are not those of which the file has the digest, if it has one.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
            check({name: part.get_shape() for name, part in slices.items()})
            for name, part in slices.items():
                if part.get_dtype() not in FLOATS:
                    raise InputError(f"{path.name}: {name} is stored as {part.get_dtype()}")
            proof = (stored.metadata() or {}).get(PROOF)
            if proof is not None and proof != _digest({n: stored.get_tensor(n) for n in slices}):
                raise InputError(f"{path.name}: damaged, its SHA-256 is not the recorded one")
            state = {name: stored.get_tensor(name).float() for name in slices}
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None
    check_finite(path.name, state)
    return state


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path.name}: not readable as safetensors ({printable(str(error))})")


def check_finite(label: str, weights: Mapping[str, Tensor]) -> None:
    """Raise `InputError` naming the first tensor that holds what is no finite number."""
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{label}: {name} holds values that are not finite")


def compare_shapes(
    file: str, found: Mapping[str, Sequence[int]], wanted: Mapping[str, Any]
) -> None:
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


def empty_network(config: Config, size: int) -> UNetModel:
    """Return a configuration's network without storage, if weights of `size` bytes can be its.

    No weights take less than a byte each, so a few bytes never make a gigantic network.
    """
    unet = config.unet
    if unet.dims != 2:
        raise InputError(f"{CONFIG}: unet.dims = {unet.dims}: models of pictures have dims = 2")
    parameters = blueprint(unet, *config.latent_shape[1:]).parameters
    if parameters > size:
        raise InputError(
            f"{CONFIG}: describes {parameters:,} parameters; {WEIGHTS} has only {size:,} bytes"
        )
    with torch.device("meta"):
        return UNetModel.from_config(unet)
