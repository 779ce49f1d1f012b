"""Pictures whose every factor is known: one or two coloured shapes, their captions, a scorer.

The sets that the words `shapes` and `shapes128` mean lie in starter/ and were drawn by
    from sd.data.shapes import COUNT, SEED, make_set
    open("shapes32.zip", "wb").write(make_set(COUNT, SEED))
    open("shapes128.zip", "wb").write(make_set(COUNT, SEED, 128))
Both show the same scenes. 64 of the 228 captions are in neither (`is_held_out`): what a model draws
when it is asked for one, it has put together itself.
Its captions say all that was chosen but place and size, so whether a sample follows its prompt is
told by geometry (`follows`) and not by another model. One geometry draws and reads.
"""

import csv
import io
import math
import zipfile
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sd.common.validation import InputError, shown

SETS = ("shapes", "shapes128")  # words for the bundled ones
COUNT, SEED = 2400, 0  # of each
COLOURS = {
    "red": (230, 40, 40),
    "green": (30, 170, 60),
    "blue": (40, 80, 230),
    "yellow": (250, 205, 30),
}
FILLS = {"circle": math.pi / 4, "square": 1.0, "triangle": 0.5}  # share of the bounding box
RELATIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
# Only these are said, so that the order of the words is that of the things: to learn which of two
# opposite words turns the order round takes far longer than to learn colours, shapes and places.
CAPTION_RELATIONS = ("left of", "above")
# Things that no picture of a set has in that relation to another.
HELD_OUT = {
    "left of": ("red circle", "blue triangle"),
    "right of": ("green square", "yellow circle"),
    "above": ("blue square", "yellow triangle"),
    "below": ("red triangle", "green circle"),
}
OTHER = "other"  # a colour or a shape that is none of these
PAPER = 255
SIDE, FINE = 32, 8  # pixels; a pixel is the mean of FINE x FINE points
SIZES = (9, 13)  # pixels
MARGIN, GAP, APART = 1, 2, 11  # pixels: to the rim, between shapes, between centres
TWO = 0.7  # share of the pictures that show two shapes
SMALLEST = 12 / SIDE**2  # of the picture; less is dirt
LARGEST_SIDE = 128  # of a picture that is read
COVERED = 0.5  # of a pixel that counts as coloured
LIKE_COLOUR = 0.95  # cosine, seen from the paper: up to 18 degrees from the colour; grey is 20
LIKE_SHAPE = 0.75  # intersection over union with the ideal shape
DATE = (2025, 1, 1, 0, 0, 0)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Thing(NamedTuple):
    """What a caption says of one shape."""

    colour: str
    shape: str


class Scene(NamedTuple):
    """What a caption asks for: the `first` thing, or it in a `relation` to the `second`."""

    first: Thing
    relation: str = ""
    second: Thing | None = None


class Region(NamedTuple):
    """A shape in a picture: the mean of its pixels' places, their number, and which they are."""

    colour: str
    shape: str
    x: float
    y: float
    area: int
    mask: Bools  # [H, W]


class _Box(NamedTuple):
    """Where a shape is drawn: centre and side of its bounding box, in points."""

    x: int
    y: int
    size: int


def captions() -> list[str]:
    """Return all captions: 12 of one shape, 216 of two of different colours."""
    things = [Thing(colour, shape) for colour in COLOURS for shape in FILLS]
    pairs = [(a, word, b) for a in things for word in CAPTION_RELATIONS for b in things]
    two = [f"{' '.join(a)} {word} {' '.join(b)}" for a, word, b in pairs if a.colour != b.colour]
    return [" ".join(thing) for thing in things] + two


@cache
def shown_captions() -> tuple[str, ...]:
    """Return those of the captions that pictures of a set may have: 12 of one shape, 152 of two."""
    return tuple(each for each in captions() if not is_held_out(each))


def is_held_out(caption: str) -> bool:
    """Tell whether a caption puts a thing where no picture of the set has it; a bad one raises."""
    asked = parse(caption)
    if asked.second is None:
        return False
    opposite = next(
        word
        for word, (axis, sign) in RELATIONS.items()
        if (axis, -sign) == RELATIONS[asked.relation]
    )
    placed = ((asked.relation, asked.first), (opposite, asked.second))
    return any(" ".join(thing) in HELD_OUT[relation] for relation, thing in placed)


def parse(caption: str) -> Scene:
    """Return what a caption asks for, also by the opposite words; else raise `InputError`."""
    words = caption.lower().split() if isinstance(caption, str) else []
    relation, ends = " ".join(words[2:-2]), [*words[:2], *words[-2:]]
    known = [ends[k] in (FILLS if k % 2 else COLOURS) for k in range(len(ends))]
    if len(words) == 2 and all(known):
        return Scene(Thing(*words))
    if len(words) > 4 and all(known) and relation in RELATIONS and words[0] != words[-2]:
        return Scene(Thing(*words[:2]), relation, Thing(*words[-2:]))
    raise InputError(
        f"caption = {shown(caption)}: must be like 'red circle' or 'red circle left of blue "
        f"square', of {', '.join(COLOURS)}; {', '.join(FILLS)}; {', '.join(RELATIONS)}"
    )


def is_caption(text: str) -> bool:
    """Tell whether a text is one that `parse` reads."""
    try:
        parse(text)
    except InputError:
        return False
    return True


def draw(caption: str, source: np.random.Generator, side: int = SIDE) -> Image.Image:
    """Return a picture of a caption, RGB, side x side; sizes and places are drawn from `source`.

    Two centres lie at least 11/32 of the side apart along the relation's axis, and more than twice
    as far along it as across it; the same draws give the same scene at any side.
    Raises `InputError` for a bad caption.
    """
    asked = parse(caption)
    low, high = (FINE * size // 2 for size in SIZES)
    sizes = [2 * int(source.integers(low, high + 1)) for _ in range(2 if asked.second else 1)]
    if asked.second is None:
        x, y = (_between(source, *_room(sizes[0])) for _ in range(2))
        drawn = [(asked.first, _Box(x, y, sizes[0]))]
    else:
        boxes = _two_boxes(asked.relation, sizes, source)
        drawn = list(zip((asked.first, asked.second), boxes, strict=True))
    pixels = np.full((side, side, 3), PAPER, np.int64)
    for thing, box in drawn:
        paint = np.array(COLOURS[thing.colour]) - PAPER
        pixels += np.rint(_coverage(thing.shape, box, side)[..., None] * paint).astype(np.int64)
    return Image.fromarray(pixels.astype(np.uint8))


def _between(source: np.random.Generator, low: int, high: int) -> int:
    return int(source.integers(low, high + 1))


def _room(size: int) -> tuple[int, int]:
    """Return the least and the largest coordinate that a centre may have."""
    rim = FINE * MARGIN + size // 2
    return rim, FINE * SIDE - rim


def _two_boxes(relation: str, sizes: list[int], source: np.random.Generator) -> list[_Box]:
    """Return the boxes of the first and of the second thing."""
    axis, sign = RELATIONS[relation]
    one, two = sizes if sign < 0 else sizes[::-1]  # from left to right, or from above
    start, end = _room(one)[0], _room(two)[1]
    apart = _between(source, max(FINE * APART, (one + two) // 2 + FINE * GAP), end - start)
    along = _between(source, start, end - apart)
    across = _between(source, *_room(one))
    low, high = _room(two)
    aside = (apart - 1) // 2
    other = _between(source, max(low, across - aside), min(high, across + aside))
    places = [(along, across, one), (along + apart, other, two)]
    boxes = [_Box(a, b, size) if axis == 0 else _Box(b, a, size) for a, b, size in places]
    return boxes if sign < 0 else boxes[::-1]


def _coverage(shape: str, box: _Box, side: int) -> Floats:
    """Return how much of each pixel a shape covers, 0..1, [side, side]."""
    places = (np.arange(side * FINE) + 0.5) * (SIDE / side)
    inside = _inside(
        shape, (places - box.x)[None, :] / box.size, (places - box.y)[:, None] / box.size
    )
    mean: Floats = inside.reshape(side, FINE, side, FINE).mean((1, 3))
    return mean


def _inside(shape: str, u: Floats, v: Floats) -> Bools:
    """Tell which points are in a shape whose bounding box is [-1/2, 1/2]^2, v downwards."""
    if shape == "circle":
        return u**2 + v**2 <= 0.25
    if shape == "square":
        return np.maximum(abs(u), abs(v)) <= 0.5
    return (abs(u) <= (v + 0.5) / 2) & (v <= 0.5)


def make_set(count: int, seed: int, side: int = SIDE) -> bytes:
    """Return a zip of `count` pictures with metadata.csv (file_name, text, label).

    The label is the first thing's shape. Same arguments, Pillow and zlib: the same bytes.
    """
    file, table = io.BytesIO(), io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["file_name", "text", "label"])
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            caption, picture = make_picture(seed, number, side)
            name = f"{number:04}.png"
            rows.writerow([name, caption, parse(caption).first.shape])
            picture.save(png := io.BytesIO(), "PNG", optimize=True)
            archive.writestr(zipfile.ZipInfo(name, DATE), png.getvalue())
        archive.writestr(
            zipfile.ZipInfo("metadata.csv", DATE), table.getvalue(), zipfile.ZIP_DEFLATED
        )
    return file.getvalue()


def make_picture(seed: int, number: int, side: int = SIDE) -> tuple[str, Image.Image]:
    """Return caption and picture `number` of the set of this seed."""
    source = np.random.default_rng([seed, number])
    every, things = shown_captions(), len(COLOURS) * len(FILLS)
    chosen = every[things:] if source.random() < TWO else every[:things]
    caption = chosen[_between(source, 0, len(chosen) - 1)]
    return caption, draw(caption, source, side)


def find_shapes(picture: Image.Image | NDArray[np.uint8]) -> list[Region]:
    """Return the shapes in a picture, the largest first; specks are not told.

    picture: RGB, or uint8 [H, W, 3], with sides of at most 128. A shape is a connected region of
    pixels that are at least half covered by one colour; what has another colour or form is told as
    "other". Raises `InputError` for what is no such picture.
    """
    kinds = _kinds(_pixels(picture))
    large = [mask for mask in _regions(kinds) if mask.sum() >= SMALLEST * kinds.size]
    found = [_measure(mask, kinds) for mask in large]
    return sorted(found, key=lambda each: -each.area)


def _pixels(picture: Any) -> NDArray[np.uint8]:
    """Return a picture as uint8 [H, W, 3]."""
    pixels = np.asarray(picture.convert("RGB") if isinstance(picture, Image.Image) else picture)
    fits = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    if not fits or 0 in pixels.shape or max(pixels.shape) > LARGEST_SIDE:
        raise InputError(
            f"picture = {pixels.dtype} {list(pixels.shape)}: must be uint8 [height, width, 3] with "
            f"sides of at most {LARGEST_SIDE}"
        )
    return pixels


def _kinds(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return 0 for paper, 1.. for a colour and the last for another colour, [H, W].

    A pixel of which a share is covered lies on the line from the paper to the colour, so the
    direction tells the colour and the length the share, at rims as well.
    """
    ink = PAPER - pixels.astype(np.float64)  # [H, W, 3]
    full = PAPER - np.array(list(COLOURS.values()), np.float64)  # [colours, 3]
    lengths = np.linalg.norm(full, axis=1)
    along = ink @ (full / lengths[:, None]).T  # [H, W, colours]
    length = np.linalg.norm(ink, axis=2)
    nearest = along.argmax(2)
    like = along.max(2) >= LIKE_COLOUR * length
    share = np.where(like, along.max(2) / lengths[nearest], length / lengths.mean())
    kinds: NDArray[np.int64] = np.where(like, nearest + 1, len(COLOURS) + 1)
    return np.where(share >= COVERED, kinds, 0)


def _regions(kinds: NDArray[np.int64]) -> Iterator[Bools]:
    """Yield the mask [H, W] of each region of one kind, joined by the pixels' sides."""
    left = {(int(y), int(x)): int(kinds[y, x]) for y, x in np.argwhere(kinds)}
    while left:
        place, kind = left.popitem()
        region = [place]
        for y, x in region:  # it grows while it is gone through
            beside = ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            new = [each for each in beside if left.get(each) == kind]
            region += new
            for each in new:
                del left[each]
        mask = np.zeros(kinds.shape, np.bool_)
        mask[tuple(np.array(region).T)] = True
        yield mask


def _measure(mask: Bools, kinds: NDArray[np.int64]) -> Region:
    """Return what is known of one region."""
    rows, columns = np.nonzero(mask)
    colour = [*COLOURS, OTHER][kinds[rows[0], columns[0]] - 1]
    return Region(colour, _shape(mask), float(columns.mean()), float(rows.mean()), len(rows), mask)


def _shape(mask: Bools) -> str:
    """Return the shape that a region is most like, laid on it with equal area and centre."""
    rows, columns = np.nonzero(mask)
    x = np.arange(mask.shape[1])[None, :] - columns.mean()
    y = np.arange(mask.shape[0])[:, None] - rows.mean()
    scores = {}
    for shape, fill in FILLS.items():
        size = math.sqrt(len(rows) / fill)
        lower = 1 / 6 if shape == "triangle" else 0  # its centre of mass, below its box's middle
        ideal = _inside(shape, x / size, y / size + lower)
        scores[shape] = (ideal & mask).sum() / (ideal | mask).sum()
    best = max(scores, key=lambda shape: scores[shape])
    return best if scores[best] >= LIKE_SHAPE else OTHER


def follows(caption: str, picture: Image.Image | NDArray[np.uint8]) -> bool:
    """Tell whether a picture shows exactly what a caption asks for, and nothing else.

    The relation holds where the centres differ in its direction, and more along it than across
    it. Raises `InputError` for a bad caption or picture.
    """
    asked, found = parse(caption), find_shapes(picture)
    wanted = [asked.first, *([asked.second] if asked.second else [])]
    seen = {Thing(each.colour, each.shape): each for each in found}
    if len(found) != len(wanted) or any(thing not in seen for thing in wanted):
        return False
    if asked.second is None:
        return True
    first, second = seen[asked.first], seen[asked.second]
    difference = (first.x - second.x, first.y - second.y)
    axis, sign = RELATIONS[asked.relation]
    return sign * difference[axis] > abs(difference[1 - axis])
