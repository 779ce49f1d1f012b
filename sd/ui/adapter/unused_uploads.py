"""Uploads that no event ever used, deleted within the hour; gradio keeps everything for a day."""

import threading
import time
from collections.abc import MutableSet
from contextlib import suppress
from pathlib import Path

KEPT, LOOK = 2400, 600  # seconds: since an upload, and between two looks; less than an hour

_used: set[str] = set()


def use(path: Path) -> None:
    """Note that an event was sent an upload, which is kept as long as gradio keeps files."""
    _used.add(str(path))


def sweep(uploaded: MutableSet[str], now: float | None = None) -> None:
    """Delete what of the paths that were `uploaded` is older than KEPT and was never used."""
    until = (time.time() if now is None else now) - KEPT
    there = {name: Path(name).resolve() for name in list(uploaded)}
    _used.intersection_update(map(str, there.values()))
    for name, path in there.items():
        if str(path) in _used:
            continue
        try:
            if path.stat().st_mtime < until:
                path.unlink()
                with suppress(OSError):  # others lie beside it
                    path.parent.rmdir()
                uploaded.discard(name)
        except OSError:
            uploaded.discard(name)


def watch(uploaded: MutableSet[str]) -> None:
    """Sweep from time to time, on a thread that ends with the process."""

    def look() -> None:
        while True:
            time.sleep(LOOK)
            sweep(uploaded)

    threading.Thread(target=look, daemon=True).start()
