"""Models by the names that people type and recipes tell: a path, a run, ideal:DATA, linear:DATA."""

from pathlib import Path
from typing import NamedTuple

from sd import runs
from sd.checkpoints.checkpoint import WEIGHTS, load_checkpoint, newest_checkpoint
from sd.checkpoints.model import Model
from sd.checkpoints.picture_model import PictureModel, open_picture_model, parse_name
from sd.common import validation
from sd.common.validation import InputError
from sd.data.reading.source import BUNDLED_SETS
from sd.generation.recipe import Recipe

DIGITS = 16  # of the SHA-256 of a model's weights: enough to tell it from another


class NamedModel(NamedTuple):
    """A model with what a recipe says of it: its name, its step, and a digest of its weights."""

    source: Model | PictureModel
    name: str
    step: int = 0
    digest: str = ""


def open_model(place: str, device: str) -> NamedModel:
    """Return the model at a path, or the one called ideal:DATA or linear:DATA.

    Its name is the one under which the page knows it too, where there is one.
    """
    parsed = parse_name(place)
    if parsed is not None:
        kind, data = parsed
        return NamedModel(open_picture_model(place, device), f"{kind}:{_run_name(data) or data}")
    folder = newest_checkpoint(Path(place))
    model = load_checkpoint(folder, device)
    digest = model.about["sha256"][WEIGHTS][:DIGITS]
    return NamedModel(model, _model_name(folder) or place, model.about.get("step", 0), digest)


def _run_name(data: str) -> str | None:
    """Return the name of the run whose folder this is, if `runs` finds it by that name."""
    try:
        folder = Path(data).resolve()
        found = runs.default_home().find_run(folder.name).resolve()
        return folder.name if found == folder else None
    except (InputError, ValueError):
        return None


def _model_name(checkpoint: Path) -> str | None:
    """Return the name of the model whose newest checkpoint this is, if there is one."""
    run = checkpoint.resolve().parent
    names = {entry.folder.resolve(): entry.name for entry in runs.default_home().list_models()}
    newest = run in names and newest_checkpoint(run) == checkpoint.resolve()
    return names[run] if newest else None


def open_recipe_model(recipe: Recipe, device: str) -> NamedModel:
    """Return the model that a recipe names; raise `InputError` if it is another by now."""
    kind, data = parse_name(recipe.model) or (None, recipe.model)
    try:
        model = open_model(f"{kind}:{_data_of(data)}" if kind else _folder_of(data), device)
    except InputError as error:
        raise InputError(f"the recipe's model {validation.shown(recipe.model)}: {error}") from error
    if recipe.digest and recipe.digest != model.digest:
        raise InputError(
            f"model = {validation.shown(recipe.model)}: the recipe was made at step "
            f"{recipe.step:,} with other weights than those here (step {model.step:,})"
        )
    return model


def _folder_of(name: str) -> str:
    folders = {entry.name: str(entry.folder) for entry in runs.default_home().list_models()}
    return folders.get(name, name)


def _data_of(name: str) -> str:
    try:
        return name if name in BUNDLED_SETS else str(runs.default_home().find_run(name))
    except InputError:
        return name
