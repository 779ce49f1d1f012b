"""What latents cost: a step, what is shown of a sampling, encoding, its forecast, memory, a look.

    python -m tests.benchmarks.latent_speed step | sampling | encoding | forecast | inside
    python -m tests.benchmarks.latent_speed memory [--pictures 5000]

step: `latent128`'s against `small`'s, which has as many positions (16 x 16). sampling: 16 pictures
of the bundled `shapes128`, 25 steps, without a prompt: its linear previews, and all that the page
does around it, against the plain call with one decoding of the 16. encoding: a set encoded to disk
against bare calls of TAESD's encoder. forecast: what a forecast says of encoding against what it
takes. inside: what the Noise tab answers a look into TAESD with, one picture of 128 pixels. memory:
a process that trains `latent256` on so many pictures of random latents, against one on 64.

Seconds are the processor's, of all threads of this process, so that other programs count little:
run it with OMP_NUM_THREADS=1, for threads that wait are counted as at work. What is compared takes
turns. Memory is told twice: all that is resident, and what of it is the process's own and not a
file's pages, which the system can drop.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from sd.checkpoints.checkpoint import load_checkpoint
from sd.checkpoints.first_stage import open_autoencoder, write_autoencoder
from sd.checkpoints.latent_set import AUTOENCODER, INDEX, VALUES, open_latents
from sd.common import device
from sd.common.device import multiplies_bfloat16
from sd.config import Config
from sd.data.image_set import ImageSet
from sd.data.images import to_float
from sd.data.ingest import PIXELS, map_file
from sd.data.reading.report import Report
from sd.diffusion.sampling import SampleStep
from sd.generation.film import FilmStep, stack_kind
from sd.generation.recipe import Recipe
from sd.networks.first_stage import encode_mode
from sd.training.latents import BLOCK, encode_images
from sd.training.loop import Training
from sd.training.planning import forecast
from sd.training.planning.forecast import random_pictures
from sd.ui import models, starters, state
from sd.ui.denoise.job import Job
from sd.ui.noise import inside, latents
from tests.benchmarks import timing
from tests.benchmarks.timing import ROOT, Ratio

MODEL, SAMPLER, STEPS, COUNT = "shapes128", "dpmpp_2m", 25, 16
STEPS_TIMED, ENCODED = 3, 64
FEW, TRAINED = 64, 10  # pictures of the smaller training, and steps of both
MOST = {  # the bounds
    "step": 1.05,
    "previews": 0.01,
    "live": 1.05,
    "encoding": 1 / 0.95,
    "forecast": 1.2,
    "inside": 0.6,  # seconds
    "memory": 100,  # MiB
}


def busy(work: Callable[[], object]) -> float:
    """Return the seconds of the processor that a call takes."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def step(rounds: int) -> Iterator[str]:
    """Time a step on latents against one on pixels of as many positions."""
    machine = device.choose("cpu").apply()
    works: dict[str, Callable[[], float]] = {}
    for name in ("latent128", "small"):
        config = Config.preset(name).with_settings(["training.steps=100000000"])
        images = random_pictures(config)
        known = forecast.random_latents(config, len(images.pixels)) if config.is_latent else None
        steps = Training(config, images, 0, machine, latents=known).steps()
        works[name] = lambda steps=steps: busy(lambda: [next(steps) for _ in range(STEPS_TIMED)])
    times = timing.alternate(works, rounds)
    for name, each in timing.medians(times).items():
        yield f"{name}: {1000 * each / STEPS_TIMED:.0f} ms a step"
    yield bounded("step", Ratio.of(times["latent128"], times["small"]))


def sampling(rounds: int) -> Iterator[str]:
    """Time previews, and a live sampling, against the plain call and one decoding."""
    with tempfile.TemporaryDirectory() as folder, state.use(state.Shared()):
        os.environ |= {"SD_HOME": f"{folder}/home", "GRADIO_TEMP_DIR": f"{folder}/served"}
        machine = models.machine()
        model = load_checkpoint(ROOT / "checkpoints" / MODEL, machine.device)
        taken: list[SampleStep] = []

        def plain() -> float:
            return busy(lambda: model.space.decode(sample().x_t))

        def sample() -> SampleStep:
            loop = model.sampling(SAMPLER, STEPS)
            taken[:] = loop.steps(model.denoiser, model.shape, range(COUNT), machine.device)
            return taken[-1]

        def live() -> float:
            job = Job(Recipe(MODEL, sampler=SAMPLER, steps=STEPS, count=COUNT))
            took = busy(lambda: (job.start(), job.wait(600)))
            assert job.error is None and job.done == STEPS and job.end is not None
            return took

        def previews() -> float:
            steps = [FilmStep(each, None) for each in taken]
            kinds = [stack_kind(kind, steps) for kind in ("x_t", "x0", "eps")]
            return busy(lambda: [model.space.preview(each) for each in kinds])

        works = {"plain": plain, "live": live, "previews": previews, "alone": lambda: busy(sample)}
        times = timing.alternate(works, rounds)
    for name, each in timing.medians(times).items():
        yield f"{name}: {each:.3f} s"
    yield bounded("previews", Ratio.of(times["previews"], times["alone"]))
    yield bounded("live", Ratio.of(times["live"], times["plain"]))


def encoding(rounds: int) -> Iterator[str]:
    """Time a set's way into latents on disk against bare calls of the encoder."""
    config = Config.preset("latent128")
    machine, autoencoder = device.choose("cpu").apply(), open_autoencoder(config)
    images = random_images(config, ENCODED)

    def bare() -> None:
        lower = multiplies_bfloat16(machine.device)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, lower):
            for pixels in images.pixels.split(BLOCK):
                encode_mode(autoencoder, to_float(pixels).contiguous())

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for _ in encode_images(Path(folder), config, images, autoencoder, machine):
                pass

    times = timing.alternate({"bare": lambda: busy(bare), "whole": lambda: busy(whole)}, rounds)
    for name, each in timing.medians(times).items():
        yield f"{name}: {1000 * each / ENCODED:.1f} ms a picture"
    yield bounded("encoding", Ratio.of(times["whole"], times["bare"]))


def foreseen(rounds: int) -> Iterator[str]:
    """Compare a forecast of encoding with what it takes."""
    config = Config.preset("latent128")
    machine, autoencoder = device.choose("cpu").apply(), open_autoencoder(config)
    images = random_images(config, ENCODED)

    def told() -> float:
        with patch.object(time, "perf_counter", time.process_time):
            return forecast.measure(config, machine, 1.0).encode * ENCODED

    def encode() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for _ in encode_images(Path(folder), config, images, autoencoder, machine):
                pass

    times = timing.alternate({"told": told, "taken": lambda: busy(encode)}, rounds)
    for name, each in timing.medians(times).items():
        yield f"{name}: {each:.2f} s for {ENCODED} pictures"
    pairs = zip(times["told"], times["taken"], strict=True)
    off = [max(told / taken, taken / told) for told, taken in pairs]
    yield bounded("forecast", Ratio.of(off, [1.0] * len(off)))


def look(rounds: int) -> Iterator[str]:
    """Time what a look into TAESD answers with, nothing of it known before."""
    with tempfile.TemporaryDirectory() as folder, state.use(state.Shared()):
        os.environ |= {"SD_HOME": f"{folder}/home", "GRADIO_TEMP_DIR": f"{folder}/served"}
        entry = models.find(MODEL)
        name = latents.list_autoencoders(entry)[0]

        def answer() -> None:
            latents.encode.cache_clear()
            one = inside.look(name, entry, starters.PHOTO, 0, 0.0)
            inside.row_html([one], name, entry, "en") + inside.detail_html(one, 0.0, "en")

        took = timing.alternate({"look": lambda: busy(answer)}, rounds)["look"]
    yield bounded("inside", Ratio.of(took, [1.0] * len(took)))


def random_images(config: Config, count: int) -> ImageSet:
    """Return so many pictures of random pixels."""
    few = random_pictures(config)
    rows = torch.arange(count) % len(few.pixels)
    report = Report(count, (), {}, {}, {}, 0, ())
    return ImageSet(few.pixels[rows], tuple(map(str, range(count))), None, (), None, report)


def bounded(name: str, ratio: Ratio) -> str:
    """Return a figure and its bound in words."""
    held = "holds" if ratio.median <= MOST[name] else "BROKEN"
    median, low, high = ratio
    return f"{name}: {median:.3f} ({low:.3f} to {high:.3f}), at most {MOST[name]:.3g}: {held}"


def resident(count: int) -> dict[str, float]:
    """Train on so many pictures; return the MiB that this process holds, and those of its own."""
    config = Config.preset("latent256").with_settings([f"training.steps={TRAINED}"])
    machine = device.choose("cpu").apply()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shape, views = [count, *config.picture_shape], [count, 1, *config.latent_shape]
        with (folder / PIXELS).open("wb") as file:
            file.truncate(int(torch.tensor(shape).prod()))
        source = torch.Generator().manual_seed(0)
        with (folder / VALUES).open("wb") as file:
            for _ in range(count):
                file.write(torch.randn(views[1:], generator=source).half().numpy().tobytes())
        channels = views[2]
        moments = {"mean": [0.0] * channels, "std": [1.0] * channels}
        moments["rgb"] = torch.zeros(channels + 1, 3).tolist()  # type: ignore[assignment]
        (folder / INDEX).write_text(json.dumps({"shape": views, **moments}))
        write_autoencoder(folder / AUTOENCODER, open_autoencoder(config))
        report = Report(count, (), {}, {}, {}, 0, ())
        names = tuple(map(str, range(count)))
        pixels = map_file(folder / PIXELS, shape)
        images = ImageSet(pixels, names, None, (), None, report)
        training = Training(config, images, 0, machine, latents=open_latents(folder / "", config))
        for _ in training.steps():
            pass
        for rows in torch.arange(count).split(FEW):  # every latent is read
            training.data.plain(rows)
        training.evaluate()
        lines = Path("/proc/self/status").read_text().splitlines()
    told = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if "kB" in line}
    return {"resident": told["VmRSS"], "own": told["RssAnon"]}


def hold(pictures: int) -> Iterator[str]:
    """Compare the memory of a training on many pictures with that of one on few."""
    found: list[Mapping[str, Any]] = []
    for count in (FEW, pictures):
        words = [sys.executable, "-m", "tests.benchmarks.latent_speed", "resident"]
        words += ["--pictures", str(count)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
        told = ", ".join(f"{value:.0f} MiB {name}" for name, value in found[-1].items())
        yield f"{count} pictures of 256 pixels: {told}"
    more = {name: found[1][name] - found[0][name] for name in found[0]}
    yield f"of its own more: {more['own']:.0f} MiB"
    yield bounded("memory", Ratio(*[more["resident"]] * 3))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    measured = {
        "step": step,
        "sampling": sampling,
        "encoding": encoding,
        "forecast": foreseen,
        "inside": look,
    }
    parser.add_argument("what", choices=[*measured, "memory", "resident"])
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    parser.add_argument("--pictures", type=int, default=5000)
    words = parser.parse_args()
    if words.what == "resident":
        print(json.dumps(resident(words.pictures)))
        return
    for line in (
        hold(words.pictures) if words.what == "memory" else measured[words.what](words.rounds)
    ):
        print(line, flush=True)


if __name__ == "__main__":
    main()
