"""The settings as fields: one for every key of the configuration, made from its own description.

The fields are the one truth of the page: whatever starts, plans or describes takes all of them and
reads them here, so that nothing that was typed can be missed.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import gradio as gr

from sd.common import validation
from sd.common.validation import InputError
from sd.config import KEYS, SECTIONS, Config, ini, preset_names
from sd.config.fields import LONGEST_PATH
from sd.config.sections import CONDITIONING_KINDS
from sd.diffusion.schedule import SCHEDULES, Schedule
from sd.networks.blueprint import check_network
from sd.ui.components.widgets import label

FIRST = preset_names()[0]  # with which the page opens
ORDER = tuple((section, key) for section, keys in KEYS.items() for key in keys)
# These lie beside the pictures that they change; all others are in the four folded groups.
KEYS_BESIDE_PICTURES = (
    "classes",
    "kind",
    "fit",
    "held_out",
    "flip",
    "shift",
    "rotation",
    "brightness",
)
OPTIONS = {
    "kind": ("auto", *CONDITIONING_KINDS),
    "fit": ("crop", "pad", "stretch"),
    "optimizer": ("adamw", "muon"),
    "precision": ("float32", "bfloat16"),
    "weights_dtype": ("float32", "float16"),
    "schedule": SCHEDULES,
    "prediction": ("eps", "x0", "v"),
}
RANGES = {  # of what is shown as a slider: greatest value, step
    "held_out": (0.5, 0.01),
    "shift": (0.25, 0.01),
    "rotation": (45, 0.5),
    "brightness": (0.5, 0.01),
}
FINE = {"learning_rate": 0.0001, "ema_decay": 0.001, "weight_decay": 0.01, "vocabulary": 100}
FINE |= {"dropout": 0.05, "drop": 0.05}
NAMED = re.compile(rf"\[?({'|'.join(SECTIONS)})\.(\w+)")  # how a line about a setting begins
WIDE = ("save_path", "dataset_path", "encoder")
LISTS = ("classes", "sample_prompts")
PICTURE_SETTINGS = ("classes", "flip", "shift", "rotation", "brightness")  # kept with a new preset


def widget_kind(section: str, key: str) -> str:
    """Return how a key is shown: list, words, slider, flag, number, path or text."""
    if key in LISTS:
        return "list"
    if key in OPTIONS:
        return "words"
    if key in RANGES:
        return "slider"
    if key in WIDE:
        return "path"
    kinds: dict[Any, str] = {bool: "flag", int: "number", float: "number"}
    return kinds.get(KEYS[section][key].type, "text")


def to_widget(section: str, key: str, value: Any) -> Any:
    """Return a setting's value as its field shows it."""
    how = widget_kind(section, key)
    if how == "list":
        return list(value or ())
    if how in ("text", "path"):
        return "" if value is None else str(value) if how == "path" else ini.spell(value)
    return value


def widget_values(config: Config) -> list[Any]:
    """Return the values of all fields, in their order."""
    return [to_widget(name, key, getattr(getattr(config, name), key)) for name, key in ORDER]


def build_field(section: str, key: str, value: Any, name: Any = None) -> Any:
    """Show one key with its sentence; `name`: another label than the key itself."""
    how = widget_kind(section, key)
    usual: dict[str, Any] = {
        "value": to_widget(section, key, value),
        "label": name or key,
        "info": label(f"pick_{key}_info" if key in ("classes", "kind") else f"about_{key}"),
        "elem_id": f"set-{key}",
        "min_width": 120,
    }
    if how == "flag":
        return gr.Checkbox(**usual)
    if how == "slider":
        most, step = RANGES[key]
        return gr.Slider(0, most, step=step, buttons=[], **usual)
    if how == "number":
        return gr.Number(step=FINE.get(key, 1 if isinstance(value, int) else 0.1), **usual)
    if how == "words":
        return gr.Dropdown(
            [choice_label(key, word) for word in OPTIONS[key]], filterable=False, **usual
        )
    if how == "list":
        usual["visible"] = key != "classes"  # a set without classes has none to choose
        return gr.Dropdown([], multiselect=True, allow_custom_value=True, **usual)
    return gr.Textbox(max_lines=1, **usual)


def choice_label(key: str, word: str) -> Any:
    """Return a word of a list, under its name on the page where it has one."""
    if key == "fit":
        return label(f"fit_{word}"), word
    return (label(f"kind_{word}"), word) if key == "kind" else word


def build_group(section: str, config: Config) -> dict[str, Any]:
    """Show the keys of one group that do not lie beside the pictures."""
    values = getattr(config, section)
    return {
        key: build_field(section, key, getattr(values, key))
        for key in KEYS[section]
        if key not in KEYS_BESIDE_PICTURES
    }


def from_widget(section: str, key: str, value: Any) -> Any:
    """Return what a field's content means, checked by the key's own check."""
    name, how = f"{section}.{key}", widget_kind(section, key)
    if how in ("text", "path"):
        text = validation.text(name, "" if value is None else value, LONGEST_PATH)
        value = text if how == "path" else ini.parse_value(text) if text.strip() else None
    return KEYS[section][key].metadata["check"](name, value)


def read_config(values: Sequence[Any]) -> tuple[Config | None, dict[str, str]]:
    """Return the settings that the fields hold, or None and key -> line for what is wrong."""
    good: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    faults: dict[str, str] = {}
    for (section, key), value in zip(ORDER, values, strict=True):
        try:
            good[section][key] = from_widget(section, key, value)
        except InputError as error:
            faults[key] = str(error)
    if faults:
        return None, faults
    try:
        made: dict[str, Any] = {name: SECTIONS[name](**good[name]) for name in SECTIONS}
        config = Config(**made)
    except InputError as error:
        return None, {key_of_message(str(error)): str(error)}
    return config, find_faults(config)


def find_faults(config: Config) -> dict[str, str]:
    """Return key -> line for what cannot be trained although each key alone is fine."""
    training = config.training
    if config.conditioning.encoder:
        told = validation.shown(config.conditioning.encoder)
        line = f"conditioning.encoder = {told}: the page loads no other's model; use the command"
        return {"encoder": line}
    try:
        check_network(config.unet, training.input_height, training.input_width)
        Schedule.from_settings(config.diffusion)
        check_memory(config)
    except InputError as error:
        return {key_of_message(str(error)): str(error)}
    return {}


def check_memory(config: Config) -> None:
    """Raise `InputError` with a smaller value where the memory does not suffice."""
    from sd.training.planning import memory

    memory.check(config)


def require_config(values: Sequence[Any]) -> Config:
    """Return the settings that the fields hold; raise `InputError` with the first fault."""
    config, faults = read_config(values)
    if config is None or faults:
        raise InputError(next(iter(faults.values())))
    return config


def key_of_message(line: str) -> str:
    """Return the key of which a line tells, "" if it names none."""
    found = NAMED.match(line)
    return found[2] if found and found[2] in KEYS[found[1]] else ""


def read_field(section: str, key: str, values: Sequence[Any]) -> Any:
    """Return what the field of one key means."""
    return from_widget(section, key, values[ORDER.index((section, key))])


def offer_classes(classes: dict[str, int]) -> Any:
    """Return the field of classes as it is for a set: hidden where there is nothing to choose."""
    choices = [(f"{name} ({count:,})", name) for name, count in classes.items()]
    return gr.update(choices=choices, value=[], visible=len(choices) > 1)


def with_picture_settings(
    config: Config, values: Sequence[Any], kept: Sequence[str] = PICTURE_SETTINGS
) -> Config:
    """Return settings with what the fields hold of the pictures: their classes and changes."""
    chosen = {}
    for (section, key), value in zip(ORDER, values, strict=True):
        if key in kept:
            chosen[f"{section}.{key}"] = from_widget(section, key, value)
    return config.with_settings(f"{name}={ini.spell(value)}" for name, value in chosen.items())


@lru_cache(maxsize=8)
def read_preset(name: str) -> Config:
    """Return a preset's settings."""
    return Config.preset(name)


def find_nearest_preset(config: Config) -> str:
    """Return the preset from which the fewest settings differ."""
    return min(preset_names(), key=lambda name: len(config.settings_from(read_preset(name))))
