"""Go on from a step: with another sampler, other steps, eta, seed or guidance, or painted on."""

import io
from collections.abc import Mapping
from dataclasses import replace
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
from sd.ui.components.widgets import label, note, seed_number, slider
from sd.ui.denoise.form import choice
from sd.ui.denoise.grid import LONGEST_SCALES, has_prompt, parse_scale
from sd.ui.denoise.tree import Node, Tree
from sd.ui.texts import say


class BranchForm(NamedTuple):
    """The fields of a branch, in the order of `recipe_of`."""

    sampler: Any
    steps: Any
    eta: Any
    seed: Any
    guidance: Any
    paint: Any


def recipe_of(node: Node, at: Any, *values: Any) -> Recipe:
    """Return the recipe that leaves a node's after step `at`; raise `InputError`."""
    told = BranchForm(*values)
    parent = node.recipe
    if parent.steps < 2:
        raise InputError("branch: a sampling of one step has no step to go on from")
    at = validation.whole("branch at step", at, 1, place_of(node, parent.steps))
    _, height, width = models.shape_of(models.find_recipe_model(parent))
    made = replace(
        parent,
        sampler=told.sampler,
        steps=told.steps,
        eta=told.eta,
        seed=validation.seed("seed", told.seed),
        seed_to=None,
        start=None,
        guidance=guidance_of(parent, told.guidance),
        branch=Branch(parent, at, painter.read_paint(told.paint, width, height)),
    )
    return models.within_caps(made)


def guidance_of(parent: Recipe, value: Any) -> tuple[float, ...]:
    """Return how strongly a branch is guided; an empty text leaves the parent's.

    So does any where nothing is asked for.
    """
    words = validation.text("guidance from there", "" if value is None else value, LONGEST_SCALES)
    if not words.strip():
        return parent.guidance
    scale = parse_scale(words)
    return (scale,) if has_prompt(parent) else parent.guidance


def place_of(node: Node, i: int) -> int:
    """Return the step nearest to `i` that can be left: one that was made and has one after it."""
    return max(1, min(i, node.recipe.steps - 1, node.made))


def offered(tree: Tree, lang: str) -> tuple[Any, ...]:
    """Return the words about the step where the slider rests, and the fields of a branch there.

    For another sampling than before they begin as it was made; else what was typed stays.
    """
    node = tree.current
    at = place_of(node, tree.place)
    frame = frame_at(node.film, at)
    words = say("branch_from", lang, i=at, n=node.recipe.steps, t=f"{frame['t']:g}")
    drawn = painter.content("paint", still(node.film, "x0", frame), lang)
    fields = begun(node.recipe) if tree.continued != node.number else typed(node.recipe)
    tree.continued = node.number
    left = max(1, node.recipe.steps - at)
    return f'<p class="note">{words}</p>', *fields._replace(steps=left, paint=drawn)


def begun(recipe: Recipe) -> BranchForm:
    """Return what the fields of a branch from a recipe's pictures begin with: what made these."""
    scales = set(recipe.guidance)
    scale = f"{recipe.guidance[0]:.10g}" if len(scales) == 1 else ""  # a grid keeps its own
    guided = gr.update(value=scale, visible=has_prompt(recipe))
    return BranchForm(recipe.sampler, recipe.steps, recipe.eta, recipe.seed, guided, None)


def typed(recipe: Recipe) -> BranchForm:
    """Return the fields of a branch as they are; guidance is there where it counts."""
    guided = gr.update(visible=has_prompt(recipe))
    return BranchForm(*(gr.skip(),) * len(BranchForm._fields))._replace(guidance=guided)


def frame_at(film: Mapping[str, Any], i: int) -> Mapping[str, Any]:
    """Return the kept frame nearest to step `i`; `InputError` before there is any."""
    frames = film.get("frames", ())
    if not frames:
        raise InputError("nothing has been denoised yet: press Denoise first")
    nearest: Mapping[str, Any] = min(frames, key=lambda frame: abs(frame["i"] - i))
    return nearest


def still(film: Mapping[str, Any], kind: str, frame: Mapping[str, Any]) -> Image.Image:
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


def settings_of(recipe: Recipe, root: Node | None, lang: str) -> tuple[Any, ...]:
    """Return what the fields of a branch are set to; without a branch they stay as they are.

    The paint lies over the estimate of the step that was left, if that can be seen, else over grey.
    """
    if recipe.branch is None:
        return tuple(gr.skip() for _ in BranchForm._fields)
    paint = recipe.branch.paint
    if root and root.film and recipe.branch.recipe == root.recipe:
        base = still(root.film, "x0", frame_at(root.film, recipe.branch.at))
    else:
        _, height, width = models.shape_of(models.find(recipe.model))
        base = Image.new("RGB", (width, height), "grey")
    drawn = painter.content("paint", base, lang, paint)
    changed = recipe.guidance != recipe.branch.recipe.guidance
    scale = f"{recipe.guidance[0]:.10g}" if changed else ""
    guided = gr.update(value=scale, visible=has_prompt(recipe))
    return tuple(BranchForm(recipe.sampler, recipe.steps, recipe.eta, recipe.seed, guided, drawn))


def guidance_field() -> gr.Textbox:
    """Show the guidance of a branch: a number, or nothing for the parent's own.

    A text, for a field for numbers cannot be empty in a browser.
    """
    about: dict[str, Any] = {
        "label": label("branch_guidance"),
        "info": label("branch_guidance_info"),
    }
    return gr.Textbox(
        "", max_length=LONGEST_SCALES, visible=False, elem_id="branch-guidance", **about
    )


def build() -> tuple[BranchForm, gr.HTML, gr.Button]:
    """Lay out the fields of a branch; return them, the words above and the button."""
    with gr.Accordion(label("branch"), open=False, elem_classes="fold", elem_id="denoise-branch"):
        note("branch_about")
        words = gr.HTML(elem_classes="caption")
        with gr.Row(elem_classes="branch-fields"):
            paint = painter.painter("paint", "denoise-paint")
            with gr.Column(elem_classes="group"):
                sampler = choice("branch_sampler", SAMPLERS)
                steps = slider("branch_steps", 1, models.CAPS.steps, 20, elem_id="branch-steps")
                eta = slider("eta", 0, 1, 0, step=0.05, precision=None)
                seed = seed_number("branch_seed", 0, elem_id="branch-seed")
                guided = guidance_field()
                go = gr.Button(label("branch_go"), elem_id="branch-go")
    return BranchForm(sampler, steps, eta, seed, guided, paint), words, go
