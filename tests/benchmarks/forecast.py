"""Forecasts against the runs that they tell of; and whether three minutes are three minutes.

    python -m tests.benchmarks.forecast            three settings, about a minute each
    python -m tests.benchmarks.forecast minutes 3  a planned run, from the command to its end

Every command is a process of its own, as a person types it. A machine with other work is slower
at one moment than at the next, so each run is foreseen twice, before and after it: the ratio is
told to both. What other work costs is part of the figures; look at `uptime`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sd import runs

ROOT = Path(__file__).parent.parent.parent
SETTINGS = {
    "tiny, 100 steps": ["--preset", "tiny", "--steps", "100", "--set", "training.sample_every=50"],
    "small at batch 16, 60 steps": [
        *("--preset", "small", "--steps", "60", "--set", "training.batch_size=16"),
        *("--set", "training.save_every=20"),
    ],
    "16 pixels, 500 steps": [
        *("--preset", "tiny", "--steps", "500", "--set", "training.input_height=16"),
        *("--set", "training.input_width=16", "--set", "unet.channel_mult=[1,2]"),
        *("--set", "unet.attention_resolutions=[2]", "--set", "training.sample_every=100"),
    ],
}


def sd(*words: str) -> tuple[str, float]:
    """Run a command; return what it printed and how many seconds it took."""
    begun = time.monotonic()
    line = [sys.executable, "-m", "sd", *words]
    done = subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout, time.monotonic() - begun


def foreseen(words: list[str]) -> float:
    """Return the seconds that a forecast tells."""
    return float(json.loads(sd("plan", "starter", "--json", *words)[0])["forecast"]["seconds"])


def load() -> str:
    """Return how busy the machine is and was in the last minutes."""
    return "load " + " ".join(f"{each:.1f}" for each in os.getloadavg())


def compare(place: Path) -> None:
    """Foresee, run and foresee again each of the settings."""
    for name, words in SETTINGS.items():
        folder = place / "run"
        before = foreseen(words)
        took = sd("train", "starter", "--run", str(folder), *words)[1]
        after = foreseen(words)
        ratio, mean = before / took, (before + after) / 2 / took
        print(
            f"{name}: took {took:.1f} s; foreseen {before:.1f} before ({ratio:.2f}) and "
            f"{after:.1f} after (mean {mean:.2f}); {load()}",
            flush=True,
        )
        shutil.rmtree(folder)


def minutes(place: Path, count: str) -> None:
    """Train for so many minutes, and tell when it ended and with what."""
    folder = place / "run"
    took = sd("train", "starter", "--minutes", count, "--run", str(folder))[1]
    status, sheets = runs.status(folder), runs.samples(folder)
    print(
        f"{count} minutes took {took / 60:.2f}: {status.line}, {len(sheets)} sheets of samples, "
        f"the last at step {sheets[-1].step}; {load()}"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        if sys.argv[1:2] == ["minutes"]:
            minutes(Path(made), sys.argv[2])
        else:
            compare(Path(made))
