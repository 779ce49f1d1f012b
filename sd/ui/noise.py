"""The Noise tab: a picture, a slider over t, x_t, and the schedule that leads there."""

import shlex
from functools import lru_cache
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
from PIL import Image

from sd import gate
from sd.config import Config, DiffusionConfig, preset_names
from sd.schedule import TERMINAL_SNR_LIMIT, Schedule
from sd.ui import curves, starters
from sd.ui.parts import (
    LARGEST_SEED,
    QUIET,
    command_box,
    drop,
    enlarged,
    guarded,
    heading,
    label,
    language,
    new_seed,
    note,
    seed_row,
    slider,
    stage_picture,
    thumbnails,
)
from sd.ui.texts import say

LARGEST_SIDE = 256  # pixels to which a person's picture is brought
STEEPEST = 12.0  # where the drawn log SNR is cut; it is infinite at t = 0
FIRST_SHARE = 0.3  # of T, where the slider stands at first


class Noised(NamedTuple):
    """A picture at time t: for people `image`, for programs the numbers."""

    image: Image.Image
    t: int
    T: int
    signal: float
    noise: float
    log_snr: float


@lru_cache(maxsize=8)
def schedule_of(preset: str) -> Schedule:
    """Return the schedule that belongs to a preset."""
    return Schedule.from_settings(Config.preset(preset).diffusion)


def course_of(diffusion: DiffusionConfig) -> str:
    """Return a schedule's name, with what was done to its betas."""
    return f"{diffusion.schedule}{', rescaled' if diffusion.rescale_betas else ''}"


def schedules() -> list[tuple[str, str]]:
    """Return (what is shown, preset) for each different schedule, quickest preset first."""
    groups: dict[Any, list[str]] = {}
    for name in preset_names():
        groups.setdefault(Config.preset(name).diffusion, []).append(name)
    return [
        (f"{course_of(each)}, T = {each.timesteps} ({', '.join(names)})", names[0])
        for each, names in groups.items()
    ]


@lru_cache(maxsize=16)
def pixels_of(picture: str) -> Any:
    """Return a picture, a starter's name or a path, as floats [3, S, S] with S at most 256."""
    from sd.images import fit_picture, to_float

    image = starters.read(picture)
    side = max(8, min(LARGEST_SIDE, *image.size))
    return to_float(fit_picture(image, side, side, 3, "crop"))


@lru_cache(maxsize=16)
def noise_of(shape: tuple[int, ...], seed: int) -> Any:
    """Return the standard noise [3, S, S] of a seed: the one from which Denoise would start."""
    from sd.sampling import draw, generators

    return draw(shape, generators([seed]))[0]


def noised(picture: str, preset: Any, t: Any, seed: Any) -> Noised:
    """Return `picture` at time t of a preset's schedule; every argument is checked here."""
    from sd.diffusion import Diffusion
    from sd.images import to_pil

    schedule = schedule_of(gate.choice("preset", preset, preset_names()))
    t = gate.whole("t", t, 0, schedule.timesteps)
    seed = gate.whole("seed", seed, 0, LARGEST_SEED)
    x0 = pixels_of(picture)
    x_t = Diffusion(schedule, "v").q_sample(x0, t, noise_of(tuple(x0.shape), seed))
    return Noised(
        to_pil(x_t),
        t,
        schedule.timesteps,
        float(schedule.signal(t)),
        float(schedule.noise(t)),
        float(schedule.log_snr(t)),
    )


def percent(share: float) -> str:
    """Return a share as whole percent, with decimals only near the ends."""
    value = 100 * share
    return f"{value:.0f}" if 1 <= value <= 99 or value in (0, 100) else f"{value:.2g}"


def formula(view: Noised, lang: str) -> str:
    """Return x_t = a x_0 + b eps with the numbers of this t, and what they mean."""
    signal, noise = percent(view.signal**2), percent(view.noise**2)
    width = f"{100 * view.signal**2:.1f}"
    return (
        f'<p class="formula">x<sub>t</sub> = <b>{view.signal:.2f}</b> x<sub>0</sub>'
        f" + <b>{view.noise:.2f}</b> eps</p>"
        f'<p class="shares"><span class="bar"><i style="width:{width}%"></i></span>'
        f"{say('noise_signal', lang, n=signal)}<span>{say('noise_noise', lang, n=noise)}</span></p>"
        f'<p class="note">{say("noise_formula_about", lang)}</p>'
    )


def drawing(view: Noised, preset: str, lang: str) -> str:
    """Return the two curves of the schedule with the cursor at t, and how the schedule ends."""
    schedule = schedule_of(preset)
    rows = (
        ("alpha_bar", schedule.alpha_bar, (0.0, 0.5, 1.0), f"{view.signal**2:.3g}"),
        ("log_snr", log_snr_drawn(preset), (-5.0, 0.0, 5.0), f"{view.log_snr:.3g}"),
    )
    parts = []
    for key, values, ticks, value in rows:
        name = say(f"curve_{key}", lang)
        alt = say("curve_alt", lang, name=name, T=view.T, t=view.t, value=value)
        inside = [tick for tick in ticks if tick >= values.min() - 1]
        parts.append(
            f'<p class="curve-name"><abbr title="{say(f"curve_{key}_about", lang)}">{name}</abbr>'
            f"<b>{value}</b></p>{curves.cursor_curve(values, view.t, inside, alt)}"
        )
    return "".join(parts) + ending(schedule, lang)


@lru_cache(maxsize=8)
def log_snr_drawn(preset: str) -> curves.Array:
    """Return log SNR [T+1], cut to what can be drawn."""
    schedule = schedule_of(preset)
    return np.clip(schedule.log_snr(np.arange(schedule.timesteps + 1)), -STEEPEST, STEEPEST)


def ending(schedule: Schedule, lang: str) -> str:
    """Return the sentence about the terminal SNR; a warning where it is too high."""
    snr = f"{schedule.terminal_snr:.2g}".replace("e-0", "e-")
    if schedule.warning is None:
        return f'<p class="note">{say("terminal_good", lang, snr=snr)}</p>'
    limit = f"{TERMINAL_SNR_LIMIT:g}"
    return f'<p class="warning">{say("terminal_bad", lang, snr=snr, limit=limit)}</p>'


def command(picture: str, preset: str, t: int, seed: int) -> str:
    """Return the command line that makes the same picture."""
    side, channels = pixels_of(picture).shape[-1], Config.preset(preset).unet.channel
    settings = [f"training.input_height={side}", f"training.input_width={side}"]
    settings += [] if channels == 3 else ["unet.channel=3", "unet.n_embed=3"]
    words = ["python", "-m", "sd", "noise", starters.on_disk(picture), "--preset", preset]
    for setting in settings:
        words += ["--set", setting]
    words += ["--t", str(t), "--seed", str(seed)]
    return starters.unpacking(picture) + shlex.join(words)


@guarded
def show(picture: Any, preset: Any, t: Any, seed: Any, request: gr.Request) -> tuple[Any, ...]:
    """Return the picture at t, its formula, the curves and the command line."""
    lang = language(request)
    view = noised(picture, preset, t, seed)
    signal = percent(view.signal**2)
    alt = say("noise_alt", lang, t=view.t, T=view.T, signal=signal)
    return (
        gr.update(value=enlarged(view.image), alt_text=alt),
        formula(view, lang),
        drawing(view, preset, lang),
        command(picture, preset, view.t, int(seed)),
    )


@guarded
def choose_schedule(preset: Any, t: Any, old: int) -> tuple[Any, int]:
    """Move the slider to the same share of the new schedule's T; return it and T."""
    T = schedule_of(gate.choice("preset", preset, preset_names())).timesteps
    t = gate.whole("t", t, 0, old)
    return gr.update(maximum=T, value=round(t / old * T)), T


@guarded
def choose_starter(event: gr.SelectData) -> tuple[str, None]:
    """Take a starter picture; return it and an emptied upload."""
    return starters.NAMES[gate.whole("picture", event.index, 0, len(starters.NAMES) - 1)], None


@guarded
def choose_upload(file: Any, picture: str) -> tuple[str, Any]:
    """Take an uploaded picture if it can be read; without one, keep what is shown."""
    if file is None:
        return picture, gr.skip()
    pixels_of(file)
    return file, gr.update(selected_index=None)


def build(demo: gr.Blocks) -> None:
    """Lay out the tab and wire it."""
    choices = schedules()
    T = schedule_of(choices[0][1]).timesteps
    picture, last_T = gr.State(starters.NAMES[0]), gr.State(T)
    with gr.Row(elem_classes="page"):
        with gr.Column(elem_classes="stage"):
            image = stage_picture("jpeg", "noise-picture")
            t = slider("noise_t", 0, T, round(T * FIRST_SHARE), elem_id="noise-t")
            numbers = gr.HTML(elem_classes="numbers")
        with gr.Column(elem_classes="side"):
            upload, gallery = build_choice()
            preset, plot, seed, dice = build_schedule(choices)
    line = command_box()
    asked, shown = [picture, preset, t, seed], [image, numbers, plot, line]
    t.input(show, asked, shown, trigger_mode="always_last", **QUIET)
    seed.change(show, asked, shown, **QUIET)
    dice.click(new_seed, None, seed, **QUIET)
    for event in (
        preset.change(choose_schedule, [preset, t, last_T], [t, last_T], **QUIET),
        gallery.select(choose_starter, None, [picture, upload], **QUIET),
        upload.upload(choose_upload, [upload, picture], [picture, gallery], **QUIET),
    ):
        event.success(show, asked, shown, **QUIET)
    demo.load(starters.thumbnails, None, gallery, **QUIET)
    demo.load(show, asked, shown, **QUIET)


def build_choice() -> tuple[gr.File, gr.Gallery]:
    """Lay out where a picture comes from."""
    with gr.Column(elem_classes="group"):
        heading("noise_picture")
        note("noise_picture_info")
        upload = drop("noise_picture", "single")
        note("noise_starters")
        gallery = thumbnails("noise_starters", "noise-starters", elem_classes="thumbs")
    return upload, gallery


def build_schedule(choices: list[tuple[str, str]]) -> tuple[Any, ...]:
    """Lay out the schedule with its curves, and the seed of the noise."""
    with gr.Column(elem_classes="group"):
        preset = gr.Dropdown(
            choices,
            value=choices[0][1],
            filterable=False,
            label=label("noise_schedule"),
            info=label("noise_schedule_info"),
        )
        plot = gr.HTML(elem_classes="plots")
        seed, dice = seed_row("noise_seed_info")
    return preset, plot, seed, dice
