"""x_t exactly: for the endpoint as a picture, for a terminal as a command line."""

import shlex
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from sd.common import validation
from sd.config import Config
from sd.ui.noise import pictures, schedules
from sd.ui.noise.pictures import Picture, read_pixels

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


def command_line(
    picture: Picture, schedule: str, t: int | None, seed: int, mean: float = 0.0, std: float = 1.0
) -> str:
    """Return the command line that makes the same picture; without a t, up to where it follows."""
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
    words += ["--seed", str(seed), "--t"] + ([] if t is None else [str(t)])
    return before + shlex.join(words)
