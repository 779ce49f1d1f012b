"""What training draws: the order of the pictures, their times, and the first weights.

Every draw is a function of (seed, purpose, step), so that nothing a consumer draws disturbs it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sd.common.randomness import keyed_generator
from sd.config import Config
from sd.networks.conditioning import Conditioner, conditioner_of
from sd.networks.unet import UNetModel


def batch_indices(pictures: int, batch: int, step: int, seed: int) -> Tensor:
    """Return which pictures [batch] step 1, 2, ... sees: whole permutations, one after another."""
    first = (step - 1) * batch
    epochs = range(first // pictures, (first + batch - 1) // pictures + 1)
    orders = [torch.randperm(pictures, generator=keyed_generator(seed, "order", e)) for e in epochs]
    start = first - epochs[0] * pictures
    return torch.cat(orders)[start : start + batch]


def draw_times(batch: int, timesteps: int, source: torch.Generator) -> Tensor:
    """Return one t in 1..T for each picture [batch], one from each of `batch` equal strata.

    Each t is uniform; together they cover all noise levels at every step, which calms the loss
    (Kingma et al. 2021, appendix I.1).
    """
    u = (torch.arange(batch) + torch.rand(batch, generator=source, dtype=torch.float64)) / batch
    return (u * timesteps).long().clamp(max=timesteps - 1) + 1


def new_network(config: Config, seed: int) -> UNetModel:
    """Return the network of a configuration with the initial weights of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(keyed_generator(seed, "weights", 0).initial_seed())
        return UNetModel.from_config(config.unet)


def new_conditioner(
    config: Config, metadata: Mapping[str, Any] | None, seed: int
) -> Conditioner | None:
    """Return the conditioner of settings and metadata with the initial weights of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(keyed_generator(seed, "conditioner", 0).initial_seed())
        return conditioner_of(config, metadata)
