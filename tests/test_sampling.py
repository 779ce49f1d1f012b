"""Samplers against closed forms and against an independent implementation."""

import itertools

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from sd.denoiser import Denoiser
from sd.diffusion import Diffusion, Prediction
from sd.gate import InputError
from sd.sampling import SPACINGS, Sampling, draw, generators, time_grid
from sd.schedule import Schedule

SHAPE = (1, 4, 4)
COSINE = Schedule.create("cosine", 1000)
MEAN, STD = 0.3, 0.5


def gaussian(schedule, noise_info=(0.0, 1.0)):
    """The exact denoiser of pixels that are N(MEAN, STD^2), by conditioning Gaussians."""
    mu, s = noise_info

    def denoise(x_t, t):
        a, b = float(schedule.signal(t)), float(schedule.noise(t))
        gain = a * STD**2 / (a**2 * STD**2 + b**2 * s**2)
        x0 = MEAN + gain * (x_t - a * MEAN - b * mu)
        return Prediction(x0, (x_t - a * x0 - b * mu) / (b * s))

    return denoise


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
    sources = generators([3])
    x = draw(SHAPE, generators([4])).double()
    steps = sampling.steps(gaussian(COSINE), SHAPE, [3], start=x)
    exact = recursion(COSINE, sampling.times, eta)
    for step, (slope, offset, sigma2, _, _) in zip(steps, exact, strict=True):
        x = slope * x + offset
        if sigma2:
            x = x + sigma2**0.5 * draw(SHAPE, sources).double()
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
    pictures = sampling.sample(gaussian(COSINE, noise_info), (1, 60, 60), range(4))
    assert float(pictures.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(pictures.std()) == pytest.approx(STD, rel=0.05)


def test_ddim_with_eta_one_over_all_steps_is_ddpm():
    schedule = Schedule.create("linear", 100)
    start = draw(SHAPE, generators([0, 1])).double()
    runs = [
        Sampling(schedule, sampler, 100, eta=1.0, clip_x0=False).steps(
            gaussian(schedule), SHAPE, [2, 3], start=start
        )
        for sampler in ("ddim", "ddpm")
    ]
    for ddim, ddpm in zip(*runs, strict=True):
        assert ddim.x_t.dtype == torch.float64
        torch.testing.assert_close(ddim.x_t, ddpm.x_t, rtol=1e-10, atol=1e-10)


def wavy(x, t):
    """A smooth made-up eps network that depends on every input."""
    return torch.sin(3 * x) * 0.5 + x * (0.2 + t / 2000)


SD = Schedule.create("scaled_linear", 1000, (0.00085, 0.012))
SD_WORDS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
DENOISER = Denoiser(lambda x, t: wavy(x, float(t[0])), Diffusion(SD, "eps"))


def single_steps(grid, first, **settings):
    """Yield (i, t, x, our step from x); send in the x from which the next step goes."""
    x = first
    for i, t in enumerate(grid):
        sampling = Sampling(SD, times=grid[i:], clip_x0=False, **settings)
        step = next(sampling.steps(DENOISER, SHAPE, [i], start=x))
        x = yield i, t - 1, x, step


def agrees(ours, theirs):
    assert float((ours - theirs).abs().max()) <= 1e-5 * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("count", [10, 50, 1000])
def test_ddpm_agrees_per_step_with_an_independent_scheduler(spacing, variance, count):
    grid = time_grid(1000, count, spacing)
    theirs = DDPMScheduler(clip_sample=False, variance_type=variance, **SD_WORDS)
    theirs.set_timesteps(timesteps=[t - 1 for t in grid])
    stepper = single_steps(grid, draw(SHAPE, generators([5])), sampler="ddpm", variance=variance)
    i, t, x, step = next(stepper)
    while True:
        source = generators([i])[0]
        answer = theirs.step(wavy(x, float(t)), t, x, generator=source)
        # Theirs adds noise to a last step that does not end at its time 0; Algorithm 2 never does.
        agrees(step.x_t, answer.prev_sample if step.t else answer.pred_original_sample)
        if not step.t:
            break
        i, t, x, step = stepper.send(answer.prev_sample)


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("count", [10, 50, 1000])
def test_ddim_agrees_per_step_with_an_independent_scheduler(spacing, eta, count):
    grid = time_grid(1000, count, spacing)
    theirs = DDIMScheduler(clip_sample=False, timestep_spacing=spacing, **SD_WORDS)
    theirs.set_timesteps(count)
    assert theirs.timesteps.tolist() == [t - 1 for t in grid]
    stepper = single_steps(grid, draw(SHAPE, generators([5])), sampler="ddim", eta=eta)
    i, t, x, step = next(stepper)
    while True:
        noise = draw(SHAPE, generators([i])) * (step.t > 0)
        answer = theirs.step(wavy(x, float(t)), t, x, eta=eta, variance_noise=noise).prev_sample
        agrees(step.x_t, answer)
        if not step.t:
            break
        i, t, x, step = stepper.send(answer)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_grids_fall_within_their_ends(spacing):
    for timesteps, steps in [(1000, 50), (1000, 7), (200, 200), (200, 33), (5, 1), (1, 1), (9, 6)]:
        grid = time_grid(timesteps, steps, spacing)
        assert len(grid) == steps
        assert all(a > b for a, b in itertools.pairwise(grid))
        assert grid[-1] >= 1 and grid[0] <= timesteps
        if steps == timesteps:
            assert grid == list(range(timesteps, 0, -1))
    assert time_grid(1000, 20, "trailing")[0] == 1000
    assert time_grid(1000, 20, "leading")[0] == 951 and time_grid(1000, 20, "leading")[-1] == 1
    assert time_grid(1000, 20, "linspace")[0::19] == [1000, 1]


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


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
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
    ],
)
def test_impossible_settings_are_refused_in_one_line(settings, named):
    with pytest.raises(InputError, match=named):
        Sampling(COSINE, **settings)
