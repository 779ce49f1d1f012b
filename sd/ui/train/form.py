"""From the fields to the plan and back, and everything that follows from a plan.

All fields together are the plan. After each change they are read into one `Config`; whatever
describes the plan follows from that and the pictures alone.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

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
from sd.ui.components.handlers import guarded, language
from sd.ui.texts import say
from sd.ui.train import advice, config_view, pictures, report_view, settings


@dataclass(frozen=True)
class PlanForm:
    """The controls of a plan, and what the server keeps of it for one page."""

    fields: dict[str, settings.Field]  # one for each key of the settings
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
    data: gr.State  # the handle of the pictures
    config: gr.State  # the settings of the fields when they were last without a fault
    measured: gr.State  # `Measurement`, or None

    @property
    def values(self) -> dict[str, Component]:
        """What the settings are read from."""
        return {"data": self.data, **self.fields}

    @property
    def filled(self) -> dict[str, Component]:
        """What `fill_fields` changes."""
        return {
            **self.fields,
            "config": self.config,
            "fault": self.fault,
            "preset": self.preset,
        }


class Views(NamedTuple):
    """What follows from the settings and the pictures."""

    summary: gr.HTML
    levels: gr.HTML
    schedule_check: gr.HTML
    remarks: gr.HTML
    leak: gr.HTML
    conditioning: gr.HTML
    cut: gr.HTML
    preview: gr.Image
    caption: gr.HTML
    save: gr.HTML
    answer: gr.HTML


@dataclass(frozen=True)
class Measurement:
    """What this machine was measured to take, and for which settings and pictures."""

    config: Config
    data: str | None
    answer: Markup


@guarded
def read_fields(data: str | None, **values: object) -> Updates:
    """Read the fields; return the settings, and what is wrong beside its field."""
    config, faults = settings.read_config(values)
    if config is not None and not faults:
        faults = find_picture_faults(data, config)
    shown: Updates = {"fault": fault_html(faults)}
    return shown if config is None or faults else {"config": config, **shown}


def find_picture_faults(data: str | None, config: Config) -> dict[str, str]:
    """Return key -> line for what of the settings the pictures do not have."""
    try:
        pictures.check_choices(data, config)
    except InputError as error:
        return {settings.key_of_message(str(error)): str(error)}
    return {}


def fault_html(faults: dict[str, str]) -> Markup:
    """Return the first fault as a line, and style that shows each beside its own field.

    Settings that cannot be are not kept either: the link would save those before them.
    """
    if not faults:
        return Markup()
    rule = Markup(
        "#set-{0} input, #set-{0} .wrap-inner {{ border-color: var(--sd-warn) !important; }}"
        "#set-{0}::after {{ content: {1}; }}"
    )
    rules = [rule.format(key, css_string(line)) for key, line in faults.items() if key]
    return Markup(
        "<style>{}#plan-save {{ visibility: hidden; }}</style>"
        '<p class="warning" role="alert">{}</p>'
    ).format(Markup("").join(rules), next(iter(faults.values())))


def css_string(line: str) -> Markup:
    """Return a text as a string of CSS in which nothing but letters and digits stands plain."""
    escaped = re.sub(r"[^A-Za-z0-9]", lambda found: f"\\{ord(found[0]):06x}", line)
    return Markup('"{}"').format(escaped)


def fill_fields(config: Config, data: str | None) -> Updates:
    """Return what puts settings into the fields.

    What of the U-Net follows from the kind is left open, so that another kind may be chosen.
    Classes that the pictures do not have are in sight, so that they can be taken off.
    """
    config = unresolve_conditioning(config)
    fields = {key: gr.update(value=value) for key, value in settings.widget_values(config).items()}
    if config.training.classes:
        fields["classes"]["visible"] = True
    faults = settings.find_faults(config) or find_picture_faults(data, config)
    preset = settings.find_nearest_preset(config)
    return {**fields, "config": config, "fault": fault_html(faults), "preset": preset}


@guarded
def take_preset(preset: str, data: str | None, **values: object) -> Updates:
    """Take a preset, with the chosen classes and the changes of the pictures."""
    base = settings.read_preset(validation.choice("preset", preset, preset_names()))
    filled = fill_fields(settings.with_picture_settings(base, values), data)
    return {name: value for name, value in filled.items() if name != "preset"}


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
    request: gr.Request, event: gr.EventData, data: str | None, **values: object
) -> Updates:
    """Apply the remedy of a remark about the plan; remarks are made anew."""
    config, faults = settings.read_config(values)
    if config is None:
        raise InputError(next(iter(faults.values())))
    remark = advice.pressed_remark(event, find_remarks(config, data))
    return fill_fields(config.with_settings(list(remark.fix)), data)


def find_remarks(config: Config, data: str | None) -> list[coach.Remark]:
    """Return what the coach tells of a plan."""
    found = uploads.survey_of(data).report
    return coach.review_plan(config, report_view.count_chosen(found, config.training), found)


def if_possible(view: Callable[..., Markup], *given: object) -> Markup:
    """Return a view of settings, or nothing where they cannot be."""
    try:
        return view(*given)
    except InputError:
        return Markup()


@guarded
def describe(
    config: Config, data: str | None, measured: Measurement | None, request: gr.Request
) -> Updates:
    """Return everything that follows from the settings and the pictures."""
    lang = language(request)
    found, remarks = uploads.survey_of(data), find_remarks(config, data)
    beside = [each for each in remarks if each.kind in config_view.PICTURE_REMARKS]
    count = report_view.count_chosen(found.report, config.training)
    try:
        resolved = report_view.decide_conditioning(found.report, config)
    except InputError:  # shown beside its field, and by `conditioning`
        resolved = config
    # While new settings arrive field by field, they are others for a moment; then what was
    # measured is true again.
    is_measured = measured is not None and (measured.config, measured.data) == (config, data)
    others = [each for each in remarks if each not in beside]
    return {
        "summary": if_possible(config_view.summary_html, resolved, count, lang),
        "levels": if_possible(config_view.levels_html, resolved, lang),
        "schedule_check": config_view.schedule_check_html(config, lang),
        "remarks": advice.plan_remarks_html(others, lang),
        "leak": advice.plan_remarks_html(beside, lang),
        "conditioning": report_view.conditioning_html(found.report, config, lang),
        "cut": report_view.cut_html(found.report, config.training, lang),
        **pictures.show_preview(found, config, lang),
        "save": save_html(config, lang),
        "answer": measured.answer if measured is not None and is_measured else "",
    }


def save_html(config: Config, lang: str) -> Markup:
    """Return a link that keeps the settings as an ini file."""
    address = f"data:text/plain;charset=utf-8,{quote(config.to_ini())}"
    link = Markup('<a class="save" download="settings.ini" href="{}">{}</a>')
    return link.format(address, say("settings_save", lang))
