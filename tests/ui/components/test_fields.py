"""A form as one component: what may be sent for it, what a handler changes of it, its languages."""

import json
from typing import Any

import pytest

from sd.common.validation import InputError
from sd.ui import mistakes
from sd.ui.adapter.checks import read_value
from sd.ui.components import fields
from sd.ui.components.fields import Field, form, patch
from sd.ui.texts import TEXTS

FORM = form(
    [
        Field(name="heading", kind=fields.HEADING, label="more"),
        Field(name="steps", kind=fields.RANGE, label="sample_steps", value=25, low=1, high=1000),
        Field(name="eta", kind=fields.NUMBER, value=0.0, low=0, high=1, step=0.05),
        Field(name="minutes", kind=fields.NUMBER, low=1, high=60, is_optional=True),
        Field(name="seed", kind=fields.SEED, value=0),
        Field(
            name="sampler",
            kind=fields.CHOICE,
            label="sampler",
            value="ddim",
            choices=[("ddim", "ddim")],
        ),
        Field(name="model", kind=fields.CHOICE, value="a", is_open=True),
        Field(name="clip", kind=fields.FLAG, label="clip", value=True),
        Field(name="words", kind=fields.TEXT, value="", longest=5),
    ],
    "form",
)
FIRST = {
    **{"steps": 25, "eta": 0.0, "minutes": None, "seed": 0, "sampler": "ddim"},
    **{"model": "a", "clip": True, "words": ""},
}


def test_a_form_is_read_field_by_field_and_what_is_not_sent_is_as_it_begins() -> None:
    assert read_value(FORM, dict(FIRST)) == FIRST == FORM.value
    assert read_value(FORM, {}) == FIRST
    sent = {"steps": 7.0, "eta": 1, "minutes": 3, "seed": 5, "model": "b", "words": "cat"}
    assert read_value(FORM, sent) == {**FIRST, **sent}
    assert 0 <= read_value(FORM, {"seed": -1})["seed"] < 10**6  # -1 draws one


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        ({"steps": 0}, "Steps = 0: must be a whole number from 1 to 1000"),
        ({"steps": 2.5}, "Steps = 2.5: must be a whole number from 1 to 1000"),
        ({"steps": None}, "Steps = None: must be a whole number from 1 to 1000"),
        ({"eta": 1.5}, "eta = 1.5: must be a number from 0 to 1"),
        ({"minutes": 61}, "minutes = 61: must be a whole number from 1 to 60"),
        ({"sampler": "ddin"}, "Sampler = 'ddin': must be one of ddim; did you mean 'ddim'?"),
        ({"clip": 1}, "Clip x0 = 1: must be True or False"),
        ({"words": "kitten"}, "words: 6 characters; at most 5 are allowed"),
        ({"modle": "b"}, "did you mean 'model'?"),
        (None, "html = None: must be the fields of a form"),
        ([], "html = []: must be the fields of a form"),
    ],
)
def test_what_a_field_cannot_hold_is_one_line(sent: Any, line: str) -> None:
    with pytest.raises(InputError) as refusal:
        read_value(FORM, sent)
    assert line in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_patch_says_only_what_changes() -> None:
    assert patch({"steps": 3}, choices={"model": [("ddim", "b")]}, shown={"seed": False}) == {
        "patch": {
            "values": {"steps": 3},
            "choices": {"model": [[fields.words("ddim"), "b"]]},
            "shown": {"seed": False},
            "enabled": {},
            "faults": None,
            "seen": None,
        }
    }


def test_a_patch_says_what_was_seen_of_what_it_changes() -> None:
    told = patch({"steps": 3}, seen={"steps": 25, "seed": 0})["patch"]
    assert told["seen"] == {"steps": 25}
    assert patch(faults={"eta": "no"})["patch"]["faults"] == {"eta": "no"}


def test_the_words_of_a_field_go_to_the_browser_in_every_language() -> None:
    described = json.loads(FORM.js_on_load.partition("}, ")[2].removesuffix(");"))["fields"]
    steps = next(each for each in described if each["name"] == "steps")
    assert steps["label"] == {language: TEXTS[language]["sample_steps"] for language in TEXTS}
    assert fields.words("no key of a text") == dict.fromkeys(TEXTS, "no key of a text")


def test_a_fault_is_said_in_the_language_of_the_page() -> None:
    line = "steps = 0: must be a whole number from 1 to 9"
    with mistakes.speak("zh"):
        assert "整数" in patch(faults={"steps": line})["patch"]["faults"]["steps"]
    assert patch(faults={"steps": line, "seed": ""})["patch"]["faults"] == {
        "steps": line,
        "seed": "",
    }
    assert patch()["patch"]["faults"] is None
