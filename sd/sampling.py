"""The reverse process: time grids, step rules, and the one loop that they share.

DDPM (Ho et al. 2020, Algorithm 2) and DDIM (Song et al. 2021) for any subset of steps. A sampler
sees a denoiser, any callable (x_t, t) -> Prediction(x0, eps), and never a network.
Symbols are those of the table in `sd.schedule`; a step goes from t to s < t.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sd.diffusion import Diffusion, Prediction
from sd.gate import InputError, choice, flag, real, shown, whole
from sd.schedule import Schedule

SAMPLERS = ("ddim", "ddpm")
VARIANCES = ("fixed_small", "fixed_large")
SPACINGS = ("trailing", "leading", "linspace")

DenoiserLike = Callable[[Tensor, float], Prediction]


class SampleStep(NamedTuple):
    """One completed step of the reverse process; tensors are [B, C, ...].

    i: completed steps, 1..N. t: the time x_t is now at, 0 after the last. x0, eps: the estimate
    that this step used. clipped: the share of x0's values that were cut to [-1, 1].
    """

    i: int
    t: float
    x_t: Tensor
    x0: Tensor
    eps: Tensor
    clipped: float


def time_grid(timesteps: int, steps: int, spacing: str = "trailing") -> list[int]:
    """Return the times at which the network is asked, falling, from 1..T; 0 follows the last.

    trailing begins at T, as training ends there; leading ends at 1 but begins short of T (Lin et
    al. 2023, table 2); linspace holds both ends. All three agree when steps = T.
    """
    choice("spacing", spacing, SPACINGS)
    steps = whole("steps", steps, 1, timesteps)
    if spacing == "leading":
        ratio = timesteps // steps
        return [k * ratio + 1 for k in reversed(range(steps))]
    if spacing == "trailing":
        return [round(timesteps * k / steps) for k in range(steps, 0, -1)]
    if steps == 1:
        return [timesteps]
    return [1 + round((timesteps - 1) * k / (steps - 1)) for k in reversed(range(steps))]


def ddpm_step(
    schedule: Schedule, t: float, s: float, w: Tensor, estimate: Prediction, large: bool
) -> tuple[Tensor, float]:
    """Return mean and variance of p(w_s | w_t): Algorithm 2's line 4 for any s < t.

    The variance is beta~ (fixed small) or beta (`large`), the two choices of DDPM section 3.2.
    """
    c = schedule.posterior(t, s)
    variance = schedule.step_beta(t, s) if large else c.variance
    return c.x0 * estimate.x0 + c.x_t * w, variance


def ddim_step(
    schedule: Schedule, t: float, s: float, estimate: Prediction, eta: float
) -> tuple[Tensor, float]:
    """Return mean and variance of the step to s (DDIM eq. 12, sigma of eq. 16)."""
    variance = eta**2 * schedule.posterior(t, s).variance
    a_s = float(schedule.alpha_bar_at(s))
    direction = max(1 - a_s - variance, 0.0) ** 0.5
    return a_s**0.5 * estimate.x0 + direction * estimate.eps, variance


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Return one random generator a picture, on the CPU, whatever the device."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def draw(shape: Sequence[int], sources: Sequence[torch.Generator]) -> Tensor:
    """Return standard noise [B, *shape], each picture's from its own generator."""
    return torch.stack([torch.randn(tuple(shape), generator=source) for source in sources])


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
    ) -> None:
        """Check and take the settings; `times`, falling within (0, T], replaces steps and spacing.

        `eta` serves DDIM, `variance` DDPM. With `clip_x0` the estimate of x_0 is cut to [-1, 1]
        and eps follows from it. Raises `InputError`.
        """
        self.schedule = schedule
        self.sampler = choice("sampler", sampler, SAMPLERS)
        self.eta = real("eta", eta, 0, 1)
        self.large = choice("variance", variance, VARIANCES) == "fixed_large"
        self.clip_x0 = flag("clip_x0", clip_x0)
        # Its noise is used here, never its prediction: "v" is one that every schedule allows.
        self.process = Diffusion(schedule, "v", noise_info)
        grid = time_grid(schedule.timesteps, steps, spacing) if times is None else times
        self.times = self._checked(grid)

    def _checked(self, grid: Sequence[float]) -> list[float]:
        falling = all(t > s for t, s in zip(grid, [*grid[1:], 0], strict=False))
        if not grid or not falling or grid[0] > self.schedule.timesteps:
            raise InputError(
                f"times = {shown(list(grid))}: must fall within 0 < t <= {self.schedule.timesteps}"
            )
        return list(grid)

    def start(self, shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """Return the pictures [B, *shape] of pure noise from which `seeds` start."""
        return self._begin(draw(shape, generators(seeds)))

    def _begin(self, noise: Tensor) -> Tensor:
        return self.process.std * noise + self.process.mean

    @torch.no_grad()
    def steps(
        self,
        denoiser: DenoiserLike,
        shape: Sequence[int],
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        start: Tensor | None = None,
    ) -> Iterator[SampleStep]:
        """Yield a `SampleStep` after each completed step, for pictures [C, ...] one a seed.

        The same seed gives the same noise alone or in a batch, on any device. `start`
        [B, C, ...], x at the first of `times`, replaces the noise that the seeds begin with; the
        work is done in its type.
        """
        sources = generators(seeds)
        x = (self._begin(draw(shape, sources)) if start is None else start).to(device)
        for i, (t, s) in enumerate(zip(self.times, [*self.times[1:], 0], strict=True), start=1):
            estimate, clipped = self._estimate(denoiser, x, t)
            x = self._step(t, s, x, estimate, shape, sources)
            yield SampleStep(i, s, x, estimate.x0, estimate.eps, clipped)

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

    def _estimate(self, denoiser: DenoiserLike, x: Tensor, t: float) -> tuple[Prediction, float]:
        """Ask the denoiser; clip x0 if wanted, with the eps that then explains x."""
        estimate = denoiser(x, t)
        if not self.clip_x0:
            return estimate, 0.0
        x0 = estimate.x0.clamp(-1, 1)
        clipped = float((x0 != estimate.x0).float().mean())
        a, b = self.process.factors(t, x)
        w, std = self.process.standardise(x, t), self.process.std
        return Prediction(x0, (w - a * x0 / std) / b), clipped

    def _step(
        self,
        t: float,
        s: float,
        x: Tensor,
        estimate: Prediction,
        shape: Sequence[int],
        sources: Sequence[torch.Generator],
    ) -> Tensor:
        """Go from x_t to x_s by the sampler's rule; the last step adds no noise."""
        w = self.process.standardise(x, t)
        estimate = Prediction(estimate.x0 / self.process.std, estimate.eps)
        if self.sampler == "ddpm":
            w, variance = ddpm_step(self.schedule, t, s, w, estimate, self.large)
        else:
            w, variance = ddim_step(self.schedule, t, s, estimate, self.eta)
        if variance > 0 and s > 0:
            w = w + variance**0.5 * draw(shape, sources).to(w)
        return self.process.unstandardise(w, s)
