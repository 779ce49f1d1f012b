"""Which run is shown, and what is done to it: pause, resume, train more, sample, pack, open."""

import html
from pathlib import Path
from typing import Any

import gradio as gr

from sd import runs
from sd.common import validation
from sd.common.validation import InputError
from sd.config.sections import MOST_STEPS
from sd.generation import registry
from sd.ui import state
from sd.ui.adapter import scratch
from sd.ui.components.handlers import guarded, language
from sd.ui.texts import say


def list_run_names() -> list[str]:
    """Return the runs that can be shown: the bundled ones, then yours, newest first."""
    home = state.home()
    bundled = [entry.name for entry in registry.list_models(home) if entry.bundled]
    return list(dict.fromkeys([*bundled, *(folder.name for folder in home.run_folders())]))


@guarded
def attach(kept: Any, request: gr.Request) -> tuple[Any, Any]:
    """Return the list of runs and one of them, and forget what was shown.

    The one of the page's address (?run=NAME), else what this browser watched last, else one that is
    being trained, else the first.
    """
    names = list_run_names()
    asked = getattr(request, "query_params", {}).get("run")
    if asked is not None and asked not in names:
        gr.Warning(html.escape(why_not_found(asked)), title=say("mistake", language(request)))
    wishes = [asked, kept.get("run") if isinstance(kept, dict) else None]
    wishes += [status.name for status in state.home().live_runs()]
    value = next((wish for wish in [*wishes, *names] if wish in names), None)
    return gr.update(choices=names, value=value), {}


def why_not_found(name: str) -> str:
    """Return why no run is found under `name`."""
    try:
        return f"run = {state.home().find_run(name).name!r}: it cannot be shown"
    except InputError as error:
        return str(error)


@guarded
def select_run(name: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """Take another run; return it for the browser's memory, and forget what was shown."""
    return {"run": state.home().find_run(name).name}, {}


@guarded
def refresh_runs(name: Any) -> Any:
    """Return the list of runs as it is now."""
    return gr.update(choices=list_run_names(), value=name)


def find_alive(name: Any) -> Path:
    """Return the folder of a run whose process is there; raise `InputError` for any other."""
    folder = state.home().find_run(name)
    if not runs.status(folder).alive:
        raise InputError(f"run = {name!r}: it is not running")
    return folder


@guarded
def pause(name: Any) -> None:
    """Ask the run that is shown to save and wait."""
    runs.pause(find_alive(name))


@guarded
def unpause(name: Any) -> None:
    """Let the run that is shown go on."""
    runs.unpause(state.home(), find_alive(name))


@guarded
def stop(name: Any) -> None:
    """Ask the run that is shown to finish its step, save and leave."""
    folder = find_alive(name)
    if runs.status(folder).state != "stopping":  # a second one would leave at once
        runs.stop(folder)


@guarded
def end_now(name: Any) -> None:
    """End a run that is stopping at once; what was saved before stays."""
    runs.stop(find_alive(name))


@guarded
def resume(name: Any) -> None:
    """Let a run that ended go on from its last checkpoint."""
    home = state.home()
    runs.resume(home, home.find_run(name))


@guarded
def train_more(name: Any, steps: Any) -> None:
    """Let a run go on for `steps` steps more than it has."""
    home = state.home()
    folder = home.find_run(name)
    steps = validation.whole("steps to add", steps, 1, MOST_STEPS)
    total = validation.whole("steps", runs.status(folder).step + steps, 1, MOST_STEPS)
    runs.resume(home, folder, total)


@guarded
def sample_now(name: Any, request: gr.Request) -> None:
    """Ask for samples after the step at hand."""
    runs.request_sample(find_alive(name))
    gr.Info(say("asked_sample", language(request)), title=say("sample_now", language(request)))


@guarded
def save_now(name: Any, request: gr.Request) -> None:
    """Ask for a checkpoint after the step at hand."""
    runs.request_save(find_alive(name))
    gr.Info(say("asked_save", language(request)), title=say("save_now", language(request)))


@guarded
def pack_bundle(name: Any, whole: Any) -> str:
    """Write a run's bundle; return it for the download."""
    from sd.runs import bundle

    folder = state.home().find_run(name)
    resumable = validation.flag("whole", whole)
    with scratch.temporary_folder(scratch.BUNDLE) as place:
        return str(bundle.pack(folder, place / f"{folder.name}.zip", resumable))


@guarded
def open_bundle(file: Any) -> tuple[Any, dict[str, str], dict[str, Any]]:
    """Open a bundle as a run of its own; show it, keep it in mind, forget what was shown."""
    if not isinstance(file, str):
        raise InputError("bundle: give one zip file")
    from sd.runs import unbundle

    name = unbundle.unpack(Path(file), state.home().ensure_writable()).name
    return gr.update(choices=list_run_names(), value=name), {"run": name}, {}
