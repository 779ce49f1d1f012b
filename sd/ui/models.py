"""Trained models for the Denoise tab: found by name, kept in memory, sampled step by step."""

import os
import shlex
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sd import gate, runs
from sd.gate import InputError
from sd.ui.parts import LARGEST_SEED

if TYPE_CHECKING:
    from sd.checkpoints import Model
    from sd.device import Machine
    from sd.sampling import SampleStep, Sampling

MOST_PICTURES = 16
MOST_STEPS = 1000


class Recipe(NamedTuple):
    """Checked settings of one sampling."""

    entry: runs.ModelEntry
    sampler: str
    steps: int
    eta: float
    variance: str
    spacing: str
    clip_x0: bool
    seed: int
    pictures: int


@cache
def machine() -> "Machine":
    """Return the machine, chosen once and set up for this process."""
    from sd.device import choose

    return choose("auto").apply()


def find(name: Any) -> runs.ModelEntry:
    """Return the model called `name`; raise InputError with what there is."""
    entries = {entry.name: entry for entry in runs.list_models()}
    if not entries:
        raise InputError(f"model = {gate.shown(name)}: no model is there yet; train one first")
    return entries[gate.choice("model", name, list(entries))]


def recipe(
    model: Any,
    sampler: Any,
    steps: Any,
    eta: Any,
    variance: Any,
    spacing: Any,
    clip_x0: Any,
    seed: Any,
    count: Any,
) -> Recipe:
    """Return the settings, each checked."""
    from sd.sampling import SAMPLERS, SPACINGS, VARIANCES

    return Recipe(
        find(model),
        gate.choice("sampler", sampler, SAMPLERS),
        gate.whole("steps", steps, 1, MOST_STEPS),
        gate.real("eta", eta, 0, 1),
        gate.choice("variance", variance, VARIANCES),
        gate.choice("spacing", spacing, SPACINGS),
        gate.flag("clip x0", clip_x0),
        gate.whole("seed", seed, 0, LARGEST_SEED),
        gate.whole("count", count, 1, MOST_PICTURES),
    )


@lru_cache(maxsize=2)
def loaded(folder: Path, step: int, device: str) -> "Model":
    """Return the newest model of a run's folder; `step` tells a newer one from an older."""
    from sd.checkpoints import load_checkpoint

    return load_checkpoint(folder, device)


def stream(wanted: Recipe) -> tuple["Sampling", Iterator["SampleStep"]]:
    """Return the sampling and its steps; the model is loaded here."""
    device = machine().device
    model = loaded(wanted.entry.folder, wanted.entry.step, device)
    sampling = model.sampling(
        wanted.sampler,
        wanted.steps,
        eta=wanted.eta,
        variance=wanted.variance,
        spacing=wanted.spacing,
        clip_x0=wanted.clip_x0,
    )
    seeds = range(wanted.seed, wanted.seed + wanted.pictures)
    return sampling, sampling.steps(model.denoiser, model.shape, seeds, device)


def command(wanted: Recipe) -> str:
    """Return the command line that samples the same pictures."""
    folder = wanted.entry.folder
    here = Path.cwd()
    where = os.path.relpath(folder, here) if folder.is_relative_to(here) else str(folder)
    words = ["python", "-m", "sd", "sample", where, "--count", str(wanted.pictures)]
    words += ["--sampler", wanted.sampler, "--steps", str(wanted.steps)]
    words += ["--seed", str(wanted.seed), "--spacing", wanted.spacing]
    if wanted.sampler == "ddim":
        words += ["--eta", f"{wanted.eta:g}"]
    else:
        words += ["--variance", wanted.variance]
    return shlex.join([*words, *([] if wanted.clip_x0 else ["--no-clip"]), "--out", "samples"])
