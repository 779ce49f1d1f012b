"""The named endpoints for programs (gradio_client): the tabs' own work behind plain arguments.

Their fields are never shown; like the tabs' they lead through the one gate.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from sd import runs
from sd.common import validation
from sd.common.validation import InputError
from sd.config import Config, preset_names
from sd.config.sections import MOST_MINUTES, MOST_STEPS
from sd.diffusion import timesteps
from sd.generation import registry
from sd.ui import models, state, uploads
from sd.ui.adapter.served_files import store_picture
from sd.ui.components.handlers import MODEL, SURVEY, UPLOAD, guarded
from sd.ui.denoise import form, prompts, samplers
from sd.ui.denoise.grid import MOST_GUIDANCE
from sd.ui.denoise.job import Job, watch
from sd.ui.noise import exact
from sd.ui.train.planning import plan_view

SIZES, RATES, MOST_BATCH = (8, 256), (1e-7, 1.0), 1024
MOST_TIMES = 100_000  # of any schedule; the handler knows its own
SAMPLES_WANTED = 10  # at least so often, a short run shows samples
SAMPLE_EVERY = 50  # steps, for presets that would show samples only at the end


@guarded
def noise_picture(picture: Any, t: Any, preset: Any, seed: Any) -> tuple[Any, dict[str, Any]]:
    """Return a picture at time t, and the factors of x_t = signal x_0 + noise eps."""
    if picture is None:
        raise InputError("picture: give a picture file")
    view = exact.noise_picture(picture, preset, t, seed)
    facts = {key: value for key, value in view._asdict().items() if key != "image"}
    return store_picture(view.image), {**facts, "log_snr": view.log_snr if view.t else None}


@guarded
def denoise_pictures(
    model: Any,
    sampler: Any,
    steps: Any,
    seed: Any,
    count: Any,
    eta: Any,
    variance: Any,
    spacing: Any,
    clip_x0: Any,
    prompt: Any = "",
    negative: Any = "",
    guidance: Any = samplers.FIRST_GUIDANCE,
    unconditional: Any = False,
    size: Any = "",
) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Sample from a model; yield x_t, the estimate of x0 and the step, every second or two.

    `steps` has the numbers of each kept step since the last answer: i, t, norms, log SNR. prompt:
    captions or classes, one a line, which the pictures take in turn; held against `negative`.
    Without one a model that knows some is asked for what its own samples were; `unconditional`
    asks for nothing. `prompts` tells what was asked for. size: HEIGHTxWIDTH or a side; "" is the
    model's own.
    """
    entry = models.find(model)
    conditioning = prompts.plain_settings(entry, prompt, negative, guidance, unconditional)
    recipe = models.make_recipe(
        model,
        sampler=sampler,
        steps=steps,
        eta=eta,
        variance=variance,
        spacing=spacing,
        clip_x0=clip_x0,
        seed=seed,
        count=count,
        size=form.read_size({"size": size}),
        **conditioning,
    )
    job = Job(recipe, pictured=True)
    seen = 0
    for _ in watch(job):
        if (film := job.film_json()) is None or job.last is None or not job.pictures:
            continue
        step, frames = job.last, film["frames"][seen:]
        seen += len(frames)
        facts: dict[str, Any] = {"seed": recipe.seed, "prompts": list(recipe.prompts)}
        facts |= {"step": step.i, "of": job.recipe.steps, "t": step.t, "clipped": step.clipped}
        x_t, x0 = map(store_picture, job.pictures)
        yield x_t, x0, {**facts, "steps": frames}


@guarded
def inspect_data(files: Any) -> dict[str, Any]:
    """Keep pictures (one zip or many files; none: the starter set) and report on them.

    `data` is what /start_training takes.
    """
    handle, report = uploads.inspect(files)
    return {"data": handle, **report.to_json()}


@guarded
def start_training(
    data: Any,
    preset: Any,
    size: Any,
    steps: Any,
    batch_size: Any,
    learning_rate: Any,
    seed: Any,
    device: Any,
    minutes: Any = 0,
) -> dict[str, Any]:
    """Start a run; size, steps, batch_size and learning_rate 0 are the preset's.

    minutes: so long it trains, whatever the steps; 0 is until they are done.
    """
    config = config_of(preset, size, steps, batch_size, learning_rate)
    if is_given(minutes):
        minutes = validation.real("minutes", minutes, 0.1, MOST_MINUTES)
        config = config.with_settings([f"training.minutes={minutes}"])
    seed = validation.seed("seed", seed)
    return {"run": plan_view.start_run(data, config, seed, device), "seed": seed}


def config_of(preset: Any, size: Any, steps: Any, batch: Any, rate: Any) -> Config:
    """Return a preset's settings with those that are given; 0 or None leaves the preset's."""
    config = Config.preset(validation.choice("preset", preset, preset_names()))
    wanted: dict[str, Any] = {}
    if is_given(size):
        side = validation.whole("size", size, *SIZES)
        wanted |= {"input_height": side, "input_width": side}
    if is_given(steps):
        wanted["steps"] = validation.whole("steps", steps, 1, MOST_STEPS)
        usual = config.training.sample_every or SAMPLE_EVERY
        wanted["sample_every"] = min(usual, max(1, wanted["steps"] // SAMPLES_WANTED))
    if is_given(batch):
        wanted["batch_size"] = validation.whole("batch size", batch, 1, MOST_BATCH)
    if is_given(rate):
        wanted["learning_rate"] = validation.real("learning rate", rate, *RATES)
    return config.with_settings([f"training.{key}={value}" for key, value in wanted.items()])


def is_given(value: Any) -> bool:
    """Tell whether a value was given; 0 and None were not, and False is a mistake to be told."""
    return value is not None and (value != 0 or value is False)


@guarded
def training_status(run: Any) -> dict[str, Any]:
    """Return a run's state, step, total, loss, pictures per second, memory and seconds left."""
    return status_of(state.home().find_run(run))


def status_of(folder: Path) -> dict[str, Any]:
    """Return a run's state for programs."""
    return asdict(runs.status(folder))


@guarded
def stop_training(run: Any) -> dict[str, Any]:
    """Ask a run to finish its step, save and leave."""
    folder = state.home().find_run(run)
    if runs.status(folder).state != "stopping":  # a second one would leave at once
        runs.stop(folder)
    return status_of(folder)


@guarded
def resume_training(run: Any, steps: Any) -> dict[str, Any]:
    """Let a run that ended go on, up to `steps` in all; 0 leaves its plan."""
    home = state.home()
    folder = home.find_run(run)
    total = validation.whole("steps", steps, 1, MOST_STEPS) if is_given(steps) else None
    runs.resume(home, folder, total)
    return status_of(folder)


@guarded
def list_models() -> list[dict[str, Any]]:
    """Return the models that /denoise takes."""
    return [
        {"name": entry.name, "step": entry.step, "bundled": entry.bundled}
        for entry in registry.list_models(state.home())
    ]


class Parts:
    """The fields of all endpoints, none of which is shown: two that are alike are one."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def make(self, label: str, kind: partial[Any]) -> Any:
        """Return the field of a label that a kind describes."""
        key = (label, kind.func, kind.args, *sorted(kind.keywords.items()))
        if key not in self._made:
            self._made[key] = kind(label=label, visible=False)
        return self._made[key]

    def endpoint(
        self,
        name: str,
        handler: Callable[..., Any],
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        **more: Any,
    ) -> None:
        """Offer `handler` under a name; nothing on the page triggers it.

        inputs: parameter of the handler -> what makes its field. outputs: label -> the same.
        """
        gr.on(
            [],
            handler,
            outputs=[self.make(label, kind) for label, kind in outputs.items()],
            inputs_kwargs={label: self.make(label, kind) for label, kind in inputs.items()},
            api_name=name,
            **more,
        )


def text(value: str | None = None) -> partial[Any]:
    """Declare an argument that is a text."""
    return partial(gr.Textbox, value)


def number(value: float | None, low: float, high: float) -> partial[Any]:
    """Declare an argument that is a number in [low, high]."""
    return partial(gr.Number, value, minimum=low, maximum=high)


def whole(value: int | None, low: int, high: int) -> partial[Any]:
    """Declare an argument that is a whole number in [low, high]."""
    return partial(number(value, low, high), precision=0)


def flag(value: bool) -> partial[Any]:
    """Declare an argument that is True or False."""
    return partial(gr.Checkbox, value)


def files(count: Any) -> partial[Any]:
    """Declare an argument that is one file, or several."""
    return partial(gr.File, file_count=count)


JSON = {"answer": partial(gr.JSON)}
PNG = partial(gr.Image, format="png")
# -1 draws a seed, which the answer tells.
SEED = whole(0, validation.RANDOM_SEED, validation.LARGEST_SEED)
NOISE = {
    "picture": files("single"),
    "t": whole(None, 0, MOST_TIMES),
    "preset": text("tiny"),
    "seed": SEED,
}
SAMPLING = {
    "model": text("emoji32"),
    "sampler": text("ddim"),
    "steps": whole(50, 1, models.CAPS.steps),
    "seed": SEED,
    "count": whole(1, 1, models.CAPS.count),
    "eta": number(0, 0, 1),
    "variance": text(timesteps.VARIANCES[0]),
    "spacing": text(timesteps.SPACINGS[0]),
    "clip_x0": flag(True),
    "prompt": text(""),
    "negative": text(""),
    "guidance": number(samplers.FIRST_GUIDANCE, 0, MOST_GUIDANCE),
    "unconditional": flag(False),
    "size": text(""),
}
TRAINING = {
    "data": text("starter"),
    "preset": text("tiny"),
    "size": whole(0, 0, SIZES[1]),
    "steps": whole(0, 0, MOST_STEPS),
    "batch_size": whole(0, 0, MOST_BATCH),
    "learning_rate": number(0, 0, RATES[1]),
    "seed": SEED,
    "device": text("auto"),
    "minutes": number(0, 0, MOST_MINUTES),
}


def build() -> None:
    """Declare the endpoints; what a program sends is checked as what a browser sends."""
    endpoint = Parts().endpoint
    run, steps = text(), whole(0, 0, MOST_STEPS)
    endpoint("noise", noise_picture, NOISE, {"x_t": PNG, **JSON}, concurrency_limit=2)
    endpoint("denoise", denoise_pictures, SAMPLING, {"x_t": PNG, "x0": PNG, **JSON}, **MODEL)
    endpoint("inspect_data", inspect_data, {"files": files("multiple")}, JSON, **UPLOAD)
    endpoint("start_training", start_training, TRAINING, JSON, **SURVEY)
    endpoint("training_status", training_status, {"run": run}, JSON)
    endpoint("stop_training", stop_training, {"run": run}, JSON)
    endpoint("resume_training", resume_training, {"run": run, "steps": steps}, JSON)
    endpoint("list_models", list_models, {}, JSON)
