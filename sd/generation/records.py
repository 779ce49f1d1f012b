"""A sampling as a stream of records that can be pickled, so that another process may make it.

Whoever consumes the stream needs neither the model nor its device: all tensors are on the CPU.
"""

from collections.abc import Generator, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from sd.diffusion.sampling import SampleStep
from sd.generation.pipeline import Source, begin_x, check, stream
from sd.generation.recipe import Recipe


class Replay(NamedTuple):
    """A step of a branch's parent had to be made again; `i` is its number there."""

    i: int


class Start(NamedTuple):
    """x [B, c, h, w] before the first step."""

    x: Tensor


Record = Replay | Start | SampleStep


def sample_records(
    recipe: Recipe,
    source: Source,
    device: torch.device | str,
    known: Mapping[Recipe, SampleStep] | None = None,
) -> Iterator[Record]:
    """Yield what a recipe's sampling comes to: replays, the start, and each completed step.

    known: of a recipe that another branches from, the step at which it is left, where that was
    kept; else it is made again. Raises `InputError`, before anything is made, where the recipe does
    not fit the model.
    """
    check(recipe, source)
    start = yield from _start(recipe, source, device, known or {})
    yield Start(start.cpu())
    for step in stream(recipe, source, device, start):
        yield step._replace(x_t=step.x_t.cpu(), x0=step.x0.cpu(), eps=step.eps.cpu())


def _start(
    recipe: Recipe, source: Source, device: torch.device | str, known: Mapping[Recipe, SampleStep]
) -> Generator[Replay, None, Tensor]:
    """Return x before a recipe's first step; yield the steps that had to be made again for it."""
    if recipe.branch is None:
        return begin_x(recipe, source, device)
    parent, at = recipe.branch.recipe, recipe.branch.at
    if (step := known.get(parent)) is None:
        start = yield from _start(parent, source, device, known)
        for step in islice(stream(parent, source, device, start), at):
            yield Replay(step.i)
    return begin_x(recipe, source, device, step)
