"""The table of checks: what each kind of field can hold, and the line that refuses all else."""

import math
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

import app
from sd.common.validation import InputError
from sd.ui.adapter import checks
from sd.ui.adapter.served_files import FILE_DATA
from sd.ui.components.widgets import label

FIELDS = {
    "slider": lambda: gr.Slider(1, 9, value=2, step=1, precision=0, label=label("sample_steps")),
    "number": lambda: gr.Number(1, label="rate"),
    "bounded": lambda: gr.Number(1, minimum=0, maximum=1, label="eta"),
    "words": lambda: gr.Dropdown([("A", "a"), ("B", "b")], label="kind"),
    "several": lambda: gr.Dropdown(["a"], multiselect=True, label="kinds"),
    "open": lambda: gr.Dropdown([], multiselect=True, allow_custom_value=True, label="names"),
    "later": lambda: gr.Dropdown([], label="run"),
    "boxes": lambda: gr.CheckboxGroup(["a", "b"], label="boxes"),
    "radio": lambda: gr.Radio(["a", "b"], value="a", label="view"),
    "flag": lambda: gr.Checkbox(label="clip"),
    "text": lambda: gr.Textbox(label="path"),
    "short": lambda: gr.Textbox(label="path", max_length=3),
}


@pytest.mark.parametrize(
    ("field", "payload", "value"),
    [
        ("slider", 4.0, 4),
        ("number", 0.001, 0.001),
        ("number", None, None),
        ("bounded", 1, 1),
        ("words", "b", "b"),
        ("words", None, None),
        ("several", ["a", "a"], ["a", "a"]),
        ("open", ["x y", "z"], ["x y", "z"]),
        ("later", "anything", "anything"),
        ("boxes", ["b"], ["b"]),
        ("radio", "a", "a"),
        ("flag", False, False),
        ("text", "é", "é"),
        ("text", None, None),
    ],
)
def test_a_field_passes_what_it_can_hold(field: str, payload: Any, value: Any) -> None:
    read = checks.read_value(FIELDS[field](), payload)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("field", "payload", "line"),
    [
        ("slider", 4.7, "Steps = 4.7: must be a whole number from 1 to 9"),
        ("slider", None, "Steps = None: must be a whole number from 1 to 9"),
        ("slider", 10, "Steps = 10: must be a whole number from 1 to 9"),
        ("number", "x", "rate = 'x': must be a number from -9.0072e+15 to 9.0072e+15"),
        ("number", True, "rate = True: must be a number from -9.0072e+15 to 9.0072e+15"),
        ("bounded", math.nan, "eta = nan: must be a number from 0 to 1"),
        ("words", "c", "kind = 'c': must be one of a, b"),
        ("words", {"a": 1}, "kind = {'a': 1}: must be one of a, b"),
        ("words", ["a"], "kind = ['a']: must be one of a, b"),
        ("several", "a", "kinds = 'a': must be a list of at most 1000 words"),
        ("several", ["b"], "kinds = 'b': must be one of a"),
        ("open", [["a"]], "names = ['a']: must be a text"),
        ("later", 5, "run = 5: must be a text"),
        ("boxes", "a", "boxes = 'a': must be a list of at most 1000 words"),
        ("radio", 1, "view = 1: must be one of a, b"),
        ("flag", None, "clip = None: must be True or False"),
        ("text", 5, "path = 5: must be a text"),
        ("text", "\ud800", "path = '\\ud800': must not hold control or half characters"),
        ("short", "four", "path: 4 characters; at most 3 are allowed"),
    ],
)
def test_a_field_refuses_in_the_words_of_the_gate(field: str, payload: Any, line: str) -> None:
    with pytest.raises(InputError) as refused:
        checks.read_value(FIELDS[field](), payload)
    assert str(refused.value) == line


def test_every_kind_of_input_of_the_page_is_in_the_table() -> None:
    inputs = [field for event in app.build_app().fns.values() for field in event.inputs]
    kinds = {type(field) for field in inputs if not field.stateful}
    assert len(kinds) > 5 and kinds <= checks.CHECKS.keys()


def test_of_an_upload_nothing_but_its_place_and_name_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    field, place = gr.File(label="files", file_count="multiple"), str(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"1234")
    sent = {"path": place, "meta": FILE_DATA}
    more = sent | {"url": "http://127.0.0.1:9/x", "size": "many", "is_stream": True}
    assert checks.read_value(field, [more, sent]) == [place, place]
    assert checks.read_value(field, None) is None
    for wrong in (str(tmp_path), str(tmp_path / "b.png"), str(tmp_path / ".." / "a.png"), "", "\0"):
        with pytest.raises(InputError, match="must be a file that was uploaded"):
            checks.read_value(field, [sent | {"path": wrong}])
    monkeypatch.setattr(checks, "LONGEST_ARCHIVE", 7)
    with pytest.raises(InputError, match="files: 8 bytes; at most 7"):
        checks.read_value(field, [sent, sent])
    monkeypatch.setattr(checks, "MOST_FILES", 1)
    with pytest.raises(InputError, match="files: 2 files; at most 1"):
        checks.read_value(field, [sent, sent])


def test_a_field_for_one_file_takes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"1234")
    sent = {"path": str(tmp_path / "a.png"), "meta": FILE_DATA}
    field = gr.UploadButton(label="file")
    assert checks.read_value(field, sent) == sent["path"]
    with pytest.raises(InputError, match="must be a file that was uploaded"):
        checks.read_value(field, [sent])


def test_an_upload_knows_what_it_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    field = gr.UploadButton(label="folder", file_count="directory")
    (tmp_path / "what.png").write_bytes(b"1234")
    sent = {"path": str(tmp_path / "what.png"), "meta": FILE_DATA}
    uploads = checks.read_value(
        field, [sent | {"orig_name": "cats/what?!.png"}, sent, sent | {"orig_name": 7}]
    )
    assert uploads == [sent["path"]] * 3
    names = [checks.original_name(each) for each in uploads]
    assert names == ["cats/what?!.png", "what.png", "what.png"]
    with pytest.raises(InputError, match="folder: a file name of 99999 characters; at most"):
        checks.read_value(field, [sent | {"orig_name": "x" * 99_999}])
