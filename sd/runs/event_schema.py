"""The meaning of a run's events: what each figure can be, checked by whoever reads a journal.

Every field that is known has one check: its kind, its range, its length. `check_event` refuses the
first that is wrong in a journal from outside; a journal that lies here may be old or damaged, and
`drop_invalid` leaves out what is. So whoever shows a run finds numbers where numbers are expected,
and texts that a page can send.
"""

import math
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from sd.common.validation import InputError, shown, text
from sd.config.sections import MOST_STEPS
from sd.data.reading.files import MOST_FILES
from sd.training.monitoring import SAMPLE_COUNT

LARGEST = 2**53
LARGEST_REAL = 3.5e38  # float32 ends there, so that no figure of training is beyond
MOST_SECONDS = 1e12  # of a clock that begins in 1970, too
LONGEST_WORD, LONGEST_LINE = 200, 4096  # characters; of a command, which may hold a path
MOST_LINES, LONGEST_PROMPT = 1000, 2000  # of a report; characters, as of a caption
MOST_LEVELS, MOST_TIMES = 100, 100_000
MOST_MACHINE_ENTRIES = 40  # of a machine

FILE = re.compile(r"\w[\w.-]{0,63}", re.ASCII)

Check = Callable[[Any], bool]


def _whole(most: int) -> Check:
    return lambda value: type(value) is int and 0 <= value <= most


def _real(most: float) -> Check:
    return lambda value: type(value) in (int, float) and 0 <= value <= most and math.isfinite(value)


def _text(longest: int) -> Check:
    def check(value: Any) -> bool:
        try:
            return bool(text("it", value, longest)) or value == ""
        except InputError:
            return False

    return check


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list_of(check: Check, most: int) -> Check:
    return lambda value: isinstance(value, list) and len(value) <= most and all(map(check, value))


def _pair(value: Any) -> bool:
    """Tell whether a sample's nearest picture is one: its place and a distance."""
    is_pair = isinstance(value, list) and len(value) == 2
    return is_pair and _whole(MOST_FILES)(value[0]) and _real(LARGEST_REAL)(value[1])


def _grid(value: Any) -> bool:
    """Tell whether a path is short and ends in a plain file's name."""
    return _text(LONGEST_WORD)(value) and bool(FILE.fullmatch(value.rpartition("/")[2]))


def _times(value: Any) -> bool:
    """Tell whether these are the times of noise levels: at least one, rising."""
    is_list = _list_of(_whole(MOST_TIMES), MOST_LEVELS)(value) and bool(value)
    return is_list and all(before <= after for before, after in pairwise(value))


def _machine(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) > MOST_MACHINE_ENTRIES:
        return False
    word, number = _text(LONGEST_WORD), _whole(LARGEST)
    known = all(word(key) and (word(each) or number(each)) for key, each in value.items())
    return known and isinstance(value.get("label", ""), str)


LOSSES = _list_of(_real(LARGEST_REAL), MOST_LEVELS)
FIELDS: dict[str, Check] = {
    **dict.fromkeys(("step", "total"), _whole(MOST_STEPS)),
    **dict.fromkeys(("done", "pictures", "held_out", "left_out", "duplicates"), _whole(LARGEST)),
    **dict.fromkeys(("seed", "bytes", "count"), _whole(LARGEST)),
    **dict.fromkeys(
        ("loss", "lr", "pictures_per_second", "low", "median", "psnr"), _real(LARGEST_REAL)
    ),
    **dict.fromkeys(("time", "step_seconds", "seconds"), _real(MOST_SECONDS)),
    "grad_norm": _or_none(_real(LARGEST_REAL)),
    "seconds_left": _or_none(_real(MOST_SECONDS)),
    **dict.fromkeys(("memory_bytes", "device_memory_bytes"), _or_none(_whole(LARGEST))),
    **dict.fromkeys(("event", "folder", "kind"), _text(LONGEST_WORD)),
    **dict.fromkeys(("line", "command", "started_from"), _text(LONGEST_LINE)),
    "file": _grid,
    "raw": _or_none(_grid),
    "report": _list_of(_text(LONGEST_LINE), MOST_LINES),
    "prompts": _list_of(_text(LONGEST_PROMPT), SAMPLE_COUNT),
    "machine": _machine,
    "nearest": _or_none(_list_of(_pair, SAMPLE_COUNT)),
    "times": _times,
    "train": LOSSES,
}
LEVELS = {**FIELDS, "held_out": _or_none(LOSSES)}  # of an evaluation; elsewhere it is a count
REQUIRED = {
    "start": ("total",),
    "ingest": ("done", "total"),
    **dict.fromkeys(("encode", "first_stage"), ("done", "total")),
    "step": ("step", "loss", "lr", "grad_norm", "pictures_per_second"),
    "evaluation": ("step", "times", "train", "held_out"),
    "samples": ("step", "file"),
    "baseline": ("kind", "count", "low", "median"),
}
INDISPENSABLE = {  # what a reader cannot do without; a journal of older days may have no more
    "ingest": REQUIRED["ingest"],
    "encode": REQUIRED["encode"],
    "first_stage": REQUIRED["first_stage"],
    "step": ("step",),
    "evaluation": REQUIRED["evaluation"],
    "samples": ("step",),
}


def check_event(event: Any) -> dict[str, Any]:
    """Return what is known of an event; raise `InputError` if it is none, or a figure is wrong."""
    fields = _fields(event)
    for name in REQUIRED.get(event["event"], ()):
        if name not in event:
            raise InputError(f"an event {shown(event['event'])} without {name}")
    for name, value in event.items():
        if name in fields and not fields[name](value):
            raise InputError(f"{name} = {shown(value)}: not what it can be")
    if not _is_level(event):
        raise InputError("an evaluation whose lists have not one length")
    return {name: value for name, value in event.items() if name in fields}


def check_place(event: Mapping[str, Any], timesteps: int, pictures: int) -> None:
    """Raise `InputError` for a checked event beyond its run: a time, a picture, a step.

    pictures: how many travel with the run, 0 where none do and nothing can be shown beside them.
    """
    if event["event"] == "evaluation" and event["times"][-1] > timesteps:
        raise InputError(f"times = {shown(event['times'])}: beyond t = {timesteps}")
    beyond = [place for place, _ in event.get("nearest") or () if pictures and place >= pictures]
    if beyond:
        raise InputError(f"nearest: picture {beyond[0]} of {pictures}")
    if event["event"] == "step" and event["step"] > event.get("total", MOST_STEPS):
        raise InputError(f"step = {event['step']}: beyond total = {event['total']}")


def drop_invalid(event: Any) -> dict[str, Any] | None:
    """Return an event without the fields that cannot be; None where too little of it is left."""
    try:
        fields = _fields(event)
    except InputError:
        return None
    valid = {
        name: value for name, value in event.items() if name not in fields or fields[name](value)
    }
    whole = all(name in valid for name in INDISPENSABLE.get(event["event"], ()))
    return valid if whole and _is_level(valid) else None


def _fields(event: Any) -> dict[str, Check]:
    """Return the checks of an event's fields; raise `InputError` if it is none."""
    if not isinstance(event, Mapping) or not FIELDS["event"](event.get("event")):
        raise InputError("no event")
    return LEVELS if event["event"] == "evaluation" else FIELDS


def _is_level(event: Mapping[str, Any]) -> bool:
    """Tell whether an evaluation has as many losses as times; other events have none."""
    if event["event"] != "evaluation":
        return True
    lists = [event["train"], event["times" if event["held_out"] is None else "held_out"]]
    return all(len(each) == len(event["times"]) for each in lists)
