"""The race: lanes from the same start with the same number of network calls, side by side.

Lanes are samplers of one model, or one sampler of three denoisers: the trained network, the memory
(ideal) and the blur (linear) of its pictures.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from sd import runs
from sd.checkpoints.closed_form_name import CLOSED_FORMS
from sd.common import validation
from sd.common.validation import InputError
from sd.data.reading.source import BUNDLED_SETS
from sd.diffusion.timesteps import NOISING, SAMPLERS, calls_per_step
from sd.generation.recipe import Recipe
from sd.generation.registry import ModelEntry
from sd.ui import models
from sd.ui.components.events import Updates, by_name
from sd.ui.components.fields import CHOICE, RANGE, SWITCH, Field, Values, form
from sd.ui.components.handlers import BACKGROUND, QUIET, guarded, language, progress_on
from sd.ui.components.html import paragraph, progress_bar
from sd.ui.components.player import content as player_content
from sd.ui.components.player import player
from sd.ui.components.tools import tool_fold, verb
from sd.ui.components.widgets import label
from sd.ui.denoise.form import SamplingForm
from sd.ui.denoise.job import Job, progress_line, watch
from sd.ui.denoise.samplers import SAMPLER_CHOICES, SAMPLER_NAMES
from sd.ui.denoise.tools import beside
from sd.ui.denoise.tools.bar import RACE
from sd.ui.state import Recent, shared
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

FIRST = ("ddim", "heun", "dpmpp_2m", "unipc")
MOST_LANES = len(FIRST)
LANES, NONE = tuple(f"lane_{n}" for n in range(1, MOST_LANES + 1)), ""
SAMPLERS_RACE, MODELS = "samplers", "models"
MOST_CALLS, FIRST_CALLS = 100, 6  # so few that the eye tells the lanes apart
FIELDS = (
    Field(
        name="between",
        kind=SWITCH,
        value=SAMPLERS_RACE,
        label="race_between",
        choices=(
            ("race_samplers", SAMPLERS_RACE),
            ("race_models", MODELS),
            ("race_other", beside.OTHER),
        ),
    ),
    beside.FIELD,
    Field(
        name="calls",
        kind=RANGE,
        value=FIRST_CALLS,
        label="race_calls",
        info="race_calls_info",
        low=2,
        high=MOST_CALLS,
        when=("between", (SAMPLERS_RACE,)),
    ),
    *(
        Field(
            name=name,
            kind=CHOICE,
            value=first,
            label=f"race_{name}",
            choices=(("race_none", NONE), *SAMPLER_CHOICES),
            when=("between", (SAMPLERS_RACE,)),
        )
        for name, first in zip(LANES, FIRST, strict=True)
    ),
)
VERDICTS = {MODELS: "race_models_verdict", beside.OTHER: "race_other_verdict"}
# Of second order: twice the steps of the longest lane leave a quarter of its error or less.
REFERENCE, REFERENCE_STEPS = "dpmpp_2m", 2 * MOST_CALLS


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
    return recipe.sampler in NOISING or (recipe.sampler == "ddim" and recipe.eta > 0)


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
    """Return whose pictures a trained model is compared with: its run's, kept or bundled."""
    if (entry.folder / runs.PICTURES).is_dir() or runs.read_source(entry.folder) in BUNDLED_SETS:
        return entry.name
    raise InputError(f"model = {entry.name!r}: its run kept no pictures to compare it with")


def reference_of(recipe: Recipe) -> Recipe:
    """Return the fine solution from the same start."""
    return replace(recipe, sampler=REFERENCE, steps=REFERENCE_STEPS, eta=0.0, spacing="trailing")


def lane_name(recipe: Recipe, by_model: bool, lang: str) -> str:
    """Return what a lane is called: its model, or its sampler and what it spends."""
    if by_model:
        kind, colon, _ = recipe.model.partition(":")
        return say(f"lane_{kind}", lang) if colon else recipe.model
    calls = calls_of(recipe)
    return say("lane", lang, sampler=SAMPLER_NAMES[recipe.sampler], steps=recipe.steps, calls=calls)


@guarded
def start_race(
    request: gr.Request, race: Race, race_form: Values, **fields: Any
) -> Iterator[Updates]:
    """Race samplers of one model, or the trained network against memory and blur."""
    recipe, lang = SamplingForm(**fields).to_recipe(), language(request)
    between = race_form["between"]
    if between == MODELS:
        lanes = denoiser_lanes(recipe)
    elif between == beside.OTHER:
        lanes = beside.lanes(recipe, race_form[beside.OTHER])
    else:
        chosen = [race_form[name] for name in LANES if race_form[name] != NONE]
        lanes = sampler_lanes(recipe, chosen, race_form["calls"])
    yield from run_race(race, lanes, VERDICTS.get(between), lang)


def run_race(
    race: Race, lanes: Sequence[Recipe], verdict: str | None, lang: str
) -> Iterator[Updates]:
    """Run lane after lane; `measure_ends` then tells how far each ends from the reference.

    verdict: the key of what a race of models shows; None for one of samplers.
    """
    stop(race)  # a reference that is still being made is no longer wanted
    race.stopped, race.lanes = False, []
    jobs: list[Job] = []
    by_model = verdict is not None
    compares = not by_model and not all(map(is_random, lanes))
    for recipe in [*lanes, *([reference_of(lanes[0])] if compares else [])]:
        models.check_cost(recipe)
    show = partial(player_content, language=lang, across=len(lanes))
    yield {"track": gr.update(visible=True), "result": "", "player": show([])}
    for recipe in lanes:
        job = race.job = Job(recipe, lane_name(recipe, by_model, lang))
        jobs.append(job)
        for ended in watch(job):
            films = [film for each in jobs if (film := each.film_json())]
            yield {"player": show(films), "line": progress_line(job, lang, ended)}
        if race.stopped or job.stopped:
            return
    if compares:
        race.lanes = jobs
    elif verdict is not None:
        yield {"result": paragraph(say(verdict, lang), "verdict")}
    else:
        yield {"result": paragraph(say("race_random_verdict", lang), "verdict")}


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
        line = progress_bar([say("race_done", lang, n=reference.steps)], 1)
        yield {"line": line, "result": result_html(measured(jobs, exact), lang)}


class Place(NamedTuple):
    """A lane, what it is called, and how far it ends from the reference; None: it adds noise."""

    sampler: str
    name: str
    far: float | None


def measured(jobs: Sequence[Job], exact: "Tensor") -> list[Place]:
    """Return each lane with its distance, the nearest first and those of chance at the end."""
    from sd.generation.pipeline import rms_distance

    places = []
    for job in jobs:
        counts = job.last is not None and not is_random(job.recipe)
        far = rms_distance(job.last.x_t, exact) if counts and job.last is not None else None
        places.append(Place(SAMPLER_NAMES[job.recipe.sampler], job.label, far))
    return sorted(places, key=lambda place: math.inf if place.far is None else place.far)


def result_html(places: Sequence[Place], lang: str) -> Markup:
    """Return the lanes in the order of their distances, a bar each, and the verdict."""
    most = max((place.far or 0.0 for place in places), default=0.0) or 1.0
    rows = Markup("").join(
        Markup("<li>{}<span>{}</span>{}<output>{}</output></li>").format(
            Markup("<b>{}</b>").format(rank if place.far is not None else "–"),
            place.name,
            Markup('<i aria-hidden="true" style="--share:{:.3f}"></i>').format(
                (place.far or 0.0) / most
            ),
            say("lane_random", lang) if place.far is None else f"{place.far:.3f}",
        )
        for rank, place in enumerate(places, start=1)
    )
    ranks = Markup('<ol class="ranks">{}</ol>').format(rows)
    return paragraph(verdict(places, lang), "verdict") + ranks


def verdict(places: Sequence[Place], lang: str) -> str:
    """Return in one sentence which lane came nearest, and by how much."""
    first, *others = [place for place in places if place.far is not None]
    far = f"{first.far:.3f}"
    if not others:
        return say("race_alone", lang, name=first.sampler, far=far)
    last = others[-1]
    times = (last.far or 0.0) / max(first.far or 0.0, 1e-9)
    values = {"name": first.sampler, "far": far, "other": last.sampler, "times": f"{times:.2g}"}
    return say("race_verdict", lang, **values)


def make_reference(race: Race, reference: Recipe, lang: str) -> Iterator[Updates]:
    """Make the reference without showing its steps, and keep its end.

    It lets every other sampling in between.
    """
    job = race.job = Job(reference, yielding=True)
    for ended in watch(job):
        key = "stopped" if ended and job.stopped else "race_reference"
        words = say(key, lang, i=job.done, n=reference.steps)
        yield {"line": progress_bar([words], job.done / reference.steps)}
    if job.last is not None and not job.stopped:
        shared(References)[reference] = job.last.x_t


def stop(race: Race) -> None:
    """Ask the race to end after the step at hand."""
    if isinstance(race, Race):
        race.stopped = True
        if race.job:
            race.job.stop()


def build(fields: Mapping[str, Any]) -> None:
    """Lay out the race and wire it; `fields` are those of a `SamplingForm`."""
    race = gr.State(Race())
    with tool_fold(RACE):
        race_form = form(FIELDS, "race-form")
        with gr.Row(elem_classes="verbs"):
            go = verb("race_go", "race-go", "race")
            halt = gr.Button(label("stop"), elem_id="race-stop", elem_classes="stop")
            line = gr.HTML(elem_classes="status", elem_id="race-status")
        result = gr.HTML(elem_classes="race-result", elem_id="race-result")
        with gr.Column(visible=False) as track:
            lanes = player("race-player")
    queued = progress_on(line)
    inputs = {"race": race, "race_form": race_form, **fields}
    outputs = {"player": lanes, "line": line, "result": result, "track": track}
    raced = go.click(**by_name(start_race, inputs, outputs), **queued)
    raced.success(**by_name(measure_ends, {"race": race}, outputs), **queued | BACKGROUND)
    halt.click(stop, race, None, **QUIET)
    offered = by_name(beside.offer, {"model": fields["model"]}, {"race_form": race_form})
    fields["model"].change(**offered, **QUIET)
