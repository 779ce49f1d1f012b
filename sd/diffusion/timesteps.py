"""The samplers' names and prices, and the times at which they call the network.

A grid falls from `start`, T by default; the step from its last time to 0 follows.
"""

import numpy as np

from sd.common.validation import InputError, choice, real, whole
from sd.diffusion.schedule import Schedule

CALLS = {
    "ddim": 1,
    "ddpm": 1,
    "euler": 1,
    "euler_ancestral": 1,
    "heun": 2,
    "dpmpp_2m": 1,
    "unipc": 1,
    "lcm": 1,
}
SAMPLERS = tuple(CALLS)
NOISING = ("ddpm", "euler_ancestral", "lcm")  # add noise at each step, as ddim does with an eta
VARIANCES = ("fixed_small", "fixed_large")
SPACINGS = ("trailing", "leading", "linspace", "karras")
REFERENCE_STEPS = 1000  # steps that every schedule allows: a reference for grids of fewer
RHO = 7  # Karras et al. 2022, section 3
INFINITE_SIGMA = 1000  # a sigma above it is as good as infinite; cosine ends at 20,000
KARRAS_SIGMA_MAX = 80  # the sigma from which Karras et al. 2022 begin


def calls_per_step(sampler: str) -> int:
    """Return how often a step calls the network; Heun's step to 0 calls it only once."""
    return CALLS[choice("sampler", sampler, SAMPLERS)]


def most_steps(schedule: Schedule) -> int:
    """Return the largest number of steps of a grid, max(T, 1000)."""
    return max(schedule.timesteps, REFERENCE_STEPS)


def time_grid(
    schedule: Schedule, steps: int, spacing: str = "trailing", start: float | None = None
) -> list[float]:
    """Return the times [steps] at which the network is called, falling; 0 follows the last.

    trailing begins at `start` (T by default), as training ends there; leading ends at 1 but
    begins short of `start` (Lin et al. 2023, table 2); linspace holds both ends. From a whole
    start these times are whole, and the three agree when steps = T. With more steps than whole
    times all three are linspace with fractional times, for no network learns below t = 1. karras
    has sigma^(1/7) evenly spaced between both ends (Karras et al. 2022, eq. 5), at fractional
    times; where sigma(start) is above 1000 it goes on from sigma 80. Raises `InputError`.
    """
    choice("spacing", spacing, SPACINGS)
    steps = whole("steps", steps, 1, most_steps(schedule))
    first = schedule.timesteps if start is None else _start(schedule, start)
    if spacing == "karras":
        return _karras(schedule, first, steps)
    if steps > first:
        return list(np.linspace(first, _last(first, steps), steps).tolist())
    # A fractional start keeps its times fractional, lest the first be rounded away from it.
    snap = round if first == int(first) else float
    if spacing == "leading":
        return [k * int(first // steps) + 1 for k in reversed(range(steps))]
    if spacing == "trailing":
        return [snap(first * k / steps) for k in range(steps, 0, -1)]
    if steps == 1:
        return [first]
    return [1 + snap((first - 1) * k / (steps - 1)) for k in reversed(range(steps))]


def _start(schedule: Schedule, start: float) -> float:
    first = real("start_time", start, 0, schedule.timesteps)
    if first == 0:
        raise InputError(f"start_time = 0: must be above 0, at most {schedule.timesteps}")
    return int(first) if first.is_integer() else first


def _last(first: float, steps: int) -> float:
    """Return the last time of a grid that holds both ends: 1, or less where it begins below."""
    return 1 if first > 1 or steps == 1 else first / steps


def _karras(schedule: Schedule, first: float, steps: int) -> list[float]:
    """Return times whose sigmas are Karras et al. 2022, eq. 5, from sigma(first) to sigma(1).

    From an infinite sigma half of the steps would see noise alone, so the second begins at 80.
    """
    if steps == 1:
        return [first]
    if schedule.sigma(first) > INFINITE_SIGMA:
        return [first, *_karras(schedule, float(schedule.time_of(KARRAS_SIGMA_MAX)), steps - 1)]
    last = _last(first, steps)
    ends = schedule.sigma([first, last]) ** (1 / RHO)
    sigmas = np.linspace(ends[0], ends[1], steps)[1:-1] ** RHO
    return [first, *schedule.time_of(sigmas).tolist(), last]
