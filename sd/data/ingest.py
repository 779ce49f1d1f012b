"""A picture set on disk: ingested once, as a stream, and mapped into memory whenever it is used.

Memory does not grow with the number of pictures, neither while they are ingested nor while they
are trained on. A set's folder holds `pixels.bin` (uint8 [N, C, H, W], raw) and `index.json`.
"""

import json
import shutil
import warnings
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sd.common.disk import digest, flush, temporary_path
from sd.common.text import brief, format_bytes, printable, system_reason
from sd.common.validation import InputError, text, whole
from sd.data.decoding.decoder import check_fit
from sd.data.decoding.pool import Fit
from sd.data.image_set import ImageSet
from sd.data.reading.files import MOST_FILES
from sd.data.reading.metadata import LONGEST_CAPTION, LONGEST_LABEL
from sd.data.reading.report import Report
from sd.data.reading.source import Pace, SetDescription, open_source

PIXELS, INDEX = "pixels.bin", "index.json"
LONGEST_INDEX = 64 * 2**20  # bytes
LONGEST_PICTURE_PATH = 10_000  # characters of a picture's path
SPARE_BYTES = 64 * 2**20  # bytes of the disk that pictures leave free


def ingest_images(
    source: str | Path,
    folder: Path,
    *,
    height: int,
    width: int,
    channels: int,
    fit: str,
    classes: Sequence[str] | None = None,
    leave_out: Sequence[Path] = (),
) -> Generator[tuple[int, int], None, None]:
    """Write the pictures of a source, as `read_images` has them, to the new folder `folder`.

    Yields how many files are read, of how many. The folder is there when the stream has ended, and
    not at all if it is closed before or fails. Raises InputError as `read_images` does, and where
    the disk does not suffice.
    """
    check_fit(height, width, channels, fit)
    wanted = Fit(height, width, channels, fit)
    temporary = temporary_path(folder)
    pixels = temporary / PIXELS
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        with open_source(source, leave_out, classes) as reading, pixels.open("xb") as out:
            total = len(reading.candidates)
            _check_room(temporary, total * height * width * channels)
            yield 0, total
            pace = Pace()
            for done, data in enumerate(reading.pixels(wanted), start=1):
                out.write(data or b"")
                if done < total and pace.due(done):
                    yield done, total
            for row, data in reading.rescale(wanted):
                out.seek(row * len(data))
                out.write(data)
            description = reading.describe()
        _keep_rows(pixels, description.rows, height * width * channels)
        _write_index(temporary, description, wanted)
        for path in [*temporary.iterdir(), temporary]:
            flush(path)
        temporary.rename(folder)
        flush(folder.parent)
        yield total, total
    except OSError as error:
        reason = system_reason(error)
        raise InputError(f"the pictures cannot be written to disk ({reason})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_room(folder: Path, need: int) -> None:
    """Refuse pictures that the disk has no room for."""
    free = shutil.disk_usage(folder).free
    if need > free - SPARE_BYTES:
        raise InputError(
            f"the pictures need {format_bytes(need)} on disk; {format_bytes(free)} are free there, "
            f"of which {format_bytes(SPARE_BYTES)} must stay so: make room, or use fewer or "
            "smaller pictures"
        )


def _keep_rows(path: Path, rows: Sequence[int], size: int) -> None:
    """Keep only some of a file's rows of `size` bytes, which move up in their order."""
    if len(rows) * size == path.stat().st_size:
        return
    with path.open("r+b") as file:
        for place, row in enumerate(rows):
            file.seek(row * size)
            data = file.read(size)
            file.seek(place * size)
            file.write(data)
        file.truncate(len(rows) * size)


def _write_index(folder: Path, description: SetDescription, wanted: Fit) -> None:
    """Write all that is known of the pictures beside their pixels."""
    report = description.report
    numbers = {label: number for number, label in enumerate(report.classes)}
    index = {
        "shape": [report.used, wanted.channels, wanted.height, wanted.width],
        "names": description.names,
        "labels": [numbers[label] for label in description.labels] or None,
        "label_names": list(numbers),
        "captions": description.captions if report.captions else None,
        "report": report.to_json(),
        "sha256": digest(folder / PIXELS),
    }
    data = json.dumps(index, ensure_ascii=False).encode("utf-8")
    if len(data) > LONGEST_INDEX:
        raise InputError(
            f"names and captions take {len(data) / 2**20:.0f} MiB; "
            f"at most {LONGEST_INDEX // 2**20} are allowed"
        )
    (folder / INDEX).write_bytes(data)


def open_images(folder: Path, verify: bool = False) -> ImageSet:
    """Return the set in `folder`, its pixels mapped from the disk as they are used.

    Sizes are always checked; the digest of the pixels, which reads them all, with `verify`.
    Changes to the pixels stay in memory. Raises InputError if the set is damaged or not there.
    """
    label = brief(printable(folder.name))
    try:
        index = _index(folder)
        shape = _shape(index["shape"])
        images = _image_set(index, map_file(folder / PIXELS, shape))
    except (InputError, LookupError, TypeError, OSError, ValueError, RecursionError) as error:
        reason = f" ({error})" if isinstance(error, InputError) else ""
        raise InputError(f"{label}: not a picture set, or a damaged one{reason}") from error
    if verify and digest(folder / PIXELS) != index.get("sha256"):
        raise InputError(f"{label}: {PIXELS} has changed since the pictures were taken in")
    return images


def _index(folder: Path) -> Mapping[str, Any]:
    """Return the index, whatever it holds."""
    with (folder / INDEX).open("rb") as file:
        data = file.read(LONGEST_INDEX + 1)
    if len(data) > LONGEST_INDEX:
        raise InputError(f"{INDEX} is too long")
    index = json.loads(data)
    if not isinstance(index, dict):
        raise InputError(f"{INDEX} must be an object")
    return index


def _shape(value: Any) -> tuple[int, int, int, int]:
    count, channels, height, width = value
    whole("pictures", count, 1, MOST_FILES)
    check_fit(height, width, channels, "crop")
    return count, channels, height, width


def map_file(path: Path, shape: Sequence[int], dtype: type[np.generic] = np.uint8) -> Tensor:
    """Return the raw values in a file as a tensor of `shape`, which must be its size exactly.

    Changes stay in memory. Raises InputError for another size.
    """
    size = np.prod(shape) * np.dtype(dtype).itemsize
    if path.is_symlink() or not path.is_file() or path.stat().st_size != size:
        raise InputError(f"{path.name} has not the size that {INDEX} tells")
    try:
        return torch.from_numpy(np.memmap(path, dtype, "c", shape=tuple(shape)))
    except OSError:  # some systems promise memory for every page that might be written
        values = np.memmap(path, dtype, "r", shape=tuple(shape))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(values)


def _image_set(index: Mapping[str, Any], pixels: Tensor) -> ImageSet:
    """Return an index and its pixels as a set; InputError or what Python raises if unfit."""
    count = len(pixels)
    label_names = _check_texts(index["label_names"], LONGEST_LABEL)
    labels = index["labels"]
    if labels is not None:
        labels = [whole("label", label, 0, len(label_names) - 1) for label in labels]
    captions = index["captions"]
    if captions is not None:
        captions = _check_texts(captions, LONGEST_CAPTION)
    names = _check_texts(index["names"], LONGEST_PICTURE_PATH)
    if {len(each) for each in (names, labels, captions) if each is not None} != {count}:
        raise InputError(f"{INDEX} tells of another number of pictures")
    report = Report.from_json(index["report"])
    numbers = None if labels is None else torch.tensor(labels, dtype=torch.int64)
    return ImageSet(pixels, names, numbers, label_names, captions, report)


def _check_texts(values: Any, longest: int) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise InputError("it holds no list where one belongs")
    return tuple(text("it", value, longest) for value in values)
