"""Mild changes to each picture at each step: mirrored, shifted, turned, lighter or darker.

What moves in over the border is the picture mirrored at its edge, so no black corners are learned.
"""

import math

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from sd.config.sections import TrainingConfig


def is_on(training: TrainingConfig) -> bool:
    """Tell whether any augmentation is wanted."""
    return bool(training.flip or training.shift or training.rotation or training.brightness)


def augment(pixels: Tensor, training: TrainingConfig, source: torch.Generator) -> Tensor:
    """Return uint8 pictures [B, C, H, W], each changed by draws of its own from `source` (CPU).

    With all augmentations off the pictures are returned as they are and nothing is drawn.
    """
    count = len(pixels)
    if training.flip:
        mirrored = torch.rand(count, generator=source) < 0.5
        pixels = torch.where(rearrange(mirrored, "b -> b 1 1 1"), pixels.flip(-1), pixels)
    if training.shift or training.rotation:
        angle = _draw(count, training.rotation, source) * (math.pi / 180)
        down, right = (_draw(count, training.shift, source) for _ in range(2))
        pixels = _move(pixels, angle, down, right)
    if training.brightness:
        factor = 1 + _draw(count, training.brightness, source)
        lit = _to_bytes(pixels * rearrange(factor, "b -> b 1 1 1"))
        lit[:, 3:] = pixels[:, 3:]  # what is transparent stays so
        pixels = lit
    return pixels


def _draw(count: int, most: float, source: torch.Generator) -> Tensor:
    """Return `count` numbers, even in [-most, most]."""
    return (torch.rand(count, generator=source) * 2 - 1) * most


def _move(pixels: Tensor, angle: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return pictures turned by `angle` (radians) and shifted by shares of their sides.

    Shifts are by whole pixels, so that a picture that is only shifted stays sharp.
    """
    height, width = pixels.shape[-2:]
    y = 2 * torch.round(down * height) / height  # the grid runs from -1 to 1
    x = 2 * torch.round(right * width) / width
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Each result pixel is fetched from where it came from: turned in pixels, not in shares.
    across = torch.stack([cos, -sin * height / width, -x], dim=1)
    along = torch.stack([sin * width / height, cos, -y], dim=1)
    places = affine_grid(torch.stack([across, along], dim=1), list(pixels.shape), False)
    found = grid_sample(pixels.float(), places, "bilinear", "reflection", False)
    return _to_bytes(found)


def _to_bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
