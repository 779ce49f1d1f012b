"""How fast this machine was when it was last measured, kept in a home. No torch.

So that a page can tell about how many steps some minutes are before it measures again.
"""

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

from sd.common.disk import read_object, write_text
from sd.common.validation import InputError

FILE = "speed.json"
TIMES = ("step", "samples", "save")  # seconds, as `forecast.Measurement` has them
OF_LATENTS = ("encode", "autoencoder")  # of a picture, and of a step of phase 1
MOST_SIZES = 100


def keep(home: Path, machine: str, measured: Any) -> None:
    """Keep what a plan measured, as its JSON has it; a disk that is full is no reason to fail."""
    if parse(measured):
        with suppress(OSError):
            write_text(home / FILE, json.dumps({"machine": machine, "measured": measured}))


def read(home: Path, machine: str) -> dict[int, dict[str, float]]:
    """Return place of a size -> its seconds by name; nothing where another machine was measured."""
    with suppress(InputError):
        kept = read_object(home / FILE, "machine", "measured")
        if kept["machine"] == machine:
            return parse(kept["measured"])
    return {}


def parse(measured: Any) -> dict[int, dict[str, float]]:
    """Return what was measured, checked; nothing where it is anything else."""
    found: dict[int, dict[str, float]] = {}
    for place, times in measured.items() if isinstance(measured, dict) else ():
        numbers: list[Any] = [isinstance(times, dict) and times.get(name) for name in TIMES]
        if (
            not str(place).isdecimal()
            or int(place) >= MOST_SIZES
            or not all(map(_is_time, numbers))
        ):
            return {}
        found[int(place)] = dict(zip(TIMES, numbers, strict=True))
        more = {name: times.get(name) for name in OF_LATENTS}
        found[int(place)] |= {name: each for name, each in more.items() if _is_time(each)}
    return found


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 < value < 1e6
