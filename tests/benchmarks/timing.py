"""What the benchmarks of speed share: turns, ratios, the processor's peak, FLOPs and memory.

Variants take turns in one run, the order rotating; the first round warms up and does not count. A
variant whose settings belong to a whole process has a process of its own, which answers on a pipe.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import nn
from torch.profiler import ProfilerActivity
from torch.utils.flop_counter import FlopCounterMode

from sd.common.threads import share_cores
from sd.training.planning import memory

ROOT = Path(__file__).parent.parent.parent
LEAST_SECONDS = 0.5  # of work that is timed together
PEAK_SHAPES = ((64, 32), (128, 32), (256, 16))  # channels and side of the peak's convolutions
PEAK_BATCH, PEAK_TRIES = 16, 9
TOP = 12  # operators of a profile


class Ratio(NamedTuple):
    """The median of the rounds' own ratios, with the least and the greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, above: Sequence[float], below: Sequence[float]) -> "Ratio":
        """Return the ratio of times that were taken in the same rounds."""
        each = [a / b for a, b in zip(above, below, strict=True)]
        return cls(statistics.median(each), min(each), max(each))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call of `work` takes: the mean of as many as fill LEAST_SECONDS."""
    began, count, spent = time.perf_counter(), 0, 0.0
    while spent < LEAST_SECONDS:
        work()
        count, spent = count + 1, time.perf_counter() - began
    return spent / count


def alternate(works: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Let each work tell its seconds, in turn and in rotating order; the first round is lost."""
    names = list(works)
    times: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds + 1):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            elapsed = works[name]()
            if round_:
                times[name].append(elapsed)
    return times


def turns(asked: Mapping[str, "Child"], rounds: int, *words: object) -> dict[str, list[float]]:
    """Let processes answer the same words in turn, each with its seconds."""
    works = {name: partial(child.ask, *words) for name, child in asked.items()}
    return alternate(works, rounds)


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median of each variant's times."""
    return {name: statistics.median(each) for name, each in times.items()}


class Child:
    """A process of its own that answers: a line of words in, a line of JSON out."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        pipe, self.words = subprocess.PIPE, words
        self.process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            stdin=pipe,
            stdout=pipe,
            text=True,
            env={**os.environ, **environment},
        )

    def ask(self, *words: object) -> Any:
        """Return its answer; where it has died, end with its words (it has told why itself)."""
        assert self.process.stdin and self.process.stdout
        with suppress(BrokenPipeError):
            print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{' '.join(self.words)}: ended without an answer")
        return json.loads(answer)

    def end(self) -> None:
        """Close its input, at which it ends."""
        assert self.process.stdin
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


@contextmanager
def children(lines: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Child]]:
    """Start a process for each line of words; those called "ours..." begin as the page does."""
    started: dict[str, Child] = {}
    try:
        for name, words in lines.items():
            started[name] = Child(words, as_the_page() if name.startswith("ours") else {})
        yield started
    finally:
        for child in started.values():
            child.end()


def as_the_page() -> dict[str, str]:
    """Return what the page adds to its environment before it imports torch."""
    before = dict(os.environ)
    with patch.dict(os.environ):
        share_cores()
        return dict(os.environ.items() - before.items())


def serve(make: Callable[[], Mapping[str, Callable[..., Any]]]) -> None:
    """Answer each line of stdin, a name and whole numbers, by what `make` returns under the name.

    Whatever else is printed, by anyone, goes to stderr.
    """
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answers = make()
    for line in sys.stdin:
        name, *numbers = line.split()
        print(json.dumps(answers[name](*map(int, numbers))), file=pipe, flush=True)


def peak(dtype: torch.dtype = torch.float32) -> float:
    """Return this processor's FLOPs a second: the best of some 3x3 channels_last convolutions."""
    best = 0.0
    for channels, side in PEAK_SHAPES:
        laid: dict[str, Any] = {"dtype": dtype, "memory_format": torch.channels_last}
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(**laid)
        x = torch.randn(PEAK_BATCH, channels, side, side).to(**laid)
        with torch.no_grad():
            took = min(_once(convolution, x) for _ in range(PEAK_TRIES))
        best = max(best, 2 * x.numel() * 9 * channels / took)
    return best


def _once(work: Callable[..., object], *given: Any) -> float:
    began = time.perf_counter()
    work(*given)
    return time.perf_counter() - began


def flops(work: Callable[[], object]) -> int:
    """Return the FLOPs of the products and convolutions in one call, twice the multiply-adds."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def most_memory() -> int:
    """Return the bytes that this process has held at most so far (Linux)."""
    return memory._lines(memory.PROC / "self" / "status")["VmHWM"]


def profile(work: Callable[[], object]) -> list[tuple[str, float, int]]:
    """Return name, own milliseconds and calls of the operators of one call that cost most."""
    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as made:
        work()
    rows = sorted(made.key_averages(), key=lambda row: row.self_cpu_time_total, reverse=True)
    return [(row.key, row.self_cpu_time_total / 1000, row.count) for row in rows[:TOP]]


def peer(package: str) -> Any:
    """Import a package that is compared with; end with one line where it is not installed."""
    try:
        return import_module(package)
    except ImportError:
        raise SystemExit(f"{package} is needed here: pip install {package}") from None


def numbers(text: str) -> list[int]:
    """Return the whole numbers of "1,8,16", all of them positive."""
    found = [int(word) for word in text.split(",")]
    if min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be 1 or more each")
    return found


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes."""
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    parser.add_argument("--json", action="store_true", help="print JSON")


def tell(result: Mapping[str, Any], lines: Iterable[str], as_json: bool) -> None:
    """Print a result, as JSON or in words."""
    for line in [json.dumps(result)] if as_json else lines:
        print(line)
