"""How fast a folder of pictures becomes a set on disk: on one core, and with helpers on all.

    python -m tests.benchmarks.ingest [--pictures 5000] [--side 64] [--format png] [--to 64]

makes such pictures in a temporary folder and takes them in twice, each time in a process of its
own (so each has its own peak of memory), one after the other: the ratio is what matters, since
other work on the machine slows both. Cores are processor time, helpers' included, over wall time.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sd.data.decoding import pool
from sd.data.ingest import ingest_images

DISTINCT = 500  # pictures that are drawn; the others are links to them


def make(folder: Path, count: int, side: int, form: str) -> None:
    """Draw smooth random pictures, in five class folders."""
    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"class{number % 5}" / f"{number}.{form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number >= DISTINCT:
            first = number % DISTINCT
            os.link(folder / f"class{first % 5}" / f"{first}.{form}", path)
            continue
        few = random.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
        Image.fromarray(few).resize((side, side)).save(path)


def peak() -> float:
    """Return the most memory that this process has had, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def take_in(source: Path, target: Path, side: int, helped: bool) -> dict[str, float]:
    """Take a folder in; return what it took."""
    if not helped:
        pool.HELPED_FROM = sys.maxsize
    wall, before, own = time.perf_counter(), peak(), time.process_time()
    for _ in ingest_images(source, target, height=side, width=side, channels=3, fit="crop"):
        pass
    wall = time.perf_counter() - wall
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = time.process_time() - own + others.ru_utime + others.ru_stime
    return {"seconds": wall, "cores": busy / wall, "more MiB": peak() - before}


def main(words: Sequence[str] | None = None) -> None:
    """Print both ways beside each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--format", choices=("png", "jpg"), default="png")
    parser.add_argument("--to", type=int, default=64)
    parser.add_argument("--take", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    if args.take:
        way, source = args.take
        target = Path(source).parent / way
        print(json.dumps(take_in(Path(source), target, args.to, way == "helped")))
        return
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary, "pictures")
        make(source, args.pictures, args.side, args.format)
        print(
            f"{args.pictures} {args.format} of {args.side} to {args.to}; {pool.count_cores()} cores"
        )
        for way in ("alone", "helped"):
            command = [sys.executable, "-m", "tests.benchmarks.ingest", "--take", way, str(source)]
            command += ["--to", str(args.to)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            rate = args.pictures / found["seconds"]
            facts = ", ".join(f"{value:.2f} {name}" for name, value in found.items())
            print(f"  {way:6}: {rate:,.0f} pictures/s, {facts}")


if __name__ == "__main__":
    main()
