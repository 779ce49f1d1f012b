"""The bundled example: a finished sampling of the bundled model, so that the tab is never empty."""

import base64
from functools import cache
from pathlib import Path
from typing import Any

from sd.generation import registry
from sd.generation.recipe import Recipe, from_json
from sd.ui import state
from sd.ui.components.player import store_chunk

EXAMPLE = "example.html"  # of a bundled model: the one-file player, which the page can read too


def find_example() -> tuple[Recipe, dict[str, Any]] | None:
    """Return the recipe and the film of the first bundled model's example, if there is one."""
    for entry in registry.list_models(state.home()):
        path = entry.folder / EXAMPLE
        if entry.bundled and path.is_file():
            recipe, film = read_player(path)
            if not all(Path(chunk["src"]).is_file() for chunk in film["chunks"]):
                read_player.cache_clear()  # gradio deletes what is older than a day
                recipe, film = read_player(path)
            return recipe, film
    return None


@cache
def read_player(path: Path) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe and the film of a one-file player, its pictures where the page has them."""
    from sd.generation.export import read_html

    films, record = read_html(path)
    chunks = [
        {**chunk, "src": store_chunk(base64.b64decode(chunk["src"].partition(",")[2]))}
        for chunk in films[0]["chunks"]
    ]
    recipe = from_json(record["recipe"])
    return recipe, {**films[0], "chunks": chunks, "captions": recipe.captions}
