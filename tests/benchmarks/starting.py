"""Starting from a model against starting from nothing, by held-out loss: how many steps it saves.

    python -m tests.benchmarks.starting base BASE --steps 1000
    python -m tests.benchmarks.starting race BASE --seeds 1 2 3 --steps 300 --out FILE
    python -m tests.benchmarks.starting told FILE

`base` trains `tiny` on the emoji that are no animals, and keeps it. `race` learns three small sets
from nothing and from BASE (any model's folder): the animals among the emoji; drawn shapes; squares
of photographs, which nobody has described. --set changes what is from the base alone. The loss is
that of the averaged weights on held-out pictures, the mean over all noise levels, the same for
both. `told` reads the lines of JSON: how many times fewer steps the base takes to the loss that
nothing has after --at steps, and to the lowest that it has until then; then how low it comes
itself, and its loss after the last step of both, each in that of the other.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio
import torch
from PIL import Image

from sd.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from sd.checkpoints.model import Model
from sd.common.device import Machine, choose
from sd.common.paths import PACKAGE
from sd.config import Config
from sd.data.image_set import ImageSet, read_images
from sd.data.images import fit_picture
from sd.data.reading.report import Report
from sd.training.evaluation import evenly_spaced_rows, levels
from sd.training.loop import Training
from sd.training.monitoring import EVALUATED

SIDE, SHAPES = 32, 82  # pixels; as many drawings as there are animals
SETTINGS = ("training.batch_size=16", "training.held_out=0.3", "training.warmup_steps=10")
ANIMALS = (
    "cat dog monkey horse cow pig ram goat camel giraffe elephant mouse rat rabbit bear panda "
    "chicken bird penguin frog turtle snake whale fish octopus snail ant bee spider lion tiger fox "
    "wolf deer bat owl duck eagle shark crab lobster squid butterfly zebra gorilla"
)
PHOTOGRAPHS = ("cheetah.jpg", "cheetah1.jpg", "lion.jpg", "tower.jpg")  # that gradio brings along
TILES = 4  # squares of a photograph's short side
LOOKS = (8, 16, 24, 32, 40, 50, 75, 100, 150, 200, 250, 300, 400, 600, 800, 1000)
SLOW = 50  # steps before which nothing is looked at from nothing


def emoji(animals: bool) -> ImageSet:
    """Return the emoji that are animals, or those that are not."""
    found = read_images("starter", height=SIDE, width=SIDE, channels=3)
    words = [set(text.lower().split()) for text in found.captions or ()]
    return part(found, [bool(each & set(ANIMALS.split())) == animals for each in words])


def part(images: ImageSet, chosen: Sequence[bool]) -> ImageSet:
    """Return some pictures of a set."""
    rows = [row for row, is_in in enumerate(chosen) if is_in]
    captions = tuple((images.captions or ())[row] for row in rows)
    names = tuple(images.names[row] for row in rows)
    return ImageSet(images.pixels[rows], names, None, (), captions, images.report)


def shapes() -> ImageSet:
    """Return some drawn shapes with their captions."""
    found = read_images("shapes", height=SIDE, width=SIDE, channels=3)
    rows = set(evenly_spaced_rows(torch.arange(len(found.names)), SHAPES).tolist())
    return part(found, [row in rows for row in range(len(found.names))])


def photographs() -> ImageSet:
    """Return the squares that photographs are made of, without captions."""
    folder = Path(gradio.__file__).parent / "media_assets" / "images"
    places = [PACKAGE / "data" / "starter" / "cat.jpg", *(folder / name for name in PHOTOGRAPHS)]
    pixels, names = [], []
    for place in places:
        with Image.open(place) as file:
            picture = file.convert("RGB")
        side = min(picture.size) // TILES
        for left in range(0, picture.width - side + 1, side):
            for top in range(0, picture.height - side + 1, side):
                square = picture.crop((left, top, left + side, top + side))
                pixels.append(fit_picture(square, SIDE, SIDE, 3, "crop"))
                names.append(f"{place.stem} {left} {top}")
    report = Report(len(names), (), {}, {}, {}, 0, ())
    return ImageSet(torch.stack(pixels), tuple(names), None, (), None, report)


SETS = {"animals": lambda: emoji(True), "shapes": shapes, "photographs": photographs}


def held_out_losses(training: Training) -> Iterator[tuple[int, float]]:
    """Yield the mean held-out loss after each of the steps that are looked at."""
    rows = evenly_spaced_rows(training.held_out, EVALUATED)
    times = levels(training.diffusion.schedule.timesteps)
    for step in training.steps():
        if step.step in LOOKS and (step.step >= SLOW or training.taken is not None):
            yield step.step, round(statistics.mean(training._losses(rows, times)), 5)


def train_base(folder: Path, steps: int, machine: Machine) -> None:
    """Keep a model of the emoji that are no animals."""
    config = Config.preset("tiny").with_settings([f"training.steps={steps}"])
    training = Training(config, emoji(False), 0, machine)
    for step in training.steps():
        if step.step % 100 == 0:
            print(f"step {step.step}, loss {step.loss:.4f}", flush=True)
    save_checkpoint(training.model, folder, {"step": steps, "seed": 0})


def race(args: argparse.Namespace, machine: Machine) -> Iterator[dict[str, Any]]:
    """Yield the losses of every set and seed, from nothing and from the base."""
    config = Config.preset("tiny").with_settings([*SETTINGS, f"training.steps={args.steps}"])
    base = load_checkpoint(args.base)
    starts: dict[str, Model | None] = {"nothing": None, "base": base}
    for name in args.sets:
        images = SETS[name]()
        for seed in args.seeds:
            for start in args.starts:
                own = config.with_settings(args.set if start == "base" else [])
                begun = time.process_time()
                training = Training(own, images, seed, machine, start=starts[start])
                taken = "" if training.taken is None else training.taken.line
                yield {
                    "set": name,
                    "pictures": [len(training.rows), len(training.held_out)],
                    "seed": seed,
                    "from": start,
                    "settings": args.set if start == "base" else [],
                    "taken": taken,
                    "losses": dict(held_out_losses(training)),
                    "seconds": round(time.process_time() - begun),
                }


def reached(losses: Mapping[str, float], wanted: float) -> float:
    """Return the first step looked at whose loss is as low as wanted; infinite for none."""
    return min((int(step) for step, loss in losses.items() if loss <= wanted), default=math.inf)


def saved(own: Mapping[str, float], other: Mapping[str, float], at: int) -> dict[str, float]:
    """Return how many times fewer steps `own` takes to the loss of `other` at a step, and at its
    lowest up to there; `lowest` and `last`: its loss in that of the other, where both are lowest
    and after the last step of both.
    """
    until = {step: loss for step, loss in other.items() if int(step) <= at}
    best = min(until, key=until.__getitem__)
    last = max(own.keys() & other.keys(), key=int, default="")
    return {
        "times": at / reached(own, other[str(at)]),
        "times_to_lowest": int(best) / reached(own, other[best]),
        "lowest": min(own.values()) / min(other.values()),
        "last": own[last] / other[last] if last else math.nan,
        "last_step": int(last or 0),
    }


def tell(lines: Sequence[Mapping[str, Any]], at: int) -> Iterator[str]:
    """Yield a line for each run from a base: set against that from nothing of the same seed."""
    nothing = {(each["set"], each["seed"]): each for each in lines if each["from"] == "nothing"}
    for each in lines:
        other = nothing.get((each["set"], each["seed"]))
        if each["from"] == "nothing" or other is None or str(at) not in other["losses"]:
            continue
        found = saved(each["losses"], other["losses"], at)
        about = " ".join([each["set"], f"seed {each['seed']}", *each["settings"]])
        yield (
            f"{about}: {found['times']:.1f} times fewer steps to the loss after {at}, "
            f"{found['times_to_lowest']:.1f} to its lowest; lowest {found['lowest']:.3f} of it, "
            f"after {found['last_step']} steps {found['last']:.3f}"
        )


def main() -> None:
    """Train a base, race it, or tell what was found."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("command", choices=("base", "race", "told"))
    made.add_argument("base", type=Path, help="a model's folder; for told the file of lines")
    made.add_argument("--steps", type=int, default=300)
    made.add_argument("--at", type=int, default=300, help="steps from nothing to be reached")
    made.add_argument("--seeds", type=int, nargs="+", default=[1])
    made.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    made.add_argument(
        "--starts", nargs="+", choices=("nothing", "base"), default=["nothing", "base"]
    )
    made.add_argument("--set", action="append", default=[], help="of what is from the base")
    made.add_argument("--out", help="a file that gets the lines too")
    args = made.parse_args()
    if args.command == "told":
        found = args.base.read_text(encoding="utf-8").splitlines()
        print("\n".join(tell([json.loads(line) for line in found], args.at)))
        return
    machine = choose("cpu").apply()
    if args.command == "base":
        train_base(args.base, args.steps, machine)
        return
    for found in race(args, machine):
        line = json.dumps(found)
        print(line, flush=True)
        if args.out:
            with open(args.out, "a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
