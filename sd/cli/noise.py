"""The noise command: a picture at several times, as pixels and, where settings say so, as latents.

Beside the noised pixels stand the pictures of the noised latents: noise there is no grain.
"""

import argparse
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor

from sd.checkpoints.first_stage import open_autoencoder
from sd.checkpoints.model import Samplable
from sd.cli.pictures import read_and_remark
from sd.common.validation import InputError
from sd.config import Config
from sd.config.sections import OWN, STORED
from sd.data.images import fit_picture, make_grid, to_float
from sd.data.space import Pixels, Space
from sd.diffusion.loss import Diffusion
from sd.diffusion.sampling import draw_noise, generators
from sd.generation.registry import load_model, model_at
from sd.runs import default_home
from sd.training.latents import space_of_picture


@dataclass(frozen=True)
class Process(Samplable):
    """The noise and the space of settings, without a network."""

    config: Config
    own: Space

    @cached_property
    def space(self) -> Space:
        """Where it is noised."""
        return self.own


def noise_picture(
    args: argparse.Namespace, config: Config, seed: int
) -> tuple[Diffusion, Image.Image]:
    """Return the process, and the picture at each t of --t side by side; latents in a second row.

    Those of settings are normalised by the one picture, those of --model as the model's own are.
    """
    source: Samplable | None = None
    if args.model is not None:
        source = load_model(model_at(default_home(), args.model), "cpu")
        config = source.config
    training, shape = config.training, config.picture_shape
    picture = read_and_remark(args.picture)
    pixels = fit_picture(picture, shape[1], shape[2], shape[0], training.fit)
    source = source or Process(config, _space(config, pixels))
    x, times = to_float(pixels)[None], list(args.t)
    rows = [noised(Process(config, Pixels(shape)), x, times, seed)]
    if config.is_latent:
        rows.append(noised(source, x, times, seed))
    return source.diffusion, make_grid(torch.cat(rows), columns=len(times))


def _space(config: Config, pixels: Tensor) -> Space:
    """Return the space of settings for one picture."""
    if not config.is_latent:
        return Pixels(config.picture_shape)
    if config.first_stage.autoencoder in (OWN, STORED):
        raise InputError(
            f"first_stage.autoencoder = {config.first_stage.autoencoder}: it lies with the model "
            "that it was trained for; give --model MODEL"
        )
    return space_of_picture(open_autoencoder(config), pixels)


def noised(source: Samplable, x: Tensor, times: list[float], seed: int) -> Tensor:
    """Return a picture x [1, C, H, W] noised to each time, in the source's own space, decoded."""
    z = source.space.encode(x)
    eps = draw_noise(z.shape[1:], generators([seed]))
    checked = [source.diffusion.schedule.check_time(t, "--t") for t in times]
    return source.space.decode(torch.cat([source.diffusion.q_sample(z, t, eps) for t in checked]))
