"""The mark of what this program writes: known by it again, so that nothing generated is trained on.

A PNG carries it in a text chunk, as its recipe (`sd.generation.export`) or alone; a GIF, an MP4, a
page and an npz in a comment at their beginning or end, a WebP in its Exif; a run's folder by the
files that every run has.
"""

import posixpath
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image, PngImagePlugin

RECIPE, MADE = "sd", "sd-made"  # keywords of a PNG's text chunks
MARK = "made by sd, a small diffusion model"
REASON, RUN_REASON = "made by this program", "a run of this program"
RUN_FILES = ({"run.json"}, {"config.ini", "events.jsonl"})  # either makes a folder a run's
SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
KEYWORDS = (RECIPE.encode() + b"\0", MADE.encode() + b"\0")
MOST_CHUNKS = 100_000  # of a PNG that is looked through
LOOKED = 2**14  # bytes at the beginning and at the end of any other file


def save_png(image: Image.Image, file: Path | BinaryIO) -> None:
    """Write a picture of ours that carries no recipe as a PNG with the mark."""
    image.save(file, "PNG", pnginfo=png_text(MADE, MARK))


def png_text(keyword: str, text: str) -> PngImagePlugin.PngInfo:
    """Return the text chunk of a PNG that is to be written."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(keyword, text)
    return info


def png_chunk() -> bytes:
    """Return the mark as a whole chunk of a PNG, for whoever writes one without Pillow."""
    body = b"iTXt" + MADE.encode() + bytes(5) + MARK.encode()
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def mark_zip(file: Path | BinaryIO) -> None:
    """Add the mark to a zip (an npz is one), as its comment."""
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = MARK.encode()


def is_marked(data: bytes) -> bool:
    """Tell whether a file's bytes carry the mark; no pixel is decoded for it."""
    if data.startswith(SIGNATURE):
        return any(
            kind in TEXTS and data.startswith(KEYWORDS, start)
            for kind, start, _ in png_chunks(data)
        )
    mark = MARK.encode()
    return mark in data[:LOOKED] or mark in data[-LOOKED:]


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each chunk of a PNG, up to IEND, and where its body starts and ends.

    The end may lie beyond the data; a hundred thousand chunks are followed at most.
    """
    end = len(SIGNATURE) - 4
    for _ in range(MOST_CHUNKS):
        place = end + 4  # past the checksum
        kind, start = data[place + 4 : place + 8], place + 8
        if len(kind) < 4:
            return
        end = start + int.from_bytes(data[place : place + 4], "big")
        yield kind, start, end
        if kind == b"IEND":
            return


def run_folders(names: Iterable[str]) -> set[str]:
    """Return the paths of those folders that are runs, by the files in them.

    Never the whole set, into which a run may be made to write: there each file's own mark counts.
    """
    contents: dict[str, set[str]] = {}
    for name in names:
        contents.setdefault(posixpath.dirname(name), set()).add(posixpath.basename(name))
    contents.pop("", None)
    return {
        folder for folder, files in contents.items() if any(each <= files for each in RUN_FILES)
    }


def is_run(names: Iterable[str]) -> bool:
    """Tell whether files, by their paths within a folder, make that folder itself a run."""
    files = {name for name in names if "/" not in name}
    return any(each <= files for each in RUN_FILES)


def is_within(name: str, folders: set[str]) -> bool:
    """Tell whether a path lies in any of the folders, however deep."""
    parts = name.split("/")
    return bool(folders) and any("/".join(parts[:end]) in folders for end in range(1, len(parts)))


def remark(files: int, runs: int) -> str:
    """Return the line that counts what was left out, and says how it would be used."""
    what = [f"{files} {'file' if files == 1 else 'files'}"] if files else []
    what += [f"{runs} run {'folder' if runs == 1 else 'folders'}"] if runs else []
    return (
        f"{REASON}, so not trained on: {' and '.join(what)} "
        "(to train on such pictures all the same, save them anew, as JPEG)"
    )
