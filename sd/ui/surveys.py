"""What was found in a picture set: read once for everyone, and kept beside its zip.

However many ask for a set at once, one reads it and the others wait; two sets are read at a time.
"""

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Generator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import PIL
from PIL import Image

import sd
from sd.common import disk
from sd.common.validation import InputError
from sd.data.reading.archive import BROKEN

if TYPE_CHECKING:
    from sd.data.reading.report import Report

PREVIEWED, PREVIEW_SIDE = 16, 256  # pictures, and the most pixels of a side
MOST_FOUND = 16  # sets that are remembered beside the bundled ones
LARGEST_KEPT = 32 * 2**20  # bytes of what is kept of a set
READ_AT_ONCE, LOOK_SECONDS = 2, 0.5
SUFFIX, REPORT = ".survey", "report.json"


class Found(NamedTuple):
    """What is known of a set."""

    report: "Report"
    preview: tuple[Image.Image, ...]  # a few, evenly spread, as they are in their files


class Flight:
    """A set that is being read for whoever waits: how far it is, and what ended it."""

    def __init__(self) -> None:
        self.place = (0, 0)  # files read, of how many
        self.error: InputError | None = None
        self.ended = threading.Event()


FOUND: dict[str, Found] = {}  # the one asked for last is the last
FLIGHTS: dict[str, Flight] = {}
LOCK = threading.Lock()
READING = threading.BoundedSemaphore(READ_AT_ONCE)


def survey(handle: str, source: str) -> Generator[tuple[int, int], None, Found]:
    """Yield (done, total) while a set is read; return what was found. Raises `InputError`.

    source: a bundled set's word, or the zip beside which it is kept. Whoever stops iterating leaves
    the reading to the next who waits.
    """
    beside = None if source == handle else Path(source).with_suffix(SUFFIX)
    while True:
        with LOCK:
            if handle in FOUND:
                FOUND[handle] = found = FOUND.pop(handle)
                return found
            flight = FLIGHTS.get(handle)
            if mine := flight is None:
                flight = FLIGHTS[handle] = Flight()
        if mine:
            return (yield from read(handle, source, beside, flight))
        while not flight.ended.wait(LOOK_SECONDS):
            yield flight.place
        if flight.error:
            raise InputError(str(flight.error))


def read(
    handle: str, source: str, beside: Path | None, flight: Flight
) -> Generator[tuple[int, int], None, Found]:
    """Read a set, or what is kept of it, for all that wait for `flight`; see `survey`."""
    try:
        found = beside and kept(beside)
        if not found:
            found = yield from looked_through(source, flight)
            if beside:
                keep(found, beside)
        remember(handle, found)
        return found
    except InputError as error:
        flight.error = error
        raise
    finally:
        with LOCK:
            del FLIGHTS[handle]
        flight.ended.set()


def looked_through(source: str, flight: Flight) -> Generator[tuple[int, int], None, Found]:
    """Yield how far the pictures of a set are read, as soon as few enough are; see `survey`."""
    from sd.data.image_set import some_pictures, survey_images

    while not READING.acquire(timeout=LOOK_SECONDS):
        yield flight.place
    try:
        looked = survey_images(source)
        for flight.place in looked:
            yield flight.place
        return Found(looked.report, tuple(some_pictures(source, PREVIEWED, PREVIEW_SIDE)))
    finally:
        READING.release()


def remember(handle: str, found: Found) -> None:
    """Keep what was found in memory; of uploads the one that was not asked for longest goes."""
    with LOCK:
        FOUND[handle] = found
        uploads = [each for each in FOUND if each.endswith(".zip")]
        for each in uploads[:-MOST_FOUND]:
            del FOUND[each]


def keep(found: Found, path: Path) -> None:
    """Write down what was found, whole or not at all; a disk that is full is no reason to fail."""
    told = {"reader": reader(), "report": found.report.to_json()}
    with suppress(OSError):
        disk.write_file(path, lambda temporary: write(found, json.dumps(told), temporary))


def write(found: Found, told: str, path: Path) -> None:
    """Write a report, as JSON, and the pictures of a set to one file."""
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(REPORT, told)
        for number, picture in enumerate(found.preview):
            file = io.BytesIO()
            picture.save(file, "PNG")
            packed.writestr(f"{number}.png", file.getvalue())


def kept(path: Path) -> Found | None:
    """Return what was written down; None where it is missing, damaged or from another reader."""
    from sd.data.reading.report import Report

    try:
        if path.stat().st_size > LARGEST_KEPT:
            return None
        with zipfile.ZipFile(path) as packed:
            told = json.loads(packed.read(REPORT))
            if told["reader"] != reader():
                return None
            files = [packed.read(f"{number}.png") for number in range(len(packed.namelist()) - 1)]
        return Found(Report.from_json(told["report"]), tuple(map(picture_of, files[:PREVIEWED])))
    except (*BROKEN, KeyError, TypeError, SyntaxError, Image.DecompressionBombError):
        return None


def picture_of(data: bytes) -> Image.Image:
    """Return a small picture; raise ValueError for another."""
    picture = Image.open(io.BytesIO(data), formats=["PNG"])
    if max(picture.size) > PREVIEW_SIDE:
        raise ValueError("no preview")
    picture.load()
    return picture


@cache
def reader() -> str:
    """Return what tells one way of reading pictures from another: our source, Pillow, its helpers.

    All of our source, since what reads stands in many files: an update reads every set once more.
    """
    root, total = Path(sd.__file__).parent, hashlib.sha256(PIL.__version__.encode())
    total.update(bytes(find_spec(name) is not None for name in ("pillow_heif",)))
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] != "ui":
            total.update(path.read_bytes())
    return total.hexdigest()[:16]
