"""A branch leaves a sampling after a step: other sampler, steps, seed or guidance, or painted."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from sd.common import validation
from sd.common.validation import InputError
from sd.diffusion.timesteps import SAMPLERS
from sd.generation.recipe import Branch, Recipe
from sd.ui import models
from sd.ui.components import painter
from sd.ui.components.events import Updates
from sd.ui.components.html import paragraph
from sd.ui.components.widgets import label, labels, note, seed_number, slider
from sd.ui.denoise.form import choice
from sd.ui.denoise.grid import LONGEST_SCALES, has_prompt, parse_scale
from sd.ui.denoise.tree import Node, Tree
from sd.ui.texts import say


@dataclass(frozen=True, kw_only=True)
class BranchForm:
    """What the fields of a branch hold, as they were sent; `to_recipe` checks them.

    steps: those that are left. guidance: empty for the parent's own.
    """

    sampler: str
    steps: int
    eta: float
    seed: int
    guidance: str | None = ""
    paint: Mapping[str, Any] | None = None

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "BranchForm":
        """Return how a recipe was made, unpainted; a grid keeps its own scales."""
        scale = f"{recipe.guidance[0]:.10g}" if len(set(recipe.guidance)) == 1 else ""
        return cls(
            sampler=recipe.sampler,
            steps=recipe.steps,
            eta=recipe.eta,
            seed=recipe.seed,
            guidance=scale,
        )

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
            guidance=self._guidance(parent),
            branch=Branch(parent, at, painter.read_paint(self.paint, width, height)),
        )
        return models.within_caps(recipe)

    def _guidance(self, parent: Recipe) -> tuple[float, ...]:
        """Return how strongly the branch is guided; an unprompted one as its parent."""
        text = "" if self.guidance is None else self.guidance
        words = validation.text("guidance from there", text, LONGEST_SCALES).strip()
        scale = (parse_scale(words),) if words else parent.guidance
        return scale if has_prompt(parent) else parent.guidance


class BranchParts(NamedTuple):
    """The fields of `BranchForm` by name, the words above them, and the button."""

    fields: dict[str, Any]
    words: gr.HTML
    go: gr.Button

    @property
    def outputs(self) -> dict[str, Any]:
        """What `offer_branch` changes, by the names that it uses."""
        return {"branch_words": self.words, **named(self.fields)}


def named(fields: Mapping[str, Any]) -> Updates:
    """Return fields by names that tell them from those of a sampling."""
    return {f"branch_{name}": value for name, value in fields.items()}


def branch_step(node: Node, i: int) -> int:
    """Return the step nearest to `i` that can be left: one that was made and has one after it."""
    return max(1, min(i, node.recipe.steps - 1, node.filmed))


def offer_branch(tree: Tree, lang: str) -> Updates:
    """Show from which step a branch would go on, and its fields.

    For another sampling than before they begin as it was made; else what was typed stays.
    """
    node = tree.current
    at = branch_step(node, tree.place)
    frame = frame_at(node.film, at)
    words = say("branch_from", lang, i=at, n=node.recipe.steps, t=f"{frame['t']:g}")
    drawn = painter.content("paint", cut_picture(node.film, "x0", frame), lang)
    visible = has_prompt(node.recipe)
    fields: Updates = {"guidance": gr.update(visible=visible)}
    if tree.continued != node.number:
        form = BranchForm.from_recipe(node.recipe)
        fields = {**vars(form), "guidance": gr.update(value=form.guidance, visible=visible)}
    tree.continued = node.number
    left = max(1, node.recipe.steps - at)
    return {"branch_words": paragraph(words), **named({**fields, "steps": left, "paint": drawn})}


def frame_at(film: Mapping[str, Any], i: int) -> Mapping[str, Any]:
    """Return the kept frame nearest to step `i`; `InputError` before there is any."""
    frames = film.get("frames", ())
    if not frames:
        raise InputError("nothing has been denoised yet: press Denoise first")
    nearest: Mapping[str, Any] = min(frames, key=lambda frame: abs(frame["i"] - i))
    return nearest


def cut_picture(film: Mapping[str, Any], kind: str, frame: Mapping[str, Any]) -> Image.Image:
    """Return the first picture of one kind at a frame, cut out of its chunk, at its own size."""
    place = film["frames"].index(frame) + 1
    chunk = next(c for c in film["chunks"] if c["first"] <= place < c["first"] + c["count"])
    index = film["kinds"].index(kind)
    begin = sum(chunk["parts"][:index])
    data = Path(chunk["src"]).read_bytes()[begin : begin + chunk["parts"][index]]
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as column:
        top = (place - chunk["first"]) * (column.height // chunk["count"])
        small = column.crop((0, top, film["width"], top + film["height"])).convert("RGB")
    factor = film.get("factor", 1)
    return small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST)


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
    form = BranchForm.from_recipe(recipe)
    changed = recipe.guidance != recipe.branch.recipe.guidance
    guidance = f"{recipe.guidance[0]:.10g}" if changed else ""
    fields = {
        **vars(form),
        "guidance": gr.update(value=guidance, visible=has_prompt(recipe)),
        "paint": painter.content("paint", base, lang, recipe.branch.paint),
    }
    return named(fields)


def build() -> BranchParts:
    """Lay out the fields of a branch, the words above them and the button."""
    with gr.Accordion(label("branch"), open=False, elem_classes="fold", elem_id="denoise-branch"):
        note("branch_about")
        words = gr.HTML(elem_classes="caption")
        with gr.Row(elem_classes="branch-fields"):
            fields: dict[str, Any] = {"paint": painter.painter("denoise-paint")}
            with gr.Column(elem_classes="group"):
                fields["sampler"] = choice("branch_sampler", SAMPLERS)
                steps = slider("branch_steps", 1, models.CAPS.steps, 20, elem_id="branch-steps")
                fields["steps"] = steps
                fields["eta"] = slider("eta", 0, 1, 0, step=0.05, precision=None)
                fields["seed"] = seed_number("branch_seed", 0, elem_id="branch-seed")
                # A number, or nothing for the parent's own: so a text, which can be empty.
                about = {
                    "visible": False,
                    "elem_id": "branch-guidance",
                    **labels("branch_guidance"),
                }
                fields["guidance"] = gr.Textbox("", max_length=LONGEST_SCALES, **about)
                go = gr.Button(label("branch_go"), elem_id="branch-go")
    return BranchParts(fields, words, go)
