"""What the Train tab shows of a run: its progress, its samples, its loss. Read from files alone."""

import html
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from sd import gate, runs
from sd.gate import InputError
from sd.ui import curves
from sd.ui.parts import enlarged, guarded, language
from sd.ui.texts import duration, say

Seen = dict[str, Any]  # what the browser shows already: run, state, step, number of samples


def names_of_runs() -> list[str]:
    """Return the runs that can be shown: the bundled ones, then yours, newest first."""
    bundled = [entry.name for entry in runs.list_models() if entry.bundled]
    return list(dict.fromkeys([*bundled, *(status.name for status in runs.list_runs())]))


def progress_line(status: runs.Status, lang: str) -> str:
    """Return a run's state in words: step, speed, time left."""
    if status.state in ("starting", "stopping"):
        return say("stopping" if status.state == "stopping" else "state_starting", lang)
    step, total = f"{status.step:,}", f"{status.total:,}"
    line = html.escape(status.line)
    words = [say(f"state_{status.state}", lang, step=step, total=total, line=line)]
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
    share = 100 * status.step / max(status.total, 1)
    return (
        f'<div class="progress {status.state}"><p><span>{progress_line(status, lang)}</span></p>'
        f'<div class="track" role="progressbar" aria-valuemin="0" aria-valuemax="100"'
        f' aria-valuenow="{share:.0f}"><i style="width:{share:.1f}%"></i></div></div>'
    )


def loss_html(folder: Path, total: int, lang: str) -> str:
    """Return the curve of a run's loss."""
    history = runs.history(folder)
    name, alt = say("loss", lang), say("loss_alt", lang)
    return curves.loss_curve(history.steps, history.loss, total, name, alt)


def sample_view(
    name: str, samples: list[tuple[int, Path]], place: int, lang: str
) -> tuple[Any, Any]:
    """Return the samples at `place` as a picture, and the line under it."""
    if not samples:
        return gr.update(value=None), f'<p class="note">{say("samples_wait", lang)}</p>'
    step, path = samples[min(place, len(samples) - 1)]
    with Image.open(path, formats=["PNG"]) as opened:
        picture = enlarged(opened)
    alt = say("samples_alt", lang, name=name, step=f"{step:,}")
    caption = say("samples_step", lang, step=f"{step:,}")
    return gr.update(value=picture, alt_text=alt), f'<p class="note">{caption}</p>'


def timeline(count: int, place: int) -> Any:
    """Return the slider over a run's samples, standing at `place`."""
    last = max(count - 1, 1)
    return gr.update(maximum=last, value=min(place, last), interactive=count > 1)


def follow(name: str, seen: Seen, place: int, lang: str) -> tuple[Any, ...]:
    """Return what has changed of run `name` since `seen`, and gr.skip() for all that has not.

    In the order progress, curve, picture, caption, timeline, stop button, timer, seen.
    """
    folder = runs.find_run(name)
    status, samples = runs.status(folder), runs.samples(folder)
    now = {"run": name, "state": status.state, "step": status.step, "samples": len(samples)}
    if now == seen:
        return (gr.skip(),) * 8
    same = seen.get("run") == name
    picture = caption = slider = curve = button = timer = gr.skip()
    if not same or seen.get("samples") != len(samples):
        at_end = not same or place >= seen.get("samples", 0) - 1
        place = max(0, len(samples) - 1) if at_end else place
        picture, caption = sample_view(name, samples, place, lang)
        slider = timeline(len(samples), place)
    if not same or seen.get("step") != status.step:
        curve = loss_html(folder, status.total, lang)
    if not same or seen.get("state") != status.state:
        button = gr.update(interactive=status.state in ("starting", "running"))
        timer = gr.update(active=status.alive)
    return progress_html(status, lang), curve, picture, caption, slider, button, timer, now


@guarded
def tick(name: Any, seen: Any, place: Any, request: gr.Request) -> tuple[Any, ...]:
    """Follow the run that is shown; once a second while it lives."""
    lang = language(request)
    if not name:
        blank = progress_html(None, lang), "", *sample_view("", [], 0, lang), timeline(0, 0)
        return *blank, gr.update(interactive=False), gr.update(active=False), {}
    place = gate.whole("place", place, 0, 10**6)
    return follow(name, seen if isinstance(seen, dict) else {}, place, lang)


@guarded
def scrub(name: Any, place: Any, request: gr.Request) -> tuple[Any, Any]:
    """Show the samples at a place of the timeline."""
    samples = runs.samples(runs.find_run(name))
    return sample_view(name, samples, gate.whole("place", place, 0, 10**6), language(request))


@guarded
def attach(kept: Any) -> tuple[Any, Any]:
    """Return the list of runs and what this browser watched last, else the bundled run."""
    names = names_of_runs()
    wanted = kept.get("run") if isinstance(kept, dict) else None
    value = wanted if wanted in names else names[0] if names else None
    return gr.update(choices=names, value=value), {}


@guarded
def choose(name: Any) -> tuple[dict[str, str], Seen]:
    """Take another run; return it for the browser's memory, and forget what was shown."""
    return {"run": runs.find_run(name).name}, {}


@guarded
def refresh_list(name: Any) -> Any:
    """Return the list of runs as it is now."""
    return gr.update(choices=names_of_runs(), value=name)


@guarded
def stop(name: Any, request: gr.Request) -> str:
    """Ask the run that is shown to finish its step, save and leave."""
    folder = runs.find_run(name)
    if not runs.status(folder).alive:
        raise InputError(f"run = {name!r}: it is not running")
    runs.stop(folder)
    return progress_html(runs.status(folder), language(request))
