"""Training: Algorithm 1 (Ho et al. 2020) as a generator of `TrainStep`; it writes no file.

Every draw is a function of (seed, purpose, step), see `sd.common.randomness`.
"""

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sd.checkpoints.latent_set import LatentSet
from sd.checkpoints.model import Model
from sd.checkpoints.transfer import take_weights
from sd.common.device import Machine, is_out_of_memory
from sd.common.randomness import keyed_generator
from sd.common.validation import InputError, whole
from sd.config import Config
from sd.config.conditioning_kind import check_unet_inputs
from sd.config.sections import MOST_STEPS, TrainingConfig
from sd.data.image_set import ImageSet, split
from sd.networks.adapters.training import EncodedCaptions
from sd.networks.conditioned import ConditionedNetwork, to_stored_names
from sd.networks.conditioning import Conditioner
from sd.networks.conditioning_metadata import default_prompts
from sd.networks.recomputation import recompute_blocks
from sd.training.adapters.base import adapt, base_of, encode_captions
from sd.training.data import LatentData, PixelData, TrainingData
from sd.training.evaluation import (
    MEMORY_FORMAT,
    Evaluation,
    evenly_spaced_rows,
    levels,
    losses,
)
from sd.training.first_stage import ready_autoencoder
from sd.training.latents import latents_in_memory
from sd.training.monitoring import EVALUATED
from sd.training.optimizers import Optimizer
from sd.training.prompts import drop_prompts, metadata_of, prompts_of, resolve
from sd.training.randomness import (
    batch_indices,
    draw_times,
    new_conditioner,
    new_network,
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

    def with_total(self, total: int) -> "TrainStep":
        """Return this step of a run whose total is another now."""
        return replace(self, total=total)


def total_steps(training: TrainingConfig, pictures: int) -> int:
    """Return the optimiser steps of a run: as many as are set, or enough for all epochs."""
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
    check_unet_inputs(config)


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

    config: its conditioning is resolved for these pictures. network: the weights as they are, in
    training. model: their average. taken: what was taken of the model that it starts from, if any.
    """

    def __init__(
        self,
        config: Config,
        images: ImageSet,
        seed: int,
        machine: Machine,
        metadata: Mapping[str, Any] | None = None,
        latents: LatentSet | None = None,
        start: Model | None = None,
    ) -> None:
        """Begin; `metadata` is that of the conditioner of a training that goes on.

        latents: those of the pictures, where the network sees latents; encoded here if not given.
        start: a model of whose averaged weights is taken what fits.
        """
        config = resolve(config, images)
        check_trainable(config, images)
        self.config, self.seed, self.machine = config, seed, machine
        self.pixels = images.pixels
        base = base_of(config, start)
        if config.is_latent and latents is None:
            given = None if base is None else base.latents
            own = given.autoencoder if given else ready_autoencoder(config, images, seed, machine)
            latents = latents_in_memory(config, images, own, machine)
        self.data: TrainingData = (
            PixelData(images.pixels, config.training) if latents is None else LatentData(latents)
        )
        self._space = None if latents is None else latents.latents.to(machine.device)
        self.rows, self.held_out = split(images, config.training.held_out, seed)
        self.total = total_steps(config.training, len(self.rows))
        self.step = self.updates = self.skipped = 0  # done; of these with an update; in a row none
        self.parts = 1  # in which a batch is computed, one after another
        conditioner = self._build_conditioner(images, metadata, base)
        unet = new_network(config, seed) if base is None else adapt(base, config, seed)
        self.network = ConditionedNetwork(unet, conditioner).train()
        self.taken = take_weights(self.network, start) if start and base is None else None
        self.network.to(machine.device, memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
        average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.model = Model(
            average.unet, config, conditioner=average.conditioner, latents=self._space
        )
        if config.training.recompute and base is None:
            recompute_blocks(self.network.unet)
        self.diffusion = self.model.diffusion
        trained = to_stored_names(dict(self.network.named_parameters()))
        self.optimizer = Optimizer(trained, config.training, machine.device)
        wanted = config.training.compile
        self._compiled = torch.compile(self.network) if wanted else self.network

    def _build_conditioner(
        self, images: ImageSet, metadata: Mapping[str, Any] | None, base: Model | None
    ) -> Conditioner | None:
        """Return the conditioner; read every picture's prompt, and choose those of the samples.

        base: the model that a LoRA is for, whose text encoder is let go once all is read.
        """
        conditioner: Conditioner | None
        if base is not None:
            conditioner = encode_captions(base, images, self.rows)
        else:
            metadata = metadata_of(self.config, images, self.rows) if metadata is None else metadata
            conditioner = new_conditioner(self.config, metadata, self.seed)
        self.sample_prompts: tuple[str, ...] = ()
        if conditioner is None:
            self._prompts = torch.zeros(len(self.pixels))  # for nobody: batches take them along
            return None
        prompts = prompts_of(conditioner, images)
        self._prompts, self._null = conditioner.read(prompts), conditioner.read([""])
        wanted = self.config.conditioning.sample_prompts
        if wanted is None:
            there = [prompts[row] for row in self.rows.tolist() if prompts[row]]
            wanted = default_prompts(None, conditioner.labels, there)
        conditioner.read(wanted)  # a class that is not there is refused before the first step
        self.sample_prompts = wanted
        if isinstance(conditioner, EncodedCaptions):
            conditioner.release()
        return conditioner

    @property
    def raw(self) -> Model:
        """The weights themselves, not averaged, as a model to sample from."""
        return replace(self.model, unet=self.network.unet, conditioner=self.network.conditioner)

    def steps(self) -> Iterator[TrainStep]:
        """Yield each step up to `total` when it is complete.

        Raises `NotFinite` where too many in a row gave no finite gradient.
        """
        while self.step < self.total:
            started = time.perf_counter()
            lr = learning_rate(self.config.training, self.step + 1)
            loss, grad_norm = self._step(self.step + 1, lr)
            updated = math.isfinite(grad_norm)
            self.step += 1
            self.updates += updated
            self.skipped = 0 if updated else self.skipped + 1
            if self.skipped >= MOST_SKIPPED:
                raise NotFinite(self.step, self.config.training)
            seconds = time.perf_counter() - started
            yield TrainStep(
                self.step, self.total, loss, lr, grad_norm, seconds, not updated, self.model
            )

    def _step(self, step: int, lr: float) -> tuple[float, float]:
        """Take one step of Algorithm 1; return its loss, and its gradient's length before clipping.

        A loss or gradient that is not finite changes nothing: then the length is not finite either.
        """
        training, grad_norm = self.config.training, math.nan
        loss = self._find_gradients(step)
        weights: list[Tensor] = list(self.network.parameters())
        if math.isfinite(loss):
            limit = training.grad_clip or math.inf
            grad_norm = float(torch.nn.utils.clip_grad_norm_(weights, limit))
        if math.isfinite(grad_norm):
            self.optimizer.step(lr)
            averages: list[Tensor] = list(self.model.network.parameters())
            with torch.no_grad():
                torch._foreach_lerp_(averages, weights, 1 - ema_decay(training.ema_decay, step))
        self.optimizer.zero_grad()
        return loss, grad_norm

    def _find_gradients(self, step: int) -> float:
        """Find the gradients of a step; return its loss.

        Where memory does not hold a batch, it is cut in halves, which have the same gradient
        together, from this step on.
        """
        while True:
            try:
                return self._add_gradients(step)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or self.parts >= self.config.training.batch_size:
                    raise
            self.optimizer.zero_grad()
            if self.machine.device == "cuda":
                torch.cuda.empty_cache()
            self.parts *= 2

    def _add_gradients(self, step: int) -> float:
        """Add up the gradients of a step's batches, part by part, up to one that is not finite."""
        training, loss = self.config.training, 0.0
        at_once = training.batch_size * training.gradient_accumulation
        lower = training.precision == "bfloat16"
        for number, (x0, t, eps, rows) in enumerate(self._parts_of(step)):
            dropout = f"dropout/{number}" if number else "dropout"
            # Dropout knows only the global generator: lend it this step's own, then give it back.
            with torch.random.fork_rng(), torch.autocast(x0.device.type, torch.bfloat16, lower):
                torch.manual_seed(keyed_generator(self.seed, dropout, step).initial_seed())
                network = partial(self._compiled, rows=rows)
                mean = self.diffusion.loss(network, x0, t, eps).mean
            times = at_once / len(x0)  # as many pictures are there at the whole step
            loss += float(mean.detach()) / times
            if not math.isfinite(loss):
                break
            torch.autograd.backward(mean / times)
        return loss

    def _parts_of(self, step: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield the batches of a step, each in `parts`."""
        for batch in self.batches(step):
            yield from zip(*(each.chunk(self.parts) for each in batch), strict=True)

    def batches(self, step: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield the batches of a step, several where gradients accumulate.

        Each is pictures or latents x0 and noise eps [B, c, h, w], times t [B], and the rows of the
        prompts, a share of them dropped.
        """
        training, conditioning = self.config.training, self.config.conditioning
        size = training.batch_size * training.gradient_accumulation
        chosen = self.rows[batch_indices(len(self.rows), size, step, self.seed)]
        t, augmented, noise, condition = (
            keyed_generator(self.seed, purpose, step)
            for purpose in ("time", "augment", "noise", "condition")
        )
        x0 = self.data.draw(chosen, augmented)
        eps = torch.randn(x0.shape, generator=noise)
        times = draw_times(size, self.diffusion.schedule.timesteps, t)
        rows = self._prompts[chosen]
        if self.network.conditioner is not None:
            rows = drop_prompts(rows, self._null, conditioning.drop, condition)
        parts = (each.chunk(training.gradient_accumulation) for each in (x0, times, eps, rows))
        for pictures, some_times, some_noise, some_rows in zip(*parts, strict=True):
            yield (
                self._to_device(pictures),
                some_times,
                self._to_device(some_noise),
                some_rows.to(self.machine.device),
            )

    def _to_device(self, tensor: Tensor) -> Tensor:
        """Return pictures where the network is, laid out as it likes them."""
        device = self.machine.device
        if device == "cuda":  # from pinned memory the copy runs beside the computation
            tensor = tensor.pin_memory()
        return tensor.to(device, memory_format=MEMORY_FORMAT, non_blocking=device == "cuda")

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
        x0, prompts = self.data.plain(rows), self._prompts[rows]
        return losses(self.model, x0, prompts, times, self.seed, size)

    def state(self) -> dict[str, Tensor]:
        """Return the tensors from which `restore` goes on as if training had never stopped."""
        tensors = self.optimizer.state()
        for prefix, network in (("network", self.network), ("average", self.model.network)):
            tensors |= {f"{prefix}.{name}": each for name, each in network.stored_state().items()}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def counts(self) -> dict[str, int]:
        """Return the whole numbers that belong to `state`."""
        counts = {"step": self.step, "updates": self.updates, "skipped": self.skipped}
        return counts if self.parts == 1 else {**counts, "parts": self.parts}

    def restore(self, tensors: Mapping[str, Tensor], counts: Mapping[str, int]) -> None:
        """Take up `state` and `counts` of a training with the same settings, seed and pictures.

        Raises `InputError` if they are another network's.
        """
        self.step, self.updates, self.skipped = (
            whole(name, counts.get(name), 0, MOST_STEPS) for name in ("step", "updates", "skipped")
        )
        self.parts = whole("parts", counts.get("parts", 1), 1, MOST_STEPS)
        try:
            for part, network in (("network", self.network), ("average", self.model.network)):
                own = {name: each for name, each in tensors.items() if name.startswith(f"{part}.")}
                network.load_stored(
                    {name.removeprefix(f"{part}."): each for name, each in own.items()}
                )
            if self.updates:
                self.optimizer.restore(tensors, self.updates)
        except (RuntimeError, KeyError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"the training state is not this network's ({reason})") from None


def train(config: Config, images: ImageSet, seed: int, machine: Machine) -> Iterator[TrainStep]:
    """Train a new network and yield each completed step; draining it is the plain call."""
    return Training(config, images, seed, machine).steps()
