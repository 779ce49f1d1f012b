"""A photograph and a few pictures of the bundled set, for whoever has none at hand."""

import io
from contextlib import closing
from functools import cache
from pathlib import Path

from PIL import Image

from sd.common.paths import PACKAGE
from sd.ui.adapter.served_files import store_picture
from sd.ui.texts import say

PICTURES = {
    "lion.png": "images/0422-lion.png",
    "sunrise.png": "images/0752-sunrise.png",
    "owl.png": "images/0485-owl.png",
    "sunflower.png": "images/0545-sunflower.png",
    "red-apple.png": "images/0575-red-apple.png",
    "rainbow.png": "images/0902-rainbow.png",
    "bridge.png": "images/0755-bridge-at-night.png",
    "tropical-fish.png": "images/0509-tropical-fish.png",
}
NAMES = tuple(PICTURES)
PHOTO = "cat.jpg"  # 256 x 256 pixels; no model here has learned from it
THUMBNAIL = (64, 64)


@cache
def pictures() -> dict[str, Image.Image]:
    """Return the starter pictures by name, 64 x 64 pixels."""
    from sd.data.images import read_picture
    from sd.data.reading.archive import Archive
    from sd.data.reading.source import starter_path

    with closing(Archive(starter_path())) as bundled:
        return {
            name: read_picture(io.BytesIO(bundled.read(path)), name)
            for name, path in PICTURES.items()
        }


def read(picture: str, transparency: bool = False) -> Image.Image:
    """Return a starter picture by its name, or read the file at a path as `read_picture` does."""
    from sd.data.images import read_picture

    if picture in PICTURES:
        return pictures()[picture]
    path = PACKAGE / "data" / "starter" / PHOTO if picture == PHOTO else Path(picture)
    return read_picture(path, path.name, transparency)


def thumbnails() -> list[str]:
    """Return the file of each starter picture."""
    return [store_picture(image) for image in pictures().values()]


def photo_thumbnail() -> str:
    """Return the file of the photograph's."""
    return store_picture(read(PHOTO).resize(THUMBNAIL))


def title(picture: str, lang: str) -> str:
    """Return what one of these pictures is called."""
    return say(f"picture_{Path(picture).stem}", lang)
