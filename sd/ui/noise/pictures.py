"""Where the Noise tab's picture comes from: an upload, the starters, or a run's own pictures."""

import io
import os
from collections.abc import Callable
from contextlib import closing
from functools import cache, lru_cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from PIL import Image

from sd import runs
from sd.common import validation
from sd.common.validation import InputError
from sd.data.decoding.decoder import as_colour
from sd.ui import starters, state
from sd.ui.adapter import checks
from sd.ui.adapter.checks import original_name
from sd.ui.adapter.served_files import FILE_DATA, file_data, store_picture
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

    from sd.data.image_set import ImageSet
    from sd.generation.registry import ModelEntry

LARGEST_SIDE = 256  # pixels to which a person's picture is brought
LONGEST_NAME = 64  # of a run
SHOWN = 8  # pictures of a set to choose from
INDEX = "index.json"  # of a run's pictures
STARTER, SHAPES = "starter", "bundled:shapes"  # no run's name has a colon
UNPACK = "python -m zipfile -e sd/data/starter/{file} {folder} && "
STARTERS = (starters.PHOTO, *starters.NAMES)


class RunPicture(NamedTuple):
    """One of a run's pictures, by the run's name and its place in the set; or a bundled shape."""

    run: str
    place: int


Picture = str | RunPicture
"""A starter's name, the path of an upload, or one of a run's pictures."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def keep_newest(
    most: int,
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Let a function of a picture keep its newest results, for the very set that this is now.

    Visitors may call their runs alike, and a run may get the name of one that is gone.
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        kept: Any = lru_cache(maxsize=most)(lambda _, *args, **kwargs: function(*args, **kwargs))

        @wraps(function)
        def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            given = (*args, *kwargs.values())
            picture = next((each for each in given if isinstance(each, RunPicture)), None)
            result: Result = kept(picture and set_behind(picture), *args, **kwargs)
            return result

        return call

    return decorate


def set_behind(picture: RunPicture) -> tuple[str, int] | None:
    """Return where a run's pictures lie, and when they came there (ns); None of bundled ones."""
    if picture.run == SHAPES:
        return None
    index = f"{state.home().find_run(picture.run) / runs.PICTURES / INDEX}"
    return index, os.stat(index).st_mtime_ns if os.path.exists(index) else 0


def list_sets(lang: str) -> list[tuple[str, str]]:
    """Return (what is shown, name) of the sets: the bundled one, then those of your runs."""
    names = [folder.name for folder in runs.list_folders(state.home().path) if has_pictures(folder)]
    bundled = [(say("set_starter", lang), STARTER), (say("set_shapes", lang), SHAPES)]
    return bundled + [(name, name) for name in names if is_run(name)]


def has_pictures(folder: Path) -> bool:
    """Tell whether a run kept its pictures."""
    return os.path.isfile(f"{folder}/{runs.PICTURES}/{INDEX}")


def is_run(name: str) -> bool:
    """Tell whether a folder's name is one by which its run is found."""
    try:
        return bool(state.home().find_run(name))
    except InputError:
        return False


def open_set(name: str) -> "ImageSet":
    """Return the picture set of a run, its pixels mapped from the disk."""
    from sd.data.ingest import open_images

    folder = state.home().find_run(validation.text("run", name, LONGEST_NAME))
    return open_images(folder / runs.PICTURES)


def spread_indices(count: int) -> list[int]:
    """Return which of `count` pictures are shown: at most 8, evenly spread."""
    return [int(place) for place in np.unique(np.linspace(0, count - 1, SHOWN).round())]


def check_set(name: object) -> str:
    """Return the name of a set to show, the starters' where it is gone; raise `InputError`."""
    known = validation.text("pictures", name, LONGEST_NAME)
    return known if known in (each for _, each in list_sets("en")) else STARTER


def thumbnails(name: str, lang: str) -> list[dict[str, Any]]:
    """Return those that a set shows: each as the browser sends it, its file and its name."""
    from sd.data.images import to_pil

    if name == STARTER:
        offered = zip(STARTERS, starters.photo_and_thumbnails(), strict=True)
        return [thumbnail(picture, path, lang) for picture, path in offered]
    if name == SHAPES:
        drawn = enumerate(shapes().items())
        places = [(RunPicture(SHAPES, place), image) for place, (_, image) in drawn]
        return [thumbnail(picture, store_picture(image), lang) for picture, image in places]
    images = open_set(name)
    return [
        thumbnail(
            RunPicture(name, place), store_picture(as_colour(to_pil(images.pixels[place]))), lang
        )
        for place in spread_indices(len(images.pixels))
    ]


def thumbnail(picture: Picture, path: str, lang: str) -> dict[str, Any]:
    """Return one picture to choose."""
    return {"picture": to_json(picture), "file": file_data(path), "name": called(picture, lang)}


@cache
def shapes() -> dict[str, Image.Image]:
    """Return those of the bundled shapes that are shown, by the names of their files."""
    from sd.data.images import read_picture
    from sd.data.reading.archive import Archive
    from sd.data.reading.source import bundled_path

    with closing(Archive(bundled_path("shapes"))) as bundled:
        names = [name for name in bundled.names if name.endswith(".png")]
        chosen = [names[place] for place in spread_indices(len(names))]
        return {name: read_picture(io.BytesIO(bundled.read(name)), name) for name in chosen}


def own_pictures(entry: "ModelEntry", lang: str, most: int) -> tuple[str, list[Picture]]:
    """Return how a model's set is called, and some of its pictures; none where it is not known."""
    data = entry.name.partition(":")[2] if entry.is_closed_form else ""
    source, run = data or runs.read_source(entry.folder), data or entry.name
    if source == STARTER:
        return say("knows_starter", lang), list(starters.NAMES[:most])
    if source == "shapes":
        return say("knows_shapes", lang), [RunPicture(SHAPES, place) for place in range(most)]
    if is_run(run) and has_pictures(state.home().find_run(run)):
        places = spread_indices(len(open_set(run).pixels))[:most]
        return run, [RunPicture(run, place) for place in places]
    return "", []


def called(picture: Picture, lang: str) -> str:
    """Return how a picture is called."""
    if isinstance(picture, RunPicture) and picture.run == SHAPES:
        return say("picture_shape", lang, n=picture.place + 1)
    if isinstance(picture, RunPicture):
        return Path(open_set(picture.run).names[picture.place]).stem
    if picture in STARTERS:
        return starters.title(picture, lang)
    return Path(original_name(picture)).stem


def to_json(picture: Picture) -> Any:
    """Return a picture as the browser sends it."""
    if isinstance(picture, RunPicture):
        return picture._asdict()
    if picture in STARTERS:
        return picture
    return {"file": str(picture), "name": original_name(picture)}


def read_picture(value: Any) -> Picture:
    """Return the picture that a browser names, if it can be read; raise `InputError`."""
    if isinstance(value, dict) and "file" in value:
        record = {"path": value["file"], "orig_name": value.get("name"), "meta": FILE_DATA}
        picture = checks.upload("picture", record)
        read_pixels(picture)
        return picture
    if isinstance(value, dict):
        run = validation.text("run", value.get("run"), LONGEST_NAME)
        last = len(shapes() if run == SHAPES else open_set(run).pixels) - 1
        return RunPicture(run, validation.whole("picture", value.get("place"), 0, last))
    return validation.choice("picture", value, STARTERS)


def read_image(picture: Picture) -> Image.Image:
    """Return the picture itself, with its transparency."""
    from sd.data.images import to_pil

    if isinstance(picture, RunPicture) and picture.run == SHAPES:
        return list(shapes().values())[picture.place]
    if isinstance(picture, RunPicture):
        return to_pil(open_set(picture.run).pixels[picture.place])
    return starters.read(picture, transparency=True)


@keep_newest(32)
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
    if isinstance(picture, RunPicture) and picture.run == SHAPES:
        name = list(shapes())[picture.place]
        return f"shapes/{name}", UNPACK.format(file="shapes32.zip", folder="shapes")
    if isinstance(picture, RunPicture):
        return str(open_set(picture.run).names[picture.place]), ""
    if picture in starters.PICTURES:
        unpack = UNPACK.format(file="emoji64.zip", folder="starter")
        return f"starter/{starters.PICTURES[picture]}", unpack
    if picture == starters.PHOTO:
        return f"sd/data/starter/{starters.PHOTO}", ""
    return Path(picture).name, ""
