"""The sizes of pictures among which a plan chooses, each with a network for it."""

from functools import cache
from typing import NamedTuple

from sd.config import Config
from sd.config.sections import OWN
from sd.networks.blueprint import blueprint

BASE = "tiny"  # the preset from which a plan's settings differ
HELD_OUT = 0.05
FEWEST_PLACES = 3  # a side, of a level that attends
PIXELS = "pixels"


class SizePreset(NamedTuple):
    """A size of pictures with a network for it; its shapes show after `enough` steps.

    patch: the side of the blocks of places that enter as one position. base: the preset with all
    else, as what the network estimates and whether it sees latents.
    """

    side: int
    patch: int
    channels: int
    mult: tuple[int, ...]
    batch: int
    rate: float
    enough: int
    base: str = BASE

    def config(self, channels: int) -> Config:
        """Return the settings of this size for grey (1) or colour (3) pictures."""
        base = _preset(self.base)
        sizes = [f"training.input_{each}={self.side}" for each in ("height", "width")]
        colour = [f"unet.{each}={channels}" for each in ("channel", "n_embed")]
        network = [
            f"unet.patch_size={self.patch}",
            f"unet.model_channels={self.channels}",
            f"unet.channel_mult={list(self.mult)}",
            f"unet.attention_resolutions=[{2 ** self._attending(base.factor)}]",
            f"training.batch_size={self.batch}",
            f"training.learning_rate={self.rate}",
            f"training.held_out={HELD_OUT}",
        ]
        return base.with_settings([*sizes, *([] if base.is_latent else colour), *network])

    def _attending(self, factor: int) -> int:
        """Return the lowest level that still has places enough to attend between."""
        levels = range(len(self.mult))
        return max(k for k in levels if self.side >= FEWEST_PLACES * self.patch * factor * 2**k)

    @property
    def is_latent(self) -> bool:
        """Whether its network sees latents."""
        return _preset(self.base).is_latent

    @property
    def work(self) -> int:
        """The operations of a step, forward."""
        return _work(self)


@cache
def _preset(name: str) -> Config:
    return Config.preset(name)


@cache
def _work(size: SizePreset) -> int:
    config = size.config(3)
    return size.batch * blueprint(config.unet, *config.latent_shape[1:]).operations


# Shapes at 32 pixels need about 1,200 steps of 32 pictures (digits are clear after 200), at 64
# some 3,000; what is smaller and simpler is learned in fewer, what is larger needs more.
# Blocks of 4 x 4 pixels make 64 pixels as cheap a step as 32 in blocks of 2 x 2, so 48 is left out.
PIXEL_SIZES = (
    SizePreset(16, 2, 32, (1, 2), 32, 0.002, 600),
    SizePreset(24, 4, 32, (2, 3, 3), 32, 0.002, 900),
    SizePreset(32, 4, 32, (2, 3, 3), 32, 0.002, 1200),
    SizePreset(64, 4, 32, (2, 3, 3), 32, 0.002, 3000, "small"),
    SizePreset(64, 2, 64, (2, 2, 3, 4), 64, 0.0005, 10000),
)
# Latents of 128 pixels cost what 64 pixels in blocks do, those of 256 pixels too.
LATENT_SIZES = (
    SizePreset(128, 1, 32, (2, 3, 3), 32, 0.002, 6000, "latent128"),
    SizePreset(256, 2, 32, (2, 3, 3), 32, 0.002, 10000, "latent256"),
)
OWN_SIZES = (SizePreset(64, 1, 32, (2, 3, 3), 32, 0.002, 6000, "latent-own"),)
SIZE_PRESETS = (*PIXEL_SIZES, *LATENT_SIZES, *OWN_SIZES)  # by place: what was measured is kept so


def sizes_for(first_stage: str | None) -> tuple[SizePreset, ...]:
    """Return the sizes to choose among, smallest first.

    first_stage: what is asked for, as first_stage.autoencoder; None where nothing is.
    """
    if first_stage is None:
        return PIXEL_SIZES + LATENT_SIZES
    if first_stage == PIXELS:
        return PIXEL_SIZES
    return OWN_SIZES if first_stage == OWN else LATENT_SIZES


def worth_it(sizes: list[SizePreset]) -> list[SizePreset]:
    """Return the sizes without those that cost more than a larger one until its shapes show."""
    costs = [size.work * size.enough for size in sizes]
    return [size for k, size in enumerate(sizes) if costs[k] <= min(costs[k:])]
