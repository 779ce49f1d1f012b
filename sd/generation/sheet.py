"""A sheet of a grid: its pictures with the name of both axes and of every value beside them."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from sd.generation.grid import Axis

LEAST_SIDE, MOST_SIDE = 96, 512  # pixels of a cell; small pictures are enlarged to the first
MARGIN, GAP = 12, 4
LETTERS = 15  # pixels of their height
LONGEST_TITLE = 24  # characters
PAPER, INK = "white", "#222222"


def draw_sheet(pictures: Sequence[Sequence[Image.Image]], axes: Sequence[Axis]) -> Image.Image:
    """Return the pictures of `sd.generation.grid.lay_out`'s cells in one, RGB, on white."""
    side = _side(pictures)
    font = ImageFont.load_default(LETTERS)
    down = axes[0] if len(axes) == 2 else None
    left = max((round(font.getlength(each)) for each in _titles(down)), default=0) + MARGIN
    left += MARGIN if down else 0
    top = 2 * MARGIN + 2 * LETTERS + (LETTERS + GAP if down else 0)
    step = side + GAP
    width = max(left + step * len(pictures[0]), left + round(font.getlength(axes[-1].name)))
    sheet = Image.new("RGB", (width + MARGIN, top + step * len(pictures) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((left, MARGIN), axes[-1].name, INK, font)
    for column, title in enumerate(_titles(axes[-1])):
        fitting = _fitting(title, font, side)
        draw.text((left + step * column, top - MARGIN - LETTERS + 4), fitting, INK, font)
    if down:
        draw.text((MARGIN, MARGIN), down.name, INK, font)
    for row, cells in enumerate(pictures):
        y = top + step * row
        if down:
            draw.text((MARGIN, y + (side - LETTERS) // 2), _titles(down)[row], INK, font)
        for column, picture in enumerate(cells):
            sheet.paste(_shown(picture, side), (left + step * column, y))
    return sheet


def _side(pictures: Sequence[Sequence[Image.Image]]) -> int:
    """Return the side of a cell: the largest picture's, enlarged by a whole number."""
    largest = max(max(each.size) for row in pictures for each in row)
    return min(MOST_SIDE, largest * max(1, -(-LEAST_SIDE // largest)))


def _titles(axis: Axis | None) -> list[str]:
    """Return an axis' titles, short; what the font has no letter for shows as a box."""
    titles = axis.titles if axis else []
    return [
        each if len(each) <= LONGEST_TITLE else f"{each[: LONGEST_TITLE - 1]}…" for each in titles
    ]


def _fitting(title: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while len(title) > 1 and font.getlength(title) > width:
        title = title.removesuffix("…")[:-1] + "…"
    return title


def _shown(picture: Image.Image, side: int) -> Image.Image:
    """Return a picture on white, as large as its cell, in the middle of it."""
    scale = side / max(picture.size)
    size = round(picture.width * scale), round(picture.height * scale)
    sharp = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    large = picture.convert("RGBA").resize(size, sharp)
    cell = Image.new("RGB", (side, side), PAPER)
    cell.paste(large, ((side - size[0]) // 2, (side - size[1]) // 2), large)
    return cell
