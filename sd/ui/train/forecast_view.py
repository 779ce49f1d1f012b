"""Plans and forecasts: a child process measures this machine, the page waits and tells the answer.

Nothing is measured in the page itself: it would slow down everyone who looks at it.
"""

import html
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import gradio as gr

from sd.common import validation
from sd.common.text import format_count
from sd.config import Config, ini, preset_names
from sd.runs import process
from sd.ui import uploads
from sd.ui.adapter import scratch
from sd.ui.components.handlers import guarded, language, session
from sd.ui.state import Recent, shared
from sd.ui.texts import TEXTS, duration, say
from sd.ui.train import settings
from sd.ui.train.form import fill_fields, leave_fields, measured_key

DEVICES = ("auto", "cpu", "cuda", "mps")
LEAST_MINUTES, MOST_MINUTES = 1, 120
PLAN_SECONDS = 120.0  # until a child that measures is given up
KEPT_FIELDS = (*settings.PICTURE_SETTINGS, "kind")  # of the fields: a plan is made for what is told
Answer = Mapping[str, Any]
Steps = Generator[tuple[Any, ...], None, None]


class Cancelled(Recent[str, None]):
    """The open pages in which Cancel was pressed."""


def measuring_html(seconds: float, lang: str) -> str:
    """Return that the machine is being measured, and for how long."""
    line = say("plan_measuring", lang, s=f"{seconds:.0f}")
    return f'<div class="progress measuring"><p><span>{line}</span></p></div>'


def forecast_html(answer: Answer, lang: str) -> str:
    """Return what was measured: time, steps, speed, memory."""
    told = answer["forecast"]
    times = {
        "time": html.escape(duration(told["seconds"], lang)),
        "steps": f"{told['steps']:,}",
        "speed": f"{told['pictures_per_second']:,.3g}",
    }
    memory = {key: format_count(told[key], "B") for key in ("memory", "available")}
    return (
        f'<p class="facts">{say("forecast_time", lang, **times)}</p>'
        f'<p class="note">{say("forecast_memory", lang, **memory)}</p>'
    )


def reason_html(told: Mapping[str, Any], lang: str) -> str:
    """Return one reason of a plan in words; what the tables do not know stays English."""
    line, key = str(told.get("line", "")), f"why_{told.get('kind')}"
    if lang != "en" and key in TEXTS["en"]:
        with suppress(KeyError, ValueError, IndexError):
            line = say(key, lang).format(**told)
    return html.escape(line, quote=False)


def plan_html(answer: Answer, minutes: float, lang: str) -> str:
    """Return a plan: for how long, what is expected of it, and why it is so."""
    title = say("plan_planned", lang, minutes=f"{minutes:g}")
    reasons = "".join(f"<li>{reason_html(each, lang)}</li>" for each in answer["reasons"])
    why = f"<details open><summary>{say('plan_why', lang)}</summary><ul>{reasons}</ul></details>"
    return f'<p class="heading">{title}</p>{forecast_html(answer, lang)}{why if reasons else ""}'


def forecast_answer_html(answer: Answer, lang: str) -> str:
    """Return a forecast of settings that were chosen by hand."""
    return f'<p class="heading">{say("plan_measured", lang)}</p>{forecast_html(answer, lang)}'


def wait_for_answer(words: Sequence[str], lang: str) -> Iterator[str | dict[str, Any]]:
    """Ask a child process: yield what to show while it measures, at last its answer."""
    began = time.monotonic()
    for answer in process.run_json(["plan", "--json", *words], PLAN_SECONDS):
        yield measuring_html(time.monotonic() - began, lang) if answer is None else answer


def make_plan(request: gr.Request, minutes: Any, data: Any, device: Any, *fields: Any) -> Steps:
    """Plan for so many minutes: yield (told, what for, settings) until it is there."""
    lang, minutes = language(request), validation.real("minutes", minutes, 0.1, MOST_MINUTES)
    kind = settings.read_field("conditioning", "kind", fields)
    words = [f"--minutes={minutes:g}", f"--device={validation.choice('device', device, DEVICES)}"]
    words += [f"--set=conditioning.kind={ini.spell(kind)}"] if kind != "auto" else []
    for answer in wait_for_answer([*words, "--", uploads.source_of(data)], lang):
        if isinstance(answer, str):
            yield answer, gr.skip(), None
            continue
        base = Config.preset(validation.choice("preset", answer["preset"], preset_names()))
        config = settings.with_picture_settings(
            base.with_settings(answer["settings"]), fields, KEPT_FIELDS
        )
        told = plan_html(answer, minutes, lang)
        yield told, (measured_key(config, data), told), config


def make_forecast(request: gr.Request, data: Any, device: Any, *fields: Any) -> Steps:
    """Measure the settings of the fields: yield (told, what for) until it is there."""
    lang, config = language(request), settings.require_config(fields)
    device = validation.choice("device", device, DEVICES)
    with tempfile.TemporaryDirectory(prefix=scratch.PLAN) as place:
        file = Path(place) / "settings.ini"
        file.write_text(config.to_ini(), encoding="utf-8")
        words = ["--config", str(file), f"--device={device}", "--", uploads.source_of(data)]
        for answer in wait_for_answer(words, lang):
            if isinstance(answer, str):
                yield answer, gr.skip()
            else:
                told = forecast_answer_html(answer, lang)
                yield told, (measured_key(config, data), told)


@guarded
def show_measuring(request: gr.Request) -> list[Any]:
    """Show that the machine will be measured; another's measurement may have to end first."""
    shared(Cancelled).pop(session(request), None)
    return [measuring_html(0, language(request)), "", *show_buttons(True)]


@guarded
def fill_from_plan(request: gr.Request, *asked: Any) -> Iterator[list[Any]]:
    """Plan: tell how it goes, then fill the fields."""
    _, data, *_ = asked
    for told, told_of, config in until_cancelled(request, make_plan(request, *asked), 3):
        sent = fill_fields(config, data) if isinstance(config, Config) else leave_fields()
        yield [told, told_of, *show_buttons(not isinstance(told_of, str | tuple)), *sent]


@guarded
def show_forecast(request: gr.Request, *asked: Any) -> Iterator[list[Any]]:
    """Forecast the settings of the fields: tell how it goes, then what was found."""
    for told, told_of in until_cancelled(request, make_forecast(request, *asked), 2):
        yield [told, told_of, *show_buttons(not isinstance(told_of, str | tuple))]


def until_cancelled(request: gr.Request, steps: Steps, width: int) -> Iterator[tuple[Any, ...]]:
    """Yield the steps until they end or the person cancels; leave nothing behind on a mistake."""
    nothing = ("",) * width
    with closing(steps):
        try:
            for step in steps:
                if session(request) in shared(Cancelled):
                    line = say("plan_cancelled", language(request))
                    yield (f'<p class="note">{line}</p>', *nothing[1:])
                    return
                yield step
        except Exception:
            yield nothing
            raise


def show_buttons(is_busy: bool) -> list[Any]:
    """Return what the three buttons are while the machine is measured, or while it is not."""
    return [gr.update(visible=not is_busy)] * 2 + [gr.update(visible=is_busy)]


def cancel(request: gr.Request) -> None:
    """Ask what this page has measured to end."""
    shared(Cancelled)[session(request)] = None
