"""The models that a page can be asked for, what of them it makes, and the command line of the same.

They are those of `sd.generation.registry`, by name: a run's, or `ideal:` and `linear:` with a
bundled set, a run that kept its pictures, or an upload.
"""

import os
import shlex
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sd import runs
from sd.checkpoints.closed_form_name import CLOSED_FORMS, PRESET
from sd.common import validation
from sd.common.validation import InputError
from sd.config import Config
from sd.data import captions
from sd.generation import registry
from sd.generation.published import facts
from sd.generation.recipe import Recipe
from sd.generation.registry import ModelEntry, OpenModels
from sd.networks import conditioning_metadata
from sd.networks.clip import prompt as clip_prompt
from sd.networks.conditioning_metadata import PUBLISHED_GUIDANCE
from sd.ui import model_cost, uploads
from sd.ui.components.handlers import in_own_thread
from sd.ui.hosting import zero_gpu
from sd.ui.model_metadata import ConditioningMetadata, read_conditioning_metadata
from sd.ui.state import home, shared

if TYPE_CHECKING:
    from sd.common.device import Machine
    from sd.data.space import Space
    from sd.generation.pipeline import Source

LONGEST_CHOSEN_MODEL = 1000  # characters: that of a published one says what is added to it
FALLBACK = f"{CLOSED_FORMS[0]}:{uploads.STARTER}"  # a model where none was trained


class FirstModel(str):
    """The model that a page opens with, where it has not been told yet which one is chosen."""


@dataclass(frozen=True)
class Caps:
    """The most that a page makes at once; the command line makes more."""

    count: int = 16
    steps: int = 1000
    steps_with_branches: int = 4000
    prompt_length: int = 20_000  # characters of all prompts; a field holds half of it

    def check(self, recipe: Recipe) -> None:
        """Raise `InputError` for a recipe that is too much, with all that it branches from."""
        _check_cap("count", recipe.count, self.count)
        each, steps = recipe, 0
        while True:
            validation.whole("number of prompts", len(each.prompts), 0, self.count)
            length = sum(map(len, (*each.prompts, each.negative)))
            validation.whole("characters of all prompts", length, 0, self.prompt_length)
            _check_cap("steps", each.steps, self.steps)
            steps += each.steps
            if each.branch is None:
                break
            each = each.branch.recipe
        _check_cap("steps with those before the branch", steps, self.steps_with_branches)


def _check_cap(name: str, value: int, most: int) -> None:
    if value > most:
        raise InputError(
            f"{name} = {value}: this page makes at most {most}; the command line makes it: "
            "python -m sd sample --recipe FILE.png"
        )


CAPS = Caps()


class NetworkLock:
    """The right to run a network: no two of a page's samplings at once.

    Who waits for `lock` holds `next`, so that one who gives it back and wants it again comes later.
    """

    def __init__(self) -> None:
        self.next, self.lock = threading.Lock(), threading.Lock()


@contextmanager
def turn() -> Iterator[None]:
    """Hold the right to run a network."""
    right = shared(NetworkLock)
    with right.next:
        right.lock.acquire()
    try:
        yield
    finally:
        right.lock.release()


@cache
def machine() -> "Machine":
    """Return the machine, chosen once and set up for this process, which is lent no GPU."""
    from sd.common.device import choose

    name = "cpu" if zero_gpu.is_lent() else "auto"
    return in_own_thread(lambda: choose(name).apply())


def find(name: Any) -> ModelEntry:
    """Return the model called `name`; raise `InputError` with what there is."""
    validation.text("model", name, LONGEST_CHOSEN_MODEL)
    if registry.is_closed_form(name):
        return ModelEntry(name, pictures_of(name.partition(":")[2]))
    return registry.find_model(home(), name)


def pictures_of(name: str) -> str:
    """Return the DATA behind a closed-form model's name: starter, an upload's zip, a run's folder.

    Nothing else: a name from the browser is never taken for a path.
    """
    if name in uploads.BUNDLED_WORDS or uploads.HANDLE.fullmatch(name):
        return uploads.source_of(name)
    return str(home().find_run(name))


@lru_cache(maxsize=32)
def config_of(entry: ModelEntry) -> Config:
    """Return a model's settings; a closed form of a set without a run has the preset's."""
    if entry.published:
        return facts.config_of_place(entry.place, entry.written)
    if (entry.folder / runs.CONFIG).is_file():
        return Config.read(entry.folder / runs.CONFIG)
    return Config.preset(PRESET)


def shape_of(entry: ModelEntry) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of a model's pictures, without opening it."""
    return config_of(entry).picture_shape


def timesteps(entry: ModelEntry) -> int:
    """Return T of a model's schedule, without opening it."""
    return config_of(entry).diffusion.timesteps


def read_conditioning(entry: ModelEntry) -> ConditioningMetadata | None:
    """Return what a model is conditioned on, without opening it; None for an unconditional one."""
    if entry.published:
        kind, length = config_of(entry).conditioning.kind, clip_prompt.ROOM
        return None if kind == "none" else ConditioningMetadata(kind, (), (), None, length)
    if entry.checkpoint is None:
        return None
    length = config_of(entry).conditioning.text_length
    return read_conditioning_metadata(entry.checkpoint, length)


def caption_names(model: str, lang: str) -> Mapping[str, str]:
    """Return caption or class -> its name in a language, where a model learned a bundled set."""
    try:
        return captions.names(runs.read_source(find(model).folder), lang)
    except InputError:  # it was deleted meanwhile
        return {}


def default_prompts(entry: ModelEntry) -> tuple[str, ...]:
    """Return what the samples of a model's own run were asked for; () if nothing."""
    if (conditioning := read_conditioning(entry)) is None:
        return ()
    chosen = config_of(entry).conditioning.sample_prompts
    return conditioning_metadata.default_prompts(chosen, conditioning.labels, conditioning.examples)


def default_guidance(entry: ModelEntry) -> float:
    """Return how strongly a model follows a prompt unless it is told."""
    if entry.published:
        return PUBLISHED_GUIDANCE
    return conditioning_metadata.default_guidance(config_of(entry).conditioning.drop)


def network_calls(
    entry: ModelEntry,
    sampler: str,
    steps: int,
    spacing: str = "trailing",
    start: float | None = None,
) -> int:
    """Return how often a sampling from t = `start`, else from T, calls a model's network."""
    from sd.diffusion.sampling import Sampling
    from sd.diffusion.schedule import Schedule

    schedule = Schedule.from_config(config_of(entry).diffusion)
    return Sampling(schedule, sampler, steps, spacing=spacing, start_time=start).calls


def cost_of(entry: ModelEntry) -> model_cost.Cost:
    """Return what asking a model takes, without opening it."""
    return model_cost.cost_of(entry.name, entry.folder, config_of(entry), entry.published)


def open_model(entry: ModelEntry) -> "Source":
    """Return a model, on this machine's device; raise `InputError` where there is no room."""
    device = machine().device

    def check() -> None:
        model_cost.check_memory(cost_of(entry), 1, device, "model")

    return shared(OpenModels).load(entry, device, check)


def within_caps(recipe: Recipe) -> Recipe:
    """Return a recipe that a page may be asked for; raise `InputError` for one that is too much."""
    CAPS.check(recipe)
    return check_cost(recipe)


def check_cost(recipe: Recipe) -> Recipe:
    """Return a recipe whose operations and memory are within bounds; raise `InputError`."""
    cost = cost_of(find(recipe.model)).resized(recipe.size)
    model_cost.check_recipe(cost, recipe, machine().device)
    return recipe


def check_together(recipes: Iterable[Recipe]) -> None:
    """Raise `InputError` where recipes that are made one after the other take too much."""
    priced = ((cost_of(find(each.model)).resized(each.size), each) for each in recipes)
    model_cost.check_together(priced, machine().device)


def find_renamed(recipe: Recipe) -> Recipe:
    """Return a recipe with its model under the name that it has now, if it was renamed."""
    return registry.find_renamed(home(), recipe, lambda named: find(named.model))


def find_recipe_model(recipe: Recipe) -> ModelEntry:
    """Return the model that a recipe names; raise `InputError` if it is another one by now."""
    entry = registry.entry_of(find(recipe.model), recipe)
    registry.check_weights(recipe, entry)
    return entry


def open_recipe_model(recipe: Recipe) -> "Source":
    """Return the model that a recipe names, of the recipe's size; raise `InputError` for none."""
    from sd.generation.pipeline import sized

    return sized(recipe, open_model(find_recipe_model(recipe)))


def open_recipe_space(recipe: Recipe) -> "Space":
    """Return the way from what a recipe samples to its pictures; raise `InputError` for none."""
    from sd.generation.pipeline import space_of

    return space_of(recipe, open_recipe_model(recipe).space)


def shape_of_recipe(recipe: Recipe) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of a recipe's pictures, without opening its model."""
    channels, *own = shape_of(find_recipe_model(recipe))
    height, width = recipe.size or own
    return channels, height, width


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
    if recipe.size is not None:
        words += ["--size", "{}x{}".format(*recipe.size)]
    words += _conditioning_flags(recipe, entry)
    return shlex.join([*words, *([] if recipe.clip_x0 else ["--no-clip"]), "--out", "samples"])


def _conditioning_flags(recipe: Recipe, entry: ModelEntry) -> list[str]:
    """Return a command line's words for what a recipe asks the model for."""
    conditioning = read_conditioning(entry)
    if conditioning is None:
        return []
    if not recipe.prompts and not recipe.negative:
        return ["--unconditional"]
    flag = "--label" if conditioning.labels else "--prompt"
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
    if entry.published:
        return entry.place
    if entry.place == uploads.STARTER:
        return entry.name
    here = Path.cwd()
    inside = entry.folder.is_absolute() and entry.folder.is_relative_to(here)
    where = os.path.relpath(entry.folder, here) if inside else str(entry.folder)
    return f"{entry.name.partition(':')[0]}:{where}" if entry.is_closed_form else where


def make_recipe(model: Any, *, seed: Any, **settings: Any) -> Recipe:
    """Return the recipe of a model's sampling, with `Recipe`'s settings by name, all checked."""
    entry, seed = find(model), validation.seed("seed", seed)
    weights = registry.digest(entry)
    return within_caps(Recipe(entry.name, entry.step, weights, seed=seed, **settings))
