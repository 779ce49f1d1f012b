"""Starting from a model against starting from nothing, by held-out loss: how many steps it saves.

    python -m tests.benchmarks.starting [SEEDS] [BASE] [STEPS]

BASE is a bundled model, or a number of steps: a base that is trained so long on the emoji that are
no animals. Then the animals, some of them, are learned from nothing and from the base. The loss is
that of the averaged weights on held-out pictures, over all noise levels, the same for both.
"""

import sys
from collections.abc import Iterator

import torch

from sd.checkpoints.checkpoint import load_checkpoint
from sd.checkpoints.model import Model
from sd.common.device import Machine, choose
from sd.common.paths import PROJECT
from sd.config import Config
from sd.data.image_set import ImageSet, read_images
from sd.training.loop import Training

SETTINGS = ("training.batch_size=16", "training.held_out=0.3", "conditioning.kind=captions")
ANIMALS = [
    "cat",
    "dog",
    "monkey",
    "horse",
    "cow",
    "pig",
    "ram",
    "goat",
    "camel",
    "giraffe",
    "elephant",
    "mouse",
    "rat",
    "rabbit",
    "bear",
    "panda",
    "chicken",
    "bird",
    "penguin",
    "frog",
    "turtle",
    "snake",
    "whale",
    "fish",
    "octopus",
    "snail",
    "ant",
    "bee",
    "spider",
    "lion",
    "tiger",
    "fox",
    "wolf",
    "deer",
    "bat",
    "owl",
    "duck",
    "eagle",
    "shark",
    "crab",
    "lobster",
    "squid",
    "butterfly",
    "zebra",
    "gorilla",
]
LOOKS = (12, 25, 50, 75, 100, 150, 200, 300, 500, 1000)


def sets() -> tuple[ImageSet, ImageSet]:
    """Return the emoji that are no animals, and those that are."""
    found = read_images("starter", height=32, width=32, channels=3)
    captions = found.captions or ()
    animal = torch.tensor([bool(set(text.lower().split()) & {*ANIMALS}) for text in captions])
    return part(found, ~animal), part(found, animal)


def part(images: ImageSet, chosen: torch.Tensor) -> ImageSet:
    """Return some pictures of a set."""
    rows = torch.nonzero(chosen).flatten().tolist()
    return ImageSet(
        images.pixels[rows],
        tuple(images.names[row] for row in rows),
        None,
        (),
        tuple((images.captions or ())[row] for row in rows),
        images.report,
    )


def held_out_losses(training: Training, looks: tuple[int, ...]) -> Iterator[tuple[int, float]]:
    """Yield the mean held-out loss after each of some steps."""
    for step in training.steps():
        if step.step in looks:
            losses = training.evaluate().held_out or [float("nan")]
            yield step.step, sum(losses) / len(losses)


def train_base(others: ImageSet, steps: int, machine: Machine) -> Model:
    """Return a model of the emoji that are no animals."""
    settings = [*SETTINGS, f"training.steps={steps}", "training.batch_size=32"]
    training = Training(Config.preset("tiny").with_settings(settings), others, 0, machine)
    for _ in training.steps():
        pass
    return training.model


def main(seeds: int = 1, base: str = "1000", most: int = 300) -> None:
    """Print what is found."""
    machine = choose("cpu").apply()
    others, animals = sets()
    print(f"{len(others.names)} others, {len(animals.names)} animals", flush=True)
    config = Config.preset("tiny").with_settings(SETTINGS)
    model = (
        train_base(others, int(base), machine)
        if base.isdecimal()
        else load_checkpoint(PROJECT / "checkpoints" / base)
    )
    looks = tuple(look for look in LOOKS if look <= most)
    for seed in range(1, seeds + 1):
        own = config.with_settings([f"training.steps={most}", "training.warmup_steps=10"])
        for name, start in (("nothing", None), ("base", model)):
            training = Training(own, animals, seed, machine, start=start)
            taken = "" if training.taken is None else f" ({training.taken.line})"
            print(f"seed {seed}, from {name}{taken}:", flush=True)
            for step, loss in held_out_losses(training, looks):
                print(f"  {step:5d} {loss:.4f}", flush=True)


if __name__ == "__main__":
    asked = [*sys.argv[1:], *("1", "1000", "300")[len(sys.argv) - 1 :]]
    main(int(asked[0]), asked[1], int(asked[2]))
