"""The loss and what a network's output means, held to the papers' identities in float64."""

import numpy as np
import pytest
import torch

from sd.common.validation import InputError
from sd.diffusion.loss import PREDICTIONS, Diffusion, interpret, min_snr_weight, target_of
from sd.diffusion.schedule import Schedule
from sd.networks.unet import UNetModel

LINEAR = Schedule.create("linear", 50)


def normal(*shape, seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=source, dtype=torch.float64)


def exactly(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


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
    w_t = diffusion.to_w(diffusion.q_sample(x0, t, eps), t)
    estimate = diffusion.predict(answer, w_t, t)
    exactly(diffusion.to_x(estimate.x0, 0), x0)
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
    w_t = normal(1, 1, 2, 2)
    estimate = diffusion.predict(-w_t, w_t, 50)  # v = -w_0 where nothing is left of the picture
    exactly(estimate.x0, w_t)
