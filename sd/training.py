"""Training: Algorithm 1 as a generator of `TrainStep`; it writes no file.

Every draw is a function of (seed, purpose, step): the order of the pictures, their times and their
noise need no state that could be lost, and nothing that a consumer draws can disturb them.
"""

import copy
import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sd.checkpoints import Model
from sd.config import Config, TrainingConfig
from sd.data import ImageSet
from sd.device import Machine
from sd.gate import InputError
from sd.images import to_float
from sd.unet import UNetModel

MEMORY_FORMAT = torch.channels_last


@dataclass(frozen=True)
class TrainStep:
    """One completed optimiser step.

    step: 1..total. loss: weighted, before this step's update. lr: learning rate used. grad_norm:
    length of the gradient before clipping. seconds: wall time. model: the averaged (EMA) weights
    so far, a live view that the next step changes.
    """

    step: int
    total: int
    loss: float
    lr: float
    grad_norm: float
    seconds: float
    model: Model


def stream(seed: int, purpose: str, step: int) -> torch.Generator:
    """Return the random generator of one purpose at one step, independent of all others."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def total_steps(training: TrainingConfig, pictures: int) -> int:
    """Return the optimiser steps of a run: those asked for, or epochs x pictures / batch."""
    return training.steps or math.ceil(training.epochs * pictures / training.batch_size)


def batch_indices(pictures: int, batch: int, step: int, seed: int) -> Tensor:
    """Return which pictures [batch] step 1, 2, ... sees: whole permutations, one after another."""
    first = (step - 1) * batch
    epochs = range(first // pictures, (first + batch - 1) // pictures + 1)
    orders = [torch.randperm(pictures, generator=stream(seed, "order", e)) for e in epochs]
    start = first - epochs[0] * pictures
    return torch.cat(orders)[start : start + batch]


def draw_times(batch: int, timesteps: int, source: torch.Generator) -> Tensor:
    """Return one t in 1..T for each picture [batch], one from each of `batch` equal strata.

    Each t is uniform; together they cover all noise levels at every step, which calms the loss
    (Kingma et al. 2021, appendix I.1).
    """
    u = (torch.arange(batch) + torch.rand(batch, generator=source, dtype=torch.float64)) / batch
    return (u * timesteps).long().clamp(max=timesteps - 1) + 1


def learning_rate(training: TrainingConfig, step: int) -> float:
    """Return the rate of a step: rising evenly over the warm-up, then constant."""
    return training.learning_rate * min(1.0, step / max(training.warmup_steps, 1))


def ema_decay(limit: float, step: int) -> float:
    """Return the EMA's decay at a step: min(limit, (1 + n) / (10 + n)), young averages forget."""
    return min(limit, (1 + step) / (10 + step))


def new_network(config: Config, seed: int) -> UNetModel:
    """Return the network of a configuration with the initial weights of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(stream(seed, "weights", 0).initial_seed())
        return UNetModel.from_config(config.unet)


def check_trainable(config: Config, images: ImageSet) -> None:
    """Raise `InputError` for what the network can be but training on pictures cannot use."""
    unet = config.unet
    if unet.dims != 2:
        raise InputError(f"unet.dims = {unet.dims}: pictures are trained with dims = 2")
    if unet.num_classes is not None:
        raise InputError(
            f"unet.num_classes = {unet.num_classes}: training by class is not here yet"
        )
    if unet.context_dim is not None:
        raise InputError(f"unet.context_dim = {unet.context_dim}: training by text is not here yet")
    if not len(images.pixels):
        raise InputError("no pictures to train on")


class Training:
    """A network in training on a picture set; `steps` runs it."""

    def __init__(self, config: Config, images: ImageSet, seed: int, machine: Machine) -> None:
        check_trainable(config, images)
        self.config, self.seed, self.machine = config, seed, machine
        self.pixels = images.pixels
        self.total = total_steps(config.training, len(images.pixels))
        network = new_network(config, seed)
        self.network = network.to(machine.device, memory_format=MEMORY_FORMAT).train()  # type: ignore[call-overload]
        average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.model = Model(average, config)
        self.diffusion = self.model.diffusion
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=config.training.learning_rate,
            weight_decay=config.training.weight_decay,
        )

    def steps(self) -> Iterator[TrainStep]:
        """Yield a `TrainStep` after each completed step; raise `InputError` if the loss is lost."""
        for step in range(1, self.total + 1):
            started = time.perf_counter()
            x0, t, eps = self._batch(step)
            loss = self._loss(x0, t, eps, step)
            value = self._finite("loss", float(loss.detach()), step)
            torch.autograd.backward(loss)
            lr, grad_norm = self._update(step)
            seconds = time.perf_counter() - started
            yield TrainStep(step, self.total, value, lr, grad_norm, seconds, self.model)

    def _finite(self, name: str, value: float, step: int) -> float:
        """Return `value`; raise `InputError`, before it can reach the weights, if it is lost."""
        if not math.isfinite(value):
            rate = self.config.training.learning_rate
            raise InputError(
                f"the {name} is not a finite number at step {step}: "
                f"training.learning_rate = {rate:g} may be too high"
            )
        return value

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return pictures in [-1, 1], their times and their noise for a step."""
        size = self.config.training.batch_size
        chosen = batch_indices(len(self.pixels), size, step, self.seed)
        t = draw_times(size, self.diffusion.schedule.timesteps, stream(self.seed, "time", step))
        x0 = to_float(self.pixels[chosen])
        eps = torch.randn(x0.shape, generator=stream(self.seed, "noise", step))
        device = self.machine.device
        x0 = x0.to(device, memory_format=MEMORY_FORMAT)
        return x0, t, eps.to(device, memory_format=MEMORY_FORMAT)

    def _loss(self, x0: Tensor, t: Tensor, eps: Tensor, step: int) -> Tensor:
        lower = self.config.training.precision == "bfloat16"
        # Dropout knows only the global generator: lend it this step's own, then give it back.
        with torch.random.fork_rng(), torch.autocast(x0.device.type, torch.bfloat16, lower):
            torch.manual_seed(stream(self.seed, "dropout", step).initial_seed())
            return self.diffusion.loss(self.network, x0, t, eps).mean

    def _update(self, step: int) -> tuple[float, float]:
        """Clip, step, average; return the rate used and the gradient's length."""
        training = self.config.training
        parameters: list[Tensor] = list(self.network.parameters())
        lr = learning_rate(training, step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        limit = training.grad_clip or math.inf
        grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        self._finite("gradient", grad_norm, step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        averages: list[Tensor] = list(self.model.network.parameters())
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 1 - ema_decay(training.ema_decay, step))
        return lr, grad_norm


def train(config: Config, images: ImageSet, seed: int, machine: Machine) -> Iterator[TrainStep]:
    """Train a new network and yield each completed step; draining it is the plain call."""
    return Training(config, images, seed, machine).steps()
