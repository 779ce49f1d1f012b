"""The schedules that the Noise tab offers: those of the presets, known ones, and their fixes."""

from functools import cache, lru_cache
from typing import Any, NamedTuple

from markupsafe import Markup

from sd.common import validation
from sd.config import Config, preset_names
from sd.config.sections import DiffusionConfig
from sd.diffusion.schedule import TERMINAL_SNR_LIMIT, Schedule
from sd.ui.components.html import paragraph
from sd.ui.texts import say


class OfferedSchedule(NamedTuple):
    """A schedule by the preset it starts from and the settings that differ; `known`: its name."""

    preset: str
    settings: tuple[str, ...] = ()
    known: str = ""

    @property
    def diffusion(self) -> DiffusionConfig:
        """The diffusion section that it means."""
        return Config.preset(self.preset).with_settings(list(self.settings)).diffusion


ZERO = ("diffusion.zero_terminal_snr=True", "diffusion.prediction=v")
LINEAR = ("diffusion.schedule=linear",)
STABLE = ("diffusion.schedule=scaled_linear", "diffusion.beta_range=[0.00085, 0.012]")
KNOWN = {
    "seed-zero": OfferedSchedule("seed", ZERO),
    "linear": OfferedSchedule("tiny", LINEAR, "DDPM"),
    "sigmoid": OfferedSchedule("tiny", ("diffusion.schedule=sigmoid",)),
    "stable": OfferedSchedule("tiny", STABLE, "Stable Diffusion 1"),
    "stable-zero": OfferedSchedule("tiny", (*STABLE, *ZERO)),
}
FIXES = {"seed": ("seed-fixed", "seed-zero"), "stable": ("stable-zero",)}


def list_schedules() -> dict[str, OfferedSchedule]:
    """Return every schedule by its name; a preset's name is one."""
    return {name: OfferedSchedule(name, known=name) for name in preset_names()} | KNOWN


def find_schedule(name: object, what: str = "schedule") -> OfferedSchedule:
    """Return the schedule called `name`; raise InputError with what there is."""
    every = list_schedules()
    return every[validation.choice(what, name, list(every))]


@lru_cache(maxsize=32)
def read_schedule(name: str) -> Schedule:
    """Return one of `list_schedules`."""
    return Schedule.from_config(list_schedules()[name].diffusion)


def describe(diffusion: DiffusionConfig, lang: str) -> str:
    """Return a schedule's shape, what was done to it, and T."""
    keys = [f"shape_{diffusion.schedule}"]
    keys += ["schedule_rescaled"] if diffusion.rescale_betas else []
    keys += ["schedule_zero"] if diffusion.zero_terminal_snr else []
    words = [say(key, lang) for key in keys]
    return say("schedule_title", lang, words=" · ".join(words), n=diffusion.timesteps)


@cache
def list_choices(lang: str) -> list[tuple[str, str]]:
    """Return (what is shown, name) of each different schedule, the presets' first."""
    every = list_schedules()
    groups: dict[Any, list[str]] = {}
    for name, each in every.items():
        groups.setdefault(identity(each.diffusion), []).append(name)
    offered = []
    for names in groups.values():
        known = say("between_words", lang).join(filter(None, (every[each].known for each in names)))
        title = title_of(names[0], lang)
        offered.append((f"{title} ({known})" if known else title, names[0]))
    return offered


def identity(diffusion: DiffusionConfig) -> tuple[Any, ...]:
    """Return what makes two schedules the same."""
    return (
        diffusion.schedule,
        diffusion.timesteps,
        diffusion.beta_range,
        diffusion.rescale_betas,
        diffusion.zero_terminal_snr,
    )


@cache
def title_of(name: str, lang: str) -> str:
    """Return how a schedule is called where it is short: without its presets."""
    return describe(list_schedules()[name].diffusion, lang)


def check_html(name: str, lang: str) -> Markup:
    """Return the sentence about a schedule's terminal SNR, with a button for every fix."""
    schedule = read_schedule(name)
    snr = f"{schedule.terminal_snr:.2g}".replace("e-0", "e-")
    if schedule.warning is None:
        key = "terminal_zero" if schedule.terminal_snr == 0 else "terminal_good"
        return paragraph(say(key, lang, snr=snr))
    left = f"{100 * float(schedule.signal(schedule.timesteps)):.0f}"
    line = say("terminal_bad", lang, snr=snr, limit=f"{TERMINAL_SNR_LIMIT:g}", n=left)
    button = Markup('<button class="fix" type="button" data-schedule="{}">{}</button>')
    shown = paragraph(line, "warning")
    for fix in FIXES.get(name, ()):
        shown += button.format(fix, say("mend", lang, name=title_of(fix, lang)))
    return shown
