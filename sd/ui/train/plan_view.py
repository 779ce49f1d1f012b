"""The second group of the Train tab: minutes, presets, every setting; and what a start takes."""

from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from sd import runs
from sd.common import validation
from sd.common.validation import InputError
from sd.config import SECTIONS, Config, preset_names
from sd.ui import state, uploads
from sd.ui.components.handlers import QUIET, SURVEY, guarded
from sd.ui.components.html import pressed
from sd.ui.components.widgets import command_box, heading, label, new_seed, note, seed_row
from sd.ui.train import forecast_view, form, pictures, settings
from sd.ui.train.form import Views

DEVICES = forecast_view.DEVICES
USUAL_MINUTES = 5
LATEST: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
MEASURE: dict[str, Any] = {**QUIET, "concurrency_id": "measure", "concurrency_limit": 1}


class Parts(NamedTuple):
    """What the other half of the tab needs of this one."""

    asked: list[Any]  # everything that a start needs, in the order of `launch`
    wish: gr.State  # {"ini": text}: settings that are to be taken into the fields
    ini: gr.State
    data: gr.State
    seed: gr.Number
    device: gr.Dropdown
    fault: gr.HTML


class Fields(NamedTuple):
    """The controls of the plan."""

    all: list[Any]  # one per key, in the order of settings.ORDER
    minutes: gr.Slider
    go: gr.Button
    measure: gr.Button
    stop: gr.Button
    preset: gr.Dropdown
    fault: gr.HTML
    load: gr.UploadButton
    seed: gr.Number
    dice: gr.Button
    device: gr.Dropdown


def launch(*asked: Any) -> str:
    """Start training as the fields say, if the device is there; return the run's name.

    `asked` is one value per key, then data, seed and device. Raises `InputError`.
    """
    *fields, data, seed, device = asked
    config = settings.require_config(fields)
    pictures.check_choices(data, config)
    return begin(data, config, seed, device)


def begin(data: Any, config: Config, seed: Any, device: Any) -> str:
    """Start training on the pictures that `data` names; return the run's name."""
    from sd.common.device import choose

    source = uploads.source_of(data)
    seed = validation.seed("seed", seed)
    choose(validation.choice("device", device, DEVICES))
    return runs.start(state.home(), source, config, seed, device).name


@guarded
def command(text: Any, data: Any, seed: Any, device: Any, fault: Any = "") -> str:
    """Return the command line of the plan; nothing while a field is being typed or at fault."""
    if fault:
        return ""
    try:
        config = Config.from_ini(text)
        preset = settings.find_nearest_preset(config)
        source = uploads.source_of(data)
        if source != uploads.STARTER and Path(source).is_relative_to(Path.cwd()):
            source = str(Path(source).relative_to(Path.cwd()))
        validation.seed("seed", seed)
        changes = config.settings_from(settings.read_preset(preset))
        return runs.train_command(
            source, preset, changes, seed, validation.choice("device", device, DEVICES)
        )
    except InputError:
        return ""


def build(demo: gr.Blocks, chosen: pictures.Pictures) -> Parts:
    """Lay out the second group and wire both."""
    config = settings.read_preset(settings.FIRST)
    with gr.Column(elem_classes="group", elem_id="plan"):
        heading("train_plan")
        minutes, go, measured, stop = build_planner()
        told = gr.HTML(elem_classes="told", elem_id="plan-told")
        preset = gr.Dropdown(
            [(label(f"preset_{name}"), name) for name in preset_names()],
            value=settings.FIRST,
            filterable=False,
            label=label("preset"),
            info=label("preset_info"),
            elem_id="plan-preset",
        )
        line = gr.HTML(elem_classes="outline", elem_id="plan-outline")
        fault = gr.HTML(elem_classes="fault", elem_id="plan-fault")
        advised = gr.HTML(elem_classes="advice", elem_id="plan-advice", js_on_load=pressed("fix"))
        with gr.Accordion(
            label("settings"), open=False, elem_classes="fold settings", elem_id="plan-settings"
        ):
            load, save, seed, dice, device = build_extras()
            made, levels, doctor = build_groups(config)
    views = Views(
        *(line, levels, doctor, advised, chosen.leak, chosen.conditioning, chosen.cut),
        *(chosen.sheet, chosen.caption, save, told),
    )
    every = [{**made, **chosen.fields}[key] for _, key in settings.ORDER]
    fields = Fields(*(every, minutes, go, measured, stop, preset, fault, load, seed, dice, device))
    return wire(chosen, fields, views, config)


def build_planner() -> tuple[gr.Slider, gr.Button, gr.Button, gr.Button]:
    """Lay out what plans and measures."""
    minutes = gr.Slider(
        forecast_view.LEAST_MINUTES,
        forecast_view.MOST_MINUTES,
        value=USUAL_MINUTES,
        step=1,
        buttons=[],
        label=label("plan_minutes"),
        info=label("plan_minutes_info"),
        elem_id="plan-minutes",
    )
    with gr.Row(elem_classes="buttons"):
        go = gr.Button(label("plan_go"), elem_id="plan-go")
        measured = gr.Button(label("plan_forecast"), elem_id="plan-forecast")
        stop = gr.Button(label("plan_stop"), visible=False, elem_id="plan-stop")
    return minutes, go, measured, stop


def build_extras() -> tuple[gr.UploadButton, gr.HTML, gr.Number, gr.Button, gr.Dropdown]:
    """Lay out what is no key of the ini: the file itself, the seed, the device."""
    note("settings_info")
    with gr.Row(elem_classes="buttons"):
        load = gr.UploadButton(
            label("settings_load"), file_types=[".ini", ".txt"], size="sm", elem_id="plan-load"
        )
        save = gr.HTML(elem_id="plan-save")
    seed, dice = seed_row("train_seed_info")
    device = gr.Dropdown(
        list(DEVICES),
        value="auto",
        filterable=False,
        label=label("device"),
        info=label("device_info"),
        elem_id="plan-device",
    )
    return load, save, seed, dice, device


def build_groups(config: Config) -> tuple[dict[str, Any], gr.HTML, gr.HTML]:
    """Lay out the four folded groups, the table of levels in one and the doctor in another."""
    made: dict[str, Any] = {}
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
                made |= settings.build_group(section, config)
    return made, views["unet"], views["diffusion"]


def wire(chosen: pictures.Pictures, fields: Fields, views: Views, config: Config) -> Parts:
    """Wire the fields to the plan, and the plan to what follows from it."""
    text, told_of, wish = gr.State(config.to_ini()), gr.State(""), gr.State(None)
    data, every = chosen.data, fields.all
    sent = [*every, text, fields.fault, fields.preset]
    asked, shown = [text, data, told_of], list(views)
    typed = [data, *every]
    # What was pasted is told when its field is left; `change` would also tell, one by one and out
    # of order, of fields that were filled from here (gradio 6.31).
    told = [each.input for each in every]
    told += [each.blur for each in every if isinstance(each, gr.Textbox)]
    gr.on(told, form.read_fields, typed, [text, fields.fault], **LATEST | SURVEY)
    for event in chosen.taken:
        event.then(form.read_fields, typed, [text, fields.fault], **QUIET | SURVEY).then(
            form.describe, asked, shown, **QUIET | SURVEY
        )
    text.change(form.describe, asked, shown, **LATEST | SURVEY)
    reading = QUIET | SURVEY
    fields.preset.input(form.take_preset, [fields.preset, *typed], sent[:-1], **reading)
    fields.load.upload(form.take_file, [fields.load, data], sent, **reading)
    wish.change(form.take_proposal, [wish, data], sent, **reading)
    for place in (views.remarks, views.leak, views.doctor):
        place.click(form.apply_fix, typed, sent, **QUIET | SURVEY)
    fields.dice.click(new_seed, None, fields.seed, **QUIET)
    wire_planner(fields, views, data, told_of, sent)
    given = [*every, data, fields.seed, fields.device]
    return Parts(given, wish, text, data, fields.seed, fields.device, fields.fault)


def wire_planner(
    fields: Fields, views: Views, data: gr.State, told_of: gr.State, sent: list[Any]
) -> None:
    """Wire the buttons that plan, measure and cancel."""
    told = [views.told, told_of, fields.go, fields.measure, fields.stop]
    asked = [data, fields.device, *fields.all]
    for button, measured, given, shown in (
        (fields.go, forecast_view.fill_from_plan, [fields.minutes, *asked], [*told, *sent]),
        (fields.measure, forecast_view.show_forecast, asked, told),
    ):
        button.click(forecast_view.show_measuring, None, told, **QUIET).then(
            measured, given, shown, **MEASURE
        )
    fields.stop.click(forecast_view.cancel, None, None, **QUIET)


def build_command(demo: gr.Blocks, parts: Parts) -> gr.Textbox:
    """Show the command line that does the same as Start."""
    box = command_box()
    asked: list[Any] = [parts.ini, parts.data, parts.seed, parts.device, parts.fault]
    demo.load(command, asked, box, **QUIET)
    gr.on([each.change for each in asked], command, asked, box, **LATEST)
    return box
