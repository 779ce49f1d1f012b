"""One line that tells a mistake, in the language of the page.

The gate, the readers of pictures and the settings tell it in English, as the command line prints
it. `lines` has the same lines of another language beside it, with {placeholders}; what a
line says of another, "X: why", is put together again. What is not there stays English.
"""

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import NamedTuple

from sd.common.paths import PACKAGE
from sd.ui.texts import TEXTS

PLACE = re.compile(r"\{(\w+)\}")
FREE = ("rest", "why", "what", "list", "word", "allowed")  # begin placeholders of anything at all
HEADS = re.compile(r"(?=: )")  # where a line may part into what it is about, and why
VALUE = re.compile(r"(.{1,80}?) = (.*)", re.DOTALL)
LONGEST_LABEL = 40  # characters of a field's label, by which a line calls it
DEEPEST = 4  # lines within each other
WIDE = "："
_SPOKEN: ContextVar[str] = ContextVar("spoken", default="en")


class Line(NamedTuple):
    """One line: what it is in English, and how it is said instead."""

    english: re.Pattern[str]
    said: str


class Lines(NamedTuple):
    """The lines of a language, those that say most in their own words first, and names."""

    lines: list[Line]
    names: dict[str, str]


def compiled(template: str) -> re.Pattern[str]:
    """Return the pattern of a line in which each placeholder stands for one thing."""
    parts = PLACE.split(template)  # text, name, text, name, ..., text
    for place, name in enumerate(parts):
        anything = "." if name.startswith(FREE) else "(?!: )."
        parts[place] = f"(?P<{name}>(?:{anything})+?)" if place % 2 else re.escape(name)
    return re.compile("".join(parts), re.DOTALL)


@lru_cache
def lines_of(lang: str) -> Lines | None:
    """Return the lines of a language; None where there are none, as of English."""
    file = PACKAGE / "ui" / "lines" / f"{lang}.toml"
    if lang not in TEXTS or not file.is_file():
        return None
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    ordered = sorted(tables["lines"].items(), key=lambda pair: -len(PLACE.sub("", pair[0])))
    labels = {
        text: TEXTS[lang][key]
        for key, text in TEXTS["en"].items()
        if len(text) <= LONGEST_LABEL and "{" not in text
    }
    return Lines([Line(compiled(each), said) for each, said in ordered], labels | tables["names"])


@contextmanager
def speak(lang: str) -> Iterator[None]:
    """Let this be the language of all that is told within the block."""
    token = _SPOKEN.set(lang)
    try:
        yield
    finally:
        _SPOKEN.reset(token)


def translate(line: str, lang: str = "") -> str:
    """Return a line in a language, or as it is where nobody has said it otherwise.

    lang: "" is that of the page whose event is at hand.
    """
    known = lines_of(lang or _SPOKEN.get())
    return line if known is None else _say(line, known, DEEPEST) or line


def _say(line: str, known: Lines, deep: int) -> str | None:
    """Return a line in other words; None for one that is not known."""
    if said := _say_whole(line, known, deep):
        return said
    for cut in HEADS.finditer(line):
        if why := _say_whole(line[cut.start() + 2 :], known, deep):
            return _head(line[: cut.start()], known) + WIDE + why
    return None


def _say_whole(line: str, known: Lines, deep: int) -> str | None:
    """Return a line in other words that stands as it is among those that are known."""
    for each in known.lines if deep else ():
        if found := each.english.fullmatch(line):
            said = {
                name: _fill(name, text, known, deep) for name, text in found.groupdict().items()
            }
            if None not in said.values():
                return each.said.format(**said)
    return None


def _fill(name: str, text: str, known: Lines, deep: int) -> str | None:
    """Return what a placeholder holds: another line under `rest`, else the text itself."""
    return _say(text, known, deep - 1) if name.startswith("rest") else text


def _head(text: str, known: Lines) -> str:
    """Return what a line is about: a name, or "name = value", by its name in the language."""
    if found := VALUE.fullmatch(text):
        return f"{known.names.get(found[1], found[1])} = {found[2]}"
    return known.names.get(text, text)
