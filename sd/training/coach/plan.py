"""What the coach says of a plan: settings whose outcome can be told before the first step."""

from collections.abc import Iterator

from sd.common.validation import InputError
from sd.config import Config
from sd.config.conditioning_kind import AUTO_CLASSES, CLASS_KINDS, FEWEST_CLASSES
from sd.diffusion.schedule import TERMINAL_SNR_LIMIT, Schedule
from sd.training.coach.facts import Facts
from sd.training.coach.lines import Remark, figure, rounded

SHAPES_AT = 1000  # steps; the bundled run drew blobs at 500, first shapes at 1,000
ENOUGH_STEPS = 3000
FEW_PICTURES = 100
FEW_OF_CLASS, LONGEST_CLASS = 4, 40  # pictures; characters of a name that is told
WATCHABLE = 40  # pictures, of which 5% can be held out
HIGH = 3  # times the usual learning rate is too much
COLOURED = {"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa"}
STRONG = {"shift": 0.1, "rotation": 10.0, "brightness": 0.2}  # what is above is learned too
MILD = {"shift": 0.05, "rotation": 5.0, "brightness": 0.1}


def terminal_snr(facts: Facts) -> Iterator[Remark]:
    """Speak where the schedule ends before the picture is gone."""
    schedule = Schedule.from_settings(facts.config.diffusion)
    if schedule.warning:
        values = {"snr": figure(schedule.terminal_snr), "limit": f"{TERMINAL_SNR_LIMIT:g}"}
        kind = "terminal_snr_run" if facts.steps else "terminal_snr"
        yield Remark(kind, values, mended_schedule(facts.config))


def mended_schedule(config: Config) -> tuple[str, ...]:
    """Return the least change of settings with which the noise ends as noise alone; () if none."""
    changes = ["diffusion.rescale_betas=True", "diffusion.schedule=cosine"]
    if config.diffusion.prediction != "eps":  # at SNR 0 eps tells nothing of the picture
        changes.insert(0, "diffusion.zero_terminal_snr=True")
    for change in changes:
        try:
            schedule = Schedule.from_settings(config.with_settings([change]).diffusion)
        except InputError:
            continue
        if not schedule.warning:
            return (change,)
    return ()


def few_steps(facts: Facts) -> Iterator[Remark]:
    """Speak where the run ends before shapes can come."""
    steps, pictures = facts.planned, facts.trained_on
    by_the_clock = facts.config.training.minutes and facts.asked >= SHAPES_AT
    if not pictures or by_the_clock or not 0 < steps < SHAPES_AT:
        return
    values = {"steps": steps, "passes": figure(steps * facts.batch / pictures)}
    values |= {"pictures": pictures, "batch": facts.batch}
    values |= {"shapes": f"{SHAPES_AT:,}", "better": f"{ENOUGH_STEPS:,}"}
    yield Remark("few_steps", values, (f"training.steps={ENOUGH_STEPS}",))


def good_rate(config: Config) -> float:
    """Return the learning rate at which a run's optimiser does well."""
    return config.training.good_rate


def rate_high(facts: Facts) -> Iterator[Remark]:
    """Speak where the learning rate is beyond what such networks bear."""
    rate, good = facts.config.training.learning_rate, good_rate(facts.config)
    if rate > HIGH * good:
        fix = (f"training.learning_rate={good:g}",)
        yield Remark("rate_high", {"rate": f"{rate:g}", "better": f"{good:g}"}, fix)


def few_pictures(facts: Facts) -> Iterator[Remark]:
    """Speak where there is little to invent from."""
    if 0 < facts.pictures < FEW_PICTURES:
        yield Remark("few_pictures", {"pictures": facts.pictures})


def same_captions(facts: Facts) -> Iterator[Remark]:
    """Speak where captions do not tell pictures apart."""
    if facts.kind == "captions" and facts.captions > 1 and facts.wordings == 1:
        kind = AUTO_CLASSES if len(facts.classes) >= FEWEST_CLASSES else '"none"'
        yield Remark("same_captions", {"captions": facts.captions}, (f"conditioning.kind={kind}",))


def few_of_class(facts: Facts) -> Iterator[Remark]:
    """Speak where classes that are told have hardly a picture."""
    if facts.kind not in CLASS_KINDS:
        return
    small = [name for name, count in facts.classes.items() if count < FEW_OF_CLASS]
    if small:
        shown = ", ".join(f"{name[:LONGEST_CLASS]} ({facts.classes[name]})" for name in small[:3])
        names = f"{shown} +{len(small) - 3}" if len(small) > 3 else shown
        yield Remark("few_of_class", {"names": names, "few": FEW_OF_CLASS})


def grey(facts: Facts) -> Iterator[Remark]:
    """Speak where colour is thrown away."""
    if facts.config.unet.channel == 1 and facts.modes & COLOURED:
        yield Remark("grey", {}, ("unet.channel=3", "unet.n_embed=3"))


def leak(facts: Facts) -> Iterator[Remark]:
    """Speak where augmentation is so strong that samples will show it."""
    given = {name: getattr(facts.config.training, name) for name in STRONG}
    strong = [name for name, limit in STRONG.items() if given[name] > limit]
    if strong:
        settings = ", ".join(f"training.{name} = {given[name]:g}" for name in strong)
        fix = tuple(f"training.{name}={MILD[name]}" for name in strong)
        yield Remark("leak", {"settings": settings}, fix)


def flip(facts: Facts) -> Iterator[Remark]:
    """Say what mirroring does."""
    if facts.config.training.flip:
        yield Remark("flip", {}, ("training.flip=False",))


def no_held_out(facts: Facts) -> Iterator[Remark]:
    """Speak where nothing is kept to measure on."""
    if not facts.config.training.held_out and facts.pictures >= WATCHABLE:
        yield Remark("no_held_out", {}, ("training.held_out=0.05",))


def only_end(facts: Facts) -> Iterator[Remark]:
    """Speak where a long run would show and keep nothing on the way."""
    training, steps = facts.config.training, facts.planned
    if steps >= SHAPES_AT and not training.sample_every and not training.save_every:
        every = max(250, rounded(steps / 40))
        fix = (f"training.sample_every={every}", f"training.save_every={every}")
        yield Remark("only_end", {"steps": f"{steps:,}", "every": every}, fix)


def ema_long(facts: Facts) -> Iterator[Remark]:
    """Speak where the average is asked to be longer than the run."""
    decay, steps = facts.config.training.ema_decay, facts.planned
    length = round(1 / (1 - decay))
    if SHAPES_AT <= steps < length:
        better = f"{1 - 9 / (steps + 10):.5g}"
        values = {"decay": f"{decay:.7g}", "length": f"{length:,}", "steps": f"{steps:,}"}
        yield Remark("ema_long", {**values, "better": better}, (f"training.ema_decay={better}",))


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
)
