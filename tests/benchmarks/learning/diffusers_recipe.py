"""diffusers: the recipe of its examples/unconditional_image_generation/train_unconditional.py.

Batch 16, AdamW at 1e-4, a cosine rate, gradients cut to 1, EMA, linear schedule, epsilon. Two
things are kinder than the example's defaults. Its network of 113 million parameters is hopeless on
two cores: `course`, the default here, is the smaller one of Hugging Face's diffusion course;
`--diffusers-net example` takes the example's own. And its warm-up of 500 steps could be all of a
short training: here it is a tenth of the steps that the time allows, for which a few are timed on
a copy before the clock starts.
"""

import copy
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import diffusers
import torch
import torch.nn.functional as F
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, UNet2DModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from tests.benchmarks.learning.contest import CHANNELS, SAMPLER_STEPS, SIDE, Task, unpack

SEED = 0
BATCH, RATE, BETAS, WEIGHT_DECAY, EPSILON = 16, 1e-4, (0.95, 0.999), 1e-6, 1e-8
CLIP, TIMESTEPS = 1.0, 1000
EMA = {"decay": 0.9999, "use_ema_warmup": True, "inv_gamma": 1.0, "power": 3 / 4}
WARMUP_SHARE, TRIED_STEPS = 0.1, 6


class Net(NamedTuple):
    """The widths of a network's levels, and which of them attend."""

    widths: tuple[int, ...]
    attends: tuple[int, ...]


NETS = {
    "course": Net((64, 128, 128, 256), (2, 3)),
    "example": Net((128, 128, 256, 256, 512, 512), (4,)),
}


def network(net: Net) -> UNet2DModel:
    """Return a network with two layers a block and fresh weights."""
    levels = range(len(net.widths))
    down = ["AttnDownBlock2D" if each in net.attends else "DownBlock2D" for each in levels]
    up = ["AttnUpBlock2D" if each in net.attends else "UpBlock2D" for each in reversed(levels)]
    return UNet2DModel(
        sample_size=SIDE,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        layers_per_block=2,
        block_out_channels=net.widths,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
    )


def loader(folder: Any) -> DataLoader[Any]:
    """Return the example's way to read pictures, in grey."""
    steps = [
        transforms.Grayscale(CHANNELS),
        transforms.Resize(SIDE, interpolation=transforms.InterpolationMode.BILINEAR),
        transforms.RandomCrop(SIDE),
        transforms.ToTensor(),
        transforms.Normalize([0.5], [0.5]),
    ]
    pictures = ImageFolder(folder, transforms.Compose(steps))
    return DataLoader(pictures, batch_size=BATCH, shuffle=True, num_workers=0)


class DiffusersRecipe:
    """The example's loop, one step at a time."""

    def __init__(self, task: Task) -> None:
        torch.manual_seed(SEED)
        self.noise = DDPMScheduler(num_train_timesteps=TIMESTEPS)
        self.loader = loader(unpack(task.images, task.scratch / "pictures"))
        self.net = network(NETS[task.net]).train()
        planned = max(1, round(task.seconds / self._step_seconds()))
        self._prepare(planned)
        self.batch = BATCH
        self.parameters = sum(each.numel() for each in self.net.parameters())
        warmup = f"warm-up {round(WARMUP_SHARE * planned)} of {planned} planned steps"
        self.changed = (f"{task.net} network", warmup)
        self.versions = {"torch": torch.__version__, "diffusers": diffusers.__version__}

    def _prepare(self, planned: int) -> None:
        """Make what a training of so many steps needs."""
        self.planned = planned
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, eps=EPSILON
        )
        warmup = round(WARMUP_SHARE * planned)
        self.rates = get_cosine_schedule_with_warmup(self.optimizer, warmup, planned)
        self.ema = EMAModel(self.net.parameters(), **EMA)

    def _step_seconds(self) -> float:
        """Return what a step takes, median of a few; they are then undone."""
        kept = copy.deepcopy(self.net.state_dict())
        self._prepare(TRIED_STEPS)
        marks = [time.perf_counter()]
        for _ in itertools.islice(self.steps(), TRIED_STEPS):
            marks.append(time.perf_counter())
        self.net.load_state_dict(kept)
        spent = [after - before for before, after in itertools.pairwise(marks)]
        return statistics.median(spent[1:])  # the first warms up

    def steps(self) -> Iterator[int]:
        """Train, epoch after epoch; yield the number of each completed step."""
        epochs = itertools.chain.from_iterable(self.loader for _ in itertools.count())
        for number, (clean, _) in enumerate(epochs, start=1):
            eps = torch.randn(clean.shape)
            t = torch.randint(0, TIMESTEPS, (len(clean),))
            noisy = self.noise.add_noise(clean, eps, t)
            F.mse_loss(self.net(noisy, t).sample, eps).backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
            self.optimizer.step()
            if number < self.planned:  # beyond its last step the cosine would rise again
                self.rates.step()
            self.optimizer.zero_grad()
            self.ema.step(self.net.parameters())
            yield number

    def sample(self, seeds: Sequence[int]) -> Tensor:
        """Return pictures made with the averaged weights by its own DDIM pipeline."""
        self.ema.store(self.net.parameters())
        self.ema.copy_to(self.net.parameters())
        pipeline = DDIMPipeline(self.net.eval(), DDIMScheduler.from_config(self.noise.config))
        pipeline.set_progress_bar_config(disable=True)
        made = pipeline(len(seeds), num_inference_steps=SAMPLER_STEPS, output_type="np").images
        self.ema.restore(self.net.parameters())
        self.net.train()
        return torch.from_numpy(made).permute(0, 3, 1, 2) * 2 - 1


def begin(task: Task) -> DiffusersRecipe:
    """Return it ready for its first step."""
    return DiffusersRecipe(task)
