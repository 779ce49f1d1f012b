"""The models that can be asked: trained ones, and the closed-form ones of a picture set.

Each has a name: a run's, or `ideal:` and `linear:` with the starter set, a run that kept its
pictures, or an upload. Found by name, kept in memory, asked one at a time.
"""

import os
import shlex
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sd import runs
from sd.common import validation
from sd.common.disk import numbered
from sd.common.validation import InputError
from sd.config import Config
from sd.generation.recipe import Recipe
from sd.networks import conditioning_metadata
from sd.ui import model_cost, uploads
from sd.ui.components.parts import briefly
from sd.ui.model_metadata import ConditioningMetadata, read_conditioning_metadata

if TYPE_CHECKING:
    from sd.common.device import Machine
    from sd.generation.pipeline import Source

MOST_PICTURES = 16
MOST_STEPS = 1000
MOST_PROMPT_LENGTH = 20_000  # characters of a recipe's prompts; a field holds half of it
MOST_CALLS = 4000  # of one sampling with all that it branches from
CLOSED_FORM_KINDS = ("ideal", "linear")  # closed-form denoisers of a picture set
LONGEST_CHOSEN_MODEL = 200
CLOSED_PRESET = "tiny"  # as in sd.checkpoints.picture_model, which bears torch
ONE_AT_A_TIME, OPENING = threading.Lock(), threading.Lock()
LARGEST_OPENED = 2**30  # bytes of all models that stay open, beside the newest


class ModelEntry(NamedTuple):
    """A model that can be asked: where it lies, and of which step it is (0: it has none)."""

    name: str
    folder: Path
    step: int = 0

    @property
    def closed(self) -> bool:
        """Whether it is a closed-form denoiser of a picture set."""
        return is_closed(self.name)


OPENED: OrderedDict[tuple[ModelEntry, str], "Source"] = OrderedDict()  # with the device it is on


def is_closed(name: str) -> bool:
    """Tell whether a name is that of a closed-form denoiser."""
    return name.partition(":")[0] in CLOSED_FORM_KINDS


@cache
def machine() -> "Machine":
    """Return the machine, chosen once and set up for this process."""
    from sd.common.device import choose

    return briefly(lambda: choose("auto").apply())


def list_choices(upload: Any = None) -> list[tuple[str, str]]:
    """Return (what is shown, name) of every model; `upload` is the handle of pictures just read."""
    trained = runs.default_home().list_models()
    told = [(f"{entry.name}, step {entry.step:,}", entry.name) for entry in trained]
    sets = [(word, word) for word in uploads.BUNDLED_WORDS]
    if isinstance(upload, str) and uploads.HANDLE.fullmatch(upload):
        sets.append((f"upload {upload[:6]}", upload))
    sets += [
        (folder.name, folder.name)
        for folder in runs.default_home().run_folders()
        if os.path.isdir(f"{folder}/{runs.PICTURES}")
    ]
    return told + [
        (f"{kind}: {title}", f"{kind}:{name}") for title, name in sets for kind in CLOSED_FORM_KINDS
    ]


def find(name: Any) -> ModelEntry:
    """Return the model called `name`; raise `InputError` with what there is."""
    validation.text("model", name, LONGEST_CHOSEN_MODEL)
    if is_closed(name):
        return ModelEntry(name, Path(pictures_of(name.partition(":")[2])))
    entries = {entry.name: entry for entry in runs.default_home().list_models()}
    if not entries:
        raise InputError(
            f"model = {validation.shown(name)}: no model is there yet; train one first"
        )
    found = entries[validation.choice("model", name, list(entries))]
    return ModelEntry(found.name, found.folder, found.step)


def pictures_of(name: str) -> str:
    """Return the DATA behind a closed-form model's name: starter, an upload's zip, a run's folder.

    Nothing else: a name from the browser is never taken for a path.
    """
    if name in uploads.BUNDLED_WORDS or uploads.HANDLE.fullmatch(name):
        return uploads.source_of(name)
    return str(runs.default_home().find_run(name))


@lru_cache(maxsize=32)
def config_of(entry: ModelEntry) -> Config:
    """Return a model's settings; a closed form of a set without a run has the preset's."""
    if (entry.folder / runs.CONFIG).is_file():
        return Config.read(entry.folder / runs.CONFIG)
    return Config.preset(CLOSED_PRESET)


def shape_of(entry: ModelEntry) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of a model's pictures, without opening it."""
    config = config_of(entry)
    return config.unet.channel, config.training.input_height, config.training.input_width


def timesteps(entry: ModelEntry) -> int:
    """Return T of a model's schedule, without opening it."""
    return config_of(entry).diffusion.timesteps


def read_conditioning(entry: ModelEntry) -> ConditioningMetadata | None:
    """Return what a model can be told, without opening it; None for one that is told nothing."""
    found = [] if entry.closed else numbered(entry.folder, "checkpoint-*")
    folder = found[-1][1] if found else entry.folder
    return (
        None
        if entry.closed
        else read_conditioning_metadata(folder, config_of(entry).conditioning.text_length)
    )


def default_prompts(entry: ModelEntry) -> tuple[str, ...]:
    """Return what the samples of a model's own run were asked for; () if nothing."""
    told = read_conditioning(entry)
    chosen = config_of(entry).conditioning.sample_prompts
    return (
        ()
        if told is None
        else conditioning_metadata.default_prompts(chosen, told.labels, told.examples)
    )


def network_calls(
    entry: ModelEntry,
    sampler: str,
    steps: int,
    spacing: str = "trailing",
    start: float | None = None,
) -> int:
    """Return how often a sampling from t = `start`, T unless told, asks a model's network."""
    from sd.diffusion.sampling import Sampling
    from sd.diffusion.schedule import Schedule

    schedule = Schedule.from_settings(config_of(entry).diffusion)
    return Sampling(schedule, sampler, steps, spacing=spacing, start_time=start).calls


def cost_of(entry: ModelEntry) -> model_cost.Cost:
    """Return what asking a model takes, without opening it."""
    return model_cost.cost_of(entry.name, entry.folder, config_of(entry))


def open_model(entry: ModelEntry) -> "Source":
    """Return the model of an entry, on this machine's device; raise `InputError` without room."""
    device = machine().device
    key = (entry, device)
    with OPENING:
        if key in OPENED:
            OPENED.move_to_end(key)
            return OPENED[key]
        model_cost.check_memory(cost_of(entry), 1, device, "model")
        OPENED[key] = found = _opened(entry.name, str(entry.folder), device)
        while len(OPENED) > 1 and sum(map(_bytes_of, OPENED.values())) > LARGEST_OPENED:
            OPENED.popitem(last=False)
        return found


def _opened(name: str, place: str, device: str) -> "Source":
    """Return a model."""
    from sd.checkpoints.checkpoint import load_checkpoint
    from sd.checkpoints.picture_model import open_picture_model

    if not is_closed(name):
        return load_checkpoint(place, device)
    return open_picture_model(f"{name.partition(':')[0]}:{place}", device)


def _bytes_of(opened: Any) -> int:
    """Return the bytes that an open model keeps: its weights, or the pictures of its set."""
    if (network := getattr(opened, "network", None)) is None:
        return int(opened.denoiser.pixels.nbytes)
    parts = filter(None, (network, opened.conditioner))
    return sum(each.nbytes for part in parts for each in part.parameters())


@lru_cache(maxsize=32)
def digest(entry: ModelEntry) -> str:
    """Return 16 digits that tell a model from another of its name; "" for closed forms."""
    from sd.checkpoints.checkpoint import WEIGHTS, newest_checkpoint, read_about

    if entry.closed:
        return ""
    return str(read_about(newest_checkpoint(entry.folder))["sha256"][WEIGHTS])[:16]


@contextmanager
def turn() -> Iterator[None]:
    """Hold the right to run a network: never two of the page's samplers at once."""
    with ONE_AT_A_TIME:
        yield


def within_caps(recipe: Recipe) -> Recipe:
    """Return a recipe that a page may be asked for; raise `InputError` for one that is too much."""
    capped("count", recipe.count, MOST_PICTURES)
    each, calls = recipe, 0
    while True:
        validation.whole("number of prompts", len(each.prompts), 0, MOST_PICTURES)
        told = sum(map(len, (*each.prompts, each.negative)))
        validation.whole("characters of all prompts", told, 0, MOST_PROMPT_LENGTH)
        calls += capped("steps", each.steps, MOST_STEPS)
        if each.branch is None:
            break
        each = each.branch.recipe
    capped("steps with those before the branch", calls, MOST_CALLS)
    return check_cost(recipe)


def check_cost(recipe: Recipe) -> Recipe:
    """Return a recipe whose operations and memory are within bounds; raise `InputError`."""
    model_cost.check_recipe(cost_of(find(recipe.model)), recipe, machine().device)
    return recipe


def capped(name: str, value: int, most: int) -> int:
    """Return a number that a page makes; `InputError` tells that the command line makes more."""
    if value > most:
        raise InputError(
            f"{name} = {value}: this page makes at most {most}; the command line makes it: "
            "python -m sd sample --recipe FILE.png"
        )
    return value


def find_recipe_model(recipe: Recipe) -> ModelEntry:
    """Return the model that a recipe names; raise `InputError` if it is another one by now."""
    entry = find(recipe.model)
    if recipe.digest and recipe.digest != digest(entry):
        raise InputError(
            f"model = {recipe.model!r}: the recipe was made at step {recipe.step:,} with other "
            f"weights than those here (step {entry.step:,})"
        )
    return entry


def sample_command(recipe: Recipe) -> str:
    """Return the command line that samples the same pictures."""
    if recipe.branch or recipe.start:
        return "python -m sd sample --recipe PICTURE.png --out samples"
    entry = find(recipe.model)
    words = ["python", "-m", "sd", "sample", _model_argument(entry), "--count", str(recipe.count)]
    words += ["--sampler", recipe.sampler, "--steps", str(recipe.steps)]
    words += ["--seed", str(recipe.seed), "--spacing", recipe.spacing]
    if recipe.sampler == "ddim":
        words += ["--eta", f"{recipe.eta:g}"]
    if recipe.sampler == "ddpm":
        words += ["--variance", recipe.variance]
    if recipe.seed_to is not None:
        words += ["--seed-to", str(recipe.seed_to)]
    words += _conditioning_flags(recipe, entry)
    return shlex.join([*words, *([] if recipe.clip_x0 else ["--no-clip"]), "--out", "samples"])


def _conditioning_flags(recipe: Recipe, entry: ModelEntry) -> list[str]:
    """Return a command line's words for what a recipe asks the model for."""
    told = read_conditioning(entry)
    if told is None:
        return []
    if not recipe.prompts and not recipe.negative:
        return ["--unconditional"]
    flag = "--label" if told.labels else "--prompt"
    words = [word for prompt in recipe.prompts for word in _flag(flag, prompt)]
    words = words or ["--unconditional"]
    if recipe.negative:
        words += _flag("--negative", recipe.negative)
    words += ["--guidance", *(f"{scale:g}" for scale in recipe.guidance)]
    if recipe.rescale:
        words += ["--rescale", f"{recipe.rescale:g}"]
    if recipe.interval != (0.0, 1.0):
        words += ["--interval", *(f"{share:g}" for share in recipe.interval)]
    return words


def _flag(flag: str, text: str) -> list[str]:
    """Return a flag and its text, joined where the text would be taken for a flag."""
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def _model_argument(entry: ModelEntry) -> str:
    """Return how a command line names a model."""
    if str(entry.folder) == uploads.STARTER:
        return entry.name
    here = Path.cwd()
    inside = entry.folder.is_absolute() and entry.folder.is_relative_to(here)
    where = os.path.relpath(entry.folder, here) if inside else str(entry.folder)
    return f"{entry.name.partition(':')[0]}:{where}" if entry.closed else where


def make_recipe(
    model: Any,
    sampler: Any,
    steps: Any,
    eta: Any,
    variance: Any,
    spacing: Any,
    clip_x0: Any,
    seed: Any,
    count: Any,
    **more: Any,
) -> Recipe:
    """Return the recipe of these settings, each checked; `more`: seed_to, start, prompts, ..."""
    entry = find(model)
    made = Recipe(
        entry.name,
        entry.step,
        digest(entry),
        sampler,
        validation.whole("steps", steps, 1, MOST_STEPS),
        validation.real("eta", eta, 0, 1),
        variance,
        spacing,
        clip_x0,
        validation.seed("seed", seed),
        validation.whole("count", count, 1, MOST_PICTURES),
        **more,
    )
    return within_caps(made)
