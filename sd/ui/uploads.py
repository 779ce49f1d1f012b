"""The pictures that people bring: kept under their digest as one zip, surveyed once for everyone.

What was found is remembered by the digest of the files, so it is the same for everyone who has
these files, and nobody else can ask for it.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from sd.common import disk, validation
from sd.common.text import brief, format_bytes, printable
from sd.common.validation import InputError
from sd.data.reading.files import is_clutter
from sd.runs.sharing.turn import read_turn
from sd.ui import state
from sd.ui.adapter import checks
from sd.ui.adapter.requests import SPARE_DISK
from sd.ui.state import shared
from sd.ui.surveys import SUFFIX, Survey, Surveys

if TYPE_CHECKING:
    from sd.data.reading.report import Report

Result = TypeVar("Result")
STARTER, SHAPES = BUNDLED_WORDS = ("starter", "shapes")  # of the bundled sets
HANDLE = re.compile(r"[0-9a-f]{16}\.zip")


def uploads() -> Path:
    """Return the folder in which uploaded pictures are kept for training."""
    return state.home().uploads


def source_of(handle: Any) -> str:
    """Return what `read_images` takes: a bundled set's word, or the zip that `handle` names."""
    if isinstance(handle, str) and handle in BUNDLED_WORDS:
        return handle
    if handle is None:
        raise InputError(
            "data = None: the server does not know (any more) which pictures this page shows: wait "
            "until they are read, or reload the page and choose them again"
        )
    if not isinstance(handle, str) or not HANDLE.fullmatch(handle):
        raise InputError(
            f"data = {validation.shown(handle)}: must be 'starter', 'shapes' or what /inspect_data "
            "returned"
        )
    path = uploads() / handle
    if not path.is_file():
        raise InputError(f"data = {handle!r}: no such upload; upload the pictures again")
    return str(path)


def digest_of(files: Sequence[Path], names: Sequence[str]) -> str:
    """Return 16 hexadecimal digits of names and contents."""
    total = hashlib.sha256()
    for path, name in zip(files, names, strict=True):
        with path.open("rb") as file:
            total.update(name.encode("utf-8", "replace"))
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]


def keep(files: Sequence[str]) -> tuple[Path, bool]:
    """Keep uploaded files as one zip under their digest, a single zip as it is.

    Return where, and whether it was not there before. However many keep the same files at once, it
    is whole or not there. Raises `InputError` where the disk is full.
    """
    from sd.data.reading.archive import is_archive, pack_files

    wanted = [file for file in files if not is_clutter(checks.original_name(file))] or files
    paths, names = [Path(file) for file in wanted], [checks.original_name(file) for file in wanted]
    target = uploads() / f"{digest_of(paths, names)}.zip"
    alone = len(paths) == 1 and is_archive(paths[0])
    size = sum(path.stat().st_size for path in paths)
    if target.is_file() and (not alone or target.stat().st_size == size):  # an older page cut some
        return target, False
    state.home().ensure_writable()
    state.home().check_room(size)
    target.parent.mkdir(parents=True, exist_ok=True)
    check_room(size, target.parent)
    if alone:
        disk.write_file(target, lambda temporary: share(paths[0], temporary))
    else:
        pack_files(paths, names, target)
    return target, True


def share(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` where both lie on one disk, else a copy of it.

    Nothing ever writes into either: both are made by renaming and go by unlinking.
    """
    target.unlink()
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def check_room(size: int, folder: Path) -> None:
    """Raise `InputError` where a disk has no room for so many bytes more."""
    room = shutil.disk_usage(folder).free - SPARE_DISK
    if size > room:
        left = format_bytes(max(0, room))
        raise InputError(
            f"the pictures: {format_bytes(size)}; the disk of this page has {left} left"
        )


def survey(handle: str) -> Generator[tuple[int, int], None, Survey]:
    """Yield (done, total) while a set is read; return what was found. Raises `InputError`."""
    return shared(Surveys).survey(handle, source_of(handle))


def survey_of(handle: Any) -> Survey:
    """Return what is known of a set; it is read again if that was forgotten."""
    return drained(survey(handle))


def drained(steps: Generator[Any, None, Result]) -> Result:
    """Return what a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


def bundled(files: Any) -> str | None:
    """Return the word of the set that is meant where nothing was uploaded, else None."""
    return SHAPES if files == SHAPES else None if files else STARTER


def take(files: Any) -> Generator[tuple[int, int], None, str]:
    """Keep an upload and read it, or a bundled set (its word; none: starter); return its handle.

    What holds no usable picture is not kept. Raises InputError.
    """
    if word := bundled(files):
        yield from survey(word)
        return word
    names = files if isinstance(files, list) else [files]
    target, is_new = keep(names)
    try:
        yield from survey(target.name)
    except InputError as error:
        if is_new:
            target.unlink(missing_ok=True)
        name = brief(printable(checks.original_name(names[0]))) if len(names) == 1 else "the upload"
        raise InputError(str(error).replace(target.name, name)) from None
    return target.name


def survey_again(handle: str) -> Generator[tuple[int, int], None, str]:
    """Read a set that the page has; return its handle. Raises `InputError` where it is gone."""
    source_of(handle)
    yield from survey(handle)
    return handle


def delete(handle: Any) -> None:
    """Delete an upload, and what was found in it; raise `InputError` while a run waits for it.

    A run that has begun has pictures of its own.
    """
    source = Path(source_of(handle))
    if source.parent != uploads():
        raise InputError(f"data = {handle!r}: it comes with the project and stays as it is")
    for folder in state.home().run_folders():
        turn = read_turn(folder)
        if turn is not None and str(source) in turn.words:
            raise InputError(f"data = {handle!r}: a run in line needs it; stop it first")
    source.unlink(missing_ok=True)
    source.with_suffix(SUFFIX).unlink(missing_ok=True)
    shared(Surveys).forget(source.name)


def title_of(files: Sequence[str]) -> str:
    """Return what uploaded files are called together: their folder or zip; "" for loose files."""
    from sd.data.reading.archive import is_archive

    names = [PurePosixPath(checks.original_name(file)) for file in files]
    tops = {name.parts[0] for name in names if len(name.parts) > 1}
    if len(tops) == 1 and all(len(name.parts) > 1 for name in names):
        return printable(tops.pop())
    if len(files) == 1 and is_archive(Path(files[0])):
        return printable(names[0].stem)
    return ""


def inspect(files: Any) -> tuple[str, "Report"]:
    """Return the handle of an upload and its report, when all is read."""
    handle = drained(take(files))
    return handle, survey_of(handle).report
