"""The Train tab: pictures, a plan, and a run that is watched while it learns."""

from typing import Any

import gradio as gr

from sd.config import preset_names
from sd.ui import pictures, plan, watch
from sd.ui.parts import (
    QUIET,
    command_box,
    drop,
    guarded,
    heading,
    label,
    language,
    note,
    number,
    slider,
    stage_picture,
)
from sd.ui.texts import say

MEMORY_KEY = "sd-page"  # of the browser's own storage: fixed, so that a restart forgets nothing


@guarded
def take_files(files: Any, request: gr.Request) -> tuple[str, Any, str]:
    """Keep an upload (none: the starter set); return its handle, a preview and a report."""
    handle, images = pictures.take(files)
    lang = language(request)
    picture = gr.update(value=pictures.preview(images), alt_text=say("train_preview_alt", lang))
    return handle, picture, pictures.report_html(images.report, lang)


def build(demo: gr.Blocks) -> None:
    """Lay out the tab and wire it."""
    with gr.Row(elem_classes="page"):
        with gr.Column(elem_classes="side"):
            data = build_pictures(demo)
            fields = [data, *build_plan()]
            start, stop = build_buttons()
        with gr.Column(elem_classes="stage"):
            run, views = build_stage()
    box = command_box()
    preset, *filled = fields[1:6]
    preset.change(plan.fill, preset, filled, **QUIET)
    for each in fields:
        each.change(plan.command, fields, box, trigger_mode="always_last", **QUIET)
    demo.load(plan.command, fields, box, **QUIET)
    wire_run(demo, fields, run, views, start, stop)


def build_pictures(demo: gr.Blocks) -> gr.State:
    """Lay out and wire the first group; return what names the chosen pictures."""
    data, nothing = gr.State(pictures.STARTER), gr.State(None)
    with gr.Column(elem_classes="group"):
        heading("train_pictures")
        note("train_pictures_info")
        files = drop("train_files", "multiple")
        with gr.Row(elem_classes="buttons"):
            folder = gr.UploadButton(label("train_folder"), file_count="directory", size="sm")
            starter = gr.Button(label("train_starter"), size="sm")
        report = gr.HTML(elem_classes="report")
        sheet = gr.Image(
            format="png", show_label=False, interactive=False, buttons=[], elem_classes="sheet"
        )
    shown = [data, sheet, report]
    slow: dict[str, Any] = {**QUIET, "concurrency_limit": 2, "show_progress": "minimal"}
    for source in (files, folder):
        source.upload(take_files, source, shown, show_progress_on=report, **slow)
    files.clear(take_files, nothing, shown, show_progress_on=report, **slow)
    starter.click(lambda: None, None, files, **QUIET)
    starter.click(take_files, nothing, shown, show_progress_on=report, **slow)
    demo.load(take_files, nothing, shown, show_progress_on=report, **slow)
    return data


def build_plan() -> list[Any]:
    """Lay out the second group; return its fields in the order of `plan.make`."""
    first = plan.preset_of(preset_names()[0]).training
    with gr.Column(elem_classes="group"):
        heading("train_plan")
        preset = gr.Dropdown(
            [(label(f"preset_{name}"), name) for name in preset_names()],
            value=preset_names()[0],
            filterable=False,
            label=label("preset"),
            info=label("preset_info"),
        )
        with gr.Row():
            size = number("size", first.input_width)
            steps = number("train_steps", first.steps)
        with gr.Accordion(label("more"), open=False):
            with gr.Row():
                batch = number("batch", first.batch_size)
                rate = number("rate", first.learning_rate, step=0.0001)
            seed = number("seed", 0, info=label("train_seed_info"))
            device = gr.Dropdown(
                list(plan.DEVICES),
                value="auto",
                filterable=False,
                label=label("device"),
                info=label("device_info"),
            )
    return [preset, size, steps, batch, rate, seed, device]


def build_buttons() -> tuple[gr.Button, gr.Button]:
    """Lay out the third group: start and stop."""
    with gr.Column(elem_classes="actions"):
        with gr.Row(elem_classes="buttons"):
            start = gr.Button(label("start"), variant="primary", elem_id="train-start")
            stop = gr.Button(
                label("stop"), interactive=False, elem_id="train-stop", elem_classes="stop"
            )
        note("train_note")
    return start, stop


def build_stage() -> tuple[gr.Dropdown, list[Any]]:
    """Lay out the run that is watched: progress, samples, timeline, loss."""
    with gr.Row(elem_classes="stage-head"):
        progress = gr.HTML(elem_classes="status", elem_id="train-status")
        run = gr.Dropdown(
            [],
            filterable=False,
            scale=0,
            min_width=260,
            label=label("run"),
            info=label("run_info"),
            elem_id="train-run",
        )
    samples = stage_picture("png", "train-samples")
    caption = gr.HTML(elem_classes="caption")
    timeline = slider("timeline", 0, 1, 0, interactive=False, elem_id="train-timeline")
    curve = gr.HTML(elem_classes="loss", elem_id="train-loss")
    note("loss_about")
    return run, [progress, curve, samples, caption, timeline]


def wire_run(
    demo: gr.Blocks,
    fields: list[Any],
    run: gr.Dropdown,
    views: list[Any],
    start: gr.Button,
    stop: gr.Button,
) -> None:
    """Wire what is watched: on load, at start, by the clock, and when another run is chosen."""
    memory = gr.BrowserState({"run": ""}, storage_key=MEMORY_KEY, secret=MEMORY_KEY)
    seen, clock = gr.State({}), gr.Timer(1.0, active=False)
    progress, _, samples, caption, timeline = views
    asked, shown = [run, seen, timeline], [*views, stop, clock, seen]
    clock.tick(watch.tick, asked, shown, **QUIET)
    demo.load(watch.attach, memory, [run, seen], **QUIET).then(watch.tick, asked, shown, **QUIET)
    start.click(plan.start, fields, [run, memory, seen], **QUIET).success(
        watch.tick, asked, shown, **QUIET
    )
    run.input(watch.choose, run, [memory, seen], **QUIET).then(watch.tick, asked, shown, **QUIET)
    run.focus(watch.refresh_list, run, run, **QUIET)
    timeline.input(
        watch.scrub, [run, timeline], [samples, caption], trigger_mode="always_last", **QUIET
    )
    stop.click(watch.stop, run, progress, **QUIET)
