"""Algorithm 2 with the real numbers of the step at which the slider rests."""

from contextlib import closing
from itertools import islice
from typing import Any

import gradio as gr

from sd.common.validation import InputError
from sd.generation.recipe import Recipe
from sd.ui import models
from sd.ui.components.parts import PANEL, QUIET, guarded, label, language, note
from sd.ui.denoise.algorithm2 import StepFacts, panel, pixel
from sd.ui.denoise.job import KEPT, Job
from sd.ui.denoise.tree import Tree


@guarded
def numbers(request: gr.Request, tree: Tree, seen: Any = True) -> Any:
    """Return the algorithm at the step where the slider rests, with one pixel's numbers.

    Unless it is `seen` nothing is done: the steps of an example would have to be made first.
    """
    if not seen:
        return gr.skip()
    node, lang = tree.current, language(request)
    i = max(1, min(tree.place or 1, node.recipe.steps))
    return panel(facts(node.recipe, i, lang), lang)


def facts(recipe: Recipe, i: int, lang: str) -> StepFacts:
    """Return the numbers of one pixel at step i: kept ones, else the sampling is made again."""
    from sd.generation.pipeline import sampling_of, seen_pixel

    source = models.open_model(models.find_recipe_model(recipe))
    if len(KEPT.steps(recipe)) < i:
        made_again(recipe, i)
    kept, x = KEPT.steps(recipe), KEPT.before(recipe, i)
    if x is None or len(kept) < i:
        raise InputError(f"step {i} of {recipe.steps}: too large to be kept; take fewer pictures")
    step = kept[i - 1]
    times = [*sampling_of(recipe, source).times, 0.0]
    row, column = seen_pixel(recipe, source.shape)
    place = (0, 0, row, column)
    process = source.diffusion
    before = process.standardise(x, times[i - 1])
    after = process.standardise(step.x_t, times[i])
    return StepFacts(
        sampler=recipe.sampler,
        i=i,
        total=recipe.steps,
        t=times[i - 1],
        s=times[i],
        schedule=process.schedule,
        eta=recipe.eta,
        large=recipe.variance == "fixed_large",
        before=float(before[place]),
        after=float(after[place]),
        x0=float(step.x0[place]) / process.std,
        eps=float(step.eps[place]),
        name_of_pixel=pixel(0, source.shape[0], row + 1, column + 1, 1, lang),
    )


def made_again(recipe: Recipe, upto: int) -> None:
    """Make the steps of a recipe up to one again, so that they are kept."""
    with closing(Job(recipe).steps_again()) as steps:
        for _ in islice(steps, upto):
            pass


def build() -> tuple[gr.Accordion, gr.HTML]:
    """Lay out the algorithm."""
    fold = gr.Accordion(label("algorithm2"), open=False, elem_classes="fold", elem_id="algorithm2")
    with fold:
        note("algorithm2_about")
        return fold, gr.HTML(elem_classes="algorithm", elem_id="algorithm2-panel")


def wire(fold: gr.Accordion, moved: Any, tree: gr.State, shown: gr.HTML) -> None:
    """Tell the numbers when the fold opens, and while it is open whenever the slider rests."""
    seen = gr.State(False)
    queued: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", **PANEL}
    fold.collapse(lambda: False, None, seen, **QUIET)
    for event in (fold.expand(lambda: True, None, seen, **QUIET), moved):
        event.then(numbers, [tree, seen], shown, **queued)
