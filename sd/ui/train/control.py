"""Which run the Train tab shows, and what a person does to it: pause, resume, sample, pack."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from markupsafe import escape

from sd import runs
from sd.checkpoints.record import newest_checkpoint
from sd.common import validation
from sd.common.validation import InputError
from sd.config import Config, ini
from sd.config.sections import MOST_MINUTES
from sd.generation import registry
from sd.runs import process
from sd.training import coach
from sd.ui import state
from sd.ui.adapter import scratch
from sd.ui.adapter.checks import upload
from sd.ui.adapter.served_files import FILE_DATA, file_data
from sd.ui.components.events import Updates
from sd.ui.components.handlers import event_value, guarded, language
from sd.ui.mistakes import translate
from sd.ui.texts import say
from sd.ui.train import advice, gpu, samples
from sd.ui.train.planning.form import fill_fields

# Of a run that is taken away: itself, its samples, its film, or its model for other programs.
FORMS = ZIP, PNG, *_ = ("zip", "png", "webp", "gif", "mp4", "safetensors", "diffusers")
MODELS = SINGLE, FOLDER = FORMS[-2:]

LEAST_MINUTES = 0.1
NOBODY = 0  # a process that is never there


def list_run_names() -> list[str]:
    """Return the runs that can be shown: yours, newest first, then the bundled ones."""
    home = state.home()
    bundled = [entry.name for entry in registry.list_models(home) if entry.bundled]
    own = [folder.name for folder in home.run_folders() if not home.is_bundled(folder)]
    return list(dict.fromkeys([*own, *bundled]))


def choose_run(shown: str, asked: str, by_page: bool, lang: str) -> tuple[str, bool]:
    """Return which run is to be shown ("" for none), and whether the page chose it.

    That which is shown already, unless it is gone, or the page chose it and another one lives; else
    the one of the page's address, one that is being trained, one's own newest, the bundled one.
    """
    if shown and is_run(shown):
        started = not by_page or runs.status(state.home().find_run(shown)).alive
        living = [] if started else [status.name for status in state.home().live_runs()]
        return next((name for name in living if name != shown), shown), by_page
    if asked and not shown:
        if is_run(asked):
            return asked, False
        why = translate(why_not_found(asked), lang)
        gr.Warning(escape(why), title=say("mistake", lang))
    found = [*(status.name for status in state.home().live_runs()), *list_run_names()]
    return next(iter(found), ""), True


def is_run(name: str) -> bool:
    """Tell whether there is a run of that name."""
    try:
        return state.home().find_run(name).is_dir()
    except InputError:
        return False


def why_not_found(name: str) -> str:
    """Return why no run is found under `name`."""
    try:
        return f"run = {state.home().find_run(name).name!r}: it cannot be shown"
    except InputError as error:
        return str(error)


def choose(name: str) -> Updates:
    """Let the page show a run, whose name its address gets: the rest it asks for itself."""
    return {"panel": {"choose": state.home().find_run(name).name}}


@guarded
def follow_model(model: object) -> Updates:
    """Show the run that is the page's model, where it is one's own."""
    if not isinstance(model, str) or not is_run(model):
        return {}
    return {"panel": {"follow": state.home().find_run(model).name}}


def find_alive(run: str | None) -> Path:
    """Return the folder of a run whose process is there; raise `InputError` for any other."""
    folder = state.home().find_run(run)
    if not runs.status(folder).alive:
        raise InputError(f"run = {run!r}: it is not running")
    return folder


def stop(folder: Path) -> None:
    """Ask a run to finish its step, save and leave."""
    if runs.status(folder).state != "stopping":  # a second one would leave at once
        runs.stop(folder)


def train_more(name: str, minutes: object) -> None:
    """Let a run go on for so many minutes from its newest checkpoint."""
    home = state.home()
    more = validation.real("minutes to add", minutes, LEAST_MINUTES, MOST_MINUTES)
    runs.resume(home, home.find_run(name), minutes=more)


def steer(what: str, name: str, minutes: object, lang: str) -> None:
    """Do one of `STEERS` to a run; raise `InputError` where it cannot be done."""
    home = state.home()
    if what == "resume":
        runs.resume(home, home.find_run(name))
    elif what == "further":
        train_more(name, minutes)
    elif what == "on_gpu":
        gpu.train_on_gpu(home.find_own_run(name))
    else:
        folder = find_alive(name)
        if what == "go_on":
            runs.unpause(home, folder)
        else:
            ASKED[what](folder)
        if what in ("sample_now", "save_now"):
            gr.Info(say(f"asked_{what.removesuffix('_now')}", lang), title=say(what, lang))


ASKED: dict[str, Callable[[Path], None]] = {  # of a run that lives
    "pause": runs.pause,
    "stop": stop,
    "leave": runs.stop,  # what was saved before stays
    "sample_now": runs.request_sample,
    "save_now": runs.request_save,
}
STEERS = (*ASKED, "go_on", "resume", "further", "on_gpu")


@guarded
def press(request: gr.Request, event: gr.EventData) -> Updates:
    """Do what a button says, or list or take another run; what it comes to is asked for next."""
    what = validation.choice("button", event_value(event, "do"), (*STEERS, "runs", "choose"))
    name = event_value(event, "run")
    if what == "runs":
        return {"panel": {"runs": list_run_names()}}
    if what == "choose":
        return choose(name)
    steer(what, name, event_value(event, "minutes"), language(request))
    return {"panel": {"ask": True}}


@guarded
def take_away(event: gr.EventData) -> Updates:
    """Write a run in one of the `FORMS`; the browser then saves it."""
    folder = state.home().find_run(event_value(event, "run"))
    form = validation.choice("form", event_value(event, "form"), FORMS)
    resumable = validation.flag("whole", event_value(event, "whole"))
    with scratch.temporary_folder(scratch.BUNDLE, state.home().spare) as place:
        path = place / f"{folder.name}.{ZIP if form == FOLDER else form}"
        if form in MODELS:
            write_model(folder, path, form)
        elif form == ZIP:
            from sd.runs import bundle

            bundle.pack(folder, path, resumable)
        elif form == PNG:
            samples.save_newest(folder, path)
        else:
            from sd.generation.training_film import draw_grids, write_training_film

            write_training_film(path.suffix, draw_grids(folder), path)
        return {"panel": {"file": {"src": file_data(path), "name": path.name}}}


def write_model(folder: Path, path: Path, form: str) -> None:
    """Write a run's model as one file, or as a zip of the folder that diffusers loads.

    Of a run that trained a LoRA it is the LoRA alone.
    """
    from sd.checkpoints.adapted import write_lora
    from sd.checkpoints.checkpoint import load_checkpoint
    from sd.checkpoints.pretrained.export import write_pipeline, write_single

    checkpoint = newest_checkpoint(folder)
    config = Config.read(checkpoint / runs.CONFIG)
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        out = path if form == SINGLE else Path(place) / folder.name
        if config.training.lora_rank:
            write_lora(checkpoint, config, out)
        elif form == SINGLE:
            write_single(load_checkpoint(checkpoint), out)
        else:
            write_pipeline(load_checkpoint(checkpoint), out)
        if form == FOLDER:
            shutil.make_archive(str(path.with_suffix("")), ZIP, place)


@guarded
def open_bundle(event: gr.EventData) -> Updates:
    """Open a bundle as a run of its own, and show it."""
    file = upload("bundle", {"path": event_value(event, "file"), "meta": FILE_DATA})
    from sd.runs import unbundle

    home = state.home()
    home.check_open()
    home.check_new_run()
    folder = unbundle.unpack(Path(file), home.ensure_writable())
    process.record(folder, NOBODY)  # beside the bundled runs it is known by that as one's own
    return choose(folder.name)


@guarded
def draw_with(event: gr.EventData) -> Updates:
    """Take a run as the model of the page."""
    return {"model": registry.find_model(state.home(), event_value(event, "run")).name}


@guarded
def apply_fix(request: gr.Request, event: gr.EventData, data: str | None) -> Updates:
    """Do what a remark's button says; the remarks are made anew, so no settings come from outside.

    A run that only needs more steps is resumed. Else its settings with the remedy go into the plan.
    """
    folder = state.home().find_run(event_value(event, "run"))
    config, status = advice.read_config(folder), runs.status(folder)
    remark = advice.pressed_remark(event, coach.tell_run(config, runs.events(folder)))
    steps = advice.requested_steps(remark) if status.resumable else None
    if steps:
        runs.resume(state.home(), folder, steps)
        return {"panel": {"ask": True}}
    fix = [*remark.fix]
    if remark.kind == "untuned_run":  # the network is as good as it is: it goes on from there
        fix.append(f"training.start_from={ini.spell(folder.name)}")
    lang = language(request)
    line = say("fixed", lang, settings=advice.format_settings(remark.fix, lang))
    gr.Info(escape(line), title="")
    return fill_fields(config.with_settings(fix), data)
