"""Training: Algorithm 1 as a generator of `TrainStep`; it writes no file.

Every draw is a function of (seed, purpose, step): the order of the pictures, their times and their
noise need no state that could be lost, and nothing that a consumer draws can disturb them.
"""

import copy
import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sd.augment import augment
from sd.checkpoints import Model
from sd.config import MOST_STEPS, Config, TrainingConfig
from sd.data import ImageSet, split
from sd.device import Machine
from sd.gate import InputError, whole
from sd.images import to_float
from sd.unet import UNetModel

MEMORY_FORMAT = torch.channels_last
MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's own names
MOST_SKIPPED = 5  # steps in a row without a finite gradient
LEVELS, EVALUATED = 10, 32  # noise levels, and pictures at each


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


@dataclass(frozen=True)
class Evaluation:
    """Mean errors of what the network estimates, per noise level, before any weighting.

    times: the t of each level. held_out is None where no picture is held out.
    """

    times: list[int]
    train: list[float]
    held_out: list[float] | None


def stream(seed: int, purpose: str, step: int) -> torch.Generator:
    """Return the random generator of one purpose at one step, independent of all others."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def total_steps(training: TrainingConfig, pictures: int) -> int:
    """Return the optimiser steps of a run: those asked for, or enough for all epochs."""
    at_once = training.batch_size * training.gradient_accumulation
    return training.steps or math.ceil(training.epochs * pictures / at_once)


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
    """A network in training on a picture set; `steps` runs it from `step`, which `restore` sets."""

    def __init__(self, config: Config, images: ImageSet, seed: int, machine: Machine) -> None:
        check_trainable(config, images)
        self.config, self.seed, self.machine = config, seed, machine
        self.pixels = images.pixels
        self.rows, self.held_out = split(images, config.training.held_out, seed)
        self.total = total_steps(config.training, len(self.rows))
        self.step = self.updates = self.skipped = 0  # done; of these with an update; in a row none
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

    @property
    def raw(self) -> Model:
        """The weights themselves, not averaged, as a model to sample from."""
        return Model(self.network, self.config)

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
        """Count a step; raise `InputError` where too many in a row gave no finite gradient."""
        self.step = step
        self.updates += updated
        self.skipped = 0 if updated else self.skipped + 1
        if self.skipped >= MOST_SKIPPED:
            rate = self.config.training.learning_rate
            raise InputError(
                f"loss or gradient is not a finite number at {MOST_SKIPPED} steps in a row, up to "
                f"step {step}: training.learning_rate = {rate:g} may be too high; "
                f"try {rate / 3:.2g}"
            )

    def _gradients(self, step: int) -> float:
        """Add up the gradients of a step's batches, none if a loss is lost; return their mean."""
        x0, t, eps = self._pictures(step)
        count = self.config.training.gradient_accumulation
        parts = zip(x0.chunk(count), t.chunk(count), eps.chunk(count), strict=True)
        total = 0.0
        for number, (pictures, times, noise) in enumerate(parts):
            loss = self._loss(self._there(pictures), times, self._there(noise), step, number)
            value = float(loss.detach()) / count
            total += value
            if not math.isfinite(total):
                self.optimizer.zero_grad(set_to_none=True)
                break
            torch.autograd.backward(loss / count)
        return total

    def _there(self, tensor: Tensor) -> Tensor:
        """Return pictures where the network is, laid out as it likes them."""
        return tensor.to(self.machine.device, memory_format=MEMORY_FORMAT)

    def _pictures(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return pictures in [-1, 1], their times and their noise for all batches of a step."""
        training = self.config.training
        size = training.batch_size * training.gradient_accumulation
        chosen = self.rows[batch_indices(len(self.rows), size, step, self.seed)]
        t = draw_times(size, self.diffusion.schedule.timesteps, stream(self.seed, "time", step))
        pixels = augment(self.pixels[chosen], training, stream(self.seed, "augment", step))
        x0 = to_float(pixels)
        eps = torch.randn(x0.shape, generator=stream(self.seed, "noise", step))
        return x0, t, eps

    def _loss(self, x0: Tensor, t: Tensor, eps: Tensor, step: int, number: int) -> Tensor:
        lower = self.config.training.precision == "bfloat16"
        purpose = f"dropout/{number}" if number else "dropout"
        # Dropout knows only the global generator: lend it this step's own, then give it back.
        with torch.random.fork_rng(), torch.autocast(x0.device.type, torch.bfloat16, lower):
            torch.manual_seed(stream(self.seed, purpose, step).initial_seed())
            return self.diffusion.loss(self.network, x0, t, eps).mean

    def _update(self, step: int, lr: float) -> float:
        """Clip, step, average; return the gradient's length. One that is not finite does nothing.

        The gradients are gone afterwards.
        """
        training = self.config.training
        parameters: list[Tensor] = list(self.network.parameters())
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        limit = training.grad_clip or math.inf
        grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        if math.isfinite(grad_norm):
            self.optimizer.step()
            averages: list[Tensor] = list(self.model.network.parameters())
            with torch.no_grad():
                torch._foreach_lerp_(averages, parameters, 1 - ema_decay(training.ema_decay, step))
        self.optimizer.zero_grad(set_to_none=True)
        return grad_norm

    @torch.no_grad()
    def evaluate(self) -> Evaluation:
        """Return the averaged weights' loss per noise level, in training and on held-out pictures.

        The same pictures, times and noises at every call: what changes is the model alone.
        """
        T = self.diffusion.schedule.timesteps
        times = [max(1, round((level + 0.5) / LEVELS * T)) for level in range(LEVELS)]
        count = min(EVALUATED, len(self.held_out) or EVALUATED)
        train = self._losses(_spread(self.rows, count), times)
        held_out = self._losses(_spread(self.held_out, count), times)
        return Evaluation(times, train, held_out or None)

    def _losses(self, rows: Tensor, times: Sequence[int]) -> list[float]:
        """Return the mean error per time on the pictures at `rows`; nothing without any."""
        if not len(rows):
            return []
        x0, losses = to_float(self.pixels[rows]), []
        size = max(8, self.config.training.batch_size)  # no more at once than a step takes
        for level, t in enumerate(times):
            eps = torch.randn(x0.shape, generator=stream(self.seed, "evaluation", level))
            pairs = zip(torch.split(x0, size), torch.split(eps, size), strict=True)
            errors = [self._error(pictures, noise, t) for pictures, noise in pairs]
            losses.append(float(torch.cat(errors).mean()))
        return losses

    def _error(self, x0: Tensor, eps: Tensor, t: int) -> Tensor:
        """Return the averaged network's error at time t for each picture [B]."""
        x0, eps, at = self._there(x0), self._there(eps), torch.full((len(x0),), t)
        return self.diffusion.loss(self.model.network, x0, at, eps).per_picture.cpu()

    def state(self) -> dict[str, Tensor]:
        """Return the tensors from which `restore` goes on as if training had never stopped."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        average = self.model.network.state_dict()
        tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
        for name, parameter in self.network.named_parameters():
            for moment in MOMENTS if self.updates else ():
                tensors[f"{moment}.{name}"] = self.optimizer.state[parameter][moment]
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
            self.network.load_state_dict(_under("network.", tensors))
            self.model.network.load_state_dict(_under("average.", tensors))
            for name, parameter in self.network.named_parameters() if self.updates else ():
                state = {each: tensors[f"{each}.{name}"] for each in MOMENTS}
                moments = {each: _shaped(tensor, parameter) for each, tensor in state.items()}
                done = torch.tensor(float(self.updates))
                self.optimizer.state[parameter] = {"step": done, **moments}
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


def _shaped(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a tensor laid out in memory, and where, as `like` is; `RuntimeError` if it cannot."""
    if tensor.shape != like.shape:
        raise RuntimeError(f"{list(tensor.shape)} is not {list(like.shape)}")
    return torch.empty_like(like, requires_grad=False).copy_(tensor)


def _spread(rows: Tensor, count: int) -> Tensor:
    """Return `count` of the rows, or all if there are fewer, evenly spaced."""
    return rows[torch.linspace(0, len(rows) - 1, min(count, len(rows))).round().long()]


def train(config: Config, images: ImageSet, seed: int, machine: Machine) -> Iterator[TrainStep]:
    """Train a new network and yield each completed step; draining it is the plain call."""
    return Training(config, images, seed, machine).steps()
