"""The forward process looked at: closed forms against brute force, and models that are known."""

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sd.data.space import Pixels
from sd.diffusion import analysis
from sd.diffusion.loss import Diffusion
from sd.diffusion.process import ForwardProcess, Prediction
from sd.diffusion.sampling import Sampling
from sd.diffusion.schedule import Schedule

SEED = Schedule.create("linear", 200)
COSINE = Schedule.create("cosine", 50)


def picture(side: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.rand(channels, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def noise_like(x: torch.Tensor, seed: int = 2) -> torch.Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("t", [0, 1, 0.4, 17.3, 199, 199.9, 200])
def test_time_of_inverts_alpha_bar(t: float) -> None:
    alpha_bar = float(SEED.alpha_bar_at(t))
    assert analysis.time_of_alpha_bar(SEED, alpha_bar) == pytest.approx(t, abs=1e-6)


def test_time_of_a_mix_that_is_never_reached_is_the_end() -> None:
    assert analysis.time_of_alpha_bar(SEED, SEED.alpha_bar[-1] / 2) == 200
    zero = Schedule.create("linear", 200, zero_terminal_snr=True)
    assert analysis.time_of_alpha_bar(zero, 0.0) == 200


@pytest.mark.parametrize("std", [1.0, 0.5])
def test_distance_to_the_prior_is_that_of_two_gaussians(std: float) -> None:
    w_0, t = (picture() / std).double(), 30
    a, b = float(COSINE.signal(t)), float(COSINE.noise(t))
    q = torch.distributions.Normal(a * w_0, b)
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).mean()
    found = analysis.kl_to_prior(COSINE, t, float(w_0.square().mean()))
    assert found == pytest.approx(float(expected), rel=1e-9)
    assert analysis.kl_to_prior(COSINE, 0, 0.3) == math.inf
    assert analysis.kl_to_prior(Schedule.create("linear", 9, zero_terminal_snr=True), 9, 0.3) == 0


def test_distance_to_the_prior_falls_with_t() -> None:
    distances = [analysis.kl_to_prior(SEED, t, 0.4) for t in range(1, 201)]
    assert all(before > after for before, after in pairwise(distances))


@pytest.mark.parametrize("side", [16, 17])
def test_spectrum_of_a_wave_lies_at_its_frequency(side: int) -> None:
    x = torch.arange(side) / side
    wave = torch.cos(2 * math.pi * 5 * x).expand(1, side, side)
    power = analysis.spectrum(wave)
    assert len(power) == side // 2
    assert power.argmax() + 1 == 5
    # A wave of amplitude 1 has the energy side^2 / 2, in two coefficients among those of its ring.
    fy, fx = (np.fft.fftfreq(side, 1 / side)[axis] for axis in (np.s_[:, None], np.s_[None, :]))
    ring = int((np.hypot(fy, fx).round() == 5).sum())
    assert power[4] == pytest.approx(side**2 / 2 / ring, rel=1e-5)
    assert power.sum() == pytest.approx(power[4], rel=1e-5)


def test_spectrum_of_standard_noise_is_one_everywhere() -> None:
    power = analysis.spectrum(torch.randn(64, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert np.abs(power - 1).max() < 0.1


def test_finest_is_the_last_frequency_above_the_noise() -> None:
    power = np.array([100.0, 1.0, 4.0, 0.01])
    assert analysis.finest_frequency(power, 0.5) == 3
    assert analysis.finest_frequency(power, 0.5, std=3) == 1
    assert analysis.finest_frequency(power, 0.001) == 0
    assert analysis.finest_frequency(power, 1.0) == 4


@pytest.mark.parametrize(("T", "end"), [(200, 11.15), (1000, 14.97)])
def test_the_naive_chain_leaves_the_closed_form(T: int, end: float) -> None:
    schedule = Schedule.create("linear", T)
    means = analysis.naive_means(schedule, 1.0)
    assert means[0] == 0 and len(means) == T + 1
    assert means[-1] == pytest.approx(end, abs=0.01)
    assert means[-1] > 10 * float(schedule.noise(T))
    mended = ForwardProcess(schedule, (1.0, 1.0))
    zeros = [torch.zeros(1)] * T
    *_, x_t = mended.chain(torch.zeros(1, dtype=torch.float64), zeros)
    assert float(x_t) == pytest.approx(float(schedule.noise(T)), abs=1e-6)


def test_spread_tells_mean_deviation_and_distance() -> None:
    values = torch.tensor([-1.0, 0.0, 0.0, 1.0])
    found = analysis.summarize(values)
    assert (found.mean, found.std) == (0.0, pytest.approx(0.5**0.5))
    assert found.distance == pytest.approx(0.25)  # at 0: half below against a quarter or three
    assert analysis.summarize(torch.randn(20_000, generator=torch.Generator())).distance < 0.0115
    assert analysis.summarize(torch.full((9,), 40.0)).distance == pytest.approx(1)


@pytest.mark.parametrize("noise_info", [(0.0, 1.0), (0.7, 1.6)])
@pytest.mark.parametrize("t", [1, 37])
def test_the_chain_and_the_closed_form_agree(noise_info: tuple[float, float], t: int) -> None:
    process, x0 = ForwardProcess(COSINE, noise_info), picture(32).double()
    made = analysis.sample_chain(process, x0, t, seed=3)
    assert made.gap < 1e-12
    assert [when for when, _ in made.snapshots][-1] == t
    assert torch.equal(made.snapshots[-1][1], made.stepped)
    assert not torch.equal(made.jumped, made.coupled)
    for x_t in (made.stepped, made.jumped, made.coupled):
        inside = analysis.summarize(analysis.implied_noise(process, x0, x_t, t))
        assert inside.distance < 1.95 / x0.numel() ** 0.5  # once in a thousand by chance


def knows(x0: torch.Tensor, process: ForwardProcess, wrong: float = 0.0) -> Any:
    """A source that answers with the picture itself, or misses every value by `wrong`."""

    def denoiser(w_t: torch.Tensor, t: float) -> Prediction:
        guess = (x0 + wrong).expand(w_t.shape)
        eps = analysis.implied_noise(process, guess, process.to_x(w_t, t), t)
        return Prediction(process.to_w(guess, 0), eps)

    return SimpleNamespace(
        diffusion=process,
        denoiser=denoiser,
        space=Pixels((3, 16, 16)),
        sampling=lambda name, **more: Sampling(process.schedule, name, **more),
    )


def test_sight_measures_both_errors() -> None:
    process, x0 = ForwardProcess(COSINE), picture()
    seen = analysis.predict_at(knows(x0, process, wrong=0.1), x0, 25.5, noise_like(x0))
    a, b = float(COSINE.signal(25.5)), float(COSINE.noise(25.5))
    assert torch.allclose(seen.x_t, a * x0 + b * noise_like(x0), atol=1e-6)
    assert seen.x0_error == pytest.approx(0.1, rel=1e-4)
    assert seen.eps_error == pytest.approx(0.1 * a / b, rel=1e-3)


@pytest.mark.parametrize(
    ("t", "calls", "expected"),
    [(40, 4, [40, 30, 20, 10]), (2.5, 10, [2.5, 1.25]), (1, 10, [1])],
)
def test_the_way_back_never_asks_below_time_one(t: float, calls: int, expected: Any) -> None:
    assert analysis.round_trip_times(t, calls) == pytest.approx(expected)


def test_who_knows_the_picture_brings_it_back() -> None:
    process, x0 = ForwardProcess(COSINE), picture()
    for t in (1, 20, 50):
        came = analysis.noise_and_denoise(knows(x0, process), x0, t, noise_like(x0), 5)
        assert came.rms < 1e-5 and came.psnr > 100
    came = analysis.noise_and_denoise(knows(x0 * 0.5, process, 0.1), x0, 30, noise_like(x0), 5)
    assert came.rms == pytest.approx(float((x0 * 0.5 - 0.1).square().mean() ** 0.5), rel=1e-3)
    assert came.psnr == pytest.approx(20 * math.log10(2 / came.rms))


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
def test_one_pass_of_algorithm_1_has_the_loss_of_training(kind: str) -> None:
    process, x0 = Diffusion(COSINE, kind, (0.2, 1.3)), picture()
    source = knows(x0, process, wrong=0.05)
    made = analysis.training_iteration(source, x0, seed=4)
    assert 1 <= made.t <= 50 and made.eps.shape == x0.shape
    again = analysis.training_iteration(source, x0, seed=4)
    assert again.t == made.t and torch.equal(again.eps, made.eps)

    def network(w_t: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        t = int(times[0]) + 1
        w_0, eps = source.denoiser(w_t, t)
        a, b = process.factors(t, w_t)
        return {"eps": eps, "x0": w_0, "v": a * eps - b * w_0}[kind]

    expected = process.loss(network, x0[None], torch.tensor([made.t]), made.eps[None])
    assert made.loss == pytest.approx(float(expected.mean), rel=1e-3)
    if kind == "eps":
        assert made.eps_loss == pytest.approx(made.loss, rel=1e-6)


def test_times_are_evenly_spread() -> None:
    assert analysis.even_times(40, 4) == [10, 20, 30, 40]


def test_algorithm_1_draws_every_time_from_1_to_the_last() -> None:
    process = Diffusion(Schedule.create("linear", 3), "eps")
    source = SimpleNamespace(diffusion=process, denoiser=lambda x, _t: Prediction(x, x))
    drawn = {
        analysis.training_iteration(source, torch.zeros(1, 2, 2), seed).t for seed in range(40)
    }
    assert drawn == {1, 2, 3}
