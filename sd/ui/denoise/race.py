"""The race: lanes from the same start with the same number of network calls, side by side.

Lanes are samplers of one model, or one sampler of three denoisers: the trained network, the memory
(ideal) and the blur (linear) of its pictures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from sd import runs
from sd.common import validation
from sd.common.validation import InputError
from sd.diffusion.timesteps import REFERENCE_STEPS, SAMPLERS, calls_per_step
from sd.generation.recipe import Recipe
from sd.generation.registry import CLOSED_FORMS, ModelEntry
from sd.ui import models, uploads
from sd.ui.components.handlers import MODEL, QUIET, guarded, language
from sd.ui.components.player import content as player_content
from sd.ui.components.player import player
from sd.ui.components.widgets import label, note, slider
from sd.ui.denoise.form import recipe_of
from sd.ui.denoise.job import Job, progress_html, progress_line, watch
from sd.ui.state import Recent, shared
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

FIRST = ("ddim", "heun", "dpmpp_2m", "unipc")
MOST_LANES = 4
MOST_CALLS, FIRST_CALLS = 100, 12
REFERENCE = "dpmpp_2m"  # of second order: at a thousand steps its error is far below any lane's


class References(Recent[Recipe, "Tensor"]):
    """The ends of the newest fine solutions, which races are measured against."""

    most = 16


@dataclass
class Race:
    """What one page races: the job at hand, and whether it was asked to end."""

    job: Job | None = None
    stopped: bool = False


def calls_of(recipe: Recipe) -> int:
    """Return how often a recipe asks its network."""
    start = recipe.start.t if recipe.start else None
    entry = models.find(recipe.model)
    return models.network_calls(entry, recipe.sampler, recipe.steps, recipe.spacing, start)


def lane_of(recipe: Recipe, sampler: str, calls: int) -> Recipe:
    """Return a recipe with the most steps that another sampler makes of so many network calls.

    Heun asks twice a step, but once where a step begins at pure noise or ends at the picture.
    """
    steps = calls if calls_per_step(sampler) == 1 else calls // 2 + 1
    eta = recipe.eta if recipe.sampler == sampler else 0.0  # that of a hidden field is not meant
    lane = replace(recipe, sampler=sampler, steps=steps, eta=eta)
    while lane.steps > 1 and calls_of(lane) > calls:
        lane = replace(lane, steps=lane.steps - 1)
    return lane


def is_random(recipe: Recipe) -> bool:
    """Tell whether a sampler adds noise, so that there is nothing to compare its end with."""
    return recipe.sampler in ("ddpm", "euler_ancestral") or (
        recipe.sampler == "ddim" and recipe.eta > 0
    )


def sampler_lanes(recipe: Recipe, samplers: Any, calls: Any) -> list[Recipe]:
    """Return a recipe for each sampler, all with the same number of network calls."""
    calls = validation.whole("network calls", calls, 1, MOST_CALLS)
    if not isinstance(samplers, list) or not 1 <= len(samplers) <= MOST_LANES:
        raise InputError(
            f"samplers = {validation.shown(samplers)}: must be 1 to {MOST_LANES} of them"
        )
    named = list(dict.fromkeys(validation.choice("sampler", name, SAMPLERS) for name in samplers))
    return [lane_of(recipe, name, calls) for name in named]


def denoiser_lanes(recipe: Recipe) -> list[Recipe]:
    """Return the recipe, and beside it those of memory and blur of the same pictures."""
    entry = models.find(recipe.model)
    data = recipe.model.partition(":")[2] if entry.closed else set_of(entry)
    names = [f"{kind}:{data}" for kind in CLOSED_FORMS]
    plain = replace(recipe, step=0, digest="", prompts=(), negative="", guidance=(1.0,))
    others = [replace(plain, model=name) for name in names if name != recipe.model]
    return [recipe, *others]


def set_of(entry: ModelEntry) -> str:
    """Return whose pictures a trained model is compared with: its run's, or the starter set."""
    if (entry.folder / runs.PICTURES).is_dir():
        return entry.name
    starter = models.find(f"{CLOSED_FORMS[0]}:{uploads.STARTER}")
    if models.shape_of(entry) == models.shape_of(starter):
        return uploads.STARTER
    raise InputError(f"model = {entry.name!r}: its run kept no pictures to compare it with")


def reference_of(recipe: Recipe) -> Recipe:
    """Return the fine solution from the same start, in max(T, 1000) steps."""
    steps = max(models.timesteps(models.find(recipe.model)), REFERENCE_STEPS)
    return replace(recipe, sampler=REFERENCE, steps=steps, eta=0.0, spacing="trailing")


def named(recipe: Recipe, many: bool, lang: str) -> str:
    """Return what a lane is called."""
    if many:
        return recipe.model
    calls = calls_of(recipe)
    return say("lane", lang, sampler=recipe.sampler, steps=recipe.steps, calls=calls)


@guarded
def samplers(
    request: gr.Request, held: Race, chosen: Any, calls: Any, *values: Any
) -> Iterator[tuple[Any, str]]:
    """Race samplers; yield the player's value and the line."""
    lanes = sampler_lanes(recipe_of(*values), chosen, calls)
    yield from raced(held, lanes, False, language(request))


@guarded
def denoisers(request: gr.Request, held: Race, *values: Any) -> Iterator[tuple[Any, str]]:
    """Race the trained network against memory and blur; yield the player's value and the line."""
    yield from raced(held, denoiser_lanes(recipe_of(*values)), True, language(request))


def raced(held: Race, lanes: Sequence[Recipe], many: bool, lang: str) -> Iterator[tuple[Any, str]]:
    """Make lane after lane, then the reference, and tell how far each is from it."""
    held.stopped, done = False, []
    compares = not many and not all(map(is_random, lanes))
    for recipe in [*lanes, *([reference_of(lanes[0])] if compares else [])]:
        models.check_cost(recipe)
    for recipe in lanes:
        job = held.job = Job(recipe, named(recipe, many, lang))
        done.append(job)
        for ended in watch(job):
            yield shown([each.film_json() for each in done], lang), progress_line(job, lang, ended)
        if held.stopped or job.stopped:
            return
    if compares:
        yield from compared(held, done, lang)


def compared(held: Race, done: Sequence[Job], lang: str) -> Iterator[tuple[Any, str]]:
    """Make the reference unless it is known, and tell with every lane how far from it it ends."""
    fine = reference_of(done[0].recipe)
    if fine not in shared(References):
        yield from made_fine(held, fine, lang)
    if (exact := shared(References).get(fine)) is not None:
        films = [job.film_json(far_from(exact, job, lang)) for job in done]
        yield shown(films, lang), progress_html([say("race_done", lang, n=fine.steps)], 1)


def far_from(exact: "Tensor", job: Job, lang: str) -> str:
    """Return how far the end of a lane lies from the reference, in words."""
    from sd.generation.pipeline import rms_distance

    if is_random(job.recipe) or job.last is None:
        return say("lane_random", lang)
    return say("lane_distance", lang, far=f"{rms_distance(job.last.x_t, exact):.3f}")


def made_fine(held: Race, fine: Recipe, lang: str) -> Iterator[tuple[Any, str]]:
    """Make the reference without showing its steps, and keep its end."""
    job = held.job = Job(fine, filmed=False)
    for ended in watch(job):
        key = "stopped" if ended and job.stopped else "race_reference"
        words = say(key, lang, i=job.done, n=fine.steps)
        yield gr.skip(), progress_html([words], job.done / fine.steps)
    if job.last is not None and not job.stopped:
        shared(References)[fine] = job.last.x_t


def shown(films: Sequence[dict[str, Any] | None], lang: str) -> dict[str, Any]:
    """Return what the race's player shows: the lanes that have begun."""
    return player_content([film for film in films if film], lang)


def halt(held: Any) -> None:
    """Ask the race to end after the step at hand."""
    if isinstance(held, Race):
        held.stopped = True
        if held.job:
            held.job.stop()


def build(fields: Sequence[Any]) -> None:
    """Lay out the race and wire it."""
    held = gr.State(Race())
    with gr.Accordion(label("race"), open=False, elem_classes="fold", elem_id="denoise-race"):
        note("race_about")
        with gr.Row(elem_classes="race-fields"):
            chosen = gr.CheckboxGroup(
                list(SAMPLERS),
                value=list(FIRST),
                label=label("race_samplers"),
                info=label("race_samplers_info"),
            )
            calls = slider("race_calls", 2, MOST_CALLS, FIRST_CALLS, elem_id="race-calls")
        with gr.Row(elem_classes="buttons"):
            go = gr.Button(label("race_go"), elem_id="race-go")
            three = gr.Button(label("race_denoisers"), elem_id="race-denoisers")
            stop = gr.Button(label("stop"), elem_id="race-stop", elem_classes="stop")
        line = gr.HTML(elem_classes="status", elem_id="race-status")
        with gr.Column(visible=False) as track:
            shown_lanes = player("race-player")
    queued: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": line}
    queued |= {"api_visibility": "private", **MODEL}
    outputs = [shown_lanes, line]
    for button in (go, three):
        button.click(lambda: gr.update(visible=True), None, track, **QUIET)
    go.click(samplers, [held, chosen, calls, *fields], outputs, **queued)
    three.click(denoisers, [held, *fields], outputs, **queued)
    stop.click(halt, held, None, **QUIET)
