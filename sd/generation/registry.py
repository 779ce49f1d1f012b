"""The models that can be sampled, by the names that people type and recipes hold.

A trained model is called as its run; `ideal:` and `linear:` with a set of pictures are closed-form
ones. The command line also takes paths, and DATA after the colon; a page takes names alone.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sd import runs
from sd.checkpoints.closed_form_name import CLOSED_FORMS, parse_name
from sd.checkpoints.pretrained.choices import (
    digest_of_place,
    is_published,
    parse_place,
)
from sd.checkpoints.record import (
    ABOUT,
    DIGITS,
    LICENSE,
    RAIL_M,
    RAIL_M_NAME,
    list_checkpoints,
    newest_checkpoint,
    read_about,
    step_of,
    weights_digest,
)
from sd.common import validation
from sd.common.validation import InputError
from sd.data.reading.source import BUNDLED_SETS
from sd.generation.published import shelf
from sd.generation.published.facts import base_place, written_at
from sd.generation.published.shelf import choices_of, with_choices
from sd.generation.recipe import Recipe
from sd.runs.home import Home
from sd.training.planning import memory

if TYPE_CHECKING:
    from sd.checkpoints.closed_form_model import ClosedFormModel
    from sd.checkpoints.model import Model

OPENING = "shapes32"  # the bundled model that pages open with: it makes what it was never shown
SHORT = 5 * 2**29  # bytes: what decoding 512 px takes beside the weights
LARGEST_OPEN = 2**30  # bytes of all models that stay open, beside the newest


class ModelEntry(NamedTuple):
    """A model that can be sampled.

    place: its run's folder; of a closed form, the DATA of its pictures. checkpoint: the newest, and
    when it was `written` (ns since 1970): a run that began anew comes to the same step again. A
    closed form has neither, and step 0. bundled: it came with the package. published: a file or
    folder of others, as Stable Diffusion; its place may say more than a path (FILE#prediction=v).
    """

    name: str
    place: str
    step: int = 0
    checkpoint: Path | None = None
    written: int = 0
    bundled: bool = False
    published: bool = False

    @property
    def folder(self) -> Path:
        """Where its run lies, or its pictures."""
        return Path(self.place)

    @property
    def is_closed_form(self) -> bool:
        """Whether it is a closed-form denoiser of a picture set."""
        return is_closed_form(self.name)


def is_closed_form(name: str) -> bool:
    """Tell whether a name is that of a closed-form denoiser."""
    kind, colon, _ = name.partition(":")
    return bool(colon) and kind in CLOSED_FORMS


def license_of(entry: ModelEntry) -> str:
    """Return the licence that is known to go along with a model's weights, "" where none is.

    Whatever is published is taken for Stable Diffusion's.
    """
    if entry.published:
        return RAIL_M_NAME
    if entry.checkpoint is None:
        return ""
    with suppress(InputError, OSError):
        if read_about(entry.checkpoint).get(LICENSE) == RAIL_M:
            return RAIL_M_NAME
    return ""


def list_models(home: Home) -> list[ModelEntry]:
    """Return the models: the bundled ones, `OPENING` first, then the own, newest first.

    Last come published ones whose files were opened.
    """
    places = dict.fromkeys((home.bundled, home.path))
    found = (_model_in(home, folder) for place in places for folder in runs.list_folders(place))

    def order(entry: ModelEntry) -> tuple[bool, bool, str]:
        bundled = entry.bundled
        return not bundled, bundled and entry.name != OPENING, entry.name * bundled

    published = (_published(home, each.name) for each in shelf.list_opened(home, shelf.MODEL))
    return [*sorted(filter(None, found), key=order), *published]


def find_model(home: Home, name: str) -> ModelEntry:
    """Return the model of that name, an own before a bundled one; or raise `InputError`.

    That of a published one may say more, as "v1.safetensors#prediction=v".
    """
    for place in (home.path, home.bundled):
        for folder in runs.list_folders(place):
            if folder.name == name and (entry := _model_in(home, folder)):
                return entry
    if shelf.has_model(home, name):
        return _published(home, name)
    names = [entry.name for entry in list_models(home)]
    if not names:
        raise InputError(
            f"model = {validation.shown(name)}: no model is there yet; train one first"
        )
    validation.choice("model", name, names)
    return find_model(home, name)  # it has come meanwhile


def _published(home: Home, name: str) -> ModelEntry:
    """Return the published model of a name; `InputError` for files that were not opened."""
    place = shelf.place_of(home, name)
    return ModelEntry(name, place, written=written_at(parse_place(place)[0]), published=True)


def _model_in(home: Home, folder: Path) -> ModelEntry | None:
    """Return the model of a run's folder: its newest checkpoint, if that is one."""
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        return None
    newest = checkpoints[-1]
    try:
        written = os.stat(f"{newest}/{ABOUT}").st_mtime_ns
    except OSError:
        return None
    is_bundled = home.is_bundled(folder)
    return ModelEntry(folder.name, str(folder), step_of(newest), newest, written, is_bundled)


def model_at(home: Home, place: str) -> ModelEntry:
    """Return the model at a path, or the one called ideal:DATA or linear:DATA.

    A path is that of a run, of a checkpoint, or of a published model. Its name is the one under
    which a page knows it too, where there is one.
    """
    parsed = parse_name(place)
    if parsed is not None:
        kind, data = parsed
        return ModelEntry(f"{kind}:{_run_name(home, data) or data}", data)
    if is_published(place):
        return ModelEntry(place, place, published=True)
    checkpoint = newest_checkpoint(Path(place))
    step, where = read_about(checkpoint).get("step", 0), checkpoint.resolve()
    named = (
        each for each in list_models(home) if each.checkpoint and each.checkpoint.resolve() == where
    )
    entry = next(named, ModelEntry(place, str(checkpoint.parent), checkpoint=checkpoint))
    return entry._replace(step=step)


def _run_name(home: Home, data: str) -> str | None:
    """Return the name of the run whose folder this is, if `runs` finds it by that name."""
    try:
        folder = Path(data).resolve()
        return folder.name if home.find_run(folder.name).resolve() == folder else None
    except (InputError, ValueError):
        return None


def load_recipe_model(home: Home, recipe: Recipe, device: str) -> "Model | ClosedFormModel":
    """Return the model that a recipe names, of its size; `InputError` if it is another by now."""
    try:
        recipe = find_renamed(home, recipe, partial(_model_of, home))
        entry = entry_of(_model_of(home, recipe), recipe)
        model = load_model(entry, device)
    except InputError as error:
        raise InputError(f"the recipe's model {validation.shown(recipe.model)}: {error}") from error
    check_weights(recipe, entry)
    if recipe.size in (None, model.space.picture_shape[1:]):
        return model
    return model.resized(*recipe.size)


def find_renamed(home: Home, recipe: Recipe, find: Callable[[Recipe], ModelEntry]) -> Recipe:
    """Return a recipe with its model under the name that it has now, known by its weights.

    `find` opens nothing but returns the model of the recipe's name. The recipe itself where that
    has the weights, or none has them.
    """
    if not recipe.digest or is_closed_form(recipe.model):
        return recipe
    with suppress(InputError):
        if digest(entry_of(find(recipe), recipe)) == recipe.digest:
            return recipe
    for entry in list_models(home):
        with suppress(InputError):
            if entry.published:  # with what is said of it or added to it
                entry = _published(home, with_choices(entry.name, choices_of(recipe.model)))
            if digest(entry_of(entry, recipe)) == recipe.digest:
                return recipe.of_model(entry.name)
    return recipe


def _model_of(home: Home, recipe: Recipe) -> ModelEntry:
    """Return the model that a recipe names: by its name, or by a path or DATA."""
    kind, colon, data = recipe.model.partition(":")
    if is_closed_form(recipe.model):
        with suppress(InputError):
            data = data if data in BUNDLED_SETS else str(home.find_run(data))
        return model_at(home, f"{kind}{colon}{data}")
    if shelf.has_model(home, recipe.model):
        return _published(home, recipe.model)
    folders = {entry.name: entry.place for entry in list_models(home)}
    return model_at(home, folders.get(recipe.model, recipe.model))


def steps_of(entry: ModelEntry) -> list[int]:
    """Return the steps of a model's checkpoints that are kept, oldest first; none: closed forms."""
    return [step_of(path) for path in list_checkpoints(entry.folder)] if entry.checkpoint else []


def entry_at(entry: ModelEntry, step: int) -> ModelEntry:
    """Return a model as it was at a step; raise `InputError` where no such checkpoint is kept."""
    for path in list_checkpoints(entry.folder) if entry.checkpoint else ():
        if step_of(path) == step:
            written = os.stat(f"{path}/{ABOUT}").st_mtime_ns if entry.written else 0
            return entry._replace(step=step, checkpoint=path, written=written)
    kept = ", ".join(map(str, steps_of(entry))) or "none"
    raise InputError(f"checkpoint = {step}: {validation.shown(entry.name)} keeps {kept}")


def entry_of(entry: ModelEntry, recipe: Recipe) -> ModelEntry:
    """Return the checkpoint with which a recipe was made, where it is kept; else the newest."""
    if recipe.step == entry.step or recipe.step not in steps_of(entry):
        return entry
    return entry_at(entry, recipe.step)


def check_weights(recipe: Recipe, entry: ModelEntry) -> None:
    """Raise `InputError` where a recipe was made with other weights than a model has now."""
    if recipe.digest and recipe.digest != digest(entry):
        raise InputError(
            f"model = {validation.shown(recipe.model)}: the recipe was made at step "
            f"{recipe.step:,} with other weights than those here (step {entry.step:,})"
        )


def digest(entry: ModelEntry) -> str:
    """Return 16 digits that tell a model's weights from others; "" for closed forms."""
    if entry.published:
        return digest_of_place(entry.place)[:DIGITS]
    if entry.checkpoint is None:
        return ""
    return weights_digest(read_about(entry.checkpoint)["sha256"])


def load_model(entry: ModelEntry, device: str) -> "Model | ClosedFormModel":
    """Return a model, ready to be sampled from."""
    from sd.checkpoints.checkpoint import load_checkpoint
    from sd.checkpoints.closed_form_model import open_closed_form

    if entry.published:
        from sd.checkpoints.pretrained.building import open_pretrained

        return open_pretrained(entry.place, device, memory.left() if device == "cpu" else None)
    if entry.checkpoint is None:
        return open_closed_form(f"{entry.name.partition(':')[0]}:{entry.place}", device)
    return load_checkpoint(entry.checkpoint, device)


class OpenModels:
    """The models that stay open, the one asked last at the end; of too many the oldest go."""

    def __init__(self, most: int = LARGEST_OPEN) -> None:
        """Keep at most so many bytes of them beside the newest."""
        self._most, self._lock = most, threading.Lock()
        self._models: OrderedDict[tuple[ModelEntry, str], Any] = OrderedDict()

    def load(
        self, entry: ModelEntry, device: str, check: Callable[[], object]
    ) -> "Model | ClosedFormModel":
        """Return a model; `check` is called before one is opened, and may refuse it.

        Published ones that differ in what is added to them share their weights.
        """
        key = (_base_of(entry), device)
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
            else:
                self._make_room(check)
                self._models[key] = _open(key[0], device)
            while len(self._models) > 1 and sum(map(_bytes_of, self._models.values())) > self._most:
                self._models.popitem(last=False)
            opened = self._models[key]
            model: Model | ClosedFormModel = (
                opened.with_choices(parse_place(entry.place)[1]) if entry.published else opened
            )
            return model

    def _make_room(self, check: Callable[[], object]) -> None:
        """Call `check`; where it refuses, give up what is open and ask it again."""
        try:
            check()
        except InputError:
            if not self._models:
                raise
            self._models.clear()
            check()

    def has(self, entry: ModelEntry) -> bool:
        """Tell whether a model's weights are open, on whichever device."""
        base = _base_of(entry)
        return any(known == base for known, _ in list(self._models))  # unlocked: one may be opening

    def names(self) -> list[str]:
        """Return the names of the models that are open, the one asked last at the end."""
        with self._lock:
            return [entry.name for entry, _ in self._models]


def _base_of(entry: ModelEntry) -> ModelEntry:
    """Return a published model without what is added to it; any other as it is."""
    if not entry.published:
        return entry
    place = base_place(entry.place)
    return entry._replace(name=place, place=place)


def _open(entry: ModelEntry, device: str) -> Any:
    """Return a model that stays open; one that is published takes more."""
    model: Any = load_model(entry, device)
    if not entry.published:
        return model
    from sd.checkpoints.adapters.adapted import AdaptableModel, Scales
    from sd.checkpoints.pretrained.building import fill_text_encoder

    def fill() -> None:
        fill_text_encoder(entry.place, model.conditioner.encoder, device)

    return AdaptableModel(model, Scales(lambda: device == "cpu" and memory.left() < SHORT, fill))


def _bytes_of(model: Any) -> int:
    """Return the bytes that an open model keeps: its weights, or the pictures of its set."""
    model = getattr(model, "base", model)
    if (network := getattr(model, "network", None)) is None:
        return int(model.denoiser.pixels.nbytes)
    latents = getattr(model, "latents", None)
    networks = [network] if latents is None else [network, latents.autoencoder]
    return sum(each.nbytes for part in networks for each in part.parameters())
