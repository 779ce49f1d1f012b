"""Which run the Train tab shows, and what a person does to it: pause, resume, sample, pack."""

from pathlib import Path

import gradio as gr
from markupsafe import escape

from sd import runs
from sd.common import validation
from sd.common.validation import InputError
from sd.config.sections import MOST_STEPS
from sd.generation import registry
from sd.training import coach
from sd.ui import state
from sd.ui.adapter import scratch
from sd.ui.components.events import Updates
from sd.ui.components.handlers import guarded, language
from sd.ui.mistakes import translate
from sd.ui.texts import say
from sd.ui.train import advice
from sd.ui.train.form import fill_fields

FORMS = ZIP, *_ = ("zip", "gif", "webp", "mp4")  # of a run that is taken away


def list_run_names() -> list[str]:
    """Return the runs that can be shown: the bundled ones, then yours, newest first."""
    home = state.home()
    bundled = [entry.name for entry in registry.list_models(home) if entry.bundled]
    return list(dict.fromkeys([*bundled, *(folder.name for folder in home.run_folders())]))


@guarded
def attach(memory: object, request: gr.Request) -> Updates:
    """Offer the runs with one of them chosen, and forget what was shown.

    The one of the page's address (?run=NAME), else what this browser watched last, else one that is
    being trained, else the first.
    """
    names = list_run_names()
    asked = getattr(request, "query_params", {}).get("run")
    if asked is not None and asked not in names:
        lang = language(request)
        why = translate(why_not_found(asked), lang)
        gr.Warning(escape(why), title=say("mistake", lang))
    wishes = [asked, memory.get("run") if isinstance(memory, dict) else None]
    wishes += [status.name for status in state.home().live_runs()]
    value = next((wish for wish in [*wishes, *names] if wish in names), None)
    seen = {"by_page": value != asked}
    return {"run": gr.update(choices=names, value=value), "seen": seen}


def follow_start(run: str | None) -> Updates:
    """Show a run that was started elsewhere, as in another tab, if there is one but `run`."""
    started = [status.name for status in state.home().live_runs() if status.name != run]
    if not started:
        return {}
    return {
        "run": gr.update(choices=list_run_names(), value=started[0]),
        "seen": {"by_page": True},
        "pulse": f"{started[0]} started",
    }


def why_not_found(name: str) -> str:
    """Return why no run is found under `name`."""
    try:
        return f"run = {state.home().find_run(name).name!r}: it cannot be shown"
    except InputError as error:
        return str(error)


@guarded
def select_run(run: str | None) -> Updates:
    """Take another run; keep it in the browser's memory, and forget what was shown."""
    return {"memory": {"run": state.home().find_run(run).name}, "seen": {}}


def show_run(name: str) -> Updates:
    """Show a new run, which the list may not have yet."""
    names = list(dict.fromkeys([name, *list_run_names()]))
    return {
        "run": gr.update(choices=names, value=name),
        "memory": {"run": name},
        "seen": {},
    }


@guarded
def refresh_runs(run: str | None) -> Updates:
    """Offer the runs that there are now."""
    return {"run": gr.update(choices=list_run_names(), value=run)}


def find_alive(run: str | None) -> Path:
    """Return the folder of a run whose process is there; raise `InputError` for any other."""
    folder = state.home().find_run(run)
    if not runs.status(folder).alive:
        raise InputError(f"run = {run!r}: it is not running")
    return folder


@guarded
def pause(run: str | None) -> None:
    """Ask the run that is shown to save and wait."""
    runs.pause(find_alive(run))


@guarded
def unpause(run: str | None) -> None:
    """Let the run that is shown go on."""
    runs.unpause(state.home(), find_alive(run))


@guarded
def stop(run: str | None) -> None:
    """Ask the run that is shown to finish its step, save and leave."""
    folder = find_alive(run)
    if runs.status(folder).state != "stopping":  # a second one would leave at once
        runs.stop(folder)


@guarded
def end_now(run: str | None) -> None:
    """End a run that is stopping at once; what was saved before stays."""
    runs.stop(find_alive(run))


@guarded
def resume(run: str | None) -> None:
    """Let a run that ended go on from its last checkpoint."""
    home = state.home()
    runs.resume(home, home.find_run(run))


@guarded
def train_more(run: str | None, steps: float | None) -> None:
    """Let a run go on for `steps` steps more than its newest checkpoint has."""
    home = state.home()
    folder = home.find_run(run)
    more = validation.whole("steps to add", steps, 1, MOST_STEPS)
    total = validation.whole("steps", runs.saved_step(folder) + more, 1, MOST_STEPS)
    runs.resume(home, folder, total)


@guarded
def sample_now(run: str | None, request: gr.Request) -> None:
    """Ask for samples after the step at hand."""
    runs.request_sample(find_alive(run))
    gr.Info(say("asked_sample", language(request)), title=say("sample_now", language(request)))


@guarded
def save_now(run: str | None, request: gr.Request) -> None:
    """Ask for a checkpoint after the step at hand."""
    runs.request_save(find_alive(run))
    gr.Info(say("asked_save", language(request)), title=say("save_now", language(request)))


@guarded
def take_away(run: str | None, form: str, whole: bool) -> str:
    """Write a run's bundle, or the film of its samples; return it for the download."""
    folder, form = state.home().find_run(run), validation.choice("form", form, FORMS)
    resumable = validation.flag("whole", whole)
    with scratch.temporary_folder(scratch.BUNDLE) as place:
        path = place / f"{folder.name}.{form}"
        if form == ZIP:
            from sd.runs import bundle

            bundle.pack(folder, path, resumable)
        else:
            from sd.generation.training_film import draw_grids, write_training_film

            write_training_film(path.suffix, draw_grids(folder), path)
        return str(path)


@guarded
def open_bundle(file: str | None) -> Updates:
    """Open a bundle as a run of its own, and show it."""
    if not isinstance(file, str):
        raise InputError("bundle: give one zip file")
    from sd.runs import unbundle

    return show_run(unbundle.unpack(Path(file), state.home().ensure_writable()).name)


@guarded
def apply_fix(
    run: str | None, data: str | None, request: gr.Request, event: gr.EventData
) -> Updates:
    """Do what a remark's button says; the remarks are made anew, so no settings come from outside.

    A run that only needs more steps is resumed. Else its settings with the remedy go into the plan.
    """
    folder = state.home().find_run(run)
    config, status = advice.read_config(folder), runs.status(folder)
    remark = advice.pressed_remark(event, coach.review_run(config, runs.events(folder)))
    steps = advice.requested_steps(remark) if status.resumable else None
    if steps:
        runs.resume(state.home(), folder, steps)
        return {}
    line = say("fixed", language(request), settings=advice.format_settings(remark.fix))
    gr.Info(escape(line), title="")
    return fill_fields(config.with_settings(list(remark.fix)), data)
