"""The gate for what comes from outside: numbers, words and texts are checked here and nowhere else.

Page, API, command line, ini files and the library call these same readers. A person's mistake
raises `InputError`, whose text is one line: what was wrong, the value, and what is allowed.
"""

import difflib
import math
import random
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

LONGEST_SHOWN = 60
LONGEST_MESSAGE = 300
LONGEST_RAW = 10_000  # characters of a message that are looked at
UNFIT = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff]")  # what no file of text can hold
LONGEST_NAME = 200  # bytes of a file's name; most systems take 255
LARGEST_SEED = 2**53
RANDOM_SEED = -1  # stands for any


class InputError(ValueError):
    """A person's mistake, told in one line of at most 300 characters."""

    def __init__(self, message: str) -> None:
        line = " ".join(message[:LONGEST_RAW].split())
        if not line.isprintable():
            line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in line)
        super().__init__(
            line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"
        )


def shown(value: object) -> str:
    """Return `value` as it is quoted in a message: one printable line, shortened."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return "a whole number of more than 60 digits"
    line = repr(value[: LONGEST_SHOWN + 1] if isinstance(value, str) else value)
    return line if len(line) <= LONGEST_SHOWN else line[: LONGEST_SHOWN - 1] + "…"


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` as an int in [low, high]; a float counts only if it is whole, a bool never."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} = {shown(value)}: must be a whole number from {low} to {high}")
    return value


def seed(name: str, value: Any) -> int:
    """Return a seed; for -1 one that nobody chose, below a million."""
    if value == RANDOM_SEED and not isinstance(value, bool):
        return random.SystemRandom().randrange(1_000_000)
    try:
        return whole(name, value, 0, LARGEST_SEED)
    except InputError as error:
        raise InputError(f"{error}; -1 draws one") from None


def real(name: str, value: Any, low: float, high: float, above: bool = False) -> float:
    """Return `value` as a finite float in [low, high], with `above` in (low, high]; no bool."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if not fits or not math.isfinite(value) or (above and value == low):
        allowed = f"above {low:g}, at most {high:g}" if above else f"from {low:g} to {high:g}"
        raise InputError(f"{name} = {shown(value)}: must be a number {allowed}")
    return float(value)


def channels(name: str, value: Any) -> int:
    """Return `value` if pictures have so many channels: 1, 3 or 4."""
    if isinstance(value, bool) or value not in (1, 3, 4):
        raise InputError(
            f"{name} = {shown(value)}: must be 1 (grey), 3 (colour) or 4 (colour and "
            "transparency); no picture has another number of channels"
        )
    return int(value)


def flag(name: str, value: Any) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{name} = {shown(value)}: must be True or False")
    return value


def choice(name: str, value: Any, allowed: Sequence[str]) -> str:
    """Return `value` if it is one of the `allowed` words, else suggest the nearest."""
    if isinstance(value, str) and value in allowed:
        return value
    raise InputError(
        f"{name} = {shown(value)}: must be one of {', '.join(allowed)}{near(value, allowed)}"
    )


def near(value: Any, allowed: Sequence[str]) -> str:
    """Return "; did you mean 'x'?" for the word nearest to `value`, or nothing."""
    found = difflib.get_close_matches(value[:100], allowed, n=1) if isinstance(value, str) else []
    return f"; did you mean {found[0]!r}?" if found else ""


def text(name: str, value: Any, longest: int) -> str:
    """Return `value` if it is a text of at most `longest` characters that a file can hold."""
    if not isinstance(value, str):
        raise InputError(f"{name} = {shown(value)}: must be a text")
    if len(value) > longest:
        raise InputError(f"{name}: {len(value)} characters; at most {longest} are allowed")
    if UNFIT.search(value):
        raise InputError(f"{name} = {shown(value)}: must not hold control or half characters")
    return value


def file_name(name: str, value: Any) -> str:
    """Return `value` if it is a plain name for a file or folder of any language.

    Letters, digits, `.`, `_`, `-` and spaces; the first a letter or digit, the last none of a space
    and a dot, which some systems drop.
    """
    plain = isinstance(value, str) and re.fullmatch(r"\w(?:[\w. -]{0,62}[\w-])?", bare(value))
    if not plain or len(value.encode()) > LONGEST_NAME:
        raise InputError(
            f"{name} = {shown(value)}: must be 1 to 64 letters, digits, spaces, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    return str(value)


def bare(text: str) -> str:
    """Return `text` with a letter in the place of each mark that belongs to the one before it."""
    return "".join("_" if unicodedata.category(each)[0] == "M" else each for each in text)
