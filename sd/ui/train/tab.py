"""The Train tab: pictures, a plan, and a run that is watched while it learns."""

import gradio as gr

from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import BUNDLE, QUIET, SURVEY, guarded
from sd.ui.components.widgets import label, note
from sd.ui.train import control, pictures, plan_view, watch
from sd.ui.train.form import PlanForm

OFTEN = {**QUIET, "trigger_mode": "multiple"}
TO_DENOISE = '() => sdTrain.openTab("denoise")'


def build(demo: gr.Blocks, model: gr.HTML) -> None:
    """Lay out the tab and wire it; `model` is the page's."""
    with gr.Row(elem_classes="page train"):
        with gr.Column(elem_classes="side"):
            chosen = pictures.build(demo)
            plan = plan_view.build(demo, chosen)
            with gr.Column(elem_classes="actions"):
                start_button = gr.Button(label("start"), variant="primary", elem_id="train-start")
                note("train_note")
        with gr.Column(elem_classes="stage"):
            panel = watch.panel()
    plan_view.build_command(demo, plan)
    wire_panel(panel, model)
    wire_plan(panel, plan, start_button)


@guarded
def start(data: str | None, seed: float | None, device: str, **values: object) -> Updates:
    """Start a run and show it."""
    return control.choose(plan_view.start_with_fields(data, seed, device, **values))


def wire_panel(panel: gr.HTML, model: gr.HTML) -> None:
    """Wire what looks at the run and what steers it, and the page's model with it."""
    shown = {"panel": panel}
    panel.tick(**by_name(watch.look, {}, shown), **QUIET)
    panel.input(**by_name(watch.look, {}, shown), **OFTEN)
    panel.click(**by_name(control.press, {}, shown), **OFTEN)
    panel.download(**by_name(control.take_away, {}, shown), **QUIET | BUNDLE)
    panel.upload(**by_name(control.open_bundle, {}, shown), **QUIET | BUNDLE)
    taken = panel.apply(**by_name(control.draw_with, {}, {"model": model}), **QUIET)
    taken.success(None, js=TO_DENOISE, **QUIET)
    model.input(**by_name(control.follow_model, {"model": model}, shown), **QUIET)


def wire_plan(panel: gr.HTML, plan: PlanForm, start_button: gr.Button) -> None:
    """Wire the start of a run, and what of a run goes into the plan."""
    started = {"seed": plan.seed, "device": plan.device, **plan.values}
    start_button.click(**by_name(start, started, {"panel": panel}), **QUIET | SURVEY)
    filled = {**plan.filled, "panel": panel}
    panel.edit(**by_name(control.apply_fix, {"data": plan.data}, filled), **QUIET | SURVEY)
