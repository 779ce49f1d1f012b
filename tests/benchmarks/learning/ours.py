"""Ours: `Training` on the preset `tiny`, made grey and told nothing, none held out again."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sd.common import device
from sd.config import Config
from sd.training.loop import Training
from tests.benchmarks.learning.contest import CHANNELS, SAMPLER_STEPS, Task

SEED = 0
SETTINGS = (
    f"unet.channel={CHANNELS}",
    f"unet.n_embed={CHANNELS}",
    "training.held_out=0",
    "conditioning.kind=none",
)


class Ours:
    """What a newcomer gets."""

    def __init__(self, task: Task) -> None:
        config = Config.preset("tiny").with_settings([*SETTINGS, *task.settings])
        machine = device.choose("cpu").apply()
        self.training = Training(config, task.images, SEED, machine)
        self.batch = config.training.batch_size * config.training.gradient_accumulation
        self.parameters = sum(each.numel() for each in self.training.network.parameters())
        self.changed = task.settings
        self.versions = {"torch": torch.__version__}

    def steps(self) -> Iterator[int]:
        """Train; yield the number of each completed step."""
        for step in self.training.steps():
            yield step.step

    def sample(self, seeds: Sequence[int]) -> Tensor:
        """Return a picture a seed, made with the averaged weights."""
        model = self.training.model
        sampling = model.sampling("ddim", SAMPLER_STEPS)
        return sampling.sample(model.denoiser, model.shape, seeds, "cpu")


def begin(task: Task) -> Ours:
    """Return it ready for its first step."""
    return Ours(task)
