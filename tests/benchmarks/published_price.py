"""What the page tells that a drawing with a published model takes, beside what it takes.

    python -m tests.benchmarks.published_price     # a tiny model built like Stable Diffusion v1

Told before anything is open, then once a drawing of that model was timed; by size and guidance.
"""

import tempfile
import time
from pathlib import Path

from sd.generation.published import shelf
from sd.runs import Home
from sd.ui import models, state
from sd.ui.denoise.job import Job
from sd.ui.published import speed
from tests.helpers import published

MODEL = "tiny-v1.safetensors"
DRAWINGS = ((16, 20, 7.5), (16, 40, 7.5), (16, 20, 1.0), (32, 20, 7.5), (64, 10, 7.5))


def main() -> None:
    """Print a row for each drawing: told, taken, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder, "home"), Path(folder, "bundled"))
        shelf.open_file(home, published.write_single(Path(folder, MODEL)), shelf.MODEL)
        with state.use(state.Shared(home=home)):
            for side, steps, guidance in DRAWINGS:
                draw(side, steps, guidance)


def draw(side: int, steps: int, guidance: float) -> None:
    """Tell a drawing's seconds, make it, and print both."""
    settings = {"sampler": "ddim", "count": 1, "prompts": ("a red cat by the sea",)}
    size = {"size": (side, side), "steps": steps, "guidance": (guidance,)}
    recipe = models.make_recipe(model=MODEL, seed=0, **settings, **size)
    told = speed.estimate(recipe)
    began = time.monotonic()
    job = Job(recipe)
    job.start()
    job.wait(600)
    took = time.monotonic() - began
    ratio = f"{told / took:.2f}"
    print(f"{side:3} px {steps:3} steps guidance {guidance:g}: {told:.2f} {took:.2f} s {ratio}")


if __name__ == "__main__":
    main()
