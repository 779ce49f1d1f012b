"""Plans and forecasts: a child process measures this machine, the page waits and shows its answer.

Nothing is measured in the page itself: it would slow down everyone who looks at it.
"""

import functools
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from sd.common import validation
from sd.common.text import fill, format_bytes
from sd.config import Config, ini, preset_names
from sd.config.sections import TrainingConfig
from sd.runs import process
from sd.ui import uploads
from sd.ui.adapter import scratch
from sd.ui.components.events import Updates
from sd.ui.components.handlers import guarded, language, session
from sd.ui.components.html import paragraph, progress_bar, tags
from sd.ui.state import Recent, shared
from sd.ui.texts import TEXTS, duration, say
from sd.ui.train import settings
from sd.ui.train.form import Measurement, fill_fields
from sd.ui.train.report_view import count_chosen

DEVICES = ("auto", "cpu", "cuda", "mps")
LEAST_MINUTES, MOST_MINUTES = 1, 120
PLAN_SECONDS = 120.0  # until a child that measures is given up
KEPT_FIELDS = (*settings.PICTURE_SETTINGS, "kind")  # a plan is made for these
Answer = Mapping[str, Any]  # the child's JSON


class Cancelled(Recent[str, None]):
    """The open pages in which Cancel was pressed."""


def measuring_html(seconds: float, lang: str) -> Markup:
    """Return that the machine is being measured, and for how long."""
    return progress_bar([say("plan_measuring", lang, s=f"{seconds:.0f}")], None, state="measuring")


def forecast_html(answer: Answer, lang: str) -> Markup:
    """Return what was measured: time, steps, speed, memory."""
    forecast = answer["forecast"]
    times = {
        "time": duration(forecast["seconds"], lang),
        "steps": f"{forecast['steps']:,}",
        "speed": f"{forecast['pictures_per_second']:,.3g}",
    }
    memory = {key: format_bytes(forecast[key]) for key in ("memory", "available")}
    return paragraph(say("forecast_time", lang, **times), "facts") + paragraph(
        say("forecast_memory", lang, **memory)
    )


def reason_line(reason: Mapping[str, Any], lang: str) -> str:
    """Return one reason of a plan in words; what the tables do not know stays English."""
    line, key = str(reason.get("line", "")), f"why_{reason.get('kind')}"
    if lang != "en" and key in TEXTS["en"]:
        with suppress(KeyError, ValueError, IndexError):
            line = fill(say(key, lang), reason)
    return line


def plan_html(answer: Answer, minutes: float, lang: str) -> Markup:
    """Return a plan: for how long, what is expected of it, and why it is so."""
    title = paragraph(say("plan_planned", lang, minutes=f"{minutes:g}"), "heading")
    reasons = tags("li", (reason_line(each, lang) for each in answer["reasons"]))
    why = Markup("<details open><summary>{}</summary><ul>{}</ul></details>")
    shown = title + forecast_html(answer, lang)
    return shown + why.format(say("plan_why", lang), reasons) if reasons else shown


def ask(words: Sequence[str], lang: str) -> Iterator[Markup | Answer]:
    """Ask a child process: yield what to show while it measures, at last its answer."""
    began = time.monotonic()
    for answer in process.run_json(["plan", "--json", *words], PLAN_SECONDS):
        yield measuring_html(time.monotonic() - began, lang) if answer is None else answer


def count_pictures(data: str | None, training: TrainingConfig) -> list[str]:
    """Return what tells a plan how many pictures are trained on: none that are left out."""
    count = count_chosen(uploads.survey_of(data).report, training)
    return [f"--pictures={count}"] if count else []


def cancellable(handler: Callable[..., Generator[Updates, None, None]]) -> Callable[..., Any]:
    """Let a handler go on until it ends or the person cancels; a mistake leaves nothing shown."""

    @functools.wraps(handler)
    def steps(request: gr.Request, *args: Any, **kwargs: Any) -> Iterator[Updates]:
        nothing: Updates = {"answer": "", "measured": None, **show_buttons(False)}
        with closing(handler(request, *args, **kwargs)) as updates:
            try:
                for update in updates:
                    if session(request) in shared(Cancelled):
                        line = say("plan_cancelled", language(request))
                        yield nothing | {"answer": paragraph(line)}
                        return
                    yield update
            except Exception:
                yield nothing
                raise

    return steps


@guarded
@cancellable
def make_plan(
    request: gr.Request, plan_minutes: float, data: str | None, device: str, **values: object
) -> Generator[Updates, None, None]:
    """Plan for so many minutes: show how it goes, then fill the fields."""
    lang = language(request)
    minutes = validation.real("minutes", plan_minutes, 0.1, MOST_MINUTES)
    kind = settings.from_widget("kind", values["kind"])
    words = [f"--minutes={minutes:g}", f"--device={validation.choice('device', device, DEVICES)}"]
    words += [f"--set=conditioning.kind={ini.spell(kind)}"] if kind != "auto" else []
    chosen = settings.with_picture_settings(Config.preset("tiny"), values, ("classes",))
    words += count_pictures(data, chosen.training)
    for answer in ask([*words, "--", uploads.source_of(data)], lang):
        if isinstance(answer, str):
            yield {"answer": answer, **show_buttons(True)}
            continue
        base = Config.preset(validation.choice("preset", answer["preset"], preset_names()))
        planned = base.with_settings(answer["settings"])
        config = settings.with_picture_settings(planned, values, KEPT_FIELDS)
        measured = Measurement(config, data, plan_html(answer, minutes, lang))
        yield {**show_measured(measured), **fill_fields(config, data)}


@guarded
@cancellable
def make_forecast(
    request: gr.Request, data: str | None, device: str, **values: object
) -> Generator[Updates, None, None]:
    """Measure the settings of the fields: show how it goes, then what was found."""
    lang, config = language(request), settings.require_config(values)
    device = validation.choice("device", device, DEVICES)
    with tempfile.TemporaryDirectory(prefix=scratch.PLAN) as place:
        file = Path(place) / "settings.ini"
        file.write_text(config.to_ini(), encoding="utf-8")
        words = ["--config", str(file), f"--device={device}"]
        words += [*count_pictures(data, config.training), "--", uploads.source_of(data)]
        for answer in ask(words, lang):
            if isinstance(answer, str):
                yield {"answer": answer, **show_buttons(True)}
            else:
                heading = paragraph(say("plan_measured", lang), "heading")
                measured = Measurement(config, data, heading + forecast_html(answer, lang))
                yield show_measured(measured)


@guarded
def show_measuring(request: gr.Request) -> Updates:
    """Show that the machine will be measured; another's measurement may have to end first."""
    shared(Cancelled).pop(session(request), None)
    answer = measuring_html(0, language(request))
    return {"answer": answer, "measured": None, **show_buttons(True)}


def show_measured(measured: Measurement) -> Updates:
    """Show what was measured, and keep for which plan it was."""
    return {"answer": measured.answer, "measured": measured, **show_buttons(False)}


def show_buttons(measuring: bool) -> Updates:
    """Show Cancel while the machine is measured, else what starts a measurement."""
    idle = gr.update(visible=not measuring)
    return {"go": idle, "measure": idle, "stop": gr.update(visible=measuring)}


def cancel(request: gr.Request) -> None:
    """Ask what this page has measured to end."""
    shared(Cancelled)[session(request)] = None
