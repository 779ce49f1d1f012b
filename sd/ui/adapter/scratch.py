"""Files made to be taken away: they lie where gradio serves them from, and none of them stays.

The server deletes them itself, whether or not a browser fetched them, and at its start what a
killed one has left. Only what has our names, is this user's and has not changed for a while goes.
"""

import os
import re
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sd import runs
from sd.common.disk import remove
from sd.common.validation import InputError
from sd.runs.home import FULL
from sd.ui.adapter import served_files

BUNDLE, TAKE, PLAN = PREFIXES = ("sd-bundle-", "sd-take-", "sd-plan-")
NAME = re.compile(rf"\.?(?:{'|'.join(PREFIXES)})[\w.]+")
HALF = re.compile(r"\.[\w.-]+\.\w+\.tmp", re.ASCII)  # what `sd.common.disk` was writing when killed
KEPT = 2400  # seconds since the last change
OWN = os.getuid() if hasattr(os, "getuid") else 0  # elsewhere a file's owner reads as 0
LOOK = 600  # seconds between two looks; both together are less than an hour

_in_use: set[Path] = set()


@contextmanager
def temporary_folder(prefix: str, spare: int = 0) -> Iterator[Path]:
    """Yield a new folder; after the block it stays for a while, or goes at once if that failed.

    Raises `InputError` where the disk has less than `spare` bytes left.
    """
    place = served_files.folder()
    place.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(place).free < spare:
        raise InputError(FULL)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    _in_use.add(folder)
    try:
        yield folder
        os.utime(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        _in_use.discard(folder)


def sweep(now: float | None = None) -> list[str]:
    """Delete what is left over at a time (Unix); return the names."""
    until = (time.time() if now is None else now) - KEPT
    places = [(place, NAME) for place in {tempfile.gettempdir(), str(served_files.folder())}]
    gone = []
    for place, names in [*places, (str(runs.default_home().path), HALF)]:
        for path in sorted(Path(place).glob("*")) if Path(place).is_dir() else ():
            if names.fullmatch(path.name) and path not in _in_use and _is_left(path, until):
                _delete(path)
                gone.append(path.name)
    return gone


def sweep_halves(folders: Iterable[Path], now: float | None = None) -> None:
    """Delete what was half written in some folders when its writer was killed, at a time (Unix)."""
    until = (time.time() if now is None else now) - KEPT
    for folder in folders:
        for path in folder.glob(".*.tmp"):
            if HALF.fullmatch(path.name) and _is_left(path, until):
                _delete(path)


def _is_left(path: Path, until: float) -> bool:
    """Tell whether something is this user's own, no link, and was last changed before a time."""
    with suppress(OSError):
        status = path.lstat()
        plain = stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)
        if plain and status.st_uid == OWN:
            return max(each.lstat().st_mtime for each in (path, *path.rglob("*"))) < until
    return False


def _delete(path: Path) -> None:
    with suppress(OSError):  # another server of this user was quicker
        if path.is_dir() and not path.name.startswith("."):
            remove(path)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def watch() -> None:
    """Sweep now and from time to time, on a thread that ends with the process."""

    def look() -> None:
        while True:
            sweep()
            time.sleep(LOOK)

    threading.Thread(target=look, daemon=True).start()
