"""The form of a run's events, checked where a journal comes from outside.

What an event may tell, and of which kind each figure is; what is unknown is dropped, so that
whoever reads a journal finds numbers where numbers are expected.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from sd.gate import InputError, shown

LARGEST = 2**53
LONGEST_LINE, LONGEST_LIST = 4096, 10_000
LONGEST_PROMPT = 2000  # characters, as of a caption

Check = Callable[[Any], bool]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _real(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST and math.isfinite(value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_LINE


def _prompt(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_PROMPT


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list_of(check: Check) -> Check:
    return lambda value: (
        isinstance(value, list) and len(value) <= LONGEST_LIST and all(map(check, value))
    )


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _whole(value[0]) and _real(value[1])


def _machine(value: Any) -> bool:
    return isinstance(value, dict) and all(_text(v) or _whole(v) for v in value.values())


FIELDS: dict[str, Check] = {
    **dict.fromkeys(("step", "total", "done", "pictures", "held_out", "left_out"), _whole),
    **dict.fromkeys(("duplicates", "seed", "bytes", "count"), _whole),
    **dict.fromkeys(("time", "loss", "lr", "pictures_per_second", "low", "median"), _real),
    **dict.fromkeys(("step_seconds", "seconds"), _real),
    **dict.fromkeys(("grad_norm", "seconds_left"), _or_none(_real)),
    **dict.fromkeys(("event", "line", "file", "folder", "kind", "command"), _text),
    "raw": _or_none(_text),
    "report": _list_of(_text),
    "prompts": _list_of(_prompt),
    "machine": _machine,
    "nearest": _or_none(_list_of(_pair)),
}
LEVELS: dict[str, Check] = {
    **FIELDS,
    **dict.fromkeys(("times", "train"), _list_of(_real)),
    "held_out": _or_none(_list_of(_real)),
}
NEEDED = {
    "start": ("total",),
    "ingest": ("done", "total"),
    "step": ("step", "loss", "lr", "grad_norm", "pictures_per_second"),
    "evaluation": ("step", "times", "train", "held_out"),
    "samples": ("step", "file"),
    "baseline": ("kind", "count", "low", "median"),
}


def check_event(event: Any) -> dict[str, Any]:
    """Return what is known of an event; raise `InputError` if it is none, or a figure is wrong."""
    if not isinstance(event, Mapping) or not _text(event.get("event")):
        raise InputError("no event")
    fields = LEVELS if event["event"] == "evaluation" else FIELDS
    for name in NEEDED.get(event["event"], ()):
        if name not in event:
            raise InputError(f"an event {shown(event['event'])} without {name}")
    for name, value in event.items():
        if name in fields and not fields[name](value):
            raise InputError(f"{name} = {shown(value)}: of another kind than expected")
    return {name: value for name, value in event.items() if name in fields}
