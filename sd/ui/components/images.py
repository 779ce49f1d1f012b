"""Pictures for the screen: enlarged, tiled, and written into an address."""

import io
from collections.abc import Sequence

from PIL import Image

from sd.common.encoding import data_uri, png_bytes
from sd.data.decoding.decoder import as_colour

SCREEN_SIDE = 512  # pixels; pictures are enlarged to about this by repeating pixels
SMALL_SIDE = 64  # up to here a picture travels as PNG, larger ones shrunk to it as JPEG


def enlarge(image: Image.Image, side: int = SCREEN_SIDE) -> Image.Image:
    """Return `image` enlarged by a whole factor to about `side` pixels: each pixel a block."""
    factor = max(1, round(side / max(image.size)))
    size = image.width * factor, image.height * factor
    return as_colour(image).resize(size, Image.Resampling.NEAREST)


def tile(
    pictures: Sequence[Image.Image], columns: int = 0, gap: int = 2, paper: str = "white"
) -> Image.Image:
    """Return pictures of one size on one grid, row by row; nearly square if `columns` is 0."""
    columns = columns or max(1, round(len(pictures) ** 0.5 + 0.49))
    rows = -(-len(pictures) // columns)
    width, height = pictures[0].size
    grid = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), paper)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        grid.paste(as_colour(picture), (column * (width + gap), row * (height + gap)))
    return grid


def data_address(image: Image.Image, side: int = 2 * SMALL_SIDE) -> str:
    """Return a small picture as an address that holds it whole, a larger one as a JPEG.

    side: pixels to which it is shrunk.
    """
    small = as_colour(image)
    if max(image.size) <= SMALL_SIDE:
        return data_uri(png_bytes(small), "image/png")
    small.thumbnail((side, side))
    small.save(file := io.BytesIO(), "JPEG", quality=92 if side > 2 * SMALL_SIDE else 85)
    return data_uri(file.getvalue(), "image/jpeg")
