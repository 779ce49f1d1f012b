"""A slice of a run's training on a GPU that is lent for it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from sd import runs
from sd.common.validation import InputError
from sd.runs import process
from sd.runs.run import may_live
from sd.runs.sharing import scheduler
from sd.ui import state
from sd.ui.hosting import zero_gpu

DEVICE = "cuda"  # of the process that has the GPU
SECONDS, AROUND = 28.0, 12  # of training, and what beginning and saving take
RESTING = ("waiting", "paused", "stopped", "lost")  # states of a run that can go on there
LEAVING, POLL = 20.0, 0.1  # seconds that a process has to end, and between two looks


def seconds_of(*_: object) -> int:
    """Return for how many seconds a GPU is asked."""
    return round(SECONDS) + AROUND


@zero_gpu.lend(seconds_of)
def train_slice(folder: Path, seconds: float) -> Iterator[str]:
    """Let a run go on from its newest checkpoint for some seconds, then save.

    Yields "" after each step, and a mistake's line: of an error only its kind would come back.
    """
    from sd.runs.worker import resume

    end = 0.0
    process.drop_requests(folder)
    process.record(folder, os.getpid(), process.STARTING)  # a run in line is given to this process
    try:
        for _ in resume(folder, device=DEVICE):
            end = end or time.monotonic() + seconds
            if time.monotonic() >= end:
                process.request(folder, process.YIELD)
            yield ""
    except InputError as error:
        yield str(error)
    finally:
        (folder / process.STARTING).unlink(missing_ok=True)


def await_end(folder: Path) -> None:
    """Wait until a run's process is gone that has saved and said its last word."""
    end = time.monotonic() + LEAVING
    while may_live(folder) and runs.status(folder).state in RESTING and time.monotonic() < end:
        time.sleep(POLL)


def train_on_gpu(folder: Path) -> None:
    """Train a run of one's own on the GPU for a slice; it then waits, or rests, as before.

    Raises `InputError` where none is lent, and while the run trains.
    """
    state.home().check_open()
    if not zero_gpu.is_lent():
        raise InputError("device = 'cuda': this page is lent no GPU")
    await_end(folder)
    if may_live(folder) or runs.obstacle(folder):
        raise InputError(f"run = {folder.name!r}: it cannot go on now")
    is_held = runs.status(folder).state == "paused"
    has_turn = scheduler.hold(folder, True)
    try:
        for mistake in train_slice(folder, SECONDS):
            if mistake:
                raise InputError(mistake)
    finally:
        if has_turn and not is_held:
            scheduler.hold(folder, False)
