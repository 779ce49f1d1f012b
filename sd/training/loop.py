"""Training: Algorithm 1 as a generator of `TrainStep`; it writes no file.

Every draw is a function of (seed, purpose, step), see `sd.training.randomness`.
"""

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sd.checkpoints.model import Model
from sd.common.device import Machine
from sd.common.validation import InputError, whole
from sd.config import Config
from sd.config.conditioning_kind import check_ports
from sd.config.sections import MOST_STEPS, TrainingConfig
from sd.data.augment import augment
from sd.data.image_set import ImageSet, split
from sd.data.images import to_float
from sd.networks.conditioning import load_tensors, parameters_of, tensors_of
from sd.networks.conditioning_metadata import default_prompts
from sd.training.evaluation import (
    EVALUATED,  # part of this module's interface
    MEMORY_FORMAT,
    Evaluation,
    evenly_spaced_rows,
    levels,
    losses,
    told_network,
)
from sd.training.optimizers import Optimizer
from sd.training.prompts import drop_prompts, metadata_of, prompts_of, resolve
from sd.training.randomness import (
    batch_indices,  # part of this module's interface
    draw_times,
    new_conditioner,
    new_network,
    stream,
)

MOST_SKIPPED = 5  # steps in a row without a finite gradient


@dataclass(frozen=True)
class TrainStep:
    """One completed optimiser step.

    step: 1..total. loss: weighted, before this step's update. lr: learning rate used. grad_norm:
    length of the gradient before clipping. seconds: wall time. skipped: loss or gradient was not
    finite, so nothing changed. model: the averaged (EMA) weights so far, a live view that the next
    step changes.
    """

    step: int
    total: int
    loss: float
    lr: float
    grad_norm: float
    seconds: float
    skipped: bool
    model: Model


def total_steps(training: TrainingConfig, pictures: int) -> int:
    """Return the optimiser steps of a run: those asked for, or enough for all epochs."""
    at_once = training.batch_size * training.gradient_accumulation
    return training.steps or math.ceil(training.epochs * pictures / at_once)


def learning_rate(training: TrainingConfig, step: int) -> float:
    """Return the rate of a step: rising evenly over the warm-up, then constant."""
    return training.learning_rate * min(1.0, step / max(training.warmup_steps, 1))


def ema_decay(limit: float, step: int) -> float:
    """Return the EMA's decay at a step: min(limit, (1 + n) / (10 + n)), young averages forget."""
    return min(limit, (1 + step) / (10 + step))


def check_trainable(config: Config, images: ImageSet) -> None:
    """Raise `InputError` for what the network can be but training on pictures cannot use."""
    if config.unet.dims != 2:
        raise InputError(f"unet.dims = {config.unet.dims}: pictures are trained with dims = 2")
    if not len(images.pixels):
        raise InputError("no pictures to train on")
    check_ports(config)


class NotFinite(InputError):
    """The end of a training whose loss or gradient is no number any more, at `step`."""

    def __init__(self, step: int, training: TrainingConfig) -> None:
        rate, lower = training.learning_rate, training.lower_rate
        super().__init__(
            f"loss or gradient is not a finite number at {MOST_SKIPPED} steps in a row, up to step "
            f"{step}: training.learning_rate = {rate:g} may be too high; try {lower:.2g}"
        )
        self.step = step


class Training:
    """A network in training on a picture set; `steps` runs it from `step`, which `restore` sets.

    config: what it is told is resolved for these pictures. conditioner: reads it, trained along.
    """

    def __init__(
        self,
        config: Config,
        images: ImageSet,
        seed: int,
        machine: Machine,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin; `metadata` are those of the conditioner of a training that goes on."""
        config = resolve(config, images)
        check_trainable(config, images)
        self.config, self.seed, self.machine = config, seed, machine
        self.pixels = images.pixels
        self.rows, self.held_out = split(images, config.training.held_out, seed)
        self.total = total_steps(config.training, len(self.rows))
        self.step = self.updates = self.skipped = 0  # done; of these with an update; in a row none
        network = new_network(config, seed)
        self.network = network.to(machine.device, memory_format=MEMORY_FORMAT).train()  # type: ignore[call-overload]
        self._build_conditioner(images, metadata)
        average = copy.deepcopy(self.network).eval().requires_grad_(False)
        told = copy.deepcopy(self.conditioner)
        if told is not None:
            told.eval().requires_grad_(False)
        self.model = Model(average, config, conditioner=told)
        self.diffusion = self.model.diffusion
        self.optimizer = Optimizer(self._parameters(), config.training, machine.device)
        wanted = config.training.compile
        self._called = torch.compile(self.network) if wanted else self.network

    def _build_conditioner(self, images: ImageSet, metadata: Mapping[str, Any] | None) -> None:
        """Make the conditioner, read what is told of every picture, and choose what to sample."""
        metadata = metadata_of(self.config, images, self.rows) if metadata is None else metadata
        self.conditioner = new_conditioner(self.config, metadata, self.seed)
        self.sample_prompts: tuple[str, ...] = ()
        if self.conditioner is None:
            return
        prompts = prompts_of(self.conditioner, images)
        self._prompt_rows, self._null_row = (
            self.conditioner.read(prompts),
            self.conditioner.read([""]),
        )
        wanted = self.config.conditioning.sample_prompts
        if wanted is None:
            there = [prompts[row] for row in self.rows.tolist() if prompts[row]]
            wanted = default_prompts(None, self.conditioner.labels, there)
        self.conditioner.read(wanted)  # a class that is not there is refused before the first step
        self.sample_prompts = wanted
        self.conditioner.to(self.machine.device)

    def _parameters(self) -> dict[str, torch.nn.Parameter]:
        return parameters_of(self.network, self.conditioner)

    @property
    def raw(self) -> Model:
        """The weights themselves, not averaged, as a model to sample from."""
        return Model(self.network, self.config, conditioner=self.conditioner)

    def steps(self) -> Iterator[TrainStep]:
        """Yield each step up to `total` when it is complete."""
        while self.step < self.total:
            started, step = time.perf_counter(), self.step + 1
            loss = self._gradients(step)
            lr = learning_rate(self.config.training, step)
            grad_norm = self._update(step, lr) if math.isfinite(loss) else math.nan
            self._count(step, math.isfinite(loss) and math.isfinite(grad_norm))
            seconds = time.perf_counter() - started
            yield TrainStep(
                step, self.total, loss, lr, grad_norm, seconds, bool(self.skipped), self.model
            )

    def _count(self, step: int, updated: bool) -> None:
        """Count a step; raise `NotFinite` where too many in a row gave no finite gradient."""
        self.step = step
        self.updates += updated
        self.skipped = 0 if updated else self.skipped + 1
        if self.skipped >= MOST_SKIPPED:
            raise NotFinite(step, self.config.training)

    def _gradients(self, step: int) -> float:
        """Add up the gradients of a step's batches, none if a loss is lost; return their mean."""
        x0, t, eps, told = self._pictures(step)
        count = self.config.training.gradient_accumulation
        parts = zip(
            x0.chunk(count), t.chunk(count), eps.chunk(count), told.chunk(count), strict=True
        )
        total = 0.0
        for number, (pictures, times, noise, rows) in enumerate(parts):
            pictures, noise = self._there(pictures), self._there(noise)
            loss = self._loss(pictures, times, noise, rows, step, number)
            value = float(loss.detach()) / count
            total += value
            if not math.isfinite(total):
                self.optimizer.zero_grad()
                break
            torch.autograd.backward(loss / count)
        return total

    def _there(self, tensor: Tensor) -> Tensor:
        """Return pictures where the network is, laid out as it likes them."""
        device = self.machine.device
        if device == "cuda":  # from pinned memory the copy runs beside the computation
            tensor = tensor.pin_memory()
        return tensor.to(device, memory_format=MEMORY_FORMAT, non_blocking=device == "cuda")

    def _pictures(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return all batches of a step: pictures in [-1, 1], times, noise, and what is told."""
        training = self.config.training
        size = training.batch_size * training.gradient_accumulation
        chosen = self.rows[batch_indices(len(self.rows), size, step, self.seed)]
        t = draw_times(size, self.diffusion.schedule.timesteps, stream(self.seed, "time", step))
        pixels = augment(self.pixels[chosen], training, stream(self.seed, "augment", step))
        x0 = to_float(pixels)
        eps = torch.randn(x0.shape, generator=stream(self.seed, "noise", step))
        return x0, t, eps, self._rows(chosen, step)

    def _rows(self, chosen: Tensor, step: int) -> Tensor:
        """Return what is told of the chosen pictures, a share of them untold; or as many zeros."""
        if self.conditioner is None:
            return torch.zeros(len(chosen))
        source = stream(self.seed, "condition", step)
        return drop_prompts(
            self._prompt_rows[chosen], self._null_row, self.config.conditioning.drop, source
        )

    def _loss(
        self, x0: Tensor, t: Tensor, eps: Tensor, rows: Tensor, step: int, number: int
    ) -> Tensor:
        lower = self.config.training.precision == "bfloat16"
        purpose = f"dropout/{number}" if number else "dropout"
        # Dropout knows only the global generator: lend it this step's own, then give it back.
        with torch.random.fork_rng(), torch.autocast(x0.device.type, torch.bfloat16, lower):
            torch.manual_seed(stream(self.seed, purpose, step).initial_seed())
            network = told_network(self._called, self.conditioner, rows.to(x0.device))
            return self.diffusion.loss(network, x0, t, eps).mean

    def _update(self, step: int, lr: float) -> float:
        """Clip, step, average; return the gradient's length. One that is not finite does nothing.

        The gradients are gone afterwards.
        """
        training = self.config.training
        parameters: list[Tensor] = list(self._parameters().values())
        limit = training.grad_clip or math.inf
        grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        if math.isfinite(grad_norm):
            self.optimizer.step(lr)
            model = self.model
            averages: list[Tensor] = list(parameters_of(model.network, model.conditioner).values())
            with torch.no_grad():
                torch._foreach_lerp_(averages, parameters, 1 - ema_decay(training.ema_decay, step))
        self.optimizer.zero_grad()
        return grad_norm

    def evaluate(self) -> Evaluation:
        """Return the averaged weights' loss per noise level, in training and on held-out pictures.

        The same pictures, times and noises at every call: what changes is the model alone.
        """
        times = levels(self.diffusion.schedule.timesteps)
        count = min(EVALUATED, len(self.held_out) or EVALUATED)
        train = self._losses(evenly_spaced_rows(self.rows, count), times)
        held_out = self._losses(evenly_spaced_rows(self.held_out, count), times)
        return Evaluation(times, train, held_out or None)

    def _losses(self, rows: Tensor, times: Sequence[int]) -> list[float]:
        """Return the mean error per time on the pictures at `rows`; nothing without any."""
        if not len(rows):
            return []
        size = max(8, self.config.training.batch_size)  # no more at once than a step takes
        told = None if self.conditioner is None else self._prompt_rows[rows]
        return losses(self.model, to_float(self.pixels[rows]), told, times, self.seed, size)

    def state(self) -> dict[str, Tensor]:
        """Return the tensors from which `restore` goes on as if training had never stopped."""
        own = tensors_of(self.network, self.conditioner)
        tensors = {f"network.{name}": tensor for name, tensor in own.items()}
        average = tensors_of(self.model.network, self.model.conditioner)
        tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
        tensors |= self.optimizer.state()
        return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def counts(self) -> dict[str, int]:
        """Return the whole numbers that belong to `state`."""
        return {"step": self.step, "updates": self.updates, "skipped": self.skipped}

    def restore(self, tensors: Mapping[str, Tensor], counts: Mapping[str, int]) -> None:
        """Take up `state` and `counts` of a training with the same settings, seed and pictures.

        Raises `InputError` if they are another network's.
        """
        self.step, self.updates, self.skipped = (
            whole(name, counts.get(name), 0, MOST_STEPS) for name in ("step", "updates", "skipped")
        )
        try:
            load_tensors(self.network, self.conditioner, _under("network.", tensors))
            average = _under("average.", tensors)
            load_tensors(self.model.network, self.model.conditioner, average)
            if self.updates:
                self.optimizer.restore(tensors, self.updates)
        except (RuntimeError, KeyError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"the training state is not this network's ({reason})") from None


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def train(config: Config, images: ImageSet, seed: int, machine: Machine) -> Iterator[TrainStep]:
    """Train a new network and yield each completed step; draining it is the plain call."""
    return Training(config, images, seed, machine).steps()
