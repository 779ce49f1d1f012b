"""The same small network with cross-attention, same weights: ours against diffusers'.

Forward, and a training step: forward, squared error, backward, AdamW. diffusers runs as its package
makes it, with the default allocator and its default attention; ours as the page and training run
it. First the outputs of both must agree.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tests.benchmarks import timing
from tests.benchmarks.network.convert import THEIRS, converted
from tests.benchmarks.timing import Child, Ratio

AGREE = 1e-4  # the greatest difference of outputs
COMPARED = 2  # pictures of which outputs are compared
WORKS = {"forward": 1.5, "step": 1.3}  # with the ratio that is wanted
TITLES = {"forward": "forward", "step": "training step"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add this command's own flags."""
    parser.add_argument("--batches", type=timing.numbers, default=[1, 8, 32])
    parser.add_argument("--bf16", action="store_true", help="ours in bfloat16, too")
    text = "print the operators that cost most, at this batch"
    parser.add_argument("--profile", type=int, nargs="?", const=8, metavar="BATCH", help=text)


def save_weights(folder: Path) -> None:
    """Write the weights of a new network of diffusers', under their names and under ours."""
    torch.manual_seed(0)
    state = timing.peer("diffusers").UNet2DConditionModel(**THEIRS).state_dict()
    save_file(state, folder / "diffusers.safetensors")
    save_file(converted(state), folder / "ours.safetensors")


def measure(words: argparse.Namespace) -> dict[str, Any]:
    """Compare the outputs, then let the sides take turns at each batch."""
    names = ["ours", "diffusers", *(["ours-bf16"] if words.bf16 else [])]
    with tempfile.TemporaryDirectory() as folder:
        save_weights(Path(folder))
        program = ["tests.benchmarks.network", "side"]
        with timing.children({name: [*program, name, folder] for name in names}) as asked:
            result = _facts(asked)
            result["rounds"] = words.rounds
            result["batches"] = [_batch(asked, batch, words.rounds) for batch in words.batches]
            result["peak"] = max(result["peak"], asked["ours"].ask("peak"))
            if words.profile:
                result["profile"] = _profiles(asked, words.profile)
    return result


def _facts(asked: Mapping[str, Child]) -> dict[str, Any]:
    """Return how far the outputs differ, FLOPs and the peak; fail where the weights do not fit."""
    outputs = {name: np.array(child.ask("output", COMPARED)) for name, child in asked.items()}
    theirs = outputs.pop("diffusers")
    differs = {name: float(np.abs(each - theirs).max()) for name, each in outputs.items()}
    assert differs["ours"] <= AGREE, f"the outputs differ by {differs['ours']:.1e}"
    flops, peak = asked["ours"].ask("flops"), asked["ours"].ask("peak")
    return {"differs": differs, "std": float(theirs.std()), "flops": flops, "peak": peak}


def _batch(asked: Mapping[str, Child], batch: int, rounds: int) -> dict[str, Any]:
    """Return times and ratios of both kinds of work at one batch."""
    found: dict[str, Any] = {"batch": batch}
    for work in WORKS:
        times = timing.turns(asked, rounds, work, batch)
        ratios = {
            name: Ratio.of(times["diffusers"], times[name]) for name in asked if name != "diffusers"
        }
        found[work] = {"seconds": timing.medians(times), "ratio": ratios}
    return found


def _profiles(asked: Mapping[str, Child], batch: int) -> list[dict[str, Any]]:
    return [
        {"side": name, "work": work, "batch": batch, "rows": child.ask(f"profile-{work}", batch)}
        for work in WORKS
        for name, child in asked.items()
    ]


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield the result in words."""
    flops, peak = result["flops"], result["peak"]
    yield f"{flops / 1e9:.2f} GFLOP a picture; peak {peak / 1e9:.0f} GFLOP/s in float32"
    yield f"the output's standard deviation is {result['std']:.2f}"
    for name, differs in result["differs"].items():
        yield f"{name} and diffusers differ by {differs:.1e} at most"
    for each in result["batches"]:
        for work, target in WORKS.items():
            yield from _compared(each, work, target, flops, peak)
    for each in result.get("profile", []):
        yield f"{each['side']}, {TITLES[each['work']]}, batch {each['batch']}: own time"
        for operator, milliseconds, calls in each["rows"]:
            yield f"  {milliseconds:9.2f} ms {calls:6d} times  {operator}"


def _compared(
    each: dict[str, Any], work: str, target: float, flops: int, peak: float
) -> Iterator[str]:
    """Yield a line for each way of ours."""
    seconds, done = each[work]["seconds"], each["batch"] * flops * (3 if work == "step" else 1)
    for name, ratio in each[work]["ratio"].items():
        yield (
            f"batch {each['batch']}, {TITLES[work]}: {name} {seconds[name]:.4f} s "
            f"({done / seconds[name] / peak:.0%} of the peak), diffusers "
            f"{seconds['diffusers']:.4f} s: {ratio} times as fast, target {target}"
        )
