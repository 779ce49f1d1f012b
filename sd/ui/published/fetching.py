"""A model of a hub in the dialog that opens files: told first, then fetched by a press.

Nothing is asked of a hub before a person has typed an id, and of what it has nothing is fetched
before they have seen its size, its licence and the commit.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sd.common.text import format_bytes
from sd.common.validation import InputError, shown
from sd.runs import process
from sd.ui.texts import say

SHORT = 12  # digits of a commit that are told
LONGEST_FETCH = 24 * 3600.0  # seconds


def find_model(typed: str, lang: str) -> dict[str, Any] | None:
    """Return what the dialog tells of a model of a hub, and the press that fetches it.

    None for what is like no id; `InputError` where the hub has no such model that is read here.
    """
    from sd.checkpoints import hub

    if not hub.is_hub_place(typed):
        return None
    model = hub.look_up(typed)
    licence = say("open_hub_licence", lang, name=model.licence or say("open_hub_none", lang))
    size = format_bytes(model.bytes)
    return {
        "place": model.place,
        "name": model.repo,
        "title": say("open_hub_files", lang, n=len(model.files), size=size),
        "tree": [
            {"title": line, "about": "", "lines": []}
            for line in (licence, say("open_hub_commit", lang, commit=model.revision[:SHORT]))
        ],
        "memory": say("open_hub_quiet", lang),
        "go": say("open_hub_go", lang, size=size),
    }


def fetch_model(place: str, lang: str) -> Iterator[dict[str, Any] | Path]:
    """Fetch a model: yield how far it is, as the dialog shows it, and at last where it lies.

    A process of its own does it, which closing the iterator ends; what came until then is kept.
    Raises `InputError` for a place without a commit, and with the process's own line.
    """
    from sd.checkpoints import hub

    if not hub.is_pinned(place):
        raise InputError(f"{shown(place)}: must name a commit")
    model = hub.look_up(place)
    for answer in process.run_json(["pull", "--json", place], LONGEST_FETCH):
        if answer is not None:
            yield Path(answer["path"])
            return
        there = hub.fetched_bytes(model)
        values = {"n": format_bytes(there), "size": format_bytes(model.bytes)}
        yield {
            "share": there / max(model.bytes, 1),
            "told": say("open_hub_progress", lang, **values),
        }
