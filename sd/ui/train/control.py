"""What a person does to a run: pause, go on, stop, resume, train more, ask, take away, open."""

from pathlib import Path
from typing import Any

import gradio as gr

from sd import runs
from sd.common import validation
from sd.common.validation import InputError
from sd.config.sections import MOST_STEPS
from sd.ui.adapter import scratch
from sd.ui.components.parts import guarded, language
from sd.ui.texts import say
from sd.ui.train.choosing import names_of_runs


def living(name: Any) -> Path:
    """Return the folder of a run whose process is there; raise `InputError` for any other."""
    folder = runs.find_run(name)
    if not runs.status(folder).alive:
        raise InputError(f"run = {name!r}: it is not running")
    return folder


@guarded
def pause(name: Any) -> None:
    """Ask the run that is shown to save and wait."""
    runs.pause(living(name))


@guarded
def go_on(name: Any) -> None:
    """Let the run that is shown go on."""
    runs.go_on(living(name))


@guarded
def stop(name: Any) -> None:
    """Ask the run that is shown to finish its step, save and leave."""
    folder = living(name)
    if runs.status(folder).state != "stopping":  # a second one would leave at once
        runs.stop(folder)


@guarded
def leave(name: Any) -> None:
    """End a run that is stopping at once; what was saved before stays."""
    runs.stop(living(name))


@guarded
def resume(name: Any) -> None:
    """Let a run that ended go on from its last checkpoint."""
    runs.resume(runs.find_run(name))


@guarded
def further(name: Any, steps: Any) -> None:
    """Let a run go on for `steps` steps more than it has."""
    folder = runs.find_run(name)
    steps = validation.whole("steps to add", steps, 1, MOST_STEPS)
    runs.resume(folder, validation.whole("steps", runs.status(folder).step + steps, 1, MOST_STEPS))


@guarded
def sample_now(name: Any, request: gr.Request) -> None:
    """Ask for samples after the step at hand."""
    runs.ask_sample(living(name))
    gr.Info(say("asked_sample", language(request)), title=say("sample_now", language(request)))


@guarded
def save_now(name: Any, request: gr.Request) -> None:
    """Ask for a checkpoint after the step at hand."""
    runs.ask_save(living(name))
    gr.Info(say("asked_save", language(request)), title=say("save_now", language(request)))


@guarded
def pack(name: Any, whole: Any) -> str:
    """Write a run's bundle; return it for the download."""
    from sd.runs import bundle

    folder = runs.find_run(name)
    resumable = validation.flag("whole", whole)
    with scratch.made(scratch.BUNDLE) as place:
        return str(bundle.pack(folder, place / f"{folder.name}.zip", resumable))


@guarded
def open_bundle(file: Any) -> tuple[Any, dict[str, str], dict[str, Any]]:
    """Open a bundle as a run of its own; show it, keep it in mind, forget what was shown."""

    if not isinstance(file, str):
        raise InputError("bundle: give one zip file")
    from sd.runs import unbundle

    name = unbundle.unpack(Path(file), runs.writable_home()).name
    return gr.update(choices=names_of_runs(), value=name), {"run": name}, {}
