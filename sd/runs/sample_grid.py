"""A grid of a run's samples: how large it is, and the one way in which it is opened.

Sixteen pictures in rows of four. A run from elsewhere may bring anything under a grid's name, so
its size is compared with the settings before Pillow sees a pixel. No torch.
"""

import math
import re
import struct
from pathlib import Path

from PIL import Image

from sd.common.text import brief, printable
from sd.common.validation import InputError
from sd.config import Config
from sd.data.decoding.decoder import as_colour
from sd.training.monitoring import SAMPLE_COUNT

COLUMNS = math.isqrt(SAMPLE_COUNT)  # samples of one row, and rows
GAP = 2  # pixels between them
NAME = re.compile(r"(?:step|raw)-[0-9]{1,12}\.png")
HEADER = struct.Struct(">8s4x4s2L")  # signature, kind of the first chunk, width, height


def grid_size(config: Config) -> tuple[int, int]:
    """Return width and height in pixels of a grid of these settings' pictures."""
    training = config.training
    sides = training.input_width, training.input_height
    return sides[0] * COLUMNS + GAP * (COLUMNS - 1), sides[1] * COLUMNS + GAP * (COLUMNS - 1)


def open_sample_grid(path: Path, config: Config) -> Image.Image:
    """Return a grid as RGB; raise `InputError` for what is no PNG of the size it must have."""
    name, wanted = brief(printable(path.name)), grid_size(config)
    try:
        with path.open("rb") as file:
            head = file.read(HEADER.size)
        signature, kind, *size = HEADER.unpack(head.ljust(HEADER.size))
        if signature != b"\x89PNG\r\n\x1a\n" or kind != b"IHDR":
            raise InputError(f"{name}: not a PNG")
        if tuple(size) != wanted:
            found = " x ".join(map(str, size))
            raise InputError(f"{name}: {found} pixels; a sheet has {wanted[0]} x {wanted[1]}")
        with Image.open(path, formats=["PNG"]) as image:
            image.load()  # while its file is open
            return as_colour(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: not a picture that can be read") from None
