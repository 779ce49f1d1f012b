"""The Train tab: pictures, a plan, and a run that is watched while it learns."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import BUNDLE, QUIET, SURVEY, guarded
from sd.ui.components.html import pressed
from sd.ui.components.widgets import dropdown, label, labels, note, number, slider, stage_picture
from sd.ui.train import control, pictures, plan_view, samples, watch
from sd.ui.train.form import PlanForm

MEMORY_KEY = "sd-page"  # of the browser's own storage: fixed, so that a restart forgets nothing
FAST, SLOW = 1.0, 5.0  # seconds between looks at a run that lives, and at one that may again
MORE_STEPS = 1000
# The address names the run, so that a tab finds its own again and the address can be handed on.
ADDRESS = """(name) => {
  const here = new URL(window.location.href);
  here.searchParams.set("run", name);
  window.history.replaceState(null, "", here);
}"""
PRESS = '() => document.querySelector("#train-download").click()'


class Controls(NamedTuple):
    """What a person chooses of the run that is shown, and asks of it."""

    run: gr.Dropdown
    view: gr.Radio
    curve: gr.Radio
    levels: gr.Radio
    steps: gr.Number
    further: gr.Button
    form: gr.Radio
    whole: gr.Checkbox
    pack: gr.Button
    download: gr.DownloadButton
    open: gr.UploadButton


class RunClocks(NamedTuple):
    """The run that is shown, its clocks, and whether they go: only while the tab is open."""

    run: gr.Dropdown
    clock: gr.Timer
    slow_clock: gr.Timer
    watched: gr.State


def build(demo: gr.Blocks, model: gr.HTML) -> RunClocks:
    """Lay out the tab and wire it; `model` is the page's. Return the run with its clocks."""
    with gr.Row(elem_classes="page"):
        with gr.Column(elem_classes="side"):
            chosen = pictures.build(demo)
            plan = plan_view.build(demo, chosen)
            buttons = build_buttons()
        with gr.Column(elem_classes="stage"):
            controls, view = build_stage(buttons)
    plan_view.build_command(demo, plan)
    return wire(demo, plan, controls, view)


def build_buttons() -> dict[str, Any]:
    """Lay out the third group: what starts and stops."""
    with gr.Column(elem_classes="actions"):
        with gr.Row(elem_classes="buttons"):
            start = gr.Button(label("start"), variant="primary", elem_id="train-start")
            buttons = {
                "start": start,
                "pause": action("pause", interactive=False),
                "go_on": action("go_on", visible=False),
                "stop": action("stop", interactive=False, elem_classes="stop"),
                "leave": action("leave", visible=False),
                "resume": action("resume", visible=False),
            }
        note("train_note")
    return buttons


def action(key: str, **more: Any) -> gr.Button:
    """Show one button that steers the run."""
    return gr.Button(label(key), elem_id=f"train-{key.replace('_', '-')}", **more)


def build_stage(buttons: dict[str, Any]) -> tuple[Controls, watch.RunView]:
    """Lay out the run that is watched: progress, samples, timeline, advice, curves."""
    with gr.Row(elem_classes="stage-head"):
        progress = gr.HTML(elem_classes="status", elem_id="train-status")
        run = dropdown("run", [], scale=0, min_width=240, elem_id="train-run")
    picture = stage_picture("png", "train-samples")
    pairs = gr.HTML(visible=False, elem_classes="pairs-box", elem_id="train-pairs")
    caption = gr.HTML(elem_classes="caption")
    free: dict[str, Any] = {"step": 0.01, "precision": None, "interactive": False}
    timeline = slider("timeline", 0, 1, 1, elem_id="train-timeline", **free)
    view = switch("view", samples.VIEWS)
    meter = gr.HTML(elem_classes="meter", elem_id="train-meter")
    remarks = gr.HTML(elem_classes="advice", elem_id="train-advice", js_on_load=pressed("fix"))
    requests, asking = build_requests()
    which_curve = switch("curve", watch.CURVES)
    curve = gr.HTML(elem_classes="loss", elem_id="train-loss")
    which_levels = switch("levels", watch.LEVELS)
    levels = gr.HTML(elem_classes="loss", elem_id="train-levels")
    bundle, packing = build_bundle()
    controls = Controls(
        run=run, view=view, curve=which_curve, levels=which_levels, **asking, **packing
    )
    return controls, watch.RunView(
        progress=progress,
        picture=picture,
        pairs=pairs,
        caption=caption,
        timeline=timeline,
        meter=meter,
        advice=remarks,
        curve=curve,
        levels=levels,
        bundle=bundle,
        clock=gr.Timer(FAST, active=False),
        slow_clock=gr.Timer(SLOW, active=False),
        seen=gr.State({}),
        **buttons,
        **requests,
    )


def switch(key: str, words: tuple[str, ...]) -> gr.Radio:
    """Show a choice between ways to look at the same thing, the first one chosen."""
    return gr.Radio(
        [(label(f"{key}_{word}"), word) for word in words],
        value=words[0],
        **labels(key),
        elem_id=f"train-{key}",
        elem_classes="switch",
    )


def build_requests() -> tuple[dict[str, Any], dict[str, Any]]:
    """Lay out what asks something of a run, in two rows that come and go.

    Return what of it is a part of the view, and of the controls, by their names there.
    """
    with gr.Column(visible=False, elem_classes="asks") as requests:
        with gr.Row(elem_classes="buttons"):
            sample = gr.Button(label("sample_now"), elem_id="train-sample")
            save = gr.Button(label("save_now"), elem_id="train-save")
        note("asks_info")
    with gr.Row(visible=False, elem_classes="with-dice asks") as further:
        steps = number("further", MORE_STEPS, elem_id="train-further-steps")
        more = gr.Button(label("train_further"), elem_id="train-further", scale=0, min_width=130)
    shown = {"sample": sample, "save": save, "requests": requests, "further": further}
    return shown, {"steps": steps, "further": more}


def build_bundle() -> tuple[gr.Row, dict[str, Any]]:
    """Lay out what takes a run away and what opens one; the first is shown where there is one."""
    with gr.Accordion(label("bundle"), open=False, elem_classes="fold"):
        note("bundle_info")
        form = switch("bundle_as", control.FORMS)
        whole = gr.Checkbox(True, **labels("bundle_whole"))
        with gr.Row(elem_classes="buttons"):
            with gr.Row(visible=False) as bundle:
                pack = gr.Button(label("download"), elem_id="train-pack")
            opened = gr.UploadButton(
                label("open_bundle"), file_types=[".zip"], elem_id="train-open"
            )
        download = gr.DownloadButton("zip", visible="hidden", elem_id="train-download")
    parts = {"form": form, "whole": whole, "pack": pack, "download": download, "open": opened}
    return bundle, parts


@guarded
def start(data: str | None, seed: float | None, device: str, **values: object) -> Updates:
    """Start a run and show it."""
    return control.show_run(plan_view.start_with_fields(data, seed, device, **values))


def wire(demo: gr.Blocks, plan: PlanForm, controls: Controls, view: watch.RunView) -> RunClocks:
    """Wire the watching: on load, by the clocks, which are returned, and for another run."""
    run, timeline = controls.run, view.timeline
    memory = gr.BrowserState({"run": ""}, storage_key=MEMORY_KEY, secret=MEMORY_KEY)
    pulse, watched = gr.State(""), gr.State(True)
    parts: dict[str, Block] = vars(view)
    looks = {"place": timeline, "view": controls.view}
    figures = {"curve": controls.curve, "levels": controls.levels}
    refresh = by_name(watch.refresh, {"run": run, "seen": view.seen, **looks, **figures}, parts)
    show = refresh | QUIET
    clocks = {"clock": view.clock, "slow_clock": view.slow_clock}
    asked = {"run": run, "seen": view.seen, "watched": watched}
    ticked = {"run": run, "seen": view.seen, "pulse": pulse, **clocks}
    for clock in clocks.values():
        clock.tick(**by_name(watch.read_pulse, asked, ticked), **QUIET)
    pulse.change(**show)
    attach = by_name(control.attach, {"memory": memory}, {"run": run, "seen": view.seen})
    demo.load(**attach, **QUIET).then(**show)
    run.focus(**by_name(control.refresh_runs, {"run": run}, {"run": run}), **QUIET)

    def choose(handler: Callable[..., Any], **given: Component) -> dict[str, Any]:
        return by_name(handler, given, {"run": run, "memory": memory, "seen": view.seen})

    started = {"seed": plan.seed, "device": plan.device, **plan.values}
    for event in (
        run.input(**choose(control.select_run, run=run), **QUIET),
        view.start.click(**choose(start, **started), **QUIET | SURVEY),
        controls.open.upload(**choose(control.open_bundle, file=controls.open), **QUIET | BUNDLE),
    ):
        event.success(None, run, None, js=ADDRESS, **QUIET).success(**show)
    fix = by_name(control.apply_fix, {"run": run, "data": plan.data}, plan.filled)
    view.advice.click(**fix, **QUIET | SURVEY).then(**show)
    wire_looks(controls, view)
    wire_requests(controls, view, show)
    return RunClocks(run, view.clock, view.slow_clock, watched)


def watch_only_in(tab: gr.Tab, others: Sequence[gr.Tab], clocks: RunClocks) -> None:
    """Let the clocks stand while another tab is looked at: it asks nothing of the server then."""
    parts = {"clock": clocks.clock, "slow_clock": clocks.slow_clock, "watched": clocks.watched}
    tab.select(**by_name(watch.wake, {"run": clocks.run}, parts), **QUIET)
    for other in others:
        other.select(**by_name(watch.rest, {}, parts), **QUIET)


def wire_looks(controls: Controls, view: watch.RunView) -> None:
    """Wire what only looks: the timeline and the switches."""
    look: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
    run, parts = controls.run, vars(view)
    looks = {"run": run, "place": view.timeline, "view": controls.view}
    shown = {name: parts[name] for name in ("picture", "pairs", "caption", "meter")}
    for event in (view.timeline.input, controls.view.input):
        event(**by_name(watch.scrub, looks, shown), **look)
    for handler, which, figure, name in (
        (watch.draw_curve, controls.curve, view.curve, "curve"),
        (watch.draw_levels, controls.levels, view.levels, "levels"),
    ):
        which.input(**by_name(handler, {"run": run, "which": which}, {name: figure}), **look)


def wire_requests(controls: Controls, view: watch.RunView, show: dict[str, Any]) -> None:
    """Wire what does something to the run; afterwards its state is looked at at once."""
    run = controls.run
    for button, handler in (
        (view.pause, control.pause),
        (view.go_on, control.unpause),
        (view.stop, control.stop),
        (view.leave, control.end_now),
        (view.resume, control.resume),
    ):
        button.click(handler, run, None, **QUIET).then(**show)
    controls.further.click(control.train_more, [run, controls.steps], None, **QUIET).then(**show)
    view.sample.click(control.sample_now, run, None, **QUIET)
    view.save.click(control.save_now, run, None, **QUIET)
    packed = controls.pack.click(
        control.take_away,
        [run, controls.form, controls.whole],
        controls.download,
        **QUIET | BUNDLE,
    )
    packed.success(None, None, None, js=PRESS, **QUIET)
