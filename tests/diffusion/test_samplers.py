"""Step rules against independent schedulers, against each other, and by their order."""

from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import (
    scheduling_ddpm,
    scheduling_euler_ancestral_discrete,
    scheduling_lcm,
)

from sd.diffusion.samplers import PastStep, Step, UniPC
from sd.diffusion.sampling import Sampling, draw_noise, generators, step_noise
from sd.diffusion.schedule import Schedule
from sd.diffusion.timesteps import time_grid
from tests.helpers.analytic import mixture, mixture_mean

SHAPE = (1, 4, 4)
SEEDS = [5, 6]
SD = Schedule.create("scaled_linear", 1000, (0.00085, 0.012))
SD_WORDS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
GRIDS = [(n, spacing) for n in (10, 50) for spacing in ("trailing", "leading", "linspace")]
UNEVEN = [981, 700.5, 690, 333.25, 320, 100, 60, 1]


# Theirs still calls numpy in an old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def agrees(ours, theirs):
    """To 1e-5 of the largest value, or of 1 if that is more."""
    assert float((ours - theirs).abs().max()) <= 1e-5 * max(1.0, float(theirs.abs().max()))


def our_run(sampler, times, **settings):
    """Yield x after each of our steps, in float64."""
    start = draw_noise(SHAPE, generators(SEEDS)).double()
    sampling = Sampling(SD, sampler, times=times, clip_x0=False, **settings)
    for step in sampling.steps(mixture(SD), SHAPE, SEEDS, start=start):
        yield step.x_t


def their_run(scheduler, times, divided=False, twice=False):
    """Yield x after each step of a scheduler that gets exactly these times and sigmas.

    divided: it works on x / signal(t), as Karras et al. do. twice: a step is two calls.
    """
    at = [times[0], *(t for t in times[1:] for _ in range(1 + twice))]
    scheduler.set_timesteps(len(times))
    scheduler.sigmas = torch.tensor([*SD.sigma(at), 0.0])
    scheduler.timesteps = torch.tensor(at, dtype=torch.float64) - 1
    scheduler.set_begin_index(0)
    scheduler.is_scale_input_called = True
    signal = [float(SD.signal(t)) if divided else 1.0 for t in [*at, 0]]
    x = draw_noise(SHAPE, generators(SEEDS)).double() / signal[0]
    for k, t in enumerate(at):
        eps = mixture(SD)(x * signal[k], t).eps
        x = scheduler.step(eps, scheduler.timesteps[k], x).prev_sample.double()
        if not twice or k % 2 or k == len(at) - 1:
            yield x * signal[k + 1]


THEIRS = {
    "euler": (EulerDiscreteScheduler, {"divided": True}),
    "euler_ancestral": (EulerAncestralDiscreteScheduler, {"divided": True}),
    "heun": (HeunDiscreteScheduler, {"divided": True, "twice": True}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {}),
    "unipc": (UniPCMultistepScheduler, {}),
}


def feed(monkeypatch, module):
    """Let a module of theirs draw our noise of step 1, 2, ... instead of its own."""
    steps = iter(range(1, 10_000))
    ours = lambda *_, **__: step_noise(SHAPE, SEEDS, next(steps)).double()  # noqa: E731
    monkeypatch.setattr(module, "randn_tensor", ours)


@pytest.mark.parametrize("sampler", THEIRS)
@pytest.mark.parametrize(
    "times",
    [*(time_grid(SD, *grid) for grid in GRIDS), time_grid(SD, 20, "karras"), UNEVEN],
    ids=[*("-".join(map(str, grid)) for grid in GRIDS), "karras", "uneven"],
)
def test_every_sampler_agrees_per_step_with_an_independent_scheduler(sampler, times, monkeypatch):
    feed(monkeypatch, scheduling_euler_ancestral_discrete)
    kind, frame = THEIRS[sampler]
    runs = our_run(sampler, times), their_run(kind(**SD_WORDS), times, **frame)
    for ours, theirs in zip(*runs, strict=True):
        agrees(ours, theirs)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("grid", [*GRIDS, (1000, "trailing")])
def test_ddpm_agrees_per_step_with_an_independent_scheduler(variance, grid, monkeypatch):
    feed(monkeypatch, scheduling_ddpm)
    times = time_grid(SD, *grid)
    theirs = DDPMScheduler(clip_sample=False, variance_type=variance, **SD_WORDS)
    theirs.alphas_cumprod = torch.tensor(SD.alpha_bar[1:])
    theirs.set_timesteps(timesteps=[t - 1 for t in times])
    x = draw_noise(SHAPE, generators(SEEDS)).double()
    ours = our_run("ddpm", times, variance=variance)
    for t, mine in zip(times, ours, strict=True):
        answer = theirs.step(mixture(SD)(x, t).eps, t - 1, x)
        # Theirs adds noise to a last step that does not end at its time 0; Algorithm 2 never does.
        x = answer.pred_original_sample if t == times[-1] else answer.prev_sample
        agrees(mine, x)


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("count", [10, 50, 1000])
def test_ddim_agrees_per_step_with_an_independent_scheduler(spacing, eta, count):
    times = time_grid(SD, count, spacing)
    theirs = DDIMScheduler(clip_sample=False, timestep_spacing=spacing, **SD_WORDS)
    theirs.alphas_cumprod = torch.tensor(SD.alpha_bar[1:])
    theirs.set_timesteps(count)
    assert theirs.timesteps.tolist() == [t - 1 for t in times]
    x = draw_noise(SHAPE, generators(SEEDS)).double()
    for k, (t, ours) in enumerate(zip(times, our_run("ddim", times, eta=eta), strict=True), 1):
        noise = step_noise(SHAPE, SEEDS, k).double() * (k < count)
        eps = mixture(SD)(x, t).eps
        x = theirs.step(eps, t - 1, x, eta=eta, variance_noise=noise).prev_sample
        agrees(ours, x)


@pytest.mark.parametrize("count", [1, 4, 8])
def test_lcm_agrees_per_step_with_an_independent_scheduler(count, monkeypatch):
    feed(monkeypatch, scheduling_lcm)
    theirs = LCMScheduler(**SD_WORDS, timestep_scaling=1e9)  # else theirs keeps a little of x_t
    theirs.alphas_cumprod = torch.tensor(SD.alpha_bar[1:])
    theirs.set_timesteps(count)
    times = [t + 1 for t in theirs.timesteps.tolist()]
    x = draw_noise(SHAPE, generators(SEEDS)).double()
    for t, ours in zip(times, our_run("lcm", times), strict=True):
        x = theirs.step(mixture(SD)(x, t).eps, t - 1, x).prev_sample
        agrees(ours, x)


@pytest.mark.parametrize(("sampler", "eta"), [("euler", 0.0), ("euler_ancestral", 1.0)])
@pytest.mark.parametrize("spacing", ["trailing", "karras"])
def test_euler_is_ddim_and_euler_ancestral_is_ddim_with_eta_one(sampler, eta, spacing):
    times = time_grid(SD, 25, spacing)
    for one, other in zip(our_run(sampler, times), our_run("ddim", times, eta=eta), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_euler_is_its_own_formula():
    """y + (sigma_s - sigma) (y - D) / sigma with y = x / signal."""
    run = list(our_run("euler", UNEVEN))
    for t, s, x, x_s in zip(UNEVEN[1:], [*UNEVEN[2:], 0], run, run[1:], strict=False):
        y, sigma, sigma_s = x / float(SD.signal(t)), float(SD.sigma(t)), float(SD.sigma(s))
        y = y + (sigma_s - sigma) * (y - mixture(SD)(x, t).x0) / sigma
        torch.testing.assert_close(x_s, float(SD.signal(s)) * y, rtol=1e-10, atol=1e-10)


def test_unipc_without_its_corrector_is_dpm_solver_2m():
    sampling = Sampling(SD, "unipc", times=UNEVEN, clip_x0=False)
    sampling.rule = partial(UniPC, corrector=False)
    start = draw_noise(SHAPE, generators(SEEDS)).double()
    for step, other in zip(
        sampling.steps(mixture(SD), SHAPE, SEEDS, start=start),
        our_run("dpmpp_2m", UNEVEN),
        strict=True,
    ):
        torch.testing.assert_close(step.x_t, other, rtol=1e-12, atol=1e-12)


def test_the_corrector_is_exact_where_the_estimate_is_a_parabola():
    """w_s = (b_s / b) w + b_s times the integral of e^lambda D(lambda) over the step."""
    first, last = Step(SD, 800, 640), Step(SD, 640, 500)
    ends = [float(SD.log_snr(t)) / 2 for t in (800, 640, 500)]
    D = [torch.tensor([0.3 - 0.7 * u + 0.2 * u**2], dtype=torch.float64) for u in ends]
    w = torch.tensor([0.4], dtype=torch.float64)
    rule = UniPC()
    rule.before = PastStep(first, w, D[0])
    # The integral of e^u (p + q u + r u^2) is e^u (p + q (u - 1) + r (u^2 - 2 u + 2)).
    start, end = (np.exp(u) * (0.3 - 0.7 * (u - 1) + 0.2 * (u**2 - 2 * u + 2)) for u in ends[1:])
    exact = last.b_s / last.b * w + last.b_s * (end - start)
    torch.testing.assert_close(
        rule.correct(PastStep(last, w, D[1]), D[2]), exact, rtol=1e-9, atol=0
    )


LONG = Schedule(np.array([1, 1 / (1 + 0.02**2), 1 / (1 + 20**2)]))  # log sigma is linear in t
WIDE = torch.linspace(-2.5, 2.5, 40, dtype=torch.float64).reshape(1, 1, 5, 8)
COUNTS = (40, 80, 160, 320, 640)


def exact_end():
    """x at sigma 0.02 from WIDE at sigma 20: dy / dlog(sigma) = y - D by Runge-Kutta of order 4."""

    def slope(y, u):
        a, b = 1 / np.hypot(1, np.exp(u)), np.exp(u) / np.hypot(1, np.exp(u))
        return y - mixture_mean(y * a, a, b)

    times, y = np.linspace(np.log(20), np.log(0.02), 4001), WIDE.numpy() * np.hypot(1, 20)
    h = times[1] - times[0]
    for u in times[:-1]:
        k1 = slope(y, u)
        k2 = slope(y + h / 2 * k1, u + h / 2)
        k3 = slope(y + h / 2 * k2, u + h / 2)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(y + h * k3, u + h))
    return torch.tensor(y / np.hypot(1, 0.02))


@pytest.fixture(scope="module")
def end():
    return exact_end()


@pytest.mark.parametrize(
    ("sampler", "rule", "order"),
    [
        ("ddim", None, 1),
        ("euler", None, 1),
        ("heun", None, 2),
        ("dpmpp_2m", None, 2),
        ("unipc", None, 3),
        ("unipc", partial(UniPC, corrector=False), 2),
    ],
)
def test_a_sampler_converges_with_its_order(sampler, rule, order, end):
    errors = []
    for count in COUNTS:
        times = np.linspace(2, 1, count + 1).tolist()
        sampling = Sampling(LONG, sampler, times=times, clip_x0=False)
        sampling.rule = rule or sampling.rule
        # The step to 0 is the last of the stream: it is left unasked.
        *_, last = islice(sampling.steps(mixture(LONG), (1, 5, 8), [0], start=WIDE), count)
        errors.append(float((last.x_t - end).square().mean().sqrt()))
    slope = np.polyfit(np.log(COUNTS), np.log(errors), 1)[0]
    assert -slope == pytest.approx(order, abs=0.25)
