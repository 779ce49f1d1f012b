"""The samplers' step rules: each takes w_t to w_s, s < t, in the standard process.

Symbols are those of the table in `sd.diffusion.schedule`. D is the denoiser's estimate of w_0 and
d = (w - a D) / b the noise that explains w with it, a and b being signal(t) and noise(t).
Karras et al. write y = w / a = D + sigma d; Lu et al. write lambda = log(a / b), of which a step
covers h. Nothing here divides by a, which is 0 where SNR(T) is.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor

from sd.diffusion.process import DenoiserLike
from sd.diffusion.schedule import Schedule
from sd.diffusion.timesteps import INFINITE_SIGMA

Noise = Callable[[], Tensor]
"""() -> standard noise [B, C, ...], fresh in each step."""


class Step:
    """A step from t to s < t: signal a and noise b at t, a_s and b_s at s."""

    def __init__(self, schedule: Schedule, t: float, s: float) -> None:
        self.schedule, self.t, self.s = schedule, t, s
        (self.a, self.b), (self.a_s, self.b_s) = schedule.at(t), schedule.at(s)

    @property
    def sigma_ratio(self) -> float:
        """sigma_s / sigma_t = e^-h; 0 to s = 0 and from SNR 0."""
        return (self.a * self.b_s) / (self.b * self.a_s)

    @property
    def h(self) -> float:
        """lambda_s - lambda_t > 0; infinite where `sigma_ratio` is 0."""
        return -math.log(self.sigma_ratio) if self.sigma_ratio else math.inf

    @property
    def single_call(self) -> bool:
        """Whether it leads to s = 0, or from a sigma as good as infinite: Heun is Euler there.

        From so far d is no line in sigma, and a mean of its two ends is worse than the first.
        """
        return self.s == 0 or self.b > INFINITE_SIGMA * self.a

    def to_d(self, w: Tensor, D: Tensor) -> Tensor:
        """Return d = (w - a D) / b, the (y - D) / sigma of Karras et al. 2022, Algorithm 1."""
        return (w - self.a * D) / self.b

    def first_order_step(self, w: Tensor, D: Tensor) -> Tensor:
        """Return w_s were D to stay as it is: DPM-Solver++ of order 1 (Lu et al. 2022)."""
        return (self.b_s / self.b) * w + self.a_s * (1 - self.sigma_ratio) * D


Rule = Callable[[DenoiserLike, Tensor, Step, Noise], Tensor]
"""(denoise, w_t, step, noise) -> w_s. A rule may remember earlier steps: every run has its own."""


def add_noise(mean: Tensor, variance: float, step: Step, noise: Noise) -> Tensor:
    """Return `mean` with noise of that variance; the step to 0 adds none."""
    return mean + variance**0.5 * noise().to(mean) if variance > 0 and step.s > 0 else mean


def ddpm(denoise: DenoiserLike, w: Tensor, step: Step, noise: Noise, *, large: bool) -> Tensor:
    """Sample p(w_s | w_t), variance beta~ or, `large`, beta (Ho et al. 2020, Algorithm 2)."""
    c = step.schedule.posterior(step.t, step.s)
    variance = step.schedule.step_beta(step.t, step.s) if large else c.variance
    return add_noise(c.x0 * denoise(w, step.t).x0 + c.x_t * w, variance, step, noise)


def ddim(denoise: DenoiserLike, w: Tensor, step: Step, noise: Noise, *, eta: float) -> Tensor:
    """Keep part of the noise, draw `eta` of the rest anew (Song et al. 2021, eq. 12 and 16)."""
    estimate = denoise(w, step.t)
    variance = eta**2 * step.schedule.posterior(step.t, step.s).variance
    kept = max(step.b_s**2 - variance, 0.0) ** 0.5
    return add_noise(step.a_s * estimate.x0 + kept * estimate.eps, variance, step, noise)


def euler(denoise: DenoiserLike, w: Tensor, step: Step, noise: Noise) -> Tensor:
    """Follow dy/dsigma = d: y + (sigma_s - sigma) d (Karras et al. 2022, Algorithm 1, line 5)."""
    D = denoise(w, step.t).x0
    # y is D + sigma d, so this is D + sigma_s d, which is finite where sigma is not.
    return step.a_s * D + step.b_s * step.to_d(w, D)


def euler_ancestral(denoise: DenoiserLike, w: Tensor, step: Step, noise: Noise) -> Tensor:
    """Euler to sigma_down, then noise up to sigma_s (k-diffusion's get_ancestral_step, eta 1).

    sigma_up^2 = sigma_s^2 (1 - sigma_s^2 / sigma^2) leaves sigma_down = sigma_s^2 / sigma.
    """
    D = denoise(w, step.t).x0
    down = step.a_s * D + step.b_s * step.sigma_ratio * step.to_d(w, D)
    return add_noise(down, step.b_s**2 * (1 - step.sigma_ratio**2), step, noise)


def heun(denoise: DenoiserLike, w: Tensor, step: Step, noise: Noise) -> Tensor:
    """Euler, then again with the mean of both ends' d (Karras et al. 2022, Algorithm 1)."""
    D = denoise(w, step.t).x0
    d = step.to_d(w, D)
    w_s = step.a_s * D + step.b_s * d
    if step.single_call:
        return w_s
    d_s = (w_s - step.a_s * denoise(w_s, step.s).x0) / step.b_s
    return w_s + (step.b_s - step.a_s * step.b / step.a) * (d_s - d) / 2


def lcm(denoise: DenoiserLike, w: Tensor, step: Step, noise: Noise) -> Tensor:
    """Go to D at once and noise it anew (Luo et al. 2023, Algorithm 3).

    For networks whose D is already an end of the path, as those with a latent consistency LoRA.
    """
    return add_noise(step.a_s * denoise(w, step.t).x0, step.b_s**2, step, noise)


class PastStep(NamedTuple):
    """A step that was done: the w it left from and the D it found there."""

    step: Step
    w: Tensor
    D: Tensor

    def change(self, step: Step, D: Tensor) -> Tensor | None:
        """Return D's change over `step`, were it as fast as since this one; None: no telling.

        After an infinite step it is 0, which is order 1.
        """
        return None if math.isinf(step.h) else (D - self.D) * (step.h / self.step.h)


class DpmSolver2M:
    """DPM-Solver++(2M): D goes on as it went over the last step (Lu et al. 2022, Algorithm 2)."""

    def __init__(self) -> None:
        self.last: PastStep | None = None

    def __call__(self, denoise: DenoiserLike, w: Tensor, step: Step, noise: Noise) -> Tensor:
        """Return w_s, of order 1 in the first step, after SNR 0 and to s = 0."""
        D = denoise(w, step.t).x0
        change = self.last.change(step, D) if self.last else None
        self.last = PastStep(step, w, D)
        return step.first_order_step(w, D if change is None else D + change / 2)


class UniPC(DpmSolver2M):
    """UniPC-2 with B(h) = e^h - 1, of the data (Zhao et al. 2023): UniP-2, which is 2M, and UniC-2.

    UniC corrects the end of a step by the D found there. The next step begins with that call anyway
    and corrects its own start, so a step still costs one call.
    """

    def __init__(self, corrector: bool = True) -> None:
        super().__init__()
        self.corrector = corrector
        self.before: PastStep | None = None

    def __call__(self, denoise: DenoiserLike, w: Tensor, step: Step, noise: Noise) -> Tensor:
        """Return w_s as 2M does, from the w that the corrector makes of `w`."""
        found = denoise(w, step.t)
        if self.corrector and self.last:
            w = self.correct(self.last, found.x0)
        self.before = self.last
        return super().__call__(lambda *_: found, w, step, noise)

    def correct(self, last: PastStep, D: Tensor) -> Tensor:
        """Return the end of the `last` step anew, D being the estimate there.

        The weights r_1 of `change` and r_2 of D - last.D solve r_1 + r_2 = b_1 and
        r_2 - q r_1 = b_2, q = h_before / h: exact where D is a parabola in lambda.
        """
        before, h = self.before, last.step.h
        change = before.change(last.step, last.D) if before else None
        if before is None or change is None:
            return last.step.first_order_step(last.w, (last.D + D) / 2)
        q = before.step.h / h
        b_1 = 1 / (1 - last.step.sigma_ratio) - 1 / h
        b_2 = 1 / (1 - last.step.sigma_ratio) - 2 * b_1 / h
        r_1 = (b_1 - b_2) / (1 + q)
        return last.step.first_order_step(
            last.w, last.D + r_1 * change + (b_1 - r_1) * (D - last.D)
        )


def new_rule(sampler: str, eta: float, large: bool) -> Rule:
    """Return the rule of one run: `eta` serves DDIM, `large` DDPM."""
    if sampler == "ddim":
        return partial(ddim, eta=eta)
    if sampler == "ddpm":
        return partial(ddpm, large=large)
    several = {"dpmpp_2m": DpmSolver2M, "unipc": UniPC}
    if sampler in several:
        return several[sampler]()
    plain = {"euler": euler, "euler_ancestral": euler_ancestral, "heun": heun, "lcm": lcm}
    return plain[sampler]
