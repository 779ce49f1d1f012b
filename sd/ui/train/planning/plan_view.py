"""The left column of the Train tab: the pictures, how long, every setting; what a start takes."""

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from sd import runs
from sd.common import validation
from sd.common.validation import InputError
from sd.config import Config
from sd.ui import state, uploads
from sd.ui.components.events import Updates, by_name
from sd.ui.components.fields import Values
from sd.ui.components.handlers import (
    ALWAYS,
    MEASURE,
    QUIET,
    SURVEY,
    UPLOAD,
    event_value,
    guarded,
    language,
)
from sd.ui.components.widgets import command_box, label
from sd.ui.texts import say
from sd.ui.train import pictures
from sd.ui.train.doors import set_card
from sd.ui.train.planning import forecast_view, presets_view, settings
from sd.ui.train.planning.forecast_view import cancellable
from sd.ui.train.planning.form import (
    PlanForm,
    apply_fix,
    describe,
    fill_fields,
    read_fields,
    take_file,
    take_preset,
)
from sd.ui.train.planning.minutes import minutes_card, read_minutes

LATEST: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
ASKS = ("plan", "measure")
OWN, IDLE = "() => sdMinutes.own()", "() => sdMinutes.idle()"
ASKED_ENDS = "() => sdMinutes.idle(true)"
PANEL, FORM, CARD = "plan-settings", "plan-fields", "train-set"
ASKED = """element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-fix], button[data-ask]");
  if (button?.dataset.fix) trigger("click", { fix: button.dataset.fix });
  if (button?.dataset.ask) sdMinutes.wait(button.dataset.ask);
  if (button?.dataset.ask) trigger("select", { ask: button.dataset.ask });
});"""


def start_run(data: str | None, config: Config, seed: Any, device: Any, title: str = "") -> str:
    """Start training on the pictures that `data` names; return the run's name."""
    from sd.common.device import choose

    source = uploads.source_of(data)
    seed = validation.seed("seed", seed)
    choose(validation.choice("device", device, settings.DEVICES))
    if (start := settings.find_start(config)) is not None:
        config = replace(config, training=replace(config.training, start_from=str(start)))
    return runs.start(state.home(), source, config, seed, device, title).name


@guarded
@cancellable
def train(
    request: gr.Request,
    minutes: float | None,
    data: str | None,
    title: str,
    form: Values | None,
    config: Config,
) -> Generator[Updates, None, None]:
    """Measure this machine, plan for so many minutes and start; at last, `started` names the run.

    minutes: None trains the settings as they stand.
    """
    values, lang, found = settings.values_of(form, config), language(request), None
    uploads.source_of(data)
    if minutes is None:
        wanted = settings.require_config(values)
    else:
        found = yield from forecast_view.plan_for(minutes, data, values, lang)
        wanted = found.config
    pictures.check_choices(data, wanted)
    yield forecast_view.busy(say("plan_starting", lang))
    name = start_run(data, wanted, values["seed"], values["device"], title)
    done: Updates = {"minutes": {"busy": None}, "started": name}
    if found is not None:
        done |= {**fill_fields(wanted, data), **done, "measured": found}
    yield done


@guarded
@cancellable
def ask(
    request: gr.Request,
    event: gr.EventData,
    minutes: float | None,
    data: str | None,
    form: Values | None,
    config: Config,
) -> Generator[Updates, None, None]:
    """Plan without starting, or measure the settings as they stand: show what was found."""
    values, lang = settings.values_of(form, config), language(request)
    if validation.choice("ask", event_value(event, "ask"), ASKS) == "measure":
        wanted = settings.require_config(values)
        found = yield from forecast_view.forecast_of(wanted, data, values, lang)
        yield {"measured": found, "minutes": {"busy": None}}
        return
    wish = read_minutes(values[settings.PLAN_MINUTES]) if minutes is None else minutes
    found = yield from forecast_view.plan_for(wish, data, values, lang)
    filled = fill_fields(found.config, data)
    yield {**filled, "minutes": {"busy": None, "minutes": None}, "measured": found}


@guarded
def show_command(config: Config, data: str | None, form: Values | None) -> Updates:
    """Show the command line of the settings; nothing while a field is at fault."""
    values = settings.values_of(form, config)
    now, faults = settings.read_config(values)
    if now is None or faults:
        return {"line": ""}
    try:
        preset = settings.find_nearest_preset(now)
        source = uploads.source_of(uploads.STARTER if data is None else data)
        if source != uploads.STARTER and Path(source).is_relative_to(Path.cwd()):
            source = str(Path(source).relative_to(Path.cwd()))
        changes = now.settings_from(settings.read_preset(preset))
        device = forecast_view.read_device(values)
        seed = validation.seed("seed", values["seed"])
    except InputError:
        return {"line": ""}
    return {"line": runs.train_command(source, preset, changes, seed, device)}


def build(demo: gr.Blocks) -> PlanForm:
    """Lay out the left column and wire it, all but its start."""
    config = settings.read_preset(settings.FIRST)
    card = set_card(CARD)
    minutes = minutes_card("train-minutes", CARD, PANEL, FORM)
    with gr.Column(elem_id=PANEL, elem_classes="card"):
        head = presets_view.settings_head(PANEL, FORM)
        fields = settings.build_form(FORM)
        told = gr.HTML(elem_id="plan-told", js_on_load=ASKED, apply_default_css=False)
        load = gr.UploadButton(
            label("settings_load"), file_types=[".ini", ".txt"], size="sm", elem_id="plan-load"
        )
    plan = PlanForm(
        card=card,
        minutes=minutes,
        form=fields,
        head=head,
        told=told,
        load=load,
        data=gr.State(None),
        title=gr.State(""),
        config=gr.State(config),
        measured=gr.State(None),
    )
    wire(demo, plan)
    return plan


def wire(demo: gr.Blocks, plan: PlanForm) -> None:
    """Wire the pictures and the fields to the plan, and the plan to what follows from it."""
    described = {"told": plan.told, "card": plan.card, "minutes": plan.minutes, "form": plan.form}
    states = {"config": plan.config, "data": plan.data, "measured": plan.measured}
    follow = by_name(describe, states, described) | QUIET | SURVEY
    read = by_name(read_fields, plan.values, {"config": plan.config, "form": plan.form})

    picked = {"card": plan.card, "title": plan.title, "minutes": plan.minutes, **plan.values}
    chosen = {"card": plan.card, "data": plan.data, "title": plan.title, "form": plan.form}
    chosen["minutes"] = plan.minutes
    picking = by_name(pictures.take_pictures, picked, chosen)
    taken = plan.card.upload(**picking, **QUIET | UPLOAD | ALWAYS)
    taken.success(**read, **QUIET | SURVEY).then(**follow)
    named = {"title": plan.title, "card": plan.card}
    given = {"card": plan.card, "data": plan.data}
    plan.card.submit(**by_name(pictures.rename, given, named), **LATEST)

    plan.form.input(**read, **LATEST | SURVEY)
    plan.head.input(**read, **QUIET | SURVEY)
    plan.config.change(**follow | LATEST | SURVEY)
    demo.load(**follow)

    def fill(handler: Callable[..., Any], **more: Component) -> dict[str, Any]:
        return by_name(handler, {**more, **plan.values}, plan.filled) | QUIET | SURVEY | ALWAYS

    plan.head.click(**fill(take_preset)).success(None, js=OWN, **QUIET)
    plan.told.click(**fill(apply_fix)).success(None, js=OWN, **QUIET)
    loaded = by_name(take_file, {"file": plan.load, "data": plan.data}, plan.filled)
    plan.load.upload(**loaded, **QUIET | SURVEY).success(None, js=OWN, **QUIET)
    shown = {**plan.filled, "measured": plan.measured}
    asked = by_name(ask, {"minutes": plan.minutes, **plan.values}, shown)
    waiting = by_name(forecast_view.begin_waiting, {}, {"minutes": plan.minutes})
    asking = plan.told.select(**asked, **MEASURE)
    asking.failure(None, js=IDLE, **QUIET)
    asking.success(None, js=ASKED_ENDS, **QUIET).then(**follow)
    plan.told.select(**waiting, **QUIET)
    plan.minutes.clear(forecast_view.cancel, None, None, **QUIET)


def build_command(demo: gr.Blocks, plan: PlanForm) -> gr.HTML:
    """Show the command line that does the same as a start with the settings as they stand."""
    box = command_box()
    show = by_name(show_command, plan.values, {"line": box})
    demo.load(**show, **QUIET)
    gr.on([plan.config.change, plan.data.change, plan.form.change], **show, **LATEST)
    return box
