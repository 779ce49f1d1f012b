"""Do the heat maps of words show where their things are? Measured where the answer is known.

For samples of shapes captions that follow their caption, the centre of mass of the strongest fifth
of a word's map lies inside the very shape that the word means, or it does not. Beside it: what
chance gives, what maps of other words give, and what other ways to average give.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sd.checkpoints.model import Model
from sd.data import shapes
from sd.data.images import to_array
from sd.networks.attention_maps.heatmaps import layer_names, word_map
from sd.networks.attention_maps.hooks import Recording
from tests.benchmarks.conditioning.asked import Way, device_of, share, told

BATCH = 25
ROLES = ("shape", "colour", "shape and colour", "other thing's shape", "relation")
THIRDS = ("first third", "middle third", "last third")  # of the steps


class Target(NamedTuple):
    """A word of a sample's caption, with the places of its tokens and the thing it is held to."""

    sample: int
    role: str
    thing: shapes.Thing
    places: list[int]


class Drawn(NamedTuple):
    """Samples uint8 [N, H, W, 3] with the heat of each target, [targets, thirds, layers, H, W].

    Heat is summed over the steps of a third; `counted` [thirds] tells how many those are.
    """

    pictures: NDArray[np.uint8]
    targets: list[Target]
    heat: Tensor
    counted: list[int]
    layers: list[str]


def strongest_region(heat: Tensor, share: float = 0.2) -> Tensor:
    """Return where a map [H, W] is strongest, bool [H, W]: exactly that share, at least a pixel."""
    wanted = max(1, round(share * heat.numel()))
    mask = torch.zeros(heat.numel(), dtype=torch.bool, device=heat.device)
    mask[heat.flatten().argsort(descending=True, stable=True)[:wanted]] = True
    return mask.view(heat.shape)


def centre_of_mass(heat: Tensor) -> tuple[float, float]:
    """Return the centre of mass (y, x) of a mask or map [H, W], in rows and columns from 0.

    Of a map that is zero everywhere it is the picture's middle.
    """
    mass = heat.double()
    if not float(mass.sum()):
        mass = torch.ones_like(mass)
    rows, columns = mass.sum(dim=1), mass.sum(dim=0)
    y, x = (
        float((line * torch.arange(len(line)).to(line)).sum() / line.sum())
        for line in (rows, columns)
    )
    return y, x


def captions(count: int) -> list[str]:
    """Return `count` captions, one in three of a single shape, in a random order."""
    source = random.Random(0)
    single = [each for each in shapes.captions() if not shapes.parse(each).second]
    double = [each for each in shapes.captions() if shapes.parse(each).second]
    return [source.choice(double if k % 3 else single) for k in range(count)]


def targets_of(model: Model, sample: int, caption: str) -> Iterator[Target]:
    """Yield the words of a caption whose maps are wanted, for each of its things."""
    assert model.conditioner is not None, "the model knows no words"
    asked = shapes.parse(caption)
    spans = [places for _, places in model.conditioner.spans(caption)]
    names = [spans[:2], spans[-2:]]
    things = [asked.first, *([asked.second] if asked.second else [])]
    for number, thing in enumerate(things):
        colour, shape = names[number]
        yield Target(sample, "shape", thing, shape)
        yield Target(sample, "colour", thing, colour)
        yield Target(sample, "shape and colour", thing, [*colour, *shape])
        if asked.second is not None:
            yield Target(sample, "other thing's shape", thing, names[1 - number][1])
            yield Target(sample, "relation", thing, spans[2])


def record(model: Model, prompts: Sequence[str], seeds: Sequence[int], way: Way) -> Drawn:
    """Sample the prompts in one batch, and add up the maps of their words step by step."""
    sampling, count = model.sampling(way.sampler, way.steps), len(prompts)
    targets = [each for k, text in enumerate(prompts) for each in targets_of(model, k, text)]
    denoiser, counted = way.denoiser(model, prompts), [0] * len(THIRDS)
    heat, layers = torch.empty(0), list[str]()
    with Recording(model.unet, count=count) as recording:
        for step in sampling.steps(denoiser, model.shape, seeds, device_of(model)):
            third = len(THIRDS) * (step.i - 1) // way.steps
            for call in recording.drain():
                if not layers:
                    layers = layer_names([call], "cross")
                    heat = torch.zeros(len(targets), len(THIRDS), len(layers), *model.shape[1:])
                counted[third] += 1
                for row, target in zip(heat[:, third], targets, strict=True):
                    of = (target.places, target.sample, count, model.shape[1:])
                    row += torch.stack([word_map([call], *of, layer).cpu() for layer in layers])
    return Drawn(to_array(step.x_t.cpu()), targets, heat, counted, layers)


class Scores:
    """Which centres lay inside, by role, steps and layers, and what chance would give."""

    def __init__(self) -> None:
        self.inside: dict[tuple[str, str, str], list[bool]] = {}
        self.areas: list[float] = []
        self.middles: list[bool] = []
        self.samples = self.followed = 0

    def add(self, prompts: Sequence[str], drawn: Drawn) -> None:
        """Score the samples that follow their prompts."""
        followed = {}
        for k, (prompt, picture) in enumerate(zip(prompts, drawn.pictures, strict=True)):
            if shapes.follows(prompt, picture):
                seen = shapes.find_shapes(picture)
                followed[k] = {shapes.Thing(each.colour, each.shape): each.mask for each in seen}
        self.samples += len(prompts)
        self.followed += len(followed)
        for target, heat in zip(drawn.targets, drawn.heat, strict=True):
            if target.sample in followed:
                self._score(target, heat, drawn, followed[target.sample][target.thing])

    def _score(self, target: Target, heat: Tensor, drawn: Drawn, mask: Any) -> None:
        if target.role == "shape":
            self.areas.append(float(mask.mean()))
            self.middles.append(bool(mask[mask.shape[0] // 2, mask.shape[1] // 2]))
        for steps, layers, each in variants(heat, drawn):
            y, x = centre_of_mass(strongest_region(each))
            inside = bool(mask[round(y), round(x)])
            self.inside.setdefault((target.role, steps, layers), []).append(inside)


def variants(heat: Tensor, drawn: Drawn) -> Iterator[tuple[str, str, Tensor]]:
    """Yield steps, layers and map [H, W] of each way to average heat [thirds, layers, H, W]."""
    yield "all steps", "all layers", heat.sum(0).mean(0) / sum(drawn.counted)
    for name, part, counted in zip(THIRDS, heat, drawn.counted, strict=True):
        if counted:
            yield name, "all layers", part.mean(0) / counted
    for name, part in zip(drawn.layers, heat.sum(0), strict=True):
        yield "all steps", name, part / sum(drawn.counted)


def measure(model: Model, way: Way, count: int) -> dict[str, Any]:
    """Sample `count` captions; return the shares of centres that lie inside, by way and role."""
    prompts, scores = captions(count), Scores()
    for first in range(0, count, BATCH):
        part = prompts[first : first + BATCH]
        seeds = range(first, first + len(part))
        scores.add(part, record(model, part, seeds, way))
    rows = [
        {"word": role, "steps": steps, "layers": layers, "inside": share(each), "of": len(each)}
        for (role, steps, layers), each in scores.inside.items()
    ]
    return {
        "samples": scores.samples,
        "followed": scores.followed,
        "things": len(scores.areas),
        "area": sum(scores.areas) / max(len(scores.areas), 1),
        "middle": share(scores.middles),
        "rows": sorted(rows, key=lambda row: ROLES.index(row["word"])),
    }


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Return the result in words."""
    yield (
        f"{result['followed']} of {result['samples']} samples follow their caption and count, "
        f"with {result['things']} shapes"
    )
    yield (
        f"by chance: a random pixel lies inside in {result['area']:.1%}, the picture's middle in "
        f"{result['middle']:.1%}"
    )
    for row in result["rows"]:
        inside = told(row["inside"], row["of"])
        yield f"word: {row['word']}; {row['steps']}; {row['layers']}: inside {inside}"
