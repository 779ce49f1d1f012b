"""The tolerant reader of ini texts: text in, (section, key, value, line) out; nothing is evaluated.

It reads what `Config.to_ini` writes and what the original's author wrote: no section headers,
inline # comments that wrap over several lines, `0.`, None, lists and tuples, Chinese punctuation.
Which keys exist and what they may hold is not known here; `sd.config.config` decides that.
"""

import ast
import json
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sd.common.validation import InputError, shown

LARGEST_FILE = 100_000  # bytes
LONGEST_LITERAL = 500  # characters

KEY = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*[=＝](.*)", re.DOTALL)
HEADER = re.compile(r"\s*[\[［【]\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*[\]］】]\s*([#＃;].*)?", re.DOTALL)
QUOTED = re.compile(
    r"""\s*(?:"((?:[^"]|"")*)"|'((?:[^']|'')*)'|“([^”]*)”|‘([^’]*)’)\s*([#＃].*)?""", re.DOTALL
)
QUOTES = ("'", '"', "‘", "“")
LITERAL = re.compile(r"(?:[0-9eE+\-.,_\s\[\](){}]|None|True|False)+")
NAMED_VALUES = {"true": True, "false": False, "none": None}
FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    ord(wide): plain for wide, plain in zip("　【】〔〕、−", " [][],-", strict=True)
}
# Python 3.11 counts how deep it is in a syntax tree once for all threads: two that build one at the
# same time may end with "SystemError: AST constructor recursion depth mismatch".
_LITERALS = threading.Lock()


@dataclass(frozen=True)
class Entry:
    """One `key = value` of an ini text."""

    section: str | None  # the header above it; None before the first header
    key: str
    value: Any  # a number, True, False, None, a list, tuple or set of these, or a text
    line: int  # counted from 1


def read_file(path: Path) -> str:
    """Return the text of an ini file of at most 100 kB in UTF-8."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise InputError(f"{shown(path.name)}: cannot be read ({reason})") from None
    return decode(data, shown(path.name))


def decode(data: bytes, source: str) -> str:
    """Return the text in an ini file's bytes; `source` names it in errors."""
    if len(data) > LARGEST_FILE:
        raise InputError(f"{source}: more than {LARGEST_FILE:,} bytes; this is no settings file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{source}: not UTF-8 text; save the settings as UTF-8") from None


def read_entries(text: str, source: str) -> list[Entry]:
    """Return the entries of an ini text in their order; `source` names it in errors."""
    if len(text) > LARGEST_FILE:
        raise InputError(f"{source}: more than {LARGEST_FILE:,} characters; this is no settings")
    entries: dict[str, Entry] = {}
    section, comment_open = None, False
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text.lstrip("\ufeff")), start=1):
        if not line.strip() or line.lstrip()[0] in "#＃;":
            comment_open = bool(line.strip())
        elif match := KEY.fullmatch(line):
            value, comment_open = _split_comment(match[2])
            _add(entries, Entry(section, match[1], value, number), source)
        elif comment_open and line[0].isspace():
            continue  # an inline comment wraps over this line
        elif match := HEADER.fullmatch(line):
            section, comment_open = match[1], match[2] is not None
        else:
            raise InputError(
                f"{source}, line {number}: {shown(line.strip())} is neither [section], "
                "key = value nor a # comment"
            )
    return list(entries.values())


def parse_value(text: str) -> Any:
    """Return the number, word, list or text that `text` spells, without evaluating anything."""
    text = text.strip()
    if match := QUOTED.fullmatch(text):
        return _unquote(match) if match[5] is None else text
    plain = text.translate(FULL_WIDTH).strip()
    if len(plain) <= LONGEST_LITERAL and LITERAL.fullmatch(plain):
        try:
            with _LITERALS:
                return ast.literal_eval(plain)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return text
    return NAMED_VALUES.get(plain.lower(), text)


def spell(value: Any) -> str:
    """Return how `value` is written after `key =`, so that reading it gives `value` again."""
    if isinstance(value, tuple) and value and all(isinstance(each, str) for each in value):
        return json.dumps(value, ensure_ascii=False).replace("#", "\\u0023")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(repr, value))}]"
    if not isinstance(value, str):
        return repr(value)
    is_plain = value[:1] not in QUOTES and _split_comment(value) == (value, False)
    return value if is_plain else '"' + value.replace('"', '""') + '"'


def _split_comment(rest: str) -> tuple[Any, bool]:
    """Return the value in what follows `=`, and whether a comment begins behind it."""
    if match := QUOTED.fullmatch(rest):
        return _unquote(match), match[5] is not None
    if match := re.search(r"(?:^|\s)[#＃]", rest):
        return parse_value(rest[: match.start()]), True
    before, mark, _ = rest.replace("＃", "#").partition("#")
    value = parse_value(before)
    if mark and not isinstance(value, str):
        return value, True
    return parse_value(rest), False


def _unquote(match: re.Match[str]) -> str:
    double, single, *curly = match.groups()[:4]
    if double is not None:
        return double.replace('""', '"')
    if single is not None:
        return single.replace("''", "'")
    return next(text for text in curly if text is not None)


def _add(entries: dict[str, Entry], entry: Entry, source: str) -> None:
    if first := entries.get(entry.key):
        raise InputError(
            f"{source}, line {entry.line}: {entry.key} was already given in line {first.line}"
        )
    entries[entry.key] = entry
