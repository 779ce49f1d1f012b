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


class Survey(NamedTuple):
    """What is known of a set."""

    report: "Report"
    preview: tuple[Image.Image, ...]  # a few, evenly spread, as they are in their files


class Reading:
    """A set that is being read for whoever waits: how far it is, and what ended it."""

    def __init__(self) -> None:
        self.progress = (0, 0)  # files read, of how many
        self.error: InputError | None = None
        self.ended = threading.Event()


class Surveys:
    """What was found in the sets of a page, and which of them are being read."""

    def __init__(self, most: int = MOST_FOUND, seconds: float = LOOK_SECONDS) -> None:
        """Remember so many uploads; say after so many seconds how far a set is."""
        self._most, self._seconds = most, seconds
        self._found: dict[str, Survey] = {}  # the one asked for last is the last
        self._readings: dict[str, Reading] = {}
        self._lock, self._turns = threading.Lock(), threading.BoundedSemaphore(READ_AT_ONCE)

    def survey(self, handle: str, source: str) -> Generator[tuple[int, int], None, Survey]:
        """Yield (done, total) while a set is read; return what was found. Raises `InputError`.

        source: a bundled set's word, or the zip beside which it is kept. Whoever stops iterating
        leaves the reading to the next who waits.
        """
        beside = None if source == handle else Path(source).with_suffix(SUFFIX)
        while True:
            with self._lock:
                if handle in self._found:
                    self._found[handle] = found = self._found.pop(handle)
                    return found
                reading = self._readings.get(handle)
                if mine := reading is None:
                    reading = self._readings[handle] = Reading()
            if mine:
                return (yield from self._read(handle, source, beside, reading))
            while not reading.ended.wait(self._seconds):
                yield reading.progress
            if reading.error:
                raise InputError(str(reading.error))

    def _read(
        self, handle: str, source: str, beside: Path | None, reading: Reading
    ) -> Generator[tuple[int, int], None, Survey]:
        """Read a set, or what is kept of it, for all that wait for it; see `survey`."""
        try:
            found = beside and load(beside)
            if not found:
                found = yield from self._inspect(source, reading)
                if beside:
                    save(found, beside)
            self.remember(handle, found)
            return found
        except InputError as error:
            reading.error = error
            raise
        finally:
            with self._lock:
                del self._readings[handle]
            reading.ended.set()

    def _inspect(self, source: str, reading: Reading) -> Generator[tuple[int, int], None, Survey]:
        """Yield how far the pictures of a set are read, once few enough are; see `survey`."""
        from sd.data.image_set import some_pictures, survey_images

        while not self._turns.acquire(timeout=self._seconds):
            yield reading.progress
        try:
            inspected = survey_images(source)
            for reading.progress in inspected:
                yield reading.progress
            preview = some_pictures(source, PREVIEWED, PREVIEW_SIDE)
            return Survey(inspected.report, tuple(preview))
        finally:
            self._turns.release()

    def remember(self, handle: str, found: Survey) -> None:
        """Keep what was found in memory; of uploads the one not asked for longest goes."""
        with self._lock:
            self._found[handle] = found
            uploads = [each for each in self._found if each.endswith(".zip")]
            for each in uploads[: -self._most]:
                del self._found[each]

    def forget(self, handle: str) -> None:
        """Forget what was found in a set."""
        with self._lock:
            self._found.pop(handle, None)

    def handles(self) -> list[str]:
        """Return the sets that are remembered, the one asked for last at the end."""
        with self._lock:
            return list(self._found)


def save(found: Survey, path: Path) -> None:
    """Write down what was found, whole or not at all; a disk that is full is no reason to fail."""
    record = {"reader": reader(), "report": found.report.to_json()}
    with suppress(OSError):
        disk.write_file(path, lambda temporary: write(found, json.dumps(record), temporary))


def write(found: Survey, record: str, path: Path) -> None:
    """Write a report, as JSON, and the pictures of a set to one file."""
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(REPORT, record)
        for number, picture in enumerate(found.preview):
            file = io.BytesIO()
            picture.save(file, "PNG")
            packed.writestr(f"{number}.png", file.getvalue())


def load(path: Path) -> Survey | None:
    """Return what was written down; None where it is missing, damaged or from another reader."""
    from sd.data.reading.report import Report

    try:
        if path.stat().st_size > LARGEST_KEPT:
            return None
        with zipfile.ZipFile(path) as packed:
            record = json.loads(packed.read(REPORT))
            if record["reader"] != reader():
                return None
            files = [packed.read(f"{number}.png") for number in range(len(packed.namelist()) - 1)]
        return Survey(Report.from_json(record["report"]), tuple(map(picture_of, files[:PREVIEWED])))
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
