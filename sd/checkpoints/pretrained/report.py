"""The loading report: what of a file fills which part of a model, as a tree. No torch.

It is made of the header alone, before anything is loaded.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sd.checkpoints.pretrained.header import Entry, WeightFile
from sd.common.text import brief, format_bytes, printable

NAMED = 3  # tensors that a line names
TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Stored(NamedTuple):
    """A tensor where it lies; rows: which of them, where a file has several below each other."""

    file: WeightFile
    name: str
    rows: tuple[int, int] | None = None

    @property
    def entry(self) -> Entry:
        """Its type and shape in the file."""
        return self.file.entries[self.name]


class Guess(NamedTuple):
    """What no header tells: a value, why it is taken, and what may be said instead."""

    name: str
    value: str
    why: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a model: `matched` tensors by our names, and what of the file does not fit.

    config: what it is, as its network takes it. used: whether it is loaded for sampling.
    """

    name: str
    title: str
    about: str
    config: Any
    matched: Mapping[str, Stored]
    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()
    mismatched: Sequence[str] = ()
    reshaped: Sequence[str] = ()
    used: bool = True

    @property
    def whole(self) -> bool:
        """Whether nothing is missing or of another shape."""
        return not self.missing and not self.mismatched

    @property
    def parameters(self) -> int:
        """Numbers in its matched tensors."""
        return sum(
            math.prod(each.entry.shape) if each.rows is None else _rows_size(each)
            for each in self.matched.values()
        )

    @property
    def dtype(self) -> str:
        """The type most of its tensors are stored as."""
        counts = Counter(each.entry.dtype for each in self.matched.values())
        (most, _), *_ = counts.most_common(1) or [("?", 0)]
        return TYPES.get(most, most)

    @property
    def files(self) -> list[str]:
        """The files that it lies in."""
        return list(dict.fromkeys(each.file.label for each in self.matched.values()))

    @property
    def fault(self) -> str:
        """What keeps it from being loaded, in a few words; "" where nothing does."""
        if self.mismatched:
            return f"{self.title}: {_named(self.mismatched)}"
        if self.missing:
            return f"{self.title}: {_named(self.missing)} missing"
        return ""

    def lines(self) -> Iterator[str]:
        """Yield what is to be said of it, its title first."""
        total = len(self.matched) + len(self.missing) + len(self.mismatched)
        use = "" if self.used else "; not used"
        yield (
            f"{self.title}: {len(self.matched)} of {total} tensors, {self.parameters:,} parameters "
            f"as {self.dtype}{use}"
        )
        if self.about:
            yield self.about
        for word in ("missing", "mismatched", "unexpected", "reshaped"):
            if names := getattr(self, word):
                yield f"{word}: {_named(names)}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        lists = ("missing", "mismatched", "unexpected", "reshaped")
        return {
            "part": self.name,
            "title": self.title,
            "about": self.about,
            "files": self.files,
            "matched": len(self.matched),
            "parameters": self.parameters,
            "dtype": self.dtype,
            "used": self.used,
            **{word: list(getattr(self, word)) for word in lists},
        }


def _rows_size(stored: Stored) -> int:
    first, last = stored.rows or (0, 0)
    return (last - first) * math.prod(stored.entry.shape[1:])


@dataclass(frozen=True, eq=False)
class LoadingReport:
    """What a file or folder holds and what is made of it."""

    label: str
    kind: str
    form: str
    bytes: int
    parts: Sequence[Part]
    guesses: Sequence[Guess] = ()
    ignored: Sequence[str] = ()
    unknown: Sequence[str] = ()
    notes: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def part(self, *names: str) -> Part | None:
        """Return the first part of these names that is used."""
        return next((each for each in self.parts if each.name in names and each.used), None)

    def lines(self) -> list[str]:
        """Return the report as the lines of a tree."""
        branches = [list(part.lines()) for part in self.parts]
        if self.guesses:
            guesses = [f"{each.name} = {each.value}: {_reason(each)}" for each in self.guesses]
            said = ",".join(f"{each.name}={each.value}" for each in self.guesses)
            branches.append([f"guessed; say it after the name to overrule: #{said}", *guesses])
        if self.ignored:
            branches.append([f"ignored: {_named(self.ignored)}"])
        if self.unknown:
            branches.append([f"unknown, not read: {_named(self.unknown)}"])
        branches += [[note] for note in self.notes]
        lines = [f"{self.label}: {self.kind}, {format_bytes(self.bytes)}, {self.form}"]
        for branch in branches:
            last = branch is branches[-1]
            lines.append(f"{'└' if last else '├'}─ {branch[0]}")
            lines += [f"{' ' if last else '│'}     {each}" for each in branch[1:]]
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "file": self.label,
            "kind": self.kind,
            "form": self.form,
            "bytes": self.bytes,
            "parts": [each.to_json() for each in self.parts],
            "guesses": [each._asdict() for each in self.guesses],
            "ignored": list(self.ignored),
            "unknown": list(self.unknown),
            "notes": list(self.notes),
        }


def _reason(guess: Guess) -> str:
    others = [each for each in guess.choices if each != guess.value]
    return f"{guess.why}; or {', '.join(others)}" if others else guess.why


def _named(names: Sequence[str]) -> str:
    """Return how many names there are, and the first of them."""
    first = ", ".join(brief(printable(name)) for name in names[:NAMED])
    return f"{len(names)} ({first}{', ...' if len(names) > NAMED else ''})"
