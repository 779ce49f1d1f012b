"""What one field of a settings section is: a default, a check and a sentence about it.

The checks are made here from the readers in `sd.common.validation`. A check takes the field's name
as messages show it and a value, and returns the value as it is kept, or raises `InputError`.
"""

import json
import unicodedata
from collections.abc import Callable
from dataclasses import Field, field, fields
from typing import Any, ClassVar

from sd.common import validation
from sd.common.validation import InputError, shown

Check = Callable[[str, Any], Any]

LONGEST_PATH = 4096  # characters
LONGEST_ENTRY, MOST_ENTRIES = 200, 1000  # of a list of names
UNWRITABLE = ("Cc", "Cs", "Zl", "Zp")  # Unicode: control, surrogate, line and paragraph end


class Section:
    """What the sections of a configuration share: every field is checked when one is made."""

    name: ClassVar[str]  # as in the ini's [name]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __post_init__(self) -> None:
        for each in fields(self):
            value = each.metadata["check"](f"{self.name}.{each.name}", getattr(self, each.name))
            object.__setattr__(self, each.name, value)
        self.check_together()

    def check_together(self) -> None:
        """Raise `InputError` where fields that are fine alone contradict each other."""


def key(default: Any, check: Check, about: str) -> Any:
    """Return a dataclass field that carries its check and its sentence."""
    return field(default=default, metadata={"check": check, "about": about})


def whole(low: int, high: int) -> Check:
    """Check for a whole number in [low, high]."""
    return lambda name, value: validation.whole(name, value, low, high)


def channels(name: str, value: Any) -> int:
    """Check for a network's channels, to 256; of a number that no network has, tell pictures'."""
    try:
        return validation.whole(name, value, 1, 256)
    except InputError:
        return validation.channels(name, value)


def real(low: float, high: float) -> Check:
    """Check for a finite number in [low, high]."""
    return lambda name, value: validation.real(name, value, low, high)


def choice(*words: str) -> Check:
    """Check for one of the words."""
    return lambda name, value: validation.choice(name, value, words)


def whole_or(unset: int | None, low: int, high: int, *also: object) -> Check:
    """Check for a whole number in [low, high] or `unset`, which `also` is read as."""

    def check(name: str, value: Any) -> int | None:
        is_plain = isinstance(value, int | str | None) and not isinstance(value, bool)
        if is_plain and (value == unset or value in also):
            return unset
        try:
            return validation.whole(name, value, low, high)
        except InputError as error:
            raise InputError(f"{error}, or {unset}") from None

    return check


def wholes(shortest: int, longest: int, low: int, high: int) -> Check:
    """Check for a list, tuple or set of whole numbers, kept as a tuple."""
    kind = f"must be a list of {shortest} to {longest} whole numbers from {low} to {high}"
    return _numbers(shortest, longest, kind, whole(low, high))


def pair(low: float, high: float, meaning: str) -> Check:
    """Check for two finite numbers in [low, high], kept as a tuple of floats."""
    kind = f"must be two numbers, {meaning}, from {low:g} to {high:g}"
    return _numbers(2, 2, kind, real(low, high))


def one_or_more(longest: int, low: int, high: int) -> Check:
    """Check for one whole number, or for a list of 1 to `longest` of them."""
    one, more = whole(low, high), wholes(1, longest, low, high)
    return lambda name, value: (more if isinstance(value, list | tuple) else one)(name, value)


def factors(name: str, value: Any) -> tuple[int, ...]:
    """Check for a list of downsample factors: powers of 2."""
    numbers: tuple[int, ...] = wholes(0, 16, 1, 32768)(name, value)
    for number in numbers:
        if number & (number - 1):
            raise InputError(
                f"{name} = {shown(numbers)}: {number} is no downsample factor; every level "
                "halves the picture, so the factors are 1, 2, 4, 8, …"
            )
    return numbers


def path_text(name: str, value: Any) -> str | None:
    """Check for a path as text; None and an empty text are kept as None."""
    if value is None or value == "":
        return None
    text = validation.text(name, value, LONGEST_PATH)
    if any(unicodedata.category(character) in UNWRITABLE for character in text):
        raise InputError(f"{name} = {shown(text)}: must be one line of readable characters")
    return text


def names(name: str, value: Any) -> tuple[str, ...] | None:
    """Check for a list of names, or its text: JSON, or words between commas; [] is kept as None."""
    if isinstance(value, str):
        value = _parse_list(value)
    if value is None or value in ((), []):
        return None
    if not isinstance(value, list | tuple) or len(value) > MOST_ENTRIES:
        raise InputError(
            f'{name} = {shown(value)}: must be a list of at most {MOST_ENTRIES} names, ["a", "b"]'
        )
    return tuple(dict.fromkeys(validation.text(name, each, LONGEST_ENTRY) for each in value))


def _parse_list(text: str) -> Any:
    """Return the list that a text spells as JSON, or else as words between commas."""
    if not text.lstrip().startswith("["):
        return [word.strip() for word in text.split(",") if word.strip()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _numbers(shortest: int, longest: int, kind: str, one: Check) -> Check:
    def check(name: str, value: Any) -> tuple[Any, ...]:
        is_list = isinstance(value, list | tuple | set | frozenset)
        try:
            if not is_list or not shortest <= len(value) <= longest:
                raise InputError("no such list")
            numbers = tuple(one(name, number) for number in value)
        except InputError:
            raise InputError(f"{name} = {shown(value)}: {kind}") from None
        return tuple(sorted(numbers)) if isinstance(value, set | frozenset) else numbers

    return check
