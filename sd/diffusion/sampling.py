"""The reverse process: the one loop that all samplers share.

A sampler sees a denoiser, any callable (w_t, t) -> Prediction(w_0, eps), and never a network. Its
times are those of `sd.diffusion.timesteps`, its step from t to s < t is a rule of
`sd.diffusion.samplers`. Symbols are those of the table in `sd.diffusion.schedule`; x, as pictures
and consumers have it, becomes w before a step and x again after it (`sd.diffusion.process`).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from sd.common.randomness import keyed_generator
from sd.common.validation import InputError, choice, flag, real, shown
from sd.diffusion.process import DenoiserLike, ForwardProcess, Prediction
from sd.diffusion.samplers import Rule, Step, new_rule
from sd.diffusion.schedule import Schedule
from sd.diffusion.timesteps import SAMPLERS, VARIANCES, calls_per_step, time_grid


class SampleStep(NamedTuple):
    """One completed step of the reverse process; tensors are [B, C, ...].

    i: completed steps, 1..N. t: the time x_t is now at, 0 after the last. x0, eps: the estimate
    from which this step began. clipped: the share of x0's values that were cut to [-1, 1].
    """

    i: int
    t: float
    x_t: Tensor
    x0: Tensor
    eps: Tensor
    clipped: float


class KnownRegion(NamedTuple):
    """A picture x0 [C, H, W] or [B, C, H, W] that stays where mask [H, W] is 0; 1: made anew."""

    x0: Tensor
    mask: Tensor


class TrustRegion(NamedTuple):
    """A picture x0 [C, H, W] that a sampling began from, and the `sigma` at which it began.

    The mean of all x_0 that x_t may come from is on average no farther from the true one than
    x_t / a itself, whose root mean square distance is s sigma. An estimate beyond is worse than
    none, as a network's that shows a picture with an error of its own at every t, however small.
    """

    x0: Tensor
    sigma: float


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Return one random generator a picture, on the CPU, whatever the device."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def draw_noise(shape: Sequence[int], sources: Sequence[torch.Generator]) -> Tensor:
    """Return standard noise [B, *shape], each picture's from its own generator."""
    return torch.stack([torch.randn(tuple(shape), generator=source) for source in sources])


def step_noise(shape: Sequence[int], seeds: Sequence[int], step: int) -> Tensor:
    """Return the noise [B, *shape] of step 1, 2, ...: each seed's own, whatever came before."""
    return draw_noise(shape, [keyed_generator(seed, step) for seed in seeds])


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Return one picture's noise at `share` of the arc from noise a to noise b (Shoemake 1985).

    A straight mean of two noises would be too quiet; along the arc the length is kept.
    """
    p, q = a.flatten().double(), b.flatten().double()
    angle = math.acos(max(-1.0, min(1.0, float(p @ q / (p.norm() * q.norm())))))
    whole = math.sin(angle)
    if whole < 1e-6:  # the same noise twice, or its opposite: the arc is undefined
        return (1 - share) * a + share * b
    return math.sin((1 - share) * angle) / whole * a + math.sin(share * angle) / whole * b


class Sampling:
    """A sampler with its settings: `steps` is the stream, `sample` its last picture."""

    def __init__(
        self,
        schedule: Schedule,
        sampler: str = "ddim",
        steps: int = 50,
        *,
        eta: float = 0.0,
        variance: str = "fixed_small",
        spacing: str = "trailing",
        clip_x0: bool = True,
        noise_info: Sequence[float] = (0.0, 1.0),
        times: Sequence[float] | None = None,
        start_time: float | None = None,
    ) -> None:
        """Check and take the settings; `times`, falling within (0, T], replaces the grid's.

        The grid has `steps` times from `start_time`, T by default. `eta` serves DDIM, `variance`
        DDPM. With `clip_x0` the estimate of x_0 is cut to [-1, 1] and eps follows from it.
        Raises `InputError`.
        """
        self.schedule = schedule
        self.sampler = choice("sampler", sampler, SAMPLERS)
        large = choice("variance", variance, VARIANCES) == "fixed_large"
        self.rule: Callable[[], Rule] = partial(new_rule, sampler, real("eta", eta, 0, 1), large)
        self.clip_x0 = flag("clip_x0", clip_x0)
        self.process = ForwardProcess(schedule, noise_info)
        grid = time_grid(schedule, steps, spacing, start_time) if times is None else list(times)
        falling = all(t > s for t, s in pairwise([*grid, 0]))
        if not grid or not falling or grid[0] > schedule.timesteps:
            raise InputError(
                f"times = {shown(grid)}: must fall within 0 < t <= {schedule.timesteps}"
            )
        self.times = grid

    def _steps(self) -> Iterator[Step]:
        self.schedule.remember(self.times)
        for t, s in zip(self.times, [*self.times[1:], 0], strict=True):
            yield Step(self.schedule, t, s)

    @property
    def calls(self) -> int:
        """How often the whole run calls the network: once in a step that is `single_call`."""
        full = calls_per_step(self.sampler)
        return sum(1 if step.single_call else full for step in self._steps())

    def start(self, shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """Return the pictures [B, *shape] of pure noise from which `seeds` start."""
        return self.process.pure_noise(draw_noise(shape, generators(seeds)))

    @torch.no_grad()
    def steps(
        self,
        denoiser: DenoiserLike,
        shape: Sequence[int],
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        start: Tensor | None = None,
        first: int = 0,
        known: KnownRegion | None = None,
        trust_region: TrustRegion | None = None,
    ) -> Iterator[SampleStep]:
        """Yield a `SampleStep` after each completed step, for pictures [C, ...] one a seed.

        The same seed gives the same noise alone or in a batch, on any device. `start`
        [B, C, ...], x at the first of `times`, replaces the noise that the seeds begin with; the
        work is done in its type. A branch begins after `first` steps of another run, so that its
        noise goes on as there; rules of several steps begin anew. `known` is put back after
        every step, noised by the seed's start noise (Lugmayr et al. 2022, eq. 8, no jumps).
        All estimates stay within `trust_region`, around the picture that was noised to begin.
        """
        eps = draw_noise(shape, generators(seeds))
        x = (self.process.pure_noise(eps) if start is None else start).to(device)
        rule, estimates = self.rule(), list[tuple[Prediction, float]]()

        def denoise(w: Tensor, t: float) -> Prediction:
            estimates.append(self._bounded(denoiser(w, t), w, t, trust_region))
            return estimates[-1][0]

        for i, step in enumerate(self._steps(), start=1):
            noise = partial(step_noise, shape, seeds, first + i)
            w = rule(denoise, self.process.to_w(x, step.t), step, noise)
            x = self.process.to_x(w, step.s)
            if known is not None:
                mask = known.mask.to(x)
                there = self.process.q_sample(known.x0.to(x), step.s, eps.to(x))
                x = mask * x + (1 - mask) * there
            estimate, clipped = estimates[0]  # of two in a step, the one from which it began
            estimates.clear()
            x0 = self.process.to_x(estimate.x0, 0)
            yield SampleStep(i, step.s, x, x0, estimate.eps, clipped)

    def sample(
        self,
        denoiser: DenoiserLike,
        shape: Sequence[int],
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Return the finished pictures [B, *shape]: the stream, drained."""
        for step in self.steps(denoiser, shape, seeds, device):
            x = step.x_t
        return x

    def _bounded(
        self, estimate: Prediction, w: Tensor, t: float, trust_region: TrustRegion | None
    ) -> tuple[Prediction, float]:
        """Return an estimate within its limits, with the eps that then explains w.

        With it the share of its values that were clipped.
        """
        w_0, clipped = estimate.x0, 0.0
        if not self.clip_x0 and trust_region is None:
            return estimate, clipped
        if self.clip_x0:
            w_0 = w_0.clamp(-1 / self.process.std, 1 / self.process.std)  # x_0 in [-1, 1]
            clipped = int((w_0 != estimate.x0).count_nonzero()) / w_0.numel()
        if trust_region is not None:
            center = self.process.to_w(trust_region.x0.to(w_0), 0)
            w_0 = project_to_ball(w_0, center, trust_region.sigma)
        a, b = self.schedule.at(t)
        return Prediction(w_0, torch.sub(w, w_0, alpha=a) / b), clipped


def project_to_ball(w_0: Tensor, center: Tensor, radius: float) -> Tensor:
    """Return pictures [B, C, ...], those farther from `center` than `radius` moved to that far.

    Distances are root mean squares.
    """
    away = w_0 - center
    axes = tuple(range(1, away.ndim))
    share = radius / away.square().mean(axes, keepdim=True).sqrt()
    return torch.where(share < 1, w_0 + (share - 1) * away, w_0)
