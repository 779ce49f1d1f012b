"""The Denoise tab: a trained model turns noise into pictures, and every step can be seen."""

import time
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import gradio as gr

from sd import gate, runs
from sd.gate import InputError
from sd.ui import models, trajectory
from sd.ui.parts import (
    MODEL,
    QUIET,
    command_box,
    guarded,
    label,
    language,
    new_seed,
    note,
    seed_row,
    slider,
    stage_picture,
    thumbnails,
)
from sd.ui.texts import TEXTS, say
from sd.ui.trajectory import THUMBNAILS, Album, Frame, Trajectory

FIRST_SHARE = 0.6  # of the bundled example's steps, where the page opens it
FRAME_SECONDS = 0.15  # between live pictures
SAMPLERS = ("ddim", "ddpm")  # as in sd.sampling, which bears torch
VARIANCES = ("fixed_small", "fixed_large")
SPACINGS = ("trailing", "leading", "linspace")


def title_of(entry: runs.ModelEntry) -> str:
    """Return how a model is called in the list."""
    return f"{entry.name}, step {entry.step:,}"


def model_list(value: Any = None) -> Any:
    """Return the list of models as it is now, with `value` or the first one chosen."""
    entries = runs.list_models()
    names = [entry.name for entry in entries]
    chosen = value if value in names else names[0] if names else None
    return gr.update(choices=[(title_of(entry), entry.name) for entry in entries], value=chosen)


def progress_html(words: list[str], share: float) -> str:
    """Return the progress line and its bar."""
    line = "</span><span>".join(words)
    return (
        f'<div class="progress"><p><span>{line}</span></p><div class="track" role="progressbar"'
        f' aria-valuemin="0" aria-valuemax="100" aria-valuenow="{100 * share:.0f}">'
        f'<i style="width:{100 * share:.1f}%"></i></div></div>'
    )


def views(frame: Frame, total: int, lang: str) -> tuple[Any, Any]:
    """Return the two pictures of a frame with their alternative texts."""
    now, guess = trajectory.pair(frame)
    alt = say("now_alt", lang, i=frame.i, n=total, t=f"{frame.t:g}")
    return (
        gr.update(value=now, alt_text=alt),
        gr.update(value=guess, alt_text=say("guess_alt", lang, i=frame.i, n=total)),
    )


def words_of(frame: Frame, total: int, lang: str) -> list[str]:
    """Return where a frame is on the way, and what stands at the right if it is no estimate."""
    return [say("progress", lang, i=frame.i, n=total, t=f"{frame.t:g}")]


def step_slider(kept: Trajectory, active: bool, place: int = 0) -> Any:
    """Return the slider over the kept frames, standing at `place` or at the last."""
    last, place = max(len(kept.frames), 2), place or max(len(kept.frames), 1)
    return gr.update(maximum=last, value=place, interactive=active)


@guarded
def run(
    model: Any,
    sampler: Any,
    steps: Any,
    eta: Any,
    variance: Any,
    spacing: Any,
    clip_x0: Any,
    seed: Any,
    count: Any,
    request: gr.Request,
) -> Iterator[tuple[Any, ...]]:
    """Sample, and yield x_t, x0, the progress, the thumbnails, the slider and the kept steps."""
    lang = language(request)
    wanted = models.recipe(model, sampler, steps, eta, variance, spacing, clip_x0, seed, count)
    kept = Trajectory(wanted.steps, running=True)
    loading = progress_html([say("loading", lang)], 0)
    yield gr.skip(), gr.skip(), loading, [], step_slider(kept, active=False), kept
    album = Album(wanted.steps, lang)
    try:
        yield from live(wanted, kept, album, lang)
    finally:
        kept.running = False
        album.close()


def live(
    wanted: models.Recipe, kept: Trajectory, album: Album, lang: str
) -> Iterator[tuple[Any, ...]]:
    """Yield live pictures at most every 0.15 s, and everything at the end."""
    _, stream = models.stream(wanted)
    began, shown = time.monotonic(), 0.0
    for step in stream:
        frame = kept.add(step)
        album.add(frame)
        if kept.asked_to_stop:
            words = [say("stopped", lang, i=step.i, n=kept.total)]
            line = progress_html(words, step.i / kept.total)
            slider = step_slider(kept, active=len(kept.frames) > 1)
            yield gr.skip(), gr.skip(), line, list(album.items), slider, kept
            return
        now = time.monotonic()
        if now - shown < FRAME_SECONDS and step.i != wanted.steps:
            continue
        shown, left = now, (now - began) / step.i * (wanted.steps - step.i)
        words = [*words_of(frame, wanted.steps, lang), say("progress_left", lang, s=f"{left:.1f}")]
        if wanted.clip_x0:
            words.append(say("progress_clipped", lang, n=f"{100 * step.clipped:.0f}"))
        line = progress_html(words, step.i / wanted.steps)
        yield *views(frame, wanted.steps, lang), line, album.news(), gr.skip(), gr.skip()
    seconds, device = f"{time.monotonic() - began:.1f}", models.machine().label
    line = progress_html([say("done", lang, n=wanted.steps, s=seconds, device=device)], 1)
    yield gr.skip(), gr.skip(), line, list(album.items), step_slider(kept, active=True), kept


def halt(kept: Any) -> None:
    """Ask the sampling that is shown to end after the step at hand."""
    if isinstance(kept, Trajectory):
        kept.asked_to_stop = True


@guarded
def scrub(place: Any, kept: Any, request: gr.Request) -> tuple[Any, ...]:
    """Show the kept step at a place of the slider."""
    if not isinstance(kept, Trajectory) or not kept.frames or kept.running:
        return gr.skip(), gr.skip(), gr.skip()
    lang = language(request)
    frame = kept.frames[gate.whole("step", place, 1, len(kept.frames)) - 1]
    words = words_of(frame, kept.total, lang)
    line = progress_html(words, frame.i / kept.total)
    return *views(frame, kept.total, lang), line


@guarded
def pick(kept: Any, request: gr.Request, event: gr.SelectData) -> tuple[Any, ...]:
    """Show the step of a chosen thumbnail, and move the slider there."""
    if not isinstance(kept, Trajectory) or not kept.frames or kept.running:
        return (gr.skip(),) * 4
    share = (gate.whole("thumbnail", event.index, 0, THUMBNAILS) + 1) / THUMBNAILS
    place = max(1, min(len(kept.frames), round(share * len(kept.frames))))
    return place, *scrub(place, kept, request)


@guarded
def first_view(request: gr.Request) -> tuple[Any, ...]:
    """Return the bundled example, open on its way: pictures, line, thumbnails, slider."""
    lang, kept = language(request), trajectory.bundled()
    if kept is None:
        return (gr.skip(),) * 6
    place = max(1, round(FIRST_SHARE * len(kept.frames)))
    frame = kept.frames[place - 1]
    words = [say("example", lang), *words_of(frame, kept.total, lang)]
    line = progress_html(words, frame.i / kept.total)
    shown = views(frame, kept.total, lang)
    slide = step_slider(kept, active=True, place=place)
    return *shown, line, example_items(lang), slide, kept


@cache
def example_items(lang: str) -> list[tuple[str, str]]:
    """Return the thumbnails of the bundled example, written once for each language."""
    kept = trajectory.bundled() or Trajectory(0)
    album = Album(kept.total, lang)
    for frame in kept.frames:
        album.add(frame)
    return album.items


def command(*fields: Any) -> str:
    """Return the command line of the fields; nothing while a field is being typed."""
    try:
        return models.command(models.recipe(*fields))
    except InputError:
        return ""


def build(demo: gr.Blocks) -> None:
    """Lay out the tab and wire it."""
    kept = gr.State(None)
    with gr.Row(elem_classes="page wide"):
        with gr.Column(elem_classes="side"):
            fields, dice = build_fields()
            with gr.Column(elem_classes="actions"), gr.Row(elem_classes="buttons"):
                go = gr.Button(label("denoise"), variant="primary", elem_id="denoise-go")
                stop = gr.Button(label("stop"), elem_id="denoise-stop", elem_classes="stop")
        with gr.Column(elem_classes="stage"):
            now, guess, line, place, gallery = build_stage()
    box = command_box()
    outputs = [now, guess, line, gallery, place, kept]
    queued: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": line}
    go.click(run, fields, outputs, api_visibility="private", **queued, **MODEL)
    stop.click(halt, kept, None, **QUIET)
    place.input(scrub, [place, kept], [now, guess, line], trigger_mode="always_last", **QUIET)
    gallery.select(pick, kept, [place, now, guess, line], **QUIET)
    model, sampler, _, eta, variance, *_ = fields
    seed = fields[7]
    dice.click(new_seed, None, seed, **QUIET)
    model.focus(model_list, model, model, **QUIET)
    sampler.change(depending, sampler, [eta, variance], **QUIET)
    for each in fields:
        each.change(command, fields, box, trigger_mode="always_last", **QUIET)
    demo.load(model_list, model, model, **QUIET).then(command, fields, box, **QUIET)
    demo.load(first_view, None, outputs, **QUIET)


def depending(sampler: Any) -> tuple[Any, Any]:
    """Show eta for ddim alone and variance for ddpm alone."""
    return gr.update(visible=sampler == "ddim"), gr.update(visible=sampler == "ddpm")


def choice(key: str, words: Sequence[str], **more: Any) -> gr.Dropdown:
    """Show a list of words, the first one chosen."""
    choices = [
        (label(f"{key}_{word}") if f"{key}_{word}" in TEXTS else word, word) for word in words
    ]
    return gr.Dropdown(
        choices,
        value=words[0],
        filterable=False,
        label=label(key),
        info=label(f"{key}_info"),
        **more,
    )


def build_fields() -> tuple[list[Any], gr.Button]:
    """Lay out the settings in the order of `models.recipe`, and the dice beside the seed."""
    with gr.Column(elem_classes="group"):
        model = gr.Dropdown([], filterable=False, label=label("model"), info=label("model_info"))
        sampler = choice("sampler", SAMPLERS)
        steps = slider("sample_steps", 1, models.MOST_STEPS, 50, elem_id="denoise-steps")
        count = slider("count", 1, models.MOST_PICTURES, 4)
        seed, dice = seed_row("sample_seed_info")
    with gr.Accordion(label("more"), open=False):
        eta = slider("eta", 0, 1, 0, step=0.05, precision=None)
        variance = choice("variance", VARIANCES, visible=False)
        spacing = choice("spacing", SPACINGS)
        clip = gr.Checkbox(True, label=label("clip"), info=label("clip_info"))
    return [model, sampler, steps, eta, variance, spacing, clip, seed, count], dice


def build_stage() -> tuple[Any, ...]:
    """Lay out the two pictures, the progress, the slider over the steps and the thumbnails."""
    pictures = []
    with gr.Row(elem_classes="pair"):
        for key in ("now", "guess"):
            with gr.Column(min_width=120):
                pictures.append(stage_picture("jpeg", f"denoise-{key}"))
                note(f"{key}_caption")
    line = gr.HTML(elem_classes="status", elem_id="denoise-status")
    place = slider("step", 1, 2, 1, interactive=False, elem_id="denoise-step")
    gallery = thumbnails("steps_gallery", "denoise-gallery", elem_classes="thumbs steps")
    return *pictures, line, place, gallery
