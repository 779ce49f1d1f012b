"""Train for so many minutes: measure, choose the settings, say why."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sd.common.device import Machine, multiplies_bfloat16
from sd.common.text import format_bytes
from sd.common.validation import InputError, real
from sd.config import Config, ini
from sd.config.conditioning_kind import (
    CLASS_KINDS,
    resolve_conditioning,
    resolve_kind,
    unresolve_conditioning,
)
from sd.config.sections import AUTO_START
from sd.networks.blueprint import ENCODING_WORK, blueprint
from sd.training.latents import views_of
from sd.training.planning import memory
from sd.training.planning.forecast import (
    PICTURE_SECONDS,
    START_SECONDS,
    Forecast,
    Measurement,
    extrapolate,
    measure,
)
from sd.training.planning.reasons import Reason
from sd.training.planning.sizes import (
    BASE,
    PIXELS,
    SIZE_PRESETS,
    SizePreset,
    sizes_for,
    worth_it,
)

MOST_MINUTES = 100_000.0
MEASURING_SHARE, MEASURING_SECONDS = 0.08, 25.0  # of the minutes, and at most, spent on measuring
LEAST_GRIDS, MOST_GRIDS, SAMPLES_SHARE = 3, 18, 0.1  # of a planned run, and of its time
KEEP_SECONDS = 50.0  # between checkpoints: what is lost where a run is killed
EMA_SHARE, LONGEST_EMA = 0.07, 10_000  # of the steps, and in steps
WARMUP_SHARE, MOST_WARMUP = 0.04, 40
BOTH_SECONDS = 2.0  # spent on measuring it in bfloat16 too
LOWER, GAIN = "bfloat16", 1.15  # taken where its steps are so many times as fast
MANY_PICTURES = 1000  # of fewer, fewer steps are enough
# An own autoencoder is trained for so much of the time, at most so many seconds, at least so many
# steps, after which pictures are known again.
FIRST_STAGE_SHARE, MOST_FIRST_STAGE, LEAST_FIRST_STAGE = 0.25, 600.0, 200


@dataclass(frozen=True)
class Plan:
    """Settings, why they were chosen and what they will take.

    measured: what of `SIZE_PRESETS` was measured for it, by place.
    """

    config: Config
    reasons: tuple[Reason, ...]
    forecast: Forecast
    measured: Mapping[int, Measurement] = field(default_factory=dict)

    def starting_from(self, base: str) -> "Plan":
        """Return it as it starts from a bundled model, which it says after why it has its size."""
        config = self.config.with_settings([f"training.start_from={AUTO_START}"])
        first, *others = self.reasons
        reasons = (first, Reason("started_auto", {"model": base}), *others)
        return replace(self, config=config, reasons=reasons)

    def to_json(self) -> dict[str, Any]:
        """Return it in types that JSON has; `settings` are relative to `preset`."""
        return {
            "preset": BASE,
            "settings": self.config.settings_from(Config.preset(BASE)),
            "reasons": [reason.to_json() for reason in self.reasons],
            "forecast": self.forecast.to_json(),
            "measured": {place: asdict(each) for place, each in self.measured.items()},
        }


@dataclass(frozen=True)
class PictureStats:
    """What a plan knows of the pictures.

    shortest: typical length of their short side, or 0. captions: how many have one. labels: how
    many classes there are.
    """

    count: int
    shortest: int = 0
    channels: int = 3
    captions: int = 0
    labels: int = 0


def plan(
    minutes: float,
    pictures: PictureStats,
    machine: Machine,
    start: float = START_SECONDS,
    kind: str = "auto",
    first_stage: str | None = None,
    flip: bool = False,
) -> Plan:
    """Measure, and return what is best trained here in so many minutes, and why.

    The largest pictures are chosen whose network gets enough steps. The run ends by the clock
    (training.minutes); `steps` is what will be done by then. start: seconds until the pictures are
    read. kind: as conditioning.kind, resolved here. first_stage: as first_stage.autoencoder, or
    "pixels"; None leaves it open. flip: as training.flip; mirror images are encoded, too. Raises
    `InputError` for minutes out of range, a kind that the pictures lack, and where no network fits
    into the memory.
    """
    real("--minutes", minutes, 0.1, MOST_MINUTES)
    search = _Search(minutes, pictures, machine, start, kind, first_stage, flip)
    size = search.best()
    measured = search.try_lower_precision(size)
    config = search.settle(size, measured)
    expected = extrapolate(config, pictures.count, machine, measured, start)
    config = config.with_settings([f"training.steps={expected.steps}"])
    return Plan(
        unresolve_conditioning(config),
        tuple(search.reasons(size, config, expected)),
        expected,
        {SIZE_PRESETS.index(size): each for size, each in search.measured.items()},
    )


def expect_steps(
    minutes: float,
    pictures: PictureStats,
    machine: Machine,
    measured: Mapping[int, Measurement],
    kind: str = "auto",
    flip: bool = False,
) -> int:
    """Return about how many steps a plan for so many minutes will have, from what was `measured`.

    Nothing is measured for it. Raises `InputError` as `plan` does.
    """
    search = _Search(minutes, pictures, machine, START_SECONDS, kind, flip=flip)
    search.measured = {
        size: measured[place] for place, size in enumerate(SIZE_PRESETS) if place in measured
    }
    size = search.largest()
    times = search.times(size)
    config = search.settle(size, times)
    return extrapolate(config, pictures.count, machine, times, START_SECONDS).steps


def fit_to(config: Config, minutes: float, seconds: float, measured: Measurement) -> Config:
    """Return settings with all that depends on the number of steps.

    seconds: what of the minutes is left for training.
    """
    most = math.floor(SAMPLES_SHARE * seconds / measured.samples)
    grids = min(max(most, LEAST_GRIDS), MOST_GRIDS)
    apart = max(KEEP_SECONDS, 20 * measured.save)  # seconds between saves
    training = seconds - grids * measured.samples - seconds / apart * measured.save
    steps = max(1, round(training / measured.step))
    length = min(max(EMA_SHARE * steps, 10.0), LONGEST_EMA)
    return config.with_settings(
        [
            f"training.minutes={minutes:g}",
            f"training.steps={steps}",
            f"training.warmup_steps={min(MOST_WARMUP, max(1, round(WARMUP_SHARE * steps)))}",
            f"training.ema_decay={round(1 - 1 / length, 5)}",
            f"training.sample_every={math.ceil(steps / grids)}",
            f"training.save_every={max(1, round(apart / measured.step))}",
        ]
    )


def plan_from(
    config: Config,
    minutes: float,
    pictures: PictureStats,
    machine: Machine,
    start: float = START_SECONDS,
) -> Plan:
    """Measure a model's own settings, and return them for so many minutes of going on from it.

    The arguments are those of `plan`; so are the errors.
    """
    real("--minutes", minutes, 0.1, MOST_MINUTES)
    made = resolve_conditioning(config, pictures.captions, pictures.labels)
    memory.check(made, machine.device)
    measured = measure(made, machine, min(MEASURING_SECONDS, MEASURING_SHARE * 60 * minutes))
    before = start + (PICTURE_SECONDS + measured.encode * views_of(made)) * pictures.count
    made = fit_to(made, minutes, max(1.0, 60 * minutes - before), measured)
    expected = extrapolate(made, pictures.count, machine, measured, start)
    made = made.with_settings([f"training.steps={expected.steps}"])
    values = {"model": Path(str(config.training.start_from)).name}
    reasons = (
        Reason("started", values),
        *_why_first_stage(made, expected),
        *_why_rest(made, expected),
    )
    return Plan(unresolve_conditioning(made), reasons, expected)


class _Search:
    """Measures size presets until it is known which is the largest that gets enough steps."""

    def __init__(
        self,
        minutes: float,
        pictures: PictureStats,
        machine: Machine,
        start: float,
        kind: str,
        first_stage: str | None = None,
        flip: bool = False,
    ) -> None:
        self.first_stage, self.flip = None if first_stage == PIXELS else first_stage, flip
        self.minutes, self.pictures, self.machine = minutes, pictures, machine
        self.wanted, self.kind = kind, resolve_kind(kind, pictures.captions, pictures.labels)
        self.seconds = 60 * minutes - start - PICTURE_SECONDS * pictures.count
        self.until = time.perf_counter() + min(MEASURING_SECONDS, MEASURING_SHARE * 60 * minutes)
        self.measured: dict[SizePreset, Measurement] = {}
        self.precision, self.gain = "float32", 1.0
        offered = sizes_for(first_stage)
        self.sizes = worth_it([each for each in offered if self._suits(each)]) or [offered[0]]
        fitting = [size for size in self.sizes if self._has_room(size)]
        self.crowded, self.sizes = len(fitting) < len(self.sizes), fitting
        self.views = views_of(self.config(offered[0]))  # that are encoded of each picture
        if not fitting:
            memory.check(self.config(offered[0]))
            raise InputError("there is too little memory for any network")

    def config(self, size: SizePreset) -> Config:
        """Return the settings of a size for these pictures, with what they make of the U-Net."""
        settings = [f"conditioning.kind={ini.spell(self.kind)}"]
        settings.append(f"training.precision={self.precision}")
        settings.append(f"training.flip={self.flip}")
        if self.kind == "captions":  # words find their places where there are places enough
            settings.append(f"unet.attention_resolutions=[{2 ** max(0, len(size.mult) - 2)}]")
        config = size.config(self.pictures.channels)
        if self.first_stage is not None:
            config = config.with_first_stage(self.first_stage)
        config = config.with_settings(settings)
        return resolve_conditioning(config, self.pictures.captions, self.pictures.labels)

    def _suits(self, size: SizePreset) -> bool:
        """Tell whether a size does not enlarge the pictures by more than a quarter.

        Grey pictures would come back from latents in colours that nobody gave them.
        """
        if size.is_latent and self.pictures.channels == 1 and self.first_stage is None:
            return False
        return not self.pictures.shortest or size.side <= 1.25 * self.pictures.shortest

    def _has_room(self, size: SizePreset) -> bool:
        if self.machine.device != "cpu":
            return True
        return memory.needed(self.config(size)) <= memory.available()

    def best(self) -> SizePreset:
        """Return the largest size that gets enough steps, or the lowest; it is measured."""
        chosen = self.sizes[0]
        self._measure(chosen)
        while time.perf_counter() < self.until:
            wanted = self.largest()
            if wanted in self.measured:
                return wanted
            self._measure(wanted)
        fitting = [size for size in self.sizes if size in self.measured and self._is_enough(size)]
        return fitting[-1] if fitting else chosen

    def try_lower_precision(self, size: SizePreset) -> Measurement:
        """Return what the size takes in the faster precision, which all that follows is in."""
        plain = self.measured[size]
        if not multiplies_bfloat16(self.machine.device):
            return plain
        self.precision = LOWER
        lower = measure(self.config(size), self.machine, BOTH_SECONDS)
        if lower.step * GAIN <= plain.step:
            self.gain, self.measured[size] = plain.step / lower.step, lower
            return lower
        self.precision = "float32"
        return plain

    def largest(self) -> SizePreset:
        """Return the largest size that gets enough steps as far as is known."""
        fitting = [size for size in self.sizes if self._is_enough(size)]
        return fitting[-1] if fitting else self.sizes[0]

    def _is_enough(self, size: SizePreset) -> bool:
        return self.minutes_for(size) <= self.minutes

    def _measure(self, size: SizePreset) -> None:
        left = max(0.0, self.until - time.perf_counter())
        self.measured[size] = measure(self.config(size), self.machine, left / 2)

    def times(self, size: SizePreset) -> Measurement:
        """Return what a size was measured to take, or what its operations make one expect."""
        if size in self.measured:
            return self.measured[size]
        nearest = min(self.measured, key=lambda each: abs(each.work - size.work))
        known, ratio = self.measured[nearest], size.work / nearest.work
        step = known.step * ratio
        encode = step / (3 * size.work) * ENCODING_WORK * size.side**2 if size.is_latent else 0.0
        return Measurement(
            step, known.samples * ratio, known.save * ratio, encode, known.autoencoder
        )

    def enough(self, size: SizePreset) -> int:
        """Return the steps that are enough for these pictures: few are learned sooner."""
        share = math.sqrt(self.pictures.count / MANY_PICTURES)
        return round(size.enough * min(1.0, max(0.3, share)))

    def before(self, measured: Measurement) -> float:
        """Return the seconds that phase 1 and encoding take before the first step."""
        alone = self.autoencoder_steps(measured) * measured.autoencoder
        return alone + measured.encode * self.views * self.pictures.count

    def autoencoder_steps(self, measured: Measurement) -> int:
        """Return the steps of phase 1; 0 where none is trained."""
        if not measured.autoencoder:
            return 0
        seconds = min(FIRST_STAGE_SHARE * self.seconds, MOST_FIRST_STAGE)
        return max(LEAST_FIRST_STAGE, int(seconds / measured.autoencoder))

    def minutes_for(self, size: SizePreset) -> float:
        """Return how long enough steps take, with samples and saves and what comes before."""
        measured = self.times(size)
        trained = self.enough(size) * measured.step * (1 + measured.save / KEEP_SECONDS)
        grids = max(LEAST_GRIDS * measured.samples, SAMPLES_SHARE * trained)
        spent = 60 * self.minutes - self.seconds + self.before(measured)
        return (spent + trained + grids) / 60

    def settle(self, size: SizePreset, measured: Measurement) -> Config:
        """Return a size's settings with all that depends on the number of steps."""
        seconds = max(1.0, self.seconds - self.before(measured))
        config = fit_to(self.config(size), self.minutes, seconds, measured)
        alone = self.autoencoder_steps(measured)
        return config.with_settings([f"first_stage.autoencoder_steps={alone}"] if alone else [])

    def reasons(self, size: SizePreset, config: Config, expected: Forecast) -> Iterator[Reason]:
        """Yield why a plan is as it is, what matters most first."""
        yield from self._why_size(size, expected)
        yield self._why_conditioning()
        yield from self._why_steps(config, expected)
        parameters = blueprint(config.unet, *config.latent_shape[1:]).parameters
        words = f"{parameters / 1e6:.1f}"
        yield Reason("network", {"parameters": words, "batch": size.batch})
        yield from _why_first_stage(config, expected)
        if self.precision == LOWER:
            yield Reason("bfloat16", {"ratio": f"{self.gain:.1f}"})
        yield from _why_rest(config, expected)

    def _why_size(self, size: SizePreset, expected: Forecast) -> Iterator[Reason]:
        enough, steps = self.enough(size), expected.steps
        if not self._is_enough(size):
            values = {"minutes": f"{self.minutes:g}", "steps": steps, "enough": enough}
            needed = math.ceil(self.minutes_for(size))
            yield Reason("short", {**values, "needed_minutes": needed})
            return
        yield Reason("size", {"side": size.side, "steps": steps, "enough": enough})
        larger = [each for each in self.sizes if each.side > size.side]
        if larger:
            needed = math.ceil(self.minutes_for(larger[0]))
            yield Reason("larger", {"side": larger[0].side, "needed_minutes": needed})
        elif self.crowded:
            yield Reason("crowded", {})
        elif self.sizes[-1].side < max(each.side for each in SIZE_PRESETS):
            shortest = self.pictures.shortest
            yield Reason("small_pictures", {"side": size.side, "shortest": shortest})

    def _why_conditioning(self) -> Reason:
        stats = self.pictures
        if self.kind == "captions":
            return Reason("told_captions", {"captions": stats.captions, "pictures": stats.count})
        if self.kind in CLASS_KINDS:
            return Reason("told_classes", {"labels": stats.labels})
        return Reason("told_nothing" if self.wanted == "auto" else "told_not", {})

    def _why_steps(self, config: Config, expected: Forecast) -> Iterator[Reason]:
        count, steps = self.pictures.count, expected.steps
        passes = steps * config.training.batch_size / count
        minutes = f"{self.minutes:g}"
        yield Reason(
            "steps",
            {
                "steps": steps,
                "minutes": minutes,
                "passes": f"{passes:.0f}" if passes >= 1 else f"{passes:.1g}",
            },
        )
        if count < MANY_PICTURES:
            yield Reason("few", {"pictures": count})
        values = {
            "machine": expected.machine,
            "milliseconds": round(1000 * expected.step_seconds),
            "pictures_per_second": round(expected.pictures_per_second),
        }
        yield Reason("speed", values)


def _why_first_stage(config: Config, expected: Forecast) -> Iterator[Reason]:
    """Yield what comes before the first step where the network sees latents."""
    if not config.is_latent:
        return
    if expected.autoencoder_seconds:
        values = {"steps": config.first_stage.autoencoder_steps}
        yield Reason("autoencoder", values | {"seconds": round(expected.autoencoder_seconds)})
    _, height, width = config.latent_shape
    values = {"height": height, "width": width, "factor": config.factor}
    yield Reason("latents", values | {"seconds": round(expected.encode_seconds)})


def _why_rest(config: Config, expected: Forecast) -> Iterator[Reason]:
    """Yield what follows from the number of steps."""
    training, steps, step = config.training, expected.steps, expected.step_seconds
    # It reaches back a ninth of the steps done, until that is as long as its decay says.
    length = min(1 / (1 - training.ema_decay), (10 + steps) / 9, steps)
    yield Reason("ema", {"length": round(length), "percent": _percent(length, steps)})
    warmup = training.warmup_steps
    yield Reason("warmup", {"warmup": warmup, "percent": _percent(warmup, steps)})
    values = {"every": training.sample_every, "seconds": round(training.sample_every * step)}
    yield Reason("samples", {**values, "sheets": expected.sheets})
    values = {"every": training.save_every, "seconds": round(training.save_every * step)}
    yield Reason("saves", values)
    held_out = round(training.held_out * expected.pictures)
    if held_out:
        yield Reason("held_out", {"count": held_out})
    needed, there = format_bytes(expected.memory), format_bytes(expected.available)
    yield Reason("memory", {"needed": needed, "available": there})


def _percent(part: float, whole: float) -> int:
    return round(100 * part / whole)
