"""What the host of a shared page sees and does: visitors and runs as six letters, no names of any.

Both the command line and the page's own view for its host come here.
"""

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sd.common.validation import InputError, shown
from sd.runs import control
from sd.runs.home import Home, list_folders
from sd.runs.run import GOING, may_live, status
from sd.runs.sharing.turn import read_turn

VISITORS = "visitors"  # in SD_HOME: the homes of all visitors
SEEN = "seen"  # a file of a home, whose time says when its visitor was here last
LETTERS = 6  # by which visitors and runs are called
STOP_SECONDS, POLL = 20.0, 0.2  # that a training has to save and leave


@dataclass(frozen=True)
class RunView:
    """A run as a host sees it. seconds: that training took."""

    id: str
    state: str
    step: int
    total: int
    seconds: float
    size: int


@dataclass(frozen=True)
class VisitorView:
    """A visitor as a host sees it. seen: when they were here last (Unix). size: bytes of all."""

    id: str
    seen: float
    size: int
    runs: tuple[RunView, ...]


def list_visitors(place: Path) -> list[VisitorView]:
    """Return the visitors of a place, those that were here last first."""
    found = [
        VisitorView(
            home.name[:LETTERS],
            last_seen(home),
            Home(home).size(),
            tuple(map(_view, Home(home).run_folders())),
        )
        for home in list_folders(place)
    ]
    return sorted(found, key=lambda visitor: -visitor.seen)


def _view(folder: Path) -> RunView:
    now = status(folder)
    size = Home(folder).size()
    return RunView(run_id(folder), now.state, now.step, now.total, now.seconds or 0.0, size)


def run_id(folder: Path) -> str:
    """Return the letters by which a host calls a run: its name may tell who made it."""
    return hashlib.sha256(folder.name.encode()).hexdigest()[:LETTERS]


def last_seen(home: Path) -> float:
    """Return when a home's visitor was here last, as a time since the epoch."""
    for name in (SEEN, ""):
        with suppress(OSError):
            return os.stat(home / name).st_mtime
    return 0.0


def find_home(place: Path, visitor: str) -> Path:
    """Return the home of a visitor; raise `InputError` where none, or several, are called so."""
    found = [home for home in list_folders(place) if home.name.startswith(visitor)]
    if len(found) != 1 or len(visitor) < LETTERS:
        raise InputError(f"visitor = {shown(visitor)}: there is none that is called so")
    return found[0]


def find_runs(home: Path, run: str = "") -> list[Path]:
    """Return all runs of a visitor, or the one that is named; raise `InputError` for none."""
    folders = Home(home).run_folders()
    found = [folder for folder in folders if run in ("", run_id(folder))]
    if run and not found:
        raise InputError(f"run = {shown(run)}: this visitor has none that is called so")
    return found


def stop(place: Path, visitor: str, run: str = "") -> None:
    """Ask a visitor's trainings, or one of them, to save and end."""
    for folder in find_runs(find_home(place, visitor), run):
        if is_at_work(folder):
            control.stop(folder)


def delete(place: Path, visitor: str, run: str = "") -> None:
    """Delete a visitor's run, or all that they have; what trains is asked to end first."""
    home = find_home(place, visitor)
    folders = find_runs(home, run)
    end_trainings(folders)
    if not run:
        forget(home)
    for folder in folders if run else ():
        if folder.exists():
            control.delete(Home(home, neighbours=place), folder.name)


def is_at_work(folder: Path) -> bool:
    """Tell whether a run is being trained, or has a turn."""
    return may_live(folder) or read_turn(folder) is not None


def end_trainings(folders: list[Path], sleep: Callable[[float], None] = time.sleep) -> None:
    """Ask trainings to save and end, and end those that do not."""
    living = list(filter(is_at_work, folders))
    for folder in living:
        control.stop(folder)
    end = time.monotonic() + STOP_SECONDS
    while any(map(may_live, living)) and time.monotonic() < end:
        sleep(POLL)
    for folder in filter(may_live, living):
        control.stop(folder)  # asked again, it leaves at once


def forget(home: Path) -> None:
    """Delete a home with all that is in it; a kill midway leaves nothing that is listed."""
    with suppress(FileNotFoundError):
        going = home.rename(home.parent / f"{GOING}{secrets.token_hex(8)}")
        shutil.rmtree(going, ignore_errors=True)
