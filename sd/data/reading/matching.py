"""Which picture a name means: a row's file, or a caption's own name. Certain, or no match.

Names are compared as they are, then without regard to small and capital letters; a row may leave
out the suffix, and its path may begin elsewhere, as long as one path is the end of the other.
"""

import posixpath
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from sd.common.text import printable
from sd.data.reading.names import CAPTION_SUFFIXES, comparison_key, stem

DEEPEST = 40  # folders of a row's path that are looked at
MOST_NAMESAKES = 64  # beyond these a name is looked for no further


Index = dict[str, list[str]]  # from a name in common to the pictures that have it


class Match(NamedTuple):
    """The picture that a row means, and how sure that is: 0 is its very path."""

    name: str
    rank: int


class Places:
    """The pictures of a set by their paths."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take the paths of the pictures."""
        self._names = sorted(names)
        self._known = set(self._names)

    @cached_property
    def _whole(self) -> list[Index]:
        """The pictures by what equal paths have in common, with their suffix and without."""
        return [
            _indexed((comparison_key(key(name)), name) for name in self._names)
            for key in (str, stem)
        ]

    @cached_property
    def _ends(self) -> list[Index]:
        """The pictures by the last one and two parts of those paths."""
        return [
            _indexed(
                (end, name)
                for path, names in index.items()
                for name in names
                for end in {_end(path, 1), _end(path, 2)}
            )
            for index in self._whole
        ]

    def scope(self, folder: str) -> str:
        """Return where a metadata file in `folder` finds pictures: below it, or anywhere."""
        place = bisect_left(self._names, below := f"{folder}/")
        holds = place < len(self._names) and self._names[place].startswith(below)
        return folder if holds else ""

    def find(self, file: str, folder: str) -> Match | None:
        """Return the one picture that `file` means in a metadata file that lies in `folder`."""
        path = printable(file.strip().replace("\\", "/"))
        joined, alone = _normal(posixpath.join(folder, path)), _normal(path)
        for rank, exact in enumerate((joined, alone)):
            if exact in self._known:
                return Match(exact, rank)
        scope = self.scope(folder)
        parts = [part for part in comparison_key(alone).split("/") if part not in ("", ".", "..")]
        near = parts[-DEEPEST:]
        ends = ["/".join(near[start:]) for start in range(len(near))]
        tails = [comparison_key(posixpath.join(scope, end)) for end in ends]
        tries = [
            (paths, index) for paths in ([comparison_key(joined)], tails) for index in self._whole
        ]
        for rank, (paths, index) in enumerate(tries):
            for each in paths:
                if found := index.get(each):
                    return Match(found[0], 2 + rank) if len(found) == 1 else None
        for rank, index in enumerate(self._ends) if parts and parts == near else ():
            found = _ending(index.get(_end(ends[0], 2), []), ends[0], scope, bool(rank))
            if found:
                return Match(found[0], 6 + rank) if len(found) == 1 else None
        return None


def _indexed(pairs: Iterable[tuple[str, str]]) -> Index:
    index: Index = {}
    for key, name in pairs:
        index.setdefault(key, []).append(name)
    return index


def _normal(path: str) -> str:
    return posixpath.normpath(path).lstrip("/")


def _end(path: str, parts: int) -> str:
    return "/".join(path.split("/")[-parts:])


def _ending(names: Sequence[str], end: str, scope: str, suffixless: bool) -> list[str]:
    """Return those of `names` below `scope` whose path ends as `end`."""
    if len(names) > MOST_NAMESAKES:
        return list(names[:2])  # too many to be sure of one
    inside = [name for name in names if not scope or name.startswith(f"{scope}/")]
    return [
        name
        for name in inside
        if f"/{comparison_key(stem(name) if suffixless else name)}".endswith(f"/{end}")
    ]


class Beside:
    """The caption files that lie beside pictures of the same name."""

    def __init__(
        self, captions: Iterable[str], pictures: Iterable[str], unsure: Iterable[str]
    ) -> None:
        """Take the paths of both; `unsure`: those that several files have."""
        self._files: dict[str, list[str]] = {}  # stem of a caption -> its files
        self._alike: dict[str, set[str]] = {}  # stems of captions that are equal
        for name in sorted(captions, key=_order):
            self._files.setdefault(stem(name), []).append(name)
            self._alike.setdefault(comparison_key(stem(name)), set()).add(stem(name))
        self._namesakes: dict[str, set[str]] = {}  # stems of pictures that are equal
        names = list(pictures)
        for name in names:
            for key in (stem(name), name) if self._files else ():
                self._namesakes.setdefault(comparison_key(key), set()).add(key)
        unsure = set(unsure)
        pairs = ((name, self._matches(name)) for name in names if self._files)
        self._found = {name: found for name, found in pairs if found}
        self.files = {file for found in self._found.values() for file in found}
        self.withheld = {
            name for name, found in self._found.items() if unsure & {name, *found}
        }  # pictures

    def of(self, picture: str) -> Sequence[str]:
        """Return the caption files of a picture, the one that counts first."""
        return () if picture in self.withheld else self._found.get(picture, ())

    def _matches(self, picture: str) -> list[str]:
        keys = dict.fromkeys((stem(picture), picture))  # one, where a name has no suffix
        return [file for key in keys for file in self._files.get(self._key(key), ())]

    def _key(self, key: str) -> str:
        """Return the stem of the captions that mean `key`: its own, or the only one equal to it."""
        alike = self._alike.get(comparison_key(key), set())
        if key in alike or len(alike) != 1 or len(self._namesakes[comparison_key(key)]) > 1:
            return key
        return next(iter(alike))


def _order(name: str) -> tuple[int, str]:
    """Return a key that sorts captions of one stem: .txt before .caption."""
    suffix = posixpath.splitext(name)[1].lower()
    return CAPTION_SUFFIXES.index(suffix), name
