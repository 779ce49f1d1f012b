"""What visitors leave behind goes: who has not come for long, and at once who asks for it."""

import shutil
import threading
import time
from pathlib import Path

from sd.runs import Home, list_folders
from sd.runs.run import GOING, may_live
from sd.runs.sharing import host
from sd.runs.sharing.turn import read_turn
from sd.ui.adapter import scratch
from sd.ui.hosting.visitors import DAY, Visitors

LOOK = 300.0  # seconds between two looks


def is_at_work(home: Path) -> bool:
    """Tell whether one of a home's runs is being trained, or waits for its turn."""
    folders = Home(home).run_folders()
    turns = filter(None, map(read_turn, folders))
    return any(map(may_live, folders)) or any(not turn.held for turn in turns)


def sweep(visitors: Visitors, now: float | None = None) -> list[str]:
    """Delete the homes that nobody came to for the mode's `kept_days`; return their names.

    Where all together take more than the mode's share of the disk, the longest unvisited go too.
    A home whose run is being trained stays.
    """
    moment = time.time() if now is None else now
    _clear(visitors.place)
    homes = sorted(list_folders(visitors.place), key=host.last_seen)
    idle = [home for home in homes if not is_at_work(home)]
    old = [home for home in idle if host.last_seen(home) < moment - DAY * visitors.mode.kept_days]
    sizes = {home: Home(home).size() for home in homes if home not in old}
    total, room = sum(sizes.values()), visitors.room
    for home in (each for each in idle if each in sizes):
        if total <= room:
            break
        total -= sizes[home]
        old.append(home)
    for home in old:
        host.forget(home)
    left = [home for home in homes if home not in old]
    scratch.sweep_halves([*left, *(Home(home).uploads for home in left)], moment)
    return [home.name for home in old]


def leave(visitors: Visitors, name: str) -> None:
    """Delete everything of a visitor: trainings are asked to end, and ended if they do not."""
    home = visitors.place / name
    host.end_trainings(Home(home).run_folders())
    visitors.drop(name)
    host.forget(home)


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
