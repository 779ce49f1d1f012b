"""The Train tab: pictures, a plan, and a run that is watched while it learns."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from sd.config import Config
from sd.ui.components.events import Updates, by_name
from sd.ui.components.fields import Values
from sd.ui.components.handlers import BUNDLE, MEASURE, QUIET, SURVEY, at_end, guarded, language
from sd.ui.state import home
from sd.ui.train import control, pictures, watch
from sd.ui.train.planning import forecast_view, plan_view
from sd.ui.train.planning.form import PlanForm

OFTEN = {**QUIET, "trigger_mode": "multiple"}
LATEST = {"trigger_mode": "always_last"}
WORKING = ("starting", "running", "pausing", "paused", "stopping", "waiting")  # not over
TO_DENOISE = '() => sdTrain.openTab("denoise")'


def build(demo: gr.Blocks, model: gr.HTML) -> None:
    """Lay out the tab and wire it; `model` is the page's."""
    with gr.Row(elem_classes="page train"):
        with gr.Column(elem_classes="side train-left"):
            plan = plan_view.build(demo)
        with gr.Column(elem_classes="stage"):
            panel = watch.panel()
    plan_view.build_command(demo, plan)
    wire_panel(panel, model, plan)
    wire_plan(panel, plan)


@guarded
def start(
    request: gr.Request,
    minutes: float | None,
    data: str | None,
    title: str,
    form: Values | None,
    config: Config,
) -> Iterator[Updates]:
    """Measure, plan and start a run, and show it."""
    with closing(plan_view.train(request, minutes, data, title, form, config)) as steps:
        for step in steps:
            name = step.pop("started", None)
            yield step | (control.choose(str(name)) if name else {})


@guarded
def look(request: gr.Request, event: gr.EventData) -> Updates:
    """Show what is new of the run that is shown, and in the left column whether it is at work."""
    at, lang = watch.read_look(event), language(request)
    shown = watch.show(at, lang)
    patch: Any = shown.get("panel", {})
    patch = patch.get("patch", {})
    if "pulse" not in patch:
        return shown
    before = at.pulse.partition(" ")[0] if patch["run"] == at.run else ""
    state = patch["pulse"].partition(" ")[0]
    return shown if state == before else shown | left_column(patch["run"], state, lang)


def left_column(run: str, state: str, lang: str) -> Updates:
    """Return the left column: the run's own until it is over, else what the page has chosen."""
    folder = home().find_run(run) if state in WORKING else None
    return pictures.show_run_card(folder, lang, rests=state == "paused")


def wire_panel(panel: gr.HTML, model: gr.HTML, plan: PlanForm) -> None:
    """Wire what looks at the run and what steers it, and the page's model with it."""
    shown = {"panel": panel}
    looked = {**shown, "card": plan.card, "minutes": plan.minutes}
    panel.tick(**by_name(look, {}, looked), **QUIET)
    panel.input(**by_name(look, {}, looked), **OFTEN)
    panel.click(**by_name(control.press, {}, shown), **OFTEN)
    panel.download(**by_name(control.take_away, {}, shown), **QUIET | BUNDLE)
    panel.upload(**by_name(control.open_bundle, {}, shown), **QUIET | BUNDLE)
    panel.select(**by_name(control.draw_with, {}, {"model": model}), **QUIET)
    taken = panel.apply(**by_name(control.draw_with, {}, {"model": model}), **QUIET)
    taken.success(None, js=TO_DENOISE, **QUIET)
    model.input(**by_name(control.follow_model, {"model": model}, shown), **QUIET | LATEST)


def wire_plan(panel: gr.HTML, plan: PlanForm) -> None:
    """Wire the start of a run, and what of a run goes into the plan."""
    filled = {**plan.filled, "panel": panel}
    asked = {"minutes": plan.minutes, "title": plan.title, **plan.values}
    waiting = by_name(forecast_view.begin_waiting, {}, {"minutes": plan.minutes})
    plan.minutes.click(**waiting, **QUIET)
    started = by_name(start, asked, {**filled, "measured": plan.measured})
    begun = plan.minutes.click(**started, **MEASURE)
    at_end(begun, plan_view.IDLE)
    panel.edit(**by_name(control.apply_fix, {"data": plan.data}, filled), **OFTEN | SURVEY)
