"""The Train tab before the start, without a browser: pictures, fields and plans."""

import math
import re
import shlex
import string
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from sd import coach, device, memory, runs
from sd.__main__ import parser
from sd.config import KEYS, Config, preset_names
from sd.gate import InputError
from sd.report import Report
from sd.ui import (
    forecast,
    form,
    outline,
    pictures,
    plan,
    report,
    settings,
    texts_plan,
    texts_settings,
)

ENGLISH: Any = SimpleNamespace(headers={"accept-language": "en-GB,en;q=0.9"})
CHINESE: Any = SimpleNamespace(headers={"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"})
HOSTILE = [
    math.nan,
    math.inf,
    -1,
    10**400,
    None,
    "7x",
    "../../etc/passwd",
    [math.nan],
    {},
    pytest.param("x" * 10**6, id="a long text"),
]
ROOT = Path(__file__).parent.parent


def fields(preset: str = "tiny", **changes: Any) -> list[Any]:
    """What the fields hold for a preset, some of them changed."""
    values = settings.shown(Config.preset(preset))
    places = {key: place for place, (_, key) in enumerate(settings.ORDER)}
    for key, value in changes.items():
        values[places[key]] = value
    return values


def make_zip(path: Path, *names: str, size: tuple[int, int] = (20, 12)) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for number, name in enumerate(names):
            image = path.with_suffix(f".{number}.png")
            Image.new("RGB", size, (number, 0, 99)).save(image)
            packed.write(image, name)
        packed.writestr("<img src=x onerror=alert(1)>.png", b"no picture")
    return path


@pytest.fixture(autouse=True)
def _nothing_is_known() -> None:
    for handle in set(pictures.FOUND) - {pictures.STARTER}:  # the same files, the same handle
        del pictures.FOUND[handle]


@pytest.fixture
def mine(home: Path, tmp_path: Path) -> str:
    """The handle of an upload of two classes."""
    path = make_zip(tmp_path / "mine.zip", "cats/1.png", "cats/2.png", "dogs/1.png")
    return pictures.inspect([str(path)])[0]


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which memory is never short."""
    monkeypatch.setattr(memory, "available", lambda: 2**60)


# --- pictures ---


def test_an_upload_is_kept_once_under_its_digest(home: Path, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "mine.zip", "cats/1.png", "dogs/1.png")
    handle, found = pictures.inspect([str(path)])
    assert pictures.inspect([str(path)])[0] == handle
    assert [each.name for each in pictures.uploads().iterdir()] == [handle]
    assert found.classes == {"cats": 1, "dogs": 1}
    assert pictures.source_of(handle) == str(home / "uploads" / handle)
    told = report.report_html(found, "en")
    assert "2 pictures, 2 classes, 20 × 12 pixels each" in told
    assert "<img" not in told and "&lt;img" in told


def test_loose_files_are_packed(home: Path, tmp_path: Path) -> None:
    files = []
    for n, colour in enumerate(("red", "green")):
        (tmp_path / str(n)).mkdir()
        Image.new("RGB", (9, 9), colour).save(tmp_path / str(n) / "same.png")
        files.append(str(tmp_path / str(n) / "same.png"))
    handle, found = pictures.inspect(files)
    assert pictures.HANDLE.fullmatch(handle)
    assert found.used == 2


def test_what_holds_no_picture_is_not_kept(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InputError, match=r"a\.txt"):
        pictures.inspect([str(tmp_path / "a.txt")])
    assert not list(pictures.uploads().glob("*.zip"))


@pytest.mark.parametrize("handle", ["../x.zip", "/etc/passwd", "0123456789abcdef.zip", "", None, 3])
def test_only_a_handle_leads_to_an_upload(handle: Any, home: Path) -> None:
    with pytest.raises(InputError, match="data = "):
        pictures.source_of(handle)
    with pytest.raises(InputError, match="data = "):
        pictures.survey_of(handle)


def test_taking_an_upload_shows_how_far_it_is_read(home: Path, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "mine.zip", "cats/1.png", "dogs/1.png")
    shown = list(pictures.take_files([str(path)], pictures.STARTER, ENGLISH))
    assert any("of 3 pictures read" in told for _, told, _ in shown[:-1])
    handle, told, classes = shown[-1]
    assert pictures.HANDLE.fullmatch(handle) and "2 pictures" in told
    assert classes["choices"] == [("cats (1)", "cats"), ("dogs (1)", "dogs")]
    assert classes["visible"] and classes["value"] == []


def test_a_later_upload_of_the_same_page_is_the_one_that_counts(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "FOUND", {})
    path = make_zip(tmp_path / "mine.zip", "1.png", "2.png")
    one, other = (SimpleNamespace(**vars(ENGLISH), session_hash=name) for name in "ab")
    starter = pictures.take_files(None, pictures.STARTER, one)
    assert "pictures" in next(starter)[1]
    elsewhere = list(pictures.take_files([str(path)], pictures.STARTER, other))
    assert pictures.HANDLE.fullmatch(elsewhere[-1][0])  # another page disturbs nobody
    assert "0 of 1,292" in next(starter)[1]
    mine = list(pictures.take_files([str(path)], pictures.STARTER, one))
    assert pictures.HANDLE.fullmatch(mine[-1][0]) and "2 pictures" in mine[-1][1]
    assert list(starter) == [(gr.skip(), gr.skip(), gr.skip())]


def test_a_bad_upload_leaves_the_report_of_what_is_chosen(mine: str, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("<html>")
    steps = pictures.take_files([str(tmp_path / "bad.png")], mine, ENGLISH)
    shown = []
    with pytest.raises(gr.Error, match=r"bad\.png"):
        for each in steps:
            shown.append(each)
    assert "3 pictures" in shown[-1][1]
    assert all(not isinstance(handle, str) for handle, _, _ in shown)


def test_the_sheet_shows_what_the_model_will_see(mine: str) -> None:
    found = pictures.survey_of(mine)
    assert len(found.preview) == 3
    config = Config.preset("tiny").with_settings(["training.input_width=64"])
    sheet, changed = pictures.drawn(found, config)
    assert not changed and sheet.size == (3 * 64 + 2 * 6, 32)
    config = config.with_settings(["training.flip=True", "training.rotation=20"])
    sheet, changed = pictures.drawn(found, config)
    assert changed and sheet.size == (3 * 64 + 2 * 6, 2 * 32 + 6)
    grey, _ = pictures.drawn(found, Config.preset("seed"))
    red, green, blue = grey.resize((1, 1)).getpixel((0, 0))
    assert red == green == blue


def test_the_largest_pictures_are_previewed_small(mine: str) -> None:
    config = Config.preset("tiny").with_settings(
        ["training.input_height=2048", "training.input_width=512"]
    )
    sheet, _ = pictures.drawn(pictures.survey_of(mine), config)
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
    told = report.report_html(a_report(), "en")
    for words in ("2 exact copies", "40 × 40 (60)", "colour (RGB) (90)", "grey (L) (10)"):
        assert words in told
    assert "&lt;b&gt; (30)" in told and "&lt;u&gt;.png" in told and "&lt;i&gt;" in told
    assert not re.search(r"<(u|i|b>\.)", told.replace("<ul>", ""))


def test_cropping_is_told_in_shares() -> None:
    training = Config.preset("tiny").training
    told = report.cut_html(a_report(), training, "en")
    assert "into 40 of 100 pictures: 20% on average, 50% at worst" in told
    assert "5 of 100 pictures are kept out" in told
    padded = Config.preset("tiny").with_settings(["training.fit=pad", "training.held_out=0"])
    assert "white borders" in report.cut_html(a_report(), padded.training, "en")
    chosen = Config.preset("tiny").with_settings(['training.classes=["cats"]'])
    assert "4 of 70 pictures" in report.cut_html(a_report(), chosen.training, "en")


def telling(*wanted: str) -> Config:
    return Config.preset("tiny").with_settings(list(wanted))


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
    told = report.told_html(a_report(**changes), config, "en")
    assert line in told
    assert ('class="warning"' in told) == line.startswith("conditioning.kind")
    assert report.told_html(a_report(**changes), config, "zh") != told or wanted == "captions"


def test_chosen_classes_count_for_what_is_told() -> None:
    config = telling('training.classes=["cats"]')
    assert "Captions: 70 of 70" in report.told_html(a_report(captions=100), config, "en")
    assert "nothing but the time" in report.told_html(a_report(), config, "en")


# --- fields ---


def test_there_is_one_field_for_every_key() -> None:
    assert len(settings.ORDER) == sum(len(keys) for keys in KEYS.values())
    beside = set(settings.PICTURE_KEYS)
    with gr.Blocks():
        made = {key: each for name in KEYS for key, each in settings.group(name, Config()).items()}
    assert set(made) | beside == {key for _, key in settings.ORDER}
    assert not set(made) & beside
    kinds = {"conv_resample": gr.Checkbox, "batch_size": gr.Number, "schedule": gr.Dropdown}
    for key, kind in {**kinds, "channel_mult": gr.Textbox}.items():
        assert isinstance(made[key], kind)


@pytest.mark.parametrize("key", settings.WORDS)
def test_the_words_of_a_list_are_those_of_its_check(key: str) -> None:
    section = next(name for name in KEYS if key in KEYS[name])
    for word in settings.WORDS[key]:
        assert settings.value_of(section, key, word) == word
    with pytest.raises(InputError) as told:
        settings.value_of(section, key, "?")
    assert f"must be one of {', '.join(settings.WORDS[key])}" in str(told.value)


def test_every_key_that_is_a_word_is_a_list() -> None:
    words = {
        key
        for name in KEYS
        for key in KEYS[name]
        if isinstance(getattr(getattr(Config(), name), key), str)
    }
    assert words == set(settings.WORDS)


@pytest.mark.parametrize("key", settings.RANGES)
def test_a_slider_ends_where_its_check_does(key: str) -> None:
    most = settings.RANGES[key][0]
    assert settings.value_of("training", key, most) == most
    with pytest.raises(InputError):
        settings.value_of("training", key, most * 1.01)


@pytest.mark.parametrize("preset", preset_names())
def test_what_the_fields_show_is_read_back(preset: str, roomy: None) -> None:
    config = Config.preset(preset)
    assert settings.read(settings.shown(config)) == (config, {})
    assert settings.nearest_preset(config) == preset


def test_odd_settings_are_read_back(roomy: None) -> None:
    odd = [
        'training.classes=["a, b", "=#", "鸟"]',
        "training.save_path=/tmp/a b # c",
        "unet.num_res_blocks=[1, 2, 1]",
        "unet.attention_resolutions=[]",
        "unet.num_classes=7",
        "unet.context_dim=64",
        "training.dataset_path=7",
    ]
    config = Config.preset("tiny").with_settings(odd[:-1])
    assert settings.read(settings.shown(config)) == (config, {})


def is_meant(key: str, value: Any) -> bool:
    """Tell whether a value that is hostile elsewhere may be meant by a person here."""
    if key in ("num_heads", "num_head_channels") and value == -1:
        return True
    if key == "kind" and value is None:  # as an ini spells none
        return True
    open_ones = ("context_dim", "num_classes", "save_path", "dataset_path", "classes")
    open_ones += ("encoder", "sample_prompts")
    return key in open_ones and (value is None or isinstance(value, str))


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(("section", "key"), settings.ORDER)
def test_no_field_takes_hostile_values(section: str, key: str, value: Any) -> None:
    if is_meant(key, value):
        return
    values = fields(**{key: value})
    config, faults = settings.read(values)
    assert config is None and list(faults) == [key]
    line = faults[key]
    assert re.match(rf"{section}\.{key}( =|:) ", line)
    assert len(line) <= 300 and "\n" not in line
    with pytest.raises(InputError):
        plan.launch(*values, "starter", 0, "auto")


def test_the_page_opens_no_encoder_that_a_visitor_names(roomy: None) -> None:
    config, faults = settings.read(fields(encoder="/etc/somewhere"))
    assert config is not None and list(faults) == ["encoder"]
    assert faults["encoder"].startswith("conditioning.encoder = '/etc/somewhere': the page loads")
    with pytest.raises(InputError, match="the page loads no other"):
        plan.launch(*fields(encoder="/etc/somewhere"), "starter", 0, "auto")


def test_faults_of_several_keys_stand_beside_one(roomy: None) -> None:
    assert list(settings.read(fields(n_embed=1))[1]) == ["n_embed"]
    assert list(settings.read(fields(num_head_channels=-1))[1]) == ["num_heads"]
    config, faults = settings.read(fields(model_channels=40))
    assert config is not None and list(faults) == ["model_channels"]
    assert list(settings.read(fields(zero_terminal_snr=True, prediction="eps"))[1]) == [
        "prediction"
    ]


def test_what_the_memory_does_not_hold_is_refused_beside_its_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 2 * 2**30)
    _, faults = settings.read(fields(batch_size=60_000))
    assert "fits" in faults["batch_size"]
    with pytest.raises(InputError, match="batch_size"):
        plan.launch(*fields(batch_size=60_000), "starter", 0, "auto")


def test_a_fault_is_told_beside_its_field_and_harms_no_style() -> None:
    line = 'training.steps = "</style><script>": must } be \\ a'
    told = form.fault_html({"steps": line})
    style, _, words = told.partition("</style>")
    assert "#set-steps::after" in style and "<script" not in told and "</" not in style
    assert re.fullmatch(r'"(\\[0-9a-f]{6}|[A-Za-z0-9])*"', form.css_text(line))
    assert 'role="alert"' in words and "&lt;script&gt;" in words
    assert form.fault_html({}) == ""


# --- the plan ---


def test_settling_gives_the_settings_or_the_fault(roomy: None, home: Path) -> None:
    text, fault = form.settle(ENGLISH, "starter", *fields(steps=7))
    assert Config.from_ini(text).training.steps == 7 and fault == ""
    text, fault = form.settle(ENGLISH, "starter", *fields(steps=-7))
    assert not isinstance(text, str) and "training.steps = -7" in fault


def test_a_class_that_is_not_there_is_a_fault(mine: str, roomy: None) -> None:
    assert form.settle(ENGLISH, mine, *fields(classes=["dogs"]))[1] == ""
    told = form.settle(ENGLISH, mine, *fields(classes=["dog"]))[1]
    assert "#set-classes" in told and "did you mean" in told
    with pytest.raises(InputError, match=r"training\.classes"):
        plan.launch(*fields(classes=["dog"]), mine, 0, "auto")


def test_a_kind_that_the_pictures_cannot_serve_is_a_fault(mine: str, roomy: None) -> None:
    assert form.settle(ENGLISH, mine, *fields(kind="class_tokens"))[1] == ""
    told = form.settle(ENGLISH, mine, *fields(kind="captions"))[1]
    assert "#set-kind" in told and "none of these pictures has a caption" in told
    with pytest.raises(InputError, match=r"conditioning\.kind"):
        plan.launch(*fields(kind="captions"), mine, 0, "auto")


def test_a_network_that_nobody_tells_anything_is_a_fault(home: Path, roomy: None) -> None:
    told = form.settle(ENGLISH, "starter", *fields(kind="none", context_dim="64"))[1]
    assert "#set-context_dim" in told and "set conditioning.kind" in told


def test_what_is_told_is_counted_in_the_network(home: Path, roomy: None) -> None:
    lines = [
        form.describe(ENGLISH, telling(f"conditioning.kind={kind}").to_ini(), "starter", "")
        for kind in ('"none"', "captions")
    ]
    assert lines[0].outline != lines[1].outline and lines[0].levels != lines[1].levels
    assert "nothing but the time" in lines[0].means and "1,292 of 1,292" in lines[1].means


def test_settings_of_a_run_leave_the_kind_free(roomy: None, home: Path) -> None:
    done = telling("conditioning.kind=captions", "unet.context_dim=128")
    config, _ = settings.read(as_fields(form.take_wish({"ini": done.to_ini()})))
    assert config is not None and config.unet.context_dim is None
    now = as_fields(form.take_wish({"ini": done.to_ini()}))
    now[settings.ORDER.index(("conditioning", "kind"))] = "none"
    assert form.settle(ENGLISH, "starter", *now)[1] == ""


def test_prompts_of_samples_are_read_as_a_list(roomy: None) -> None:
    config, faults = settings.read(fields(sample_prompts=["a red, round heart", "鸟"]))
    assert config is not None and not faults
    assert config.conditioning.sample_prompts == ("a red, round heart", "鸟")
    assert settings.read(settings.shown(config)) == (config, {})


def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Keep what `runs.start` is asked for."""
    asked: list[Any] = []
    monkeypatch.setattr(runs, "start", lambda *words: asked.extend(words) or Path("run"))
    return asked


def test_a_start_takes_what_the_fields_say(
    mine: str, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = started(monkeypatch)
    assert plan.launch(*fields(steps=3, classes=["cats"]), mine, 5, "cpu") == "run"
    source, config, seed, where = asked
    assert (source, seed, where) == (pictures.source_of(mine), 5, "cpu")
    wanted = ["training.steps=3", 'training.classes=["cats"]']
    assert config == Config.preset("tiny").with_settings(wanted)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("place", [-1, -2, -3])
def test_a_start_refuses_hostile_pictures_seeds_and_devices(
    place: int, value: Any, roomy: None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, words = started(monkeypatch), [*fields(), "starter", 0, "cpu"]
    words[place] = value
    with pytest.raises(InputError):
        plan.launch(*words)
    assert asked == []


def test_the_command_line_does_what_the_page_does(mine: str, home: Path) -> None:
    wanted = ["training.steps=7", 'training.classes=["cats"]', "diffusion.rescale_betas=True"]
    config = Config.preset("seed").with_settings(wanted)
    words = shlex.split(plan.command(config.to_ini(), mine, 3, "cpu"))
    assert words[:4] == ["python", "-m", "sd", "train"]
    asked = parser().parse_args(words[3:])
    assert asked.data == pictures.source_of(mine) and asked.seed == 3 and asked.device == "cpu"
    assert Config.preset(asked.preset).with_settings(asked.set) == config
    assert plan.command(config.to_ini(), mine, None, "cpu") == ""
    assert plan.command("[", mine, 3, "cpu") == ""
    assert plan.command(config.to_ini(), "nowhere", 3, "cpu") == ""


def as_fields(sent: list[Any]) -> list[Any]:
    return [each["value"] for each in sent[: len(settings.ORDER)]]


def test_a_preset_keeps_what_was_chosen_of_the_pictures(roomy: None) -> None:
    now = fields(classes=["cats"], flip=True, shift=0.1, steps=9)
    config, _ = settings.read(as_fields(form.take_preset("seed", *now)))
    assert config is not None and config.training.classes == ("cats",)
    assert config.training.flip and config.training.shift == 0.1
    assert config.training.steps == 0 and config.training.held_out == 0
    with pytest.raises(gr.Error, match="preset = "):
        form.take_preset("../tiny", *now)


def test_an_ini_file_is_taken_whole(roomy: None) -> None:
    sent = form.take_file(str(ROOT / "tests" / "fixtures" / "config_SD.txt"), ENGLISH)
    config, faults = settings.read(as_fields(sent))
    assert config is not None and not faults and config.diffusion.timesteps == 200
    assert sent[-1] == "seed"
    for bad in (None, 7, ["a"], str(ROOT / "sd" / "starter" / "emoji64.zip")):
        with pytest.raises(gr.Error):
            form.take_file(bad, ENGLISH)


def test_an_impossible_ini_is_shown_with_its_fault(tmp_path: Path, roomy: None) -> None:
    path = tmp_path / "mine.ini"
    path.write_text("[unet]\nmodel_channels = 40\n")
    sent = form.take_file(str(path), ENGLISH)
    assert "#set-model_channels" in sent[-2]
    views = form.describe(ENGLISH, sent[-3], "starter", "")
    assert views.outline == "" and views.levels == ""


def test_a_wish_of_the_other_half_is_taken(roomy: None) -> None:
    wished = Config.preset("small").with_settings(["training.steps=12"])
    sent = form.take_wish({"ini": wished.to_ini(), "at": 1.0})
    assert settings.read(as_fields(sent))[0] == wished and sent[-1] == "small"
    assert form.take_wish(None) == form.untouched()
    for bad in ({"ini": 7}, {"ini": "x" * 10**6}, {"ini": "["}, {}):
        with pytest.raises(gr.Error):
            form.take_wish(bad)


def click(kind: Any) -> Any:
    return SimpleNamespace(_data={"kind": kind})


def test_one_click_mends_the_schedule(home: Path, roomy: None) -> None:
    now = fields("seed")
    told = form.describe(ENGLISH, Config.preset("seed").to_ini(), "starter", "")
    assert 'data-fix="terminal_snr"' in told.remarks and "0.152" in told.doctor
    config, _ = settings.read(as_fields(form.mend(ENGLISH, click("terminal_snr"), "starter", *now)))
    assert config is not None and config.diffusion.rescale_betas
    for bad in ("leak", None, 7, "training.steps=1"):
        with pytest.raises(gr.Error, match="fix = "):
            form.mend(ENGLISH, click(bad), "starter", *now)


def test_strong_changes_are_warned_of_beside_them(home: Path) -> None:
    config = Config.preset("tiny").with_settings(["training.rotation=40"])
    told = form.describe(ENGLISH, config.to_ini(), "starter", "")
    assert "rotation" in told.leak and "rotation" not in told.remarks
    assert form.describe(ENGLISH, Config.preset("tiny").to_ini(), "starter", "").leak == ""


def test_what_was_measured_is_forgotten_when_the_settings_change(home: Path) -> None:
    config = Config.preset("tiny")
    of = form.mark(config, "starter"), "what was measured"
    other = config.with_settings(["training.steps=1"])
    assert form.describe(ENGLISH, config.to_ini(), "starter", of).told == "what was measured"
    assert form.describe(ENGLISH, other.to_ini(), "starter", of).told == ""
    # Back to the same settings, what was measured is true again.
    assert form.describe(ENGLISH, config.to_ini(), "starter", of).told == "what was measured"


def test_the_saved_ini_is_the_plan(home: Path) -> None:
    from urllib.parse import unquote  # noqa: PLC0415

    config = Config.preset("small").with_settings(['training.classes=["<b>", "鸟"]'])
    link = form.save_html(config, "en")
    address = re.search(r'href="data:text/plain;charset=utf-8,([^"]*)"', link)
    assert address and Config.from_ini(unquote(address[1])) == config
    assert "<b>" not in link


# --- what the settings will be ---


def test_the_outline_counts_steps() -> None:
    config = Config.preset("tiny")
    assert outline.steps_of(config, 1292) == 6000
    by_epochs = config.with_settings(["training.steps=0", "training.epochs=2"])
    assert outline.steps_of(by_epochs, 1292) == math.ceil(2 * (1292 - 65) / 32)
    told = outline.outline_html(config.with_settings(["training.minutes=5"]), 1292, "en")
    assert "32 × 32 px, 3.4 M parameters, 6,000 steps or 5 minutes of 32 pictures" in told


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_table_of_levels_is_the_blueprint(lang: str) -> None:
    config = Config.preset("tiny")
    told, wanted = outline.levels_html(config, lang), outline.plan_of(config)
    rows = re.findall(r"<tr>(.*?)</tr>", told)
    assert len(rows) == len(wanted.levels) + 2
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    assert {len(row) for row in cells} == {len(outline.COLUMNS)}
    assert cells[4][1:4] == ["4 × 4", "96", "3 × 32"]
    assert cells[-1][-2:] == ["3.4 M", outline.scaled(wanted.operations)]


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0"), (999, "999"), (999_999, "1 M"), (1234, "1.23 k"), (5.5e9, "5.5 G")],
)
def test_large_counts_are_short(count: float, words: str) -> None:
    assert outline.scaled(count) == words


# --- plans and forecasts ---

FORECAST = {
    "steps": 900,
    "step_seconds": 0.2,
    "seconds": 190.0,
    "memory": 9.1e8,
    "available": 2.1e10,
    "samples": 7,
    "pictures_per_second": 321.5,
}
ANSWER = {
    "preset": "tiny",
    "settings": ["training.minutes=3", "training.steps=900"],
    "reasons": [
        {"kind": "warmup", "line": "<i>The rate rises", "warmup": 50, "percent": 5},
        {"kind": "unheard", "line": "Something new"},
        {"kind": "ema", "line": "No numbers"},
    ],
    "forecast": FORECAST,
}


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    """Let the child process answer after two looks; keep the words it was given."""
    given: list[str] = []

    def ask(words: Any, seconds: float = 1.0) -> Iterator[Any]:
        given.extend(words)
        if "--config" in words:
            given.append(Path(words[1]).read_text(encoding="utf-8"))
        yield None
        yield None
        if isinstance(answer, Exception):
            raise answer
        yield answer

    monkeypatch.setattr(runs, "ask_plan", ask)
    return given


def test_a_plan_fills_the_fields_and_says_why(
    home: Path, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = answering(monkeypatch, ANSWER)
    now = fields(flip=True, classes=["cats"], batch_size=-3)  # what is planned anew may be wrong
    seen = list(forecast.plan_for(ENGLISH, 3, "starter", "cpu", *now))
    assert given == ["--minutes=3", "--device=cpu", "--", "starter"]
    assert "Measuring" in seen[0][0] and seen[0][4]["visible"] and not seen[0][2]["visible"]
    told, of, go, measured, stop, *sent = seen[-1]
    assert go["visible"] and measured["visible"] and not stop["visible"]
    wanted = ["training.flip=True", 'training.classes=["cats"]', *ANSWER["settings"]]
    config = Config.preset("tiny").with_settings(wanted)
    assert settings.read(as_fields(sent)) == (config, {})
    assert of == (form.mark(config, "starter"), told)
    assert "3 min 10 s" in told and "910 MB" in told and "&lt;i&gt;The rate" in told


def test_reasons_are_told_in_chinese_where_the_table_knows_them() -> None:
    known, unheard, no_numbers = (forecast.reason(each, "zh") for each in ANSWER["reasons"])
    assert "50" in known and "学习率" in known
    assert unheard == "Something new" and no_numbers == "No numbers"


def test_settings_are_measured_as_they_stand(
    home: Path, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = answering(monkeypatch, ANSWER)
    seen = list(forecast.measure(ENGLISH, "starter", "auto", *fields(steps=33)))
    assert given[0] == "--config" and given[2:5] == ["--device=auto", "--", "starter"]
    assert Config.from_ini(given[-1]).training.steps == 33
    assert not Path(given[1]).exists()
    assert "900 steps" in seen[-1][0] and seen[-1][2]["visible"]
    with pytest.raises(gr.Error, match=r"training\.steps"):
        list(forecast.measure(ENGLISH, "starter", "auto", *fields(steps=-1)))


def test_a_refused_plan_is_one_line_and_the_buttons_come_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, InputError("training.batch_size = 4: needs <much>"))
    steps, seen = forecast.plan_for(ENGLISH, 3, "starter", "cpu", *fields()), []
    with pytest.raises(gr.Error, match="needs &lt;much&gt;"):
        for each in steps:
            seen.append(each)
    assert seen[-1][0] == "" and seen[-1][2]["visible"] and not seen[-1][4]["visible"]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_plan_refuses_hostile_values(
    place: int, value: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, words = answering(monkeypatch, ANSWER), [3, "starter", "cpu"]
    words[place] = value
    with pytest.raises(gr.Error):
        list(forecast.plan_for(ENGLISH, *words, *fields()))
    assert given == []


def endless(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let the child process measure for ever; keep what was ended."""
    ended: list[Any] = []

    def ask(words: Any, seconds: float = 1.0) -> Iterator[Any]:
        try:
            while True:
                yield None
        finally:
            ended.append(words)

    monkeypatch.setattr(runs, "ask_plan", ask)
    return ended


def test_a_closed_page_ends_the_child(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = endless(monkeypatch)
    steps = forecast.plan_for(ENGLISH, 3, "starter", "cpu", *fields())
    next(steps), next(steps)
    assert ended == []
    steps.close()
    assert len(ended) == 1


def test_cancel_ends_the_child_of_this_page_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = endless(monkeypatch)
    one, other = (SimpleNamespace(headers={}, session_hash=name) for name in ("one", "other"))
    for each in (one, other):
        told, _, _, _, stop = forecast.begin(each)
        assert "Measuring" in told and stop["visible"]
    here, there = (forecast.plan_for(each, 3, "starter", "cpu", *fields()) for each in (one, other))
    next(here), next(there)
    forecast.cancel(one)
    told, _, go, _, stop, *sent = next(here)
    assert "Cancelled" in told and go["visible"] and not stop["visible"]
    assert sent == form.untouched()
    assert next(here, None) is None and len(ended) == 1
    assert "Measuring" in next(there)[0]
    forecast.begin(one)
    assert "Measuring" in next(forecast.plan_for(one, 3, "starter", "cpu", *fields()))[0]


# --- texts and lists ---


def test_the_lists_are_those_of_the_package() -> None:
    assert plan.DEVICES == device.DEVICES
    assert set(texts_settings.ABOUT_ZH) == {key for keys in KEYS.values() for key in keys}
    assert set(outline.OF_PICTURES) | {outline.OF_SCHEDULE} <= set(coach.LINES)


def test_every_reason_has_its_chinese_with_the_same_numbers() -> None:
    def names(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for english, chinese in texts_plan.WHY.values():
        assert names(english) == names(chinese)
