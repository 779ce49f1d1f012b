"""Where the Noise tab's picture comes from: an upload, the starters, or a run's own pictures."""

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from sd import runs
from sd.common import validation
from sd.common.validation import InputError
from sd.data.decoding.decoder import as_colour
from sd.ui import starters, state
from sd.ui.adapter.served_files import store_picture
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

    from sd.data.image_set import ImageSet

LARGEST_SIDE = 256  # pixels to which a person's picture is brought
SHOWN = 8  # pictures of a set to choose from
STARTER = "starter"
UNPACK = "python -m zipfile -e sd/data/starter/emoji64.zip starter && "
STARTERS = (starters.PHOTO, *starters.NAMES)


class RunPicture(NamedTuple):
    """One of a run's pictures, by the run's name and its place in the set."""

    run: str
    place: int


Picture = str | RunPicture
"""A starter's name, the path of an upload, or one of a run's pictures."""


def list_sets(lang: str) -> list[tuple[str, str]]:
    """Return (what is shown, name) of the sets: the bundled one, then those of your runs."""
    names = [
        folder.name
        for folder in runs.list_folders(state.home().path)
        if os.path.isfile(f"{folder}/{runs.PICTURES}/index.json")
    ]
    return [(say("set_starter", lang), STARTER)] + [(name, name) for name in names if is_run(name)]


def is_run(name: str) -> bool:
    """Tell whether a folder's name is one by which its run is found."""
    try:
        return bool(state.home().find_run(name))
    except InputError:
        return False


def open_set(name: str) -> "ImageSet":
    """Return the picture set of a run, its pixels mapped from the disk."""
    from sd.data.ingest import open_images

    folder = state.home().find_run(validation.text("run", name, 64))
    return open_images(folder / runs.PICTURES)


def spread_indices(count: int) -> list[int]:
    """Return which of `count` pictures are shown: at most 8, evenly spread."""
    return [int(place) for place in np.unique(np.linspace(0, count - 1, SHOWN).round())]


def thumbnails(name: str) -> list[tuple[str, str]]:
    """Return (file, name) of those that a set shows."""
    from sd.data.images import to_pil

    if name == STARTER:
        return [starters.photo_thumbnail(), *starters.thumbnails()]
    images = open_set(name)
    return [
        (store_picture(as_colour(to_pil(images.pixels[place]))), Path(images.names[place]).stem)
        for place in spread_indices(len(images.pixels))
    ]


def choose(name: str, place: int) -> Picture:
    """Return the picture at a place among those that a set shows."""
    if name == STARTER:
        return STARTERS[validation.whole("picture", place, 0, len(STARTERS) - 1)]
    shown = spread_indices(len(open_set(name).pixels))
    return RunPicture(name, shown[validation.whole("picture", place, 0, len(shown) - 1)])


def read_image(picture: Picture) -> Image.Image:
    """Return the picture itself, with its transparency."""
    from sd.data.images import to_pil

    if isinstance(picture, RunPicture):
        return to_pil(open_set(picture.run).pixels[picture.place])
    return starters.read(picture, transparency=True)


@lru_cache(maxsize=32)
def read_pixels(picture: Picture, shape: tuple[int, int, int] | None = None) -> "Tensor":
    """Return a picture as floats [C, H, W]; without a shape as [3, S, S] with S at most 256."""
    from sd.data.images import fit_picture, to_float

    image = read_image(picture)
    side = max(8, min(LARGEST_SIDE, *image.size))
    channels, height, width = shape or (3, side, side)
    return to_float(fit_picture(image, height, width, channels, "crop"))


@lru_cache(maxsize=16)
def draw_noise(shape: tuple[int, ...], seed: int) -> "Tensor":
    """Return the standard noise [C, H, W] of a seed: the one from which Denoise would start."""
    from sd.diffusion.sampling import draw_noise, generators

    return draw_noise(shape, generators([seed]))[0]


def on_command_line(picture: Picture) -> tuple[str, str]:
    """Return how a command line names a picture, and the command that must come before it."""
    if isinstance(picture, RunPicture):
        return str(open_set(picture.run).names[picture.place]), ""
    if picture in starters.PICTURES:
        return f"starter/{starters.PICTURES[picture]}", UNPACK
    if picture == starters.PHOTO:
        return f"sd/data/starter/{starters.PHOTO}", ""
    return Path(picture).name, ""
