"""A textual inversion in a file: vectors that a word of a prompt stands for (Gal et al. 2022)."""

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sd.checkpoints.pretrained.header import (
    FLOATS,
    file_label,
    load_torch,
    read_header,
    read_tensor,
)
from sd.checkpoints.weights import check_finite
from sd.common.text import printable
from sd.common.validation import InputError, shown
from sd.networks.clip.captions import ClipCaptions
from sd.networks.clip.prompt import ROOM
from sd.networks.conditioning import Conditioner

PLAIN = "emb_params"  # where AUTOMATIC1111's safetensors have the vectors
NESTED = "string_to_param"  # where its torch files have them, by "*"
OF_SDXL = ("clip_g", "clip_l")  # two encoders' vectors
WORD = re.compile(r"[^\s()\[\]:\\,]{1,64}")  # what the grammar of prompts does not take apart


class Embedding(NamedTuple):
    """What a file teaches: its word, and the vectors [K, D] that it stands for."""

    word: str
    vectors: Tensor


def read_embedding(path: Path) -> Embedding:
    """Return the embedding in a file of safetensors or torch, whose word is the file's name.

    Raises `InputError` for a file that holds none, and for one of several.
    """
    label = file_label(path)
    held = dict(_vectors(path))
    if any(name in held for name in OF_SDXL):
        raise InputError(f"{label}: is an embedding for SDXL, which reads with two encoders")
    if not held:
        raise InputError(f"{label}: holds no embedding")
    if len(held) > 1:
        raise InputError(f"{label}: holds {len(held)} tensors; an embedding is one")
    ((name, vectors),) = held.items()
    vectors = vectors.float()
    if vectors.ndim == 1:
        vectors = vectors[None]
    if vectors.ndim != 2 or not 1 <= len(vectors) <= ROOM:
        raise InputError(
            f"{label}: {printable(name)} is {list(vectors.shape)}; an embedding is 1 to {ROOM} "
            "vectors"
        )
    check_finite(label, {name: vectors})
    if not WORD.fullmatch(path.stem):
        raise InputError(
            f"{label}: its name is the word that prompts call it by: must be 1 to 64 characters "
            f"without spaces, commas, colons and brackets, not {shown(path.stem)}"
        )
    return Embedding(path.stem, vectors)


def _vectors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield what may be the vectors of an embedding, with their names."""
    if zipfile.is_zipfile(path):
        yield from _of_torch(load_torch(path))
        return
    found = read_header(path)
    for name, entry in found.entries.items():
        if entry.dtype in FLOATS:
            yield name, read_tensor(found, name)


def _of_torch(stored: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(stored, Tensor):
        yield PLAIN, stored.detach()
    elif isinstance(stored, Mapping) and isinstance(stored.get(NESTED), Mapping):
        yield from _of_torch(dict(stored[NESTED]))
    elif isinstance(stored, Mapping):
        for name, each in stored.items():
            if isinstance(name, str) and isinstance(each, Tensor) and each.is_floating_point():
                yield name, each.detach().to(torch.float32)


def learn_embedding(path: Path, conditioner: Conditioner | None) -> str:
    """Teach a model's conditioner the word of a file, and return it.

    Raises `InputError` for vectors of another width than its text encoder's, and for a model that
    reads otherwise than by CLIP.
    """
    if not isinstance(conditioner, ClipCaptions):
        raise InputError(f"{file_label(path)}: this model does not read prompts as CLIP does")
    word, vectors = read_embedding(path)
    conditioner.learn(word, vectors)
    return word
