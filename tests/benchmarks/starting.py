"""Starting from a model against starting from nothing, by held-out loss: how many steps it saves.

    python -m tests.benchmarks.starting [SEEDS] [BASE_STEPS]

A base is trained on the emoji that are no animals; then the animals, some of them, are learned from
nothing and from the base. The loss is that of the averaged weights on held-out pictures, over all
noise levels, the same for both. It prints a line a seed: the loss from nothing after so many steps,
and after how many steps from the base it was reached.
"""

import sys
from collections.abc import Iterator

import torch

from sd.checkpoints.model import Model
from sd.common.device import choose
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


def main(seeds: int = 1, base_steps: int = 1000, most: int = 300) -> None:
    """Print what is found."""
    machine = choose("cpu").apply()
    others, animals = sets()
    print(f"{len(others.names)} others, {len(animals.names)} animals", flush=True)
    config = Config.preset("tiny").with_settings(SETTINGS)
    longer = config.with_settings([f"training.steps={base_steps}", "training.batch_size=32"])
    base = Training(longer, others, 0, machine)
    for _ in base.steps():
        pass
    model: Model = base.model
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
    main(*map(int, sys.argv[1:]))
