"""Are captions obeyed? A sample of a training caption should come nearest to that very picture.

Nearest is by the root mean square of the differences, in pixels of [-1, 1], among all pictures of
the set, held-out ones too. Told beside it: with both sides slightly blurred, which forgives a shift
of a pixel, and with every picture also taken mirrored, where training mirrored them.
"""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from sd import runs
from sd.checkpoints.model import Model
from sd.data.image_set import ImageSet, split
from sd.data.images import to_float
from sd.data.ingest import open_images
from tests.benchmarks.conditioning.asked import Way, samples, share, told
from tests.benchmarks.conditioning.digits import pictures_of

BLUR, KERNEL = 1.0, 5  # pixels: standard deviation and side


def trained_on(model: Model, path: str) -> tuple[ImageSet, Tensor]:
    """Return the pictures and the places of those in training that have captions.

    They are those of the run folder where it still has them, else the starter set.
    """
    kept = [folder / runs.PICTURES for folder in (Path(path), Path(path).parent)]
    there = next((folder for folder in kept if folder.is_dir()), None)
    images = pictures_of(model, "starter") if there is None else open_images(there)
    assert images.captions is not None, "the pictures have no captions"
    rows, _ = split(images, model.config.training.held_out, model.about["seed"])
    return images, torch.tensor([row for row in rows.tolist() if images.captions[row]])


def evenly(rows: Tensor, count: int) -> Tensor:
    """Return `count` of the rows, or all if there are fewer, evenly spread."""
    count = min(count, len(rows))
    return rows[torch.arange(count) * len(rows) // count]


def measure(model: Model, way: Way, path: str, count: int) -> dict[str, Any]:
    """Sample `count` captions, one seed each; return how often the right picture is nearest."""
    images, rows = trained_on(model, path)
    asked, captions = evenly(rows, count), images.captions or ()
    prompts = [captions[row] for row in asked.tolist()]
    made, pictures = samples(model, prompts, range(len(prompts)), way), to_float(images.pixels)
    plain = distances(made, pictures)
    variants = {"RMS in pixels": plain, "RMS after a blur": distances(blur(made), blur(pictures))}
    if model.config.training.flip:
        mirrored = torch.minimum(plain, distances(made, pictures.flip(3)))
        variants["RMS in pixels, mirrored or not"] = mirrored
    ranks = {name: places(each, asked) for name, each in variants.items()}
    return {
        "count": len(prompts),
        "pictures": len(pictures),
        "trained_on": len(rows),
        "right": {name: share([place == 1 for place in each]) for name, each in ranks.items()},
        "in_five": {name: share([place <= 5 for place in each]) for name, each in ranks.items()},
        "median": {name: statistics.median(each) for name, each in ranks.items()},
        "misses": misses(images, asked.tolist(), plain.argmin(1).tolist(), places(plain, asked)),
    }


def misses(
    images: ImageSet, asked: Sequence[int], nearest: Sequence[int], ranks: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the captions whose samples came nearer to another picture; place: of the asked one."""
    captions = images.captions or ()
    return [
        {"asked": captions[a], "nearest": captions[b] or images.names[b], "place": place}
        for a, b, place in zip(asked, nearest, ranks, strict=True)
        if place > 1
    ]


def blur(x: Tensor) -> Tensor:
    """Return pictures [N, C, H, W] under a Gaussian of one pixel."""
    blurred: Tensor = functional.gaussian_blur(x, [KERNEL, KERNEL], [BLUR, BLUR])
    return blurred


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Return the RMS difference of each of a [N, ...] to each of b [K, ...], float64 [N, K]."""
    return torch.cdist(a.flatten(1).double(), b.flatten(1).double()) / a[0].numel() ** 0.5


def places(distance: Tensor, wanted: Tensor) -> list[int]:
    """Return the place, 1 for the nearest, that each row of [N, K] gives to its wanted column."""
    own = distance.gather(1, wanted[:, None])
    return [1 + nearer for nearer in (distance < own).sum(1).tolist()]


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Return the result in words."""
    count = result["count"]
    yield f"{count} captions of the {result['trained_on']} in training, {result['pictures']} in all"
    for name, part in result["right"].items():
        five = result["in_five"][name]
        place = result["median"][name]
        yield (
            f"nearest by {name}: {told(part, count)} right; among the five nearest {five:.1%}; "
            f"median place {place:g}"
        )
    for miss in result["misses"]:
        yield f"  {miss['asked']} -> {miss['nearest']} (the asked one is number {miss['place']})"
