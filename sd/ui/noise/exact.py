"""x_t exactly: for the endpoint as a picture, where the slider rests as figures and a command."""

import shlex
from typing import TYPE_CHECKING, NamedTuple

import gradio as gr
from PIL import Image

from sd.common import validation
from sd.config import Config
from sd.ui.components.events import Updates
from sd.ui.components.handlers import guarded, language
from sd.ui.components.html import paragraph
from sd.ui.noise import pictures, schedules, stage
from sd.ui.noise.pictures import Picture, read_pixels
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

    from sd.diffusion.process import ForwardProcess

ANOTHER = "diffusion.noise_info=[{mean:g}, {std:g}]"


class NoisedPicture(NamedTuple):
    """A picture at time t: for people `image`, for programs the numbers."""

    image: Image.Image
    t: int
    T: int
    signal: float
    noise: float
    log_snr: float
    seed: int


def process_of(schedule: str, mean: float = 0.0, std: float = 1.0) -> "ForwardProcess":
    """Return the forward process of a schedule."""
    from sd.diffusion.process import ForwardProcess

    return ForwardProcess(schedules.read_schedule(schedule), (mean, std))


def noise_picture(
    picture: Picture, preset: str, t: float | None, seed: float | None
) -> NoisedPicture:
    """Return `picture` at time t of a schedule; every argument is checked here."""
    from sd.data.images import to_pil

    schedules.find_schedule(preset, "preset")
    process = process_of(preset)
    schedule = process.schedule
    t = validation.whole("t", t, 0, schedule.timesteps)
    seed = validation.seed("seed", seed)
    eps = draw_picture_noise(picture, seed)
    return NoisedPicture(
        to_pil(process.q_sample(read_pixels(picture), t, eps)),
        t,
        schedule.timesteps,
        float(schedule.signal(t)),
        float(schedule.noise(t)),
        float(schedule.log_snr(t)),
        seed,
    )


def draw_picture_noise(picture: Picture, seed: int) -> "Tensor":
    """Return the standard noise of a seed in the shape of a picture."""
    return pictures.draw_noise(tuple(read_pixels(picture).shape), seed)


@guarded
def show_exact(
    t: int,
    picture: Picture,
    schedule: str,
    seed: float | None,
    mean: float | None,
    std: float | None,
    request: gr.Request,
) -> Updates:
    """Show the exact figures of x_t where t has come to rest, and the command line."""
    from sd.diffusion.analysis import finest_frequency, kl_to_prior, spectrum, summarize

    schedules.find_schedule(schedule)
    mean, std = stage.check_moments(mean, std)
    process, x0 = process_of(schedule, mean, std), read_pixels(picture)
    t = min(validation.whole("t", t, 0, stage.MOST_T), process.schedule.timesteps)
    seed = validation.seed("seed", seed)
    x_t = process.q_sample(x0, t, draw_picture_noise(picture, seed))
    power, detail = float((x0 / std).double().square().mean()), spectrum(x0)
    alpha_bar, found = float(process.schedule.alpha_bar[t]), summarize(x_t)
    values = {
        "t": t,
        "a": f"{float(process.schedule.signal(t)):.6f}",
        "b": f"{float(process.schedule.noise(t)):.6f}",
        "eps": process.noise_formula,
        "snr": f"{process.snr(t):.4g}".replace("inf", "∞"),
        "kl": f"{kl_to_prior(process.schedule, t, power):.4g}".replace("inf", "∞"),
        "mean": f"{found.mean:.4f}",
        "std": f"{found.std:.4f}",
        "n": finest_frequency(detail, alpha_bar, std),
        "most": len(detail),
    }
    line = say("noise_exact", language(request), **values)
    command = command_line(picture, schedule, t, seed, mean, std)
    return {"exact": paragraph(line), "command": command}


def command_line(
    picture: Picture, schedule: str, t: int, seed: int, mean: float = 0.0, std: float = 1.0
) -> str:
    """Return the command line that makes the same picture."""
    chosen = schedules.find_schedule(schedule)
    side, channels = read_pixels(picture).shape[-1], Config.preset(chosen.preset).picture_shape[0]
    settings = [f"training.input_height={side}", f"training.input_width={side}"]
    settings += [] if channels == 3 else ["unet.channel=3", "unet.n_embed=3"]
    settings += chosen.settings
    settings += [] if (mean, std) == (0, 1) else [ANOTHER.format(mean=mean, std=std)]
    name, before = pictures.on_command_line(picture)
    words = ["python", "-m", "sd", "noise", name, "--preset", chosen.preset]
    for setting in settings:
        words += ["--set", setting]
    words += ["--t", str(t), "--seed", str(seed)]
    return before + shlex.join(words)
