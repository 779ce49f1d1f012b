"""Names that people give to files: what they say, when two are equal, and how a set is packed.

A picture and its caption find each other by their names alone, so a name that several files have
must not look like one that says which.
"""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sd.common.text import printable

PICTURE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".jxl"),
)
CAPTION_SUFFIXES = (".txt", ".caption")  # in the order in which they count
NUMBERED = re.compile(r"(.*) \(\d+ of \d+\)((?:\.[^./]*)?)", re.DOTALL)


def comparison_key(name: str) -> str:
    """Return what names have in common that look alike but for small and capital letters."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def stem(name: str) -> str:
    """Return a path without the suffix of its file."""
    return os.path.splitext(name)[0]


def has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Tell whether a name ends as one of `suffixes`, in small or capital letters."""
    return name.lower().endswith(suffixes)


def pack_names(files: Sequence[Path], names: Sequence[str]) -> dict[str, Path]:
    """Return the paths under which `files` go into one set; `names`: what they were called.

    The same file under the same name is one. Where different files share a name, or loose pictures
    share a stem with a caption, nobody can tell which belongs to which: all of that stem are
    numbered, "cat (1 of 3).png", and so no caption is tied to the wrong picture.
    """
    paths = [_path_below(name) for name in names]
    loose = not any("/" in path for path in paths)
    groups: dict[str, list[tuple[str, Path]]] = {}
    for path, file in _drop_copies(list(zip(paths, files, strict=True))):
        groups.setdefault(comparison_key(stem(path)), []).append((path, file))
    found: dict[str, Path] = {}
    mixed = []
    for group in groups.values():
        if _is_mixed([comparison_key(path) for path, _ in group], loose):
            mixed.append(group)
        else:
            found.update(group)
    for group in mixed:
        for number, (path, file) in enumerate(group, start=1):
            first, suffix = os.path.splitext(path)
            first = f"{first} ({number} of {len(group)})"
            while first + suffix in found:
                first += "+"
            found[first + suffix] = file
    return found


def _path_below(name: str) -> str:
    """Return a name as a path below the set, which leads nowhere else."""
    parts = printable(name.replace("\\", "/")).split("/")
    if len(parts) > 1 and re.fullmatch("[A-Za-z]:", parts[0]):
        del parts[0]
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "file"


def _drop_copies(named: Sequence[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    """Yield paths with their files, but a file only once under the same path."""
    count, seen = Counter(path for path, _ in named), set()
    for path, file in named:
        if count[path] > 1:
            with file.open("rb") as opened:
                content = path, hashlib.file_digest(opened, "sha256").digest()
            if content in seen:
                continue
            seen.add(content)
        yield path, file


def _is_mixed(names: Sequence[str], loose: bool) -> bool:
    """Tell whether files of one stem cannot be told from each other."""
    pictures = sum(has_suffix(name, PICTURE_SUFFIXES) for name in names)
    captions = sum(has_suffix(name, CAPTION_SUFFIXES) for name in names)
    return len(set(names)) < len(names) or (loose and pictures > 1 and captions > 0)


def name_before_numbering(name: str) -> str | None:
    """Return the name that `pack_names` numbered, or None where it is no numbered one."""
    found = NUMBERED.fullmatch(name)
    return found[1] + found[2] if found else None
