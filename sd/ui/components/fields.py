"""A form as one component of the page: its fields are the browser's own, drawn by `fields.js`.

Its value is {name: value}, and so is what a handler gets. A handler changes it by `patch`. What the
browser sends is read field by field, as `sd.ui.adapter.checks` reads the components of gradio.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from sd.common import validation
from sd.common.validation import InputError
from sd.ui.mistakes import translate
from sd.ui.texts import TEXTS

NUMBER, RANGE, SEED = "number", "range", "seed"
CHOICE, SWITCH, FLAG, TEXT, HEADING = "choice", "switch", "flag", "text", "heading"
WORDS, MOST_WORDS = "words", 1000  # several of the choices; with `is_open` any others, too
LONGEST_TEXT, LONGEST_WORD = 10_000, 200  # characters
FARTHEST = 2**53  # beyond it a browser's numbers are no longer exact
# What describes the form stands in its script: gradio drops every prop but the value of a part that
# gets a value before it is shown.
ON_LOAD = """sdFields.mount(element, props, {
  input: (at) => trigger("input", at), change: (at) => trigger("change", at), watch,
}, %s);"""
BLANK = '<div class="form-fields"></div>'  # never changes, so gradio never touches what is in it

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field: its kind, its first value, what it can hold, and the keys of its words.

    low, high, step: of numbers; whole ones where step is whole. is_optional: an empty number is
    None. choices: (key of a text, or a word; value) in order. is_open: a handler changes them, so
    any word is read. when: (another field, its values) with which this one is in sight. follows:
    (another field, its value -> this one's), which it takes when a person changes that; others: "".
    """

    name: str
    kind: str
    value: Any = None
    label: str = ""
    info: str = ""
    low: float = -FARTHEST
    high: float = FARTHEST
    step: float = 1
    is_optional: bool = False
    choices: Sequence[tuple[str, Any]] = ()
    is_open: bool = False
    longest: int = LONGEST_TEXT
    lines: int = 1
    when: tuple[str, Sequence[Any]] | None = None
    follows: tuple[str, Mapping[str, str]] | None = None

    def read(self, value: Any) -> Any:
        """Return what was sent for the field; raise `InputError` where it cannot hold it."""
        name = TEXTS["en"].get(self.label, self.name)
        if self.kind == FLAG:
            return validation.flag(name, value)
        if self.kind == TEXT:
            return validation.text(name, value, self.longest)
        if self.kind in (CHOICE, SWITCH):
            if self.is_open:
                return validation.text(name, value, LONGEST_WORD)
            return validation.choice(name, value, [each for _, each in self.choices])
        if self.kind == WORDS:
            return self._read_words(name, value)
        if value is None and self.is_optional:
            return None
        if self.kind == SEED:
            return validation.seed(name, value)
        if self.step == int(self.step):
            return validation.whole(name, value, round(self.low), round(self.high))
        return validation.real(name, value, self.low, self.high)

    def _read_words(self, name: str, value: Any) -> list[str]:
        if not isinstance(value, list) or len(value) > MOST_WORDS:
            shown = validation.shown(value)
            raise InputError(f"{name} = {shown}: must be a list of at most {MOST_WORDS} words")
        if self.is_open:
            return [validation.text(name, each, LONGEST_WORD) for each in value]
        return [validation.choice(name, each, [word for _, word in self.choices]) for each in value]

    def to_json(self) -> dict[str, Any]:
        """Return the field as the browser draws it, its words in every language."""
        more = {"dice": words("dice")} if self.kind == SEED else {}
        return {
            **more,
            "name": self.name,
            "kind": self.kind,
            "value": self.value,
            "label": words(self.label) if self.label else dict.fromkeys(TEXTS, self.name),
            "info": words(self.info) if self.info else None,
            "low": self.low,
            "high": self.high,
            "step": self.step,
            "optional": self.is_optional,
            "open": self.is_open,
            "choices": choices_json(self.choices),
            "longest": self.longest,
            "lines": self.lines,
            "when": self.when and [self.when[0], list(self.when[1])],
            "follows": self.follows and [self.follows[0], dict(self.follows[1])],
        }


def words(key: str) -> dict[str, str]:
    """Return language -> text of a key; a word that is no key is the same in each."""
    return {language: texts.get(key, key) for language, texts in TEXTS.items()}


def choices_json(choices: Sequence[tuple[str, Any]]) -> list[list[Any]]:
    """Return [words, value] of each choice."""
    return [[words(key), value] for key, value in choices]


def form(fields: Sequence[Field], elem_id: str, is_kept: bool = True, **more: Any) -> gr.HTML:
    """Lay out fields in order.

    The form's `input` event tells what a person changed: {"name": ...}; `change` comes with every
    change, a handler's as well. The address of the page keeps under `elem_id` what differs from the
    first values, if it `is_kept`.
    """
    component = gr.HTML(
        {field.name: field.value for field in fields if field.kind != HEADING},
        html_template=BLANK,
        js_on_load=ON_LOAD % describe(fields, elem_id if is_kept else ""),
        apply_default_css=False,
        elem_id=elem_id,
        **more,
    )
    setattr(component, "read_sent", partial(read_fields, fields))  # noqa: B010 (a name of ours)
    return component


def describe(fields: Sequence[Field], name: str) -> str:
    """Return a form as JSON, as the browser draws it; without a name no address keeps it."""
    described = {"form": name, "fields": [field.to_json() for field in fields]}
    return json.dumps(described, ensure_ascii=False)


def read_fields(fields: Sequence[Field], name: str, value: Any) -> Values:
    """Return the value of every field of a form; raise `InputError` at the first that is wrong."""
    if not isinstance(value, dict):
        raise InputError(f"{name} = {validation.shown(value)}: must be the fields of a form")
    known = {field.name: field for field in fields if field.kind != HEADING}
    if isinstance(waiting := value.get("patch"), dict):  # no browser has drawn the form yet
        waiting = waiting.get("values")
        value = waiting if isinstance(waiting, dict) else {}
    for key in value.keys() - known.keys():
        validation.choice(f"{name}: field", key, sorted(known))
    return {
        key: field.read(value[key]) if key in value else field.value for key, field in known.items()
    }


def patch(
    values: Mapping[str, Any] | None = None,
    *,
    choices: Mapping[str, Sequence[tuple[str, Any]]] | None = None,
    shown: Mapping[str, bool] | None = None,
    enabled: Mapping[str, bool] | None = None,
    faults: Mapping[str, str] | None = None,
    seen: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what a handler gives back for a form: what of it changes, the rest stays.

    faults: name -> the line below a field in English, "" for none; those of all others go.
    seen: the values that the handler was given: one that a person changed meanwhile stays.
    """
    return {
        "patch": {
            "values": dict(values or {}),
            "choices": {name: choices_json(each) for name, each in (choices or {}).items()},
            "shown": dict(shown or {}),
            "enabled": dict(enabled or {}),
            "faults": faults and {name: translate(line) for name, line in faults.items()},
            "seen": seen and {name: seen[name] for name in values or {} if name in seen},
        }
    }
