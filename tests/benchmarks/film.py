"""What showing a sampling costs each of its steps: 16 pictures of 32 pixels in colour.

    python -m tests.benchmarks.film

Steps are noted one by one and handed on every twelve of them, as a page does four times a second
where a step takes some 20 ms. One thread's own processor time; figures are medians of the rounds.
"""

import statistics
import time

import torch

from sd.diffusion.sampling import SampleStep
from sd.diffusion.schedule import Schedule
from sd.generation.film import Film
from tests.helpers.films import PIXELS

ROUNDS, TOTAL, EVERY = 7, 48, 12


def steps() -> list[SampleStep]:
    """Steps from noise to a ramp; eps stays noise, as it does in a sampling."""
    source = torch.Generator().manual_seed(0)
    eps = torch.randn(16, 3, 32, 32, generator=source)
    x0 = torch.linspace(-1, 1, 32).expand(16, 3, 32, 32)
    shares = [i / TOTAL for i in range(1, TOTAL + 1)]
    return [
        SampleStep(i, 1000 * (1 - s), s * x0 + (1 - s * s) ** 0.5 * eps, x0, eps + 0.01 * i, 0.1)
        for i, s in enumerate(shares, start=1)
    ]


def main() -> None:
    """Print milliseconds a step for noting and for handing on, and bytes a step."""
    torch.set_num_threads(1)
    made, schedule = steps(), Schedule.create()
    noting, handing, size = [], [], 0
    for _ in range(ROUNDS):
        film, stored, noted, began = Film(PIXELS, schedule, TOTAL), [], 0.0, time.process_time()
        for step in made:
            before = time.process_time()
            film.add(step)
            noted += time.process_time() - before
            if step.i % EVERY == 0:
                film.flush(lambda data, kept=stored: kept.append(data) or "")
        handing.append((time.process_time() - began - noted) / TOTAL)
        noting.append(noted / TOTAL)
        size = sum(map(len, stored)) // TOTAL
    print(f"noting {1000 * statistics.median(noting):.4f} ms, handing on ", end="")
    print(f"{1000 * statistics.median(handing):.2f} ms a step, {size} bytes a step")


if __name__ == "__main__":
    main()
