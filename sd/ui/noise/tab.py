"""The Noise tab: a picture, a slider over t, x_t drawn in the browser, and what is known of it."""

from typing import Any, NamedTuple

import gradio as gr

from sd.common import validation
from sd.ui import starters
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import QUIET, event_value, guarded, language
from sd.ui.components.html import pressed
from sd.ui.components.widgets import (
    command_box,
    dropdown,
    file_drop,
    heading,
    label,
    new_seed,
    note,
    seed_row,
    thumbnails,
)
from sd.ui.noise import algorithm1, chain, model_view, pictures, schedules, stage
from sd.ui.noise.exact import show_exact
from sd.ui.noise.pictures import read_pixels
from sd.ui.noise.stage import NoiseForm, fold

FIRST, OTHER = "tiny", "seed"  # the schedules that are shown at first, side by side


@guarded
def show_scene(request: gr.Request, **fields: Any) -> Updates:
    """Show what the browser draws from."""
    return {"canvas": stage.make_scene(lang=language(request), **fields)}


@guarded
def check_schedules(schedule: str, other: str, request: gr.Request) -> Updates:
    """Show how each of the two schedules ends."""
    lang = language(request)
    schedules.find_schedule(schedule)
    schedules.find_schedule(other, "the other schedule")
    return {
        "check": schedules.check_html(schedule, lang),
        "other_check": schedules.check_html(other, lang),
    }


@guarded
def apply_fix(event: gr.EventData) -> str:
    """Return the schedule whose button was pressed."""
    fixes = [name for names in schedules.FIXES.values() for name in names]
    return validation.choice("schedule", event_value(event, "schedule"), fixes)


@guarded
def choose_set(name: str) -> Updates:
    """Show the pictures of a set."""
    return {"gallery": gr.update(value=pictures.thumbnails(name), selected_index=None)}


@guarded
def choose_picture(name: str, event: gr.SelectData) -> Updates:
    """Take one of the pictures shown, and empty the upload."""
    return {"picture": pictures.choose(name, event.index), "upload": None}


@guarded
def choose_upload(file: str | None) -> Updates:
    """Take an uploaded picture if it can be read; without one, keep what is shown."""
    if file is None:
        return {}
    read_pixels(file)
    return {"picture": file, "gallery": gr.update(selected_index=None)}


def refresh_sets(name: str, request: gr.Request) -> Updates:
    """Offer the sets that there are now; nothing to choose while only one is."""
    sets = pictures.list_sets(language(request))
    known = name if name in [value for _, value in sets] else pictures.STARTER
    return {"name": gr.update(choices=sets, value=known, visible=len(sets) > 1)}


class PictureChoice(NamedTuple):
    """Where a picture comes from: an upload, or a set and its pictures."""

    upload: gr.File
    name: gr.Dropdown
    gallery: gr.Gallery


def build(demo: gr.Blocks, model: gr.HTML) -> None:
    """Lay out the tab and wire it; `model` is the page's."""
    picture = gr.State(starters.PHOTO)
    with gr.Row(elem_classes="page noise"):
        with gr.Column(elem_classes="stage"):
            canvas = stage.canvas()
            exact, t = gr.HTML(elem_classes="exact", elem_id="noise-exact"), stage.time_bridge()
        with gr.Column(elem_classes="side"):
            source = build_choice()
            schedule, check = pick_schedule("noise_schedule", FIRST, "noise-ends")
            stage.panel("live")
            seed, dice = seed_row("noise_seed_info")
    other, other_check = build_second_schedule()
    prediction_fold = model_view.build(model)
    chain_fold = chain.build()
    form = NoiseForm(picture, t, schedule, other, seed, chain_fold.mean, chain_fold.std)
    model_view.wire(form, prediction_fold)
    chain.wire(demo, form, chain_fold)
    algorithm1.build(model, picture)
    command = command_box()
    drawn_from = form.inputs("picture", "schedule", "other", "seed", "mean", "std")
    show = by_name(show_scene, drawn_from, {"canvas": canvas}) | QUIET
    wire_choice(demo, source, picture, show)
    for event in (seed.change, schedule.change, other.change, form.mean.input, form.std.input):
        event(**show, trigger_mode="always_last")
    checks = {"check": check, "other_check": other_check}
    check_both = by_name(check_schedules, form.inputs("schedule", "other"), checks) | QUIET
    for event in (schedule.change, other.change):
        event(**check_both, trigger_mode="always_last")
    for each, target in ((check, schedule), (other_check, other)):
        each.click(apply_fix, None, target, **QUIET)
    dice.click(new_seed, None, seed, **QUIET)
    figures = form.inputs("t", "picture", "schedule", "seed", "mean", "std")
    rest = by_name(show_exact, figures, {"exact": exact, "command": command})
    t.release(**rest, trigger_mode="always_last", **QUIET)
    demo.load(**check_both)
    demo.load(**show)


def wire_choice(
    demo: gr.Blocks, source: PictureChoice, picture: gr.State, show: dict[str, Any]
) -> None:
    """Wire where a picture comes from; `show` draws it."""
    parts, name = {"picture": picture, **source._asdict()}, {"name": source.name}
    taken = by_name(choose_upload, {"file": source.upload}, parts)
    source.gallery.select(**by_name(choose_picture, name, parts), **QUIET).success(**show)
    source.upload.upload(**taken, **QUIET).success(**show)
    thumbnails = by_name(choose_set, name, parts) | QUIET
    sets = by_name(refresh_sets, name, name) | QUIET
    source.name.change(**thumbnails)
    source.name.focus(**sets)
    demo.load(**sets)
    demo.load(**thumbnails)


def build_choice() -> PictureChoice:
    """Lay out where a picture comes from."""
    with gr.Column(elem_classes="group"):
        heading("noise_picture")
        note("noise_picture_info")
        upload = file_drop("noise_picture", "single")
        starter = (label("set_starter"), pictures.STARTER)
        name = dropdown("noise_set", [starter], value=pictures.STARTER, visible=False)
        note("noise_starters")
        gallery = thumbnails("noise_starters", "noise-starters", elem_classes="thumbs")
    return PictureChoice(upload, name, gallery)


def pick_schedule(key: str, value: str, check_id: str) -> tuple[gr.Dropdown, gr.HTML]:
    """Show the schedules, one chosen, and how it ends; a button there fixes it."""
    with gr.Column(elem_classes="group"):
        schedule = dropdown(key, schedules.list_choices(), value=value)
        script = pressed("schedule")
        check = gr.HTML(js_on_load=script, elem_classes="advice doctor", elem_id=check_id)
    return schedule, check


def build_second_schedule() -> tuple[gr.Dropdown, gr.HTML]:
    """Lay out the second schedule beside the first."""
    with fold("noise_pair", "noise-fold-pair"):
        note("noise_pair_about")
        with gr.Row(elem_classes="halves"):
            with gr.Column():
                stage.panel("pair")
            return pick_schedule("noise_other", OTHER, "noise-other-ends")
