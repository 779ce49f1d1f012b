"""A branch leaves a sampling after a step: asked for something else, sampled otherwise, painted."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from sd.common import validation
from sd.common.validation import InputError
from sd.diffusion.timesteps import NOISING, SAMPLERS
from sd.generation.recipe import Branch, Recipe
from sd.generation.registry import ModelEntry
from sd.ui import models
from sd.ui.components import painter
from sd.ui.components.events import Updates
from sd.ui.components.fields import CHOICE, NUMBER, RANGE, SEED, TEXT, Field, Values, form, patch
from sd.ui.components.html import paragraph
from sd.ui.components.tools import tool_fold, verb
from sd.ui.denoise.grid import MOST_GUIDANCE, has_prompt
from sd.ui.denoise.prompts import as_learned, lines_of
from sd.ui.denoise.samplers import SAMPLER_CHOICES
from sd.ui.denoise.tools.bar import BRANCH
from sd.ui.denoise.tree import Node, Tree
from sd.ui.models import CAPS
from sd.ui.texts import say

FIELDS = (
    Field(
        name="prompt",
        kind=TEXT,
        value="",
        label="branch_prompt",
        info="branch_prompt_info",
        longest=CAPS.prompt_length,
        lines=2,
    ),
    Field(name="negative", kind=TEXT, value="", label="negative", info="negative_info"),
    Field(
        name="guidance",
        kind=NUMBER,
        label="guidance",
        info="branch_guidance_info",
        low=0,
        high=MOST_GUIDANCE,
        step=0.25,
        is_optional=True,
    ),
    Field(
        name="sampler",
        kind=CHOICE,
        value=SAMPLERS[0],
        label="sampler",
        choices=SAMPLER_CHOICES,
    ),
    Field(
        name="steps",
        kind=RANGE,
        value=20,
        label="branch_steps",
        info="branch_steps_info",
        low=1,
        high=CAPS.steps,
    ),
    Field(
        name="eta",
        kind=RANGE,
        value=0,
        label="eta",
        info="eta_info",
        low=0,
        high=1,
        step=0.05,
        when=("sampler", ("ddim",)),
    ),
    Field(
        name="seed",
        kind=SEED,
        value=0,
        label="seed",
        info="branch_seed_info",
        when=("sampler", ("ddim", *NOISING)),  # of others a branch is the same with every seed
    ),
)
OF_TOLD = ("prompt", "negative", "guidance")  # of models that can be told something


@dataclass(frozen=True, kw_only=True)
class BranchForm:
    """What the fields of a branch hold, as they were sent; `to_recipe` checks them.

    steps: those that are left. prompt: one a line. guidance: None for the parent's own.
    """

    sampler: str
    steps: int
    eta: float
    seed: int
    prompt: str = ""
    negative: str = ""
    guidance: float | None = None
    paint: Mapping[str, Any] | None = None

    @classmethod
    def from_recipe(cls, recipe: Recipe, lang: str = "en") -> "BranchForm":
        """Return how a recipe was made, unpainted; a grid keeps its own scales."""
        names = models.caption_names(recipe.model, lang)
        alike = has_prompt(recipe) and len(set(recipe.guidance)) == 1
        return cls(
            sampler=recipe.sampler,
            steps=recipe.steps,
            eta=recipe.eta,
            seed=recipe.seed,
            prompt="\n".join(names.get(each, each) for each in recipe.prompts),
            negative=names.get(recipe.negative, recipe.negative),
            guidance=recipe.guidance[0] if alike else None,
        )

    @property
    def values(self) -> Values:
        """What the form of `FIELDS` holds."""
        return {field.name: getattr(self, field.name) for field in FIELDS}

    def to_recipe(self, node: Node, place: int) -> Recipe:
        """Return the recipe that leaves a node's at the step nearest to `place` that it can."""
        parent, at = node.recipe, branch_step(node, place)
        if parent.steps < 2:
            raise InputError("branch: a sampling of one step has no step to go on from")
        _, height, width = models.shape_of_recipe(parent)
        recipe = replace(
            parent,
            sampler=self.sampler,
            steps=self.steps,
            eta=self.eta,
            seed=validation.seed("seed", self.seed),
            seed_to=None,
            start=None,
            branch=Branch(parent, at, painter.read_paint(self.paint, width, height)),
            **self._conditions(parent),
        )
        return models.within_caps(recipe)

    def _conditions(self, parent: Recipe) -> dict[str, Any]:
        """Return what is asked for from there on; an untold model's branch is asked for nothing."""
        entry = models.find_recipe_model(parent)
        if models.read_conditioning(entry) is None:
            return {}
        as_before = self.prompt == "\n".join(parent.prompts)
        told = tuple(as_learned(entry, each) for each in lines_of(self.prompt))
        prompts = parent.prompts if as_before else told
        negative = as_learned(entry, " ".join(lines_of(self.negative)))
        changed = {"prompts": prompts, "negative": negative}
        if not (prompts or negative):
            return {**changed, "guidance": (1.0,)}
        if self.guidance is not None:
            return {**changed, "guidance": (self.guidance,)}
        return changed if has_prompt(parent) else {**changed, "guidance": usual_guidance(entry)}


def usual_guidance(entry: ModelEntry) -> tuple[float, ...]:
    """Return how strongly a model follows a prompt unless it is told."""
    return (models.default_guidance(entry),)


class BranchParts(NamedTuple):
    """What opens them, the form and the painter, the words above them, and the button."""

    fold: gr.Accordion
    form: gr.HTML
    paint: gr.HTML
    words: gr.HTML
    go: gr.Button

    @property
    def fields(self) -> dict[str, Any]:
        """What a branch is made from."""
        return {"branch_form": self.form, "paint": self.paint}

    @property
    def outputs(self) -> dict[str, Any]:
        """What `offer_branch` changes, by the names that it uses."""
        shown = {"words": self.words, "form": self.form, "paint": self.paint, "go": self.go}
        return {f"branch_{name}": part for name, part in shown.items()}


def note_seen(tree: Tree) -> None:
    """Note that the fields of a branch are drawn, and hold what is typed from now on."""
    if isinstance(tree, Tree):
        tree.branch_seen = True


def branch_step(node: Node, i: int) -> int:
    """Return the step nearest to `i` that can be left: one that was made and has one after it."""
    return max(1, min(i, node.recipe.steps - 1, node.filmed))


def offer_branch(tree: Tree, lang: str) -> Updates:
    """Show from which step a branch would go on, and its fields.

    For another sampling than before, and until they are first seen, they begin as it was made; else
    what was typed stays.
    """
    node = tree.current
    at = branch_step(node, tree.place)
    frame = frame_at(node.film, at)
    words = say("branch_from", lang, t=f"{frame['t']:g}")
    drawn = painter.content("paint", cut_picture(node.film, "x0", frame), lang)
    values: Values = {}
    if tree.continued != node.number or not tree.branch_seen:
        values = BranchForm.from_recipe(node.recipe, lang).values
    tree.continued = node.number
    values["steps"] = max(1, node.recipe.steps - at)
    return {
        "branch_words": paragraph(words),
        "branch_form": patch(values, shown=shown_fields(node.recipe)),
        "branch_paint": drawn,
        "branch_go": say("branch_go", lang, i=at),
    }


def offer_still(tree: Tree, lang: str) -> Updates:
    """Lay the decoded estimate below what is painted, instead of its preview."""
    node = tree.current
    frame = frame_at(node.film, branch_step(node, tree.place))
    drawn = painter.content("paint", cut_picture(node.film, "x0", frame), lang)
    return {"branch_paint": {**drawn, "keeps": True}}


def shown_fields(recipe: Recipe) -> dict[str, bool]:
    """Return which fields a branch of a recipe has: an untold model is asked for nothing."""
    is_told = models.read_conditioning(models.find(recipe.model)) is not None
    return dict.fromkeys(OF_TOLD, is_told)


def frame_at(film: Mapping[str, Any], i: int) -> Mapping[str, Any]:
    """Return the kept frame nearest to step `i`; `InputError` before there is any."""
    frames = film.get("frames", ())
    if not frames:
        raise InputError("nothing has been denoised yet: press Denoise first")
    nearest: Mapping[str, Any] = min(frames, key=lambda frame: abs(frame["i"] - i))
    return nearest


def cut_picture(
    film: Mapping[str, Any], kind: str, frame: Mapping[str, Any], n: int = 0
) -> Image.Image:
    """Return picture `n` of one kind at a frame, at its own size: decoded, if it is there."""
    factor = film.get("factor", 1)
    down, right = divmod(n, film["columns"])
    width, height = film["width"] * factor, film["height"] * factor
    stills = (each for each in film.get("stills", ()) if each["kind"] == kind)
    if still := next((each for each in stills if each["i"] == frame["i"]), None):
        with Image.open(io.BytesIO(Path(still["src"]).read_bytes()), formats=["JPEG"]) as sheet:
            return cut(sheet, right * width, down * height, width, height)
    place = film["frames"].index(frame) + 1
    chunk = next(c for c in film["chunks"] if c["first"] <= place < c["first"] + c["count"])
    index = film["kinds"].index(kind)
    begin = sum(chunk["parts"][:index])
    data = Path(chunk["src"]).read_bytes()[begin : begin + chunk["parts"][index]]
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as column:
        top = (place - chunk["first"]) * (column.height // chunk["count"])
        left, top = right * film["width"], top + down * film["height"]
        small = cut(column, left, top, film["width"], film["height"])
    smooth = Image.Resampling.NEAREST if factor == 1 else Image.Resampling.BICUBIC
    return small.resize((width, height), smooth)


def cut(sheet: Image.Image, left: int, top: int, width: int, height: int) -> Image.Image:
    """Return a rectangle of a sheet, in colour."""
    return sheet.crop((left, top, left + width, top + height)).convert("RGB")


def updates_of(recipe: Recipe, root: Node | None, lang: str) -> Updates:
    """Set the fields to what made a branch; without a branch they stay as they are.

    The paint lies over the estimate of the step that was left, if that can be seen, else over grey.
    """
    if recipe.branch is None:
        return {}
    if root and root.film and recipe.branch.recipe == root.recipe:
        base = cut_picture(root.film, "x0", frame_at(root.film, recipe.branch.at))
    else:
        _, height, width = models.shape_of_recipe(recipe)
        base = Image.new("RGB", (width, height), "grey")
    values = BranchForm.from_recipe(recipe, lang).values
    if recipe.guidance == recipe.branch.recipe.guidance:
        values["guidance"] = None
    return {
        "branch_form": patch(values, shown=shown_fields(recipe)),
        "branch_paint": painter.content("paint", base, lang, recipe.branch.paint),
    }


def build() -> BranchParts:
    """Lay out the painter, and beside it the words, the fields and the button of a branch."""
    with tool_fold(BRANCH) as fold, gr.Row(elem_classes="branch-fields"):
        paint = painter.painter("denoise-paint")
        with gr.Column(elem_classes="group"):
            words = gr.HTML(elem_classes="caption", elem_id="branch-words")
            fields = form(FIELDS, "branch-form", is_kept=False)
            go = verb("branch_go_here", "branch-go", "denoise")
    return BranchParts(fold, fields, paint, words, go)
