"""How well a model does: its mean error per noise level, each time on the same pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sd.checkpoints.model import Model
from sd.diffusion.loss import Network
from sd.networks.conditioning import Conditioner
from sd.training.randomness import stream

MEMORY_FORMAT = torch.channels_last
LEVELS, EVALUATED = 10, 32  # noise levels, and pictures at each


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
    model: Model, x0: Tensor, told: Tensor | None, times: Sequence[int], seed: int, size: int
) -> list[float]:
    """Return a model's mean error at each time on pictures x0 [B, C, H, W], `size` at once.

    told: the rows that its conditioner reads, one a picture; None for a model that is told nothing.
    """
    rows = torch.zeros(len(x0)) if told is None else told
    found = []
    for level, t in enumerate(times):
        eps = torch.randn(x0.shape, generator=stream(seed, "evaluation", level))
        parts = zip(*(torch.split(each, size) for each in (x0, eps, rows)), strict=True)
        errors = [_error(model, pictures, noise, words, t) for pictures, noise, words in parts]
        found.append(float(torch.cat(errors).mean()))
    return found


def _error(model: Model, x0: Tensor, eps: Tensor, rows: Tensor, t: int) -> Tensor:
    """Return the error at time t for each picture [B]."""
    device = next(model.network.parameters()).device
    x0, eps = (each.to(device, memory_format=MEMORY_FORMAT) for each in (x0, eps))
    network = told_network(model.network, model.conditioner, rows.to(device))
    return model.diffusion.loss(network, x0, torch.full((len(x0),), t), eps).per_picture.cpu()


def told_network(network: Network, conditioner: Conditioner | None, rows: Tensor) -> Network:
    """Return the network with what `rows` tell it of the pictures of a batch."""
    if conditioner is None:
        return network
    return partial(network, **conditioner(rows)._asdict())


def evenly_spaced_rows(rows: Tensor, count: int) -> Tensor:
    """Return `count` of the rows, or all if there are fewer, evenly spaced."""
    return rows[torch.linspace(0, len(rows) - 1, min(count, len(rows))).round().long()]
