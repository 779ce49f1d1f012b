"""What a network learns: Algorithm 1's loss (Ho et al. 2020), and what its output then means.

A network estimates the noise eps, the clean picture w_0 or v = a eps - b w_0 (Salimans & Ho 2022),
with a = sqrt(alpha_bar_t) and b = sqrt(1 - alpha_bar_t); each is affine in the others, w_t being
known. w is the picture in the standard process, see `sd.diffusion.process`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sd.common.validation import InputError, choice, real
from sd.config.sections import DiffusionConfig
from sd.diffusion.process import Factor, ForwardProcess, Prediction
from sd.diffusion.schedule import Schedule

PREDICTIONS = ("eps", "x0", "v")

Network = Callable[[Tensor, Tensor], Tensor]
"""(w_t [B, C, ...], network time [B]) -> output [B, C, ...]."""


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


class Diffusion(ForwardProcess):
    """A forward process, and the objective of the network that undoes it."""

    def __init__(
        self,
        schedule: Schedule,
        prediction: str = "eps",
        noise_info: Sequence[float] = (0.0, 1.0),
        min_snr_gamma: float = 0.0,
        min_snr_floor: float = 0.0,
    ) -> None:
        """Take the settings; `min_snr_gamma` 0 weighs all times alike.

        Raises `InputError` for an unknown prediction, a standard deviation that is not positive,
        and an eps network on a schedule that ends at SNR 0, where eps says nothing of x_0.
        """
        super().__init__(schedule, noise_info)
        self.prediction = choice("diffusion.prediction", prediction, PREDICTIONS)
        self.min_snr_gamma = real("diffusion.min_snr_gamma", min_snr_gamma, 0, 1e6)
        self.min_snr_floor = real("diffusion.min_snr_floor", min_snr_floor, 0, min_snr_gamma)
        if prediction == "eps" and schedule.terminal_snr == 0:
            raise InputError(
                "diffusion.prediction = 'eps': at SNR 0 eps says nothing of the picture; "
                "use v or x0 with zero_terminal_snr"
            )

    @classmethod
    def from_config(cls, config: DiffusionConfig) -> "Diffusion":
        """Return what a configuration's diffusion section describes."""
        schedule = Schedule.from_config(config)
        limits = config.min_snr_gamma, config.min_snr_floor
        return cls(schedule, config.prediction, config.noise_info, *limits)

    def predict(self, output: Tensor, w_t: Tensor, t: Tensor | float) -> Prediction:
        """Return the Prediction that a network's output [B, C, ...] at (w_t, t) means."""
        return interpret(self.prediction, output, w_t, *self.factors(t, w_t))

    def loss(self, network: Network, x0: Tensor, t: Tensor, eps: Tensor) -> Loss:
        """Return Algorithm 1's loss of a network that sees w_t, for x0, eps [B, C, ...], t [B]."""
        a, b = self.factors(t, x0)
        w_0 = self.to_w(x0, 0)
        output = network(a * w_0 + b * eps, Schedule.network_time(t).to(x0.device))
        error = (output - target_of(self.prediction, w_0, eps, a, b)).square().flatten(1).mean(1)
        if not self.min_snr_gamma:
            return Loss(error.mean(), error.detach())
        snr = torch.as_tensor(self.schedule.snr(t.detach().cpu().numpy())).to(error)
        weight = min_snr_weight(self.prediction, snr, self.min_snr_gamma, self.min_snr_floor)
        return Loss((weight * error).mean(), error.detach())
