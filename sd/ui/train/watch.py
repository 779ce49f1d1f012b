"""What the Train tab shows of a run: progress, samples, curves, advice. Read from files alone.

The page is one component of its own (`train.js`). While it is in sight it asks once a second, with
what it shows already; only what is new is sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from sd import runs
from sd.common import validation
from sd.common.text import format_bytes
from sd.config.sections import MOST_STEPS
from sd.runs.run import may_live
from sd.ui import state
from sd.ui.components import curves
from sd.ui.components.events import Updates
from sd.ui.components.fields import words
from sd.ui.components.handlers import event_value, guarded, language
from sd.ui.components.html import paragraph
from sd.ui.components.tools import ICONS
from sd.ui.hosting import zero_gpu
from sd.ui.mistakes import translate
from sd.ui.texts import duration, say
from sd.ui.train import control, gpu, samples
from sd.ui.train.advice import read_config, run_remarks

AUTOENCODER = "autoencoder"  # of the curves: how it was trained, where a run trained one
CURVES = ("loss", "rate", "gradient", "speed", "t", "course", AUTOENCODER)
LEVELS = ("t", "course")  # of the curves: those of the loss per noise level
TOOLS = {"samples": "picture", "nearest": "pair", "loss": "down", "coach": "speech", "save": "save"}
SOON = 15.0  # seconds that are no wait
ENDED = ("stopped", "finished", "failed", "lost")
STATIC = (  # the words that the browser puts together itself
    *(f"run_{tool}" for tool in TOOLS),
    *(f"view_{view}" for view in samples.VIEWS),
    *(f"curve_{curve}" for curve in CURVES),
    *(f"bundle_as_{form}" for form in control.FORMS),
    *(
        "pause",
        "go_on",
        "stop",
        "leave",
        "leave_sure",
        "resume",
        "further",
        "further_field",
        "on_gpu",
    ),
    *("draw_with", "sample_now", "save_now", "open_bundle", "bundle_whole", "bundle_as"),
    *("download", "run", "run_tools", "view", "curve", "film_play", "film_hold", "timeline"),
    *("timeline_all", "timeline_step", "timeline_noise", "progress_alt", "samples_alt"),
    *("enlarge", "close", "next_line", "no_line", "kept_until"),
)
ON_LOAD = "sdTrain.mount(element, props, { trigger, watch, upload });"
BLANK = '<div class="run-panel"></div>'  # never changes, so gradio never touches what is in it


def panel() -> gr.HTML:
    """Show the run that is watched, with all that looks at it and steers it."""
    return gr.HTML(
        html_template=BLANK,
        js_on_load=ON_LOAD,
        apply_default_css=False,
        elem_id="train-run",
        elem_classes="run",
        words={key: words(key) for key in STATIC},
        tools=[[tool, ICONS[icon]] for tool, icon in TOOLS.items()],
        curves=list(CURVES),
        forms=list(control.FORMS),
    )


@dataclass(frozen=True)
class Look:
    """What the browser shows, and what a person wants to see.

    run: "" where nothing is shown yet. asked: what its address names. pulse, drawn, steps: what it
    has of the run already, of the open tool, and of the samples. step: of the samples in sight, 0
    for the noise that they begin from; None follows the newest.
    """

    run: str = ""
    asked: str = ""
    by_page: bool = True  # no person chose this run
    pulse: str = ""
    drawn: str = ""
    steps: tuple[int, ...] = ()
    step: int | None = None
    tool: str = "samples"
    view: str = samples.AVERAGED
    curve: str = "loss"


def read_look(event: gr.EventData) -> Look:
    """Return what a browser sent of itself; raise `InputError` for what it cannot be."""

    def text(name: str) -> str:
        value = event_value(event, name)
        return "" if value in (None, "") else validation.text(name, value, samples.LONGEST_KEY)

    def word(name: str, allowed: Sequence[str]) -> str:
        value = event_value(event, name)
        return allowed[0] if value is None else validation.choice(name, value, allowed)

    steps, step = event_value(event, "steps") or [], event_value(event, "step")
    validation.whole("number of steps", len(steps) if isinstance(steps, list) else -1, 0, 1000)
    return Look(
        run=text("run"),
        asked=text("asked"),
        by_page=validation.flag("by_page", event_value(event, "by_page") is not False),
        pulse=text("pulse"),
        drawn=text("drawn"),
        steps=tuple(validation.whole("step", each, 0, MOST_STEPS) for each in steps),
        step=None if step is None else validation.whole("step", step, 0, MOST_STEPS),
        tool=word("tool", tuple(TOOLS)),
        view=word("view", (samples.AVERAGED, samples.RAW)),
        curve=word("curve", CURVES),
    )


@guarded
def look(request: gr.Request, event: gr.EventData) -> Updates:
    """Show what is new of the run that is shown, or begin to show one."""
    return show(read_look(event), language(request))


def show(at: Look, lang: str) -> Updates:
    """Return what the browser lacks.

    Where the page chose the run, and it does not live, one that was started elsewhere is shown
    instead; so is another one where the run is gone.
    """
    name, by_page = control.choose_run(at.run, at.asked, at.by_page, lang)
    if not name:
        return {}
    folder = state.home().find_run(name)
    status = runs.status(folder)
    same = name == at.run
    grids = samples.thin_grids(runs.samples(folder))
    step = grids[-1].step if grids else 0
    if same and at.step in (0, *(grid.step for grid in grids)):
        step = at.step or 0
    pulse, key = pulse_of(status, folder), part_key(at, status, folder, step)
    if same and (pulse, key) == (at.pulse, at.drawn):
        return {}
    patch: dict[str, Any] = {"run": name, "by_page": by_page}
    if not same or pulse != at.pulse:
        patch |= {"pulse": pulse, "sheets": samples.sheets(grids, at.steps if same else ())}
        patch |= {"head": head(status, folder, lang), "coach": run_remarks(folder, status, lang)}
    if key != at.drawn:
        patch["part"] = {"key": key, **draw_part(at, status, folder, step, lang)}
    return {"panel": {"patch": patch}}


def pulse_of(status: runs.Status, folder: Path) -> str:
    """Return a short text that changes whenever anything shown of a run does."""
    count = runs.outline(folder).count
    line = place_text(folder, "en") if status.state == "waiting" else status.line
    return f"{status.state} {status.ingested} {count} {status.resumable} {line}"[:500]


def part_key(at: Look, status: runs.Status, folder: Path, step: int) -> str:
    """Return a short text that changes whenever what the open tool shows does."""
    rows = len(runs.first_stage(folder).steps)
    if at.tool == "loss":
        measured = len(runs.evaluations(folder))
        return f"loss {status.name} {at.curve} {status.step} {measured} {rows}"
    if at.tool in ("samples", "nearest"):
        usual = runs.baseline(folder) is not None
        return f"{at.tool} {status.name} {at.view} {step} {status.alive} {usual} {rows}"
    return at.tool


def draw_part(at: Look, status: runs.Status, folder: Path, step: int, lang: str) -> dict[str, Any]:
    """Return what the open tool shows: {"stage": markup, "note": markup, "src": a picture}."""
    if at.tool == "loss":
        of_autoencoder = at.curve == AUTOENCODER
        if (of_autoencoder or not status.step) and has_trained(folder):
            return {"stage": autoencoder_html(folder, lang)}
        curve = "loss" if of_autoencoder else at.curve
        stage = curve_html(folder, curve, lang)
        if curve not in LEVELS:
            stage += levels_html(folder, status, "t", lang)
        return {"stage": stage}
    if at.tool in ("samples", "nearest"):
        grid = next((each for each in runs.samples(folder) if each.step == step), None)
        return samples.draw(folder, grid, at.tool, at.view, status.alive, lang)
    return {}


def head(status: runs.Status, folder: Path, lang: str) -> dict[str, Any]:
    """Return the head of a run: its clock, its facts, its bar, what can be pressed."""
    is_bundled = state.home().is_bundled(folder)
    drawable = runs.saved_step(folder) > 0
    return {
        "state": status.state,
        "alive": status.alive,
        "at_work": status.alive and may_live(folder),
        "step": status.step,
        "big": big_word(status, lang),
        "seconds": status.seconds if status.state == "running" else None,  # the clock goes on
        "facts": [say("example_run", lang)] if is_bundled else all_facts(status, folder, lang),
        "kept": None if is_bundled else state.home().kept_until(),
        "share": share(status),
        "told": told(status, folder, lang),
        "verbs": [] if is_bundled else verbs(status),
        "primary": primary(status, drawable and not is_bundled),
        "drawable": drawable,
        "saveable": status.step > 0,
        "curves": [each for each in CURVES if each != AUTOENCODER or has_trained(folder)],
    }


def big_word(status: runs.Status, lang: str) -> str:
    """Return what stands first: how long training has gone, or that it has not begun or is done."""
    if status.state in (*ENDED, "starting", "waiting"):
        return say(f"big_{status.state}", lang)
    if status.seconds is None and status.step:
        return say("big_running", lang, step=f"{status.step:,}")
    return clock(status.seconds or 0)


def clock(seconds: float) -> str:
    """Return a length of time as a clock shows it: 1:50, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def facts(status: runs.Status, lang: str) -> list[str]:
    """Return a run's state in words: of how long, step, speed, memory in use."""
    step, total = f"{status.step:,}", f"{status.total:,}"
    if status.state == "starting" and status.ingested:
        done, count = (f"{number:,}" for number in status.ingested)
        return [say(f"state_{status.preparing or 'ingest'}", lang, done=done, total=count)]
    if status.state != "running":
        key = f"state_{status.state}"
        if status.state in ("stopped", "stopping", "pausing") and not status.step:
            key += "_early"
        line = translate(status.line, lang)
        told = [say(key, lang, step=step, total=total, line=line)]
        if status.state in ("stopped", "finished") and status.seconds and status.step:
            told.append(duration(status.seconds, lang))
        if status.state in ("failed", "lost") and status.resumable:
            told.append(say("resume_hint", lang))
        return told
    known = status.seconds is not None and status.seconds_left is not None
    if known:
        whole = clock((status.seconds or 0) + (status.seconds_left or 0))
        found = [say("of_time", lang, time=whole), say("at_step", lang, step=step)]
    else:
        key = "state_running" if status.step else "state_first_step"
        found = [say(key, lang, step=step, total=total)]
    if status.pictures_per_second:
        found.append(say("speed", lang, n=f"{status.pictures_per_second:,.0f}"))
    if status.device_memory_bytes:
        found.append(say("device_memory", lang, n=format_bytes(status.device_memory_bytes)))
    elif status.memory_bytes:
        found.append(format_bytes(status.memory_bytes))
    return found


def all_facts(status: runs.Status, folder: Path, lang: str) -> list[str]:
    """Return a run's facts, and while it trains an autoencoder how much of a picture that keeps.

    One that is over tells its name first: the left column is no longer its own.
    """
    if status.state in ENDED:
        return [folder.name, *facts(status, lang)]
    if status.state == "waiting":
        at_step = [say("at_step", lang, step=f"{status.step:,}")] if status.step else []
        return [place_text(folder, lang), *at_step]
    measured = [each for each in runs.first_stage(folder).psnr if each is not None]
    if status.preparing != "first_stage" or not measured:
        return facts(status, lang)
    return [*facts(status, lang), f"{measured[-1]:.1f} dB"]


def place_text(folder: Path, lang: str) -> str:
    """Return where a run stands in the line, and about how long it waits."""
    place = runs.find_place(state.home(), folder)
    if place is None or (place.number == 1 and place.seconds < SOON):
        return say("state_next", lang)
    ordinal = ordinal_text(place.number, lang)
    minutes = max(1, round(place.seconds / 60))
    return say("state_waiting", lang, place=ordinal, n=place.of, m=minutes)


def ordinal_text(number: int, lang: str) -> str:
    """Return a place in a line: 1st, 2nd, 3rd, 4th, 11th."""
    suffixes = say("ask_ordinals", lang).split()
    is_teen = number // 10 % 10 == 1
    last = 0 if is_teen or number % 10 >= len(suffixes) else number % 10
    return f"{number}{suffixes[last]}"


def has_trained(folder: Path) -> bool:
    """Tell whether a run has trained an autoencoder of its own, or tuned one."""
    return bool(runs.first_stage(folder).steps)


def share(status: runs.Status) -> float | None:
    """Return how much of a run is done, None where nothing goes on."""
    if not status.alive:
        return None
    if status.seconds is not None and status.seconds_left is not None:
        return min(1.0, status.seconds / max(status.seconds + status.seconds_left, 1e-9))
    done, total = status.ingested or (status.step, status.total)
    return min(1.0, done / max(total, 1))


def told(status: runs.Status, folder: Path, lang: str) -> str:
    """Return the line that is read aloud: it changes with the state and with new samples."""
    if status.state != "running":
        return " ".join(all_facts(status, folder, lang))
    shown = runs.samples(folder)
    if not shown:
        return say("state_running", lang, step=f"{min(status.step, 1)}", total=f"{status.total:,}")
    return say("samples_step", lang, step=f"{shown[-1].step:,}")


def verbs(status: runs.Status) -> list[str]:
    """Return what can be pressed beside the clock, in order."""
    can_rest = status.state in gpu.RESTING and status.step
    return [*usual_verbs(status), *(["on_gpu"] if can_rest and zero_gpu.is_lent() else [])]


def usual_verbs(status: runs.Status) -> list[str]:
    """Return what can be pressed of a run wherever it is trained."""
    by_state = {
        "waiting": ["pause", "stop"],
        "starting": ["pause", "stop"],
        "running": ["pause", "stop"],
        "pausing": ["go_on", "stop"],
        "paused": ["go_on", "stop"],
        "stopping": ["leave"],
    }
    if status.state in by_state:
        return by_state[status.state]
    if not status.resumable:
        return []
    ended = {"finished": ["further"], "stopped": ["resume", "further"]}
    return ended.get(status.state, ["resume"])


def primary(status: runs.Status, drawable: bool) -> str:
    """Return which button is the blue one, if any of a run's is."""
    if status.state in ("paused", "pausing"):
        return "go_on"
    if status.state in ("failed", "lost") and status.resumable:
        return "resume"
    return "draw" if drawable and status.state in ENDED else ""


def curve_html(folder: Path, which: str, lang: str) -> Markup:
    """Return one figure of a run's steps so far as a curve."""
    if which in LEVELS:
        return levels_html(folder, runs.status(folder), which, lang)
    past, name = runs.history(folder), say(f"curve_{which}", lang)
    last = past.steps[-1] if past.steps else 0
    feet = [(0.0, "0"), (1.0, say("at_step", lang, step=f"{last:,}"))]
    if which == "loss":
        alt = say("loss_alt", lang)
        return curves.loss_curve(past.steps, past.loss, last, name, alt, feet)
    columns = {"rate": past.lr, "gradient": past.grad_norm, "speed": past.pictures_per_second}
    log = which == "gradient"
    return curves.step_curve(past.steps, columns[which], last, name, log=log, feet=feet)


def autoencoder_html(folder: Path, lang: str) -> Markup:
    """Return the course of a run's own autoencoder: its loss, its PSNR, what it keeps."""
    past, name = runs.first_stage(folder), say("curve_loss", lang)
    feet = [(0.0, "0"), (1.0, say("at_step", lang, step=f"{past.total:,}"))]
    alt = say("loss_alt", lang)
    loss = curves.loss_curve(past.steps, past.loss, past.total, name, alt, feet)
    psnr = curves.step_curve(past.steps, past.psnr, past.total, "PSNR, dB", feet=feet)
    made = samples.reconstructions_image(folder) if runs.samples(folder) else None
    image = Markup('<img class="kept" src="{}" alt="{}">')
    kept = "" if made is None else image.format(made, say("reconstructions", lang))
    return loss + psnr + kept


def levels_html(folder: Path, status: runs.Status, which: str, lang: str) -> Markup:
    """Return the loss per noise level, or its course over the steps; a sentence where none is."""
    found = runs.evaluations(folder)
    if not found or (which == "course" and len(found) < 2):
        none = "levels_wait" if status.alive else "levels_none"
        return paragraph(say("levels_one" if found else none, lang))
    newest, names = found[-1], (say("levels_train", lang), say("levels_held", lang))
    held = mean(newest.held_out) if newest.held_out else "-"
    means = {"n": len(newest.times), "train": mean(newest.train), "held": held}
    alt = say("levels_alt", lang, step=f"{newest.step:,}", **means)
    if which == "course":
        last = newest.step
        feet = [(0.0, "0"), (1.0, say("at_step", lang, step=f"{last:,}"))]
        return curves.history_curve(found, last, names, alt, feet)
    T = read_config(folder).diffusion.timesteps
    return curves.level_curve(found, T, names, alt)


def mean(values: list[float]) -> str:
    """Return a mean in three digits."""
    return f"{sum(values) / len(values):.3g}"
