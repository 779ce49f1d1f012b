"""What recording costs where it is off: nothing, if its hooks really go.

Processes that sample the same pictures take turns: in one no recording was ever open, in one it was
open and is closed again, in one it is open. All their pictures should be the same bits.
"""

import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from sd.checkpoints.model import Model
from sd.common.threads import share_cores
from sd.networks.attention_maps.hooks import Recording
from tests.benchmarks.conditioning.asked import Way, device_of

ROOT = Path(__file__).resolve().parent.parent.parent.parent
STATES = ("never", "closed", "open")
PICTURES = 4


def sampled(model: Model, way: Way, recorded: bool = False) -> str:
    """Sample with guidance; return a digest of the pictures. What is recorded is thrown away."""
    conditioner = model.conditioner
    prompts = (conditioner.labels or conditioner.examples)[:PICTURES] if conditioner else ()
    sampling, denoiser = model.sampling(way.sampler, way.steps), way.denoiser(model, prompts)
    with Recording(model.unet) if recorded else nullcontext() as recording:
        for step in sampling.steps(denoiser, model.shape, range(PICTURES), device_of(model)):
            x = step.x_t
            if recording is not None:
                recording.drain()
    return hashlib.sha256(x.cpu().contiguous().numpy().tobytes()).hexdigest()


def child(model: Model, way: Way, state: str) -> None:
    """Answer each line of stdin with the seconds and the digest of one sampling."""
    sampled(model, way, recorded=state == "closed")  # warms up, too
    for _ in sys.stdin:
        began = time.perf_counter()
        digest = sampled(model, way, recorded=state == "open")
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "digest": digest}), flush=True)


class Child:
    """One of the processes that take turns."""

    def __init__(self, state: str, words: list[str]) -> None:
        line = [sys.executable, "-m", "tests.benchmarks.conditioning", "off", *words]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [*line, "--state", state], cwd=ROOT, stdin=pipe, stdout=pipe, text=True
        )

    def turn(self) -> dict[str, Any]:
        """Let it sample once."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        """Close its input, at which it ends."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def measure(words: list[str], rounds: int) -> dict[str, Any]:
    """Let the processes take turns; `words` are the model and the way, as typed."""
    share_cores()
    children = {state: Child(state, words) for state in STATES}
    told: dict[str, list[dict[str, Any]]] = {state: [] for state in STATES}
    try:
        for round_ in range(rounds + 1):
            for state in STATES if round_ % 2 else reversed(STATES):
                turn = children[state].turn()
                if round_:  # the first round warms up
                    told[state].append(turn)
    finally:
        for each in children.values():
            each.end()
    return summed(told)


def summed(told: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return medians, each state's ratios to "never" round by round, and whether bits are equal."""
    seconds = {state: [turn["seconds"] for turn in turns] for state, turns in told.items()}
    ratios = {
        state: [a / b for a, b in zip(seconds[state], seconds["never"], strict=True)]
        for state in STATES[1:]
    }
    digests = {state: {turn["digest"] for turn in turns} for state, turns in told.items()}
    return {
        "seconds": {state: statistics.median(each) for state, each in seconds.items()},
        "ratio": {state: statistics.median(each) for state, each in ratios.items()},
        "range": {state: [min(each), max(each)] for state, each in ratios.items()},
        "equal": {
            state: digests[state] == digests["never"] and len(digests[state]) == 1
            for state in STATES
        },
    }


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Return the result in words."""
    yield f"no recording was ever open: {result['seconds']['never']:.3f} s a sampling (median)"
    for state, ratio in result["ratio"].items():
        low, high = result["range"][state]
        bits = "the same bits" if result["equal"][state] else "OTHER bits"
        yield (
            f"recording {state}: {result['seconds'][state]:.3f} s, {ratio:.3f} times as long "
            f"({low:.3f} to {high:.3f}), {bits}"
        )
