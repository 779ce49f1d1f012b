"""Where memory or disk end: the real command tells it in one line, and so does the run."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint
from sd.runs.worker import newest_state


def limited(kind: int, size: int) -> Callable[[], None]:
    """Return what sets a limit in a child before it begins."""

    def set_limit() -> None:
        resource.setrlimit(kind, (size, size))

    return set_limit


def command(*words: str, limit: Callable[[], None] | None = None) -> tuple[int, list[str]]:
    """Run `python -m sd train`; return its status and the lines of its complaint."""
    line = [sys.executable, "-m", "sd", "train", *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False, preexec_fn=limit)
    return done.returncode, done.stderr.strip().splitlines()


def test_an_absurd_batch_is_refused_with_one_that_fits(pictures: Path, home: Path) -> None:
    folder = home / "run"
    words = [str(pictures), "--set", "training.batch_size=65536", "--run", str(folder)]
    code, lines = command(*words, limit=limited(resource.RLIMIT_AS, 4 * 2**30))
    assert code == 2 and len(lines) == 1 and len(lines[0]) <= 300
    start = "training.batch_size = 65536: needs about "
    assert lines[0].startswith(start) and lines[0].endswith(" fits")
    status = runs.status(folder)
    assert (status.state, status.line) == ("failed", lines[0])


@pytest.mark.slow
def test_the_batch_that_is_told_to_fit_fits(pictures: Path, home: Path) -> None:
    words = [str(pictures), "--set", "training.batch_size=65536", "--run", str(home / "run")]
    _, lines = command(*words, limit=limited(resource.RLIMIT_AS, 4 * 2**30))
    fitting = lines[0].split("; ")[-1].removesuffix(" fits")
    again = [str(pictures), "--set", f"training.batch_size={fitting}", "--steps", "1"]
    code, lines = command(*again, limit=limited(resource.RLIMIT_AS, 4 * 2**30))
    assert code == 0, lines


# What follows is held in one process by tests/runs/test_resume.py.


@pytest.mark.slow
def test_a_full_disk_ends_the_command_in_one_line(
    pictures: Path, tiny_ini: Path, home: Path
) -> None:
    """Files of at most 300 kB: the first checkpoint has no room, the second command has."""
    folder = home / "run"
    words = [str(pictures), "--config", str(tiny_ini), "--run", str(folder), "--steps", "6"]
    code, lines = command(*words, limit=limited(resource.RLIMIT_FSIZE, 300_000))
    assert code == 2 and "checkpoint-000000006 (4 MiB) was not saved: " in lines[-1]
    assert "Traceback" not in "".join(lines)
    assert (runs.status(folder).state, runs.status(folder).line) == ("failed", lines[-1])
    assert newest_state(folder) == (None, "") and not list(folder.rglob("*.tmp"))
    code, lines = command("--run", str(folder), "--resume")
    assert code == 0 and runs.status(folder).state == "finished"
    assert load_checkpoint(folder).about["step"] == 6


@pytest.mark.slow
def test_a_rate_that_loses_the_loss_is_named(pictures: Path, tiny_ini: Path, home: Path) -> None:
    folder = home / "run"
    words = [str(pictures), "--config", str(tiny_ini), "--run", str(folder), "--steps", "200"]
    wild = [
        each
        for name in ("learning_rate=10", "grad_clip=0", "save_every=1")
        for each in ("--set", f"training.{name}")
    ]
    code, lines = command(*words, *wild)
    assert code == 2 and "training.learning_rate = 10 may be too high" in lines[-1]
    assert runs.status(folder).line == lines[-1]
    found, fallen = newest_state(folder)
    assert found is not None and fallen == ""
    load_checkpoint(found.checkpoint)  # which refuses weights that are not finite
