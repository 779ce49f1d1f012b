"""The player of films as a component of the page, and the place of its pictures.

Its value is {"lanes": [film, ...], "words": {...}, "live": bool, "at": step to open at, "across":
how many lanes there will be, "opening": whether it plays once by itself, "nodes": films to compare
with}; a film is what
`sd.generation.film.Film.json` returns, with chunks that `store_chunk` has stored.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from sd.generation.player.words import PLAYER_TEXTS
from sd.ui.adapter.served_files import file_data, store
from sd.ui.texts import say

PLACE = '<div class="player-place"></div>'  # never changes, so gradio never touches what is in it

# The value is a proxy of gradio's: the player gets a plain copy.
ON_LOAD = """
const still = %s;
const player = window.sdPlayer.mount(element.querySelector(".player-place"), {
  still,
  names: Object.fromEntries(
    Object.entries(still?.names ?? {}).map(([caption, said]) => [caption, sdSay(said)]),
  ),
  address: (src) => src.url ?? src,
  numbers: `${element.closest("[id]")?.id}-numbers`,
  onSelect: (at) => trigger("select", { ...at, index: at.i, value: at.t }),
  onNode: (node) => trigger("click", { node }),
  onBrush: %s && ((picture) => trigger("brush", { picture })),
});
const show = () => {
  const value = JSON.parse(JSON.stringify(props.value ?? null));
  if (value?.developed) return player.develop(value.developed);
  const films = [...(value?.lanes ?? []), ...(value?.nodes ?? []).map(({ film }) => film)];
  for (const film of films) if (film) film.frames = film.frames.flatMap(JSON.parse);
  player.update(value);
};
watch("value", show);
show();
"""


def player(elem_id: str, still: dict[str, Any] | None = None, *, brushes: bool = False) -> gr.HTML:
    """Show a player; its numbers stand in the element of id `elem_id`-numbers, else in its menu.

    still: pictures that stand there until a film comes: {id, count, columns, width, height,
    captions, src, names}, the keys of the film that will; names: caption -> language -> name.

    Its `select` event tells where the slider rests: id, lane, i, t, and the chosen picture; its
    `click` event, which of the nodes was pressed. With `brushes` its cards can be painted on: its
    `brush` event tells which.
    """
    return gr.HTML(
        html_template=PLACE,
        js_on_load=ON_LOAD % (json.dumps(still, ensure_ascii=False), json.dumps(brushes)),
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="player",
    )


def content(
    films: list[dict[str, Any]],
    language: str,
    nodes: list[dict[str, Any]] | None = None,
    names: Mapping[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return the player's value for films, with its words; `more`: at, opening, picture, across.

    names: caption -> what it is called in the language; else as it stands.
    """
    asked = {each for film in films for each in film.get("captions") or ()}
    return {
        "lanes": [lane(film) for film in films],
        "words": words(language),
        "nodes": [{**node, "film": node["film"] and lane(node["film"])} for node in nodes or ()],
        "names": {each: names[each] for each in asked if each in names} if names else {},
        "live": any(film["running"] for film in films),
        **more,
    }


def developed(film: dict[str, Any], still: dict[str, Any]) -> dict[str, Any]:
    """Return what adds a still to a film that is shown: the rest stays as it is."""
    return {"developed": {"id": film["id"], "stills": stills([still])}}


def stills(made: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return stills, as `sd.generation.film.make_still` makes them, as they are sent."""
    return [{**still, "src": file_data(still["src"])} for still in made]


def words(language: str) -> dict[str, str]:
    """Return the player's words in a language."""
    return {key: say(f"player_{key}", language) for key in PLAYER_TEXTS}


def lane(film: dict[str, Any]) -> dict[str, Any]:
    """Return a film as it is sent: its chunks as files, its frames as JSON texts, one a chunk.

    gradio and the browser compare and copy a text at once, but a tree number by number, at every
    look at a sampling.
    """
    frames, chunks = film["frames"], film["chunks"]
    spans = [(chunk["first"] - 1, chunk["count"]) for chunk in chunks] or [(0, len(frames))]
    more = {"stills": stills(film["stills"])} if "stills" in film else {}
    return {
        **film,
        **more,
        "chunks": [{**chunk, "src": file_data(chunk["src"])} for chunk in chunks],
        "frames": [json.dumps(frames[first : first + count]) for first, count in spans],
    }


def store_chunk(data: bytes) -> str:
    """Write a chunk of a film where the page's server serves it; return its path."""
    return store(data, "chunk.bin").as_posix()
