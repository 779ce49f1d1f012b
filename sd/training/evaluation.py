"""How well a model does: its mean error per noise level, each time on the same pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sd.checkpoints.model import Model
from sd.common.randomness import keyed_generator
from sd.training.monitoring import LEVELS

MEMORY_FORMAT = torch.channels_last


@dataclass(frozen=True)
class Evaluation:
    """Mean errors of what the network estimates, per noise level, before any weighting.

    times: the t of each level. held_out is None where no picture is held out.
    """

    times: list[int]
    train: list[float]
    held_out: list[float] | None


def levels(timesteps: int) -> list[int]:
    """Return the time in the middle of each noise level."""
    return [max(1, round((level + 0.5) / LEVELS * timesteps)) for level in range(LEVELS)]


@torch.no_grad()
def losses(
    model: Model, x0: Tensor, prompts: Tensor, times: Sequence[int], seed: int, size: int
) -> list[float]:
    """Return a model's mean error at each time on pictures x0 [B, C, H, W], `size` at once.

    prompts: the rows [B] or [B, L] of the pictures' prompts, which only a conditioner reads.
    """
    device = next(model.unet.parameters()).device
    found = []
    for level, t in enumerate(times):
        eps = torch.randn(x0.shape, generator=keyed_generator(seed, "evaluation", level))
        errors = []
        for pictures, noise, rows in zip(
            *(torch.split(each, size) for each in (x0, eps, prompts)), strict=True
        ):
            pictures, noise = (
                each.to(device, memory_format=MEMORY_FORMAT) for each in (pictures, noise)
            )
            network = partial(model.network, rows=rows.to(device))
            loss = model.diffusion.loss(network, pictures, torch.full((len(pictures),), t), noise)
            errors.append(loss.per_picture.cpu())
        found.append(float(torch.cat(errors).mean()))
    return found


def evenly_spaced_rows(rows: Tensor, count: int) -> Tensor:
    """Return `count` of the rows, or all if there are fewer, evenly spaced."""
    return rows[torch.linspace(0, len(rows) - 1, min(count, len(rows))).round().long()]
