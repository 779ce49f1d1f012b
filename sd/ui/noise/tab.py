"""The Noise tab: a picture, a slider over t, x_t drawn in the browser, and what is known of it."""

from typing import Any

import gradio as gr

from sd.common import validation
from sd.ui import starters
from sd.ui.components.handlers import QUIET, event_value, guarded, language
from sd.ui.components.html import pressed
from sd.ui.components.widgets import (
    command_box,
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
from sd.ui.noise.pictures import Picture, read_pixels
from sd.ui.noise.stage import fold

FIRST, OTHER = "tiny", "seed"  # the schedules that are shown at first, side by side
# The buttons lie inside the sentences, so one listener for all tells which was pressed.


@guarded
def show_scene(
    picture: Picture,
    course: Any,
    other: Any,
    seed: Any,
    mean: Any,
    std: Any,
    request: gr.Request,
) -> dict[str, Any]:
    """Return the scene that the browser draws from."""
    return stage.make_scene(picture, course, other, seed, mean, std, language(request))


@guarded
def check_schedules(course: Any, other: Any, request: gr.Request) -> tuple[str, str]:
    """Return how each of the two schedules ends."""
    lang = language(request)
    schedules.find_schedule(course)
    schedules.find_schedule(other, "the other schedule")
    return schedules.check_html(course, lang), schedules.check_html(other, lang)


@guarded
def apply_fix(event: gr.EventData) -> str:
    """Return the schedule whose button was pressed."""
    mends = [name for names in schedules.FIXES.values() for name in names]
    return validation.choice("schedule", event_value(event, "schedule"), mends)


@guarded
def choose_set(name: Any) -> Any:
    """Return the pictures that a set shows."""
    return gr.update(value=pictures.thumbnails(name), selected_index=None)


@guarded
def choose_picture(name: Any, event: gr.SelectData) -> tuple[Picture, None]:
    """Take one of the pictures shown; return it and an emptied upload."""
    return pictures.choose(name, event.index), None


@guarded
def choose_upload(file: Any, picture: Picture) -> tuple[Picture, Any]:
    """Take an uploaded picture if it can be read; without one, keep what is shown."""
    if file is None:
        return picture, gr.skip()
    read_pixels(file)
    return file, gr.update(selected_index=None)


def refresh_sets(name: Any) -> Any:
    """Return the sets that there are now; nothing to choose while only one is."""
    sets = pictures.list_sets()
    known = name if name in [value for _, value in sets] else pictures.STARTER
    return gr.update(choices=sets, value=known, visible=len(sets) > 1)


def build(demo: gr.Blocks) -> None:
    """Lay out the tab and wire it."""
    picture = gr.State(starters.NAMES[0])
    with gr.Row(elem_classes="page noise"):
        with gr.Column(elem_classes="stage"):
            canvas = stage.canvas()
            exact, t = gr.HTML(elem_classes="exact", elem_id="noise-exact"), stage.time_bridge()
        with gr.Column(elem_classes="side"):
            source = build_choice()
            course, ends = build_schedule()
            stage.panel("live")
            seed, dice = seed_row("noise_seed_info")
    other, other_ends = build_second_schedule()
    model_view.build(demo, picture, t, course, seed)
    mean, std = chain.build(demo, picture, t, course)
    algorithm1.build(demo, picture)
    line = command_box()
    asked = [picture, course, other, seed, mean, std]
    wire_choice(
        demo, source, picture, lambda event: event.success(show_scene, asked, canvas, **QUIET)
    )
    for event in (seed.change, course.change, other.change, mean.input, std.input):
        event(show_scene, asked, canvas, trigger_mode="always_last", **QUIET)
    for event in (course.change, other.change):
        event(
            check_schedules,
            [course, other],
            [ends, other_ends],
            trigger_mode="always_last",
            **QUIET,
        )
    for each, target in ((ends, course), (other_ends, other)):
        each.click(apply_fix, None, target, **QUIET)
    dice.click(new_seed, None, seed, **QUIET)
    figures = [t, picture, course, seed, mean, std]
    t.release(show_exact, figures, [exact, line], trigger_mode="always_last", **QUIET)
    demo.load(check_schedules, [course, other], [ends, other_ends], **QUIET)
    demo.load(show_scene, asked, canvas, **QUIET)


def wire_choice(demo: gr.Blocks, source: tuple[Any, ...], picture: Any, then: Any) -> None:
    """Wire where a picture comes from; `then` shows it."""
    upload, name, gallery = source
    then(gallery.select(choose_picture, name, [picture, upload], **QUIET))
    then(upload.upload(choose_upload, [upload, picture], [picture, gallery], **QUIET))
    name.change(choose_set, name, gallery, **QUIET)
    name.focus(refresh_sets, name, name, **QUIET)
    demo.load(refresh_sets, name, name, **QUIET)
    demo.load(choose_set, name, gallery, **QUIET)


def build_choice() -> tuple[Any, ...]:
    """Lay out where a picture comes from."""
    with gr.Column(elem_classes="group"):
        heading("noise_picture")
        note("noise_picture_info")
        upload = file_drop("noise_picture", "single")
        name = gr.Dropdown(
            [(pictures.STARTER, pictures.STARTER)],
            value=pictures.STARTER,
            filterable=False,
            visible=False,
            label=label("noise_set"),
            info=label("noise_set_info"),
        )
        note("noise_starters")
        gallery = thumbnails("noise_starters", "noise-starters", elem_classes="thumbs")
    return upload, name, gallery


def pick_schedule(key: str, value: str) -> gr.Dropdown:
    """Show the schedules, one chosen."""
    return gr.Dropdown(
        schedules.list_choices(),
        value=value,
        filterable=False,
        label=label(key),
        info=label(f"{key}_info"),
    )


def check_panel(elem_id: str) -> gr.HTML:
    """Show how a schedule ends; its buttons mend it."""
    return gr.HTML(js_on_load=pressed("schedule"), elem_classes="advice doctor", elem_id=elem_id)


def build_schedule() -> tuple[Any, Any]:
    """Lay out the schedule with how it ends."""
    with gr.Column(elem_classes="group"):
        course = pick_schedule("noise_schedule", FIRST)
        ends = check_panel("noise-ends")
    return course, ends


def build_second_schedule() -> tuple[Any, Any]:
    """Lay out the second schedule beside the first."""
    with fold("noise_pair", "noise-fold-pair"):
        note("noise_pair_about")
        with gr.Row(elem_classes="halves"):
            with gr.Column():
                stage.panel("pair")
            with gr.Column(elem_classes="group"):
                other = pick_schedule("noise_other", OTHER)
                ends = check_panel("noise-other-ends")
    return other, ends
