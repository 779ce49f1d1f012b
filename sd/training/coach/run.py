"""What the coach says of a run: its losses, its held-out pictures, its samples, its end."""

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, median, pvariance
from typing import Any

from sd.config.sections import OWN
from sd.training.coach import plan
from sd.training.coach.messages import Remark, figure, rounded
from sd.training.coach.plan import ENOUGH_STEPS, SHAPES_AT, good_rate
from sd.training.coach.summary import Event, Summary, count, is_number
from sd.training.likeness import judge

NARROWEST, WIDEST = 5, 100  # logged steps in a running median
CALM_AFTER = 320  # pictures; the median of so many single losses hardly jumps
EXPLODED = 4.0  # times the lowest running median; healthy runs stay below 2
ABOVE_FIRST = 1.5  # times the loss at first, which every trained network is below
STUCK_AFTER, STUCK = 300, 0.9  # steps after the warm-up, and the share of the first loss
OFTEN = 3  # steps left out
COPIED, FEWEST_SAMPLES = 0.25, 8  # of a grid; by chance at most 5% count as copies
RISE, LEARNED = 0.03, 0.05  # of the lowest held-out loss, and of training's since then
MANY_HELD_OUT = 16  # pictures; of fewer ones the rise must last longer
EMA_LAGS_UNTIL = 300  # steps; measured: the average's loss is 11% behind at 150, 2% at 300
SHORT_AVERAGE = 5  # steps; nothing lags behind by so few
BLOBS_UNTIL = 500  # steps; what the bundled run drew
LOW_PSNR, GOOD_PSNR = 26.0, 30  # dB; TAESD gives emoji of 128 pixels back at 30, of 64 at 23
TUNED = 200  # steps of a decoder; 78 gave emoji of 128 pixels 1.1 dB
FALLING, LEVEL = 0.03, 0.01  # share of the loss that the last quarter of a run took off


def not_finite(summary: Summary) -> Iterator[Remark]:
    """Speak where the run failed because its loss was lost."""
    end = summary.end or {}
    if end.get("event") == "failed" and "not a finite number" in str(end.get("line")):
        values, fix = _rates(summary, _lower(summary))
        left_out = [count(each.get("step")) for each in summary.skipped]
        values["step"] = count(end.get("step")) or max([summary.step, *left_out])
        if summary.saved:
            yield Remark("not_finite", {**values, "saved": summary.saved}, fix)
        else:
            yield Remark("not_finite_unsaved", values, fix)


def skipped(summary: Summary) -> Iterator[Remark]:
    """Tell of steps that were left out: of many always, of one while it is news."""
    if not summary.skipped:
        return
    number, last = len(summary.skipped), summary.skipped[-1].get("step", 0)
    if number >= OFTEN:
        values, fix = _rates(summary, _lower(summary))
        yield Remark("skipped_often", {"count": number, "step": last, **values}, fix)
    elif summary.step - last <= max(200, summary.planned_steps // 10):
        yield Remark("skipped", {"step": last})


def explodes(summary: Summary) -> Iterator[Remark]:
    """Speak where the loss is far above what it was."""
    smooth = _smooth(summary)
    if not smooth:
        return
    low, now = min(smooth), smooth[-1]
    if now > EXPLODED * low or now > ABOVE_FIRST * max(summary.losses[0], smooth[0]):
        values, fix = _rates(summary, _lower(summary))
        figures = {"low": figure(low), "now": figure(now), "step": summary.step}
        yield Remark("explodes", {**figures, **values}, fix)


def stuck(summary: Summary) -> Iterator[Remark]:
    """Speak where the loss never left its beginning, if the learning rate explains it."""
    training, smooth = summary.config.training, _smooth(summary)
    if not smooth or summary.step < training.warmup_steps + STUCK_AFTER:
        return
    first = max(summary.losses[0], smooth[0])
    rate, good = training.learning_rate, good_rate(summary.config)
    if min(smooth) < STUCK * first or rate == good:
        return
    kind = "stuck_high" if rate > good else "stuck_low"
    values, fix = _rates(summary, good / 3 if rate > good else min(10 * rate, good))
    figures = {"step": summary.step, "first": figure(first), "now": figure(smooth[-1])}
    yield Remark(kind, {**figures, **values}, fix)


def copies(summary: Summary) -> Iterator[Remark]:
    """Speak where far more of the newest samples are copies than chance makes."""
    samples, known = summary.samples or {}, summary.baseline
    nearest = samples.get("nearest") or []
    if not known or len(nearest) < FEWEST_SAMPLES:
        return
    found = sum(judge(float(distance), known) == "copy" for _, distance in nearest)
    if found >= COPIED * len(nearest):
        values = {"copies": found, "count": len(nearest), "step": samples.get("step", summary.step)}
        yield Remark("copies", {**values, "low": figure(known.low)})


def memorises(summary: Summary) -> Iterator[Remark]:
    """Speak where held-out loss has risen since its lowest point and training's went on falling."""
    curve = [
        (e["step"], fmean(e["train"]), fmean(e["held_out"]))
        for e in summary.evaluations
        if _whole(e)
    ]
    if len(curve) < 3:
        return
    since, train, low = min(curve, key=lambda each: each[2])
    later = [held for step, _, held in curve if step > since]
    lasting = len(later) >= (2 if summary.held_out >= MANY_HELD_OUT else 4)
    if not lasting or min(later[-2:]) < (1 + RISE) * low or curve[-1][1] > (1 - LEARNED) * train:
        return
    training, unet = summary.config.training, summary.config.unet
    fix = [] if training.shift else ["training.shift=0.05"]
    fix += [] if unet.dropout else ["unet.dropout=0.1"]
    values = {"since": since, "low": figure(low), "now": figure(later[-1])}
    yield Remark("memorises", {**values, "pictures": summary.pictures}, tuple(fix))


def few_minutes(summary: Summary) -> Iterator[Remark]:
    """Speak where the clock, not the plan, ends the run before shapes can come."""
    minutes, steps = summary.config.training.minutes, summary.planned_steps
    if minutes and summary.step and 0 < steps < SHAPES_AT <= summary.configured_steps:
        better = math.ceil(minutes * ENOUGH_STEPS / steps)
        values = {"minutes": f"{minutes:g}", "steps": rounded(steps), "better": better}
        fix = (f"training.minutes={better}",)
        yield Remark("few_minutes", {**values, "shapes": f"{SHAPES_AT:,}"}, fix)


def ema_young(summary: Summary) -> Iterator[Remark]:
    """Speak while the averaged weights, which samples show first, lag behind the raw ones."""
    step = (summary.samples or {}).get("step", EMA_LAGS_UNTIL)
    decay = min(summary.config.training.ema_decay, (1 + step) / (10 + step))
    length = round(1 / (1 - decay))
    if step < EMA_LAGS_UNTIL and length > SHORT_AVERAGE:
        yield Remark("ema_young", {"step": step, "length": length, "until": EMA_LAGS_UNTIL})


def noise_yet(summary: Summary) -> Iterator[Remark]:
    """Say early in a run that noise is what samples should be."""
    if summary.samples and not summary.end and summary.step < BLOBS_UNTIL <= summary.planned_steps:
        yield Remark("noise_yet", {"step": summary.step, "shapes": f"{SHAPES_AT:,}"})


def at_the_end(summary: Summary) -> Iterator[Remark]:
    """Tell, when a run is over, whether more steps are worth it."""
    if (summary.end or {}).get("event") not in ("finished", "stopped") or summary.step < SHAPES_AT:
        return
    before = _losses_between(summary, 0.625, 0.75)
    after = _losses_between(summary, 0.875, 1.0)
    if min(len(before), len(after)) < NARROWEST or fmean(before) <= 0:
        return
    fall, doubt = 1 - fmean(after) / fmean(before), 2 * _error(before, after) / fmean(before)
    values = {"now": figure(fmean(after)), "percent": figure(max(0.0, 100 * fall))}
    if fall > max(FALLING, doubt) and not _held_out_rises(summary):
        more = max(500, rounded(summary.step / 2))
        fix = [f"training.steps={summary.step + more}"]
        fix += ["training.minutes=0.0"] if summary.config.training.minutes else []
        yield Remark("still_falling", {**values, "more": f"{more:,}"}, tuple(fix))
    elif -LEVEL < fall < LEVEL and doubt < LEVEL:
        yield Remark("levelled", values)


def duplicates(summary: Summary) -> Iterator[Remark]:
    """Speak where many pictures are there more than once."""
    everything = summary.pictures + summary.held_out
    if summary.duplicates * 20 >= everything > 0:
        yield Remark("duplicates", {"duplicates": summary.duplicates, "pictures": everything})


def well(summary: Summary, kind: str = "well") -> Iterator[Remark]:
    """Say that all is well, where it is; with "falls", that the loss fell at least."""
    smooth, failed = _smooth(summary), (summary.end or {}).get("event") == "failed"
    if smooth and not failed and smooth[-1] < STUCK * smooth[0]:
        values = {"first": figure(smooth[0]), "now": figure(smooth[-1])}
        yield Remark(kind, {**values, "step": f"{summary.step:,}"})


def first_stage_limits(summary: Summary) -> Iterator[Remark]:
    """Speak where the autoencoder loses more than the network can."""
    if summary.first_stage is None or summary.first_stage >= LOW_PSNR:
        return
    stage = summary.config.first_stage
    own = stage.autoencoder == OWN
    steps = 2 * stage.autoencoder_steps if own else max(TUNED, 2 * stage.tune_steps)
    fix = f"first_stage.{'autoencoder_steps' if own else 'tune_steps'}={steps}"
    values = {"psnr": figure(summary.first_stage), "good": GOOD_PSNR, "better": f"{steps:,}"}
    yield Remark("first_stage_limits_own" if own else "first_stage_limits", values, (fix,))


def untuned(summary: Summary) -> Iterator[Remark]:
    """Offer at the end of a run to fit its decoder to the pictures, where that was not done."""
    if summary.saved and (summary.end or {}).get("event") in ("finished", "stopped"):
        yield from plan.untuned(summary)


RULES = (
    not_finite,
    explodes,
    stuck,
    skipped,
    copies,
    memorises,
    plan.terminal_snr,
    plan.few_steps,
    few_minutes,
    ema_young,
    noise_yet,
    at_the_end,
    first_stage_limits,
    duplicates,
    plan.few_pictures,
    plan.grey,
    plan.leak,
    untuned,
)


def _lower(summary: Summary) -> float:
    """Return the learning rate to start again with where the run's is too high."""
    return summary.config.training.lower_rate


def _rates(summary: Summary, better: float) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the figures and the fix of a remark about the learning rate."""
    training = summary.config.training
    fix = [f"training.learning_rate={better:.2g}"]
    fix += [] if training.grad_clip else ["training.grad_clip=1.0"]
    return {"rate": f"{training.learning_rate:g}", "better": f"{better:.2g}"}, tuple(fix)


def _smooth(summary: Summary) -> list[float]:
    """Return running medians of the loss, each over enough pictures to be calm; [] if too few."""
    losses = summary.losses
    apart = max(1, summary.step // max(len(losses), 1))  # optimiser steps in one logged loss
    width = min(WIDEST, max(NARROWEST, math.ceil(CALM_AFTER / (apart * summary.batch))))
    if len(losses) < 2 * width:
        return []
    return [median(losses[end - width : end]) for end in range(width, len(losses) + 1)]


def _whole(evaluation: Event) -> bool:
    """Tell whether an evaluation has finite losses of both kinds."""
    both = [*(evaluation.get("train") or ()), *(evaluation.get("held_out") or [None])]
    return all(map(is_number, both))


def _held_out_rises(summary: Summary) -> bool:
    """Tell whether the held-out loss is above its lowest, so that more steps may harm."""
    held = [fmean(each["held_out"]) for each in summary.evaluations if _whole(each)]
    return bool(held) and held[-1] > 1.01 * min(held)


def _losses_between(summary: Summary, low: float, high: float) -> list[float]:
    """Return the losses logged between two shares of the run."""
    first, last = low * summary.step, high * summary.step
    return [float(each["loss"]) for each in summary.steps if first < each.get("step", 0) <= last]


def _error(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the standard error of the difference of two means."""
    return math.sqrt(pvariance(a) / len(a) + pvariance(b) / len(b))
