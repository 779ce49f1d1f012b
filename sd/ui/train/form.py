"""From the fields to the plan and back, and everything that follows from a plan.

All fields together are the plan. After each change they are read and written down as one ini text;
whatever describes the plan follows from that text and the pictures alone.
"""

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import gradio as gr

from sd.common import validation
from sd.common.validation import InputError
from sd.config import Config, ini, preset_names
from sd.config.conditioning_kind import unresolve_conditioning
from sd.config.unused import find_unused as unused_settings
from sd.training import coach
from sd.ui import uploads
from sd.ui.components.handlers import event_value, guarded, language
from sd.ui.texts import say
from sd.ui.train import pictures, report_view, settings, summary


class Views(NamedTuple):
    """What follows from the settings: as components, or as what is sent to them."""

    summary: Any
    levels: Any
    doctor: Any
    remarks: Any
    leak: Any
    conditioning: Any
    cut: Any
    sheet: Any
    caption: Any
    save: Any
    told: Any


@guarded
def read_fields(request: gr.Request, data: Any, *fields: Any) -> tuple[Any, str]:
    """Read the fields; return them as one ini text, and what is wrong beside its field."""
    config, faults = settings.read_config(fields)
    if config is not None and not faults:
        faults = find_picture_faults(data, config)
    text = gr.skip() if config is None or faults else config.to_ini()
    return text, fault_html(faults)


def find_picture_faults(data: Any, config: Config) -> dict[str, str]:
    """Return key -> line for what of the settings the pictures do not have."""
    try:
        pictures.check_choices(data, config)
    except InputError as error:
        return {settings.key_of_message(str(error)): str(error)}
    return {}


def fault_html(faults: dict[str, str]) -> str:
    """Return the first fault as a line, and style that shows each beside its own field.

    Settings that cannot be are not kept either: the link would save those before them.
    """
    if not faults:
        return ""
    rules = "".join(
        f"#set-{key} input, #set-{key} .wrap-inner {{ border-color: var(--sd-warn) !important; }}"
        f"#set-{key}::after {{ content: {css_string(line)}; }}"
        for key, line in faults.items()
        if key
    )
    line = html.escape(next(iter(faults.values())), quote=False)
    rules += "#plan-save { visibility: hidden; }"
    return f'<style>{rules}</style><p class="warning" role="alert">{line}</p>'


def css_string(line: str) -> str:
    """Return a text as a string of CSS in which nothing but letters and digits stands plain."""
    return '"' + re.sub(r"[^A-Za-z0-9]", lambda found: f"\\{ord(found[0]):06x}", line) + '"'


def fill_fields(config: Config, data: Any) -> list[Any]:
    """Return settings as what is sent to the fields, the ini text, the fault and the preset.

    What of the U-Net follows from the kind is left open, so that another kind may be chosen.
    Classes that the pictures do not have are in sight, so that they can be taken off.
    """
    config = unresolve_conditioning(config)
    values = [gr.update(value=value) for value in settings.widget_values(config)]
    if config.training.classes:
        values[settings.ORDER.index(("training", "classes"))]["visible"] = True
    faults = settings.find_faults(config) or find_picture_faults(data, config)
    return [*values, config.to_ini(), fault_html(faults), settings.find_nearest_preset(config)]


def leave_fields() -> list[Any]:
    """Return what leaves all that `loaded` sends as it is."""
    return [gr.skip()] * (len(settings.ORDER) + 3)


@guarded
def take_preset(name: Any, data: Any, *fields: Any) -> list[Any]:
    """Take a preset, with the chosen classes and the changes of the pictures."""
    base = settings.read_preset(validation.choice("preset", name, preset_names()))
    return fill_fields(settings.with_picture_settings(base, fields), data)[:-1]


@guarded
def take_file(file: Any, data: Any, request: gr.Request) -> list[Any]:
    """Take the settings of an ini file: one of ours, or the original's config_SD.ini."""
    if not isinstance(file, str):
        raise InputError("ini: give one file")
    config, lang = Config.read(file), language(request)
    said = [say("settings_loaded", lang, name=Path(file).name[:80]), *list_unused(config, lang)]
    gr.Info(html.escape(" ".join(said)), title="")
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
    for each in unused_settings(config):
        reason = say(f"unused_because_{each.reason}", lang)
        line = say("unused_setting", lang, name=each.key, value=each.value[:80], reason=reason)
        lines.append(line)
    return lines


@guarded
def take_proposal(wish: Any, data: Any) -> list[Any]:
    """Take the settings that the other half of the tab asks for."""
    if not isinstance(wish, dict):
        return leave_fields()
    return fill_fields(
        Config.from_ini(validation.text("ini", wish.get("ini"), ini.LARGEST_FILE)), data
    )


@guarded
def apply_fix(request: gr.Request, event: gr.EventData, data: Any, *fields: Any) -> list[Any]:
    """Apply the remedy of a remark about the plan; remarks are made anew."""
    config, faults = settings.read_config(fields)
    if config is None:
        raise InputError(next(iter(faults.values())))
    fixes = {each.kind: each.fix for each in find_remarks(config, data) if each.fix}
    kind = validation.choice("fix", event_value(event, "fix"), list(fixes) or ["(nothing to mend)"])
    return fill_fields(config.with_settings(list(fixes[kind])), data)


def find_remarks(config: Config, data: Any) -> list[coach.Remark]:
    """Return what the coach tells of a plan."""
    found = uploads.survey_of(data).report
    return coach.review_plan(config, report_view.count_chosen(found, config.training), found)


def measured_key(config: Config, data: Any) -> str:
    """Return a text that tells for which settings and pictures something was measured."""
    return f"{data}\n{config.to_ini()}"


def still_valid(told_of: Any, config: Config, data: Any) -> str:
    """Return what was measured if it was for these settings and pictures, else nothing.

    While new settings arrive field by field, they are others for a moment; so it comes back.
    """
    if isinstance(told_of, tuple) and told_of[0] == measured_key(config, data):
        return str(told_of[1])
    return ""


def if_possible(line: Callable[..., str], *facts: Any) -> str:
    """Return a line about settings, or nothing where they cannot be."""
    try:
        return line(*facts)
    except InputError:
        return ""


@guarded
def describe(request: gr.Request, text: Any, data: Any, told_of: Any) -> Views:
    """Return everything that follows from the settings and the pictures."""
    lang, config = language(request), Config.from_ini(text)
    found, told = uploads.survey_of(data), find_remarks(config, data)
    beside = [each for each in told if each.kind in summary.PICTURE_REMARKS]
    sheet, caption = pictures.show_preview(found, config, lang)
    count = report_view.count_chosen(found.report, config.training)
    try:
        settled = report_view.decide_conditioning(found.report, config)
    except InputError:  # told beside its field, and where `conditioning` is
        settled = config
    return Views(
        summary=if_possible(summary.summary_html, settled, count, lang),
        levels=if_possible(summary.levels_html, settled, lang),
        doctor=summary.schedule_check_html(config, lang),
        remarks=summary.remarks_html([each for each in told if each not in beside], lang),
        leak=summary.remarks_html(beside, lang),
        conditioning=report_view.conditioning_html(found.report, config, lang),
        cut=report_view.cut_html(found.report, config.training, lang),
        sheet=sheet,
        caption=caption,
        save=save_html(config, lang),
        told=still_valid(told_of, config, data),
    )


def save_html(config: Config, lang: str) -> str:
    """Return a link that keeps the settings as an ini file."""
    address = f"data:text/plain;charset=utf-8,{quote(config.to_ini())}"
    words = say("settings_save", lang)
    return f'<a class="save" download="settings.ini" href="{address}">{words}</a>'
