"""The learning race: what equal training time on digits comes to, here and with two libraries.

    python -m tests.benchmarks.learning race digits.zip --minutes 8 --out race
    python -m tests.benchmarks.learning one ours digits.zip --minutes 2 --out race [--name NAME]
        [--set section.key=value ...]
    python -m tests.benchmarks.learning table race
    python -m tests.benchmarks.learning plot race --out curves.svg

DATA is a folder or zip of grey digits in class folders. Nine tenths are trained on, at 32 pixels;
the rest judge: the figure is the Frechet distance of 1,000 samples to them, in the features of a
small classifier (tests/benchmarks/digits.py) trained on the nine tenths. Real training pictures,
as many, give the floor.

Each competitor trains in a process of its own, one after the other, on two threads of the CPU; its
clock stops while samples are made. All sample by DDIM with 50 network calls, as each library does
it, from averaged weights. `ddpm` is denoising-diffusion-pytorch, `diffusers` the recipe of its
training example, `ours` the preset `tiny`: their modules here tell what is as published and
what is not. One seed each: a difference of a few per cent means nothing.

A curve is kept as FOLDER/NAME.json with a sheet of 64 samples, none picked, as FOLDER/NAME.png; one
that is there is not computed again without --again. Ours is judged at the times of --at, in
seconds, the others, whose sampling is slow, at those of --peers-at and at the end. RESULTS.md's
curves are kept in tests/benchmarks/race: with `--out` there, `one ours DATA --again` runs ours
alone beside them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from sd.common.disk import write_text
from sd.common.validation import InputError, file_name, real, whole
from tests.benchmarks.learning.contest import COMPETITORS, Competitor, Task, begin, missing, raced
from tests.benchmarks.learning.curves import (
    Curve,
    Point,
    in_words,
    judged_times,
    read_curves,
    table,
)
from tests.benchmarks.learning.judging import Jury
from tests.benchmarks.learning.plot import plot

ROOT = Path(__file__).resolve().parent.parent.parent.parent
SAMPLES, THREADS, MINUTES = 1000, 2, 8.0
AT = "40,120,240,480"
NETS = ("course", "example")


def parser() -> argparse.ArgumentParser:
    """Return the reader of the command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = made.add_subparsers(dest="command", required=True)
    for name in ("race", "one"):
        each = commands.add_parser(name)
        if name == "one":
            each.add_argument("competitor", choices=COMPETITORS)
            each.add_argument("--name", help="of the curve; the competitor's unless told")
            each.add_argument("--set", action="append", default=[], metavar="section.key=value")
        each.add_argument("data", metavar="DATA", help="folder or zip")
        each.add_argument("--out", required=True, metavar="FOLDER", type=Path)
        each.add_argument("--minutes", type=float, default=MINUTES, help="of training")
        each.add_argument("--at", type=times_of, default=AT, metavar="SECONDS,...")
        each.add_argument("--peers-at", type=times_of, default="", metavar="SECONDS,...")
        each.add_argument("--diffusers-net", choices=NETS, default=NETS[0])
        each.add_argument("--samples", type=int, default=SAMPLES, help="fewer only to try it")
        each.add_argument("--threads", type=int, default=THREADS)
        each.add_argument("--again", action="store_true", help="compute what is there already")
    for name in ("table", "plot"):
        each = commands.add_parser(name)
        each.add_argument("folder", metavar="FOLDER", type=Path)
    commands.choices["plot"].add_argument("--out", required=True, metavar="FILE.svg", type=Path)
    for name in ("race", "one", "table"):
        commands.choices[name].add_argument("--json", action="store_true", help="print JSON")
    return made


def times_of(words: str) -> list[float]:
    """Return times from words like "40,120"."""
    return [float(word) for word in words.split(",") if word]


def race(words: argparse.Namespace) -> None:
    """Let every competitor train in a process of its own, unless its curve is there."""
    names = [name for name in COMPETITORS if words.again or not path_of(words, name).is_file()]
    lines = list(filter(None, map(missing, names)))
    if lines:
        raise InputError("; ".join(lines))
    flags = [
        f"--{name}={getattr(words, name)}" for name in ("out", "minutes", "samples", "threads")
    ]
    for name in ("at", "peers_at"):
        flags.append(f"--{name.replace('_', '-')}={','.join(map(str, getattr(words, name)))}")
    flags += [f"--diffusers-net={words.diffusers_net}", "--again"]
    for name in names:
        line = [sys.executable, "-m", "tests.benchmarks.learning", "one", name, words.data, *flags]
        subprocess.run(line, check=True, stdout=sys.stderr if words.json else None)
    show(read_curves(words.out), words.json)


def path_of(words: argparse.Namespace, name: str) -> Path:
    """Return where a curve of this name is kept."""
    return words.out / f"{file_name('--name', name)}.json"


def one(words: argparse.Namespace) -> None:
    """Train one competitor, judge it, and keep its curve and its sheet."""
    name = words.name or words.competitor
    path = path_of(words, name)
    if path.is_file() and not words.again:
        print(f"{path}: there already; --again computes it anew", file=sys.stderr)
    else:
        words.out.mkdir(parents=True, exist_ok=True)
        set_up(words)
        jury = Jury(words.data, words.out, words.samples)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            seconds = 60 * real("--minutes", words.minutes, 0.001, 10_000)
            settings = tuple(words.set)
            task = Task(jury.images, Path(scratch), seconds, words.diffusers_net, settings)
            competitor = begin(words.competitor, task)
            points = judged(words, name, competitor, jury, seconds)
        curve_of(words, name, competitor, jury, points).write(path)
        jury.write_sheet(path.with_suffix(".png"))
    if words.json:
        show([Curve.read(path)], True)


def set_up(words: argparse.Namespace) -> None:
    """Check what was asked for, and give this process its threads."""
    if words.set and words.competitor != "ours":
        raise InputError(f"--set: only ours takes settings, not {words.competitor}")
    line = missing(words.competitor)
    if line:
        raise InputError(line)
    threads = whole("--threads", words.threads, 1, 1024)
    whole("--samples", words.samples, 2, 100_000)
    os.environ["OMP_NUM_THREADS"] = str(
        threads
    )  # `sd.common.device` and loaders' workers look there
    torch.set_num_threads(threads)


def judged(
    words: argparse.Namespace, name: str, competitor: Competitor, jury: Jury, seconds: float
) -> list[Point]:
    """Train to the end; return the points, each told when it is there."""
    at = words.at if words.competitor == "ours" else words.peers_at
    points = []
    told = sys.stderr if words.json else sys.stdout
    for point in raced(competitor, judged_times(at, seconds), lambda: jury.verdict(competitor)):
        points.append(point)
        line = f"{point.steps} steps, {point.pictures / point.seconds:.0f} pictures/s"
        sampled = f"{point.samples} samples in {point.sampling:.0f} s"
        when = in_words(round(point.seconds, 1))
        print(
            f"{name}, {when}: {line}, {sampled}, distance {point.distance:.1f}",
            file=told,
            flush=True,
        )
    if points[-1].seconds < seconds:
        print(f"{name} had no more steps before its time was over", file=sys.stderr)
    return points


def curve_of(
    words: argparse.Namespace,
    name: str,
    competitor: Competitor,
    jury: Jury,
    points: Sequence[Point],
) -> Curve:
    """Return all that is kept of a training."""
    return Curve(
        name=name,
        competitor=words.competitor,
        changed=competitor.changed,
        parameters=competitor.parameters,
        threads=words.threads,
        versions=competitor.versions,
        trained_on=len(jury.images.pixels),
        held_out=jury.held_out,
        accuracy=jury.judge.accuracy,
        floor=jury.floor(),
        points=tuple(points),
    )


def show(curves: Sequence[Curve], as_json: bool) -> None:
    """Print curves as a table, or as JSON."""
    if as_json:
        print(json.dumps([curve.to_json() for curve in curves]))
    else:
        print("\n".join(table(curves)))


def main(typed: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    words = parser().parse_args(typed)
    try:
        if words.command == "race":
            race(words)
        elif words.command == "one":
            one(words)
        elif words.command == "table":
            show(read_curves(words.folder), words.json)
        else:
            write_text(words.out, plot(read_curves(words.folder)))
    except (InputError, OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
