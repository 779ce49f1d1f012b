"""What the Train tab shows of a run: progress, samples, curves, advice. Read from files alone.

The page asks once a second for the run's pulse, one short text; only when that has changed are the
parts looked at, and only the parts that changed are sent.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from sd import runs
from sd.common import validation
from sd.common.text import format_bytes
from sd.ui import state
from sd.ui.components import curves
from sd.ui.components.events import Updates
from sd.ui.components.handlers import guarded, language
from sd.ui.components.html import paragraph, progress_bar
from sd.ui.texts import duration, say
from sd.ui.train import control, samples
from sd.ui.train.advice import read_config, run_advice_html

Seen = dict[str, Any]  # what the browser shows already, part by part

CURVES = ("loss", "rate", "gradient", "speed")
LEVELS = ("t", "course")
CONTROLS = ("pause", "go_on", "stop", "leave", "resume")
LIVE = ("starting", "running", "pausing", "paused")


@dataclass(frozen=True)
class RunView:
    """The parts of a run on the page. Handlers name them by these names."""

    progress: gr.HTML
    picture: gr.Image
    pairs: gr.HTML
    caption: gr.HTML
    timeline: gr.Slider
    meter: gr.HTML
    advice: gr.HTML
    curve: gr.HTML
    levels: gr.HTML
    start: gr.Button
    pause: gr.Button
    go_on: gr.Button
    stop: gr.Button
    leave: gr.Button
    resume: gr.Button
    sample: gr.Button
    save: gr.Button
    requests: gr.Column
    further: gr.Row
    bundle: gr.Row
    clock: gr.Timer  # the quick one, while the run lives
    slow_clock: gr.Timer  # while it does not: it may live again, or another one be started
    seen: gr.State


def progress_lines(status: runs.Status, lang: str) -> list[str]:
    """Return a run's state in words: step, speed, memory in use, time left."""
    step, total = f"{status.step:,}", f"{status.total:,}"
    if status.state == "starting" and status.ingested:
        done, count = (f"{number:,}" for number in status.ingested)
        key = "state_encoding" if status.encoding else "state_reading"
        return [say(key, lang, done=done, total=count)]
    key = f"state_{status.state}"
    if status.state in ("stopped", "stopping", "pausing") and not status.step:
        key += "_early"
    words = [say(key, lang, step=step, total=total, line=status.line)]
    if status.state == "running" and status.pictures_per_second:
        words.append(say("speed", lang, n=f"{status.pictures_per_second:,.0f}"))
    if status.memory_bytes:
        words.append(say("memory", lang, n=format_bytes(status.memory_bytes)))
    if status.device_memory_bytes:
        words.append(say("device_memory", lang, n=format_bytes(status.device_memory_bytes)))
    if status.seconds_left is not None:
        words.append(say("left", lang, time=duration(status.seconds_left, lang)))
    if status.state == "running" and status.machine:
        words.append(status.machine)
    return words


def progress_html(status: runs.Status | None, lang: str) -> Markup:
    """Return the progress line and its bar."""
    if status is None:
        return progress_bar([say("no_run", lang)], None)
    done, total = status.ingested or (status.step, status.total)
    share = min(1.0, done / max(total, 1))
    words = progress_lines(status, lang)
    return progress_bar(words, share, say("progress_alt", lang), status.state)


def curve_html(folder: Path, total: int, which: str, lang: str) -> Markup:
    """Return one figure of a run's steps as a curve."""
    past, name = runs.history(folder), say(f"curve_{which}", lang)
    if which == "loss":
        return curves.loss_curve(past.steps, past.loss, total, name, say("loss_alt", lang))
    columns = {"rate": past.lr, "gradient": past.grad_norm, "speed": past.pictures_per_second}
    log = which == "gradient"
    return curves.step_curve(past.steps, columns[which], total, name, log=log)


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
        return curves.history_curve(found, status.total, names, alt)
    T = read_config(folder).diffusion.timesteps
    return curves.level_curve(found, T, names, alt)


def mean(values: list[float]) -> str:
    """Return a mean in three digits."""
    return f"{sum(values) / len(values):.3g}"


def show_timeline(count: int, place: int) -> dict[str, Any]:
    """Return the slider over a run's samples, standing at `place`.

    It always runs from 0 to 1: gradio holds what a browser sends to the bounds of the run that the
    server showed last, which may be another one.
    """
    last = max(count - 1, 1)
    return gr.update(value=min(place, last) / last, step=1 / last, interactive=count > 1)


def to_index(share: float, count: int) -> int:
    """Return the place among `count` samples at a share of the timeline."""
    return round(validation.real("place", share, 0.0, 1.0) * max(count - 1, 0))


def show_controls(status: runs.Status | None) -> Updates:
    """Return what can be pressed: Start, one of Pause and Go on, one of Stop, Leave and Resume."""
    state = status.state if status else ""
    alive, resumable = bool(status and status.alive), bool(status and status.resumable)
    second = "go_on" if state in ("pausing", "paused") else "pause"
    third = "leave" if state == "stopping" else "stop"
    if resumable and state != "finished":
        third = "resume"
    shown = {name: gr.update(visible=name in (second, third)) for name in CONTROLS}
    shown["pause"]["interactive"] = state in ("starting", "running")
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
        "slow_clock": gr.update(active=not alive),
    }


def pulse_of(status: runs.Status, folder: Path) -> str:
    """Return a short text that changes whenever anything shown of a run does."""
    return (
        f"{status.name} {status.state} {status.ingested} {runs.outline(folder).count} {status.line}"
    )


@guarded
def read_pulse(run: str | None, seen: Seen, watched: bool) -> Updates:
    """Return the pulse of the run that is shown, if it is not what is seen.

    Where the page chose that run, and it does not live, one that was started elsewhere is shown
    instead. An answer that came when another tab was looked at already may have set a clock going
    again: its next tick ends it.
    """
    if not watched:
        return rest_clocks()
    if not run:
        return control.follow_start(run)
    folder = state.home().find_run(run)
    status = runs.status(folder)
    if seen.get("by_page") and not status.alive and (other := control.follow_start(run)):
        return other
    now = pulse_of(status, folder)
    return {} if seen.get("pulse") == now else {"pulse": now}


@guarded
def wake(run: str | None) -> Updates:
    """Let the clock go again that fits the run: the quick one, or the slow one."""
    status = runs.status(state.home().find_run(run)) if run else None
    return {
        "watched": True,
        "clock": gr.Timer(active=bool(status and status.alive)),
        "slow_clock": gr.Timer(active=not (status and status.alive)),
    }


def rest() -> Updates:
    """Let the clocks stand while another tab is looked at: it asks nothing of the server then."""
    return {"watched": False, **rest_clocks()}


def rest_clocks() -> Updates:
    """Let both clocks stand."""
    return {"clock": gr.Timer(active=False), "slow_clock": gr.Timer(active=False)}


def changes_since(
    seen: Seen, name: str, share: float, view: str, curve: str, levels: str, lang: str
) -> Updates:
    """Return what has changed of run `name` since `seen`; the rest is left as it is."""
    folder = state.home().find_run(name)
    status, grids = runs.status(folder), runs.samples(folder)
    measured = len(runs.evaluations(folder))
    keys: Seen = {
        "run": name,
        "by_page": bool(seen.get("by_page")),  # no person chose this run
        "pulse": pulse_of(status, folder),
        "samples": [grid.step for grid in grids],
        "curve": [status.step, status.total],
        "levels": [measured, status.alive, status.total if levels == "course" else 0],
        "controls": [status.state, status.resumable, status.step > 0],
        "advice": run_advice_html(folder, status.resumable, lang),
    }
    same = seen.get("run") == name
    new = {part for part, key in keys.items() if not same or seen.get(part) != key}
    sent: Updates = {"progress": progress_html(status, lang), "seen": keys}
    if "samples" in new or ("controls" in new and not grids):
        shown = len(seen.get("samples", ())) if same else 0
        place, last = to_index(share, shown), max(0, len(grids) - 1)
        place = last if place >= shown - 1 else place
        grid = grids[min(place, len(grids) - 1)] if grids else None
        sent |= show_grid(folder, grid, view, status.alive, lang)
        sent["timeline"] = show_timeline(len(grids), place)
    if "curve" in new:
        sent["curve"] = curve_html(folder, status.total, curve, lang)
    if "levels" in new:
        sent["levels"] = levels_html(folder, status, levels, lang)
    if "advice" in new:
        sent["advice"] = keys["advice"]
    if "controls" in new:
        sent |= show_controls(status)
    return sent


def show_grid(
    folder: Path, grid: runs.SampleGrid | None, view: str, alive: bool, lang: str
) -> Updates:
    """Show samples as `view` wants them, their caption and the memorisation meter."""
    meter = samples.meter_html(grid, samples.read_baseline(folder), alive, lang)
    return {**samples.show_samples(folder, grid, view, lang), "meter": meter}


@guarded
def refresh(
    run: str | None,
    seen: Seen,
    place: float,
    view: str,
    curve: str,
    levels: str,
    request: gr.Request,
) -> Updates:
    """Show the run that is chosen, as it is now."""
    lang = language(request)
    if not run:
        nothing = samples.show_samples(Path(), None, samples.AVERAGED, lang)
        shown: Updates = {"progress": progress_html(None, lang), "timeline": show_timeline(0, 0)}
        return {**shown, **nothing, **show_controls(None), "seen": {}}
    return changes_since(
        seen,
        run,
        validation.real("place", place, 0.0, 1.0),
        validation.choice("view", view, samples.VIEWS),
        validation.choice("curve", curve, CURVES),
        validation.choice("levels", levels, LEVELS),
        lang,
    )


@guarded
def scrub(run: str | None, place: float, view: str, request: gr.Request) -> Updates:
    """Show the samples at a place of the timeline."""
    folder, view = state.home().find_run(run), validation.choice("view", view, samples.VIEWS)
    grids = runs.samples(folder)
    grid = grids[to_index(place, len(grids))] if grids else None
    return show_grid(folder, grid, view, runs.status(folder).alive, language(request))


@guarded
def draw_curve(run: str | None, which: str, request: gr.Request) -> Updates:
    """Show another figure over the steps."""
    folder, which = state.home().find_run(run), validation.choice("curve", which, CURVES)
    return {"curve": curve_html(folder, runs.status(folder).total, which, language(request))}


@guarded
def draw_levels(run: str | None, which: str, request: gr.Request) -> Updates:
    """Show the loss per noise level another way."""
    folder, which = state.home().find_run(run), validation.choice("levels", which, LEVELS)
    return {"levels": levels_html(folder, runs.status(folder), which, language(request))}
