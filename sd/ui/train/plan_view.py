"""The second group of the Train tab: minutes, presets, every setting; and what a start takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from sd import runs
from sd.common import validation
from sd.common.validation import InputError
from sd.config import SECTIONS, Config, preset_names
from sd.ui import state, uploads
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import QUIET, SURVEY, guarded
from sd.ui.components.html import pressed
from sd.ui.components.widgets import (
    command_box,
    dropdown,
    heading,
    label,
    labels,
    new_seed,
    note,
    seed_row,
)
from sd.ui.train import forecast_view, form, pictures, settings
from sd.ui.train.form import PlanForm, Views

DEVICES = forecast_view.DEVICES
USUAL_MINUTES = 5
LATEST: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
MEASURE: dict[str, Any] = {**QUIET, "concurrency_id": "measure", "concurrency_limit": 1}


def start_with_fields(data: str | None, seed: float | None, device: str, **values: object) -> str:
    """Start training as the fields say, if the device is there; return the run's name."""
    config = settings.require_config(values)
    pictures.check_choices(data, config)
    return start_run(data, config, seed, device)


def start_run(data: str | None, config: Config, seed: float | None, device: str) -> str:
    """Start training on the pictures that `data` names; return the run's name."""
    from sd.common.device import choose

    source = uploads.source_of(data)
    seed = validation.seed("seed", seed)
    choose(validation.choice("device", device, DEVICES))
    return runs.start(state.home(), source, config, seed, device).name


@guarded
def show_command(
    config: Config, data: str | None, seed: float | None, device: str, fault: str
) -> Updates:
    """Show the command line of the plan; nothing while a field is being typed or at fault."""
    if fault:
        return {"line": ""}
    try:
        preset = settings.find_nearest_preset(config)
        source = uploads.source_of(data)
        if source != uploads.STARTER and Path(source).is_relative_to(Path.cwd()):
            source = str(Path(source).relative_to(Path.cwd()))
        changes = config.settings_from(settings.read_preset(preset))
        device = validation.choice("device", device, DEVICES)
        seed = validation.seed("seed", seed)
    except InputError:
        return {"line": ""}
    return {"line": runs.train_command(source, preset, changes, seed, device)}


def build(demo: gr.Blocks, chosen: pictures.Pictures) -> PlanForm:
    """Lay out the second group and wire both."""
    config = settings.read_preset(settings.FIRST)
    with gr.Column(elem_classes="group", elem_id="plan"):
        heading("train_plan")
        planner = build_planner()
        answer = gr.HTML(elem_classes="told", elem_id="plan-told")
        presets = [(label(f"preset_{name}"), name) for name in preset_names()]
        preset = dropdown("preset", presets, value=settings.FIRST, elem_id="plan-preset")
        summary = gr.HTML(elem_classes="outline", elem_id="plan-outline")
        fault = gr.HTML(elem_classes="fault", elem_id="plan-fault")
        remarks = gr.HTML(elem_classes="advice", elem_id="plan-advice", js_on_load=pressed("fix"))
        with gr.Accordion(
            label("settings"), open=False, elem_classes="fold settings", elem_id="plan-settings"
        ):
            save, extras = build_extras()
            fields, levels, schedule_check = build_groups(config)
    views = Views(
        summary=summary,
        levels=levels,
        schedule_check=schedule_check,
        remarks=remarks,
        leak=chosen.leak,
        conditioning=chosen.conditioning,
        cut=chosen.cut,
        preview=chosen.preview,
        caption=chosen.caption,
        save=save,
        answer=answer,
    )
    plan = PlanForm(
        fields={key: {**fields, **chosen.fields}[key] for key in settings.SECTION_OF},
        preset=preset,
        fault=fault,
        data=chosen.data,
        config=gr.State(config),
        measured=gr.State(None),
        **planner,
        **extras,
    )
    wire(chosen, plan, views)
    return plan


def build_planner() -> dict[str, Any]:
    """Lay out what plans and measures; return it by the names of `PlanForm`."""
    minutes = gr.Slider(
        forecast_view.LEAST_MINUTES,
        forecast_view.MOST_MINUTES,
        value=USUAL_MINUTES,
        step=1,
        buttons=[],
        **labels("plan_minutes"),
        elem_id="plan-minutes",
    )
    with gr.Row(elem_classes="buttons"):
        go = gr.Button(label("plan_go"), elem_id="plan-go")
        measure = gr.Button(label("plan_forecast"), elem_id="plan-forecast")
        stop = gr.Button(label("plan_stop"), visible=False, elem_id="plan-stop")
    return {"minutes": minutes, "go": go, "measure": measure, "stop": stop}


def build_extras() -> tuple[gr.HTML, dict[str, Any]]:
    """Lay out what is no key of the ini: the file itself, the seed, the device."""
    note("settings_info")
    with gr.Row(elem_classes="buttons"):
        load = gr.UploadButton(
            label("settings_load"), file_types=[".ini", ".txt"], size="sm", elem_id="plan-load"
        )
        save = gr.HTML(elem_id="plan-save")
    seed, dice = seed_row("train_seed_info")
    device = dropdown("device", DEVICES, value="auto", elem_id="plan-device")
    return save, {"load": load, "seed": seed, "dice": dice, "device": device}


def build_groups(config: Config) -> tuple[dict[str, settings.Field], gr.HTML, gr.HTML]:
    """Lay out the four folded groups, the table of levels in one, the schedule's end in another."""
    fields: dict[str, settings.Field] = {}
    views: dict[str, gr.HTML] = {}
    for section in SECTIONS:
        with gr.Accordion(
            label(f"group_{section}"), open=False, elem_classes="fold", elem_id=f"group-{section}"
        ):
            note(f"group_{section}_info")
            if section in ("unet", "diffusion"):
                views[section] = gr.HTML(
                    elem_classes=f"about-{section} advice",
                    elem_id=f"plan-{section}",
                    js_on_load=pressed("fix"),
                )
            with gr.Column(elem_classes="fields"):
                fields |= settings.build_group(section, config)
    return fields, views["unet"], views["diffusion"]


def wire(chosen: pictures.Pictures, plan: PlanForm, views: Views) -> None:
    """Wire the fields to the plan, and the plan to what follows from it."""
    read = by_name(form.read_fields, plan.values, {"config": plan.config, "fault": plan.fault})
    states = {"config": plan.config, "data": plan.data, "measured": plan.measured}
    describe = by_name(form.describe, states, views._asdict())
    # What was pasted is read when its field is left: `change` would also fire, one by one and out
    # of order, for fields that were filled from here (gradio 6.31).
    typed = [each.input for each in plan.fields.values()]
    typed += [each.blur for each in plan.fields.values() if isinstance(each, gr.Textbox)]
    gr.on(typed, **read, **LATEST | SURVEY)
    for event in chosen.taken:
        event.then(**read, **QUIET | SURVEY).then(**describe, **QUIET | SURVEY)
        event.failure(**describe, **QUIET | SURVEY)  # what was taken before is shown again
    plan.config.change(**describe, **LATEST | SURVEY)

    def fill(handler: Callable[..., Any], **more: Component) -> dict[str, Any]:
        return by_name(handler, {**more, **plan.values}, plan.filled) | QUIET | SURVEY

    plan.preset.input(**fill(form.take_preset, preset=plan.preset))
    taken = by_name(form.take_file, {"file": plan.load, "data": plan.data}, plan.filled)
    plan.load.upload(**taken, **QUIET | SURVEY)
    for place in (views.remarks, views.leak, views.schedule_check):
        place.click(**fill(form.apply_fix))
    plan.dice.click(new_seed, None, plan.seed, **QUIET)
    wire_planner(plan, views.answer)


def wire_planner(plan: PlanForm, answer: gr.HTML) -> None:
    """Wire the buttons that plan, measure and cancel."""
    shown = {
        "answer": answer,
        "measured": plan.measured,
        "go": plan.go,
        "measure": plan.measure,
        "stop": plan.stop,
    }
    measuring = by_name(forecast_view.show_measuring, {}, shown)
    given = {"device": plan.device, **plan.values}
    planned = by_name(
        forecast_view.make_plan, {"plan_minutes": plan.minutes, **given}, shown | plan.filled
    )
    forecast = by_name(forecast_view.make_forecast, given, shown)
    for button, handler in ((plan.go, planned), (plan.measure, forecast)):
        button.click(**measuring, **QUIET).then(**handler, **MEASURE)
    plan.stop.click(forecast_view.cancel, None, None, **QUIET)


def build_command(demo: gr.Blocks, plan: PlanForm) -> gr.HTML:
    """Show the command line that does the same as Start."""
    box = command_box()
    given = {name: getattr(plan, name) for name in ("config", "data", "seed", "device", "fault")}
    show = by_name(show_command, given, {"line": box})
    demo.load(**show, **QUIET)
    gr.on([each.change for each in given.values()], **show, **LATEST)
    return box
