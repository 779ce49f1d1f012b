"""The one loop: exact recursions, noise per step, branches, what is known, and what it tells."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from sd.common.validation import InputError
from sd.diffusion.process import ForwardProcess, Prediction
from sd.diffusion.sampling import (
    KnownRegion,
    Sampling,
    draw_noise,
    generators,
    slerp,
    step_noise,
)
from sd.diffusion.schedule import Schedule
from sd.diffusion.timesteps import SAMPLERS, SPACINGS
from tests.helpers.analytic import MEAN, STD, gaussian, mixture

SHAPE = (1, 4, 4)
COSINE = Schedule.create("cosine", 1000)
ZERO = Schedule.create("linear", 1000, zero_terminal_snr=True)


def recursion(schedule, times, eta):
    """Mean and variance of x after each step, when all is Gaussian and linear."""
    mean, variance, out = 0.0, 1.0, []
    for t, s in zip(times, [*times[1:], 0], strict=True):
        a, b = float(schedule.signal(t)), float(schedule.noise(t))
        a_s, b_s = float(schedule.signal(s)), float(schedule.noise(s))
        sigma2 = eta**2 * schedule.posterior(t, s).variance
        gain = a * STD**2 / (a**2 * STD**2 + b**2)
        along = (b_s**2 - sigma2) ** 0.5 / b
        slope = a_s * gain + along * (1 - a * gain)
        offset = a_s * (1 - gain * a) * MEAN - along * a * (1 - gain * a) * MEAN
        mean, variance = slope * mean + offset, slope**2 * variance + (sigma2 if s else 0.0)
        out.append((slope, offset, sigma2 if s else 0.0, mean, variance))
    return out


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_a_sampler_follows_the_exact_recursion(eta):
    """Every pixel is an affine map of its noises: the map is compared, so nothing is sampled."""
    sampling = Sampling(COSINE, "ddim", 20, eta=eta, clip_x0=False)
    x = draw_noise(SHAPE, generators([4])).double()
    steps = sampling.steps(gaussian(COSINE), SHAPE, [3], start=x)
    exact = recursion(COSINE, sampling.times, eta)
    for step, (slope, offset, sigma2, _, _) in zip(steps, exact, strict=True):
        x = slope * x + offset
        if sigma2:
            x = x + sigma2**0.5 * step_noise(SHAPE, [3], step.i).double()
        torch.testing.assert_close(step.x_t, x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_at_a_thousand_steps_the_gaussian_comes_back_within_a_percent(sampler):
    eta = 1.0 if sampler == "ddpm" else 0.0
    *_, (_, _, _, mean, variance) = recursion(COSINE, Sampling(COSINE, "ddim", 1000).times, eta)
    assert mean == pytest.approx(MEAN, rel=0.01)
    assert variance**0.5 == pytest.approx(STD, rel=0.01)
    pictures = Sampling(COSINE, sampler, 1000, clip_x0=False).sample(
        gaussian(COSINE), (1, 40, 40), range(4)
    )
    assert float(pictures.mean()) == pytest.approx(mean, abs=5 * STD / pictures.numel() ** 0.5)
    assert float(pictures.std()) == pytest.approx(variance**0.5, rel=0.04)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_noise_of_another_mean_and_width_is_taken_back_too(sampler):
    noise_info = (0.5, 2.0)
    sampling = Sampling(COSINE, sampler, 250, clip_x0=False, noise_info=noise_info)
    start = sampling.start((1, 60, 60), range(4))
    assert float(start.mean()) == pytest.approx(0.5, abs=0.1)
    assert float(start.std()) == pytest.approx(2.0, rel=0.05)
    pictures = sampling.sample(gaussian(COSINE, noise_info[1]), (1, 60, 60), range(4))
    assert float(pictures.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(pictures.std()) == pytest.approx(STD, rel=0.05)


def test_ddim_with_eta_one_over_all_steps_is_ddpm():
    schedule = Schedule.create("linear", 100)
    start = draw_noise(SHAPE, generators([0, 1])).double()
    runs = [
        Sampling(schedule, sampler, 100, eta=1.0, clip_x0=False).steps(
            gaussian(schedule), SHAPE, [2, 3], start=start
        )
        for sampler in ("ddim", "ddpm")
    ]
    for ddim, ddpm in zip(*runs, strict=True):
        assert ddim.x_t.dtype == torch.float64
        torch.testing.assert_close(ddim.x_t, ddpm.x_t, rtol=1e-10, atol=1e-10)


def test_steps_are_told_after_they_are_done():
    sampling = Sampling(COSINE, "ddim", 5)
    steps = list(sampling.steps(gaussian(COSINE), SHAPE, [0]))
    assert [step.i for step in steps] == [1, 2, 3, 4, 5]
    assert [step.t for step in steps] == [*sampling.times[1:], 0]
    torch.testing.assert_close(steps[-1].x_t, steps[-1].x0)
    torch.testing.assert_close(sampling.sample(gaussian(COSINE), SHAPE, [0]), steps[-1].x_t)


def test_the_last_step_adds_no_noise():
    for settings in ({"sampler": "ddpm", "variance": "fixed_large"}, {"eta": 1.0}):
        sampling = Sampling(COSINE, times=[500], clip_x0=False, **settings)
        (step,) = sampling.steps(gaussian(COSINE), SHAPE, [0])
        torch.testing.assert_close(step.x_t, step.x0)


def test_clipping_is_told_and_eps_follows_from_it():
    def loud(x_t, t):
        return Prediction(torch.linspace(-2, 2, 16).reshape(1, 1, 4, 4), torch.zeros_like(x_t))

    sampling = Sampling(COSINE, "ddim", 4)
    x = sampling.start(SHAPE, [0])
    step = next(sampling.steps(loud, SHAPE, [0]))
    assert step.x0.abs().max() == 1
    assert step.clipped == pytest.approx(0.5)
    a, b = (float(f(1000)) for f in (COSINE.signal, COSINE.noise))
    torch.testing.assert_close(a * step.x0 + b * step.eps, x)
    unclipped = next(Sampling(COSINE, "ddim", 4, clip_x0=False).steps(loud, SHAPE, [0]))
    assert unclipped.x0.abs().max() == 2 and unclipped.clipped == 0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_picture_is_the_same_alone_or_in_a_batch(sampler):
    sampling = Sampling(COSINE, sampler, 10, eta=1.0)
    together = sampling.sample(gaussian(COSINE), SHAPE, [7, 8, 9])
    for k, seed in enumerate([7, 8, 9]):
        alone = sampling.sample(gaussian(COSINE), SHAPE, [seed])
        assert torch.equal(sampling.start(SHAPE, [7, 8, 9])[k], sampling.start(SHAPE, [seed])[0])
        torch.testing.assert_close(together[k], alone[0])


def test_fractional_times_are_allowed():
    sampling = Sampling(COSINE, times=[999.5, 400.25, 0.5], clip_x0=False)
    pictures = sampling.sample(gaussian(COSINE), (1, 30, 30), range(2))
    assert np.isfinite(pictures.numpy()).all()


def test_the_stream_leaves_gradients_as_they_were():
    for _ in Sampling(COSINE, "ddim", 2).steps(gaussian(COSINE), SHAPE, [0]):
        assert torch.is_grad_enabled()


def test_the_noise_of_a_step_is_its_own():
    shape = (1, 100, 100)
    noises = [
        draw_noise(shape, generators([4]))[0],
        *(step_noise(shape, [4], k)[0] for k in (1, 2)),
    ]
    noises += [step_noise(shape, [5], 1)[0], step_noise(shape, [4, 41], 1)[1]]
    for k, one in enumerate(noises):
        assert float(one.mean()) == pytest.approx(0, abs=0.05)
        assert float(one.std()) == pytest.approx(1, abs=0.05)
        for other in noises[:k]:
            assert abs(float((one * other).mean())) < 0.05
    assert torch.equal(step_noise(shape, [9, 4], 2)[1], step_noise(shape, [4], 2)[0])


@pytest.mark.parametrize("noise_info", [(0.0, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize(
    ("sampler", "eta"), [("ddpm", 0), ("ddim", 0.5), ("euler_ancestral", 0), ("heun", 0)]
)
def test_a_branch_that_changes_nothing_goes_on_to_the_byte(sampler, eta, noise_info):
    make = partial(Sampling, COSINE, sampler, eta=eta, noise_info=noise_info)
    whole = make(12)
    steps = list(whole.steps(gaussian(COSINE, noise_info[1]), SHAPE, [1, 2]))
    branch = make(times=whole.times[5:]).steps(
        gaussian(COSINE, noise_info[1]), SHAPE, [1, 2], start=steps[4].x_t, first=5
    )
    for step, same in zip(branch, steps[5:], strict=True):
        assert torch.equal(step.x_t, same.x_t)


def test_a_branch_with_another_seed_goes_elsewhere():
    steps = list(Sampling(COSINE, "ddpm", 12).steps(gaussian(COSINE), SHAPE, [1]))
    branch = Sampling(COSINE, "ddpm", times=[400, 200])
    ends = [
        list(branch.steps(gaussian(COSINE), SHAPE, [seed], start=steps[4].x_t, first=first))[-1]
        for seed, first in [(1, 5), (2, 5), (1, 6)]
    ]
    assert not torch.equal(ends[0].x_t, ends[1].x_t) and not torch.equal(ends[0].x_t, ends[2].x_t)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("noise_info", [(0.0, 1.0), (0.5, 2.0)])
def test_what_is_known_stays_and_the_rest_is_made_anew(sampler, noise_info):
    mask = torch.zeros(4, 4)
    mask[:, 2:] = 1
    known = KnownRegion(torch.linspace(-1, 1, 16).reshape(SHAPE), mask)
    process = ForwardProcess(COSINE, noise_info)
    eps = draw_noise(SHAPE, generators([1, 2]))
    sampling = Sampling(COSINE, sampler, 8, noise_info=noise_info)
    denoiser = gaussian(COSINE, noise_info[1])
    for step in sampling.steps(denoiser, SHAPE, [1, 2], known=known):
        there = process.q_sample(known.x0.expand(2, 1, 4, 4), step.t, eps)
        assert torch.equal(step.x_t[..., :2], there[..., :2])
        assert not torch.isclose(step.x_t[..., 2:], there[..., 2:]).any()
    assert torch.equal(step.x_t[..., :2], known.x0.expand(2, 1, 4, 4)[..., :2])


def test_a_soft_mask_mixes_and_a_full_one_changes_nothing():
    sampling, x0 = Sampling(COSINE, "ddim", 4), torch.ones(SHAPE)
    plain, full, half = (
        list(sampling.steps(gaussian(COSINE), SHAPE, [3], known=known))
        for known in (
            None,
            KnownRegion(x0, torch.ones(4, 4)),
            KnownRegion(x0, torch.full((4, 4), 0.5)),
        )
    )
    assert all(torch.equal(a.x_t, b.x_t) for a, b in zip(plain, full, strict=True))
    known = ForwardProcess(COSINE).q_sample(x0, half[0].t, draw_noise(SHAPE, generators([3])))
    torch.testing.assert_close(half[0].x_t, (plain[0].x_t + known) / 2)


def test_slerp_walks_the_great_circle():
    a, b = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    third = 3 * torch.tensor([[math.cos(math.pi / 6), math.sin(math.pi / 6)]])
    torch.testing.assert_close(slerp(a, b, 1 / 3), third)
    one, other = draw_noise((3, 32, 32), generators([0, 1]))
    assert torch.equal(slerp(one, other, 0), one) and torch.equal(slerp(one, other, 1), other)
    middle = slerp(one, other, 0.5)
    assert middle.shape == one.shape and float(middle.std()) == pytest.approx(1, abs=0.03)
    assert float(((one + other) / 2).std()) < 0.75
    torch.testing.assert_close(slerp(one, one, 0.4), one)
    assert slerp(one, -one, 0.25).isfinite().all()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("schedule", [COSINE, ZERO], ids=["cosine", "zero"])
def test_the_calls_are_counted_truly_and_all_is_finite(sampler, spacing, schedule):
    calls = []

    def counting(x_t, t):
        calls.append(t)
        return mixture(schedule)(x_t, t)

    sampling = Sampling(schedule, sampler, 12, spacing=spacing, clip_x0=False)
    for step in sampling.steps(counting, SHAPE, [0]):
        assert step.x_t.isfinite().all() and step.x0.isfinite().all() and step.eps.isfinite().all()
    assert len(calls) == sampling.calls
    assert sampling.calls == 12 if sampler != "heun" else sampling.calls in (22, 23)


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m", "unipc"])
@pytest.mark.parametrize("schedule", [COSINE, ZERO], ids=["cosine", "zero"])
def test_second_order_is_nearer_to_the_exact_end_than_ddim_even_from_endless_sigma(
    sampler, schedule
):
    """All is affine in x_T: the exact end has slope STD / sqrt(a^2 STD^2 + b^2), which is STD."""
    ends = torch.tensor([-1.0, 1.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    errors = []
    for name in ("ddim", sampler):
        sampling = Sampling(schedule, name, 20, clip_x0=False)
        *_, last = sampling.steps(gaussian(schedule), (1, 1, 1), [0, 1], start=ends)
        errors.append(abs(float(last.x_t[1] - last.x_t[0]) / 2 - STD))
    assert errors[1] < 0.025 < errors[0]


def test_of_two_calls_the_first_is_told():
    sampling = Sampling(COSINE, "heun", 6, clip_x0=False)
    x = sampling.start(SHAPE, [0])
    for t, step in zip(sampling.times, sampling.steps(mixture(COSINE), SHAPE, [0]), strict=True):
        assert torch.equal(step.x0, mixture(COSINE)(x, t).x0)
        x = step.x_t


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_the_work_is_done_in_the_type_of_the_start(sampler, kind):
    start = draw_noise(SHAPE, generators([0])).to(kind)
    for step in Sampling(COSINE, sampler, 6).steps(gaussian(COSINE), SHAPE, [0], start=start):
        assert step.x_t.dtype == step.x0.dtype == kind and step.x_t.isfinite().all()


def test_a_run_may_start_from_a_picture_at_t():
    sampling = Sampling(COSINE, "ddim", 5, start_time=300)
    assert sampling.times == [300, 240, 180, 120, 60] and sampling.calls == 5
    picture = torch.full((1, *SHAPE), 0.3)
    x = sampling.process.q_sample(picture, 300, draw_noise(SHAPE, generators([0])))
    *_, last = sampling.steps(gaussian(COSINE), SHAPE, [0], start=x)
    assert last.t == 0 and last.x_t.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"sampler": "dimd"}, "sampler = 'dimd'.*did you mean 'ddim'"),
        ({"steps": 0}, "steps = 0"),
        ({"steps": 1001}, "steps = 1001"),
        ({"steps": 10**9}, "from 1 to 1000"),
        ({"eta": float("nan")}, "eta = nan"),
        ({"variance": "learned"}, "variance"),
        ({"spacing": "even"}, "spacing"),
        ({"clip_x0": "yes"}, "clip_x0"),
        ({"times": [10, 10]}, "times"),
        ({"times": [2000]}, "times"),
        ({"times": []}, "times"),
        ({"start_time": 0}, "start_time = 0: must be above 0"),
        ({"start_time": 1001}, "start_time = 1001"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(settings, named):
    with pytest.raises(InputError, match=named):
        Sampling(COSINE, **settings)
