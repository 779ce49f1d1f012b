"""Time grids: their ends, their values, and how they hold where a schedule is extreme."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from sd.common.validation import InputError
from sd.diffusion.schedule import Schedule
from sd.diffusion.timesteps import SAMPLERS, SPACINGS, calls_per_step, most_steps, time_grid

COSINE = Schedule.create("cosine", 1000)
SD = Schedule.create("scaled_linear", 1000, (0.00085, 0.012))
ZERO = Schedule.create("linear", 1000, zero_terminal_snr=True)
WHOLE = SPACINGS[:3]
SIZES = [(1000, 50), (1000, 7), (200, 200), (200, 33), (5, 1), (1, 1), (9, 6)]


def falls(grid):
    return all(t > s for t, s in itertools.pairwise([*grid, 0]))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("zero", [False, True])
def test_grids_fall_within_their_ends(spacing, zero):
    for timesteps, steps in SIZES:
        schedule = Schedule.create("cosine", timesteps, zero_terminal_snr=zero)
        grid = time_grid(schedule, steps, spacing)
        assert len(grid) == steps and falls(grid)
        assert grid[-1] >= 1 and grid[0] <= timesteps
        if steps == timesteps and spacing != "karras":
            assert grid == list(range(timesteps, 0, -1))


def test_the_ends_are_those_of_the_papers_table():
    assert time_grid(COSINE, 20, "trailing")[0] == 1000
    assert time_grid(COSINE, 20, "leading")[0::19] == [951, 1]
    assert time_grid(COSINE, 20, "linspace")[0::19] == [1000, 1]
    assert time_grid(COSINE, 20, "karras")[0::19] == [1000, 1]


def test_whole_grids_have_the_values_they_always_had():
    nine = Schedule.create("cosine", 9)
    assert time_grid(nine, 6, "trailing") == [9, 8, 6, 4, 3, 2]
    assert time_grid(nine, 6, "leading") == [6, 5, 4, 3, 2, 1]
    assert time_grid(nine, 6, "linspace") == [9, 7, 6, 4, 3, 1]
    assert time_grid(COSINE, 5, "trailing") == [1000, 800, 600, 400, 200]
    assert time_grid(COSINE, 5, "leading") == [801, 601, 401, 201, 1]
    assert time_grid(COSINE, 5, "linspace") == [1000, 750, 501, 251, 1]
    assert all(isinstance(t, int) for name in WHOLE for t in time_grid(COSINE, 5, name))


@pytest.mark.parametrize("spacing", WHOLE)
def test_with_more_steps_than_times_the_times_are_fractional_and_never_below_one(spacing):
    schedule = Schedule.create("cosine", 200)
    grid = time_grid(schedule, 1000, spacing)
    np.testing.assert_allclose(grid, np.linspace(200, 1, 1000), rtol=1e-12)
    assert most_steps(schedule) == most_steps(COSINE) == 1000


def test_karras_sigmas_are_those_of_the_formula():
    grid = time_grid(SD, 12, "karras")
    ends = float(SD.sigma(1000)), float(SD.sigma(1))
    for i, t in enumerate(grid):
        root = ends[0] ** (1 / 7) + i / 11 * (ends[1] ** (1 / 7) - ends[0] ** (1 / 7))
        assert float(SD.sigma(t)) == pytest.approx(root**7, rel=1e-9)


@pytest.mark.parametrize("schedule", [COSINE, ZERO])
def test_from_an_endless_sigma_karras_goes_on_from_eighty(schedule):
    grid = time_grid(schedule, 10, "karras")
    assert grid[0] == 1000 and falls(grid)
    roots = schedule.sigma(grid[1:]) ** (1 / 7)
    assert roots[0] == pytest.approx(80 ** (1 / 7), rel=1e-9)
    np.testing.assert_allclose(np.diff(roots), (roots[-1] - roots[0]) / 8, rtol=1e-6)
    assert time_grid(schedule, 1, "karras") == [1000]


def test_a_grid_may_start_below_the_end():
    assert time_grid(COSINE, 5, "trailing", 500) == [500, 400, 300, 200, 100]
    assert time_grid(COSINE, 5, "leading", 500.0) == [401, 301, 201, 101, 1]
    assert time_grid(COSINE, 5, "linspace", 401) == [401, 301, 201, 101, 1]
    assert time_grid(COSINE, 4, "trailing", 350.5) == [350.5, 262.875, 175.25, 87.625]
    assert time_grid(COSINE, 1, "linspace", 350.5) == [350.5]
    assert time_grid(COSINE, 3, "linspace", 2.5) != time_grid(COSINE, 3, "linspace", 3)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("start", [1000, 999.5, 37, 2.25, 1, 0.3])
@pytest.mark.parametrize("schedule", [COSINE, ZERO])
def test_every_start_is_held(spacing, start, schedule):
    for steps in (1, 2, 30):
        grid = time_grid(schedule, steps, spacing, start)
        assert len(grid) == steps and falls(grid) and grid[0] <= start
        if spacing != "leading" or steps > start:
            assert grid[0] == start


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((0,), "steps = 0"),
        ((1001,), "steps = 1001: must be a whole number from 1 to 1000"),
        ((5, "even"), "spacing = 'even'"),
        ((5, "trailing", 0), "start_time = 0: must be above 0"),
        ((5, "trailing", 1001), "start_time = 1001"),
        ((5, "karras", float("nan")), "start_time = nan"),
        ((5, "karras", True), "start_time = True"),
    ],
)
def test_impossible_grids_are_refused_in_one_line(values, named):
    with pytest.raises(InputError, match=named):
        time_grid(SD, *values)


def test_heun_alone_asks_twice_a_step():
    assert {name: calls_per_step(name) for name in SAMPLERS if name != "heun"} == {
        name: 1 for name in ("ddim", "ddpm", "euler", "euler_ancestral", "dpmpp_2m", "unipc", "lcm")
    }
    assert calls_per_step("heun") == 2
    with pytest.raises(InputError, match="did you mean 'heun'"):
        calls_per_step("huen")


def test_grids_need_no_torch():
    code = "import sys, sd.diffusion.timesteps; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
