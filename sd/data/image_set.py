"""From a folder, a zip or one picture to an `ImageSet`, with a report of what was left out and why.

The pixels are kept once, as uint8, so an epoch decodes nothing. A file that is no usable picture
is left out by name and the others are used; only a source without any is refused.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sd.common.text import format_bytes
from sd.common.validation import InputError, real
from sd.data.decoding.decoder import Decoded, check_fit
from sd.data.decoding.depth import scales_of
from sd.data.decoding.pool import Fit
from sd.data.reading.report import Report
from sd.data.reading.source import (
    Pace,
    SetDescription,
    open_source,
)

MOST_BYTES = 2**31  # of all pixels together, in memory
SURVEY_FIT = Fit(64, 64, 3, "crop")  # how a survey looks at pictures, for duplicates
MOST_TRIED = 5  # files of a part of the set until one is a picture
FEWEST_TO_SPLIT = 8  # pictures; of fewer, none is held out


@dataclass(frozen=True)
class ImageSet:
    """Pictures with what is known about them; entry n of each field is about picture n."""

    pixels: Tensor  # uint8 [N, C, H, W]
    names: tuple[str, ...]
    labels: Tensor | None  # int64 [N], index into label_names; None if any picture has none
    label_names: tuple[str, ...]  # sorted
    captions: tuple[str, ...] | None  # "" for a picture without; None if none has one
    report: Report

    @classmethod
    def of(cls, pixels: Tensor, description: SetDescription) -> "ImageSet":
        """Join pixels and their description."""
        index = {name: number for number, name in enumerate(description.report.classes)}
        numbers = torch.tensor([index[label] for label in description.labels], dtype=torch.int64)
        return cls(
            pixels=pixels,
            names=tuple(description.names),
            labels=numbers if index else None,
            label_names=tuple(index),
            captions=tuple(description.captions) if description.report.captions else None,
            report=description.report,
        )


def read_images(
    source: str | Path,
    *,
    height: int = 32,
    width: int = 32,
    channels: int = 3,
    fit: str = "crop",
    leave_out: Sequence[Path] = (),
    classes: Sequence[str] | None = None,
) -> ImageSet:
    """Return the pictures of a folder, a zip, one file, or a bundled set, in memory.

    `leave_out` names run or output folders that may lie inside the picture folder; `classes`, if
    given, the labels of the pictures to take. Raises InputError if the source cannot be read,
    holds no usable picture or none of a class, or too many for the memory.
    """
    check_fit(height, width, channels, fit)
    with open_source(source, leave_out, classes) as reading:
        pixels = _make_room(len(reading.candidates), channels, height, width)
        wanted = Fit(height, width, channels, fit)
        found = enumerate(filter(None, reading.pixels(wanted)))
        for number, data in chain(found, reading.rescale(wanted)):
            levels = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            pixels[number] = levels.view(channels, height, width)
        description = reading.describe()
    if len(description.rows) < len(pixels):
        pixels = pixels[torch.tensor(description.rows)]
    return ImageSet.of(pixels, description)


def _make_room(count: int, channels: int, height: int, width: int) -> Tensor:
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
        raise InputError(f"there is no memory for {format_bytes(need)} of pictures") from error


def inspect_images(source: str | Path, leave_out: Sequence[Path] = ()) -> Report:
    """Return the report that `read_images` would give, and keep no pixels."""
    survey = survey_images(source, leave_out)
    for _ in survey:
        pass
    return survey.report


def survey_images(source: str | Path, leave_out: Sequence[Path] = ()) -> "Survey":
    """Return a look through a source that tells how far it is and keeps no pixels.

    Iterate over it, which yields (files read, of how many); then its `report` is there. Duplicates
    are those among pictures of 64 x 64.
    """
    return Survey(source, leave_out)


class Survey:
    """Reads a source for its report alone; made by `survey_images`."""

    report: Report

    def __init__(self, source: str | Path, leave_out: Sequence[Path]) -> None:
        self._source, self._leave_out = source, leave_out

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield how far it is, often; InputError as from `read_images`."""
        pace = Pace()
        with open_source(self._source, self._leave_out) as reading:
            total = len(reading.candidates)
            yield 0, total
            for done, _ in enumerate(reading.pixels(SURVEY_FIT), start=1):
                if done < total and pace.due(done):
                    yield done, total
            self.report = reading.describe().report
        yield total, total


def some_pictures(source: str | Path, count: int = 16, side: int = 256) -> list[Image.Image]:
    """Return up to `count` pictures, evenly spread over a source, upright, in mode "L" or "RGB".

    Where some of one is transparent, its mode has "A" besides. Their longer side is at most `side`.
    What cannot be decoded is skipped; InputError if the source cannot be opened.
    """
    found: dict[str, Decoded] = {}
    with open_source(source) as reading:
        names = reading.candidates
        for part in range(count):
            for name in names[part * len(names) // count : (part + 1) * len(names) // count][
                :MOST_TRIED
            ]:
                with suppress(InputError):
                    found[name] = reading.picture(name, side)
                    found[name].image.thumbnail((side, side))
                    break
        common = scales_of(each.span for each in found.values() if each.span)
        for name, (*_, span) in found.items():
            if span and span.scale() != common[span.whole]:
                found[name] = reading.picture(name, side, common[span.whole])
                found[name].image.thumbnail((side, side))
    return [each.image for each in found.values()]


def split(images: ImageSet, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the places of the pictures to train on and of those held out, each int64, ascending.

    About `share` (0 to 0.5) of the pictures is held out: at least one of 8 or more, none of fewer.
    Pictures that are equal, by the report's duplicates, are on one side; the same `seed` gives the
    same sides.
    """
    count = len(images.pixels)
    held = torch.zeros(count, dtype=torch.bool)
    if real("share", share, 0, 0.5) and count >= FEWEST_TO_SPLIT:
        groups = _equal_pictures(images)
        source = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(groups), generator=source).tolist()
        shuffled = [groups[place] for place in order]
        for number in _draw_groups(shuffled, max(1, round(share * count))):
            held[shuffled[number]] = True
    return torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()


def _equal_pictures(images: ImageSet) -> list[list[int]]:
    """Return the places of the pictures, those of equal ones together."""
    first = {name: group[0] for group in images.report.duplicates for name in group}
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(images.names):
        groups.setdefault(first.get(name, name), []).append(place)
    return list(groups.values())


def _draw_groups(groups: Sequence[Sequence[int]], wanted: int) -> list[int]:
    """Return which groups to hold out so that they are `wanted` pictures or a few fewer.

    Where every group is larger than that, the smallest one, if more than it is left to train on.
    """
    drawn, left = [], wanted
    for number, group in enumerate(groups):
        if len(group) <= left:
            drawn.append(number)
            left -= len(group)
    if drawn:
        return drawn
    smallest = min(range(len(groups)), key=lambda number: len(groups[number]))
    return [smallest] if 2 * len(groups[smallest]) < sum(map(len, groups)) else []
