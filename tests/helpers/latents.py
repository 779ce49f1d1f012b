"""A space that is not that of the pictures: 8 x 8 grey pictures as 4 x 4 places of four channels.

Four, because those could be taken for a picture with transparency.
"""

from functools import cached_property
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor

from sd.checkpoints.model import Model
from sd.config import Config
from sd.data import images
from sd.data.space import Shape, Space
from sd.generation import film
from sd.training.randomness import new_network
from tests.helpers.networks import with_weights


class Blocks:
    """Blocks of 2 x 2 pixels as channels, twice as bright and shifted: decoding is exact."""

    latent_shape: Shape = (4, 4, 4)
    picture_shape: Shape = (1, 8, 8)
    clips = False

    def encode(self, x: Tensor) -> Tensor:
        """Return z of pictures."""
        return 2 * F.pixel_unshuffle(x, 2) + 0.5

    def decode(self, z: Tensor) -> Tensor:
        """Return the pictures of z."""
        return F.pixel_shuffle((z - 0.5) / 2, 2)

    def preview(self, z: Tensor) -> Tensor:
        """Return each block's mean."""
        return (z.mean(-3, keepdim=True) - 0.5) / 2

    def paint(
        self, x_t: Tensor, x0: Tensor, signal: float | Tensor, colour: Tensor, cover: Tensor
    ) -> Tensor:
        """Return x_t with the picture of x_0 painted over."""
        picture = self.decode(x0)
        painted = picture + cover * (colour - picture)
        return x_t + signal * (self.encode(painted) - self.encode(picture))


class LatentModel(Model):
    """A model whose network sees blocks."""

    @cached_property
    def space(self) -> Space:
        """The space of blocks."""
        return Blocks()


def latent_model(config: Config) -> LatentModel:
    """Return a model of random weights; `config` is that of its pictures, grey and 8 x 8."""
    seen = ["unet.channel=4", "unet.n_embed=4", "unet.patch_size=1"]
    size = ["training.input_height=4", "training.input_width=4"]
    network = new_network(config.with_settings([*seen, *size]), 0).eval()
    return LatentModel(with_weights(network), config)


@pytest.fixture
def only_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing but grey pictures through what turns tensors into pixels."""

    def watched(convert: Any, channels: int) -> Any:
        def converted(x: Tensor, *more: Any) -> Any:
            assert x.shape[channels] == 1, tuple(x.shape)
            return convert(x, *more)

        return converted

    monkeypatch.setattr(images, "to_uint8", watched(images.to_uint8, -3))
    monkeypatch.setattr(film, "tile_frames", watched(film.tile_frames, -3))
