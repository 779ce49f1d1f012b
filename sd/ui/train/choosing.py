"""Which run the Train tab shows: from the page's address, the browser's memory, or a list."""

import html
from typing import Any

import gradio as gr

from sd import runs
from sd.common.validation import InputError
from sd.ui.components.parts import guarded, language
from sd.ui.texts import say


def names_of_runs() -> list[str]:
    """Return the runs that can be shown: the bundled ones, then yours, newest first."""
    bundled = [entry.name for entry in runs.list_models() if entry.bundled]
    return list(dict.fromkeys([*bundled, *(folder.name for folder in runs.run_folders())]))


@guarded
def attach(kept: Any, request: gr.Request) -> tuple[Any, Any]:
    """Return the list of runs and one of them, and forget what was shown.

    The one of the page's address (?run=NAME), else what this browser watched last, else one that is
    being trained, else the first.
    """
    names = names_of_runs()
    asked = getattr(request, "query_params", {}).get("run")
    if asked is not None and asked not in names:
        gr.Warning(html.escape(not_there(asked)), title=say("mistake", language(request)))
    wishes = [asked, kept.get("run") if isinstance(kept, dict) else None]
    wishes += [status.name for status in runs.living()]
    value = next((wish for wish in [*wishes, *names] if wish in names), None)
    return gr.update(choices=names, value=value), {}


def not_there(name: str) -> str:
    """Return why no run is found under `name`."""
    try:
        return f"run = {runs.find_run(name).name!r}: it cannot be shown"
    except InputError as error:
        return str(error)


@guarded
def choose(name: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """Take another run; return it for the browser's memory, and forget what was shown."""
    return {"run": runs.find_run(name).name}, {}


@guarded
def refresh_list(name: Any) -> Any:
    """Return the list of runs as it is now."""
    return gr.update(choices=names_of_runs(), value=name)
