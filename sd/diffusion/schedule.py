"""The noise schedule, in float64: how much of the picture is left at each time t.

Notation (Ho et al. 2020, DDPM; t runs 0..T everywhere in `sd`, and t = 0 is the clean picture):

    symbol            here              meaning
    T                 timesteps         number of noising steps
    beta_t            beta[t]           variance added by step t; beta[0] = 0
    alpha_t           1 - beta[t]       share of the variance that step t keeps
    alpha_bar_t       alpha_bar[t]      product of alpha_1 .. alpha_t; alpha_bar[0] = 1
    sqrt(alpha_bar)   signal(t)         factor of x_0 in x_t
    sqrt(1-alpha_bar) noise(t)          factor of eps in x_t
    sigma_t           sigma(t)          noise(t) / signal(t), as in Karras et al. 2022
    SNR(t)            snr(t)            alpha_bar / (1 - alpha_bar) = 1 / sigma^2
    beta~_t           posterior(t, s)   variance of q(x_s | x_t, x_0), s < t (s = t-1 in DDPM)

A network counts its times from 0, so it is always called with `network_time(t)` = t - 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sd.common.validation import InputError, choice, real, shown, whole
from sd.config.sections import DiffusionConfig

Array = NDArray[np.float64]

SCHEDULES = ("linear", "scaled_linear", "cosine", "sigmoid")
LARGEST_BETA = 0.999  # Nichol & Dhariwal 2021, section 3.2: no step may destroy everything
MOST_KNOWN = 10_000  # times whose alpha_bar is remembered
TERMINAL_SNR_LIMIT = 1e-3  # above this, sampling starts where training never was


class Posterior(NamedTuple):
    """q(x_s | x_t, x_0) = N(x0 * x_0 + x_t * x_t, variance), DDPM eq. 6-7 for any s < t."""

    x0: float
    x_t: float
    variance: float


def linear_betas(timesteps: int, start: float, end: float) -> Array:
    """Return betas evenly spaced from `start` to `end` [T] (Ho et al. 2020, section 4)."""
    return np.linspace(start, end, timesteps, dtype=np.float64)


def scaled_linear_betas(timesteps: int, start: float, end: float) -> Array:
    """Return betas whose square roots are evenly spaced [T]: Stable Diffusion's schedule."""
    return np.linspace(start**0.5, end**0.5, timesteps, dtype=np.float64) ** 2


def cosine_alpha_bar(timesteps: int, offset: float = 0.008) -> Array:
    """Return alpha_bar [T+1] = f(t) / f(0), f = cos^2 (Nichol & Dhariwal 2021, eq. 17)."""
    u = np.arange(timesteps + 1, dtype=np.float64) / timesteps
    f = np.cos((u + offset) / (1 + offset) * np.pi / 2) ** 2
    return np.asarray(f / f[0])


def sigmoid_alpha_bar(timesteps: int, start: float = -3.0, end: float = 3.0) -> Array:
    """Return alpha_bar [T+1] along a sigmoid cut to [start, end] (Jabri et al. 2022, alg. 1)."""
    u = np.arange(timesteps + 1, dtype=np.float64) / timesteps
    falling = 1 / (1 + np.exp(u * (end - start) + start))
    return np.asarray((falling - falling[-1]) / (falling[0] - falling[-1]))


def betas_of(alpha_bar: Array) -> Array:
    """Return betas [T] of an alpha_bar [T+1], none above 0.999."""
    return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], LARGEST_BETA)


def with_zero_terminal_snr(alpha_bar: Array) -> Array:
    """Shift and scale sqrt(alpha_bar) [T+1] so that it ends at 0 (Lin et al. 2023, alg. 1)."""
    signal = np.sqrt(alpha_bar)
    first, last = signal[1], signal[-1]
    shifted = (signal - last) * first / (first - last)
    shifted[0] = 1.0
    return np.asarray(shifted**2, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Schedule:
    """A schedule: `alpha_bar` float64 [T+1], alpha_bar[0] = 1, falling to at least 0."""

    alpha_bar: Array

    @classmethod
    def create(
        cls,
        kind: str = "cosine",
        timesteps: int = 1000,
        beta_range: Sequence[float] = (1e-4, 0.02),
        rescale_betas: bool = False,
        zero_terminal_snr: bool = False,
    ) -> "Schedule":
        """Make the schedule called `kind`.

        `beta_range` serves `linear` and `scaled_linear` alone. `rescale_betas` multiplies it by
        1000/T: the range was chosen for 1,000 steps (Nichol & Dhariwal 2021, appendix B).
        """
        choice("diffusion.schedule", kind, SCHEDULES)
        T = whole("diffusion.timesteps", timesteps, 1, 100_000)
        factor = 1000 / T if rescale_betas else 1.0
        start, end = (real("diffusion.beta_range", beta, 0, 1) * factor for beta in beta_range)
        if kind == "cosine":
            betas = betas_of(cosine_alpha_bar(T))
        elif kind == "sigmoid":
            betas = betas_of(sigmoid_alpha_bar(T))
        else:
            spaced = linear_betas if kind == "linear" else scaled_linear_betas
            betas = np.minimum(spaced(T, start, end), LARGEST_BETA)
        made = cls.from_betas(betas)
        if zero_terminal_snr and T > 1:
            made = cls(with_zero_terminal_snr(made.alpha_bar))
        return made

    @classmethod
    def from_config(cls, config: DiffusionConfig) -> "Schedule":
        """Make the schedule that a configuration's diffusion section describes."""
        return cls.create(
            config.schedule,
            config.timesteps,
            config.beta_range,
            config.rescale_betas,
            config.zero_terminal_snr,
        )

    @classmethod
    def from_betas(cls, betas: ArrayLike) -> "Schedule":
        """Make a schedule of betas [T], each in (0, 1)."""
        alphas = 1 - np.asarray(betas, dtype=np.float64)
        return cls(np.concatenate([[1.0], np.cumprod(alphas)]))

    @property
    def timesteps(self) -> int:
        """T, the last time."""
        return len(self.alpha_bar) - 1

    @cached_property
    def beta(self) -> Array:
        """beta_t [T+1]; beta[0] = 0, for there is no step 0."""
        steps = 1 - self.alpha_bar[1:] / self.alpha_bar[:-1]
        return np.concatenate([[0.0], steps])

    @staticmethod
    def network_time(t: Any) -> Any:
        """Return the time as a network counts it, t - 1: the only shift between the two counts."""
        return t - 1

    def check_time(self, t: Any, name: str = "t") -> Any:
        """Return t if it lies in 0..T, else raise `InputError`."""
        return real(name, t, 0, self.timesteps)

    def alpha_bar_at(self, t: ArrayLike) -> Array:
        """Return alpha_bar at any t in [0, T]; between whole times log sigma is interpolated.

        Where one end's sigma is 0 or infinite its logarithm is not, so alpha_bar itself is.
        """
        times = np.asarray(t, dtype=np.float64)
        if not np.all((times >= 0) & (times <= self.timesteps)):
            raise InputError(f"t = {shown(t)}: must be from 0 to {self.timesteps}")
        below = np.floor(times).astype(np.int64)
        above = np.minimum(below + 1, self.timesteps)
        share = times - below
        low, high = self.alpha_bar[below], self.alpha_bar[above]
        plain = low + share * (high - low)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            logit = (1 - share) * np.log(low / (1 - low)) + share * np.log(high / (1 - high))
            smooth = 1 / (1 + np.exp(-logit))
        finite = np.isfinite(logit) & (share > 0)
        return np.where(finite, smooth, plain)

    def signal(self, t: ArrayLike) -> Array:
        """Return sqrt(alpha_bar_t), the factor of x_0 in x_t."""
        return np.sqrt(self.alpha_bar_at(t))

    def noise(self, t: ArrayLike) -> Array:
        """Return sqrt(1 - alpha_bar_t), the factor of eps in x_t."""
        return np.sqrt(1 - self.alpha_bar_at(t))

    def at(self, t: float) -> tuple[float, float]:
        """Return signal(t) and noise(t) of one time."""
        alpha_bar = self._one(t)
        return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)

    def remember(self, times: Sequence[float]) -> None:
        """Cache alpha_bar at the times of a sampling, which asks for each of them many times."""
        if len(self._known) > MOST_KNOWN:
            self._known.clear()
        self._known.update(zip(times, self.alpha_bar_at(times).tolist(), strict=True))

    @cached_property
    def _known(self) -> dict[float, float]:
        return {}

    def _one(self, t: float) -> float:
        found = self._known.get(t)
        return float(self.alpha_bar_at(t)) if found is None else found

    def snr(self, t: ArrayLike) -> Array:
        """Return alpha_bar_t / (1 - alpha_bar_t); infinite at t = 0."""
        alpha_bar = self.alpha_bar_at(t)
        with np.errstate(divide="ignore"):
            return np.asarray(alpha_bar / (1 - alpha_bar), dtype=np.float64)

    def log_snr(self, t: ArrayLike) -> Array:
        """Return the natural logarithm of SNR(t)."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.snr(t)), dtype=np.float64)

    def sigma(self, t: ArrayLike) -> Array:
        """Return sqrt((1 - alpha_bar_t) / alpha_bar_t)."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.noise(t) / self.signal(t), dtype=np.float64)

    def time_of(self, sigma: ArrayLike) -> Array:
        """Return the t in [0, T] at which `sigma` is reached: the inverse of `sigma(t)`."""
        sigmas = np.asarray(sigma, dtype=np.float64)
        largest = float(self.sigma(self.timesteps))
        if not np.all((sigmas >= 0) & (sigmas <= largest)):
            raise InputError(f"sigma = {shown(sigma)}: must be from 0 to {largest:g}")
        alpha_bar = 1 / (1 + sigmas**2)
        above = np.clip(np.searchsorted(-self.alpha_bar, -alpha_bar), 1, self.timesteps)
        low, high = self.alpha_bar[above - 1], self.alpha_bar[above]
        plain = (low - alpha_bar) / (low - high)
        with np.errstate(divide="ignore", invalid="ignore"):
            start, wanted, end = (np.log(x / (1 - x)) for x in (low, alpha_bar, high))
            smooth = (start - wanted) / (start - end)
        share = np.where(np.isfinite(start) & np.isfinite(end), smooth, plain)
        return np.asarray(above - 1 + share.clip(0, 1), dtype=np.float64)

    def step_beta(self, t: float, s: float) -> float:
        """Return 1 - alpha_bar_t / alpha_bar_s, the variance that going from s to t > s adds."""
        return 1 - self._one(t) / self._one(s)

    def posterior(self, t: float, s: float | None = None) -> Posterior:
        """Return q(x_s | x_t, x_0) for s < t; s = t - 1 by default (DDPM eq. 7)."""
        s = t - 1 if s is None else s
        if not 0 <= s < t:
            raise InputError(f"posterior from t = {shown(t)} to s = {shown(s)}: must be 0 <= s < t")
        a_t, a_s = self._one(t), self._one(s)
        beta = self.step_beta(t, s)
        return Posterior(
            x0=a_s**0.5 * beta / (1 - a_t),
            x_t=(a_t / a_s) ** 0.5 * (1 - a_s) / (1 - a_t),
            variance=(1 - a_s) / (1 - a_t) * beta,
        )

    @property
    def terminal_snr(self) -> float:
        """SNR(T): what is left of the picture where sampling starts; 0 is perfect."""
        return float(self.snr(self.timesteps))

    @property
    def warning(self) -> str | None:
        """One line when the terminal SNR is above 1e-3, else None."""
        if self.terminal_snr <= TERMINAL_SNR_LIMIT:
            return None
        return (
            f"terminal SNR {self.terminal_snr:.3g} is above {TERMINAL_SNR_LIMIT:g}: training never "
            "sees pure noise, yet sampling starts there, so samples come out grey or wrong in "
            "brightness; set diffusion.rescale_betas = True or diffusion.schedule = cosine"
        )
