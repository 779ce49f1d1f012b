"""Plans and forecasts: a child process measures this machine, the page waits and shows its answer.

Nothing is measured in the page itself: it would slow down everyone who looks at it.
"""

import functools
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from markupsafe import Markup

from sd.common import validation
from sd.common.text import fill, format_bytes
from sd.common.validation import InputError
from sd.config import Config, ini, preset_names
from sd.config.sections import AUTO_START, TrainingConfig
from sd.runs import process
from sd.training.planning import speed
from sd.ui import models, state, uploads
from sd.ui.adapter import scratch
from sd.ui.components.events import Updates
from sd.ui.components.fields import Values
from sd.ui.components.handlers import guarded, session
from sd.ui.components.html import paragraph, tags
from sd.ui.state import Recent, shared
from sd.ui.texts import TEXTS, duration, say
from sd.ui.train.planning import settings
from sd.ui.train.planning.minutes import TILES
from sd.ui.train.report_view import count_chosen

if TYPE_CHECKING:
    from sd.data.reading.report import Report

PLAN_SECONDS = 120.0  # until a child that measures is given up
UNENCODED = ("shift", "rotation", "brightness")  # changes of pictures that no latents have
KEPT_FIELDS = (*settings.PICTURE_SETTINGS, "kind")  # a plan is made for these
Answer = dict[str, Any]  # the child's JSON, or meanwhile what is shown


@dataclass(frozen=True)
class Measurement:
    """What this machine was measured to take, and for which settings and pictures."""

    config: Config
    data: str | None
    answer: Markup


class Cancelled(Recent[str, None]):
    """The open pages in which Cancel was pressed."""


def measuring(seconds: float, lang: str) -> Updates:
    """Return that the machine is being measured, and for how long."""
    return busy(say("plan_measuring", lang, s=f"{seconds:.0f}"))


def busy(line: str | None) -> Updates:
    """Return what the button shows of its work; None: it has ended."""
    return {"minutes": {"busy": {"line": line} if line else None}}


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
    """Return a plan: for how long, what is expected of it, and why it is so in one line."""
    title = paragraph(say("plan_planned", lang, minutes=f"{minutes:g}"), "heading")
    first, *others = [reason_line(each, lang) for each in answer["reasons"]] or [""]
    shown = title + forecast_html(answer, lang)
    if not first:
        return shown
    why = Markup("<details><summary>{}</summary><ul>{}</ul></details>")
    return shown + why.format(first, tags("li", others))


def ask(words: Sequence[str], lang: str) -> Iterator[Answer]:
    """Ask a child process: yield what to show while it measures, at last its answer."""
    began = time.monotonic()
    for answer in process.run_json(["plan", "--json", *words], PLAN_SECONDS):
        yield measuring(time.monotonic() - began, lang) if answer is None else answer


def count_pictures(data: str | None, training: TrainingConfig) -> list[str]:
    """Return what tells a plan how many pictures are trained on: none that are left out."""
    count = count_chosen(uploads.survey_of(data).report, training)
    return [f"--pictures={count}"] if count else []


def cancellable(handler: Callable[..., Generator[Updates, None, None]]) -> Callable[..., Any]:
    """Let a handler go on until it ends or the person cancels; a mistake leaves nothing shown."""

    @functools.wraps(handler)
    def steps(request: gr.Request, *args: Any, **kwargs: Any) -> Iterator[Updates]:
        with closing(handler(request, *args, **kwargs)) as updates:
            try:
                for update in updates:
                    if session(request) in shared(Cancelled):
                        yield busy(None)
                        return
                    yield update
            except Exception:
                yield busy(None)
                raise

    return steps


def plan_for(
    minutes: float, data: str | None, values: Values, lang: str
) -> Generator[Updates, None, Measurement]:
    """Yield what to show while the machine is measured; return what is best trained on it."""
    state.home().check_minutes(minutes)
    kind = settings.from_widget("kind", values["kind"])
    words = [f"--minutes={minutes:g}", f"--device={read_device(values)}"]
    words += [f"--set=conditioning.kind={ini.spell(kind)}"] if kind != "auto" else []
    chosen = settings.with_picture_settings(Config.preset("tiny"), values)
    if any(getattr(chosen.training, change) for change in UNENCODED):
        words.append("--first-stage=pixels")
    if chosen.training.flip:
        words.append("--set=training.flip=True")
    if (start := settings.find_start(chosen)) is not None:
        words.append(f"--from={start}")
    elif chosen.training.start_from is not None:
        words.append(f"--from={AUTO_START}")
    words += count_pictures(data, chosen.training)
    for answer in ask([*words, "--", uploads.source_of(data)], lang):
        if "preset" not in answer:
            yield answer
            continue
        base = Config.preset(validation.choice("preset", answer["preset"], preset_names()))
        planned = base.with_settings(answer["settings"])
        config = settings.with_picture_settings(planned, values, KEPT_FIELDS)
        machine = answer["forecast"].get("machine")
        speed.keep(state.home().measured, str(machine), answer.get("measured"))
        return Measurement(config, data, plan_html(answer, minutes, lang))
    raise InputError("the machine was not measured")


def forecast_of(
    config: Config, data: str | None, values: Values, lang: str
) -> Generator[Updates, None, Measurement]:
    """Yield what to show while the machine is measured; return what these settings take on it."""
    with tempfile.TemporaryDirectory(prefix=scratch.PLAN) as place:
        file = Path(place) / "settings.ini"
        file.write_text(config.to_ini(), encoding="utf-8")
        words = ["--config", str(file), f"--device={read_device(values)}"]
        words += [*count_pictures(data, config.training), "--", uploads.source_of(data)]
        for answer in ask(words, lang):
            if "forecast" not in answer:
                yield answer
                continue
            heading = paragraph(say("plan_measured", lang), "heading")
            return Measurement(config, data, heading + forecast_html(answer, lang))
    raise InputError("the machine was not measured")


def read_device(values: Values) -> str:
    """Return the device that the form names."""
    return validation.choice("device", values["device"], settings.DEVICES)


def expected_steps(report: "Report", config: Config, lang: str) -> dict[str, str]:
    """Return minutes -> about how many steps they are, once this machine has been measured."""
    machine = models.machine()
    known = speed.read(state.home().measured, machine.label)
    if not known:
        return {}
    from sd.training.planning import forecast
    from sd.training.planning.planner import PictureStats, expect_steps

    measured = {place: forecast.Measurement(**times) for place, times in known.items()}
    sides = sorted(
        side for size, count in report.sizes.items() for side in [min(size)] * min(count, 1000)
    )
    grey = all(mode in ("1", "L", "LA") for mode in report.modes)
    count = count_chosen(report, config.training)
    stats = PictureStats(
        max(1, count),
        sides[len(sides) // 2] if sides else 0,
        1 if grey else 3,
        min(report.captions, count),
        len(report.classes),
    )
    kind, flip = config.conditioning.kind, config.training.flip
    try:
        steps = {each: expect_steps(each, stats, machine, measured, kind, flip) for each in TILES}
    except InputError:
        return {}
    return {str(each): say("steps_about", lang, n=f"{rounded(n):,}") for each, n in steps.items()}


def rounded(steps: int) -> int:
    """Return a number of steps in two digits, as well as it is known."""
    return round(steps, min(0, 2 - len(str(steps))))


@guarded
def begin_waiting(request: gr.Request) -> Updates:
    """Forget that the page cancelled before; another's measurement may have to end first.

    The browser shows that it waits by itself.
    """
    shared(Cancelled).pop(session(request), None)
    return {}


def cancel(request: gr.Request) -> None:
    """Ask what this page has measured to end."""
    shared(Cancelled)[session(request)] = None
