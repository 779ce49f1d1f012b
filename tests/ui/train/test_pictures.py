"""The pictures of the Train tab: uploads, their report and preview, and what a model is told."""

import re
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app import build_app
from sd import runs
from sd.common.validation import InputError
from sd.config import Config
from sd.data.image_set import read_images
from sd.data.reading.report import Report
from sd.ui import uploads
from sd.ui.state import shared
from sd.ui.surveys import Surveys
from sd.ui.train import pictures, report_view
from sd.ui.uploads import drained
from tests.helpers.planning import (
    ENGLISH,
    dropped,
    make_zip,
    telling,
)
from tests.helpers.sets import picture, zipped

# --- pictures ---


def test_an_upload_is_kept_once_under_its_digest(home: Path, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "mine.zip", "cats/1.png", "dogs/1.png")
    handle, found = uploads.inspect([str(path)])
    assert uploads.inspect([str(path)])[0] == handle
    assert [each.name for each in uploads.uploads().glob("*.zip")] == [handle]
    assert found.classes == {"cats": 1, "dogs": 1}
    assert uploads.source_of(handle) == str(home / "uploads" / handle)
    told = report_view.report_html(found, "en")
    assert "2 pictures, 2 classes, 20 × 12 pixels each" in told
    assert "<img" not in told and "&lt;img" in told


def test_what_was_done_to_pictures_is_told_on_the_page(home: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (9, 8, 7, 6)).save(tmp_path / "clear.png")
    ramp = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    (tmp_path / "IMG_1.jxl").write_bytes(b"\xff\x0a" + bytes(99))
    _, found = uploads.inspect([str(path) for path in sorted(tmp_path.glob("*.*"))])
    told = report_view.report_html(found, "en")
    assert found.used == 2
    for words in ("transparency: 1 of 2", "read as 12 bits", "JPEG XL, which is not read; save"):
        assert words in told


def test_loose_files_are_packed(home: Path, tmp_path: Path) -> None:
    files = []
    for n, colour in enumerate(("red", "green")):
        (tmp_path / str(n)).mkdir()
        Image.new("RGB", (9, 9), colour).save(tmp_path / str(n) / "same.png")
        files.append(str(tmp_path / str(n) / "same.png"))
    handle, found = uploads.inspect(files)
    assert uploads.HANDLE.fullmatch(handle)
    assert found.used == 2


def captions_of(handle: str) -> dict[str, str]:
    """The caption of each picture of an upload."""
    images = read_images(uploads.source_of(handle))
    captions = images.captions or ("",) * len(images.names)
    return dict(zip(images.names, captions, strict=True))


def test_names_that_the_upload_changed_still_tie_captions(home: Path, tmp_path: Path) -> None:
    long = "00012-1234567-" + "a photo of a small red cat, best quality, " * 5
    named = [("what!.png", picture(1)), ("what!.txt", b"a question"), ("what.png", picture(2))]
    for n in range(3):
        named += [(f"{long}-{n}.png", picture(10 + n)), (f"{long}-{n}.txt", b"number %d" % n)]
    found = captions_of(drained(uploads.take(dropped(tmp_path / "up", *named))))
    assert found == {
        "what!.png": "a question",
        "what.png": "",
        **{f"{long}-{n}.png": f"number {n}" for n in range(3)},
    }


def test_pictures_of_one_name_take_no_caption_of_each_other(home: Path, tmp_path: Path) -> None:
    files = [
        ("apples/1.png", picture(1)),
        ("apples/1.txt", b"an apple"),
        ("bananas/1.png", picture(2)),
        ("cherries/1.png", picture(3)),
        ("cherries/1.txt", b"a cherry"),
    ]
    handle, report = uploads.inspect(dropped(tmp_path / "folder", *files))
    assert report.classes == {"apples": 1, "bananas": 1, "cherries": 1}
    assert captions_of(handle) == {
        "apples/1.png": "an apple",
        "bananas/1.png": "",
        "cherries/1.png": "a cherry",
    }
    loose = [(Path(name).name, data) for name, data in files]
    handle, report = uploads.inspect(dropped(tmp_path / "loose", *loose))
    assert report.used == 3 and set(captions_of(handle).values()) == {""}


def test_a_file_taken_off_the_list_is_out_of_the_set(home: Path, tmp_path: Path) -> None:
    files = dropped(tmp_path / "up", *((f"{n}.png", picture(n)) for n in range(4)))
    four, three = uploads.inspect(files)[0], uploads.inspect(files[:2] + files[3:])[0]
    assert four != three and list(captions_of(three)) == ["0.png", "1.png", "3.png"]
    events = [
        event
        for event in build_app().config["dependencies"]
        if any(target[1] == "delete" for target in event["targets"])
    ]
    assert len(events) == 1


def test_what_a_mac_adds_is_quiet(home: Path, tmp_path: Path) -> None:
    files = [(".DS_Store", b"x"), ("._0.png", b"x"), ("0.png", picture(1)), ("._0.txt", b"x")]
    for top in ("", "set/"):
        named = [(top + name, data) for name, data in files]
        _, found = uploads.inspect(dropped(tmp_path / f"up{top}", *named))
        assert found.used == 1 and found.left_out == () and found.remarks == ()
    archive = zipped(tmp_path / "one.zip", {"a.png": picture(5)}).read_bytes()
    _, found = uploads.inspect(
        dropped(tmp_path / "zip", ("set/.DS_Store", b"x"), ("set/one.zip", archive))
    )
    assert found.used == 1


def test_what_holds_no_picture_is_not_kept(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InputError, match=r"a\.txt"):
        uploads.inspect([str(tmp_path / "a.txt")])
    assert not list(uploads.uploads().glob("*.zip"))


@pytest.mark.parametrize("handle", ["../x.zip", "/etc/passwd", "0123456789abcdef.zip", "", None, 3])
def test_only_a_handle_leads_to_an_upload(handle: Any, home: Path) -> None:
    with pytest.raises(InputError, match="data = "):
        uploads.source_of(handle)
    with pytest.raises(InputError, match="data = "):
        uploads.survey_of(handle)


def test_taking_an_upload_shows_how_far_it_is_read(home: Path, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "mine.zip", "cats/1.png", "dogs/1.png")
    shown = list(pictures.take_files([str(path)], uploads.STARTER, ENGLISH))
    *reading, taken, last = shown
    assert any("of 3 pictures read" in each["report"] for each in reading)
    assert reading[0]["preview"]["value"] is None and reading[0]["caption"] == ""
    classes = taken["classes"]
    assert uploads.HANDLE.fullmatch(taken["data"]) and "2 pictures" in taken["report"]
    assert last == {"listed": [str(path)]}
    assert classes["choices"] == [("cats (1)", "cats"), ("dogs (1)", "dogs")]
    assert classes["visible"] and classes["value"] == []


def test_a_later_upload_of_the_same_page_is_the_one_that_counts(home: Path, tmp_path: Path) -> None:
    shared(Surveys).forget(uploads.STARTER)
    path = make_zip(tmp_path / "mine.zip", "1.png", "2.png")
    one, other = (SimpleNamespace(**vars(ENGLISH), session_hash=name) for name in "ab")
    starter = pictures.take_files(None, uploads.STARTER, one)
    assert "pictures" in next(starter)["report"]
    elsewhere = list(pictures.take_files([str(path)], uploads.STARTER, other))
    assert uploads.HANDLE.fullmatch(elsewhere[-2]["data"])  # another page disturbs nobody
    assert "0 of 1,292" in next(starter)["report"]
    mine = list(pictures.take_files([str(path)], uploads.STARTER, one))
    assert uploads.HANDLE.fullmatch(mine[-2]["data"]) and "2 pictures" in mine[-2]["report"]
    assert list(starter) == [{}]


def test_a_bad_upload_leaves_the_report_of_what_is_chosen(mine: str, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("<html>")
    steps = pictures.take_files([str(tmp_path / "bad.png")], mine, ENGLISH, ["good.png"])
    shown = []
    with pytest.raises(gr.Error, match=r"bad\.png"):
        for each in steps:
            shown.append(each)
    assert "3 pictures" in shown[-1]["report"]
    assert shown[-1]["files"] == ["good.png"]  # what is refused stands in no list
    assert all("data" not in each and "listed" not in each for each in shown)


def test_the_files_of_a_folder_stand_in_no_list(home: Path, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "mine.zip", "1.png", "2.png")
    *_, last = pictures.take_files([str(path)], None, ENGLISH, ["other.png"], is_list=False)
    assert last == {"listed": None}


def test_the_sheet_shows_what_the_model_will_see(mine: str) -> None:
    found = uploads.survey_of(mine)
    assert len(found.preview) == 3
    config = Config.preset("tiny").with_settings(["training.input_width=64"])
    sheet, changed = pictures.draw_preview(found, config)
    assert not changed and sheet.size == (3 * 64 + 2 * 6, 32)
    config = config.with_settings(["training.flip=True", "training.rotation=20"])
    sheet, changed = pictures.draw_preview(found, config)
    assert changed and sheet.size == (3 * 64 + 2 * 6, 2 * 32 + 6)
    grey, _ = pictures.draw_preview(found, Config.preset("seed"))
    red, green, blue = grey.resize((1, 1)).getpixel((0, 0))
    assert red == green == blue


def test_the_largest_pictures_are_previewed_small(mine: str) -> None:
    config = Config.preset("tiny").with_settings(
        ["training.input_height=2048", "training.input_width=512"]
    )
    sheet, _ = pictures.draw_preview(uploads.survey_of(mine), config)
    assert sheet.height == pictures.PREVIEW_SIDE and sheet.width < 3 * pictures.PREVIEW_SIDE


def a_report(**changes: Any) -> Report:
    usual: dict[str, Any] = {
        "used": 100,
        "left_out": (),
        "sizes": {(40, 40): 60, (80, 40): 40},
        "modes": {"RGB": 90, "L": 10},
        "classes": {"cats": 70, "<b>": 30},
        "captions": 0,
        "remarks": ("<i>remark</i>",),
        "duplicates": (("a.png", "<u>.png", "c.png"),),
    }
    return Report(**{**usual, **changes})


def test_the_report_tells_sizes_channels_classes_and_copies() -> None:
    told = report_view.report_html(a_report(), "en")
    for words in ("exact copies: 2", "40 × 40 (60)", "colour (RGB) (90)", "grey (L) (10)"):
        assert words in told
    assert "&lt;b&gt; (30)" in told and "&lt;u&gt;.png" in told and "&lt;i&gt;" in told
    assert not re.search(r"<(u|i|b>\.)", told.replace("<ul>", ""))


def test_cropping_is_told_in_shares() -> None:
    training = Config.preset("tiny").training
    told = report_view.cut_html(a_report(), training, "en")
    assert "into 40 of 100 pictures: 20% on average, 50% at worst" in told
    assert "out of training: 5 of 100 pictures" in told
    padded = Config.preset("tiny").with_settings(["training.fit=pad", "training.held_out=0"])
    assert "white borders" in report_view.cut_html(a_report(), padded.training, "en")
    chosen = Config.preset("tiny").with_settings(['training.classes=["cats"]'])
    assert "4 of 70 pictures" in report_view.cut_html(a_report(), chosen.training, "en")


@pytest.mark.parametrize(
    ("changes", "wanted", "line"),
    [
        ({"captions": 100}, "auto", "Captions: 100 of 100 pictures; the model will be told them."),
        ({"captions": 93}, "auto", "93 of 100 pictures have captions; the others train without"),
        ({}, "auto", "2 classes; the model will be told each picture's, and attention"),
        ({}, "class_embedding", "2 classes; the model will be told each picture's, added to"),
        ({"classes": {}}, "auto", "No classes or captions: the model is told nothing but the time"),
        ({}, '"none"', "The model will be told nothing but the time; no picture"),
        ({"classes": {}}, "captions", "conditioning.kind = 'captions': none of these pictures has"),
    ],
)
def test_what_the_model_is_told_stands_beside_the_pictures(
    changes: dict[str, Any], wanted: str, line: str
) -> None:
    config = telling(f"conditioning.kind={wanted}")
    told = report_view.conditioning_html(a_report(**changes), config, "en")
    assert line in told.unescape()
    assert ('class="warning"' in told) == line.startswith("conditioning.kind")
    assert (
        report_view.conditioning_html(a_report(**changes), config, "zh") != told
        or wanted == "captions"
    )


def test_chosen_classes_count_for_what_is_told() -> None:
    config = telling('training.classes=["cats"]')
    assert "Captions: 70 of 70" in report_view.conditioning_html(
        a_report(captions=100), config, "en"
    )
    assert "nothing but the time" in report_view.conditioning_html(a_report(), config, "en")


def test_a_page_that_the_server_forgot_is_told_and_trains_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost session begins with what its states were built with: never with a set of pictures."""
    page = build_app()
    start = next(each for each in page.fns.values() if getattr(each.fn, "__name__", "") == "start")
    names = start.input_keyword_names
    lost = {
        name: getattr(field, "value", None) for name, field in zip(names, start.inputs, strict=True)
    }
    monkeypatch.setattr(runs, "start", lambda *_: pytest.fail("trained"))
    with pytest.raises(gr.Error, match=r"does not know .* which pictures this page shows"):
        start.fn(**lost)
    states = [each.value for each in page.blocks.values() if isinstance(each, gr.State)]
    assert uploads.STARTER not in states


def test_a_page_knows_its_pictures_before_they_are_read(home: Path) -> None:
    for files, word in ((None, "starter"), (uploads.SHAPES, "shapes")):
        with closing(pictures.take_files(files, None, ENGLISH)) as steps:
            assert next(steps)["data"] == word


def test_a_bad_upload_of_a_forgotten_page_is_still_told(home: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("<html>")
    with pytest.raises(gr.Error, match=r"bad\.png"):
        list(pictures.take_files([str(tmp_path / "bad.png")], None, ENGLISH))
