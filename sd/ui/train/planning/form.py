"""From the fields to the plan and back, and everything that follows from a plan.

All fields together are the plan. After each change they are read into one `Config`; whatever
describes the plan follows from that and the pictures alone.
"""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.components import Component
from markupsafe import Markup, escape

from sd.common import validation
from sd.common.validation import InputError
from sd.config import Config, preset_names
from sd.config.conditioning_kind import unresolve_conditioning
from sd.config.unused import find_unused
from sd.training import coach
from sd.ui import uploads
from sd.ui.components.events import Updates
from sd.ui.components.fields import Values, patch
from sd.ui.components.handlers import event_value, guarded, language
from sd.ui.texts import say
from sd.ui.train import advice, pictures, report_view
from sd.ui.train.planning import config_view, forecast_view, settings
from sd.ui.train.planning.forecast_view import Measurement

MANY = 10**6  # pictures, where nothing is known of them


@dataclass(frozen=True)
class PlanForm:
    """The left column, and what the server keeps of it for one page."""

    card: gr.HTML  # of the pictures
    minutes: gr.HTML  # the card that asks how long
    form: gr.HTML  # every setting, the seed and the device
    head: gr.HTML  # of the settings: groups and presets
    told: gr.HTML  # what follows from the settings
    load: gr.UploadButton
    data: gr.State  # the handle of the pictures
    title: gr.State  # what they are called
    config: gr.State  # the settings of the form when they were last without a fault
    measured: gr.State  # `Measurement`, or None

    @property
    def values(self) -> dict[str, Component]:
        """What the settings are read from."""
        return {"data": self.data, "form": self.form, "config": self.config}

    @property
    def filled(self) -> dict[str, Component]:
        """What `fill_fields` changes."""
        return {"form": self.form, "config": self.config, "minutes": self.minutes}


@guarded
def read_fields(data: str | None, form: Values | None, config: Config) -> Updates:
    """Read the form; return the settings, and what is wrong beside its field."""
    now, faults = settings.read_config(settings.values_of(form, config))
    if now is not None and not faults and data is not None:
        faults = find_picture_faults(data, now)
    shown: Updates = {"form": patch(faults=faults)}
    return shown if now is None or faults else {"config": now, **shown}


def find_picture_faults(data: str | None, config: Config) -> dict[str, str]:
    """Return key -> line for what of the settings the pictures do not have."""
    try:
        pictures.check_choices(data, config)
    except InputError as error:
        return {settings.key_of_message(str(error)): str(error)}
    return {}


def fill_fields(config: Config, data: str | None) -> Updates:
    """Return what puts settings into the form, to be trained as they stand.

    What of the U-Net follows from the kind is left open, so that another kind may be chosen.
    Classes that the pictures do not have are in sight, so that they can be taken off.
    """
    config = unresolve_conditioning(config)
    faults = settings.find_faults(config)
    if not faults and data is not None:
        faults = find_picture_faults(data, config)
    shown = {"classes": True} if config.training.classes else {}
    form = patch(settings.widget_values(config), shown=shown, faults=faults)
    return {"form": form, "config": config, "minutes": {"minutes": None}}


@guarded
def take_preset(
    event: gr.EventData, data: str | None, form: Values | None, config: Config
) -> Updates:
    """Take a preset, with the chosen classes and the changes of the pictures."""
    name = validation.choice("preset", event_value(event, "preset"), preset_names())
    base = settings.read_preset(name)
    return fill_fields(settings.with_picture_settings(base, settings.values_of(form, config)), data)


@guarded
def take_file(file: str | None, data: str | None, request: gr.Request) -> Updates:
    """Take the settings of an ini file: one of ours, or the original's config_SD.ini."""
    if not isinstance(file, str):
        raise InputError("ini: give one file")
    config, lang = Config.read(file), language(request)
    said = [say("settings_loaded", lang, name=Path(file).name[:80]), *list_unused(config, lang)]
    gr.Info(escape(" ".join(said)), title="")
    return fill_fields(config, data)


def list_unused(config: Config, lang: str) -> list[str]:
    """Return what is said of what the page understands and does not use.

    The two paths, the number of classes, which follows from the pictures, and what another setting
    makes pointless.
    """
    paths = {key: getattr(config.training, key) for key in ("dataset_path", "save_path")}
    lines = [say(f"unused_{key}", lang, path=path[:80]) for key, path in paths.items() if path]
    if config.unet.num_classes is not None:
        lines.append(say("unused_num_classes", lang, count=config.unet.num_classes))
    for each in find_unused(config):
        reason = say(f"unused_because_{each.reason}", lang)
        line = say("unused_setting", lang, name=each.key, value=each.value[:80], reason=reason)
        lines.append(line)
    return lines


@guarded
def apply_fix(
    event: gr.EventData, data: str | None, form: Values | None, config: Config
) -> Updates:
    """Apply the remedy of a remark about the plan; remarks are made anew."""
    now, faults = settings.read_config(settings.values_of(form, config))
    if now is None:
        raise InputError(next(iter(faults.values())))
    remark = advice.pressed_remark(event, find_remarks(now, data))
    return fill_fields(now.with_settings(list(remark.fix)), data)


def find_remarks(config: Config, data: str | None) -> list[coach.Remark]:
    """Return what the coach tells of a plan; without pictures, what holds for many."""
    if data is None:
        return coach.review_plan(config, MANY)
    found = uploads.survey_of(data).report
    return coach.review_plan(config, report_view.count_chosen(found, config.training), found)


@guarded
def describe(
    config: Config, data: str | None, measured: Measurement | None, request: gr.Request
) -> Updates:
    """Return everything that follows from the settings and the pictures."""
    lang, offered = language(request), settings.offer_models()
    # While new settings arrive, they are others for a moment; then what was measured is true again.
    is_measured = measured is not None and (measured.config, measured.data) == (config, data)
    answer = measured.answer if measured is not None and is_measured else Markup()
    remarks = advice.plan_remarks_html(find_remarks(config, data), lang)
    if data is None:
        told = config_view.told_html(config, MANY, Markup(), remarks, answer, lang)
        own = {"own": config_view.own_line(config, lang)}
        return {"told": told, "minutes": own, "form": offered}
    found = uploads.survey_of(data)
    count = report_view.count_chosen(found.report, config.training)
    learns = report_view.conditioning_html(found.report, config, lang)
    try:
        resolved = report_view.decide_conditioning(found.report, config)
    except InputError:  # shown beside its field, and by `learns`
        resolved = config
    return {
        "form": offered,
        "told": config_view.told_html(resolved, count, learns, remarks, answer, lang),
        "card": {"own": {"set": data, **pictures.look_of(data, found, config, lang)}},
        "minutes": {
            "own": config_view.own_line(config, lang),
            "ready": True,
            "steps": forecast_view.expected_steps(found.report, config, lang),
        },
    }
