"""Files of strangers by their relative path: what a folder or a single file offers, and no more.

Links that lead out, pipes, devices and files that are too long are left out by name. Names are
made printable here, so a report, a page and a file in UTF-8 can show them.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from sd.common.text import printable
from sd.common.validation import InputError

MOST_FILES = 100_000
LONGEST_FILE = 64 * 2**20  # bytes
HEAD = 4096  # bytes of a file's beginning
CLUTTER = (  # of macOS, Windows and a network drive; dotfiles are clutter anyhow
    *("__macosx", "icon\ufffd", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"),
    *("system volume information", "lost+found", "@eadir"),
)
TWICE = "its name appears twice"


class LeftOut(NamedTuple):
    """A file that is not used, and why."""

    name: str
    reason: str


class Listing(Protocol):
    """Files by their relative path, with "/" between its parts, and what was left out."""

    left_out: list[LeftOut]
    remarks: list[str]  # what else is to be said of the files

    @property
    def names(self) -> list[str]:
        """The usable files."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; InputError (the reason, without the name) if it has none."""

    def head(self, name: str) -> bytes:
        """Return the first bytes of a file, `HEAD` at most; InputError as `read` raises it."""

    def close(self) -> None:
        """Let go of what is open."""


def is_clutter(name: str) -> bool:
    """Tell whether a path holds a dotfile or what an operating system leaves behind."""
    parts = name.split("/")
    return any(part.startswith(".") or part.lower() in CLUTTER for part in parts if part != "..")


def too_long(length: int) -> str:
    """Return the reason why a file of `length` bytes is left out."""
    return f"{length / 2**20:.1f} MiB; at most {LONGEST_FILE // 2**20} are allowed"


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file; InputError, without its name, if it is unreadable."""
    try:
        with path.open("rb") as opened:
            return opened.read(HEAD)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error


def read_bytes(file: BinaryIO | Path) -> bytes:
    """Return all bytes of a file; InputError, without its name, if it is too long or unreadable."""
    try:
        if isinstance(file, Path):
            with file.open("rb") as opened:
                return read_bytes(opened)
        data = file.read(LONGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    if len(data) > LONGEST_FILE:
        raise InputError(f"more than {LONGEST_FILE // 2**20} MiB")
    return data


class SingleFile:
    """One file as a listing of its own."""

    def __init__(self, path: Path) -> None:
        """Take the file at `path`."""
        self.left_out: list[LeftOut] = []
        self.remarks: list[str] = []
        self.names = [printable(path.name)]
        self._path = path

    def read(self, name: str) -> bytes:
        """Return the bytes of the file."""
        return read_bytes(self._path)

    def head(self, name: str) -> bytes:
        """Return the first bytes of the file."""
        return read_head(self._path)

    def close(self) -> None:
        """Nothing is open."""


class Folder:
    """The plain files below a folder, without dotfiles, and what was left out."""

    def __init__(self, root: Path, leave_out: Sequence[Path] = ()) -> None:
        """Walk through `root`, but not into the folders among `leave_out` that lie in it."""
        self.left_out: list[LeftOut] = []
        self.remarks: list[str] = []
        self._root = os.path.realpath(root)
        self._paths: dict[str, str] = {}
        outputs = {Path(os.path.realpath(path)) for path in leave_out}
        self._leave_out = {path for path in outputs if path.is_relative_to(self._root)}
        self._leave_out.discard(Path(self._root))
        for folder, folders, files in os.walk(self._root, onerror=self._unreadable):
            folders[:] = [name for name in folders if self._enters(os.path.join(folder, name))]
            for file in files:
                self._add(os.path.join(folder, file))
                if len(self._paths) + len(self.left_out) > MOST_FILES:
                    raise InputError(
                        f"the folder {printable(root.name)} has more than {MOST_FILES} files"
                    )

    @property
    def names(self) -> list[str]:
        """The paths of the usable files below the folder."""
        return list(self._paths)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; InputError (the reason, without the name) if it has none."""
        return read_bytes(Path(self._paths[name]))

    def head(self, name: str) -> bytes:
        """Return the first bytes of a file; InputError as `read` raises it."""
        return read_head(Path(self._paths[name]))

    def close(self) -> None:
        """Nothing is open."""

    def _name(self, path: str) -> str:
        return printable(path[len(self._root) :].lstrip(os.sep).replace(os.sep, "/"))

    def _unreadable(self, error: OSError) -> None:
        self.left_out.append(
            LeftOut(self._name(error.filename), f"cannot be opened ({error.strerror})")
        )

    def _enters(self, folder: str) -> bool:
        """Tell whether the walk goes on into a folder."""
        name = self._name(folder)
        if is_clutter(name):
            return False
        reason = "a link to a folder" if os.path.islink(folder) else None
        if Path(folder) in self._leave_out:
            reason = "a folder that training or sampling writes to"
        if reason:
            self.left_out.append(LeftOut(name, reason))
        return reason is None

    def _add(self, path: str) -> None:
        """Take a file, or leave it out."""
        name = self._name(path)
        if is_clutter(name):
            return
        reason = TWICE if name in self._paths else self._objection(path)
        if reason:
            self.left_out.append(LeftOut(name, reason))
        else:
            self._paths[name] = path

    def _objection(self, path: str) -> str | None:
        """Return why a file is not used, or None."""
        # The walk follows no links, so only a file that is one itself can lie elsewhere.
        target = os.path.realpath(path) if os.path.islink(path) else path
        if any(Path(target).is_relative_to(output) for output in self._leave_out):
            return "a file that training or sampling writes"
        if target is not path and not Path(target).is_relative_to(self._root):
            return "a link that leads out of the folder"
        try:
            status = os.stat(target)
        except OSError as error:
            return f"cannot be opened ({error.strerror})"
        if not stat.S_ISREG(status.st_mode):
            return "not a plain file"
        return too_long(status.st_size) if status.st_size > LONGEST_FILE else None
