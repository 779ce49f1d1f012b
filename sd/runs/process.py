"""Whose process a run is: identities that outlive a reused number, and the one writer's lock."""

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sd.common import environment
from sd.common.disk import write_text
from sd.common.validation import InputError

PROCESS, STARTING, LOCK = "process.json", "starting.json", "lock"


def identity(pid: int) -> str | None:
    """Return what tells a living process from a later one of its number; None if it is dead."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if words[0] in "ZX" else words[19]  # field 22 of proc(5): the start time
    listed = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env=environment.for_child(),
    ).stdout.split()
    return None if not listed or listed[0].startswith("Z") else " ".join(listed[1:])


def record(folder: Path, pid: int, name: str = PROCESS) -> None:
    """Note whose process a run is; whoever reads it sees the whole note or none."""
    note = {"pid": pid, "started": identity(pid)}
    with suppress(FileNotFoundError):  # the folder of a run that was refused is gone again
        write_text(folder / name, json.dumps(note))


def is_alive(folder: Path, name: str = PROCESS) -> bool:
    """Tell whether the process that was noted under `name` is still at work."""
    pid, started = _note(folder, name)
    return started is not None and identity(pid) == started


def kill(folder: Path) -> None:
    """End the noted process at once, if it lives."""
    if is_alive(folder):
        os.kill(_note(folder, PROCESS)[0], signal.SIGKILL)


def is_same(folder: Path, one: str, other: str) -> bool:
    """Tell whether two notes are of one process."""
    return _note(folder, one) == _note(folder, other)


def _note(folder: Path, name: str) -> tuple[int, str | None]:
    try:
        note = json.loads((folder / name).read_text(encoding="utf-8"))
        return int(note["pid"]), note["started"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0, None


def claim(folder: Path) -> FileLock:
    """Return the lock of a run's one writer, held until released or the process ends.

    Raises `InputError` where another process holds it.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        name = folder.absolute().name
        raise InputError(f"{name}: a training process is at work there already") from None
    return lock
