"""The first stage as samplers and training meet it: an autoencoder and the scale of its latents.

z = (E(x) - m) / s per channel, so that z has mean 0 and variance 1, as the formulas of diffusion
assume; x = D(s z + m). Stable Diffusion's one factor 0.18215 (Rombach et al. 2021, appendix G) is
the case m = 0, s = 1 / 0.18215.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from sd.common.validation import InputError
from sd.config.sections import FirstStageConfig
from sd.data.space import Shape, is_finite
from sd.networks.autoencoder import AutoencoderKL, TinyAutoencoder

Autoencoder = AutoencoderKL | TinyAutoencoder
Shapes = Mapping[str, Sequence[int]]

PART = 8 * 128 * 128  # pixels that are encoded or decoded at once: bounds the memory
ATTENTION_AT = 2**12  # a side from which the sides of levels that attend are counted
MOST_LEVELS = 12
NO_AUTOENCODER = "no autoencoder whose names are known (latent diffusion's, diffusers' or TAESD's)"


@dataclass(frozen=True, eq=False)
class Latents:
    """The space of an autoencoder's latents, normalised; pictures are colour, [B, 3, H, W].

    mean, std: m and s [c]. rgb: a linear map [c + 1, 3] from (z, 1) to a place's mean colour. See
    `sd.data.space.Space` for what the methods promise.
    """

    autoencoder: Autoencoder
    mean: Tensor
    std: Tensor
    rgb: Tensor
    picture_shape: Shape

    @property
    def latent_shape(self) -> Shape:
        """The shape (c, h, w) of z."""
        factor = self.autoencoder.factor
        _, height, width = self.picture_shape
        return len(self.mean), height // factor, width // factor

    @property
    def clips(self) -> bool:
        """Latents have no bounds."""
        return False

    def to(self, device: str) -> "Latents":
        """Return it on a device; the autoencoder itself moves there."""
        moved = {name: getattr(self, name).to(device) for name in ("mean", "std", "rgb")}
        return replace(self, autoencoder=self.autoencoder.to(device), **moved)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Return z [N, c, h, w] of pictures, where they lie."""
        there = x.to(self.mean.device)
        found = [encode_mode(self.autoencoder, part) for part in self._parts(there)]
        return ((torch.cat(found) - self._all(self.mean)) / self._all(self.std)).to(x.device)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Return the pictures of z, in [-1, 1], where z lies.

        Raises `InputError` where the autoencoder makes of finite z what is no number, which would
        be a black picture.
        """
        scaled = z.to(self.mean.device) * self._all(self.std) + self._all(self.mean)
        found = [self.autoencoder.decode(part) for part in self._parts(scaled)]
        pictures = torch.cat(found)
        if not is_finite(pictures) and is_finite(z):
            raise InputError(
                "the autoencoder gives values that are not finite numbers: its weights are damaged "
                "or too large for what it computes in; take another, as with vae=taesd"
            )
        return pictures.clamp(-1, 1).to(z.device)

    def preview(self, z: Tensor) -> Tensor:
        """Return the linear view of z: a place's colour is a weighted sum of its channels."""
        slope, offset = self.rgb[:-1].to(z), self.rgb[-1].to(z)
        return torch.einsum("...chw,cr->...rhw", z, slope) + offset[:, None, None]

    def paint(
        self, x_t: Tensor, x0: Tensor, signal: float | Tensor, colour: Tensor, cover: Tensor
    ) -> Tensor:
        """Return x_t + signal (E(p') - E(p)), with p = D(x_0) and p' what is painted over it.

        The autoencoder's own error is in both and falls out.
        """
        picture = self.decode(x0)
        painted = picture + cover * (colour - picture)
        return x_t + signal * (self.encode(painted) - self.encode(picture))

    def _parts(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Return a batch of pictures or latents in parts of at most `PART` pixels."""
        _, height, width = self.picture_shape
        return torch.split(batch, max(1, PART // (height * width)))

    def _all(self, values: Tensor) -> Tensor:
        return rearrange(values, "c -> c 1 1")


def encode_mode(autoencoder: Autoencoder, x: Tensor) -> Tensor:
    """Return E(x) as the autoencoder gives it; of a distribution its mean, which is its mode."""
    found = autoencoder.encode(x)
    return found if isinstance(found, Tensor) else found.mean


def new_autoencoder(config: FirstStageConfig, channels: int) -> AutoencoderKL:
    """Return the untrained autoencoder that the settings describe, with latents of `channels`."""
    ddconfig = {
        "ch": config.ch,
        "ch_mult": config.ch_mult,
        "num_res_blocks": config.autoencoder_blocks,
        "z_channels": channels,
        "patch": config.patch,
        "mid_attention": False,
    }
    return AutoencoderKL(ddconfig, channels)


def describe_autoencoder(shapes: Shapes) -> Autoencoder:
    """Return the autoencoder, without storage, whose tensors have these shapes, by their names.

    Raises `InputError` where they are those of none.
    """
    try:
        with torch.device("meta"):
            return _like_tiny(shapes) if "encoder.0.weight" in shapes else _like_kl(shapes)
    except (LookupError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(NO_AUTOENCODER) from None


def _like_tiny(shapes: Shapes) -> TinyAutoencoder:
    last = max(int(name.split(".")[1]) for name in shapes if name.startswith("encoder."))
    pooled = any(".pool." in name for name in shapes)
    return TinyAutoencoder(shapes[f"encoder.{last}.weight"][0], pooled)


def _like_kl(shapes: Shapes) -> AutoencoderKL:
    """Return the autoencoder of latent diffusion; its picture is colour."""
    ch, folded = shapes["encoder.conv_in.weight"][:2]
    levels = _count(shapes, "encoder.down.{}.block.0.conv2.weight")
    z_channels = shapes["decoder.conv_in.weight"][1]
    patch = math.isqrt(folded // 3)
    if not levels or 3 * patch**2 != folded:
        raise InputError(NO_AUTOENCODER)
    attended = [k for k in range(levels) if f"encoder.down.{k}.attn.0.q.weight" in shapes]
    widths = [shapes[f"encoder.down.{k}.block.0.conv2.weight"][0] for k in range(levels)]
    ddconfig: dict[str, Any] = {
        "ch": ch,
        "ch_mult": tuple(width // ch for width in widths),
        "num_res_blocks": _count(shapes, "encoder.down.0.block.{}.conv2.weight"),
        "attn_resolutions": tuple(ATTENTION_AT // (patch * 2**level) for level in attended),
        "resolution": ATTENTION_AT,
        "z_channels": z_channels,
        "double_z": shapes["encoder.conv_out.weight"][0] == 2 * z_channels,
        "patch": patch,
        "mid_attention": "encoder.mid.attn_1.q.weight" in shapes,
    }
    return AutoencoderKL(ddconfig, shapes["post_quant_conv.weight"][1])


def _count(shapes: Shapes, name: str) -> int:
    """Return how many tensors there are whose names hold 0, 1, 2, ... at the braces."""
    return next(k for k in range(MOST_LEVELS + 1) if name.format(k) not in shapes)
