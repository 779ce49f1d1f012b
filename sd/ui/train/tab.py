"""The Train tab: pictures, a plan, and a run that is watched while it learns."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr

from sd.ui.components.handlers import BUNDLE, QUIET, SURVEY, guarded
from sd.ui.components.html import pressed
from sd.ui.components.widgets import label, note, number, slider, stage_picture
from sd.ui.train import advice, control, pictures, plan_view, samples, watch

MEMORY_KEY = "sd-page"  # of the browser's own storage: fixed, so that a restart forgets nothing
FAST, SLOW = 1.0, 5.0  # seconds between looks at a run that lives, and at one that may again
MORE_STEPS = 1000
# The address names the run, so that a tab finds its own again and the address can be handed on.
ADDRESS = """(name) => {
  const here = new URL(window.location.href);
  here.searchParams.set("run", name);
  window.history.replaceState(null, "", here);
}"""
# An answer that comes when another tab is looked at already must not set the clocks going again.
STAND_STILL = """() => {
  const watched = document.querySelector("#train-status")?.offsetParent;
  const clock = watched ? { __type__: "update" } : { __type__: "update", active: false };
  return [clock, clock];
}"""
PRESS = '() => document.querySelector("#train-download").click()'


class Choices(NamedTuple):
    """What a person chooses of the run that is shown."""

    run: gr.Dropdown
    view: gr.Radio
    curve: gr.Radio
    levels: gr.Radio


class Watched(NamedTuple):
    """The run that is shown, and the clocks by which it is watched."""

    run: gr.Dropdown
    clock: gr.Timer
    slow_clock: gr.Timer


class Extras(NamedTuple):
    """What asks something of the run that is shown."""

    steps: gr.Number
    further: gr.Button
    whole: gr.Checkbox
    pack: gr.Button
    download: gr.DownloadButton
    open: gr.UploadButton


def build(demo: gr.Blocks) -> tuple[gr.State, Watched]:
    """Lay out the tab and wire it.

    Return what holds the name of the pictures that were read, and the run with its clocks: the
    quick one while it lives, and the slow one while it may live again.
    """
    with gr.Row(elem_classes="page"):
        with gr.Column(elem_classes="side"):
            found = pictures.build(demo)
            parts = plan_view.build(demo, found)
            stage = build_actions()
        with gr.Column(elem_classes="stage"):
            choices, extras, stage = build_stage(stage)
    plan_view.build_command(demo, parts)
    return found.data, wire(demo, parts, choices, extras, stage)


def build_actions() -> watch.RunView:
    """Lay out the third group: what starts and stops."""
    with gr.Column(elem_classes="actions"):
        with gr.Row(elem_classes="buttons"):
            start = gr.Button(label("start"), variant="primary", elem_id="train-start")
            pause = action("pause", interactive=False)
            go_on = action("go_on", visible=False)
            stop = action("stop", interactive=False, elem_classes="stop")
            leave = action("leave", visible=False)
            resume = action("resume", visible=False)
        note("train_note")
    return watch.RunView(
        start=start, pause=pause, go_on=go_on, stop=stop, leave=leave, resume=resume
    )


def action(key: str, **more: Any) -> gr.Button:
    """Show one button that steers the run."""
    return gr.Button(label(key), elem_id=f"train-{key.replace('_', '-')}", **more)


def build_stage(stage: watch.RunView) -> tuple[Choices, Extras, watch.RunView]:
    """Lay out the run that is watched: progress, samples, timeline, advice, curves."""
    with gr.Row(elem_classes="stage-head"):
        progress = gr.HTML(elem_classes="status", elem_id="train-status")
        run = gr.Dropdown(
            [],
            filterable=False,
            scale=0,
            min_width=240,
            label=label("run"),
            info=label("run_info"),
            elem_id="train-run",
        )
    picture = stage_picture("png", "train-samples")
    pairs = gr.HTML(visible=False, elem_classes="pairs-box", elem_id="train-pairs")
    caption = gr.HTML(elem_classes="caption")
    free: dict[str, Any] = {"step": 0.01, "precision": None, "interactive": False}
    timeline = slider("timeline", 0, 1, 1, elem_id="train-timeline", **free)
    view = switch("view", samples.VIEWS)
    meter = gr.HTML(elem_classes="meter", elem_id="train-meter")
    advised = gr.HTML(elem_classes="advice", elem_id="train-advice", js_on_load=pressed("fix"))
    sample, save, steps, more, requests, further = build_extras()
    which = switch("curve", watch.CURVES)
    curve = gr.HTML(elem_classes="loss", elem_id="train-loss")
    how = switch("levels", watch.LEVELS)
    levels = gr.HTML(elem_classes="loss", elem_id="train-levels")
    whole, pack, download, opened, bundle = build_bundle()
    stage = stage._replace(
        **{"progress": progress, "picture": picture, "pairs": pairs, "caption": caption},
        **{"timeline": timeline, "meter": meter, "advice": advised, "curve": curve},
        **{"levels": levels, "sample": sample, "save": save, "requests": requests},
        **{"further": further, "bundle": bundle},
    )
    extras = Extras(steps, more, whole, pack, download, opened)
    return Choices(run, view, which, how), extras, stage


def switch(key: str, words: tuple[str, ...]) -> gr.Radio:
    """Show a choice between ways to look at the same thing, the first one chosen."""
    return gr.Radio(
        [(label(f"{key}_{word}"), word) for word in words],
        value=words[0],
        label=label(key),
        info=label(f"{key}_info"),
        elem_id=f"train-{key}",
        elem_classes="switch",
    )


def build_extras() -> tuple[gr.Button, gr.Button, gr.Number, gr.Button, gr.Column, gr.Row]:
    """Lay out what asks something of a run, in two rows that come and go."""
    with gr.Column(visible=False, elem_classes="asks") as requests:
        with gr.Row(elem_classes="buttons"):
            sample = gr.Button(label("sample_now"), elem_id="train-sample")
            save = gr.Button(label("save_now"), elem_id="train-save")
        note("asks_info")
    with gr.Row(visible=False, elem_classes="with-dice asks") as further:
        steps = number("further", MORE_STEPS, elem_id="train-further-steps")
        more = gr.Button(label("train_further"), elem_id="train-further", scale=0, min_width=130)
    return sample, save, steps, more, requests, further


def build_bundle() -> tuple[gr.Checkbox, gr.Button, gr.DownloadButton, gr.UploadButton, gr.Row]:
    """Lay out what takes a run away and what opens one; the last is shown where there is one."""
    with gr.Accordion(label("bundle"), open=False, elem_classes="fold"):
        note("bundle_info")
        whole = gr.Checkbox(True, label=label("bundle_whole"), info=label("bundle_whole_info"))
        with gr.Row(elem_classes="buttons"):
            with gr.Row(visible=False) as bundle:
                pack = gr.Button(label("download"), elem_id="train-pack")
            opened = gr.UploadButton(
                label("open_bundle"), file_types=[".zip"], elem_id="train-open"
            )
        download = gr.DownloadButton("zip", visible="hidden", elem_id="train-download")
    return whole, pack, download, opened, bundle


@guarded
def start(*fields: Any) -> tuple[Any, dict[str, str], dict[str, Any]]:
    """Start a run; return it for the list of runs and the browser's memory; forget the last."""
    name = plan_view.launch(*fields)
    names = list(dict.fromkeys([name, *control.list_run_names()]))
    return gr.update(choices=names, value=name), {"run": name}, {}


def wire(
    demo: gr.Blocks, parts: Any, choices: Choices, extras: Extras, stage: watch.RunView
) -> Watched:
    """Wire the watching: on load, by the clocks, which are returned, and for another run."""
    memory = gr.BrowserState({"run": ""}, storage_key=MEMORY_KEY, secret=MEMORY_KEY)
    seen, pulse = gr.State({}), gr.State("")
    clock, slow = gr.Timer(FAST, active=False), gr.Timer(SLOW, active=False)
    stage = stage._replace(clock=clock, slow_clock=slow, seen=seen)
    run, timeline = choices.run, stage.timeline
    show = {
        "fn": watch.refresh,
        "inputs": [run, seen, timeline, *choices[1:]],
        "outputs": list(stage),
        **QUIET,
    }
    for each in (clock, slow):
        each.tick(watch.pulse, [run, seen], pulse, **QUIET)
    clocks = [clock, slow]
    for event in (
        pulse.change(**show),
        demo.load(control.attach, memory, [run, seen], **QUIET).then(**show),
    ):
        event.then(None, None, clocks, js=STAND_STILL, **QUIET)
    run.focus(control.refresh_runs, run, run, **QUIET)
    shown_anew = [
        run.input(control.select_run, run, [memory, seen], **QUIET),
        stage.start.click(start, parts.asked, [run, memory, seen], **QUIET | SURVEY),
        extras.open.upload(control.open_bundle, extras.open, [run, memory, seen], **QUIET | BUNDLE),
    ]
    for event in shown_anew:
        event.success(None, run, None, js=ADDRESS, **QUIET).success(**show)
    wire_looks(choices, stage)
    wire_steering(run, extras, stage, show)
    stage.advice.click(advice.apply_fix, run, parts.wish, **QUIET).then(**show)
    return Watched(run, clock, slow)


def watch_only_in(tab: gr.Tab, others: Sequence[gr.Tab], watched: Watched) -> None:
    """Let the clocks stand while another tab is looked at: it asks nothing of the server then.

    Back in `tab` the slow one goes on, and sets the quick one off if there is anything to see.
    """
    run, *clocks = watched
    tab.select(watch.wake, run, clocks[1], **QUIET)
    for other in others:
        other.select(lambda: [gr.Timer(active=False) for _ in clocks], None, clocks, **QUIET)


def wire_looks(choices: Choices, stage: watch.RunView) -> None:
    """Wire what only looks: the timeline and the switches."""
    asked = [choices.run, stage.timeline, choices.view]
    sheet = [stage.picture, stage.pairs, stage.caption, stage.meter]
    look: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
    stage.timeline.input(watch.scrub, asked, sheet, **look)
    choices.view.input(watch.scrub, asked, sheet, **look)
    choices.curve.input(watch.draw_curve, [choices.run, choices.curve], stage.curve, **look)
    choices.levels.input(watch.draw_levels, [choices.run, choices.levels], stage.levels, **look)


def wire_steering(
    run: gr.Dropdown, extras: Extras, stage: watch.RunView, show: dict[str, Any]
) -> None:
    """Wire what does something to the run; afterwards its state is looked at at once."""
    for button, handler in (
        (stage.pause, control.pause),
        (stage.go_on, control.unpause),
        (stage.stop, control.stop),
        (stage.leave, control.end_now),
        (stage.resume, control.resume),
    ):
        button.click(handler, run, None, **QUIET).then(**show)
    extras.further.click(control.train_more, [run, extras.steps], None, **QUIET).then(**show)
    stage.sample.click(control.sample_now, run, None, **QUIET)
    stage.save.click(control.save_now, run, None, **QUIET)
    asked, packing = [run, extras.whole], QUIET | BUNDLE
    packed = extras.pack.click(control.pack_bundle, asked, extras.download, **packing)
    packed.success(None, None, None, js=PRESS, **QUIET)
