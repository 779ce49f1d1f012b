"""A photograph and a few pictures of the bundled set, for whoever has none at hand.

They stand in a row to begin from. Its value is {"pictures": what its `load` asked for, "chosen":
which of them is, None for none}; either stays as it was where it is not sent.
"""

import io
import json
from contextlib import closing
from functools import cache
from pathlib import Path

import gradio as gr
from PIL import Image

from sd.common import validation
from sd.common.encoding import png_bytes
from sd.common.paths import PACKAGE
from sd.ui.adapter.served_files import file_data, store
from sd.ui.components.events import Updates
from sd.ui.components.fields import words
from sd.ui.components.handlers import event_value, guarded, language
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
PLACE = '<div class="thumbs-row"></div>'  # never changes, so gradio never touches what is in it
ON_LOAD = "sdStarters.mount(element, props, trigger, watch, %s);"
NONE_CHOSEN = {"chosen": None}


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


@cache
def small_pngs() -> tuple[bytes, ...]:
    """Return the photograph at `THUMBNAIL`, and then each starter picture, as PNG."""
    return tuple(map(png_bytes, (read(PHOTO).resize(THUMBNAIL), *pictures().values())))


def photo_and_thumbnails() -> list[str]:
    """Return the file of the photograph's, and of each starter picture."""
    return [str(store(data, "image.png")) for data in small_pngs()]


def thumbnails() -> list[str]:
    """Return the file of each starter picture."""
    return photo_and_thumbnails()[1:]


def title(picture: str, lang: str) -> str:
    """Return what one of these pictures is called."""
    return say(f"picture_{Path(picture).stem}", lang)


# ---- the row of them to begin from


def starter_row(elem_id: str) -> gr.HTML:
    """Show the row; `select` tells which was pressed, `load` that the pictures are wanted."""
    return gr.HTML(
        html_template=PLACE,
        js_on_load=ON_LOAD % json.dumps(words("begin_starters"), ensure_ascii=False),
        apply_default_css=False,
        elem_id=elem_id,
    )


@guarded
def show_starters(request: gr.Request) -> Updates:
    """Show the pictures, with what they are called in the page's language."""
    lang, files = language(request), thumbnails()
    pictures = [
        {"src": file_data(file), "name": title(name, lang)}
        for name, file in zip(NAMES, files, strict=True)
    ]
    return {"starters": {"pictures": pictures}}


@guarded
def choose_starter(event: gr.EventData) -> Updates:
    """Take a starter picture to begin from, and empty the upload."""
    index = validation.whole("picture", event_value(event, "index"), 0, len(NAMES) - 1)
    return {"picture": NAMES[index], "upload": None}
