"""What is done to runs: start, resume, stop, pause, and asking a run for samples or a checkpoint.

Starting is a child process; all else is a file in the run's folder that its process looks for.
"""

import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from sd.common.disk import write_text
from sd.common.validation import InputError, text, whole
from sd.config import Config
from sd.config.sections import MOST_STEPS
from sd.runs import child, process
from sd.runs.home import Home
from sd.runs.process import STARTING
from sd.runs.run import (
    CONFIG,
    LOG,
    PAUSE,
    REQUESTS,
    SAMPLE,
    SAVE,
    STOP,
    obstacle,
    status,
)

START_LOCK = ".start.lock"
LONGEST_DATA = 4096  # characters of the path of a picture set
PLAN_SECONDS = 120.0


def train_command(
    data: str, preset: str, settings: Sequence[str] = (), seed: int = 0, device: str = "auto"
) -> str:
    """Return the command line that trains as these arguments say, for people to copy."""
    words = ["python", "-m", "sd", "train", data, "--preset", preset]
    for setting in settings:
        words += ["--set", setting]
    return shlex.join([*words, "--seed", str(seed), "--device", device])


def start(home: Home, data: str, config: Config, seed: int = 0, device: str = "auto") -> Path:
    """Start a training process on `data` and return its run folder, a new one in `home`.

    The process is a child in a session of its own: it goes on when the page or the server ends.
    Raises `InputError` for settings that cannot be, and while another run here is being trained.
    """
    whole("seed", seed, 0, 2**53)
    text("DATA", data, LONGEST_DATA)
    text("device", device, 20)
    with _one_at_a_time(home):
        folder = home.new_folder()
        folder.mkdir(parents=True)
        words = ["train", "--config", str(folder / CONFIG), "--run", str(folder)]
        try:
            write_text(folder / CONFIG, config.to_ini())
            _spawn(folder, [*words, "--seed", str(seed), f"--device={device}", "--", data])
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder


def resume(home: Home, folder: Path, steps: int | None = None) -> None:
    """Let training go on in a process of its own, up to `steps` in all if told.

    Raises `InputError` while this or another run is being trained, and where nothing is left to do.
    """
    with _one_at_a_time(home):
        now = status(folder)
        if now.alive:
            raise InputError(f"run = {now.name!r}: it is {now.state} already")
        if reason := obstacle(folder):
            raise InputError(f"run = {now.name!r}: {reason}")
        if steps is not None:
            whole("steps", steps, now.step + 1, MOST_STEPS)
        elif now.state == "finished":
            raise InputError(f"run = {now.name!r}: it is finished; give more steps than {now.step}")
        more = [] if steps is None else ["--steps", str(steps)]
        _spawn(folder, ["train", "--run", str(folder), "--resume", *more])


@contextmanager
def _one_at_a_time(home: Home, own: str = "") -> Iterator[None]:
    """Hold the lock under which a process is started; `InputError` while one but `own` trains.

    Two trainings on one machine would slow each other down more than one after the other takes.
    """
    with FileLock(home.ensure_writable() / START_LOCK):
        for each in home.live_runs():
            if each.state != "paused" and each.name != own:
                raise InputError(f"run {each.name} is being trained: stop or pause it first")
        yield


def _spawn(folder: Path, words: Sequence[str]) -> None:
    """Start a run's process; what was asked of the one before it is forgotten."""
    for name in REQUESTS:
        (folder / name).unlink(missing_ok=True)
    process.record(folder, child.spawn(words, folder / LOG), STARTING)


def ask_plan(
    words: Sequence[str], seconds: float = PLAN_SECONDS
) -> Iterator[dict[str, Any] | None]:
    """Run `python -m sd plan WORDS --json`: yield None while it measures, then its JSON.

    Closing the iterator ends the child. Raises `InputError` with the child's own line.
    """
    return child.ask(["plan", "--json", *words], seconds)


def stop(folder: Path) -> None:
    """Ask a run's process to finish its step, save and leave; asked again, it leaves at once."""
    if status(folder).state == "stopping":
        process.kill(folder)
    _request(folder, STOP)


def pause(folder: Path) -> None:
    """Ask a run's process to save and wait, until `unpause`."""
    _request(folder, PAUSE)


def unpause(home: Home, folder: Path) -> None:
    """Let a paused run go on; raise `InputError` while another one is being trained."""
    with _one_at_a_time(home, folder.name):
        (folder / PAUSE).unlink(missing_ok=True)


def request_sample(folder: Path) -> None:
    """Ask a run's process for samples after the step at hand."""
    _request(folder, SAMPLE)


def request_save(folder: Path) -> None:
    """Ask a run's process for a checkpoint after the step at hand."""
    _request(folder, SAVE)


def _request(folder: Path, what: str) -> None:
    if status(folder).alive:
        (folder / what).touch()
