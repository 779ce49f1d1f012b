"""What a published model is, told by the headers of its files: before anything of it is read."""

from functools import lru_cache
from pathlib import Path

from sd.checkpoints.pretrained.choices import Choices, format_place, parse_place, without_adapters
from sd.checkpoints.pretrained.inspection import Stage, config_of, inspect, stage_of
from sd.checkpoints.pretrained.parts import OPEN_CLIP, TEXT
from sd.checkpoints.pretrained.report import LoadingReport, Part
from sd.common.validation import InputError
from sd.config import Config
from sd.config.sections import TINY_AUTOENCODERS, TINY_FACTOR


@lru_cache(maxsize=32)
def report_of(place: str, written: int) -> LoadingReport:
    """Return the loading report of a place; when it was `written` tells a newer file."""
    path, choices = parse_place(place)
    return inspect(path, choices)


@lru_cache(maxsize=32)
def config_of_place(place: str, written: int) -> Config:
    """Return the settings of the model at a place; `InputError` where it would not be loaded."""
    report, choices = report_of(base_place(place), written), parse_place(place)[1]
    return config_of(report, _stage(report, choices), is_told(report))


def base_place(place: str) -> str:
    """Return the place of a model without what is added to it: of all that its weights are."""
    path, choices = parse_place(place)
    return format_place(str(path), without_adapters(choices))


def text_part(report: LoadingReport) -> Part | None:
    """Return the text encoder of a report."""
    return report.part(TEXT, OPEN_CLIP)


def is_told(report: LoadingReport) -> bool:
    """Tell whether a model reads prompts: whether its text encoder is there."""
    return text_part(report) is not None


def written_at(path: Path) -> int:
    """Return when a file or folder was last changed (ns since 1970); 0 where it has gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _stage(report: LoadingReport, choices: Choices) -> Stage:
    """Return the stage of the autoencoder that is taken."""
    if choices.vae is None:
        return stage_of(report)
    if choices.vae in TINY_AUTOENCODERS:
        return Stage(TINY_AUTOENCODERS[choices.vae], TINY_FACTOR)
    other = inspect(Path(choices.vae).expanduser())
    if not other.parts:
        raise InputError(f"{other.label}: holds no autoencoder")
    return stage_of(other)
