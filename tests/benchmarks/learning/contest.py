"""The contest: what a competitor is, and the clock that stops while it is judged."""

import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor

from sd.data.image_set import ImageSet
from sd.data.images import to_pil
from tests.benchmarks.learning.curves import Point

SIDE, CHANNELS = 32, 1  # of the pictures
SAMPLER_STEPS = 50  # network calls of DDIM, for everyone


class Needs(NamedTuple):
    """A competitor's module, what it imports and how that is installed."""

    module: str
    imports: str
    package: str


COMPETITORS = {
    "ddpm": Needs("ddpm", "denoising_diffusion_pytorch", "denoising-diffusion-pytorch"),
    "diffusers": Needs("diffusers_recipe", "diffusers", "diffusers"),
    "ours": Needs("ours", "torch", "torch"),
}


class Task(NamedTuple):
    """What a competitor is given.

    images: those to train on. scratch: a folder to work in. seconds: of training in all. net: which
    network diffusers trains. settings: changes to the preset, for ours.
    """

    images: ImageSet
    scratch: Path
    seconds: float
    net: str
    settings: tuple[str, ...]


class Competitor(Protocol):
    """One that trains step by step; `changed` tells what is not its default."""

    batch: int
    parameters: int
    changed: tuple[str, ...]
    versions: dict[str, str]

    def steps(self) -> Iterator[int]:
        """Train; yield the number of each completed step, from 1."""

    def sample(self, seeds: Sequence[int]) -> Tensor:
        """Return pictures [N, 1, 32, 32] in [-1, 1]; torch is seeded with the first of `seeds`."""


class Verdict(NamedTuple):
    """The distance of so many samples, which took so many seconds to make."""

    distance: float
    samples: int
    seconds: float


def missing(name: str) -> str | None:
    """Return the line that says how to install what a competitor needs, where it is absent."""
    needs = COMPETITORS[name]
    return None if find_spec(needs.imports) else f"{name}: pip install {needs.package}"


def begin(name: str, task: Task) -> Competitor:
    """Return a competitor that is ready for its first step."""
    module = import_module(f"tests.benchmarks.learning.{COMPETITORS[name].module}")
    made: Competitor = module.begin(task)
    return made


def raced(
    competitor: Competitor,
    times: Sequence[float],
    judged: Callable[[], Verdict],
    now: Callable[[], float] = time.perf_counter,
) -> Iterator[Point]:
    """Train until each of `times`, in seconds of training, and judge there; yield the points.

    A step that has begun is finished. Time spent in `judged`, and by who reads the points, is no
    training time. A competitor that has no more steps is judged once more, and that was all.
    """
    steps, done, spent, going = competitor.steps(), 0, 0.0, True
    for due in times:
        began = now()
        while going and spent + now() - began < due:
            step = next(steps, 0)
            going, done = step > 0, step or done
        spent += now() - began
        verdict = judged()
        yield Point(due, spent, done, done * competitor.batch, *verdict)
        if not going:
            return


def unpack(images: ImageSet, folder: Path) -> Path:
    """Write pictures as PNG into a folder per class, as peers want them; return the folder."""
    assert images.labels is not None, "the race needs pictures with classes"
    rows = zip(images.pixels, images.labels.tolist(), strict=True)
    for number, (pixels, label) in enumerate(rows):
        home = folder / images.label_names[label]
        home.mkdir(parents=True, exist_ok=True)
        to_pil(pixels).save(home / f"{number:06d}.png")
    return folder
