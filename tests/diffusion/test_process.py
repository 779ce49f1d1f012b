"""The forward process, held to the papers' identities in float64."""

import pytest
import torch

from sd.common.validation import InputError
from sd.diffusion.process import ForwardProcess
from sd.diffusion.schedule import Schedule

LINEAR = Schedule.create("linear", 50)


def normal(*shape, seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=source, dtype=torch.float64)


def exactly(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("noise_info", [(0, 1), (0.5, 2)])
def test_q_sample_has_the_mean_and_variance_of_the_closed_form(noise_info):
    process = ForwardProcess(LINEAR, noise_info=noise_info)
    mean, std = noise_info
    x0 = torch.full((200_000, 1), 0.7, dtype=torch.float64)
    for t in (1, 20, 40, 50):
        x_t = process.q_sample(x0, t, normal(*x0.shape, seed=t))
        a, b = float(LINEAR.signal(t)), float(LINEAR.noise(t))
        assert x_t.mean() == pytest.approx(a * 0.7 + b * mean, abs=5 * b * std / 200_000**0.5)
        assert x_t.var() == pytest.approx((b * std) ** 2, rel=0.02)


def test_t_zero_is_the_clean_picture():
    x0 = normal(2, 3, 4, 4)
    exactly(ForwardProcess(LINEAR).q_sample(x0, 0, normal(2, 3, 4, 4, seed=1)), x0)


def test_each_picture_may_have_its_own_time():
    process, x0, eps = ForwardProcess(LINEAR), normal(3, 1, 2, 2), normal(3, 1, 2, 2, seed=1)
    together = process.q_sample(x0, torch.tensor([1, 25, 50]), eps)
    for k, t in enumerate((1, 25, 50)):
        exactly(together[k], process.q_sample(x0[k], t, eps[k]))


@pytest.mark.parametrize("noise_info", [(0, 1), (1, 1), (-0.3, 0.5)])
def test_the_chain_lands_on_the_closed_form_with_coupled_noise(noise_info):
    process = ForwardProcess(LINEAR, noise_info=noise_info)
    x0, noises = normal(2, 1, 4, 4), [normal(2, 1, 4, 4, seed=t) for t in range(1, 51)]
    for t, x_t in enumerate(process.chain(x0, noises), start=1):
        exactly(x_t, process.q_sample(x0, t, process.coupled_noise(noises[:t])))


def test_coupled_noise_is_standard_noise():
    # Its weights' squares sum to 1, so that the chain is the closed form in distribution too.
    units = [torch.eye(50, dtype=torch.float64)[k] for k in range(50)]
    weights = ForwardProcess(LINEAR).coupled_noise(units)
    assert float(weights.square().sum()) == pytest.approx(1, rel=1e-10)


@pytest.mark.parametrize("noise_info", [(0, 1), (0.5, 2)])
def test_the_posterior_mean_is_the_form_of_algorithm_2(noise_info):
    """DDPM eq. 11: (x_t - beta / sqrt(1 - alpha_bar) eps) / sqrt(alpha), here for w_t."""
    process = ForwardProcess(LINEAR, noise_info=noise_info)
    x0, eps = normal(2, 1, 3, 3), normal(2, 1, 3, 3, seed=1)
    for t in (2, 10, 50):
        x_t = process.q_sample(x0, t, eps)
        mean, variance = process.posterior(x0, x_t, t)
        beta, b = float(LINEAR.beta[t]), float(LINEAR.noise(t))
        w_t = process.to_w(x_t, t)
        algorithm_2 = (w_t - beta / b * eps) / (1 - beta) ** 0.5
        exactly(mean, process.to_x(algorithm_2, t - 1))
        assert variance == pytest.approx(LINEAR.posterior(t).variance * noise_info[1] ** 2)


@pytest.mark.parametrize("t", [0, 1, 20.5, 50])
def test_w_and_x_are_each_other_s_way_back(t):
    process, x = ForwardProcess(LINEAR, (0.5, 2)), normal(2, 1, 3, 3)
    w = process.to_w(x, t)
    exactly(w, (x - float(LINEAR.noise(t)) * 0.5) / 2)
    exactly(process.to_x(w, t), x)
    plain = ForwardProcess(LINEAR)
    assert plain.to_w(x, t) is x and plain.to_x(x, t) is x


@pytest.mark.parametrize(
    ("noise_info", "named"),
    [((0, 0), "noise_info std"), ((float("nan"), 1), "noise_info mean")],
)
def test_impossible_noise_is_refused(noise_info, named):
    with pytest.raises(InputError, match=named):
        ForwardProcess(LINEAR, noise_info)
