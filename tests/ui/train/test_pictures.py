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
from sd.data.ingest import ingest_images
from sd.data.reading.report import Report
from sd.runs.sharing.turn import Turn, drop_turn, write_turn
from sd.ui import uploads
from sd.ui.adapter import checks
from sd.ui.adapter.checks import Upload
from sd.ui.state import shared
from sd.ui.surveys import SUFFIX, Surveys
from sd.ui.train import doors, pictures, report_view
from sd.ui.train.doors import Picked
from sd.ui.train.planning import settings
from sd.ui.uploads import drained
from tests.helpers.planning import (
    ENGLISH,
    dropped,
    make_zip,
    telling,
)
from tests.helpers.sets import picture, zipped

TINY = Config.preset("tiny")

# --- pictures ---


def details(report: Report) -> str:
    return str(report_view.details_html(report, TINY.training, {}, "en"))


def taking(picked: Picked, before: str | None = None, request: Any = ENGLISH) -> Any:
    return pictures.take_pictures(picked, before, "before", None, None, TINY, request)


def pick(*files: Path) -> Picked:
    uploaded = tuple(Upload(file) for file in files)
    for file in uploaded:
        file.original_name = Path(file).name
    return Picked(uploaded)


def test_an_upload_is_kept_once_under_its_digest(home: Path, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "mine.zip", "cats/1.png", "dogs/1.png")
    handle, found = uploads.inspect([str(path)])
    assert uploads.inspect([str(path)])[0] == handle
    assert [each.name for each in uploads.uploads().glob("*.zip")] == [handle]
    assert found.classes == {"cats": 1, "dogs": 1}
    assert uploads.source_of(handle) == str(home / "uploads" / handle)
    assert report_view.facts_of(found, "en") == "2 pictures · 2 classes · 1 left out"
    told = details(found)
    assert "20 × 12 (2)" in told and "<img" not in told and "&lt;img" in told


def test_what_was_done_to_pictures_is_told_on_the_page(home: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (9, 8, 7, 6)).save(tmp_path / "clear.png")
    ramp = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    (tmp_path / "IMG_1.jxl").write_bytes(b"\xff\x0a" + bytes(99))
    _, found = uploads.inspect([str(path) for path in sorted(tmp_path.glob("*.*"))])
    told = details(found)
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


@pytest.mark.parametrize(("minutes", "is_again"), [(3, False), (3, True), (None, False)])
def test_other_pictures_are_planned_for_from_the_beginning(
    home: Path, tmp_path: Path, minutes: float | None, is_again: bool
) -> None:
    sides = ["training.input_height=64", "training.input_width=64"]
    planned = TINY.with_settings([*sides, "training.flip=True", 'training.classes=["old"]'])
    form = settings.first_values() | settings.widget_values(planned) | {"seed": 5}
    picked = pick(make_zip(tmp_path / "mine.zip", "cats/1.png", "dogs/1.png"))
    picked = picked._replace(is_again=is_again)
    if is_again:
        handle, _ = uploads.inspect([str(picked.files[0])])
        picked = Picked(handle=handle, is_again=True)
    *_, last = pictures.take_pictures(picked, None, "", minutes, form, planned, ENGLISH)
    changed = last["form"]["patch"]["values"]
    is_new = minutes is not None and not is_again
    assert changed["classes"] == []
    assert changed.get("input_height") == (TINY.training.input_height if is_new else None)
    assert not changed.keys() & {"flip", "seed", "kind"}
    side = TINY.training.input_height if is_new else 64
    assert f"{side} × {side}" in last["card"]["own"]["caption"]


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
    *reading, taken = taking(pick(path), uploads.STARTER)
    lines = [each["card"]["own"]["line"] for each in reading]
    assert any("of 3 pictures read" in line for line in lines)
    assert not any("data" in each for each in reading)
    assert uploads.HANDLE.fullmatch(taken["data"]) and taken["title"] == "mine"
    card, form = taken["card"]["own"], taken["form"]["patch"]
    assert (card["set"], card["title"]) == (taken["data"], "mine") and not card["loose"]
    assert card["facts"] == "2 pictures · 2 classes · 1 left out"
    assert card["caption"] == "Cropped to the middle, seen at 32 × 32 pixels. Learns 2 classes."
    assert (card["count"], card["columns"]) == (2, 2) and Path(card["sheet"]["path"]).is_file()
    assert [value for _, value in form["choices"]["classes"]] == ["cats", "dogs"]
    assert form["shown"]["classes"] and form["values"]["classes"] == []


def test_a_later_upload_of_the_same_page_is_the_one_that_counts(home: Path, tmp_path: Path) -> None:
    shared(Surveys).forget(uploads.STARTER)
    path = make_zip(tmp_path / "mine.zip", "1.png", "2.png")
    one, other = (SimpleNamespace(**vars(ENGLISH), session_hash=name) for name in "ab")
    starter = taking(Picked(handle="starter"), request=one)
    assert next(starter)["data"] == "starter"
    elsewhere = list(taking(pick(path), request=other))
    assert uploads.HANDLE.fullmatch(elsewhere[-1]["data"])  # another page disturbs nobody
    assert "0 of 1,292" in next(starter)["card"]["own"]["line"]
    mine = list(taking(pick(path), "starter", one))
    assert uploads.HANDLE.fullmatch(mine[-1]["data"])
    assert list(starter) == [{}]


def test_a_bad_upload_leaves_the_card_of_what_is_chosen(mine: str, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("<html>")
    shown = []
    with pytest.raises(gr.Error, match=r"bad\.png"):
        for each in taking(pick(tmp_path / "bad.png"), mine):
            shown.append(each)
    card = shown[-1]["card"]["own"]
    assert (card["set"], card["title"]) == (mine, "before") and "3 pictures" in card["facts"]
    assert all("data" not in each for each in shown)


def test_a_set_is_called_as_its_folder_or_zip(home: Path, tmp_path: Path) -> None:
    one, other = picture(1), picture(2)
    for names, title in (
        (["My cats/left/1.png", "My cats/2.png"], "My cats"),
        (["cats/1.png", "dogs/1.png"], "My pictures"),
        (["1.png", "2.png"], "My pictures"),
    ):
        named = zip(names, (one, other), strict=True)
        files = dropped(tmp_path / str(len(title) + len(names[0])), *named)
        *_, last = taking(Picked(tuple(files)))
        assert last["title"] == title and last["card"]["own"]["loose"] == (title != "My cats")
    assert pictures.rename(Picked(title=" <b>   x"), "starter", ENGLISH) == {"title": "<b> x"}
    renamed = pictures.rename(Picked(), "starter", ENGLISH)
    assert renamed == {"title": "Emoji", "card": {"own": {"title": "Emoji"}}}


def test_a_set_is_there_again_after_a_reload_and_what_is_gone_is_no_fault(
    mine: str, home: Path
) -> None:
    *_, last = taking(Picked(handle=mine, title="Cats", is_again=True))
    assert (last["data"], last["title"]) == (mine, "Cats")
    gone = "0" * 16 + ".zip"
    *_, last = taking(Picked(handle=gone, is_again=True))
    assert last == {"card": {"own": None}}
    with pytest.raises(gr.Error, match="no such upload"):
        list(taking(Picked(handle=gone)))


def test_an_upload_is_deleted_with_what_was_found_in_it(mine: str, home: Path) -> None:
    beside = (home / "uploads" / mine).with_suffix(SUFFIX)
    assert beside.is_file()
    waiting = home / "waiting"
    waiting.mkdir()
    (waiting / "events.jsonl").touch()
    write_turn(waiting, Turn(("--", str(home / "uploads" / mine)), 1.0))
    with pytest.raises(gr.Error, match="a run in line needs it; stop it first"):
        list(taking(Picked(handle=mine, is_deleted=True)))
    drop_turn(waiting)
    assert list(taking(Picked(handle=mine, is_deleted=True))) == [
        {"data": None, "title": "", "card": {"own": None}}
    ]
    assert not beside.exists() and list((home / "uploads").iterdir()) == []
    for handle, line in (("starter", "comes with the project"), (mine, "no such upload")):
        with pytest.raises(gr.Error, match=line):
            list(taking(Picked(handle=handle, is_deleted=True)))


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (None, "must be what was picked"),
        ({"set": "nowhere"}, "data = 'nowhere'"),
        ({"set": "../x"}, "data = "),
        ({"files": "x"}, "files = 'x': must be a list"),
        ({"files": [["../../etc/passwd", "a.png"]]}, "must be a file that was uploaded"),
        ({"files": [7]}, "must be a file that was uploaded"),
        ({"set": "starter", "title": 7}, "name = 7"),
        ({"set": "starter", "again": "yes"}, "again = 'yes'"),
        ({"set": "starter", "delete": 1}, "delete = 1"),
    ],
)
def test_only_what_was_picked_is_read(sent: Any, line: str) -> None:
    with pytest.raises(InputError, match=re.escape(line)):
        checks.read_value(doors.set_card("card"), sent)


def test_a_picked_file_is_read_under_the_name_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "hash").mkdir()
    (tmp_path / "hash" / "1.png").write_bytes(picture(1))
    sent = {"files": [["hash/1.png", "My cats/1.png"]]}
    (file,) = checks.read_value(doors.set_card("card"), sent).files
    assert file == str(tmp_path / "hash" / "1.png") and file.original_name == "My cats/1.png"
    # Of one set more names may come than any other part of the page takes.
    many = {"files": [["hash/1.png", f"{'x' * 200}/{n}.png"] for n in range(30_000)]}
    assert len(checks.read_value(doors.set_card("card"), many).files) == 30_000


def sheet_of(handle: str, *wanted: str) -> tuple[Image.Image, dict[str, Any]]:
    config = TINY.with_settings(list(wanted))
    card = pictures.look_of(handle, uploads.survey_of(handle), config, "en")
    with Image.open(card["sheet"]["path"]) as sheet:
        return sheet.convert("RGB"), card


def test_the_sheet_shows_what_the_model_will_see(mine: str) -> None:
    assert len(uploads.survey_of(mine).preview) == 3
    sheet, card = sheet_of(mine, "training.input_width=64")
    assert sheet.size == (3 * 64, 32) and card["ratio"] == "64 / 32" and card["count"] == 3
    changes = ("training.flip=True", "training.rotation=20")
    sheet, card = sheet_of(mine, "training.input_width=64", *changes)
    assert sheet.size == (3 * 64, 2 * 32) and (card["count"], card["columns"]) == (6, 3)
    assert "Below, changed at random." in card["caption"] and "Below:" in card["alt"]
    grey, _ = sheet_of(mine, "unet.channel=1", "unet.n_embed=1")
    red, green, blue = grey.resize((1, 1)).getpixel((0, 0))
    assert red == green == blue


def test_the_largest_pictures_are_previewed_small(mine: str) -> None:
    sheet, _ = sheet_of(mine, "training.input_height=2048", "training.input_width=512")
    assert sheet.height == pictures.CARD_SIDE and sheet.width < 3 * pictures.CARD_SIDE


def test_the_pictures_and_settings_of_a_run_stand_in_the_left_column(home: Path) -> None:
    folder = home / "My cats"
    folder.mkdir()
    waiting = pictures.show_run_card(folder, "en")
    assert waiting["card"] == {} and "starting" in waiting["minutes"]["run"]["html"]
    drained(
        ingest_images("shapes", folder / runs.PICTURES, height=32, width=32, channels=3, fit="crop")
    )
    (folder / runs.CONFIG).write_text(TINY.with_settings(["training.steps=77"]).to_ini())
    shown = pictures.show_run_card(folder, "en")
    card, settings = shown["card"]["run"], shown["minutes"]["run"]["html"]
    assert card["facts"].startswith("2,400 pictures") and card["count"] == 12
    assert "training.steps = 77" in settings and "<input" not in settings
    again = pictures.show_run_card(folder, "en", rests=True)["card"]["run"]
    assert again["sheet"] is card["sheet"]  # it is not drawn at each look
    assert again["rests"] and not card["rests"]
    assert pictures.show_run_card(None, "en") == {"card": {"run": None}, "minutes": {"run": None}}
    folder.rename(home / "going")  # and another run is called like it
    folder.mkdir()
    assert pictures.show_run_card(folder, "en")["card"] == {}


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


def test_classes_are_called_as_the_page_calls_them() -> None:
    told = str(report_view.tables_html(a_report(), {"cats": "猫"}, "zh"))
    assert "猫 (70)" in told and "&lt;b&gt; (30)" in told


def test_the_report_tells_sizes_channels_classes_and_copies() -> None:
    assert report_view.facts_of(a_report(), "en") == "100 pictures · 2 classes · 2 twice"
    told = details(a_report())
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
        name: field.value if isinstance(field, gr.State) else field.read_sent(name, field.value)
        for name, field in zip(names, start.inputs, strict=True)
    }
    monkeypatch.setattr(runs, "start", lambda *_: pytest.fail("trained"))
    with pytest.raises(gr.Error, match=r"does not know .* which pictures this page shows"):
        list(start.fn(request=ENGLISH, **lost))
    states = [each.value for each in page.blocks.values() if isinstance(each, gr.State)]
    assert uploads.STARTER not in states


def test_a_page_knows_its_pictures_before_they_are_read(home: Path) -> None:
    for word in uploads.BUNDLED_WORDS:
        with closing(taking(Picked(handle=word))) as steps:
            assert next(steps)["data"] == word


def test_a_bad_upload_of_a_forgotten_page_is_still_told(home: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("<html>")
    with pytest.raises(gr.Error, match=r"bad\.png"):
        list(taking(pick(tmp_path / "bad.png")))
