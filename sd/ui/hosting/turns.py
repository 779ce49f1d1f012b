"""A thread of the page that lets visitors' runs train in turns."""

import threading
import time
from contextlib import suppress

from sd.common.validation import InputError
from sd.runs.sharing import scheduler
from sd.ui.hosting.visitors import Visitors

BUSY, IDLE = 1.0, 5.0  # seconds between two looks: where a run has a turn, and where none has


def serve(visitors: Visitors) -> float:
    """Look once; return the seconds until the next look."""
    with suppress(OSError, InputError):  # a full disk: it may have room later
        visitors.place.mkdir(parents=True, exist_ok=True)
        with scheduler.lock_of(visitors.place):
            if scheduler.serve(visitors.place, visitors.mode.turn_seconds):
                return BUSY
    return IDLE


def watch(visitors: Visitors) -> None:
    """Look now and from time to time, on a thread that ends with the process."""

    def look() -> None:
        while True:
            time.sleep(serve(visitors))

    threading.Thread(target=look, daemon=True, name="turns").start()
