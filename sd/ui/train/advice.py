"""The coach's sentences about a plan or a run, with a button for what one click fixes."""

from collections.abc import Callable, Iterable
from pathlib import Path

import gradio as gr
from markupsafe import Markup, escape

from sd import runs
from sd.common import validation
from sd.config import Config
from sd.training import coach
from sd.training.coach import Remark
from sd.ui.components.handlers import event_value
from sd.ui.components.html import tags
from sd.ui.mistakes import translate
from sd.ui.texts import TEXTS, say

STEPS = "training.steps="
MOST_NOTICES = 2  # of a run's notices, the newest


def read_config(folder: Path) -> Config:
    """Return a run's settings."""
    return Config.read(folder / runs.CONFIG)


def run_remarks(folder: Path, status: runs.Status, lang: str) -> list[dict[str, str]]:
    """Return what is told of a run, one line after another: good news first, its notices last.

    Each is {"line": ...} and, where one click mends it, {"fix": its kind, "button": what it does}.
    """
    has_begun = (folder / runs.CONFIG).is_file()  # else its process is still importing
    remarks = coach.tell_run(read_config(folder), runs.events(folder)) if has_begun else []
    told = [remark_json(each, status.resumable, lang) for each in remarks]
    for notice in runs.notices(folder)[-MOST_NOTICES:]:
        if notice.get("kind") != "skipped":  # the coach tells of those
            told.append({"line": translate(str(notice.get("line", "")), lang)})
    return told


def remark_json(remark: Remark, is_resumable: bool, lang: str) -> dict[str, str]:
    """Return a remark on a run, with the button that mends it."""
    line = {"line": say(remark.key, lang, **remark.values)}
    if not remark.fix:
        return line
    steps = requested_steps(remark) if is_resumable else None
    button = say("train_to", lang, steps=f"{steps:,}") if steps else fix_words(remark, "fix", lang)
    return {**line, "fix": remark.kind, "button": button}


def plan_remarks_html(remarks: Iterable[Remark], lang: str) -> Markup:
    """Return remarks on a plan."""

    def button(remark: Remark) -> str:
        return fix_words(remark, "plan_mend", lang)

    items = tags("li", (remark_html(each, button, lang) for each in remarks))
    return tags("ul", [items]) if items else items


def fix_words(remark: Remark, usual: str, lang: str) -> str:
    """Return what the button of a remark says: its own words, or `usual` with the settings."""
    own = f"mend_{remark.kind}"
    if own in TEXTS["en"]:
        return say(own, lang)
    return say(usual, lang, settings=format_settings(remark.fix, lang))


def remark_html(remark: Remark, button: Callable[[Remark], str], lang: str) -> Markup:
    """Return a remark; if settings fix what it tells of, with a button that says so."""
    line = escape(say(remark.key, lang, **remark.values))
    if not remark.fix:
        return line
    return line + Markup(' <button class="fix" type="button" data-fix="{}">{}</button>').format(
        remark.kind, button(remark)
    )


def pressed_remark(event: gr.EventData, remarks: Iterable[Remark]) -> Remark:
    """Return the remark whose button was pressed, of those that can be fixed."""
    fixable = {each.kind: each for each in remarks if each.fix}
    kind = event_value(event, "fix")
    return fixable[validation.choice("fix", kind, list(fixable) or ["(nothing to mend)"])]


def requested_steps(remark: Remark) -> int | None:
    """Return the steps in all that a remark asks for, if it asks for nothing else."""
    setting = remark.fix[0] if len(remark.fix) == 1 else ""
    return int(setting.removeprefix(STEPS)) if setting.startswith(STEPS) else None


def format_settings(fix: tuple[str, ...], lang: str) -> str:
    """Return settings as they are shown: key = value."""
    words = (setting.partition(".")[2].replace("=", " = ") for setting in fix)
    return say("between_clauses", lang).join(words)
