"""The coach's sentences about a run, and the one click that takes a remedy into the plan."""

import html
import time
from pathlib import Path
from typing import Any

import gradio as gr

from sd import runs
from sd.common import validation
from sd.config import Config
from sd.training import coach
from sd.ui import state
from sd.ui.components.handlers import event_value, guarded, language
from sd.ui.texts import say

STEPS = "training.steps="
MOST_NOTICES = 2  # of a run's notices, the newest
# The buttons lie inside the sentences, so one listener for all tells which was pressed.


def read_config(folder: Path) -> Config:
    """Return a run's settings."""
    return Config.read(folder / runs.CONFIG)


def advice_html(folder: Path, resumable: bool, lang: str) -> str:
    """Return the coach's sentences with a button for what one click mends, then the notices."""
    items = []
    has_begun = (folder / runs.CONFIG).is_file()  # else its process is still importing
    for remark in coach.review_run(read_config(folder), runs.events(folder)) if has_begun else ():
        line = html.escape(say(remark.key, lang).format(**remark.values), quote=False)
        items.append(f"<li>{line}{fix_button(remark, resumable, lang)}</li>")
    for notice in runs.notices(folder)[-MOST_NOTICES:]:
        if notice.get("kind") != "skipped":  # the coach tells of those
            items.append(f'<li class="notice">{html.escape(str(notice.get("line", "")))}</li>')
    if not items:
        return ""
    return f'<p class="heading">{say("coach_title", lang)}</p><ul>{"".join(items)}</ul>'


def fix_button(remark: coach.Remark, resumable: bool, lang: str) -> str:
    """Return the button for a remark's remedy, if it has one: to train on, or to plan anew."""
    if not remark.fix:
        return ""
    steps = requested_steps(remark) if resumable else None
    if steps:
        words = say("train_to", lang, steps=f"{steps:,}")
    else:
        words = say("fix", lang, settings=format_settings(remark.fix))
    button = f'<button class="fix" type="button" data-fix="{html.escape(remark.kind)}">'
    return f" {button}{html.escape(words)}</button>"


def requested_steps(remark: coach.Remark) -> int | None:
    """Return the steps in all that a remark asks for, if it asks for nothing else."""
    setting = remark.fix[0] if len(remark.fix) == 1 else ""
    return int(setting.removeprefix(STEPS)) if setting.startswith(STEPS) else None


def format_settings(fix: tuple[str, ...]) -> str:
    """Return settings as they are shown: key = value."""
    return ", ".join(setting.partition(".")[2].replace("=", " = ") for setting in fix)


@guarded
def apply_fix(name: Any, request: gr.Request, event: gr.EventData) -> Any:
    """Do what a remark's button says; the remarks are made anew, so no settings come from outside.

    A run that only needs more steps is resumed. Else its settings with the remedy are returned for
    the plan, as a dict of the ini's text and the time.
    """
    folder, lang = state.home().find_run(name), language(request)
    config, status = read_config(folder), runs.status(folder)
    mended = {each.kind: each for each in coach.review_run(config, runs.events(folder)) if each.fix}
    remark = mended[
        validation.choice("fix", event_value(event, "fix"), list(mended) or ["(nothing to mend)"])
    ]
    steps = requested_steps(remark) if status.resumable else None
    if steps:
        runs.resume(state.home(), folder, steps)
        return gr.skip()
    gr.Info(say("fixed", lang, settings=html.escape(format_settings(remark.fix))), title="")
    return {"ini": config.with_settings(list(remark.fix)).to_ini(), "at": time.time()}
