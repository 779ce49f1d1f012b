"""Measures of the forward process: distance to noise, detail that is left, a model's errors.

Symbols are those of `sd.diffusion.schedule` and `sd.diffusion.process`: w_t = a w_0 + b eps with
a^2 = alpha_bar_t. A *source* is a model: it has .diffusion, .denoiser, .space and
.sampling, as `sd.checkpoints.model.Model` has them.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sd.diffusion.loss import Diffusion, target_of
from sd.diffusion.process import ForwardProcess, Prediction
from sd.diffusion.schedule import Schedule

Array = NDArray[np.float64]

MOST_SNAPSHOTS = 8  # pictures kept on a chain's way


class Summary(NamedTuple):
    """How values are spread: mean, standard deviation, and the distance to N(0, 1).

    distance: the largest gap between the two cumulative distributions (Kolmogorov 1933).
    """

    mean: float
    std: float
    distance: float


class ForwardChain(NamedTuple):
    """x_t [C, H, W] reached by single steps, and by the closed form in two ways.

    stepped: by the chain. jumped: by q_sample with noise of its own. coupled: by q_sample with the
    noise that the chain's adds up to. snapshots: (t, x_t) on the chain's way.
    """

    stepped: Tensor
    jumped: Tensor
    coupled: Tensor
    snapshots: list[tuple[int, Tensor]]

    @property
    def gap(self) -> float:
        """The largest difference between the chain and the coupled closed form."""
        return float((self.stepped - self.coupled).abs().max())


class PredictionAt(NamedTuple):
    """A model's prediction at one x_t, in one call; errors are root mean squares."""

    t: float
    x_t: Tensor
    x0: Tensor
    eps: Tensor
    x0_error: float
    eps_error: float


class RoundTrip(NamedTuple):
    """A picture noised to t and brought back: `x0` in [-1, 1], its RMS error and PSNR in dB."""

    t: float
    x_t: Tensor
    x0: Tensor
    rms: float
    psnr: float


class TrainingIteration(NamedTuple):
    """One pass of Algorithm 1: what was drawn, what the network answered, and how wrong it was.

    loss: mean squared error of what the network was trained to predict. eps_loss: of eps, as the
    paper writes it.
    """

    t: int
    eps: Tensor
    x_t: Tensor
    answer: Prediction
    loss: float
    eps_loss: float


def time_of_alpha_bar(schedule: Schedule, alpha_bar: float) -> float:
    """Return the t in [0, T] at which a schedule has this alpha_bar, or T if it never falls so far.

    The inverse of `Schedule.alpha_bar_at`.
    """
    if alpha_bar <= schedule.alpha_bar[-1]:
        return float(schedule.timesteps)
    return float(schedule.time_of((1 / alpha_bar - 1) ** 0.5))


def kl_to_prior(schedule: Schedule, t: float, power: float) -> float:
    """Return KL(q(w_t | w_0) || N(0, I)) in nats per value; infinite at t = 0.

    Two Gaussians: (a^2 w_0^2 + b^2 - 1 - ln b^2) / 2, averaged over the values of a picture whose
    mean square is `power`. At T it is the prior term L_T of DDPM's eq. 5.
    """
    alpha_bar = float(schedule.alpha_bar_at(t))
    if alpha_bar == 1:
        return math.inf
    return 0.5 * (alpha_bar * power - alpha_bar - math.log1p(-alpha_bar))


def spectrum(x0: Tensor) -> Array:
    """Return the mean power of a picture [C, S, S] at 1, 2, ... S // 2 cycles per side.

    The transform is unitary, so that noise N(0, 1) has power 1 at every frequency.
    """
    side = x0.shape[-1]
    power = torch.fft.fft2(x0.double(), norm="ortho").abs().square().mean(0)
    cycles = torch.fft.fftfreq(side).mul(side)
    ring = torch.hypot(cycles[:, None], cycles[None, :]).round().long()
    sums = torch.bincount(ring.flatten(), power.flatten(), minlength=side)
    counts = torch.bincount(ring.flatten(), minlength=side).clamp(min=1)
    return (sums / counts)[1 : side // 2 + 1].numpy()


def finest_frequency(power: Array, alpha_bar: float, std: float = 1.0) -> int:
    """Return the highest frequency, in cycles per side, still above the noise; 0 if none is.

    The picture's power at t is alpha_bar `power`, the noise's is (1 - alpha_bar) std^2 throughout.
    """
    above = np.flatnonzero(alpha_bar * power > (1 - alpha_bar) * std**2)
    return int(above[-1]) + 1 if len(above) else 0


def naive_means(schedule: Schedule, mean: float) -> Array:
    """Return the chain's mean [T+1] for x_0 = 0 if every step's noise is N(mean, s^2).

    x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) (mean + s z): the means add up like amplitudes,
    while the closed form, whose mean is sqrt(1 - alpha_bar_t) mean, adds them up like variances.
    """
    means = np.zeros(schedule.timesteps + 1)
    for t, beta in enumerate(schedule.beta[1:], start=1):
        means[t] = (1 - beta) ** 0.5 * means[t - 1] + beta**0.5 * mean
    return means


def summarize(values: Tensor) -> Summary:
    """Return mean, standard deviation and distance to N(0, 1) of values of any shape."""
    ordered = values.detach().cpu().double().flatten().sort().values
    count = len(ordered)
    expected = torch.special.ndtr(ordered)
    ranks = torch.arange(count, dtype=torch.float64) / count
    gap = torch.maximum(expected - ranks, ranks + 1 / count - expected).max()
    return Summary(float(ordered.mean()), float(ordered.std(correction=0)), float(gap))


def implied_noise(process: ForwardProcess, x0: Tensor, x_t: Tensor, t: float) -> Tensor:
    """Return the standard noise that is in x_t: (w_t - a w_0) / b, for t > 0."""
    a, b = process.factors(t, x_t)
    return (process.to_w(x_t, t) - a * process.to_w(x0, 0)) / b


def sample_chain(process: ForwardProcess, x0: Tensor, t: int, seed: int) -> ForwardChain:
    """Go from x0 [C, H, W] to time t >= 1 step by step and at once."""
    source = torch.Generator().manual_seed(seed)
    noises = [torch.randn(x0.shape, generator=source, dtype=x0.dtype) for _ in range(t)]
    own = torch.randn(x0.shape, generator=source, dtype=x0.dtype)
    wanted = set(np.linspace(1, t, min(t, MOST_SNAPSHOTS)).round().astype(int).tolist())
    snapshots, stepped = [], x0
    for place, stepped in enumerate(process.chain(x0, noises), start=1):
        if place in wanted:
            snapshots.append((place, stepped))
    coupled = process.q_sample(x0, t, process.coupled_noise(noises))
    return ForwardChain(stepped, process.q_sample(x0, t, own), coupled, snapshots)


def rms(difference: Tensor) -> float:
    """Return the root of the mean square."""
    return float(difference.double().square().mean().sqrt())


@torch.no_grad()
def predict_at(source: Any, x0: Tensor, t: float, eps: Tensor, device: str = "cpu") -> PredictionAt:
    """Return a source's one-shot prediction for x0 [C, H, W], noised to t in (0, T] with eps."""
    process: ForwardProcess = source.diffusion
    x_t = process.q_sample(x0, t, eps)
    answer = source.denoiser(process.to_w(x_t, t)[None].to(device), t)
    w_0, eps_hat = (each[0].to("cpu", x0.dtype) for each in answer)
    x0_hat = process.to_x(w_0, 0)
    return PredictionAt(t, x_t, x0_hat, eps_hat, rms(x0_hat - x0), rms(eps_hat - eps))


def round_trip_times(t: float, calls: int) -> list[float]:
    """Return at most `calls` times that fall evenly from t >= 1 to no less than 1."""
    calls = max(1, min(calls, math.floor(t)))
    return [t * (calls - k) / calls for k in range(calls)]


def noise_and_denoise(
    source: Any, picture: Tensor, t: float, eps: Tensor, calls: int, device: str = "cpu"
) -> RoundTrip:
    """Noise a picture [C, H, W] to t >= 1 with eps, and bring it back with DDIM in `calls` calls.

    Meng et al. 2022 (SDEdit) start from such an x_t. PSNR is of a range of 2, from -1 to 1.
    """
    x_t = source.diffusion.q_sample(source.space.encode(picture[None])[0], t, eps)
    sampling = source.sampling("ddim", times=round_trip_times(t, calls))
    for step in sampling.steps(source.denoiser, eps.shape, [0], device, start=x_t[None]):
        last = step.x_t
    back = source.space.decode(last)[0].to("cpu", picture.dtype).clamp(-1, 1)
    error = rms(back - picture)
    return RoundTrip(t, x_t, back, error, 20 * math.log10(2 / max(error, 1e-9)))


def training_iteration(
    source: Any, x0: Tensor, seed: int, device: str = "cpu"
) -> TrainingIteration:
    """Pass once through Algorithm 1 (Ho et al. 2020) with x0 [C, H, W], without the gradient step.

    t ~ Uniform({1, ..., T}) and eps ~ N(0, I) are drawn from the seed.
    """
    chance = torch.Generator().manual_seed(seed)
    diffusion: Diffusion = source.diffusion
    t = int(torch.randint(1, diffusion.schedule.timesteps + 1, (1,), generator=chance))
    eps = torch.randn(x0.shape, generator=chance)
    seen = predict_at(source, x0, t, eps, device)
    a, b = diffusion.factors(t, x0)
    target, output = (
        target_of(diffusion.prediction, diffusion.to_w(clean, 0), noise, a, b)
        for clean, noise in ((x0, eps), (seen.x0, seen.eps))
    )
    answer = Prediction(seen.x0, seen.eps)
    return TrainingIteration(t, eps, seen.x_t, answer, rms(output - target) ** 2, seen.eps_error**2)


def even_times(last: float, count: int) -> Sequence[float]:
    """Return `count` times from last / count to `last`, evenly spaced."""
    return [last * (k + 1) / count for k in range(count)]
