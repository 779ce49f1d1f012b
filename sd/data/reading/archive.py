"""Zip archives of strangers: judged from their directory first, then read entry by entry in memory.

Nothing is ever unpacked to disk, so a name that climbs out of the archive has nowhere to go: such
entries, links, encrypted ones and archives inside the archive are left out by name. An archive
that would unpack to too much, or whose entries share their bytes (a zip bomb), is refused whole.
"""

import contextlib
import io
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from sd.common.text import brief, printable
from sd.common.validation import InputError
from sd.data.decoding.signatures import kind_of
from sd.data.reading.encodings import CALLED, OF_NAMES, guess
from sd.data.reading.files import (
    HEAD,
    LONGEST_FILE,
    MOST_FILES,
    TWICE,
    LeftOut,
    is_clutter,
    read_head,
    too_long,
)
from sd.data.reading.names import pack_names

LONGEST_ARCHIVE = 4 * 2**30  # bytes of all files together, unpacked
LONGEST_DIRECTORY = 16 * 2**20  # bytes of the archive's own list of entries
HIGHEST_RATIO = 200  # unpacked : packed, of archives that unpack to more than RATIO_FROM
RATIO_FROM = 256 * 2**20
ENTRY_HEAD = 30  # bytes of an entry before its name
INNER = "an archive: unpack it first"
UTF8_FLAG, ENCRYPTED_FLAG = 0x800, 0x1
CENTRAL, END, END64 = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06"
CENTRAL_HEAD = 46  # bytes of an entry of the directory before its name
NAME_LENGTHS, NAME_LENGTHS_AT = struct.Struct("<3H"), 28  # of name, extra field and comment
END_RECORD = struct.Struct("<10xHI6x")  # how many entries, and the bytes of the directory
END64_RECORD = struct.Struct("<32xQQ8x")  # the same of zip64
LOCATOR_SIZE = 20  # bytes between the two
LONGEST_END = 2**16 + 22 + 20 + 56  # bytes of both, and of the archive's comment
SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".jar")
ZIP_ENCODING = "cp437"  # of names without the UTF-8 flag, where tools keep to the letter
EXTRA_HEAD, UNICODE_PATH = struct.Struct("<HH"), 0x7075
BROKEN = (  # what zipfile raises for broken archives, NotImplementedError and BadZipFile included
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    OverflowError,
    MemoryError,
)


def is_archive(path: Path) -> bool:
    """Tell by its first bytes or its name whether a file means to be an archive."""
    with path.open("rb") as file:
        return file.read(4) in SIGNATURES or path.name.lower().endswith(ARCHIVE_SUFFIXES)


class _Bounded(io.FileIO):
    """A file whose directory zipfile gets to see only if it is what its end record promised."""

    label = "the archive"
    opening = True

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most `size` bytes; zipfile reads a directory in one piece."""
        if self.opening and size is not None:
            _check_length(self.label, size)
        data = super().read(size) or b""
        if self.opening and data.startswith(CENTRAL):
            _check_count(self.label, _count_entries(data))  # the end record may have lied
        return data


def _check_end(label: str, file: BinaryIO) -> None:
    """Refuse an archive by the count and length that its end record tells of its directory.

    The records are described in sections 4.3.14 to 4.3.16 of PKWARE's APPNOTE. An archive of more
    than 65,534 entries or a long directory has a zip64 record before the usual one.
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - LONGEST_END))
    tail = file.read(LONGEST_END)
    place = tail.rfind(END)
    if place < 0 or len(tail) - place < END_RECORD.size:
        raise zipfile.BadZipFile("no end record")
    count, size = END_RECORD.unpack_from(tail, place)
    place -= LOCATOR_SIZE + END64_RECORD.size
    if place >= 0 and tail.startswith(END64, place):
        count, size = END64_RECORD.unpack_from(tail, place)
    _check_count(label, count)
    _check_length(label, size)
    file.seek(0)


def _check_count(label: str, count: int) -> None:
    if count > MOST_FILES:
        raise InputError(f"{label}: {count} entries; at most {MOST_FILES} are allowed")


def _check_length(label: str, size: int) -> None:
    if size > LONGEST_DIRECTORY:
        raise InputError(
            f"{label}: its list of entries takes {size / 2**20:.1f} MiB; "
            f"at most {LONGEST_DIRECTORY // 2**20} are allowed"
        )


def _count_entries(directory: bytes) -> int:
    """Return how many entries a directory holds, up to one more than are allowed."""
    place = count = 0
    while count <= MOST_FILES and directory.startswith(CENTRAL, place):
        if len(directory) - place < CENTRAL_HEAD:
            break
        place += CENTRAL_HEAD + sum(NAME_LENGTHS.unpack_from(directory, place + NAME_LENGTHS_AT))
        count += 1
    return count


@contextlib.contextmanager
def open_judged(path: Path, label: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip if nothing speaks against it as a whole; InputError, which begins with `label`.

    Single entries are still to be judged: their names, kinds, lengths and encryption.
    """
    with _Bounded(path) as file:
        file.label = label
        try:
            _check_end(label, file)
            opened = zipfile.ZipFile(file)
            _check_whole(label, opened.infolist(), opened.start_dir)
        except BROKEN as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{label}: {_describe_other_file(path)}") from error
        file.opening = False
        with opened:
            yield opened


def _describe_other_file(path: Path) -> str:
    """Return what a file is that should have been a zip."""
    head = read_head(path)
    if not head:
        return "an empty file"
    kind = None if head.startswith(SIGNATURES) else kind_of(head)
    return kind or "not a zip archive, or a damaged or cut-off one"


class Archive:
    """The usable files of a zip: a `files.Listing`."""

    def __init__(self, path: Path) -> None:
        """Judge the directory of the zip at `path`; InputError if the archive is refused whole."""
        self.left_out: list[LeftOut] = []
        self.remarks: list[str] = []
        self._closing = contextlib.ExitStack()
        self._zip = self._closing.enter_context(open_judged(path, brief(printable(path.name))))
        self._entries = self._sorted_out()

    def __enter__(self) -> Self:
        """Return itself; the archive closes at the end of the block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the archive."""
        self.close()

    def close(self) -> None:
        """Close the archive."""
        self._closing.close()

    @property
    def names(self) -> list[str]:
        """The paths of the usable files, without a folder that wraps them all."""
        return list(self._entries)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file, never more than the directory tells.

        InputError (the reason, without the name) if they are damaged.
        """
        try:
            with self._zip.open(self._entries[name]) as entry:
                return b"".join(iter(lambda: entry.read(2**20), b""))
        except BROKEN as error:
            raise InputError("damaged in the archive") from error

    def head(self, name: str) -> bytes:
        """Return the first bytes of a file; InputError as `read` raises it."""
        try:
            with self._zip.open(self._entries[name]) as entry:
                return entry.read(HEAD)
        except BROKEN as error:
            raise InputError("damaged in the archive") from error

    def _sorted_out(self) -> dict[str, zipfile.ZipInfo]:
        """Return the usable entries by name, and fill `left_out` with the others."""
        usable: dict[str, zipfile.ZipInfo] = {}
        left_out = {}
        infos = self._zip.infolist()
        names, guessed = entry_names(infos)
        if guessed:
            self.remarks.append(
                f"guessed: names in the zip in {guessed}, since nothing in it says so"
            )
        for info, name in zip(infos, names, strict=True):
            if name.endswith("/") or is_clutter(name):
                continue
            reason = TWICE if name in usable else _objection(name, info)
            if reason:
                left_out[name] = reason
            else:
                usable[name] = info
        wrapper = _wrapper(list(usable))
        self.left_out = [LeftOut(name.removeprefix(wrapper), left_out[name]) for name in left_out]
        return {name.removeprefix(wrapper): info for name, info in usable.items()}


def _check_whole(label: str, infos: Sequence[zipfile.ZipInfo], end: int) -> None:
    """Refuse an archive of too many entries or bytes, or one whose entries overlap."""
    unpacked = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    _check_count(label, len(infos))
    if unpacked > LONGEST_ARCHIVE:
        raise InputError(
            f"{label}: would unpack to {unpacked / 2**30:.1f} GiB; "
            f"at most {LONGEST_ARCHIVE // 2**30} are allowed"
        )
    if unpacked > RATIO_FROM and unpacked > HIGHEST_RATIO * packed:
        raise InputError(f"{label}: would unpack to more than {HIGHEST_RATIO} times its size")
    ordered = sorted(infos, key=lambda info: info.header_offset)
    starts = [*(info.header_offset for info in ordered[1:]), end]
    for info, start in zip(ordered, starts, strict=False):
        if info.header_offset + ENTRY_HEAD + info.compress_size > start:
            raise InputError(f"{label}: its entries overlap, as in a zip bomb")


def entry_names(infos: Sequence[zipfile.ZipInfo]) -> tuple[list[str], str]:
    r"""Return the paths of entries, with "/" between their parts, and how their encoding is called.

    The latter only where it is guessed, once for the whole archive: of names in bytes without the
    UTF-8 flag or Info-ZIP's Unicode path. Old Windows tools write "\" between the parts.
    """
    unsure = {}
    for number, info in enumerate(infos):
        if not info.flag_bits & UTF8_FLAG and not info.filename.isascii():
            name = info.orig_filename.split("\0")[0]  # as zipfile has read its bytes, by cp437
            unsure[number] = name.encode(ZIP_ENCODING, "replace")
    paths = {number: _unicode_path(infos[number].extra, raw) for number, raw in unsure.items()}
    unsure = {number: raw for number, raw in unsure.items() if not paths[number]}
    encoding = guess(unsure.values(), OF_NAMES) or ZIP_ENCODING
    names = []
    for number, info in enumerate(infos):
        name = paths.get(number) or info.filename
        if number in unsure:
            name = unsure[number].decode(encoding, "replace")
        names.append(_path(name))
    return names, CALLED[encoding] if unsure else ""


def _unicode_path(extra: bytes, raw: bytes) -> str:
    """Return the name that field 0x7075 of an entry tells, or "" if it is not that of this name.

    Section 4.6.9 of PKWARE's APPNOTE: version 1, the CRC-32 of the name in the header, the name.
    """
    while len(extra) >= EXTRA_HEAD.size:
        kind, length = EXTRA_HEAD.unpack_from(extra)
        data, extra = extra[EXTRA_HEAD.size :][:length], extra[EXTRA_HEAD.size + length :]
        if kind == UNICODE_PATH and data[:5] == b"\1" + struct.pack("<I", zlib.crc32(raw)):
            with contextlib.suppress(UnicodeDecodeError):
                return data[5:].decode("utf-8").split("\0")[0]
    return ""


def _path(name: str) -> str:
    """Return the name of an entry as a path."""
    first, *rest = printable(name.replace("\\", "/")).removeprefix("./").split("/")
    return "/".join([first, *(part for part in rest[:-1] if part not in ("", ".")), *rest[-1:]])


def _objection(name: str, info: zipfile.ZipInfo) -> str | None:
    """Return why an entry is not used, or None."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:", name):
        return "its name points outside the archive"
    if kind not in (0, stat.S_IFREG):
        return "a link" if kind == stat.S_IFLNK else "not a plain file"
    if info.flag_bits & ENCRYPTED_FLAG:
        return "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "packed by another method than zip's usual one, deflate"
    if name.lower().endswith(ARCHIVE_SUFFIXES):
        return INNER
    return too_long(info.file_size) if info.file_size > LONGEST_FILE else None


def _wrapper(names: Sequence[str]) -> str:
    """Return "folder/" if all names lie in that one folder, else ""."""
    tops = {name.split("/", 1)[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in names) else ""


def pack_files(files: Sequence[Path], names: Sequence[str], target: Path) -> Path:
    """Pack loose `files` into the stored zip `target` under the paths that `names` tell.

    `sd.data.reading.names.pack_names` says what becomes of names that are equal. The same files and
    names give the same bytes. The zip is written beside `target` and then renamed, so `target` is
    whole or not there.
    """
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w") as archive:
            for name, path in pack_names(files, names).items():
                info = zipfile.ZipInfo(name)
                info.file_size = path.stat().st_size
                with path.open("rb") as source, archive.open(info, "w") as entry:
                    shutil.copyfileobj(source, entry, 2**20)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    return target
