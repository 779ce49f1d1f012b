"""What a run will take on this machine: a few real steps, measured, and arithmetic.

The steps are those of the very network on random pixels, so a forecast holds for these settings,
this machine and what else runs on it at the moment.
"""

import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sd.checkpoints.adapted import open_base
from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.first_stage import open_autoencoder
from sd.checkpoints.latent_set import LatentSet
from sd.checkpoints.model import Model
from sd.common import text
from sd.common.device import Machine
from sd.config import Config
from sd.config.conditioning_kind import CLASS_KINDS
from sd.config.sections import OWN
from sd.data.image_set import ImageSet
from sd.data.reading.report import Report
from sd.networks.first_stage import Autoencoder, Latents, new_autoencoder
from sd.training.first_stage import prepare_first_stage
from sd.training.latents import BLOCK, encode_blocks, views_of
from sd.training.loop import Training, total_steps
from sd.training.monitoring import EVALUATED, LEVELS, LORA_STEPS, SAMPLE_COUNT, SAMPLE_STEPS
from sd.training.planning import memory
from sd.training.samples import passes_per_step, sample_denoiser

START_SECONDS = 4.0  # until the first step, without the pictures: mostly importing torch
PICTURE_SECONDS = 0.0008  # to read one
MOST_RANDOM = 2**26  # bytes of random pixels
LONG_BLOCK = 2.0  # seconds of encoding after which it is not timed again
LONG_STEP = 4.0  # seconds of a step after which none is taken only to warm up
RANDOM_CLASSES, RANDOM_WORDS, CAPTION_WORDS = 10, 1000, 8


@dataclass(frozen=True)
class Measurement:
    """Seconds of one step; of samples of both sets of weights and their evaluation; of a save.

    encode: of encoding a picture before training, once; with flips its mirror image takes as long.
    For a LoRA its caption is encoded too.
    autoencoder: of a step of phase 1, 0 where there is none.
    """

    step: float
    samples: float
    save: float
    encode: float = 0.0
    autoencoder: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """What a run will take. seconds: all of it, its start and samples included.

    encode_seconds, autoencoder_seconds: of these, what encoding and phase 1 take before step 1.
    """

    steps: int
    step_seconds: float
    seconds: float
    sheets: int
    pictures_per_second: float
    pictures: int
    memory: int  # bytes
    available: int
    machine: str
    encode_seconds: float = 0.0
    autoencoder_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return it in types that JSON has."""
        return {**asdict(self), "samples": SAMPLE_COUNT * self.sheets}

    def lines(self) -> list[str]:
        """Return it as short lines."""
        took = f"{self.steps:,} steps of {self.step_seconds:.3g} s on {self.machine}"
        before = [
            f"{text.format_seconds(seconds)} {what}"
            for seconds, what in (
                (self.autoencoder_seconds, "to train the autoencoder"),
                (self.encode_seconds, "to encode the pictures"),
            )
            if seconds
        ]
        return [
            f"{text.format_seconds(self.seconds)}: {took}, "
            f"{self.pictures_per_second:.3g} pictures a second, "
            f"{self.sheets} {'sheet' if self.sheets == 1 else 'sheets'} of samples",
            *([f"before the first step: {', '.join(before)}"] if before else []),
            f"memory: about {text.format_bytes(self.memory)}; {text.format_bytes(self.available)} "
            "are there",
        ]


def measure(config: Config, machine: Machine, seconds: float = 8.0) -> Measurement:
    """Time real steps, parts of a sample grid and a save; in about `seconds`, at least once.

    The network runs in this process as a run would: call `machine.apply()` before.
    """
    until = time.perf_counter() + seconds
    settings = ["training.steps=1000000", "training.minutes=0"]
    images, at_once, steps = random_pictures(config), SAMPLE_COUNT, SAMPLE_STEPS
    base = None
    if config.training.lora_rank:  # samples one at a time: its model is large
        base, at_once, steps = open_base(config), 1, LORA_STEPS
    read = _time_reading(base)
    latents = random_latents(config, len(images.pixels), base) if config.is_latent else None
    config = config.with_settings(settings)
    training = Training(config, images, 0, machine, latents=latents, start=base)
    stream = training.steps()
    step = _median(_time_steps(stream, 2, 15, until - seconds / 3))
    model = training.model
    sampling = model.sampling(steps=min(steps, model.diffusion.schedule.timesteps))
    denoiser, passes = sample_denoiser(training, model), passes_per_step(training)
    calls = sampling.steps(denoiser, model.shape, range(at_once), machine.device)
    call = _median(_time_steps(calls, 1, 5, until))
    times = 2 * SAMPLE_COUNT // at_once  # for both sets of weights
    evaluation = 2 * LEVELS * EVALUATED / (at_once * passes)  # in calls of a sample's network
    samples = call * (times * len(sampling.times) + evaluation)
    encode = autoencoder = 0.0
    if latents is not None:
        samples += times * _seconds(lambda: model.space.decode(torch.zeros(at_once, *model.shape)))
        encode = read + _time_encoding(images, latents, machine, 1 if base else BLOCK)
        autoencoder = _time_autoencoder(config, images, machine, seconds / 6)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        save_checkpoint(model, Path(folder) / "measured", {"step": 0}, training.state())
        save = time.perf_counter() - begun
    return Measurement(step, samples, save, encode, autoencoder)


@torch.no_grad()
def _time_reading(base: Model | None) -> float:
    """Return the seconds that the text encoder of a LoRA's base takes for a caption."""
    conditioner = None if base is None else base.conditioner
    if conditioner is None:
        return 0.0
    rows = conditioner.read([" ".join(["word"] * CAPTION_WORDS)])
    return _seconds(lambda: conditioner(rows))


def random_latents(config: Config, count: int, base: Model | None = None) -> LatentSet:
    """Return latents of so many pictures, as a first stage would give them: that of a `base`."""
    channels, own = config.unet.channel, config.first_stage.autoencoder == OWN
    source = torch.Generator().manual_seed(0)
    if base is not None and base.latents is not None:
        values = torch.randn(count, views_of(config), *config.latent_shape, generator=source)
        return LatentSet(values.half(), base.latents)
    autoencoder: Autoencoder = (
        new_autoencoder(config.first_stage, channels) if own else open_autoencoder(config)
    )
    values = torch.randn(count, views_of(config), *config.latent_shape, generator=source).half()
    moments = torch.zeros(channels), torch.ones(channels), torch.zeros(channels + 1, 3)
    return LatentSet(values, Latents(autoencoder, *moments, config.picture_shape))


def _time_encoding(images: ImageSet, latents: LatentSet, machine: Machine, most: int) -> float:
    """Return the seconds that a picture takes to encode once, by a second block if one is quick."""
    autoencoder, pixels = latents.latents.autoencoder, images.pixels[:most]

    def encode() -> float:
        return _seconds(lambda: list(encode_blocks(pixels, autoencoder, machine, 1, 0)))

    first = encode()  # in which the kernels are prepared, too
    return (first if first > LONG_BLOCK else encode()) / len(pixels)


def _time_autoencoder(config: Config, images: ImageSet, machine: Machine, seconds: float) -> float:
    """Return the seconds of a step of phase 1, measured in about so many; 0 where there is none."""
    training = prepare_first_stage(config, images, 0, machine)
    if training is None:
        return 0.0
    return _median(_time_steps(training.steps(), 2, 15, time.perf_counter() + seconds))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def random_pictures(config: Config) -> ImageSet:
    """Return a picture set of random pixels, with classes or captions where the kind needs them."""
    shape = config.picture_shape
    count = max(2, min(4 * config.training.batch_size, 256, MOST_RANDOM // math.prod(shape)))
    source = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *shape), generator=source, dtype=torch.uint8)
    names = tuple(map(str, range(count)))
    labels = captions = None
    classes: tuple[str, ...] = ()
    if config.conditioning.kind in CLASS_KINDS:
        labels, classes = torch.arange(count) % RANDOM_CLASSES, names[:RANDOM_CLASSES]
    if config.conditioning.kind == "captions":
        words = torch.randint(RANDOM_WORDS, (count, CAPTION_WORDS), generator=source)
        captions = tuple(" ".join(f"word{word}" for word in row) for row in words.tolist())
    report = Report(count, (), {}, {}, {}, len(captions or ()), ())
    return ImageSet(pixels, names, labels, classes, captions, report)


def _time_steps(stream: Iterator[Any], warm: int, most: int, until: float) -> list[float]:
    """Return the seconds of things in a stream: at least two, then up to `most` until a time.

    The first `warm` count only where there was no time for others; a long one may be the only one.
    """
    times: list[float] = []
    begun = time.perf_counter()
    for _ in itertools.islice(stream, warm + most):
        now = time.perf_counter()
        times.append(now - begun)
        if now > until and (len(times) > 1 or times[0] > LONG_STEP):
            break
        begun = time.perf_counter()
    return times[warm:] or times[-1:]


def _median(times: Sequence[float]) -> float:
    return max(statistics.median(times), 1e-6)


def forecast(
    config: Config, pictures: int, machine: Machine, start: float = START_SECONDS
) -> Forecast:
    """Measure these settings and return what a run of them will take.

    start: seconds until the pictures are read. Raises `InputError` where memory does not suffice.
    """
    memory.check(config, machine.device)
    return extrapolate(config, pictures, machine, measure(config, machine), start)


def extrapolate(
    config: Config, pictures: int, machine: Machine, measured: Measurement, start: float
) -> Forecast:
    """Return the forecast that follows from a measurement."""
    training, stage = config.training, config.first_stage
    encode = measured.encode * views_of(config) * pictures
    alone = stage.autoencoder_steps if stage.autoencoder == OWN else stage.tune_steps
    autoencoder = measured.autoencoder * alone if config.is_latent else 0.0
    start += PICTURE_SECONDS * pictures + encode + autoencoder
    if training.minutes:
        steps = _steps_within(config, 60 * training.minutes - start, measured)
    else:
        steps = total_steps(training, pictures - round(training.held_out * pictures))
    grids, saves = (_count(steps, each) for each in (training.sample_every, training.save_every))
    seconds = start + steps * measured.step + grids * measured.samples + saves * measured.save
    at_once = training.batch_size * training.gradient_accumulation
    return Forecast(
        steps=steps,
        step_seconds=round(measured.step, 6),
        seconds=round(60 * training.minutes or seconds, 1),
        sheets=grids,
        pictures_per_second=round(at_once / measured.step, 2),
        pictures=pictures,
        memory=memory.needed(config),
        available=memory.available(),
        machine=machine.label,
        encode_seconds=round(encode, 1),
        autoencoder_seconds=round(autoencoder, 1),
    )


def _count(steps: int, every: int) -> int:
    """Return how often something happens that is due every so many steps and after the last."""
    return math.ceil(steps / every) if every else 1


def _steps_within(config: Config, seconds: float, measured: Measurement) -> int:
    """Return how many steps fit into the seconds beside the samples and saves that are due."""
    training, last = config.training, measured.samples + measured.save
    per_step = measured.step
    per_step += measured.samples / training.sample_every if training.sample_every else 0
    per_step += measured.save / training.save_every if training.save_every else 0
    return max(1, math.floor((seconds - last) / per_step))
