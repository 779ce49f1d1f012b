"""The greatest memory of real processes that train.

Against what `sd.training.planning.memory` expects.

    python -m tests.benchmarks.memory

Each row is a process of its own: three steps, samples, the evaluation, a checkpoint. Its figures
are the table in tests/training/planning/test_memory.py, from which the constants of
`sd.training.planning.memory` were fitted.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from sd.checkpoints.checkpoint import save_checkpoint
from sd.common.device import choose
from sd.config import Config
from sd.training.loop import Training
from sd.training.monitoring import SAMPLE_COUNT
from sd.training.planning import memory
from sd.training.planning.forecast import random_pictures

ROOT = Path(__file__).parent.parent.parent
ROWS = [
    ("tiny",),
    ("tiny", "training.batch_size=1"),
    ("tiny", "training.batch_size=256"),
    ("small", "training.batch_size=16"),
    ("seed",),
]


def peak_of(preset: str, *settings: str) -> int:
    """Return the bytes that a process of its own held at most while it trained."""
    words = [sys.executable, "-m", "tests.benchmarks.memory", preset, *settings]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def train(config: Config) -> int:
    """Do all that a run does, once; return the bytes that this process held at most."""
    settings = ["training.steps=3", "training.minutes=0"]
    training = Training(
        config.with_settings(settings), random_pictures(config), 0, choose("cpu").apply()
    )
    for step in training.steps():
        model = step.model
    sampling = model.sampling(steps=3)
    for _ in sampling.steps(model.denoiser, model.shape, range(SAMPLE_COUNT), "cpu"):
        pass
    training.evaluate()
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(model, Path(folder) / "made", {"step": 3}, training.state())
    return memory._lines(memory.PROC / "self" / "status")["VmHWM"]


def main() -> None:
    """Print measured and expected memory of each row."""
    for row in ROWS:
        expected = memory.needed(Config.preset(row[0]).with_settings(row[1:]))
        measured = peak_of(*row)
        print(
            f"{' '.join(row)}: {measured / 2**20:.0f} MiB measured, {expected / 2**20:.0f} "
            f"expected, {expected / measured:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(train(Config.preset(sys.argv[1]).with_settings(sys.argv[2:]))))
    else:
        main()
