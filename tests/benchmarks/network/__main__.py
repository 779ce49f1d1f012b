"""The network against its plain form, against inference engines, and against diffusers'.

    python -m tests.benchmarks.network [seed] [--preset seed] [--batches 1,8,16] [--bf16]
    python -m tests.benchmarks.network diffusers [--batches 1,8,32] [--bf16] [--profile [8]]

Both take --rounds 5 and --json; without a command it is `seed`. OpenVINO and ONNX Runtime take part
where they are installed: pip install openvino onnx onnxruntime. Each command's module tells what it
measures. Variants have processes of their own and alternate; figures are medians, ratios the
medians of the rounds' own with the least and the greatest. Nothing fails for being slow.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import timing
from tests.benchmarks.network import diffusers, seed
from tests.benchmarks.network.sides import SIDES, Side
from tests.benchmarks.network.variants import MAKERS, Variant

COMMANDS = {"seed": seed, "diffusers": diffusers}
HIDDEN = ("child", "side")  # what the processes are that these commands start


def parser() -> argparse.ArgumentParser:
    """Return the reader of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.network",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="|".join(COMMANDS))
    for name, module in COMMANDS.items():
        each = commands.add_parser(name, help=(module.__doc__ or "").partition("\n")[0])
        module.add_flags(each)
        timing.add_flags(each)
    child, side = (commands.add_parser(name) for name in HIDDEN)
    child.add_argument("variant", choices=MAKERS)
    child.add_argument("preset")
    side.add_argument("variant", choices=SIDES)
    side.add_argument("folder", type=Path)
    return made


def main(typed: Sequence[str]) -> None:
    """Measure and print, or answer as a variant."""
    known = {*COMMANDS, *HIDDEN, "-h", "--help"}
    words = parser().parse_args(typed if typed and typed[0] in known else ["seed", *typed])
    if words.command == "child":
        timing.serve(lambda: Variant(words.preset, words.variant).answers())
    elif words.command == "side":
        timing.serve(lambda: Side(words.variant, words.folder).answers())
    else:
        command = COMMANDS[words.command]
        result = command.measure(words)
        timing.tell(result, command.lines(result), words.json)


if __name__ == "__main__":
    main(sys.argv[1:])
