"""What training draws its pictures from: pixels, changed a little each time, or latents."""

from typing import Protocol

import torch
from torch import Tensor

from sd.checkpoints.latent_set import LatentSet
from sd.config.sections import TrainingConfig
from sd.data.augment import augment
from sd.data.images import to_float


class TrainingData(Protocol):
    """Pictures by their places, as the network sees them: x_0 [B, c, h, w]."""

    def plain(self, rows: Tensor) -> Tensor:
        """Return pictures as they are."""

    def draw(self, rows: Tensor, source: torch.Generator) -> Tensor:
        """Return pictures as a step sees them, each changed by draws of its own from `source`."""


class PixelData:
    """Pictures themselves: uint8 [N, C, H, W]."""

    def __init__(self, pixels: Tensor, training: TrainingConfig) -> None:
        self.pixels, self.training = pixels, training

    def plain(self, rows: Tensor) -> Tensor:
        """Return pictures in [-1, 1]."""
        return to_float(self.pixels[rows])

    def draw(self, rows: Tensor, source: torch.Generator) -> Tensor:
        """Return pictures augmented as the settings say."""
        return to_float(augment(self.pixels[rows], self.training, source))


class LatentData:
    """Latents, encoded before; of a mirrored picture its own are taken."""

    def __init__(self, latents: LatentSet) -> None:
        self.latents = latents

    def plain(self, rows: Tensor) -> Tensor:
        """Return z of pictures."""
        return self.latents.z(rows)

    def draw(self, rows: Tensor, source: torch.Generator) -> Tensor:
        """Return z of pictures, or half of the time of their mirror images where there are any."""
        if self.latents.values.shape[1] == 1:
            return self.latents.z(rows)
        return self.latents.z(rows, (torch.rand(len(rows), generator=source) < 0.5).long())
