"""A small model in a home of its own, and what the tests of the Denoise tab share."""

import base64
import math
import threading
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from sd.checkpoints.model import Model
from sd.common import validation
from sd.common.encoding import png_bytes
from sd.config import Config
from sd.data.ingest import ingest_images
from sd.diffusion.guidance import Prediction
from sd.diffusion.sampling import SampleStep
from sd.generation.pipeline import stream
from sd.generation.recipe import Branch, Recipe, Start
from sd.networks.conditioning import conditioner_of
from sd.networks.tokenizer import Vocabulary
from sd.runs import home as home_module
from sd.training.randomness import new_network
from sd.ui import models, state
from sd.ui.denoise import form, job
from sd.ui.denoise import tab as denoise
from sd.ui.denoise.form import FIRST, SamplingForm
from sd.ui.denoise.job import Job, StepCache
from sd.ui.denoise.tools.branch import BranchForm
from sd.ui.denoise.tree import Node, Tree
from sd.ui.state import shared
from tests.helpers.networks import with_weights

ENGLISH: Any = SimpleNamespace(headers={"accept-language": "en-GB,en;q=0.9"})
CHINESE: Any = SimpleNamespace(headers={"accept-language": "zh-CN,zh;q=0.9"})
NAME, PICTURED, STEP = "little", "pictured", 4
BUNDLED = home_module.BUNDLED_RUNS  # before any test puts another in its place
PATIENCE = 20.0  # seconds for what takes milliseconds
CLOSE = 12  # of 255, on average: what a small JPEG of noise may lose
HOSTILE = [
    *(math.nan, math.inf, -9, 4.7, 10**9, 10**400, True, None, "x", "../../etc/passwd", [1], {}),
    "x" * 5_000_000,
]


def command_line(**fields: Any) -> str:
    """Return the command line of the fields of a sampling; "" for none that can be drawn."""
    recipe = form.recipe_of(**fields)
    return models.sample_command(recipe) if recipe else ""


@pytest.fixture(scope="module", name="little")
def little_model(
    tmp_path_factory: pytest.TempPathFactory, tiny_config: Config, emoji: dict[str, bytes]
) -> Iterator[Model]:
    """The model `little`, grey, 8 x 8, T = 50, alone in a home with a run that kept pictures.

    Its weights are random everywhere, so that its output depends on what it sees.
    """
    home, cache = tmp_path_factory.mktemp("denoise"), tmp_path_factory.mktemp("cache")
    network = with_weights(new_network(tiny_config, 0).eval())
    save_checkpoint(Model(network, tiny_config), home / NAME / "checkpoint-4", {"step": STEP})
    files = tmp_path_factory.mktemp("emoji")
    for name, data in emoji.items():
        (files / name).write_bytes(data)
    pictures = home / PICTURED / runs.PICTURES
    for name in (NAME, PICTURED):
        (home / name).mkdir(exist_ok=True)
        (home / name / runs.CONFIG).write_text(tiny_config.to_ini())
        (home / name / "events.jsonl").touch()
    for _ in ingest_images(files, pictures, height=8, width=8, channels=1, fit="crop"):
        pass
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SD_HOME", str(home))
        patch.setenv("GRADIO_TEMP_DIR", str(cache))
        patch.setattr("sd.runs.home.BUNDLED_RUNS", home / "none")
        models.machine()  # sets the threads, once
        yield load_checkpoint(home / NAME)


CLASSES, CAPTIONS = ("cat", "dog"), ("a red heart", "a blue heart", "a small dog")
LABELLED, WORDED = "labelled", "worded"
TOLD = {  # what the models that can be told something are built from
    LABELLED: ("class_tokens", {"labels": list(CLASSES)}),
    WORDED: ("captions", {"examples": list(CAPTIONS)}),
}


@pytest.fixture(scope="module", name="told")
def told_models(little: Model, tiny_config: Config) -> dict[str, Model]:
    """The models `labelled`, of two classes, and `worded`, of three captions, beside `little`."""
    return {name: told_model(tiny_config, name) for name in TOLD}


def told_model(base: Config, name: str) -> Model:
    """Return a model that can be told something, saved under its name; its weights are random."""
    kind, facts = TOLD[name]
    words = [f"conditioning.kind={kind}", "unet.context_dim=16", "conditioning.text_length=8"]
    config = base.with_settings([*words, "conditioning.text_layers=1"])
    vocabulary = Vocabulary.train(list(CAPTIONS), 280).to_json() if kind == "captions" else None
    conditioner = conditioner_of(config, {"kind": kind, "vocabulary": vocabulary, **facts})
    assert conditioner is not None
    network = with_weights(new_network(config, 0).eval(), conditioner)
    folder = runs.default_home().path / name
    save_checkpoint(
        Model(network, config, {}, conditioner), folder / "checkpoint-4", {"step": STEP}
    )
    (folder / runs.CONFIG).write_text(config.to_ini())
    return load_checkpoint(folder)


@pytest.fixture(name="quick")
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at samplings every few milliseconds."""
    monkeypatch.setattr(job, "INTERVALS", (0.005,))


class Slow:
    """A model that takes its time, and counts how often and by how many at once it is asked."""

    def __init__(self, model: Any, seconds: float = 0.0, fails_at: int = 0) -> None:
        self.model, self.seconds, self.fails_at = model, seconds, fails_at
        self.calls = self.inside = self.most = 0
        self.space, self.diffusion, self.sampling = model.space, model.diffusion, model.sampling
        self.told: tuple[Any, ...] = ()
        self._lock = threading.Lock()

    def guided(self, *told: Any) -> Any:
        """Return the denoiser, told as the model would be."""
        self.told = told
        return self.denoiser

    def denoiser(self, x_t: Tensor, t: float) -> Prediction:
        """Answer as the model does, later."""
        with self._lock:
            self.calls += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
            fails = self.calls == self.fails_at
        time.sleep(self.seconds)
        try:
            if fails:
                raise FloatingPointError("the network is lost")
            answer: Prediction = self.model.guided(*self.told)(x_t, t)
            return answer
        finally:
            with self._lock:
                self.inside -= 1


def slowed(
    monkeypatch: pytest.MonkeyPatch, model: Any, seconds: float = 0.0, fails_at: int = 0
) -> Slow:
    """Put a slow model in the place of every model that the page opens."""
    slow = Slow(model, seconds, fails_at)
    monkeypatch.setattr(models, "open_model", lambda entry: slow)
    return slow


def another_day(monkeypatch: pytest.MonkeyPatch, most: int = job.MOST_BYTES_KEPT) -> StepCache:
    """Forget every step that was kept; return what keeps the next ones."""
    kept = StepCache(most)
    monkeypatch.setitem(state.current().parts, StepCache, kept)
    return kept


def recipe(**changes: Any) -> Recipe:
    """Return a recipe of `little` as the page makes it: six steps of two pictures."""
    settings = {"sampler": "ddim", "steps": 6, "seed": 5, "count": 2} | changes
    beginning = {k: settings.pop(k) for k in ("seed_to", "start", "branch") if k in settings}
    plain = {"eta": 0.0, "variance": "fixed_small", "spacing": "trailing", "clip_x0": True}
    return models.make_recipe(NAME, **(plain | settings), **beginning)


def values(**changes: Any) -> dict[str, Any]:
    """Return what model, bar, form and picture hold by name: those of `recipe()` unless changed.

    changes: fields of any of them by their own names.
    """
    asked: dict[str, Any] = {"prompts": [], "seed": 5}
    held = {**FIRST, "sampler": "ddim", "steps": 6, "count": 2, "seed_to": 0}
    parts: dict[str, Any] = {"model": NAME, "picture": "owl.png", "mask": None}
    for name, value in changes.items():
        next(part for part in (asked, held, parts) if name in part)[name] = value
    return {**parts, "asked": asked, "held": held}


def recipe_of(**fields: Any) -> Recipe:
    """Return the recipe of what the fields hold."""
    return SamplingForm(**fields).to_recipe()


def branch_values(**changes: Any) -> dict[str, Any]:
    """Return what the form of a branch and its painter hold by name."""
    usual = {"sampler": "ddim", "steps": 1, "eta": 0.0, "seed": 5, "paint": None}
    return {**usual, "prompt": "", "negative": "", "guidance": None, **changes}


def branching(**changes: Any) -> dict[str, Any]:
    """Return what the page hands on of them to a handler."""
    fields = branch_values(**changes)
    return {"paint": fields.pop("paint"), "branch_form": fields}


def branch_of(node: Node, place: int, **changes: Any) -> Recipe:
    """Return the recipe of a branch, its fields as `branch_values` unless changed."""
    return BranchForm(**branch_values(**changes)).to_recipe(node, place)


def set_fields(updates: dict[str, Any]) -> dict[str, Any]:
    """Return what `values` are after a handler's updates."""
    fields = values()
    for name in ("model", "picture", "mask"):
        fields[name] = value_of(updates[name]) if name in updates else fields[name]
    patched = updates.get("asked", {"patch": {}})["patch"]
    fields["asked"] |= {name: patched[name] for name in ("prompts", "seed") if name in patched}
    fields["held"] |= updates.get("held", {"patch": {"values": {}}})["patch"]["values"]
    return fields


def set_branch(updates: dict[str, Any]) -> dict[str, Any]:
    """Return what a handler sets the fields of a branch to; None where it leaves one."""
    patched = updates.get("branch_form", {"patch": {"values": {}}})["patch"]["values"]
    fields = {name: patched.get(name) for name in branch_values()}
    return {**fields, "paint": updates.get("branch_paint")}


def picture(side: int = 8) -> bytes:
    """Return a grey picture of soft waves as PNG."""
    y, x = np.mgrid[0:side, 0:side]
    return png_bytes(Image.fromarray((128 + 90 * np.sin(x / 2 + y)).astype(np.uint8)))


def mask() -> bytes:
    """Return a mask whose upper half is made anew."""
    half = np.zeros((8, 8), np.uint8)
    half[:4] = 255
    return png_bytes(Image.fromarray(half))


def paint(level: int = 255) -> bytes:
    """Return paint of one grey on the four pixels of the upper left corner."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:2, :2] = (level, level, level, 255)
    return png_bytes(Image.fromarray(pixels))


def sent(png: bytes) -> dict[str, Any]:
    """Return what the painter sends for an RGBA picture."""
    return {"paint": "data:image/png;base64," + base64.b64encode(png).decode()}


def beginnings() -> dict[str, Recipe]:
    """Return a recipe for every place where a sampling can begin."""
    parent = recipe()
    return {
        "noise": recipe(sampler="ddpm"),
        "seeds": recipe(seed_to=9, count=3),
        "picture": recipe(start=Start(picture(), 30.0)),
        "mask": recipe(start=Start(picture(), 30.0, mask()), sampler="heun"),
        "branch": recipe(branch=Branch(parent, 2, paint()), sampler="ddpm", steps=3),
    }


def replayed(recipe: Recipe, model: Any) -> list[SampleStep]:
    """Return every step of a recipe, made by the package alone."""
    return list(stream(recipe, model, models.machine().device))


def equal(some: Sequence[SampleStep], others: Sequence[SampleStep]) -> bool:
    """Tell whether steps are the same to the last bit."""
    return len(some) == len(others) and all(
        one.t == other.t and torch.equal(one.x_t, other.x_t) and torch.equal(one.x0, other.x0)
        for one, other in zip(some, others, strict=True)
    )


def reached(job: Job, steps: int) -> None:
    """Wait until a job has made so many steps."""
    end = time.monotonic() + PATIENCE
    while job.done < steps:
        assert time.monotonic() < end and job.error is None, (job.done, job.error)
        time.sleep(0.0005)


def free() -> bool:
    """Tell whether the next sampling may begin, and wait a little for it."""
    lock = shared(models.NetworkLock).lock
    if not lock.acquire(timeout=PATIENCE):
        return False
    lock.release()
    return True


def value_of(output: Any) -> Any:
    """Return the value that a handler gives a field."""
    if isinstance(output, dict) and output.get("__type__") == "update":
        return output.get("value")
    return output


def one_line(error: BaseException) -> str:
    """Hold an error to the promise: one line, not too long; return it."""
    line = error.message if isinstance(error, gr.Error) else str(error)
    assert line and "\n" not in line and len(line) <= validation.LONGEST_MESSAGE
    return str(line)


def resting(i: Any) -> Any:
    """Return what the player sends when its slider rests at a step."""
    return gr.EventData(None, {"i": i, "lane": 0})


def pressed(node: Any) -> Any:
    """Return what the tree sends when a node is pressed."""
    return gr.EventData(None, {"node": node})


@pytest.fixture(name="tree")
def grown_tree() -> Tree:
    """A page that has made one sampling of six steps."""
    tree = Tree()
    list(denoise.run(ENGLISH, tree, **values()))
    return tree
