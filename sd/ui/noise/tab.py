"""The Noise tab: a picture, a slider over t, x_t drawn in the browser, and what is known of it."""

from typing import Any

import gradio as gr

from sd.common import validation
from sd.ui import starters
from sd.ui.adapter.inputs import Dropdown
from sd.ui.components.parts import (
    QUIET,
    command_box,
    drop,
    guarded,
    heading,
    label,
    language,
    new_seed,
    note,
    seed_row,
    thumbnails,
)
from sd.ui.noise import algorithm1 as noise_algorithm
from sd.ui.noise import chain as noise_steps
from sd.ui.noise import model_view as noise_sight
from sd.ui.noise import pictures as noise_pictures
from sd.ui.noise import schedules as noise_courses
from sd.ui.noise import stage as noise_stage
from sd.ui.noise.exact import rest
from sd.ui.noise.pictures import Picture, pixels_of
from sd.ui.noise.stage import fold

FIRST, OTHER = "tiny", "seed"  # the schedules that are shown at first, side by side
# The buttons lie inside the sentences, so one listener for all tells which was pressed.
LISTENER = """element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-course]");
  if (button) trigger("click", { course: button.dataset.course });
});"""


@guarded
def show(
    picture: Picture,
    course: Any,
    other: Any,
    seed: Any,
    mean: Any,
    std: Any,
    request: gr.Request,
) -> dict[str, Any]:
    """Return the scene that the browser draws from."""
    return noise_stage.scene(picture, course, other, seed, mean, std, language(request))


@guarded
def consult(course: Any, other: Any, request: gr.Request) -> tuple[str, str]:
    """Return how each of the two schedules ends."""
    lang = language(request)
    noise_courses.find(course)
    noise_courses.find(other, "the other schedule")
    return noise_courses.doctor(course, lang), noise_courses.doctor(other, lang)


@guarded
def mend(event: gr.EventData) -> str:
    """Return the schedule whose button was pressed."""
    asked = event._data.get("course") if isinstance(event._data, dict) else None
    mends = [name for names in noise_courses.MENDS.values() for name in names]
    return validation.choice("schedule", asked, mends)


@guarded
def choose_set(name: Any) -> Any:
    """Return the pictures that a set shows."""
    return gr.update(value=noise_pictures.thumbnails(name), selected_index=None)


@guarded
def choose_picture(name: Any, event: gr.SelectData) -> tuple[Picture, None]:
    """Take one of the pictures shown; return it and an emptied upload."""
    return noise_pictures.chosen(name, event.index), None


@guarded
def choose_upload(file: Any, picture: Picture) -> tuple[Picture, Any]:
    """Take an uploaded picture if it can be read; without one, keep what is shown."""
    if file is None:
        return picture, gr.skip()
    pixels_of(file)
    return file, gr.update(selected_index=None)


def list_sets(name: Any) -> Any:
    """Return the sets that there are now; nothing to choose while only one is."""
    sets = noise_pictures.sets()
    known = name if name in [value for _, value in sets] else noise_pictures.STARTER
    return gr.update(choices=sets, value=known, visible=len(sets) > 1)


def build(demo: gr.Blocks) -> None:
    """Lay out the tab and wire it."""
    picture = gr.State(starters.NAMES[0])
    with gr.Row(elem_classes="page noise"):
        with gr.Column(elem_classes="stage"):
            stage = noise_stage.stage()
            exact, t = gr.HTML(elem_classes="exact", elem_id="noise-exact"), noise_stage.mouth()
        with gr.Column(elem_classes="side"):
            source = build_choice()
            course, ends = build_schedule()
            noise_stage.board("live")
            seed, dice = seed_row("noise_seed_info")
    other, other_ends = build_pair()
    noise_sight.build(demo, picture, t, course, seed)
    mean, std = noise_steps.build(demo, picture, t, course)
    noise_algorithm.build(demo, picture)
    line = command_box()
    asked = [picture, course, other, seed, mean, std]
    wire_choice(demo, source, picture, lambda event: event.success(show, asked, stage, **QUIET))
    for event in (seed.change, course.change, other.change, mean.input, std.input):
        event(show, asked, stage, trigger_mode="always_last", **QUIET)
    for event in (course.change, other.change):
        event(consult, [course, other], [ends, other_ends], trigger_mode="always_last", **QUIET)
    for each, target in ((ends, course), (other_ends, other)):
        each.click(mend, None, target, **QUIET)
    dice.click(new_seed, None, seed, **QUIET)
    figures = [t, picture, course, seed, mean, std]
    t.release(rest, figures, [exact, line], trigger_mode="always_last", **QUIET)
    demo.load(consult, [course, other], [ends, other_ends], **QUIET)
    demo.load(show, asked, stage, **QUIET)


def wire_choice(demo: gr.Blocks, source: tuple[Any, ...], picture: Any, then: Any) -> None:
    """Wire where a picture comes from; `then` shows it."""
    upload, name, gallery = source
    then(gallery.select(choose_picture, name, [picture, upload], **QUIET))
    then(upload.upload(choose_upload, [upload, picture], [picture, gallery], **QUIET))
    name.change(choose_set, name, gallery, **QUIET)
    name.focus(list_sets, name, name, **QUIET)
    demo.load(list_sets, name, name, **QUIET)
    demo.load(choose_set, name, gallery, **QUIET)


def build_choice() -> tuple[Any, ...]:
    """Lay out where a picture comes from."""
    with gr.Column(elem_classes="group"):
        heading("noise_picture")
        note("noise_picture_info")
        upload = drop("noise_picture", "single")
        name = Dropdown(
            [(noise_pictures.STARTER, noise_pictures.STARTER)],
            value=noise_pictures.STARTER,
            filterable=False,
            visible=False,
            label=label("noise_set"),
            info=label("noise_set_info"),
        )
        note("noise_starters")
        gallery = thumbnails("noise_starters", "noise-starters", elem_classes="thumbs")
    return upload, name, gallery


def pick_course(key: str, value: str) -> gr.Dropdown:
    """Show the schedules, one chosen."""
    return Dropdown(
        noise_courses.choices(),
        value=value,
        filterable=False,
        label=label(key),
        info=label(f"{key}_info"),
    )


def ending(elem_id: str) -> gr.HTML:
    """Show how a schedule ends; its buttons mend it."""
    return gr.HTML(js_on_load=LISTENER, elem_classes="advice doctor", elem_id=elem_id)


def build_schedule() -> tuple[Any, Any]:
    """Lay out the schedule with how it ends."""
    with gr.Column(elem_classes="group"):
        course = pick_course("noise_schedule", FIRST)
        ends = ending("noise-ends")
    return course, ends


def build_pair() -> tuple[Any, Any]:
    """Lay out the second schedule beside the first."""
    with fold("noise_pair", "noise-fold-pair"):
        note("noise_pair_about")
        with gr.Row(elem_classes="halves"):
            with gr.Column():
                noise_stage.board("pair")
            with gr.Column(elem_classes="group"):
                other = pick_course("noise_other", OTHER)
                ends = ending("noise-other-ends")
    return other, ends
