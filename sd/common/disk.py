"""Writing to disk so that a kill, a full disk or a lost power line leaves the old or the new.

What is being written lies beside its place under a hidden name that ends in `.tmp`; it is flushed,
then renamed. What a killed writer leaves is known by that name and swept at the next start.
"""

import fnmatch
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sd.common.validation import InputError


def temporary_path(path: Path) -> Path:
    """Return where to write before renaming to `path`: beside it, hidden, known to `sweep`."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder, flush it to the disk and rename it to `folder`."""
    temporary = temporary_path(folder)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        for path in [*temporary.rglob("*"), temporary]:
            flush(path)
        temporary.rename(folder)
        flush(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def flush(path: Path) -> None:
    """Make the disk hold what was written to a file or folder (folders: where that is possible)."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """Return the JSON object in a file; raise `InputError` where there is none with these keys."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or set(keys) - set(value):
        raise InputError(f"{path.parent.name}/{path.name}: missing or not readable")
    return value


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    temporary = temporary_path(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def numbered(folder: Path, pattern: str) -> list[tuple[int, Path]]:
    """Return (number, path) of what is called like "checkpoint-000000100", the least first.

    The one order of checkpoints and samples: by number, however many zeros stand before it; of
    several with one number the name with most zeros, as runs write it, is the last.
    """
    try:
        names = fnmatch.filter(os.listdir(folder), pattern)
    except (OSError, ValueError):  # ValueError: a name with a null byte
        return []
    ends = {name: os.path.splitext(name)[0].rpartition("-")[2] for name in names}
    found = [(int(end), name) for name, end in ends.items() if end.isascii() and end.isdecimal()]
    found.sort(key=lambda entry: (entry[0], len(entry[1]), entry[1]))
    return [(number, folder / name) for number, name in found]


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, flush it and rename it; many may do so at once."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        flush(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove(folder: Path) -> None:
    """Delete a folder so that a kill midway leaves no half of it under its own name."""
    doomed = temporary_path(folder)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def sweep(folder: Path) -> list[str]:
    """Delete what killed writers left in `folder` and below; return the names.

    Only for a folder whose one writer is the caller.
    """
    left = sorted(folder.rglob(".*.tmp"), reverse=True)
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return [path.name for path in left]
