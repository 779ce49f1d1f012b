"""From a folder, a zip or one picture to an `ImageSet`, with a report of what was left out and why.

The pixels are kept once, as uint8, so an epoch decodes nothing. A file that is no usable picture
is left out by name and the others are used; only a source without any is refused.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from sd.archive import Archive, is_archive
from sd.archive import pack_files as pack_files  # part of this module's interface
from sd.files import Folder, LeftOut, Listing, SingleFile, brief, printable
from sd.gate import InputError, choice, whole
from sd.images import FITS, check_channels, decode, fit_picture
from sd.metadata import Notes, caption_file, class_folders, is_metadata

MOST_BYTES = 2**31  # of all pixels together
LARGEST_SIDE = 4096  # of the pictures as they are trained
KEPT_DETAIL = 4  # a JPEG is decoded at this many times the wanted side or more
SHOWN = 20  # left-out names in the lines of a report
NOTICE = re.compile(
    r"(.*/)?(licen[cs]e|notice|readme|source|credits|copying)[^/.]*(\.(txt|md|rst|html))?", re.I
)


@dataclass(frozen=True)
class Report:
    """What a picture set holds, and every file that is not used."""

    used: int
    left_out: tuple[LeftOut, ...]
    sizes: dict[tuple[int, int], int]  # original (width, height), upright -> pictures
    modes: dict[str, int]  # Pillow's mode of the file -> pictures
    classes: dict[str, int]  # label -> pictures, in the order of label_names
    captions: int  # pictures that have one
    remarks: tuple[str, ...]  # what else is to be said, one line each

    def lines(self) -> list[str]:
        """Return the report as short lines; at most 20 left-out files by name."""
        lines = [f"pictures used: {self.used}", f"sizes: {_counted(_sizes(self.sizes))}"]
        lines.append(f"modes: {_counted(self.modes)}")
        if self.classes:
            lines.append(f"classes: {len(self.classes)}; {_counted(self.classes)}")
        if self.captions:
            lines.append(f"captions: {self.captions}")
        lines += self.remarks
        if self.left_out:
            lines.append(f"left out: {len(self.left_out)}")
        lines += [f"  {brief(left.name)}: {left.reason}" for left in self.left_out[:SHOWN]]
        if len(self.left_out) > SHOWN:
            lines.append(f"  and {len(self.left_out) - SHOWN} more")
        return [line if len(line) <= 300 else line[:299] + "…" for line in lines]

    def to_json(self) -> dict[str, Any]:
        """Return the whole report, with every left-out file, in types that JSON has."""
        left_out = [left._asdict() for left in self.left_out]
        return {**vars(self), "sizes": _sizes(self.sizes), "left_out": left_out}


def _sizes(sizes: dict[tuple[int, int], int]) -> dict[str, int]:
    return {f"{width} x {height}": count for (width, height), count in sizes.items()}


def _counted(counts: dict[str, int]) -> str:
    """Return "a (3), b (2) and 4 more", the most frequent first."""
    ordered = Counter(counts).most_common()
    line = ", ".join(f"{name} ({count})" for name, count in ordered[:8])
    return line + (f" and {len(ordered) - 8} more" if len(ordered) > 8 else "")


@dataclass(frozen=True)
class ImageSet:
    """Pictures with what is known about them; entry n of each field is about picture n."""

    pixels: Tensor  # uint8 [N, C, H, W]
    names: tuple[str, ...]
    labels: Tensor | None  # int64 [N], index into label_names; None if any picture has none
    label_names: tuple[str, ...]  # sorted
    captions: tuple[str, ...] | None  # "" for a picture without; None if none has one
    report: Report


class _Survey:
    """One passage through a listing: yields its pictures and notes what is to be reported."""

    def __init__(self, source: str, listing: Listing) -> None:
        self._source = source
        self._listing = listing
        self._left_out = list(listing.left_out)
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._modes: Counter[str] = Counter()
        for name, reason in filter(lambda left: is_metadata(left.name), listing.left_out):
            raise InputError(f"{brief(name)}: {reason}")
        self._notes = Notes(listing.names, listing.read)
        self.candidates = sorted(self._candidates(listing.names), key=natural)
        self.names: list[str] = []

    def _candidates(self, names: Sequence[str]) -> Iterator[str]:
        """Yield what may be a picture: all but metadata, captions and notices."""
        captions = {caption_file(name) for name in names if not name.endswith(".txt")}
        for name in names:
            if is_metadata(name) or name in captions or NOTICE.fullmatch(name):
                continue
            if name.endswith(".txt"):
                self._left_out.append(LeftOut(name, "a text beside no picture of its name"))
            else:
                yield name

    def pictures(self, side: int) -> Iterator[Image.Image]:
        """Yield the usable pictures, "L" or "RGB", of at least KEPT_DETAIL times `side` if larger.

        Raises InputError if there is none.
        """
        for name in self.candidates:
            try:
                image, mode, size = decode(self._listing.read(name), KEPT_DETAIL * side)
            except InputError as error:
                self._left_out.append(LeftOut(name, str(error)))
                continue
            self.names.append(name)
            self._sizes[size] += 1
            self._modes[mode] += 1
            yield image
        if not self.names:
            raise InputError(f"{self._source}: no picture could be read{self._first_left_out()}")

    def _first_left_out(self) -> str:
        if not self._left_out:
            return "; it holds none"
        name, reason = min(self._left_out, key=lambda left: natural(left.name))
        return f": {len(self._left_out)} left out, first {brief(name)} ({reason})"

    def described(self) -> "_Described":
        """Return labels, captions and report of the pictures that were yielded."""
        notes = [self._notes.of(name) for name in self.names]
        captions = [note.caption for note in notes]
        labels, remarks = self._labels([note.label for note in notes])
        classes = Counter(labels)
        left_out = [*self._left_out, *self._notes.left_out]
        report = Report(
            used=len(self.names),
            left_out=tuple(sorted(left_out, key=lambda left: natural(left.name))),
            sizes=dict(self._sizes.most_common()),
            modes=dict(self._modes.most_common()),
            classes={label: classes[label] for label in sorted(classes, key=natural)},
            captions=sum(map(bool, captions)),
            remarks=(*self._notes.remarks, *remarks),
        )
        return _Described(labels, captions, report)

    def _labels(self, noted: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the label of every picture, or none at all and a remark if some have none."""
        pairs = zip(noted, class_folders(self.names), strict=True)
        labels = [label or folder for label, folder in pairs]
        if all(labels):
            return labels, []
        remark = f"the labels are not used: {labels.count('')} of {len(labels)} pictures have none"
        return [], [remark] if any(labels) else []


class _Described(NamedTuple):
    labels: list[str]
    captions: list[str]
    report: Report


def natural(name: str) -> tuple[str, str]:
    """Return a key that sorts names as a person does, 2 before 10."""
    return re.sub("[0-9]+", lambda digits: digits[0].zfill(20), name), name


def starter_path() -> Path:
    """Return the bundled picture set: 1,292 emoji of 64 x 64 with labels and captions."""
    return Path(__file__).parent / "starter" / "emoji64.zip"


def read_images(
    source: str | Path,
    *,
    height: int = 32,
    width: int = 32,
    channels: int = 3,
    fit: str = "crop",
    leave_out: Sequence[Path] = (),
) -> ImageSet:
    """Return the pictures of a folder, a zip, one file, or the word "starter".

    `leave_out` names run or output folders that may lie inside the picture folder. Raises
    InputError if the source cannot be read, holds no usable picture, or too many for the memory.
    """
    whole("height", height, 1, LARGEST_SIDE)
    whole("width", width, 1, LARGEST_SIDE)
    check_channels(channels)
    choice("fit", fit, FITS)
    with closing(_opened(source, leave_out)) as listing:
        survey = _Survey(_label(source), listing)
        pixels = _room(len(survey.candidates), channels, height, width)
        for number, image in enumerate(survey.pictures(max(height, width))):
            pixels[number] = fit_picture(image, height, width, channels, fit)
        labels, captions, report = survey.described()
    index = {name: number for number, name in enumerate(report.classes)}
    numbers = torch.tensor([index[label] for label in labels], dtype=torch.int64)
    return ImageSet(
        pixels=pixels if report.used == len(pixels) else pixels[: report.used].clone(),
        names=tuple(survey.names),
        labels=numbers if index else None,
        label_names=tuple(index),
        captions=tuple(captions) if report.captions else None,
        report=report,
    )


def inspect_images(source: str | Path, leave_out: Sequence[Path] = ()) -> Report:
    """Return the report that `read_images` would give, and keep no pixels."""
    with closing(_opened(source, leave_out)) as listing:
        survey = _Survey(_label(source), listing)
        for _ in survey.pictures(1):
            pass
        return survey.described().report


def _room(count: int, channels: int, height: int, width: int) -> Tensor:
    """Return room for `count` pictures; InputError if they would take too much memory."""
    need = count * channels * height * width
    if need > MOST_BYTES:
        raise InputError(
            f"{count} pictures of {channels} x {height} x {width} take {need / 2**30:.1f} GiB; "
            f"at most {MOST_BYTES // 2**30} GiB are allowed: use fewer or smaller pictures"
        )
    try:
        return torch.empty((count, channels, height, width), dtype=torch.uint8)
    except RuntimeError as error:  # what torch raises where memory is short
        raise InputError(f"there is no memory for {need / 2**30:.1f} GiB of pictures") from error


def _label(source: str | Path) -> str:
    """Return how messages call a source: its name without the folders above it."""
    return brief(printable(Path(source).name)) or "the picture folder"


def _opened(source: str | Path, leave_out: Sequence[Path]) -> Listing:
    """Return the files of a source; InputError if there are none to be had."""
    if source == "starter":
        return Archive(starter_path())
    if not str(source).strip():
        raise InputError("no pictures are named: give a folder, a zip, or the word starter")
    path, label = Path(source), _label(source)
    try:
        if os.path.isdir(path):
            return Folder(path, leave_out)
        if os.path.isfile(path):
            return Archive(path) if is_archive(path) else SingleFile(path)
    except OSError as error:
        raise InputError(f"{label}: cannot be opened ({error.strerror})") from error
    raise InputError(f"{label}: no such folder, zip or picture (nor the word starter)")
