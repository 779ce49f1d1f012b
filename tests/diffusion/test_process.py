"""The forward process and the loss, held to the papers' identities in float64."""

import numpy as np
import pytest
import torch

from sd.common.validation import InputError
from sd.diffusion.process import PREDICTIONS, Diffusion, interpret, min_snr_weight, target_of
from sd.diffusion.schedule import Schedule
from sd.networks.unet import UNetModel

LINEAR = Schedule.create("linear", 50)


def normal(*shape, seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=source, dtype=torch.float64)


def exactly(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("noise_info", [(0, 1), (0.5, 2)])
def test_q_sample_has_the_mean_and_variance_of_the_closed_form(noise_info):
    diffusion = Diffusion(LINEAR, noise_info=noise_info)
    mean, std = noise_info
    x0 = torch.full((200_000, 1), 0.7, dtype=torch.float64)
    for t in (1, 20, 40, 50):
        x_t = diffusion.q_sample(x0, t, normal(*x0.shape, seed=t))
        a, b = float(LINEAR.signal(t)), float(LINEAR.noise(t))
        assert x_t.mean() == pytest.approx(a * 0.7 + b * mean, abs=5 * b * std / 200_000**0.5)
        assert x_t.var() == pytest.approx((b * std) ** 2, rel=0.02)


def test_t_zero_is_the_clean_picture():
    x0 = normal(2, 3, 4, 4)
    exactly(Diffusion(LINEAR).q_sample(x0, 0, normal(2, 3, 4, 4, seed=1)), x0)


def test_each_picture_may_have_its_own_time():
    diffusion, x0, eps = Diffusion(LINEAR), normal(3, 1, 2, 2), normal(3, 1, 2, 2, seed=1)
    together = diffusion.q_sample(x0, torch.tensor([1, 25, 50]), eps)
    for k, t in enumerate((1, 25, 50)):
        exactly(together[k], diffusion.q_sample(x0[k], t, eps[k]))


@pytest.mark.parametrize("noise_info", [(0, 1), (1, 1), (-0.3, 0.5)])
def test_the_chain_lands_on_the_closed_form_with_coupled_noise(noise_info):
    diffusion = Diffusion(LINEAR, noise_info=noise_info)
    x0, noises = normal(2, 1, 4, 4), [normal(2, 1, 4, 4, seed=t) for t in range(1, 51)]
    for t, x_t in enumerate(diffusion.chain(x0, noises), start=1):
        exactly(x_t, diffusion.q_sample(x0, t, diffusion.coupled_noise(noises[:t])))


def test_coupled_noise_is_standard_noise():
    # Its weights' squares sum to 1, so that the chain is the closed form in distribution too.
    units = [torch.eye(50, dtype=torch.float64)[k] for k in range(50)]
    weights = Diffusion(LINEAR).coupled_noise(units)
    assert float(weights.square().sum()) == pytest.approx(1, rel=1e-10)


@pytest.mark.parametrize("noise_info", [(0, 1), (0.5, 2)])
def test_the_posterior_mean_is_the_form_of_algorithm_2(noise_info):
    """DDPM eq. 11: (x_t - beta / sqrt(1 - alpha_bar) eps) / sqrt(alpha), here for w_t."""
    diffusion = Diffusion(LINEAR, noise_info=noise_info)
    x0, eps = normal(2, 1, 3, 3), normal(2, 1, 3, 3, seed=1)
    for t in (2, 10, 50):
        x_t = diffusion.q_sample(x0, t, eps)
        mean, variance = diffusion.posterior(x0, x_t, t)
        beta, b = float(LINEAR.beta[t]), float(LINEAR.noise(t))
        w_t = diffusion.standardise(x_t, t)
        algorithm_2 = (w_t - beta / b * eps) / (1 - beta) ** 0.5
        exactly(mean, diffusion.unstandardise(algorithm_2, t - 1))
        assert variance == pytest.approx(LINEAR.posterior(t).variance * noise_info[1] ** 2)


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_conversions_there_and_back(kind):
    w_0, eps = normal(4, 5), normal(4, 5, seed=1)
    for alpha_bar in (0.999, 0.5, 1e-3):
        a, b = torch.tensor([alpha_bar, 1 - alpha_bar], dtype=torch.float64).sqrt()
        w_t = a * w_0 + b * eps
        estimate = interpret(kind, target_of(kind, w_0, eps, a, b), w_t, a, b)
        exactly(estimate.x0, w_0)
        exactly(estimate.eps, eps)


def test_v_is_the_angular_velocity():
    w_0, eps = normal(6), normal(6, seed=1)
    phi = torch.tensor(0.3, dtype=torch.float64)
    step = 1e-6
    forward, backward = (p.cos() * w_0 + p.sin() * eps for p in (phi + step, phi - step))
    v = target_of("v", w_0, eps, phi.cos(), phi.sin())
    torch.testing.assert_close(v, (forward - backward) / (2 * step), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("noise_info", [(0, 1), (0.5, 2)])
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_a_perfect_network_has_no_loss_and_its_prediction_is_the_truth(kind, noise_info):
    diffusion = Diffusion(LINEAR, kind, noise_info)
    x0, eps, t = normal(3, 1, 2, 2), normal(3, 1, 2, 2, seed=1), torch.tensor([1, 20, 50])
    a, b = diffusion.factors(t, x0)
    answer = target_of(kind, x0 / noise_info[1], eps, a, b)
    assert float(diffusion.loss(lambda x, times: answer, x0, t, eps).mean) < 1e-20
    estimate = diffusion.predict(answer, diffusion.q_sample(x0, t, eps), t)
    exactly(estimate.x0, x0)
    exactly(estimate.eps, eps)


def test_the_network_is_told_its_own_time():
    seen = []
    network = lambda x, times: seen.append(times) or torch.zeros_like(x)  # noqa: E731
    Diffusion(LINEAR).loss(network, normal(2, 1, 2, 2), torch.tensor([1, 50]), normal(2, 1, 2, 2))
    assert seen[0].tolist() == [0, 49]


def test_the_eps_loss_of_an_untrained_network_is_one():
    """The output begins at zero, so that the loss is the variance of eps."""
    network = UNetModel(1, 1, 32, 1, [2], (1, 1), num_heads=2)
    x0, eps = normal(64, 1, 16, 16).float(), normal(64, 1, 16, 16, seed=1).float()
    t = torch.randint(1, 51, (64,), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        loss = Diffusion(LINEAR).loss(network, x0, t, eps)
    standard_error = (2 / eps.numel()) ** 0.5
    assert float(loss.mean) == pytest.approx(1, abs=5 * standard_error)
    assert loss.per_picture.shape == (64,)


@pytest.mark.parametrize("floor", [0.0, 2.0])
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_min_snr_weighs_the_error_of_x0_by_the_snr_within_its_limits(kind, floor):
    assert float(LINEAR.snr(20)) > 5 > float(LINEAR.snr(40)) > 2 > float(LINEAR.snr(50))
    for t in (1, 20, 40, 50):
        snr = torch.tensor([float(LINEAR.snr(t))], dtype=torch.float64)
        a, b = float(LINEAR.signal(t)), float(LINEAR.noise(t))
        error_x0 = 0.1  # what an error of w_0 by 0.1 is, written on each target, w_t being known
        on_target = {"x0": error_x0, "eps": error_x0 * a / b, "v": error_x0 / b}[kind]
        weighted = float(min_snr_weight(kind, snr, 5.0, floor)) * on_target**2
        limited = max(min(float(snr), 5.0), floor)
        assert weighted == pytest.approx(limited * error_x0**2, rel=1e-9)


def test_the_loss_applies_the_weight():
    diffusion = Diffusion(LINEAR, "eps", min_snr_gamma=5)
    x0, eps = torch.zeros(1, 1, 2, 2).double(), torch.ones(1, 1, 2, 2).double()
    loss = diffusion.loss(lambda x, times: torch.zeros_like(x), x0, torch.tensor([1]), eps)
    assert float(loss.mean) == pytest.approx(5 / float(LINEAR.snr(1)), rel=1e-9)
    assert float(loss.per_picture) == 1


def test_each_picture_s_error_has_the_weight_of_its_own_time():
    diffusion = Diffusion(LINEAR, "x0", min_snr_gamma=5)
    x0, eps = normal(3, 1, 2, 2), normal(3, 1, 2, 2, seed=1)
    t = torch.tensor([1, 40, 50])
    loss = diffusion.loss(lambda x, times: torch.zeros_like(x), x0, t, eps)
    weights = torch.from_numpy(np.minimum(LINEAR.snr(t.numpy()), 5.0))
    exactly(loss.mean, (weights * x0.square().flatten(1).mean(1)).mean())


def test_the_loss_applies_the_weights_floor():
    diffusion = Diffusion(LINEAR, "x0", min_snr_gamma=5, min_snr_floor=3)
    x0, eps = torch.ones(1, 1, 2, 2).double(), torch.ones(1, 1, 2, 2).double()
    loss = diffusion.loss(lambda x, times: torch.zeros_like(x), x0, torch.tensor([50]), eps)
    assert float(loss.mean) == 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("noise",), "diffusion.prediction"),
        (("eps", (0, 0)), "noise_info std"),
        (("eps", (float("nan"), 1)), "noise_info mean"),
        (("eps", (0, 1), -1), "min_snr_gamma"),
        (("eps", (0, 1), 1, 2), "min_snr_floor"),
    ],
)
def test_impossible_settings_are_refused(arguments, named):
    with pytest.raises(InputError, match=named):
        Diffusion(LINEAR, *arguments)


def test_eps_at_snr_zero_is_refused_in_one_line():
    ends_in_noise = Schedule.create("linear", 50, zero_terminal_snr=True)
    with pytest.raises(InputError, match="SNR 0"):
        Diffusion(ends_in_noise, "eps")
    diffusion = Diffusion(ends_in_noise, "v")
    x_t = normal(1, 1, 2, 2)
    estimate = diffusion.predict(-x_t, x_t, 50)  # v = -w_0 where nothing is left of the picture
    exactly(estimate.x0, x_t)
