"""Where results are written: never over what was read, nor over anything unasked.

A result lies beside its place until it is whole, so a full disk leaves what was there. In a folder
it gets a name that is free; a named file is replaced only where that is asked for.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from sd.common import validation
from sd.common.disk import flush, temporary_path
from sd.common.text import brief, printable, system_reason
from sd.common.validation import InputError

SLASHES = tuple(filter(None, (os.sep, os.altsep)))


class Output(NamedTuple):
    """A folder, or a file of a `form` as its ending tells: ".png", in small letters."""

    path: Path
    form: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it is a file that was named, not a folder."""
        return bool(self.form)


def output_of(flag: str, out: str, forms: Sequence[str]) -> Output:
    """Return what an output's name means: a folder is there already, or ends in / or in nothing.

    Raises `InputError` for an ending that none of the `forms` has.
    """
    path = Path(out)
    ending = (path.suffix or (path.name if path.name.lower() in forms else "")).lower()
    if out and (out.endswith(SLASHES) or path.is_dir() or not ending):
        if path.exists() and not path.is_dir():
            raise InputError(f"{flag} = {validation.shown(out)}: a file of that name is there")
        return Output(path)
    if ending not in forms or not path.suffix:
        named = ", ".join(f"FILE{form}" for form in forms)
        raise InputError(
            f"{flag} = {validation.shown(out)}: must be a folder or {named}; end a folder in /"
        )
    return Output(path, ending)


def check_free(flag: str, out: Output, read: Iterable[Path], overwrite: bool) -> None:
    """Raise `InputError` where a file would take the place of one that is `read`, or that is there.

    read: files, and folders whose files are read. Links and other spellings are seen through.
    """
    if not out.is_file or not os.path.lexists(out.path):
        return
    name = brief(printable(out.path.name))
    if any(_lies_at(out.path, each) for each in read):
        raise InputError(f"{flag}: {name} is what is read here; give the result another name")
    if not overwrite:
        raise InputError(f"{flag}: {name} is there already; another name, or --overwrite")


def check_apart(flag: str, one: Output, other_flag: str, other: Output) -> None:
    """Raise `InputError` where two results would be written to one file."""
    if one.is_file and other.is_file and _lies_at(one.path, other.path):
        name = brief(printable(one.path.name))
        raise InputError(f"{flag} and {other_flag}: both are {name}; give each a name")


def make_place(out: Output) -> None:
    """Make an output's folder before the result is; `InputError` where nothing can be written."""
    folder = out.path.parent if out.is_file else out.path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        name = brief(printable(str(folder)))
        raise InputError(
            f"{name}: nothing can be written there ({system_reason(error)})"
        ) from error


def _lies_at(path: Path, other: Path) -> bool:
    """Tell whether a path is another one, by whatever name, or lies in the folder that it is."""
    try:
        if os.path.samefile(path, other):
            return True
    except OSError:  # one of them is not there
        pass
    here, there = (Path(os.path.realpath(each)) for each in (path, other))
    return here == there or (there.is_dir() and here.is_relative_to(there))


def write_named(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a file, and put it in its place when it is whole; raise `OSError`."""
    with _beside(path) as temporary:
        fill(temporary)
        flush(temporary)
        temporary.replace(path)


def write_free(path: Path, fill: Callable[[Path], None]) -> Path:
    """Let `fill` write a file under the first free name like NAME.png, NAME-2.png; return it."""
    with _beside(path) as temporary:
        fill(temporary)
        place = _claimed(path)
        temporary.replace(place)
        return place


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield where a file is written before it is put at `path`; an error names that, not this."""
    temporary = temporary_path(path)
    try:
        yield temporary
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _claimed(path: Path) -> Path:
    """Return the first name that nobody has, taken by an empty file."""
    for number in count(1):
        place = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            place.open("x").close()
        except FileExistsError:
            continue
        return place
    raise AssertionError  # count never ends
