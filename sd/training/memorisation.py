"""Memorisation: how near samples lie to the pictures that they were trained on.

The plain distance of two pictures is the root mean square of their differences. It alone misleads:
of two samples equally new, the small thing on white is nearer to everything. So a sample's distance
is divided by the mean distance to its own 50 nearest training pictures (Carlini et al. 2023,
"Extracting Training Data from Diffusion Models", section 5.1): 0 is the same picture, about 1 is as
far from the nearest as from others like it. The scale is the sample's own neighbourhood and not its
contrast, because a crowd of look-alikes (smileys, clock faces) is no sign of copying. Mirrored
copies are found with `flips`; shifted or turned ones count as farther than they are.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sd.data.images import to_float
from sd.training.likeness import LOW, Baseline

NEIGHBOURS = 50
MOST_COMPARED = 256  # pictures of a baseline
FEWEST_COMPARED = 3  # fewer give no figure
CHUNK_BYTES = 32 * 2**20  # of training pictures as float32 at once


class Nearest(NamedTuple):
    """The training picture nearest to each sample."""

    picture: Tensor  # int64 [N], index into the pixels
    distance: Tensor  # float32 [N], relative: 0 the same picture, about 1 its own


def find_nearest(
    samples: Tensor, pixels: Tensor, rows: Tensor | None = None, flips: bool = False
) -> Nearest:
    """Find the training picture nearest to each of `samples` [N, C, H, W] in [-1, 1].

    pixels: uint8 [M, C, H, W], may be memory-mapped and larger than the memory. rows: int64, the
    ones to look at; None for all. flips: whether a mirrored picture is the same picture.
    """
    rows = torch.arange(len(pixels)) if rows is None else rows
    queries = samples.detach().to("cpu", torch.float32)
    return _nearest(queries, pixels, rows, flips, torch.full((len(queries),), -1))


def measure_baseline(
    pixels: Tensor, train: Tensor, held_out: Tensor, flips: bool = False
) -> Baseline | None:
    """Return how near unseen pictures lie to the training pictures; None if there are too few.

    pixels: uint8 [M, C, H, W]; train, held_out: int64 indices into it. At most 256 held-out
    pictures, evenly spaced, are compared with all training pictures; where there are none, training
    pictures with all the others.
    """
    kind, queries = ("held_out", held_out) if len(held_out) else ("training", train)
    count = min(len(queries), MOST_COMPARED)
    queries = queries[torch.arange(count) * len(queries) // max(count, 1)]  # evenly spaced
    if len(queries) < FEWEST_COMPARED or len(train) < FEWEST_COMPARED:
        return None
    found = _nearest(to_float(pixels[queries]), pixels, train, flips, queries)
    low, median = torch.quantile(found.distance, torch.tensor([LOW, 0.5])).tolist()
    return Baseline(kind, len(queries), round(low, 4), round(median, 4))


def _nearest(queries: Tensor, pixels: Tensor, rows: Tensor, flips: bool, own: Tensor) -> Nearest:
    """Find the nearest pictures; `own` [N] is the row that each query itself is, or -1."""
    best = torch.full((len(queries), 0), torch.inf)  # the smallest distances so far, [N, K]
    picture = torch.empty((len(queries), 0), dtype=torch.int64)
    for chunk, pictures in _chunks(pixels, rows):
        distance = _distances(queries, pictures)
        if flips:
            distance = torch.minimum(distance, _distances(queries, pictures.flip(3)))
        distance[own[:, None] == chunk] = torch.inf
        best = torch.cat([best, distance], dim=1)
        picture = torch.cat([picture, chunk.expand(len(queries), -1)], dim=1)
        best, order = best.topk(min(NEIGHBOURS, best.shape[1]), largest=False)
        picture = picture.gather(1, order)
    there = best.isfinite()
    scale = best.where(there, 0).sum(1) / there.sum(1).clamp(min=1)
    return Nearest(picture[:, 0], best[:, 0] / scale.clamp(min=1e-12))


def _chunks(pixels: Tensor, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield row numbers [K] with their pictures [K, C, H, W] in [-1, 1], few at a time."""
    size = max(1, CHUNK_BYTES // (4 * max(pixels[0].numel(), 1)))
    for first in range(0, len(rows), size):
        chunk = rows[first : first + size]
        yield chunk, to_float(pixels[chunk])


def _distances(queries: Tensor, pictures: Tensor) -> Tensor:
    """Return the RMS difference of each query [N, ...] to each picture [K, ...]: [N, K].

    In float64: the squares of equal pictures must cancel.
    """
    a, b = queries.flatten(1).double(), pictures.flatten(1).double()
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    return (squares.clamp(min=0) / a.shape[1]).sqrt().float()
