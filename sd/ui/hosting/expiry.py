"""What visitors leave behind goes: who has not come for long, and at once who asks for it."""

import os
import secrets
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

from sd import runs
from sd.runs import Home, list_folders
from sd.runs.run import GOING, may_live
from sd.runs.sharing.turn import read_turn
from sd.ui.hosting.visitors import DAY, SEEN, Visitors

LOOK = 300.0  # seconds between two looks
STOP_SECONDS, POLL = 20.0, 0.2  # that a training has to save and leave


def is_at_work(home: Path) -> bool:
    """Tell whether one of a home's runs is being trained, or waits for its turn."""
    folders = Home(home).run_folders()
    turns = filter(None, map(read_turn, folders))
    return any(map(may_live, folders)) or any(not turn.held for turn in turns)


def last_seen(home: Path) -> float:
    """Return when a home's visitor was here last, as a time since the epoch."""
    for name in (SEEN, ""):
        with suppress(OSError):
            return os.stat(home / name).st_mtime
    return 0.0


def sweep(visitors: Visitors, now: float | None = None) -> list[str]:
    """Delete the homes that nobody came to for the mode's `kept_days`; return their names.

    Where all together take more than the mode's share of the disk, the longest unvisited go too.
    A home whose run is being trained stays.
    """
    moment = time.time() if now is None else now
    _clear(visitors.place)
    homes = sorted(list_folders(visitors.place), key=last_seen)
    idle = [home for home in homes if not is_at_work(home)]
    old = [home for home in idle if last_seen(home) < moment - DAY * visitors.mode.kept_days]
    sizes = {home: Home(home).size() for home in homes if home not in old}
    total, room = sum(sizes.values()), visitors.room
    for home in (each for each in idle if each in sizes):
        if total <= room:
            break
        total -= sizes[home]
        old.append(home)
    for home in old:
        forget(home)
    return [home.name for home in old]


def forget(home: Path) -> None:
    """Delete a home with all that is in it; a kill midway leaves nothing that is listed."""
    with suppress(FileNotFoundError):
        going = home.rename(home.parent / f"{GOING}{secrets.token_hex(8)}")
        shutil.rmtree(going, ignore_errors=True)


def leave(visitors: Visitors, name: str) -> None:
    """Delete everything of a visitor: trainings are asked to end, and ended if they do not."""
    home = visitors.place / name
    living = [each for each in Home(home).run_folders() if may_live(each) or read_turn(each)]
    for folder in living:
        runs.stop(folder)
    end = time.monotonic() + STOP_SECONDS
    while any(map(may_live, living)) and time.monotonic() < end:
        time.sleep(POLL)
    for folder in filter(may_live, living):
        runs.stop(folder)  # asked again, it leaves at once
    visitors.drop(name)
    forget(home)


def _clear(place: Path) -> None:
    """Delete what was being deleted when a server was killed."""
    for left in place.glob(f"{GOING}*"):
        shutil.rmtree(left, ignore_errors=True)


def watch(visitors: Visitors) -> None:
    """Sweep now and from time to time, on a thread that ends with the process."""

    def look() -> None:
        while True:
            sweep(visitors)
            time.sleep(LOOK)

    threading.Thread(target=look, daemon=True).start()
