"""The bundled example: a finished sampling of the bundled model, so that the tab is never empty."""

import base64
import io
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from sd import runs
from sd.common.encoding import data_uri
from sd.data.captions import names
from sd.generation import registry
from sd.generation.player.one_file import read_html
from sd.generation.recipe import Recipe, from_json
from sd.ui import state
from sd.ui.components.player import store_chunk
from sd.ui.texts import TEXTS

STILL_QUALITY = 90
EXAMPLE = "example.html"  # of a bundled model: the one-file player, which the page can read too


def find_example() -> tuple[Recipe, dict[str, Any]] | None:
    """Return the recipe and the film of the first bundled model's example, if there is one."""
    path = find_file()
    if path is None:
        return None
    recipe, film = read_player(path)
    if not all(Path(chunk["src"]).is_file() for chunk in film["chunks"]):
        read_player.cache_clear()  # gradio deletes what is older than a day
        recipe, film = read_player(path)
    return recipe, film


def find_file() -> Path | None:
    """Return where the first bundled model's example is, if there is one."""
    for entry in registry.list_models(state.home()):
        path = entry.folder / EXAMPLE
        if entry.bundled and path.is_file():
            return path
    return None


@cache
def read_player(path: Path) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe and the film of a one-file player, its pictures where the page has them."""
    films, record = read_html(path)
    chunks = [{**chunk, "src": store_chunk(chunk_bytes(chunk))} for chunk in films[0]["chunks"]]
    recipe = from_json(record["recipe"])
    return recipe, {**films[0], "chunks": chunks, "captions": recipe.captions}


def chunk_bytes(chunk: dict[str, Any]) -> bytes:
    """Return a chunk of a film that carries its pictures."""
    return base64.b64decode(chunk["src"].partition(",")[2])


def find_still() -> dict[str, Any] | None:
    """Return the example's finished pictures, which stand there before anything is asked for.

    Keys: a film's, "src", a data address of all its pictures in one, and "names": caption ->
    language -> what it is called.
    """
    path = find_file()
    if path is None:
        return None
    films, record = read_html(path)
    film, last = films[0], films[0]["chunks"][-1]
    before = sum(last["parts"][: film["kinds"].index("x_t")])
    sheet = chunk_bytes(last)[before : before + last["parts"][film["kinds"].index("x_t")]]
    with Image.open(io.BytesIO(sheet), formats=["JPEG"]) as steps:
        height = steps.height // last["count"]
        pictures = steps.crop((0, steps.height - height, steps.width, steps.height))
    with io.BytesIO() as file:
        pictures.save(file, "WEBP", quality=STILL_QUALITY)
        src = data_uri(file.getvalue(), "image/webp")
    about = {key: film[key] for key in ("id", "count", "columns", "width", "height")}
    captions, set_name = from_json(record["recipe"]).captions, runs.read_source(path.parent)
    said = {
        each: {lang: names(set_name, lang).get(each, each) for lang in TEXTS} for each in captions
    }
    return {**about, "captions": captions, "src": src, "names": said}
