"""denoising-diffusion-pytorch: its `Trainer` itself, with its defaults, on `Unet(dim=32)`.

Two of the defaults are not kept. `augment_horizontal_flip` is off, for mirrored digits are none
and only its distance would suffer; `calculate_fid` is off, for it would load another network.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import version

import torch
from denoising_diffusion_pytorch import GaussianDiffusion, Trainer, Unet
from torch import Tensor

from tests.benchmarks.learning.contest import CHANNELS, SAMPLER_STEPS, SIDE, Task, unpack

SEED = 0
DIM, TIMESTEPS = 32, 1000
NEVER = 10**9  # steps between the samples and checkpoints of its own


@contextmanager
def quiet() -> Iterator[None]:
    """Keep its progress bars off the terminal."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


class Ddpm:
    """Its training runs for a number of steps: it is told to do one more, again and again."""

    def __init__(self, task: Task) -> None:
        torch.manual_seed(SEED)
        os.environ["ACCELERATE_USE_CPU"] = "true"
        self.diffusion = GaussianDiffusion(
            Unet(dim=DIM, channels=CHANNELS),
            image_size=SIDE,
            timesteps=TIMESTEPS,
            sampling_timesteps=SAMPLER_STEPS,
        )
        self.trainer = Trainer(
            self.diffusion,
            str(unpack(task.images, task.scratch / "pictures")),
            augment_horizontal_flip=False,
            calculate_fid=False,
            save_and_sample_every=NEVER,
            results_folder=str(task.scratch / "results"),
        )
        self.batch = self.trainer.batch_size * self.trainer.gradient_accumulate_every
        self.parameters = sum(each.numel() for each in self.diffusion.parameters())
        self.changed = (f"dim {DIM}", "no mirroring")
        names = ("denoising-diffusion-pytorch", "ema-pytorch", "accelerate")
        self.versions = {"torch": torch.__version__, **{name: version(name) for name in names}}

    def steps(self) -> Iterator[int]:
        """Train; yield the number of each completed step."""
        trainer = self.trainer
        while True:
            trainer.train_num_steps = trainer.step + 1
            with quiet():
                trainer.train()
            yield trainer.step

    def sample(self, seeds: Sequence[int]) -> Tensor:
        """Return pictures made with the averaged weights by its own DDIM, as its trainer does."""
        model = self.trainer.ema.ema_model
        model.eval()
        with quiet():
            made: Tensor = model.sample(batch_size=len(seeds))
        return made.clone() * 2 - 1


def begin(task: Task) -> Ddpm:
    """Return it ready for its first step."""
    return Ddpm(task)
