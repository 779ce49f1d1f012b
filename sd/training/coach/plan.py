"""What the coach says of a plan: settings whose outcome is known before the first step."""

from collections.abc import Iterator

from sd.common.validation import InputError
from sd.config import Config
from sd.config.conditioning_kind import AUTO_CLASSES, CLASS_KINDS, FEWEST_CLASSES
from sd.config.sections import TINY_AUTOENCODERS
from sd.diffusion.schedule import TERMINAL_SNR_LIMIT, Schedule
from sd.training.coach.messages import Remark, figure, rounded
from sd.training.coach.summary import Summary

SHAPES_AT = 1000  # steps; the bundled run drew blobs at 500, first shapes at 1,000
ENOUGH_STEPS = 3000
FEW_PICTURES = 100
FEW_OF_CLASS, LONGEST_CLASS = 4, 40  # pictures; characters of a name that is shown
WATCHABLE = 40  # pictures, of which 5% can be held out
HIGH = 3  # times the usual learning rate is too much
COLOURED = {"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa"}
STRONG = {"shift": 0.1, "rotation": 10.0, "brightness": 0.2}  # what is above is learned too
MILD = {"shift": 0.05, "rotation": 5.0, "brightness": 0.1}
TUNED = 100  # steps of TAESD's decoder; on emoji of 128 pixels they gained 1.1 dB


def terminal_snr(summary: Summary) -> Iterator[Remark]:
    """Speak where the schedule ends before the picture is gone."""
    schedule = Schedule.from_config(summary.config.diffusion)
    if schedule.warning:
        values = {"snr": figure(schedule.terminal_snr), "limit": f"{TERMINAL_SNR_LIMIT:g}"}
        kind = "terminal_snr_run" if summary.steps else "terminal_snr"
        yield Remark(kind, values, fix_schedule(summary.config))


def fix_schedule(config: Config) -> tuple[str, ...]:
    """Return the least change of settings with which the noise ends as noise alone; () if none."""
    changes = ["diffusion.rescale_betas=True", "diffusion.schedule=cosine"]
    if config.diffusion.prediction != "eps":  # at SNR 0 eps tells nothing of the picture
        changes.insert(0, "diffusion.zero_terminal_snr=True")
    for change in changes:
        try:
            schedule = Schedule.from_config(config.with_settings([change]).diffusion)
        except InputError:
            continue
        if not schedule.warning:
            return (change,)
    return ()


def few_steps(summary: Summary) -> Iterator[Remark]:
    """Speak where the run ends before shapes can come."""
    steps, pictures = summary.planned_steps, summary.trained_on
    by_the_clock = summary.config.training.minutes and summary.configured_steps >= SHAPES_AT
    if not pictures or by_the_clock or not 0 < steps < SHAPES_AT:
        return
    values = {"steps": steps, "passes": figure(steps * summary.batch / pictures)}
    values |= {"pictures": pictures, "batch": summary.batch}
    values |= {"shapes": f"{SHAPES_AT:,}", "better": f"{ENOUGH_STEPS:,}"}
    yield Remark("few_steps", values, (f"training.steps={ENOUGH_STEPS}",))


def good_rate(config: Config) -> float:
    """Return the learning rate at which a run's optimiser does well."""
    return config.training.good_rate


def rate_high(summary: Summary) -> Iterator[Remark]:
    """Speak where the learning rate is beyond what such networks bear."""
    rate, good = summary.config.training.learning_rate, good_rate(summary.config)
    if rate > HIGH * good:
        fix = (f"training.learning_rate={good:g}",)
        yield Remark("rate_high", {"rate": f"{rate:g}", "better": f"{good:g}"}, fix)


def few_pictures(summary: Summary) -> Iterator[Remark]:
    """Speak where there is little to invent from."""
    if 0 < summary.pictures < FEW_PICTURES:
        yield Remark("few_pictures", {"pictures": summary.pictures})


def same_captions(summary: Summary) -> Iterator[Remark]:
    """Speak where captions do not tell pictures apart."""
    if summary.kind == "captions" and summary.captions > 1 and summary.wordings == 1:
        kind = AUTO_CLASSES if len(summary.classes) >= FEWEST_CLASSES else '"none"'
        yield Remark(
            "same_captions", {"captions": summary.captions}, (f"conditioning.kind={kind}",)
        )


def few_of_class(summary: Summary) -> Iterator[Remark]:
    """Speak where classes on which it is conditioned have hardly a picture."""
    if summary.kind not in CLASS_KINDS:
        return
    small = [name for name, count in summary.classes.items() if count < FEW_OF_CLASS]
    if small:
        shown = ", ".join(f"{name[:LONGEST_CLASS]} ({summary.classes[name]})" for name in small[:3])
        names = f"{shown} +{len(small) - 3}" if len(small) > 3 else shown
        yield Remark("few_of_class", {"names": names, "few": FEW_OF_CLASS})


def grey(summary: Summary) -> Iterator[Remark]:
    """Speak where colour is thrown away."""
    if summary.config.picture_shape[0] == 1 and summary.modes & COLOURED:
        yield Remark("grey", {}, ("unet.channel=3", "unet.n_embed=3"))


def leak(summary: Summary) -> Iterator[Remark]:
    """Speak where augmentation is so strong that samples will show it."""
    given = {name: getattr(summary.config.training, name) for name in STRONG}
    strong = [name for name, limit in STRONG.items() if given[name] > limit]
    if strong:
        settings = ", ".join(f"training.{name} = {given[name]:g}" for name in strong)
        fix = tuple(f"training.{name}={MILD[name]}" for name in strong)
        yield Remark("leak", {"settings": settings}, fix)


def flip(summary: Summary) -> Iterator[Remark]:
    """Say what mirroring does."""
    if summary.config.training.flip:
        yield Remark("flip", {}, ("training.flip=False",))


def no_held_out(summary: Summary) -> Iterator[Remark]:
    """Speak where nothing is kept to measure on."""
    if not summary.config.training.held_out and summary.pictures >= WATCHABLE:
        yield Remark("no_held_out", {}, ("training.held_out=0.05",))


def only_end(summary: Summary) -> Iterator[Remark]:
    """Speak where a long run would show and keep nothing on the way."""
    training, steps = summary.config.training, summary.planned_steps
    if steps >= SHAPES_AT and not training.sample_every and not training.save_every:
        every = max(250, rounded(steps / 40))
        fix = (f"training.sample_every={every}", f"training.save_every={every}")
        yield Remark("only_end", {"steps": f"{steps:,}", "every": every}, fix)


def ema_long(summary: Summary) -> Iterator[Remark]:
    """Speak where the average is set to be longer than the run."""
    decay, steps = summary.config.training.ema_decay, summary.planned_steps
    length = round(1 / (1 - decay))
    if SHAPES_AT <= steps < length:
        better = f"{1 - 9 / (steps + 10):.5g}"
        values = {"decay": f"{decay:.7g}", "length": f"{length:,}", "steps": f"{steps:,}"}
        yield Remark("ema_long", {**values, "better": better}, (f"training.ema_decay={better}",))


def untuned(summary: Summary) -> Iterator[Remark]:
    """Offer to fit the decoder of a bundled autoencoder to the pictures."""
    stage = summary.config.first_stage
    if stage.autoencoder in TINY_AUTOENCODERS and not stage.tune_steps:
        values = {"name": str(stage.autoencoder).upper(), "steps": TUNED}
        kind = "untuned_run" if summary.end else "untuned"
        yield Remark(kind, values, (f"first_stage.tune_steps={TUNED}",))


RULES = (
    terminal_snr,
    few_steps,
    rate_high,
    few_pictures,
    same_captions,
    few_of_class,
    grey,
    leak,
    only_end,
    no_held_out,
    flip,
    ema_long,
    untuned,
)
