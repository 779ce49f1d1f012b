"""The schedule's numbers: known values, identities, and where each kind ends."""

import numpy as np
import pytest

from sd.common.validation import InputError
from sd.config import Config
from sd.diffusion.schedule import SCHEDULES, Schedule


def test_linear_betas_are_evenly_spaced_and_alpha_bar_is_their_product():
    schedule = Schedule.create("linear", 1000, (1e-4, 0.02))
    beta = 1e-4 + (0.02 - 1e-4) * np.arange(1000) / 999
    np.testing.assert_allclose(schedule.beta[1:], beta, rtol=1e-11)
    np.testing.assert_allclose(schedule.alpha_bar[1:], np.cumprod(1 - beta), rtol=1e-12)
    assert schedule.alpha_bar[0] == 1 and schedule.beta[0] == 0


def test_scaled_linear_spaces_the_roots():
    schedule = Schedule.create("scaled_linear", 1000, (0.00085, 0.012))
    steps = np.diff(np.sqrt(schedule.beta[1:]))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert schedule.terminal_snr == pytest.approx(0.00468, rel=1e-3)  # Stable Diffusion's own


@pytest.mark.parametrize(
    ("kind", "options", "terminal_snr"),
    [
        ("linear", {"timesteps": 200}, 0.152),
        ("linear", {"timesteps": 200, "rescale_betas": True}, 3.0e-5),
        ("linear", {"timesteps": 1000}, 4.04e-5),
        ("cosine", {"timesteps": 1000}, 2.43e-9),
        ("cosine", {"timesteps": 200}, 6.07e-8),
        ("linear", {"timesteps": 1000, "zero_terminal_snr": True}, 0.0),
    ],
)
def test_where_the_schedules_end(kind, options, terminal_snr):
    schedule = Schedule.create(kind, **options)
    assert schedule.terminal_snr == pytest.approx(terminal_snr, rel=0.02, abs=1e-12)
    assert (schedule.warning is not None) == (terminal_snr > 1e-3)


def test_cosine_follows_its_formula_until_the_last_clipped_steps():
    schedule = Schedule.create("cosine", 1000)
    u = np.arange(1001) / 1000
    f = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(schedule.alpha_bar[:999], (f / f[0])[:999], rtol=1e-9)
    assert schedule.beta.max() == pytest.approx(0.999)


def test_sigmoid_follows_its_formula():
    schedule = Schedule.create("sigmoid", 100)
    u = np.arange(101) / 100
    g = 1 / (1 + np.exp(6 * u - 3))
    expected = (g - g[-1]) / (g[0] - g[-1])
    np.testing.assert_allclose(schedule.alpha_bar[:99], expected[:99], rtol=1e-9)


def test_the_presets_end_where_they_say():
    ends = {
        name: Schedule.from_config(Config.preset(name).diffusion)
        for name in ("seed", "seed-fixed", "tiny", "small")
    }
    assert ends["seed"].terminal_snr == pytest.approx(0.152, abs=5e-4)
    assert "0.152" in ends["seed"].warning
    assert ends["seed-fixed"].terminal_snr < 1e-4 and ends["seed-fixed"].warning is None
    assert ends["tiny"].warning is None and ends["small"].warning is None


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("zero", [False, True])
def test_alpha_bar_falls_from_one(kind, zero):
    schedule = Schedule.create(kind, 77, zero_terminal_snr=zero)
    assert schedule.alpha_bar[0] == 1 and schedule.timesteps == 77
    assert np.all(np.diff(schedule.alpha_bar) < 0)
    assert schedule.alpha_bar[-1] == 0 if zero else schedule.alpha_bar[-1] > 0


def test_zero_terminal_snr_keeps_the_first_step():
    plain, zero = (
        Schedule.create("linear", 1000, zero_terminal_snr=asked) for asked in (False, True)
    )
    assert zero.alpha_bar[1] == pytest.approx(plain.alpha_bar[1], rel=1e-12)


def test_the_names_of_one_time_agree():
    schedule = Schedule.create("cosine", 50)
    t = np.arange(1, 50)
    np.testing.assert_allclose(schedule.signal(t) ** 2 + schedule.noise(t) ** 2, 1, rtol=1e-12)
    np.testing.assert_allclose(schedule.snr(t), 1 / schedule.sigma(t) ** 2, rtol=1e-10)
    np.testing.assert_allclose(schedule.log_snr(t), -2 * np.log(schedule.sigma(t)), rtol=1e-9)
    assert schedule.snr(0) == np.inf and schedule.sigma(0) == 0
    assert Schedule.network_time(1) == 0


def test_what_is_remembered_of_a_time_is_what_is_computed():
    schedule, fresh = (Schedule.create("linear", 20) for _ in range(2))
    times = [20, 13.37, 1, 0.25]
    schedule.remember(times)
    for t in times:
        assert schedule.at(t) == fresh.at(t) == (float(fresh.signal(t)), float(fresh.noise(t)))
    with pytest.raises(InputError, match="t = 21: must be from 0 to 20"):
        schedule.at(21)


def test_a_schedule_forgets_before_it_has_remembered_too_much(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sd.diffusion.schedule.MOST_KNOWN", 10)
    schedule = Schedule.create("linear", 20)
    for start in range(5):
        schedule.remember([start + k / 8 for k in range(8)])
    assert len(schedule._known) <= 10 + 8


def test_between_whole_times_log_sigma_is_interpolated():
    schedule = Schedule.create("linear", 100)
    ends = np.log(schedule.sigma([40, 41]))
    assert np.log(schedule.sigma(40.25)) == pytest.approx(
        0.75 * ends[0] + 0.25 * ends[1], rel=1e-12
    )
    first = schedule.alpha_bar_at([0, 0.5, 1])
    assert first[0] > first[1] > first[2]
    zero = Schedule.create("linear", 100, zero_terminal_snr=True)
    assert 0 < zero.alpha_bar_at(99.5) < zero.alpha_bar_at(99)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("kind", SCHEDULES)
def test_the_time_of_a_sigma_is_where_the_schedule_has_it(kind, zero):
    schedule = Schedule.create(kind, 100, zero_terminal_snr=zero)
    times = np.concatenate([np.arange(101), [0.25, 0.5, 1.75, 40.2, 98.9, 99.4]])
    sigmas = schedule.sigma(times)
    np.testing.assert_allclose(schedule.time_of(sigmas), times, rtol=1e-8)
    assert schedule.time_of(0) == 0 and schedule.time_of(schedule.sigma(100)) == 100


@pytest.mark.parametrize("sigma", [-1, float("nan"), 1e9])
def test_a_sigma_that_is_never_reached_is_refused_in_one_line(sigma):
    with pytest.raises(InputError, match=r"sigma = .*must be from 0 to"):
        Schedule.create("linear", 100).time_of(sigma)


def test_the_posterior_is_bayes_rule():
    schedule = Schedule.create("linear", 30)
    for t, s in [(1, 0), (2, 1), (17, 16), (30, 29), (30, 7), (12, 3)]:
        a_s, beta = schedule.alpha_bar[s], schedule.step_beta(t, s)
        c = schedule.posterior(t, s)
        if s == 0:
            assert c.variance == 0 and c.x0 == pytest.approx(1) and c.x_t == 0
            continue
        # p(x_s | x_0) and p(x_t | x_s) are Gaussians: precisions add.
        precision = 1 / (1 - a_s) + (1 - beta) / beta
        assert c.variance == pytest.approx(1 / precision, rel=1e-10)
        assert c.x0 == pytest.approx(a_s**0.5 / (1 - a_s) / precision, rel=1e-10)
        assert c.x_t == pytest.approx((1 - beta) ** 0.5 / beta / precision, rel=1e-10)


@pytest.mark.parametrize("t", [-1, 100.5, float("nan"), float("inf")])
def test_times_outside_are_refused_in_one_line(t):
    schedule = Schedule.create("linear", 100)
    with pytest.raises(InputError, match="from 0 to 100"):
        schedule.check_time(t)
    with pytest.raises(InputError, match="from 0 to 100"):
        schedule.alpha_bar_at(t)
    with pytest.raises(InputError, match="s < t"):
        schedule.posterior(3, 3)


@pytest.mark.parametrize(
    "options", [{"kind": "linaer"}, {"timesteps": 0}, {"timesteps": 10**9}, {"timesteps": True}]
)
def test_impossible_schedules_are_refused(options):
    with pytest.raises(InputError, match="diffusion"):
        Schedule.create(**options)
