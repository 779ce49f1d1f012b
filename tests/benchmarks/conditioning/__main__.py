"""Whether conditions are obeyed, and whether attention shows where: figures, not impressions.

    python -m tests.benchmarks.conditioning digits MODEL --data digits.zip [--count 500]
    python -m tests.benchmarks.conditioning starter MODEL [--count 50]
    python -m tests.benchmarks.conditioning shapes MODEL [--count 200]
    python -m tests.benchmarks.conditioning heat MODEL [--count 100]
    python -m tests.benchmarks.conditioning off MODEL [--rounds 5]

MODEL is a checkpoint or run folder. All take --guidance 2, --steps 25, --sampler dpmpp_2m,
--device auto and --json. Each command's module tells what it measures.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sd.checkpoints.checkpoint import load_checkpoint
from sd.checkpoints.model import Model
from sd.common import device
from tests.benchmarks.conditioning import digits, heat, off, shapes, starter
from tests.benchmarks.conditioning.asked import Way

COMMANDS = {"digits": digits, "starter": starter, "shapes": shapes, "heat": heat, "off": off}
COUNTS = {"digits": 500, "starter": 50, "shapes": 200, "heat": 100}


def parser() -> argparse.ArgumentParser:
    """Return the reader of the command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = made.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        each = commands.add_parser(name, help=(module.__doc__ or "").partition("\n")[0])
        each.add_argument("model", help="checkpoint or run folder")
        each.add_argument("--guidance", type=float, default=2.0)
        each.add_argument("--steps", type=int, default=25)
        each.add_argument("--sampler", default="dpmpp_2m")
        each.add_argument("--device", default="auto")
        each.add_argument("--json", action="store_true", help="print JSON")
        if name in COUNTS:
            each.add_argument("--count", type=int, default=COUNTS[name], help="samples")
    commands.choices["digits"].add_argument("--data", required=True, help="folder or zip")
    commands.choices["off"].add_argument("--rounds", type=int, default=5)
    commands.choices["off"].add_argument("--state", choices=off.STATES, help=argparse.SUPPRESS)
    return made


def load(words: argparse.Namespace) -> Model:
    """Set the machine up and load the model on it."""
    machine = device.choose(words.device).apply()
    return load_checkpoint(words.model, machine.device)


def measure(words: argparse.Namespace) -> dict[str, Any]:
    """Do what a command line asks for."""
    way = Way.of(words)
    if words.command == "off":
        typed = [f"--{name}={getattr(words, name)}" for name in (*Way._fields, "device")]
        return off.measure([words.model, *typed], words.rounds)
    model = load(words)
    if words.command == "digits":
        return digits.measure(model, way, words.data, words.count)
    if words.command == "starter":
        return starter.measure(model, way, words.model, words.count)
    return (shapes if words.command == "shapes" else heat).measure(model, way, words.count)


def told(words: argparse.Namespace, result: dict[str, Any], seconds: float) -> Iterator[str]:
    """Yield what to print."""
    asked = f"guidance {words.guidance:g}, {words.steps} steps of {words.sampler}"
    if words.json:
        settings = {name: getattr(words, name) for name in ("command", "model", *Way._fields)}
        yield json.dumps({**settings, **result, "took": seconds})
        return
    yield f"{words.model}: {asked}; {seconds:.0f} s in all"
    yield from COMMANDS[words.command].lines(result)


def main(typed: Sequence[str] | None = None) -> None:
    """Measure and print."""
    words = parser().parse_args(typed)
    if words.command == "off" and words.state:
        off.child(load(words), Way.of(words), words.state)
        return
    began = time.perf_counter()
    result = measure(words)
    for line in told(words, result, time.perf_counter() - began):
        print(line)


if __name__ == "__main__":
    main()
