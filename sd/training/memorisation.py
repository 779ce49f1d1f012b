"""Memorisation: how near samples lie to the pictures that they were trained on.

The plain distance of two pictures is the root mean square of their differences. It alone misleads:
of two samples equally new, the small thing on white is nearer to everything. So a sample's distance
is divided by the mean distance to its own 50 nearest training pictures (Carlini et al. 2023,
"Extracting Training Data from Diffusion Models", section 5.1): 0 is the same picture, about 1 is as
far from the nearest as from others like it. The scale is the sample's own neighbourhood and not its
contrast, because a crowd of look-alikes (smileys, clock faces) is no sign of copying. Mirrored
copies are found with `flips`; shifted or turned ones count as farther than they are.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sd.data.images import to_float
from sd.training.likeness import LOW, Baseline

NEIGHBOURS = 50
CANDIDATES = 2  # of which it is asked how an autoencoder gives them back
MOST_COMPARED = 256  # pictures of a baseline
FEWEST_COMPARED = 3  # fewer give no figure
CHUNK_BYTES = 32 * 2**20  # of training pictures as float32 at once


class Nearest(NamedTuple):
    """The training picture nearest to each sample."""

    picture: Tensor  # int64 [N], index into the pixels
    distance: Tensor  # float32 [N], relative: 0 the same picture, about 1 its own


def find_nearest(
    samples: Tensor,
    pixels: Tensor,
    rows: Tensor | None = None,
    flips: bool = False,
    given_back: Callable[[Tensor], Tensor] | None = None,
) -> Nearest:
    """Find the training picture nearest to each of `samples` [N, C, H, W] in [-1, 1].

    pixels: uint8 [M, C, H, W], may be memory-mapped and larger than the memory. rows: int64, the
    ones to look at; None for all. flips: whether a mirrored picture is the same picture.
    given_back: the pictures at some rows as an autoencoder gives them back, D(E(x)). A model on its
    latents copies those, so the few that are nearest are compared as they come back, too.
    """
    rows = torch.arange(len(pixels)) if rows is None else rows
    queries = samples.detach().to("cpu", torch.float32)
    found = _nearest(queries, pixels, rows, flips, torch.full((len(queries),), -1))
    if given_back is not None:
        found = found.refined(queries, given_back, flips)
    return found.relative()


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
    found = _nearest(to_float(pixels[queries]), pixels, train, flips, queries).relative()
    low, median = torch.quantile(found.distance, torch.tensor([LOW, 0.5])).tolist()
    return Baseline(kind, len(queries), round(low, 4), round(median, 4))


class _Found(NamedTuple):
    """The nearest pictures of each query, nearest first, and the scale of their distances."""

    pictures: Tensor  # int64 [N, K]
    distances: Tensor  # float32 [N, K]
    scale: Tensor  # float32 [N]

    def relative(self) -> Nearest:
        """Return the nearest one of each, its distance by the query's own scale."""
        return Nearest(self.pictures[:, 0], self.distances[:, 0] / self.scale.clamp(min=1e-12))

    def refined(
        self, queries: Tensor, given_back: Callable[[Tensor], Tensor], flips: bool
    ) -> "_Found":
        """Return the first few anew, by what is nearer: they themselves or as they come back."""
        pictures = self.pictures[:, :CANDIDATES]
        rows, place = torch.unique(pictures, return_inverse=True)
        back = given_back(rows).to("cpu", torch.float32)
        distance = _distances(queries, back)
        if flips:
            distance = torch.minimum(distance, _distances(queries, back.flip(3)))
        best = torch.minimum(self.distances[:, :CANDIDATES], distance.gather(1, place))
        distances, order = best.sort(dim=1)
        return _Found(pictures.gather(1, order), distances, self.scale)


def _nearest(queries: Tensor, pixels: Tensor, rows: Tensor, flips: bool, own: Tensor) -> _Found:
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
    return _Found(picture, best, scale)


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
