"""Safetensors written one tensor after the other, so that no second copy of a model is held."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sd.checkpoints.pretrained.header import TORCH_TYPES

ALIGNED = 8  # bytes, as readers that map the file want it
NAMES = {getattr(torch, theirs): ours for ours, theirs in TORCH_TYPES.items()}


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    dtype: torch.dtype | None = None,
) -> None:
    """Write tensors as `dtype`, or as they are, in the order in which they come."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    place = 0
    for name, tensor in tensors.items():
        kind = dtype or tensor.dtype
        size = tensor.numel() * kind.itemsize
        header[name] = {
            "dtype": NAMES[kind],
            "shape": list(tensor.shape),
            "data_offsets": [place, place + size],
        }
        place += size
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            plain = tensor.detach().to("cpu", dtype or tensor.dtype).contiguous()
            numbers: Any = plain.reshape(-1).view(torch.uint8).numpy()
            file.write(memoryview(numbers))
