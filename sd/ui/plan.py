"""The Train tab's settings: from a preset to the fields, and from the fields to a checked plan."""

from functools import lru_cache
from typing import Any, NamedTuple

import gradio as gr

from sd import gate, runs
from sd.config import Config, preset_names
from sd.ui import pictures
from sd.ui.parts import LARGEST_SEED, guarded

DEVICES = ("auto", "cpu", "cuda", "mps")
SAMPLES_WANTED = 10  # at least so often, a short run shows samples
SAMPLE_EVERY = 50  # steps, for presets that would show samples only at the end


class Plan(NamedTuple):
    """What `runs.start` takes."""

    data: str
    preset: str
    settings: list[str]
    seed: int
    device: str


@lru_cache(maxsize=8)
def preset_of(name: str) -> Config:
    """Return a preset's settings."""
    return Config.preset(name)


def make(
    data: Any, preset: Any, size: Any, steps: Any, batch: Any, rate: Any, seed: Any, device: Any
) -> Plan:
    """Return the plan that the fields describe, each checked; only what differs is a setting."""
    preset = gate.choice("preset", preset, preset_names())
    usual = preset_of(preset).training
    size = gate.whole("size", size, 8, 256)
    steps = gate.whole("steps", steps, 0, 10_000_000)
    wanted = {
        "input_height": size,
        "input_width": size,
        "steps": steps,
        "batch_size": gate.whole("batch size", batch, 1, 1024),
        "learning_rate": gate.real("learning rate", rate, 1e-7, 1.0),
        "sample_every": sample_every(steps, usual.sample_every or SAMPLE_EVERY),
    }
    settings = [
        f"training.{key}={value}" for key, value in wanted.items() if value != getattr(usual, key)
    ]
    seed = gate.whole("seed", seed, 0, LARGEST_SEED)
    device = gate.choice("device", device, DEVICES)
    return Plan(pictures.source_of(data), preset, settings, seed, device)


def sample_every(steps: int, usual: int) -> int:
    """Return the steps between samples: the usual number, fewer in a short run."""
    return min(usual, max(1, steps // SAMPLES_WANTED)) if steps else usual


def launch(plan: Plan) -> str:
    """Start training as planned, if the device is there; return the run's name."""
    from sd.device import choose

    choose(plan.device)
    return runs.start(*plan).name


@guarded
def fill(preset: Any) -> tuple[int, int, int, float]:
    """Return size, steps, batch size and learning rate of a preset."""
    training = preset_of(gate.choice("preset", preset, preset_names())).training
    return training.input_width, training.steps, training.batch_size, training.learning_rate


def command(*fields: Any) -> str:
    """Return the command line of the fields; nothing while a field is being typed."""
    try:
        return runs.command(*make(*fields))
    except gate.InputError:
        return ""


@guarded
def start(
    data: Any, preset: Any, size: Any, steps: Any, batch: Any, rate: Any, seed: Any, device: Any
) -> tuple[Any, ...]:
    """Start a run; return it for the list of runs and the browser's memory; forget the last."""
    from sd.ui.watch import names_of_runs

    name = launch(make(data, preset, size, steps, batch, rate, seed, device))
    names = list(dict.fromkeys([name, *names_of_runs()]))
    return gr.update(choices=names, value=name), {"run": name}, {}
