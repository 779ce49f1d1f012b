"""The reference's weights and inputs, made again from their names (see tests/fixtures/parity)."""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sd.networks.unet import UNetModel

FOLDER = Path(__file__).parents[1] / "fixtures" / "parity"


def normal(name: str, shape: list[int]) -> np.ndarray:
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    return rng.standard_normal(shape).astype(np.float32)


def weight(name: str, shape: list[int]) -> Tensor:
    n = normal(name, shape)
    if len(shape) >= 2:
        n = n / np.float32(np.sqrt(np.prod(shape[1:])))
    elif name.endswith(".weight"):
        n = 1 + np.float32(0.05) * n
    else:
        n = np.float32(0.05) * n
    return torch.from_numpy(n.astype(np.float32))


@dataclass
class Fixture:
    name: str
    spec: dict[str, Any]

    def network(self) -> UNetModel:
        with torch.device("meta"):
            return UNetModel(**self.spec["config"])

    def filled(self) -> UNetModel:
        network = self.network()
        shapes = {name: list(t.shape) for name, t in network.state_dict().items()}
        state = {name: weight(name, shape) for name, shape in shapes.items()}
        network.load_state_dict(state, assign=True)
        return network.eval()

    def inputs(self) -> dict[str, Tensor | None]:
        spec = self.spec
        context = spec["context_shape"]
        labels = spec["labels"]
        return {
            "x": torch.from_numpy(normal(f"{self.name}/x", spec["x_shape"])),
            "timesteps": torch.tensor(spec["timesteps"]),
            "context": torch.from_numpy(normal(f"{self.name}/context", context))
            if context
            else None,
            "y": torch.tensor(labels) if labels else None,
        }

    def output(self) -> Tensor:
        with np.load(FOLDER / f"{self.name}.npz", allow_pickle=False) as stored:
            return torch.from_numpy(stored["out"])


def fixture(name: str) -> Fixture:
    return Fixture(name, json.loads((FOLDER / f"{name}.json").read_text()))
