"""What a visitor's pictures are, for the host who was asked to take something down.

They are looked at only when the host asks for them, and kept nowhere.
"""

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from PIL import Image

from sd import runs
from sd.common.encoding import data_uri
from sd.common.validation import InputError
from sd.runs.sharing import host

MOST, COLUMNS, SIDE = 48, 12, 64  # pictures of a sheet, and the pixels of a side of each
MOST_SHEETS = 24
PAPER = "white"


def draw_sheets(place: Path, visitor: str, run: str = "") -> list[str]:
    """Return sheets of what a visitor's run was trained on and drew last, as addresses.

    run: "" is all of them, and before them what was uploaded. Raises `InputError` where there is
    no such visitor or run.
    """
    home = host.find_home(place, visitor)
    folders = host.find_runs(home, run)
    uploads = [] if run else sorted(runs.Home(home).uploads.glob("*.zip"))
    groups = list(map(_pictures_of_upload, uploads))
    for folder in folders:
        groups += [_pictures_of_run(folder), _newest_samples(folder)]
    return [_sheet(group) for group in groups if group][:MOST_SHEETS]


def _pictures_of_upload(path: Path) -> list[Image.Image]:
    from sd.data.image_set import some_pictures

    with suppress(InputError, OSError):  # it went meanwhile
        return some_pictures(path, MOST, SIDE)
    return []


def _pictures_of_run(folder: Path) -> list[Image.Image]:
    """Return some of a run's own pictures, evenly spread; none before it has any."""
    from sd.data.images import to_pil
    from sd.data.ingest import open_images

    with suppress(InputError, OSError):
        pixels = open_images(folder / runs.PICTURES).pixels
        shown = min(MOST, len(pixels))
        return [to_pil(pixels[k * len(pixels) // shown]) for k in range(shown)]
    return []


def _newest_samples(folder: Path) -> list[Image.Image]:
    """Return the newest of a run's grids of samples; none before there is one."""
    grids = runs.samples(folder)
    with suppress(OSError, SyntaxError, ValueError):
        return [Image.open(each.average, formats=["PNG"]).convert("RGB") for each in grids[-1:]]
    return []


def _sheet(pictures: list[Image.Image]) -> str:
    """Return pictures on one sheet as an address; a single one larger."""
    side = SIDE if len(pictures) > 1 else 6 * SIDE
    columns = min(len(pictures), COLUMNS)
    sheet = Image.new("RGB", (columns * side, -(-len(pictures) // columns) * side), PAPER)
    for picture, corner in zip(pictures, _corners(side, columns), strict=False):
        small = picture.convert("RGB")
        small.thumbnail((side, side))
        sheet.paste(small, corner)
    sheet.save(file := io.BytesIO(), "JPEG", quality=85)
    return data_uri(file.getvalue(), "image/jpeg")


def _corners(side: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield where pictures of a sheet lie, row by row."""
    for number in range(MOST):
        row, column = divmod(number, columns)
        yield column * side, row * side
