"""A preset's network, forward only: ours against its plain form and against inference engines.

Every variant has a process of its own, since the allocator and the path of matrix products belong
to a process. All have the same weights, so their outputs are compared too: the greatest difference
is told in standard deviations of the output.
"""

import argparse
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from sd.config import PRESETS
from tests.benchmarks import timing
from tests.benchmarks.timing import Child, Ratio

ENGINES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}
NAMES = {"plain": "plain form", **ENGINES, "openvino-bf16": "OpenVINO in bfloat16"}
TARGETS = {("plain", 8): 2.3, ("openvino", 8): 1.15, ("openvino", 16): 1.15}  # of the seed's


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add this command's own flags."""
    parser.add_argument("--preset", choices=PRESETS, default="seed")
    parser.add_argument("--batches", type=timing.numbers, default=[1, 8, 16])
    parser.add_argument("--bf16", action="store_true", help="OpenVINO in bfloat16, too")


def variants(bf16: bool) -> list[str]:
    """Return the variants that can run here."""
    engines = [name for name in ENGINES if find_spec(name)]
    lower = ["openvino-bf16"] if bf16 and "openvino" in engines else []
    return ["ours", "plain", *engines, *lower]


def measure(words: argparse.Namespace) -> dict[str, Any]:
    """Let the variants take turns at each batch."""
    program = ["tests.benchmarks.network", "child"]
    lines = {each: [*program, each, words.preset] for each in variants(words.bf16)}
    with timing.children(lines) as asked:
        one = asked["ours"]
        result = {
            "preset": words.preset,
            "rounds": words.rounds,
            "label": one.ask("label"),
            "missing": [name for name in ENGINES if name not in lines],
            "flops": one.ask("flops"),
        }
        before = one.ask("peak")
        result["batches"] = [_batch(asked, batch, words.rounds) for batch in words.batches]
        result["peak"] = max(before, one.ask("peak"))
    return result


def _batch(asked: Mapping[str, Child], batch: int, rounds: int) -> dict[str, Any]:
    """Return times, ratios to ours and differences from ours at one batch."""
    ready = {name: child.ask("ready", batch) for name, child in asked.items()}
    outputs = {name: np.array(child.ask("output")) for name, child in asked.items()}
    times = timing.turns(asked, rounds, "forward")
    mine, others = outputs["ours"], [name for name in asked if name != "ours"]
    return {
        "batch": batch,
        "seconds": timing.medians(times),
        "ready": ready,
        "ratio": {name: Ratio.of(times[name], times["ours"]) for name in others},
        "differs": {
            name: float(np.abs(outputs[name] - mine).max() / mine.std()) for name in others
        },
    }


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield the result in words."""
    peak = result["peak"]
    yield (
        f"{result['preset']}'s network, float32, {result['label']}: "
        f"{result['flops'] / 1e9:.2f} GFLOP a picture; peak {peak / 1e9:.0f} GFLOP/s"
    )
    for name in result["missing"]:
        yield f"without {ENGINES[name]}: pip install {name}"
    for each in result["batches"]:
        took, done = each["seconds"]["ours"], result["flops"] * each["batch"]
        yield f"batch {each['batch']}: ours {took:.4f} s, {done / took / peak:.0%} of the peak"
        for name in each["ratio"]:
            yield _against(result["preset"], each, name)


def _against(preset: str, each: dict[str, Any], name: str) -> str:
    """Return a line about one other variant: how many times ours' time it takes."""
    target = TARGETS.get((name, each["batch"])) if preset == "seed" else None
    ratio, found = each["ratio"][name], f"  {NAMES[name]} {each['seconds'][name]:.4f} s: "
    if name == "plain":
        found += f"ours is {ratio} times as fast"
        wanted = f", target {target}" if target else ""
    else:
        inverse = Ratio(1 / ratio.median, 1 / ratio.high, 1 / ratio.low)
        found += f"ours takes {inverse} of its time"
        wanted = f", target at most {target}" if target else ""
        wanted += f"; ready in {each['ready'][name]:.1f} s"
    return f"{found}{wanted}; differs by {each['differs'][name]:.1e}"
