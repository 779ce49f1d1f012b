"""The forward process and the training loss (Ho et al. 2020, Algorithm 1).

Symbols are those of the table in `sd.diffusion.schedule`. The noise has mean mu and standard
deviation s (the original's `noise_info`), so that

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) (mu + s eps),    eps ~ N(0, 1).

With w_t = (x_t - sqrt(1 - alpha_bar_t) mu) / s and w_0 = x_0 / s this is the standard process of
the papers, so every formula is written once, for w; the default (0, 1) makes w equal to x.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sd.common.validation import InputError, choice, real
from sd.config.sections import DiffusionConfig
from sd.diffusion.schedule import Schedule

PREDICTIONS = ("eps", "x0", "v")

Factor = Tensor | float
"""A factor of all pictures [], or of each in turn, [B, 1, ...]."""

Network = Callable[[Tensor, Tensor], Tensor]
"""(x_t [B, C, ...], network time [B]) -> output [B, C, ...]."""


class Prediction(NamedTuple):
    """What a denoiser says of x_t: the clean picture and the standard noise, each [B, C, ...]."""

    x0: Tensor
    eps: Tensor


class Loss(NamedTuple):
    """`mean`: weighted, to be minimised, []. `per_picture`: plain squared error, [B]."""

    mean: Tensor
    per_picture: Tensor


def interpret(kind: str, output: Tensor, w_t: Tensor, a: Factor, b: Factor) -> Prediction:
    """Return (w_0, eps) of a network output of the given kind; a, b broadcast against w_t.

    eps: w_0 = (w_t - b eps) / a (DDPM eq. 9 solved for x_0). x0: eps = (w_t - a w_0) / b.
    v = a eps - b w_0: w_0 = a w_t - b v, eps = b w_t + a v (Salimans & Ho 2022, appendix D).
    """
    if kind == "eps":
        return Prediction((w_t - b * output) / a, output)
    if kind == "x0":
        return Prediction(output, (w_t - a * output) / b)
    return Prediction(a * w_t - b * output, b * w_t + a * output)


def target_of(kind: str, w_0: Tensor, eps: Tensor, a: Factor, b: Factor) -> Tensor:
    """Return what a network of the given kind should answer: eps, w_0 or v = a eps - b w_0."""
    if kind == "eps":
        return eps
    return w_0 if kind == "x0" else a * eps - b * w_0


def min_snr_weight(kind: str, snr: Tensor, gamma: float, floor: float = 0.0) -> Tensor:
    """Return the weight of the squared error at `snr` [B] (Hang et al. 2023, min-SNR-gamma).

    All three kinds weigh the error of w_0 by w = max(min(SNR, gamma), floor); a floor of 1 is the
    truncated weight of Salimans & Ho 2022. On the error of eps that is w / SNR, on that of v
    w / (SNR + 1).
    """
    capped = snr.clamp(floor, gamma)
    if kind == "eps":
        return capped / snr
    return capped if kind == "x0" else capped / (snr + 1)


class Diffusion:
    """The forward process over a `Schedule`, and Algorithm 1's loss."""

    def __init__(
        self,
        schedule: Schedule,
        prediction: str = "eps",
        noise_info: Sequence[float] = (0.0, 1.0),
        min_snr_gamma: float = 0.0,
        min_snr_floor: float = 0.0,
    ) -> None:
        """Take the process's settings; `min_snr_gamma` 0 weighs all times alike.

        Raises `InputError` for an unknown prediction, a standard deviation that is not positive,
        and an eps network on a schedule that ends at SNR 0, where eps says nothing of x_0.
        """
        self.schedule = schedule
        self.prediction = choice("diffusion.prediction", prediction, PREDICTIONS)
        self.mean = real("diffusion.noise_info mean", noise_info[0], -100, 100)
        self.std = real("diffusion.noise_info std", noise_info[1], 1e-6, 100)
        self.min_snr_gamma = real("diffusion.min_snr_gamma", min_snr_gamma, 0, 1e6)
        self.min_snr_floor = real("diffusion.min_snr_floor", min_snr_floor, 0, min_snr_gamma)
        if prediction == "eps" and schedule.terminal_snr == 0:
            raise InputError(
                "diffusion.prediction = 'eps': at SNR 0 eps says nothing of the picture; "
                "use v or x0 with zero_terminal_snr"
            )

    @classmethod
    def from_config(cls, config: DiffusionConfig) -> "Diffusion":
        """Return the process that a configuration's diffusion section describes."""
        schedule = Schedule.from_settings(config)
        limits = config.min_snr_gamma, config.min_snr_floor
        return cls(schedule, config.prediction, config.noise_info, *limits)

    @property
    def grain(self) -> str:
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

    def standardise(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """Return w_t of x_t [B, C, ...]."""
        if (self.mean, self.std) == (0.0, 1.0):
            return x_t
        return (x_t - self.factors(t, x_t)[1] * self.mean) / self.std

    def unstandardise(self, w_t: Tensor, t: Tensor | float) -> Tensor:
        """Return x_t of w_t [B, C, ...]."""
        if (self.mean, self.std) == (0.0, 1.0):
            return w_t
        return w_t * self.std + self.factors(t, w_t)[1] * self.mean

    def standard_x0(self, x0: Tensor) -> Tensor:
        """Return w_0 of x_0 [B, C, ...]."""
        return x0 if self.std == 1 else x0 / self.std

    def q_sample(self, x0: Tensor, t: Tensor | float, eps: Tensor) -> Tensor:
        """Return x_t of x_0 and standard noise eps, all [B, C, ...] (DDPM eq. 4)."""
        a, b = self.factors(t, x0)
        return a * x0 + b * (self.mean + self.std * eps)

    def forward_step(self, x_prev: Tensor, t: int, z: Tensor) -> Tensor:
        """Return x_t of x_{t-1} and fresh standard noise z [B, C, ...] (DDPM eq. 2)."""
        beta = float(self.schedule.beta[t])
        w_t = (1 - beta) ** 0.5 * self.standardise(x_prev, t - 1) + beta**0.5 * z
        return self.unstandardise(w_t, t)

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
        shrink = schedule.beta[1 : t + 1] * schedule.alpha_bar[t] / schedule.alpha_bar[1 : t + 1]
        weights = (shrink / (1 - schedule.alpha_bar[t])) ** 0.5
        return sum((float(w) * z for w, z in zip(weights, noises, strict=True)), 0 * noises[0])

    def posterior(
        self, x0: Tensor, x_t: Tensor, t: int, s: int | None = None
    ) -> tuple[Tensor, float]:
        """Return mean [B, C, ...] and variance of q(x_s | x_t, x_0); s = t - 1 (DDPM eq. 6-7)."""
        s = t - 1 if s is None else s
        c = self.schedule.posterior(t, s)
        w_s = c.x0 * x0 / self.std + c.x_t * self.standardise(x_t, t)
        return self.unstandardise(w_s, s), c.variance * self.std**2

    def predict(self, output: Tensor, x_t: Tensor, t: Tensor | float) -> Prediction:
        """Return the Prediction that a network's output [B, C, ...] at (x_t, t) means."""
        a, b = self.factors(t, x_t)
        w_0, eps = interpret(self.prediction, output, self.standardise(x_t, t), a, b)
        return Prediction(w_0 if self.std == 1 else w_0 * self.std, eps)

    def loss(self, network: Network, x0: Tensor, t: Tensor, eps: Tensor) -> Loss:
        """Return Algorithm 1's loss: the network sees x_t and is told the target it missed.

        x0, eps: [B, C, ...]; t: [B], 1..T. The network sees w_t, which is x_t for noise (0, 1).
        """
        a, b = self.factors(t, x0)
        w_0 = self.standard_x0(x0)
        output = network(a * w_0 + b * eps, Schedule.network_time(t).to(x0.device))
        error = (output - target_of(self.prediction, w_0, eps, a, b)).square().flatten(1).mean(1)
        if not self.min_snr_gamma:
            return Loss(error.mean(), error.detach())
        snr = torch.as_tensor(self.schedule.snr(t.detach().cpu().numpy())).to(error)
        weight = min_snr_weight(self.prediction, snr, self.min_snr_gamma, self.min_snr_floor)
        return Loss((weight * error).mean(), error.detach())
