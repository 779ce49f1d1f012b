"""A run's process: started, known again by its start time, locked out, and asked for something.

process.json notes whose process a run is; starting.json whose it will be, until its imports are
done. What a process is asked is a file in the run's folder, which the page makes and the process
looks for: `stop`, `pause` (as long as it is there), `sample`, `save`, `yield` (as `stop`, but after
a step and its samples).
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from filelock import FileLock, Timeout

from sd.common import environment
from sd.common.disk import read_object, write_text
from sd.common.validation import InputError

if sys.platform == "linux":
    import resource

PROCESS, STARTING, LOCK = "process.json", "starting.json", "lock"
STOP, PAUSE, SAMPLE, SAVE, YIELD = REQUESTS = ("stop", "pause", "sample", "save", "yield")
THREADS = "OMP_NUM_THREADS"
START_LOCK = ".start.lock"  # of a home, or of all homes of one machine
POLL_SECONDS = 0.5  # between two looks at a child that is waited for


def spawn(
    words: Sequence[str], log: Path, given: str = "", threads: int | None = None, nice: int = 0
) -> int:
    """Start `python -m sd WORDS` in a session of its own, its output to `log`; return its pid.

    given: what it reads from standard input, from a nameless file that goes with the process.
    threads: the most that it computes with. nice: how far it steps back behind others.
    """
    with log.open("ab") as output, TemporaryFile() as source:
        source.write(given.encode())
        source.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-m", "sd", *words],
            stdin=source,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment.for_child() | _limit(threads),
        )
    if nice and hasattr(os, "setpriority"):
        with suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, child.pid, nice)
    return child.pid


def limit_files(pid: int, size: int) -> None:
    """Let a process write no file of more bytes, and none of its memory where it crashes.

    Beyond that the system tells it that the file is too large. Where it knows no such limits
    nothing happens.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # it has ended already
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, size))
            resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def _limit(threads: int | None) -> dict[str, str]:
    """Return what keeps a child to so many threads, or to fewer where this process has fewer."""
    if threads is None:
        return {}
    own = os.environ.get(THREADS, "")
    return {THREADS: str(min(int(own), threads) if own.isdigit() else threads)}


def run_json(words: Sequence[str], seconds: float) -> Iterator[dict[str, Any] | None]:
    """Run `python -m sd WORDS`: yield None while it works, then the JSON that it printed.

    Closing the iterator ends the child. Raises `InputError` with the child's own line, or after
    `seconds`.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "sd", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment.for_child(),
    )
    until = time.monotonic() + seconds
    try:
        while (answer := _read_answer(child)) is None:
            if time.monotonic() > until:
                raise InputError(f"it took longer than {seconds:.0f} seconds")
            yield None
        yield answer
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()


def _read_answer(child: "subprocess.Popen[str]") -> dict[str, Any] | None:
    """Return what a child has printed, or None if it still works."""
    try:
        printed, complaint = child.communicate(timeout=POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    if child.returncode:
        lines = complaint.strip().splitlines()
        raise InputError(lines[-1] if lines else f"it ended with status {child.returncode}")
    return dict(json.loads(printed))


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
    pid, started = _read_note(folder, name)
    return started is not None and identity(pid) == started


def kill(folder: Path) -> None:
    """End a run's process at once, also one that is still starting."""
    for name in (PROCESS, STARTING):
        if is_alive(folder, name):
            os.kill(_read_note(folder, name)[0], signal.SIGKILL)


def is_same(folder: Path, one: str, other: str) -> bool:
    """Tell whether two notes are of one process."""
    return _read_note(folder, one) == _read_note(folder, other)


def is_own(folder: Path, name: str) -> bool:
    """Tell whether the process that was noted under `name` is this one."""
    return _read_note(folder, name) == (os.getpid(), identity(os.getpid()))


def _read_note(folder: Path, name: str) -> tuple[int, str | None]:
    with suppress(InputError):
        note = read_object(folder / name, "pid", "started")
        if type(note["pid"]) is int:
            return note["pid"], note["started"]
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


def request(folder: Path, what: str) -> None:
    """Ask a run's process for one of `REQUESTS`."""
    (folder / what).touch()


def is_requested(folder: Path, what: str) -> bool:
    """Tell whether a run's process is asked for something, and leave it asked."""
    return (folder / what).exists()


def take_request(folder: Path, what: str) -> bool:
    """Tell whether a run's process was asked for something since this was last called."""
    try:
        (folder / what).unlink()
    except FileNotFoundError:
        return False
    return True


def drop_requests(folder: Path) -> None:
    """Forget all that a run's process was asked."""
    for what in REQUESTS:
        (folder / what).unlink(missing_ok=True)
