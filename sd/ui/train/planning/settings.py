"""The settings as fields: one for every key of the configuration, made from its own description.

The fields are the one truth of the page: whatever starts or plans takes all of them, by their keys,
and reads them here, so that nothing that was typed can be missed.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from sd.checkpoints.record import name_of
from sd.common import validation
from sd.common.validation import InputError
from sd.config import KEYS, SECTIONS, Config, ini, preset_names
from sd.config.fields import LONGEST_PATH
from sd.config.sections import AUTO_START, AUTOENCODERS, CONDITIONING_KINDS, LORA_TARGETS
from sd.diffusion.schedule import SCHEDULES, Schedule
from sd.generation import registry
from sd.networks.blueprint import check_network
from sd.training.planning import memory
from sd.ui import models, state
from sd.ui.components import fields
from sd.ui.components.fields import Field, Values, patch

DEVICES = ("auto", "cpu", "cuda", "mps")
# Where training starts from no model, or from a bundled one that fits.
STARTS = [("start_nothing", ""), ("start_auto", AUTO_START)]
PLAN_MINUTES = "plan_minutes"  # a field beside the settings: any number of minutes
FIRST = preset_names()[0]  # with which the page opens
SECTION_OF = {key: section for section, keys in KEYS.items() for key in keys}
# These lie beside the pictures that they change; all others are in the four folded groups.
KEYS_BESIDE_PICTURES = (
    "start_from",
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
    "lora_targets": LORA_TARGETS,
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
WIDE = ("save_path", "dataset_path", "encoder", "autoencoder", "start_from")
LISTS = ("classes", "sample_prompts")
PICTURE_SETTINGS = (  # kept with a new preset
    *("classes", "flip", "shift", "rotation", "brightness", "start_from"),
)
KEPT_WITH_A_PLAN = (*PICTURE_SETTINGS, "kind", "seed", "device", PLAN_MINUTES)


def widget_kind(key: str) -> str:
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
    return kinds.get(KEYS[SECTION_OF[key]][key].type, "text")


def to_widget(key: str, config: Config) -> Any:
    """Return the value of one setting as its field shows it."""
    how, value = widget_kind(key), getattr(getattr(config, SECTION_OF[key]), key)
    if how == "list":
        return list(value or ())
    if key == "start_from":
        return "" if value is None else name_of(value)
    if how in ("text", "path"):
        return "" if value is None else str(value) if how == "path" else ini.spell(value)
    return value


def widget_values(config: Config) -> dict[str, Any]:
    """Return key -> what its field shows."""
    return {key: to_widget(key, config) for key in SECTION_OF}


def field_of(key: str, config: Config) -> Field:
    """Return one key as a field, under its own name in every language."""
    value = to_widget(key, config)
    info = f"pick_{key}_info" if key in ("classes", "kind") else f"about_{key}"
    usual: dict[str, Any] = {"name": key, "value": value, "info": info}
    if key in KEYS_BESIDE_PICTURES:
        usual["label"] = f"pick_{key}"
    if key == "start_from":  # `offer_models` brings the models
        return Field(kind=fields.CHOICE, choices=STARTS, is_open=True, **usual)
    how = widget_kind(key)
    if how == "slider":
        high, step = RANGES[key]
        return Field(kind=fields.RANGE, low=0, high=high, step=step, **usual)
    if how == "number":
        fine = FINE.get(key, 1 if isinstance(value, int) else 0.1)
        return Field(kind=fields.NUMBER, step=fine, **usual)
    if how == "words":
        choices = [(choice_word(key, word), word) for word in OPTIONS[key]]
        return Field(kind=fields.CHOICE, choices=choices, **usual)
    if how == "list":
        return Field(kind=fields.WORDS, is_open=True, **usual)
    return Field(kind=fields.FLAG if how == "flag" else fields.TEXT, **usual)


def choice_word(key: str, word: str) -> str:
    """Return the key of the text for a word of a list, or the word itself."""
    if key == "fit":
        return f"fit_{word}"
    if key == "lora_targets":
        return f"lora_{word}"
    return f"kind_{word}" if key == "kind" else word


def list_fields(config: Config) -> list[Field]:
    """Return the whole form: each group's heading, then its fields."""
    run = [
        Field(name="seed", kind=fields.SEED, label="seed", info="train_seed_info", value=0),
        Field(
            name="device",
            kind=fields.CHOICE,
            label="device",
            info="device_info",
            value="auto",
            choices=[(name, name) for name in DEVICES],
        ),
        Field(
            name=PLAN_MINUTES,
            kind=fields.NUMBER,
            label="plan_minutes",
            info="plan_minutes_info",
            value=3,
        ),
    ]
    groups = {"run": run, "pictures": [field_of(key, config) for key in KEYS_BESIDE_PICTURES]}
    for section, keys in KEYS.items():
        own = [key for key in keys if key not in KEYS_BESIDE_PICTURES]
        groups[section] = [field_of(key, config) for key in own]
    form: list[Field] = []
    for name, members in groups.items():
        form.append(Field(name=f"group_{name}", kind=fields.HEADING, label=f"group_{name}"))
        form += members
    return form


def build_form(elem_id: str) -> gr.HTML:
    """Lay out the whole form; what is sent for it is read by `read_values`."""
    built = fields.form(list_fields(read_preset(FIRST)), elem_id)
    setattr(built, "read_sent", read_values)  # noqa: B010 (a name of ours)
    return built


def read_values(name: str, value: Any) -> Values | None:
    """Return what was sent for the form, each key still to be checked; None before it is drawn.

    So what is wrong with one field is told beside it (`read_config`).
    """
    if not isinstance(value, dict):
        raise InputError(f"{name} = {validation.shown(value)}: must be the fields of a form")
    if "patch" in value:
        return None
    known = {**SECTION_OF, "seed": "", "device": "", PLAN_MINUTES: ""}
    for key in value.keys() - known.keys():
        validation.choice(f"{name}: field", key, sorted(known))
    return {**first_values(), **value}


def first_values() -> Values:
    """Return what the form holds at first."""
    return {**widget_values(read_preset(FIRST)), "seed": 0, "device": "auto", PLAN_MINUTES: 3}


def values_of(form: Values | None, config: Config) -> Values:
    """Return what the form holds; before it is drawn, what these settings make of it."""
    return first_values() | widget_values(config) if form is None else form


def from_widget(key: str, value: object) -> Any:
    """Return what a field's content means, checked by the key's own check."""
    section = SECTION_OF[key]
    name, how = f"{section}.{key}", widget_kind(key)
    if how in ("text", "path"):
        text = validation.text(name, "" if value is None else value, LONGEST_PATH)
        value = text if how == "path" else ini.parse_value(text) if text.strip() else None
    return KEYS[section][key].metadata["check"](name, value)


def read_config(values: Mapping[str, object]) -> tuple[Config | None, dict[str, str]]:
    """Return the settings that the fields hold, or None and key -> line for what is wrong."""
    good: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    faults: dict[str, str] = {}
    for key, section in SECTION_OF.items():
        try:
            good[section][key] = from_widget(key, values[key])
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
    if config.conditioning.encoder:
        name = validation.shown(config.conditioning.encoder)
        line = f"conditioning.encoder = {name}: the page loads no other's model; use the command"
        return {"encoder": line}
    if config.is_latent and config.first_stage.autoencoder not in AUTOENCODERS:
        name = validation.shown(config.first_stage.autoencoder)
        line = f"first_stage.autoencoder = {name}: the page opens no other's; use the command"
        return {"autoencoder": line}
    try:
        find_start(config)
    except InputError as error:
        return {"start_from": str(error)}
    try:
        check_network(config.unet, *config.latent_shape[1:])
        Schedule.from_config(config.diffusion)
        memory.check(config)
    except InputError as error:
        return {key_of_message(str(error)): str(error)}
    return {}


def require_config(values: Mapping[str, object]) -> Config:
    """Return the settings that the fields hold; raise `InputError` with the first fault."""
    config, faults = read_config(values)
    if config is None or faults:
        raise InputError(next(iter(faults.values())))
    return config


def key_of_message(line: str) -> str:
    """Return the key of which a line tells, "" if it names none."""
    found = NAMED.match(line)
    return found[2] if found and found[2] in KEYS[found[1]] else ""


def offer_classes(
    classes: Mapping[str, int], names: Mapping[str, str], changes: Values
) -> dict[str, Any]:
    """Return the form as it is for a set: no classes where there are none to choose.

    names: class -> what it is called in the page's language. changes: what else becomes another.
    """
    choices = [(f"{names.get(name, name)} ({n:,})", name) for name, n in classes.items()]
    return patch(
        {**changes, "classes": []},
        choices={"classes": choices},
        shown={"classes": len(choices) > 1},
    )


def begin_anew(values: Mapping[str, object]) -> tuple[Config, Values]:
    """Return what a plan for other pictures begins with, and what of the fields that changes.

    What a plan keeps stays, but for the classes, which were those of the pictures before. Raises
    `InputError` where a field that stays is at fault.
    """
    kept = [key for key in (*PICTURE_SETTINGS, "kind") if key != "classes"]
    config = with_picture_settings(read_preset(FIRST), values, kept)
    fields = widget_values(config).items()
    return config, {key: value for key, value in fields if key not in KEPT_WITH_A_PLAN}


def offer_models() -> dict[str, Any]:
    """Return the form with the models that a training can start from."""
    names = [
        each.name for each in registry.list_models(state.home()) if each.checkpoint is not None
    ]
    return patch(choices={"start_from": [*STARTS, *((name, name) for name in names)]})


def find_start(config: Config) -> Path | None:
    """Return where the model lies from which settings start; `InputError` for none of this page."""
    if config.training.start_from in (None, AUTO_START):
        return None
    name = name_of(str(config.training.start_from))
    with suppress(InputError):
        entry = models.find(name)
        if entry.checkpoint is not None:
            return entry.folder
    shown = validation.shown(name)
    raise InputError(f"training.start_from = {shown}: no trained model is called so")


def with_picture_settings(
    config: Config, values: Mapping[str, object], kept: Sequence[str] = PICTURE_SETTINGS
) -> Config:
    """Return settings with what the fields hold of the pictures: their classes and changes."""
    return config.with_settings(
        f"{SECTION_OF[key]}.{key}={ini.spell(from_widget(key, values[key]))}" for key in kept
    )


@lru_cache(maxsize=8)
def read_preset(name: str) -> Config:
    """Return a preset's settings."""
    return Config.preset(name)


def find_nearest_preset(config: Config) -> str:
    """Return the preset from which the fewest settings differ."""
    return min(preset_names(), key=lambda name: len(config.settings_from(read_preset(name))))
