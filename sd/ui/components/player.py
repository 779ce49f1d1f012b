"""The player of films as a component of the page, and the place of its pictures.

Its value is {"lanes": [film, ...], "words": {...}, "live": bool, "at": step to open at}; a film is
what `sd.generation.film.Film.json` returns, with chunks that `keep_chunk` has stored.
"""

import json
import secrets
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import LocalContext
from gradio.utils import get_upload_folder

from sd.generation.player.words import PLAYER_TEXTS
from sd.ui.adapter.inputs import Plain
from sd.ui.texts import say

FOLDER = "sd-film"  # in gradio's folder of files, which it serves and empties
PLACE = '<div class="player-place"></div>'  # never changes, so gradio never touches what is in it

# The value is a proxy of gradio's: the player gets a plain copy.
ON_LOAD = """
const address = (src) => {
  if (src.startsWith("data:")) return src;
  const { root, api_prefix } = window.gradio_config;
  const base = new URL(root || ".", location.href);
  base.protocol = location.protocol;
  const path = src.split("/").map(encodeURIComponent).join("/");
  return `${base.href.replace(/[/]$/, "")}${api_prefix || "/gradio_api"}/file=${path}`;
};
const player = window.sdPlayer.mount(element.querySelector(".player-place"), {
  address,
  onSelect: (at) => trigger("select", { ...at, index: at.i, value: at.t }),
});
const show = () => {
  const value = JSON.parse(JSON.stringify(props.value ?? null));
  for (const film of value?.lanes ?? []) film.frames = film.frames.flatMap(JSON.parse);
  player.update(value);
};
watch("value", show);
show();
"""


class Player(gr.HTML, metaclass=Plain):
    """A player; see `player`."""

    def postprocess(self, value: Any) -> Any:
        """Return what is sent: the value with each film's frames as texts, one for each chunk.

        gradio and the browser compare and copy a text at once, but a tree number by number, at
        every look at a sampling.
        """
        sent: Any = super().postprocess(value)
        if not isinstance(sent, dict):
            return sent
        return {**sent, "lanes": [carried(film) for film in sent["lanes"]]}


def carried(film: dict[str, Any]) -> dict[str, Any]:
    """Return a film whose frames are JSON texts; those of one without chunks are one text."""
    frames = film["frames"]
    spans = [(chunk["first"] - 1, chunk["count"]) for chunk in film["chunks"]] or [(0, len(frames))]
    texts = [json.dumps(frames[first : first + count]) for first, count in spans]
    return {**film, "frames": texts}


def player(elem_id: str, value: dict[str, Any] | None = None) -> Player:
    """Show a player; its `select` event tells where the slider rests: id, lane, i and t.

    The handler reads them from `gr.EventData`: `event.lane`, `event.i`, `event.t`, `event.id`.
    """
    return Player(
        value,
        html_template=PLACE,
        js_on_load=ON_LOAD,
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="player",
    )


def shown(lanes: list[dict[str, Any]], language: str, **more: Any) -> dict[str, Any]:
    """Return the player's value for films, with its words; `more`: at, the step to open at."""
    live = any(film["running"] for film in lanes)
    return {"lanes": lanes, "words": words(language), "live": live, **more}


def words(language: str) -> dict[str, str]:
    """Return the player's words in a language."""
    return {key: say(f"player_{key}", language) for key in PLAYER_TEXTS}


def keep_chunk(data: bytes) -> str:
    """Store a chunk of a film where the page's server serves it; return its path.

    The name cannot be guessed. Called in an event, the file is gradio's to delete when it is old.
    """
    folder = Path(get_upload_folder()) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{secrets.token_hex(16)}.bin"
    path.write_bytes(data)
    blocks = LocalContext.blocks.get(None)
    if blocks is not None:
        blocks.upload_file_set.add(str(path))
    return path.as_posix()
