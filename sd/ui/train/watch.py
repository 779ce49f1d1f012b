"""What the Train tab shows of a run: progress, samples, curves, advice. Read from files alone.

The page asks once a second for the run's pulse, one short text; only when that has changed are the
parts looked at, and only the parts that changed are sent.
"""

import html
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from sd import runs
from sd.common import validation
from sd.ui import state
from sd.ui.components import curves
from sd.ui.components.handlers import guarded, language
from sd.ui.texts import duration, say
from sd.ui.train import samples
from sd.ui.train.advice import advice_html, read_config

Seen = dict[str, Any]  # what the browser shows already, part by part

CURVES = ("loss", "rate", "gradient", "speed")
LEVELS = ("t", "course")
CONTROLS = ("pause", "go_on", "stop", "leave", "resume")
LIVE = ("starting", "running", "pausing", "paused")


class RunView(NamedTuple):
    """The parts of a run on the page; as components, or as what is sent to them."""

    progress: Any = gr.skip()
    picture: Any = gr.skip()
    pairs: Any = gr.skip()
    caption: Any = gr.skip()
    timeline: Any = gr.skip()
    meter: Any = gr.skip()
    advice: Any = gr.skip()
    curve: Any = gr.skip()
    levels: Any = gr.skip()
    start: Any = gr.skip()
    pause: Any = gr.skip()
    go_on: Any = gr.skip()
    stop: Any = gr.skip()
    leave: Any = gr.skip()
    resume: Any = gr.skip()
    sample: Any = gr.skip()
    save: Any = gr.skip()
    requests: Any = gr.skip()
    further: Any = gr.skip()
    bundle: Any = gr.skip()
    clock: Any = gr.skip()
    slow_clock: Any = gr.skip()
    seen: Any = gr.skip()


def progress_line(status: runs.Status, lang: str) -> str:
    """Return a run's state in words: step, speed, time left."""
    step, total = f"{status.step:,}", f"{status.total:,}"
    if status.state == "starting" and status.ingested:
        done, count = (f"{number:,}" for number in status.ingested)
        return say("state_reading", lang, done=done, total=count)
    line = html.escape(status.line)
    key = f"state_{status.state}"
    if status.state == "stopped" and not status.step:
        key = "state_stopped_early"
    words = [say(key, lang).format(step=step, total=total, line=line)]
    if status.state == "running" and status.pictures_per_second:
        words.append(say("speed", lang, n=f"{status.pictures_per_second:,.0f}"))
    if status.seconds_left is not None:
        words.append(say("left", lang, time=duration(status.seconds_left, lang)))
    if status.state == "running" and status.machine:
        words.append(html.escape(status.machine))
    return "</span><span>".join(words)


def progress_html(status: runs.Status | None, lang: str) -> str:
    """Return the progress line and its bar."""
    if status is None:
        return f'<div class="progress"><p><span>{say("no_run", lang)}</span></p></div>'
    done, total = status.ingested or (status.step, status.total)
    share = min(100.0, 100 * done / max(total, 1))
    return (
        f'<div class="progress {status.state}"><p><span>{progress_line(status, lang)}</span></p>'
        f'<div class="track" role="progressbar" aria-label="{say("progress_alt", lang)}"'
        f' aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share:.0f}">'
        f'<i style="width:{share:.1f}%"></i></div></div>'
    )


def curve_html(folder: Path, total: int, which: str, lang: str) -> str:
    """Return one figure of a run's steps as a curve."""
    past, name = runs.history(folder), say(f"curve_{which}", lang)
    if which == "loss":
        return curves.loss_curve(past.steps, past.loss, total, name, say("loss_alt", lang))
    columns = {"rate": past.lr, "gradient": past.grad_norm, "speed": past.pictures_per_second}
    return curves.step_curve(past.steps, columns[which], total, name, log=which == "gradient")


def levels_html(folder: Path, status: runs.Status, which: str, lang: str) -> str:
    """Return the loss per noise level, or its course over the steps; a sentence where none is."""
    found = runs.evaluations(folder)
    if not found or (which == "course" and len(found) < 2):
        none = "levels_wait" if status.alive else "levels_none"
        return f'<p class="note">{say("levels_one" if found else none, lang)}</p>'
    newest, names = found[-1], (say("levels_train", lang), say("levels_held", lang))
    held = mean(newest.held_out) if newest.held_out else "-"
    facts = {"n": len(newest.times), "train": mean(newest.train), "held": held}
    alt = say("levels_alt", lang, step=f"{newest.step:,}", **facts)
    if which == "course":
        return curves.course_curve(found, status.total, names, alt)
    return curves.level_curve(found, timesteps(folder), names, alt)


def mean(values: list[float]) -> str:
    """Return a mean in three digits."""
    return f"{sum(values) / len(values):.3g}"


def timesteps(folder: Path) -> int:
    """Return the T of a run's schedule."""
    return read_config(folder).diffusion.timesteps


def show_timeline(count: int, place: int) -> Any:
    """Return the slider over a run's samples, standing at `place`.

    It always runs from 0 to 1: gradio holds what a browser sends to the bounds of the run that the
    server showed last, which may be another one.
    """
    last = max(count - 1, 1)
    return gr.update(value=min(place, last) / last, step=1 / last, interactive=count > 1)


def to_index(share: Any, count: int) -> int:
    """Return the place among `count` samples at a share of the timeline."""
    return round(validation.real("place", share, 0.0, 1.0) * max(count - 1, 0))


def show_controls(status: runs.Status | None) -> dict[str, Any]:
    """Return what can be pressed: Start, one of Pause and Go on, one of Stop, Leave and Resume."""
    state = status.state if status else ""
    alive, resumable = bool(status and status.alive), bool(status and status.resumable)
    second = "go_on" if state in ("pausing", "paused") else "pause"
    third = "leave" if state == "stopping" else "stop"
    if resumable and state != "finished":
        third = "resume"
    shown = {name: gr.update(visible=name in (second, third)) for name in CONTROLS}
    shown["pause"]["interactive"] = state == "running"
    shown["stop"]["interactive"] = state in LIVE
    return {
        **shown,
        "start": gr.update(interactive=not alive or state == "paused"),
        "sample": gr.update(interactive=state in ("running", "paused")),
        "save": gr.update(interactive=state == "running"),
        "requests": gr.update(visible=alive),
        "further": gr.update(visible=resumable),
        "bundle": gr.update(visible=status is not None and status.step > 0),
        "clock": gr.update(active=alive),
        "slow_clock": gr.update(active=resumable),
    }


def pulse_of(status: runs.Status, folder: Path) -> str:
    """Return a short text that changes whenever anything shown of a run does."""
    return (
        f"{status.name} {status.state} {status.ingested} {runs.outline(folder).count} {status.line}"
    )


@guarded
def pulse(name: Any, seen: Any) -> Any:
    """Return the pulse of the run that is shown, or nothing new if it is what is seen."""
    if not name:
        return gr.skip()
    folder = state.home().find_run(name)
    now = pulse_of(runs.status(folder), folder)
    return gr.skip() if isinstance(seen, dict) and seen.get("pulse") == now else now


@guarded
def wake(name: Any) -> gr.Timer:
    """Let a clock go again, unless the run that is shown neither lives nor can live again."""
    status = runs.status(state.home().find_run(name)) if name else None
    return gr.Timer(active=bool(status and (status.alive or status.resumable)))


def changes_since(
    name: str, seen: Seen, share: float, view: str, curve: str, levels: str, lang: str
) -> RunView:
    """Return what has changed of run `name` since `seen`; the rest is left as it is."""
    folder = state.home().find_run(name)
    status, found = runs.status(folder), runs.samples(folder)
    measured = len(runs.evaluations(folder))
    keys: Seen = {
        "run": name,
        "pulse": pulse_of(status, folder),
        "samples": [sheet.step for sheet in found],
        "curve": [status.step, status.total],
        "levels": [measured, status.alive, status.total if levels == "course" else 0],
        "controls": [status.state, status.resumable, status.step > 0],
        "advice": advice_html(folder, status.resumable, lang),
    }
    same = seen.get("run") == name
    new = {part for part, key in keys.items() if not same or seen.get(part) != key}
    sent: dict[str, Any] = {"progress": progress_html(status, lang), "seen": keys}
    if "samples" in new or ("controls" in new and not found):
        shown = len(seen.get("samples", ())) if same else 0
        place, last = to_index(share, shown), max(0, len(found) - 1)
        place = last if place >= shown - 1 else place
        sheet = found[min(place, len(found) - 1)] if found else None
        sent |= show_grid(folder, sheet, view, status.alive, lang)
        sent["timeline"] = show_timeline(len(found), place)
    if "curve" in new:
        sent["curve"] = curve_html(folder, status.total, curve, lang)
    if "levels" in new:
        sent["levels"] = levels_html(folder, status, levels, lang)
    if "advice" in new:
        sent["advice"] = keys["advice"]
    if "controls" in new:
        sent |= show_controls(status)
    return RunView(**sent)


def show_grid(folder: Path, sheet: Any, view: str, alive: bool, lang: str) -> dict[str, Any]:
    """Return the samples as `view` wants them, their caption and the memorisation meter."""
    picture, pairs, caption = samples.show_samples(folder, sheet, view, lang)
    meter = samples.meter_html(sheet, samples.read_baseline(folder), alive, lang)
    return {"picture": picture, "pairs": pairs, "caption": caption, "meter": meter}


@guarded
def refresh(
    name: Any, seen: Any, place: Any, view: Any, curve: Any, levels: Any, request: gr.Request
) -> RunView:
    """Show the run that is chosen, as it is now."""
    lang = language(request)
    if not name:
        picture, pairs, caption = samples.show_samples(Path(), None, samples.AVERAGED, lang)
        shown = {"picture": picture, "pairs": pairs, "caption": caption, **show_controls(None)}
        return RunView(progress_html(None, lang), timeline=show_timeline(0, 0), seen={}, **shown)
    return changes_since(
        name,
        seen if isinstance(seen, dict) else {},
        validation.real("place", place, 0.0, 1.0),
        validation.choice("view", view, samples.VIEWS),
        validation.choice("curve", curve, CURVES),
        validation.choice("levels", levels, LEVELS),
        lang,
    )


@guarded
def scrub(name: Any, place: Any, view: Any, request: gr.Request) -> tuple[Any, ...]:
    """Show the samples at a place of the timeline: picture, pairs, caption, meter."""
    folder = state.home().find_run(name)
    view = validation.choice("view", view, samples.VIEWS)
    found = runs.samples(folder)
    sheet = found[to_index(place, len(found))] if found else None
    parts = show_grid(folder, sheet, view, runs.status(folder).alive, language(request))
    return tuple(parts.values())


@guarded
def draw_curve(name: Any, which: Any, request: gr.Request) -> str:
    """Show another figure over the steps."""
    folder, which = state.home().find_run(name), validation.choice("curve", which, CURVES)
    return curve_html(folder, runs.status(folder).total, which, language(request))


@guarded
def draw_levels(name: Any, which: Any, request: gr.Request) -> str:
    """Show the loss per noise level another way."""
    folder, which = state.home().find_run(name), validation.choice("levels", which, LEVELS)
    return levels_html(folder, runs.status(folder), which, language(request))
