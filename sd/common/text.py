"""Text as it is shown to people: printable names, short names, sizes, times and counts."""

import math
import string
import unicodedata
from collections.abc import Mapping
from typing import Any

LONGEST_SHOWN_NAME = 80  # characters of a name in a message
JOINERS = "\u200c\u200d"  # join letters or part them in Persian and Hindi, and join emoji


def printable(name: str) -> str:
    """Return `name` as it is shown, so that names that look equal are: in Unicode's form NFC.

    Any space is a plain one; a replacement character stands for all else that is not printed, but
    not for what joins two letters that are not English.
    """
    if name.isascii() and name.isprintable():
        return name
    composed = unicodedata.normalize("NFC", name)
    pairs = zip(" " + composed, composed, strict=False)
    return "".join(
        each if each.isprintable() else _stand_in(before, each) for before, each in pairs
    )


def _stand_in(before: str, character: str) -> str:
    if character in JOINERS and not before.isascii() and before.isprintable():
        return character
    return " " if unicodedata.category(character) == "Zs" else "\ufffd"


def brief(name: str) -> str:
    """Return `name` short enough for a message: its beginning and its end."""
    return (
        name
        if len(name) <= LONGEST_SHOWN_NAME
        else f"{name[:30]}…{name[-(LONGEST_SHOWN_NAME - 31) :]}"
    )


def system_reason(error: OSError) -> str:
    """Return the system's own reason for an error, as "No space left on device"."""
    if isinstance(error, FileExistsError):  # "File exists" does not tell that it is in the way
        return "a file of that name is there"
    return error.strerror or printable(" ".join(str(error).split())) or type(error).__name__


MIB = 2**20


def format_bytes(count: int) -> str:
    """Return a number of bytes for people, as "40 KiB", "850 MiB" or "1.2 GiB"."""
    if count < MIB:
        return f"{count / 1024:.0f} KiB" if count >= 1024 else f"{count} bytes"
    gib = count / 2**30
    return f"{count / MIB:.0f} MiB" if gib < 1 else f"{gib:,.{1 if gib < 10 else 0}f} GiB"


def format_seconds(seconds: float) -> str:
    """Return a time for people: "45 s", "12 min" or "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def format_count(count: float, unit: str = "") -> str:
    """Return a count in three digits and a prefix: "38.2 M", "4.1 GFLOP"; not for bytes."""
    count = float(f"{count:.3g}")
    step = min(int(math.log10(max(count, 1))) // 3, 4)
    return f"{count / 1000**step:.3g} {('', 'k', 'M', 'G', 'T')[step]}{unit}".strip()


class _Counts(string.Formatter):
    """Formats as `str.format`, and {n:picture|pictures} as the first word where n is 1."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        one, bar, many = format_spec.partition("|")
        if not bar:
            return super().format_field(value, format_spec)
        return one if str(value) == "1" else many


def fill(text: str, values: Mapping[str, Any]) -> str:
    """Return a text with its {names} filled in; {n:picture|pictures} chooses by the count n."""
    return _Counts().vformat(text, (), values)
