"""Samples that were asked for, and shares in words: what all figures here begin with."""

from argparse import Namespace
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sd.checkpoints.model import Model
from sd.diffusion.guidance import Denoiser, Guidance

BATCH = 50


class Way(NamedTuple):
    """How samples are made."""

    sampler: str
    steps: int
    guidance: float

    @classmethod
    def of(cls, words: Namespace) -> "Way":
        """Return the way that a command line asks for."""
        return cls(words.sampler, words.steps, words.guidance)

    def denoiser(self, model: Model, prompts: Sequence[str]) -> Denoiser:
        """Return the model asked for `prompts`, picture by picture."""
        return model.guided(list(prompts), guidance=Guidance((self.guidance,)))


def device_of(model: Model) -> torch.device:
    """Return where a model's weights are."""
    return next(model.unet.parameters()).device


def samples(model: Model, prompts: Sequence[str], seeds: Sequence[int], way: Way) -> Tensor:
    """Return one sample for each prompt and its seed, [N, C, H, W] in [-1, 1], on the CPU."""
    sampling, device = model.sampling(way.sampler, way.steps), device_of(model)
    made = []
    for first in range(0, len(prompts), BATCH):
        part = slice(first, first + BATCH)
        denoiser = way.denoiser(model, prompts[part])
        made.append(sampling.sample(denoiser, model.shape, seeds[part], device).cpu())
    return torch.cat(made)


def share(right: Sequence[bool]) -> float:
    """Return the share of what is right; 0 of nothing."""
    return sum(map(bool, right)) / max(len(right), 1)


def told(part: float, count: int) -> str:
    """Return a share of `count` in words."""
    return f"{part:.1%} ({round(part * count)} of {count})"
