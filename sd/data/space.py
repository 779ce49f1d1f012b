"""The space in which pictures are sampled, and the one door between it and pictures.

Samplers and their steps know only z, a point of that space. Whatever a person gives or sees (a
start picture, a mask, paint; a PNG, a film, a sample grid) passes through a `Space`. In `Pixels` z
is the picture itself; the latents of an autoencoder are another space.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, int, int]


class Space(Protocol):
    """The way from pictures x, floats in [-1, 1], to z and back."""

    @property
    def latent_shape(self) -> Shape:
        """The shape (c, h, w) of z."""

    @property
    def picture_shape(self) -> Shape:
        """The shape (C, H, W) of x, with 1, 3 or 4 channels; H / h = W / w is a whole number."""

    @property
    def clips(self) -> bool:
        """Whether an estimate of z may be cut to [-1, 1]."""

    def encode(self, x: Tensor) -> Tensor:
        """Return z [N, c, h, w] of pictures [N, C, H, W]."""

    def decode(self, z: Tensor) -> Tensor:
        """Return the pictures [N, C, H, W] of z [N, c, h, w], in parts that bound the memory."""

    def preview(self, z: Tensor) -> Tensor:
        """Return a quick view of z, or of noise, [..., c, h, w] as pictures [..., C, h, w]."""

    def paint(
        self, x_t: Tensor, x0: Tensor, signal: float | Tensor, colour: Tensor, cover: Tensor
    ) -> Tensor:
        """Return x_t = signal x_0 + noise with another x_0 under the same noise.

        Where paint covers a share of the picture of x_0, the picture goes so far towards `colour`.
        """


@dataclass(frozen=True)
class Pixels:
    """Pictures sampled as they are: z is x."""

    picture_shape: Shape

    @property
    def latent_shape(self) -> Shape:
        """The shape of the pictures themselves."""
        return self.picture_shape

    @property
    def clips(self) -> bool:
        """Pictures lie in [-1, 1]."""
        return True

    def encode(self, x: Tensor) -> Tensor:
        """Return the pictures."""
        return x

    def decode(self, z: Tensor) -> Tensor:
        """Return the pictures."""
        return z

    def preview(self, z: Tensor) -> Tensor:
        """Return the pictures."""
        return z

    def paint(
        self, x_t: Tensor, x0: Tensor, signal: float | Tensor, colour: Tensor, cover: Tensor
    ) -> Tensor:
        """Return x_t + signal cover (colour - x_0)."""
        return x_t + signal * cover * (colour - x0)


@dataclass(frozen=True, eq=False)
class KeptOutside:
    """A space whose pictures are `picture` [C, H, W] to the bit wherever `weight` [1, H, W] is 0.

    Where it is 1 they are decoded as ever: an autoencoder loses a little of every pixel, and so it
    would of those that nobody wanted to have changed.
    """

    space: Space
    picture: Tensor
    weight: Tensor

    @property
    def latent_shape(self) -> Shape:
        """The shape of z."""
        return self.space.latent_shape

    @property
    def picture_shape(self) -> Shape:
        """The shape of the pictures."""
        return self.space.picture_shape

    @property
    def clips(self) -> bool:
        """Whether an estimate of z may be cut to [-1, 1]."""
        return self.space.clips

    def encode(self, x: Tensor) -> Tensor:
        """Return z of pictures."""
        return self.space.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Return the pictures of z, the known one laid back."""
        x = self.space.decode(z)
        return torch.lerp(self.picture.to(x), x, self.weight.to(x))  # exact at 0 and at 1

    def preview(self, z: Tensor) -> Tensor:
        """Return a quick view of z, all of it."""
        return self.space.preview(z)

    def paint(
        self, x_t: Tensor, x0: Tensor, signal: float | Tensor, colour: Tensor, cover: Tensor
    ) -> Tensor:
        """Return x_t with another x_0 under the same noise."""
        return self.space.paint(x_t, x0, signal, colour, cover)


def factor_of(space: Space) -> int:
    """Return how many pixels a place of z covers along a side."""
    return space.picture_shape[1] // space.latent_shape[1]


def is_finite(x: Tensor) -> bool:
    """Tell whether all values are; their sum tells it quickly, unless it is too large itself."""
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())


def encode_mask(mask: Tensor, space: Space) -> Tensor:
    """Return a picture's mask [1, H, W] as a mask of z [1, h, w]: the largest values."""
    return F.adaptive_max_pool2d(mask, space.latent_shape[1:])


def feather(mask: Tensor, width: int) -> Tensor:
    """Return a mask [1, H, W] of 0..1 that rises from its rim inwards, over `width` pixels.

    It is 0 wherever the mask is, and 1 so far within: the mean of the mask and of all that is left
    of it when 1, 2, ..., width - 1 pixels are taken from its rim.
    """
    eroded = [1 - F.max_pool2d(1 - mask, 2 * r + 1, stride=1, padding=r) for r in range(width)]
    return torch.stack(eroded).mean(0)
