"""The forward process (Ho et al. 2020, section 2), and the doors to the standard one.

Symbols are those of the table in `sd.diffusion.schedule`. The noise has mean mu and standard
deviation s (the original's `noise_info`), so that

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) (mu + s eps),    eps ~ N(0, 1).

With w_t = (x_t - sqrt(1 - alpha_bar_t) mu) / s and w_0 = x_0 / s this is the standard process of
the papers. Networks, denoisers and samplers know w alone; only `to_w` and `to_x` lead from one to
the other. The default (0, 1) makes w equal to x.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sd.common.validation import real
from sd.diffusion.schedule import Schedule

Factor = Tensor | float
"""A factor of all pictures [], or of each in turn, [B, 1, ...]."""


class Prediction(NamedTuple):
    """A denoiser's estimate at w_t: the clean picture w_0 and the standard noise, [B, C, ...]."""

    x0: Tensor
    eps: Tensor


DenoiserLike = Callable[[Tensor, float], Prediction]
"""(w_t [B, C, ...], t) -> its estimate."""


class ForwardProcess:
    """The noising of pictures over a `Schedule`."""

    def __init__(self, schedule: Schedule, noise_info: Sequence[float] = (0.0, 1.0)) -> None:
        """Take the schedule, and mean and standard deviation of the noise.

        Raises `InputError` for a standard deviation that is not positive.
        """
        self.schedule = schedule
        self.mean = real("diffusion.noise_info mean", noise_info[0], -100, 100)
        self.std = real("diffusion.noise_info std", noise_info[1], 1e-6, 100)

    @property
    def noise_formula(self) -> str:
        """The noise as the formula of x_t has it: eps, or mu + s eps."""
        scaled = "eps" if self.std == 1 else f"{self.std:g} eps"
        return scaled if self.mean == 0 else f"({self.mean:g} + {scaled})"

    def snr(self, t: float) -> float:
        """Return alpha_bar / ((1 - alpha_bar) s^2): picture against the noise as drawn."""
        return float(self.schedule.snr(t)) / self.std**2

    def factors(self, t: Tensor | float, like: Tensor) -> tuple[Factor, Factor]:
        """Return sqrt(alpha_bar_t), sqrt(1 - alpha_bar_t), shaped to broadcast against `like`.

        Two numbers of one time, else, of times [B], tensors of `like`'s type and device, computed
        in float64.
        """
        if not isinstance(t, Tensor):
            return self.schedule.at(t)
        times = t.detach().cpu().double().numpy()
        pair = (torch.as_tensor(f(times)) for f in (self.schedule.signal, self.schedule.noise))
        a, b = (f.reshape(f.shape + (1,) * (like.ndim - 1) if f.ndim else ()) for f in pair)
        # The type first: some devices have no float64.
        return a.to(like.dtype).to(like.device), b.to(like.dtype).to(like.device)

    def to_w(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """Return w_t of x_t [B, C, ...]; at t = 0 the picture itself, x_0 / s."""
        if (self.mean, self.std) == (0.0, 1.0):
            return x_t
        return (x_t - self.factors(t, x_t)[1] * self.mean) / self.std

    def to_x(self, w_t: Tensor, t: Tensor | float) -> Tensor:
        """Return x_t of w_t [B, C, ...]; at t = 0 the picture itself, s w_0."""
        if (self.mean, self.std) == (0.0, 1.0):
            return w_t
        return w_t * self.std + self.factors(t, w_t)[1] * self.mean

    def pure_noise(self, eps: Tensor) -> Tensor:
        """Return the x [B, C, ...] of pure noise from which sampling starts."""
        return self.std * eps + self.mean

    def q_sample(self, x0: Tensor, t: Tensor | float, eps: Tensor) -> Tensor:
        """Return x_t of x_0 and standard noise eps, all [B, C, ...] (DDPM eq. 4)."""
        a, b = self.factors(t, x0)
        return a * x0 + b * (self.mean + self.std * eps)

    def forward_step(self, x_prev: Tensor, t: int, z: Tensor) -> Tensor:
        """Return x_t of x_{t-1} and fresh standard noise z [B, C, ...] (DDPM eq. 2)."""
        beta = float(self.schedule.beta[t])
        w_t = (1 - beta) ** 0.5 * self.to_w(x_prev, t - 1) + beta**0.5 * z
        return self.to_x(w_t, t)

    def chain(self, x0: Tensor, noises: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield x_1, x_2, ... by single steps, one for each z in `noises`."""
        x = x0
        for t, z in enumerate(noises, start=1):
            x = self.forward_step(x, t, z)
            yield x

    def coupled_noise(self, noises: Sequence[Tensor]) -> Tensor:
        """Return the eps with which q_sample lands exactly where the chain of `noises` lands.

        eps = sum_i sqrt(beta_i alpha_bar_t / alpha_bar_i) z_i / sqrt(1 - alpha_bar_t): unrolling
        eq. 2, each z_i is shrunk by all the steps after its own.
        """
        schedule, t = self.schedule, len(noises)
        variances = schedule.beta[1 : t + 1] * schedule.alpha_bar[t] / schedule.alpha_bar[1 : t + 1]
        weights = (variances / (1 - schedule.alpha_bar[t])) ** 0.5
        return sum((float(w) * z for w, z in zip(weights, noises, strict=True)), 0 * noises[0])

    def posterior(
        self, x0: Tensor, x_t: Tensor, t: int, s: int | None = None
    ) -> tuple[Tensor, float]:
        """Return mean [B, C, ...] and variance of q(x_s | x_t, x_0); s = t - 1 (DDPM eq. 6-7)."""
        s = t - 1 if s is None else s
        c = self.schedule.posterior(t, s)
        w_s = c.x0 * self.to_w(x0, 0) + c.x_t * self.to_w(x_t, t)
        return self.to_x(w_s, s), c.variance * self.std**2
