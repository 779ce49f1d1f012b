"""The race: lanes from the same start with the same number of network calls, side by side.

Lanes are samplers of one model, or one sampler of three denoisers: the trained network, the memory
(ideal) and the blur (linear) of its pictures.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from sd import runs
from sd.checkpoints.closed_form_name import CLOSED_FORMS
from sd.common import validation
from sd.common.validation import InputError
from sd.diffusion.timesteps import REFERENCE_STEPS, SAMPLERS, calls_per_step
from sd.generation.recipe import Recipe
from sd.generation.registry import ModelEntry
from sd.ui import models, uploads
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import BACKGROUND, QUIET, guarded, language, progress_on
from sd.ui.components.html import progress_bar
from sd.ui.components.player import content as player_content
from sd.ui.components.player import player
from sd.ui.components.widgets import label, labels, note, slider
from sd.ui.denoise.form import SamplingForm
from sd.ui.denoise.job import Job, progress_line, watch
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
    """What one page races: the job at hand, the ended lanes, and whether it was asked to end.

    lanes: those whose ends are still to be measured.
    """

    job: Job | None = None
    lanes: list[Job] = field(default_factory=list)
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


def sampler_lanes(recipe: Recipe, samplers: Sequence[str], calls: int) -> list[Recipe]:
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
    data = recipe.model.partition(":")[2] if entry.is_closed_form else set_of(entry)
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


def lane_name(recipe: Recipe, by_model: bool, lang: str) -> str:
    """Return what a lane is called: its model, or its sampler and what it spends."""
    if by_model:
        return recipe.model
    calls = calls_of(recipe)
    return say("lane", lang, sampler=recipe.sampler, steps=recipe.steps, calls=calls)


@guarded
def race_samplers(
    request: gr.Request, race: Race, samplers: Sequence[str], calls: int, **fields: Any
) -> Iterator[Updates]:
    """Race samplers of one model."""
    lanes = sampler_lanes(SamplingForm(**fields).to_recipe(), samplers, calls)
    yield from run_race(race, lanes, False, language(request))


@guarded
def race_denoisers(request: gr.Request, race: Race, **fields: Any) -> Iterator[Updates]:
    """Race the trained network against memory and blur."""
    lanes = denoiser_lanes(SamplingForm(**fields).to_recipe())
    yield from run_race(race, lanes, True, language(request))


def run_race(race: Race, lanes: Sequence[Recipe], by_model: bool, lang: str) -> Iterator[Updates]:
    """Run lane after lane; `measure_ends` then tells how far each ends from the reference."""
    stop(race)  # a reference that is still being made is no longer wanted
    race.stopped, race.lanes = False, []
    jobs: list[Job] = []
    compares = not by_model and not all(map(is_random, lanes))
    for recipe in [*lanes, *([reference_of(lanes[0])] if compares else [])]:
        models.check_cost(recipe)
    for recipe in lanes:
        job = race.job = Job(recipe, lane_name(recipe, by_model, lang))
        jobs.append(job)
        for ended in watch(job):
            films = [film for each in jobs if (film := each.film_json())]
            yield {"player": player_content(films, lang), "line": progress_line(job, lang, ended)}
        if race.stopped or job.stopped:
            return
    if compares:
        race.lanes = jobs


@guarded
def measure_ends(request: gr.Request, race: Race) -> Iterator[Updates]:
    """Make the reference unless it is known, and tell with every lane how far from it it ends."""
    jobs, lang = race.lanes, language(request)
    if not jobs:
        return
    reference = reference_of(jobs[0].recipe)
    if reference not in shared(References):
        yield from make_reference(race, reference, lang)
    if race.lanes is not jobs:  # another race has begun
        return
    race.lanes = []
    if (exact := shared(References).get(reference)) is not None:
        films = [job.film_json(distance_text(exact, job, lang)) for job in jobs]
        line = progress_bar([say("race_done", lang, n=reference.steps)], 1)
        yield {"player": player_content([film for film in films if film], lang), "line": line}


def distance_text(exact: "Tensor", job: Job, lang: str) -> str:
    """Return how far the end of a lane lies from the reference, in words."""
    from sd.generation.pipeline import rms_distance

    if is_random(job.recipe) or job.last is None:
        return say("lane_random", lang)
    return say("lane_distance", lang, far=f"{rms_distance(job.last.x_t, exact):.3f}")


def make_reference(race: Race, reference: Recipe, lang: str) -> Iterator[Updates]:
    """Make the reference without showing its steps, and keep its end.

    It takes a thousand steps, so it lets every other sampling in between.
    """
    job = race.job = Job(reference, yielding=True)
    for ended in watch(job):
        key = "stopped" if ended and job.stopped else "race_reference"
        words = say(key, lang, i=job.done, n=reference.steps)
        yield {"line": progress_bar([words], job.done / reference.steps)}
    if job.last is not None and not job.stopped:
        shared(References)[reference] = job.last.x_t


@guarded
def show_track(request: gr.Request) -> Updates:
    """Show the player of the lanes, with its words."""
    return {"track": gr.update(visible=True), "player": player_content([], language(request))}


def stop(race: Race) -> None:
    """Ask the race to end after the step at hand."""
    if isinstance(race, Race):
        race.stopped = True
        if race.job:
            race.job.stop()


def build(fields: Mapping[str, Any]) -> None:
    """Lay out the race and wire it; `fields` are those of a `SamplingForm`."""
    race = gr.State(Race())
    with gr.Accordion(label("race"), open=False, elem_classes="fold", elem_id="denoise-race"):
        note("race_about")
        with gr.Row(elem_classes="race-fields"):
            samplers = gr.CheckboxGroup(
                list(SAMPLERS), value=list(FIRST), **labels("race_samplers")
            )
            calls = slider("race_calls", 2, MOST_CALLS, FIRST_CALLS, elem_id="race-calls")
        with gr.Row(elem_classes="buttons"):
            go = gr.Button(label("race_go"), elem_id="race-go")
            three = gr.Button(label("race_denoisers"), elem_id="race-denoisers")
            halt = gr.Button(label("stop"), elem_id="race-stop", elem_classes="stop")
        line = gr.HTML(elem_classes="status", elem_id="race-status")
        with gr.Column(visible=False) as track:
            lanes = player("race-player")
    queued = progress_on(line)
    inputs, outputs = {"race": race, **fields}, {"player": lanes, "line": line}
    shown = by_name(show_track, {}, {"track": track, "player": lanes})
    for button in (go, three):
        button.click(**shown, **QUIET)
    chosen = {"samplers": samplers, "calls": calls}
    raced = go.click(**by_name(race_samplers, inputs | chosen, outputs), **queued)
    raced.success(**by_name(measure_ends, {"race": race}, outputs), **queued | BACKGROUND)
    three.click(**by_name(race_denoisers, inputs, outputs), **queued)
    halt.click(stop, race, None, **QUIET)
