"""Closed-form models: a picture set opened by name as a model that needs no training.

"ideal:DATA" and "linear:DATA" are such names; DATA is a folder, a zip, the word of a bundled set,
or the folder of a run, whose pictures and settings they then share: those it kept, or those of the
bundled set that it learned from.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from sd.checkpoints.closed_form_name import CLOSED_FORMS, IDEAL, LINEAR, PRESET, parse_name
from sd.checkpoints.first_stage import read_first_stage
from sd.checkpoints.latent_set import LatentSet, open_latents
from sd.checkpoints.model import Samplable
from sd.checkpoints.record import newest_checkpoint
from sd.common.disk import read_object
from sd.common.text import brief, printable
from sd.common.validation import InputError, choice, shown
from sd.config import Config
from sd.data.image_set import ImageSet, read_images
from sd.data.images import to_float
from sd.data.ingest import open_images
from sd.data.reading.source import BUNDLED_SETS
from sd.data.space import Pixels, Space
from sd.diffusion.closed_form import ClosedFormDenoiser, IdealDenoiser, LinearDenoiser
from sd.diffusion.guidance import Guidance
from sd.diffusion.loss import Diffusion
from sd.networks.first_stage import Latents

DENOISERS: dict[str, type[ClosedFormDenoiser]] = {IDEAL: IdealDenoiser, LINEAR: LinearDenoiser}
CONFIG, PICTURES, LATENTS, SOURCE = "config.ini", "pictures", "latents", "source.json"  # of a run
ENCODED = 64  # pictures that are encoded at once


@dataclass(frozen=True)
class ClosedFormModel(Samplable):
    """A closed-form denoiser with all that is needed to sample from it, as a `Model` has it.

    `about` holds its kind ("ideal" or "linear") and the number of its pictures. latents: the space
    of their latents, where it answers in these: then the ideal one repeats not its pictures but
    what the autoencoder gives back of them, D(E(picture)), which no model on such latents betters.
    """

    denoiser: ClosedFormDenoiser
    config: Config
    about: Mapping[str, Any] = field(default_factory=dict)
    latents: Latents | None = None

    @cached_property
    def space(self) -> Space:
        """Where it samples, and the way from there to pictures."""
        return Pixels(self.config.picture_shape) if self.latents is None else self.latents

    def guided(
        self,
        prompts: Sequence[str] = (),
        negative: str = "",
        guidance: Guidance = Guidance(),  # noqa: B008 (a constant)
    ) -> ClosedFormDenoiser:
        """Return the denoiser; raise `InputError` for any prompt, of which it knows nothing."""
        if any(prompts) or negative:
            prompt = shown(next(filter(None, [*prompts, negative])))
            raise InputError(f"prompt = {prompt}: the {self.about['kind']} model knows no words")
        return self.denoiser

    def around(self, picture: Tensor, mask: Tensor) -> "ClosedFormModel":
        """Return it as it is: a mask does not change what is known of the pictures."""
        return self

    def resized(self, height: int, width: int) -> "ClosedFormModel":
        """Raise `InputError`: it knows its pictures, which have one size."""
        _, own_height, own_width = self.config.picture_shape
        raise InputError(
            f"size = {height}x{width}: the {self.about['kind']} model draws the size of its "
            f"pictures alone, {own_height}x{own_width}"
        )


def build_closed_form(
    kind: str,
    images: ImageSet,
    config: Config,
    device: str = "cpu",
    latents: LatentSet | None = None,
) -> ClosedFormModel:
    """Return the model of that kind, "ideal" or "linear", of a picture set.

    The process is that of `config`, whose shape the pictures must have. latents: those of the set,
    where it is to answer in them. Raises `InputError` for another kind or shape, an empty set, and
    a linear model of one picture.
    """
    choice("kind", kind, list(CLOSED_FORMS))
    found, wanted = tuple(images.pixels.shape[1:]), config.picture_shape
    if found != wanted:
        raise InputError(f"the pictures are {found} (channels, height, width); {wanted} is wanted")
    rows = torch.arange(len(images.pixels))
    values = images.pixels if latents is None else latents.z(rows)
    denoiser = DENOISERS[kind](values, Diffusion.from_config(config.diffusion), device)
    about = {"kind": kind, "pictures": len(denoiser.pixels)}
    space = None if latents is None else latents.latents.to(device)
    return ClosedFormModel(denoiser, config, about, space)


def open_closed_form(name: str, device: str = "cpu") -> ClosedFormModel:
    """Return the model called "ideal:DATA" or "linear:DATA".

    A run's folder gives the pictures and settings of the run, and their latents where its network
    sees these; all else is read as the preset `tiny` reads pictures. Raises `InputError` for
    another name, and as reading pictures does.
    """
    parsed = parse_name(name)
    if parsed is None:
        raise InputError(f"model = {shown(name)}: must be ideal:DATA or linear:DATA")
    kind, data = parsed
    config, images = _read_run(Path(data)) if _is_run(data) else _read_pictures(data)
    latents = _latents_of(Path(data), config, images) if config.is_latent else None
    return build_closed_form(kind, images, config, device, latents)


def _latents_of(folder: Path, config: Config, images: ImageSet) -> LatentSet:
    """Return the latents of a run's pictures: those it has encoded, or else encoded here."""
    stored = folder / LATENTS
    wanted = [len(images.pixels), *config.latent_shape]
    with suppress(InputError):
        found = open_latents(stored, config)
        if [len(found.values), *found.values.shape[2:]] == wanted:
            return found
    space = read_first_stage(newest_checkpoint(folder), config)
    parts = (to_float(part) for part in torch.split(images.pixels, ENCODED))
    z = torch.cat([space.encode(part) for part in parts])[:, None]
    mean, std = (rearrange(each, "c -> c 1 1") for each in (space.mean, space.std))
    return LatentSet(z * std + mean, space)


def _is_run(data: str) -> bool:
    try:
        return data not in BUNDLED_SETS and (Path(data) / CONFIG).is_file()
    except (OSError, ValueError):  # no path at all; reading pictures says so
        return False


def _read_run(folder: Path) -> tuple[Config, ImageSet]:
    config = Config.read(folder / CONFIG)
    if (folder / PICTURES).is_dir():
        return config, open_images(folder / PICTURES)
    if (source := _source_of(folder)) in BUNDLED_SETS:
        return config, _read_as(config, source)
    label = brief(printable(folder.name))
    raise InputError(f"{label}: holds {CONFIG} but no {PICTURES}: a run without its pictures")


def _source_of(folder: Path) -> str:
    """Return where a run had its pictures from; "" where it does not tell."""
    with suppress(InputError):
        return str(read_object(folder / SOURCE, "data")["data"])
    return ""


def _read_pictures(data: str) -> tuple[Config, ImageSet]:
    config = Config.preset(PRESET)
    return config, _read_as(config, data)


def _read_as(config: Config, data: str) -> ImageSet:
    """Return pictures in the shape that settings ask for."""
    channels, height, width = config.picture_shape
    fit = config.training.fit
    return read_images(data, height=height, width=width, channels=channels, fit=fit)
