"""The page without a browser: texts, wiring, and the handlers as plain functions."""

import json
import math
import re
import shutil
import string
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio import blocks
from PIL import Image

import app
from app import build_app
from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.common import device, validation
from sd.common.validation import InputError
from sd.config import Config
from sd.networks.unet import UNetModel
from sd.ui import api, starters, texts
from sd.ui.components import handlers
from sd.ui.components.widgets import label_keys
from sd.ui.train.planning import settings
from tests.helpers.made import made_run
from tests.helpers.networks import with_weights

ROOT = Path(__file__).parents[2]
ENGLISH: Any = SimpleNamespace(headers={"accept-language": "en-GB,en;q=0.9"})
CHINESE: Any = SimpleNamespace(headers={"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"})
HOSTILE = [math.nan, math.inf, -1, 10**400, True, None, "7", "../../etc/passwd", [1], {}]
PUBLIC = {
    "noise",
    "denoise",
    "inspect_data",
    "start_training",
    "training_status",
    "stop_training",
    "resume_training",
    "list_models",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of runs."""
    monkeypatch.setenv("SD_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def model(home: Path) -> str:
    """An untrained model of 8 x 8 pixels, T = 40, as a run called `little`."""
    config = Config.preset("tiny").with_settings(
        [
            "training.input_height=8",
            "training.input_width=8",
            "diffusion.timesteps=40",
            "diffusion.schedule=cosine",
            "unet.model_channels=32",
            "unet.channel_mult=[1]",
            "unet.attention_resolutions=[]",
            'conditioning.kind="none"',
        ]
    )
    network = with_weights(UNetModel.from_config(config.unet))
    save_checkpoint(Model(network, config), home / "little" / "checkpoint-0000007", {"step": 7})
    (home / "little" / "config.ini").write_text(config.to_ini())
    return "little"


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_language_has_every_text_with_the_same_placeholders() -> None:
    english = texts.read_locale(texts.LOCALES / "en.toml")
    assert not re.search(r"[\u4e00-\u9fff]", "".join(english.values()))
    assert {family for family in texts.FAMILIES} == {"coach", "why", "about", "player"}
    for file in texts.LOCALES.iterdir():
        own = texts.read_locale(file)
        assert own.keys() == english.keys(), file.name
        for key, text in own.items():
            assert text.strip() and placeholders(text) == placeholders(english[key]), key
            chinese = file.stem == "zh" and text != english[key]
            assert not chinese or re.search(r"[、，\u4e00-\u9fff]", text), key


MANY = re.compile(
    r"\{\w+\} (pictures|steps|classes|minutes|calls|seconds|copies|tokens|requests|sheets)\b"
)
NEVER_ONE = {"finished", "speed", "forecast_time", "sampler_calls"}  # rates, and what is general
NEVER_ONE |= {"minutes_train_minutes"}  # one has a text of its own
NEVER_ONE |= {"ask_counted", "ask_price_of"}  # of 75 and more tokens; of several pictures


def test_a_count_that_may_be_one_is_never_followed_by_many() -> None:
    """The coach's remarks come after many steps; what may be 1 in them has its word of one too."""
    for key, text in texts.TEXTS["en"].items():
        if not key.startswith(("coach_", "about_", "player_")) and key not in NEVER_ONE:
            alone = re.sub(r"\|[^|{}]*\{\w+\}[^|{}]*\}", "|}", text)  # {n:step|{n} steps}
            assert not MANY.search(alone), (key, text)


def test_a_further_language_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written back to front, without one of its texts: that is English then."""
    shutil.copytree(texts.LOCALES, tmp_path, dirs_exist_ok=True)
    tables = tomllib.loads((tmp_path / "en.toml").read_text(encoding="utf-8")) | texts.FAMILIES
    lines = []
    for table, entries in tables.items():
        lines.append(f"[{table}]")
        lines += [f"{key} = {json.dumps('‹' + text)}" for key, text in entries.items()]
    lines = [line for line in lines if not line.startswith("tab_noise =")]
    (tmp_path / "xx.toml").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(texts, "TEXTS", texts.read_locales(tmp_path))
    assert texts.say("tab_train", "xx") == "‹" + texts.say("tab_train", "en")
    assert texts.say("coach_flip", "xx").startswith("‹Pictures are mirrored")
    assert texts.say("tab_noise", "xx") == texts.say("tab_noise", "en")
    assert (texts.language_of("xx-YY,en"), texts.language_of("yy")) == ("xx", "en")
    assert set(texts.translations(["tab_train"])) == {"en", "zh", "zh-CN", "xx"}
    app.build_app()


def test_the_browser_gets_the_texts_that_its_parts_name_and_no_other() -> None:
    built = build_app()
    sent = str(built.get_config_file()["components"])
    named = set(re.findall(r'"key": "sd_([\w-]+)"', sent))
    assert named and label_keys(built) == named
    assert set(texts.translations(named)["zh-CN"]) == {texts.PREFIX + key for key in named}


def test_every_text_is_used_and_every_used_text_is_there() -> None:
    files = [path for path in ROOT.glob("sd/ui/**/*.py")]
    sources = "".join(path.read_text() for path in [*files, ROOT / "app.py"]).replace("'", '"')
    families = (  # made of a word and these; the coach makes its own keys
        "coach_",
        *re.findall(r'f"([a-z][\w-]*_)\{', sources),
        *(f"{key}_" for key in re.findall(r'(?:switch|choice)\("([\w-]+)"', sources)),
    )
    endings = ("_info", "_caption", "_about")
    for key in texts.TEXTS["en"]:
        stem = next((key.removesuffix(end) for end in endings if key.endswith(end)), key)
        assert any(f'"{name}"' in sources for name in (key, stem)) or key.startswith(families), key
    for key in re.findall(r'(?:label|say|note|heading)\("([\w-]+)"', sources):
        assert key in texts.TEXTS["en"]


def test_no_key_is_in_two_tables() -> None:
    for path in texts.LOCALES.iterdir():
        file = tomllib.loads(path.read_text(encoding="utf-8"))
        plain = [key for table in file if table not in texts.FAMILIES for key in file[table]]
        assert len(plain) == len(set(plain)), path.name


@pytest.mark.parametrize(
    ("header", "language"),
    [("zh-CN,zh;q=0.9", "zh"), ("zh-TW", "zh"), ("en-US,zh-CN", "en"), ("zh", "en"), (None, "en")],
)
def test_language_follows_the_first_wish(header: str | None, language: str) -> None:
    assert texts.language_of(header) == language


@pytest.mark.parametrize(
    ("cookie", "language"),
    [
        ("sd_language=zh-CN", "zh"),
        ("a=b; sd_language=en; c=d", "en"),
        ("xsd_language=en", "zh"),
        ("sd_language=<b>", "zh"),
        ("sd_language=xx", "en"),
    ],
)
def test_language_follows_the_switch_before_the_browser(cookie: str, language: str) -> None:
    headers = {"cookie": cookie, "accept-language": "zh-CN,zh;q=0.9"}
    assert texts.page_language(headers) == language


def test_durations_in_words() -> None:
    assert texts.duration(8.4, "en") == "8 s"
    assert texts.duration(190, "en") == "3 min 10 s"
    assert texts.duration(7500, "zh") == "2 小时 5 分"


def test_the_page_keeps_the_state_of_few_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(sys, "argv", ["app.py"])
    monkeypatch.setattr(app.threads, "share_cores", lambda: None)
    monkeypatch.setattr(app, "warm_up", lambda sent: None)
    monkeypatch.setattr(blocks.Blocks, "launch", lambda self, **more: given.update(more))
    monkeypatch.setattr(blocks.Blocks, "block_thread", lambda self: None)
    app.main()
    assert 0 < given["state_session_capacity"] <= 1000  # of 0.85 MiB each


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    return build_app().get_config_file()


def test_the_named_endpoints_are_public_and_nothing_else(page: dict[str, Any]) -> None:
    public = {
        event["api_name"] for event in page["dependencies"] if event["api_visibility"] == "public"
    }
    assert public == PUBLIC


def test_every_control_has_its_sentence(page: dict[str, Any]) -> None:
    controls = ("slider", "dropdown", "number", "checkbox", "textbox", "radio")
    for component in page["components"]:
        props = component["props"]
        if component["type"] in controls and props.get("visible") is not False:
            assert props.get("label") and props.get("info"), props


def test_types_are_told_to_programs_of_what_they_may_use_alone(page: dict[str, Any]) -> None:
    public = [each for each in page["dependencies"] if each["api_name"] in PUBLIC]
    used = {part for each in public for part in (*each["inputs"], *each["outputs"])}
    told = {each["id"] for each in page["components"] if each.get("api_info")}
    assert told == used and all(key in page["components"][0] for key in ("api_info", "id"))


def test_moving_pictures_are_no_webp(page: dict[str, Any]) -> None:
    formats = {
        each["props"]["format"]
        for each in page["components"]
        if each["type"] in ("image", "gallery")
    }
    assert formats <= {"jpeg", "png", "webp"}
    shown = [each for each in page["components"] if each["type"] == "image"]
    assert all(each["props"]["format"] != "webp" for each in shown)


def test_every_event_of_a_slider_keeps_the_last_value(page: dict[str, Any]) -> None:
    """So does that of a form of settings, which tells each character that is typed."""
    sliders = {
        each["id"]
        for each in page["components"]
        if each["type"] == "slider" or each["props"].get("elem_id") == "plan-fields"
    }
    moved = [
        event
        for event in page["dependencies"]
        if any(target in sliders and kind == "input" for target, kind in event["targets"])
    ]
    assert moved
    assert all(event["trigger_mode"] == "always_last" for event in moved)


def test_no_press_of_a_verb_is_passed_over(page: dict[str, Any]) -> None:
    """gradio does, by itself, between the last that an event shows and its end."""
    verbs = {"denoise-ask": ["submit", "play", "again"], "noise-sight": ["ask", "restore"]}
    verbs |= {"noise-walk": ["steps"], "noise-algorithm": ["draw"], "noise-inside": ["look"]}
    names = {each["id"]: each["props"].get("elem_id") for each in page["components"]}
    found = {
        (names[target], kind): event["trigger_mode"]
        for event in page["dependencies"]
        for target, kind in event["targets"]
        if kind in verbs.get(names.get(target), ())
    }
    assert found == {(name, kind): "multiple" for name, kinds in verbs.items() for kind in kinds}


def test_no_choice_is_passed_over_while_the_one_before_is_answered(page: dict[str, Any]) -> None:
    chosen = {"head": ["focus", "change", "input"], "train-set": ["upload", "submit"]}
    chosen |= {"denoise-settings": ["input"], "denoise-starters": ["select"]}
    chosen |= {"train-run": ["edit"], "plan-told": ["click"], "denoise-ask": ["load"]}
    names = {each["id"]: each["props"].get("elem_id") for each in page["components"]}
    found = [
        (names[target], kind, event["trigger_mode"])
        for event in page["dependencies"]
        for target, kind in event["targets"]
        if event["backend_fn"] and kind in chosen.get(names.get(target), ())
    ]
    assert {(name, kind) for name, kind, _ in found} == {
        (name, kind) for name, kinds in chosen.items() for kind in kinds
    }
    assert "once" not in {mode for *_, mode in found}


def test_the_browser_keeps_no_account_of_progress_that_it_does_not_show(
    page: dict[str, Any],
) -> None:
    hidden = [each for each in page["dependencies"] if each["show_progress"] == "hidden"]
    shown = [each for each in page["dependencies"] if each["show_progress"] == "minimal"]
    assert len(hidden) > 40 and all(each["show_progress_on"] == [] for each in hidden)
    assert shown and all(each["show_progress_on"] != [] for each in shown)


def test_lists_of_the_page_are_those_of_the_package() -> None:
    assert settings.DEVICES == device.DEVICES


def test_a_mistake_is_told_in_its_own_line() -> None:
    @handlers.guarded
    def handler() -> None:
        raise InputError("t = <b>: must be 1")

    with pytest.raises(gr.Error) as told:
        handler()
    assert told.value.message == "t = &lt;b&gt;: must be 1"
    assert told.value.print_exception is False


def test_the_unexpected_tells_nothing_but_the_log(caplog: pytest.LogCaptureFixture) -> None:
    @handlers.guarded
    def handler(request: Any) -> Any:
        yield 1
        raise OSError("/secret/path")

    stream = handler(ENGLISH)
    assert next(stream) == 1
    with pytest.raises(gr.Error) as told:
        next(stream)
    assert "secret" not in told.value.message
    assert "/secret/path" in caplog.text


def test_the_endpoints_do_what_the_tabs_do(model: str, home: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "a.png")
    image, factors = api.noise_picture(str(tmp_path / "a.png"), 0, "tiny", 0)
    assert Image.open(image).size == (64, 64) and factors["log_snr"] is None
    told = api.denoise_pictures(model, "ddim", 3, 0, 1, 0.0, "fixed_small", "trailing", True)
    seen = [facts for *_, facts in told]
    assert [step["i"] for facts in seen for step in facts["steps"]] == [1, 2, 3]
    assert (seen[-1]["step"], seen[-1]["of"], seen[-1]["t"]) == (3, 3, 0)
    assert api.inspect_data([str(tmp_path / "a.png")])["used"] == 1
    made_run(home, "done", steps=52, end="finished")
    assert api.training_status("done")["state"] == "finished"
    assert model in [entry["name"] for entry in api.list_models()]
    with pytest.raises(gr.Error, match="give a picture"):
        api.noise_picture(None, 0, "tiny", 0)


def test_starters_are_there() -> None:
    assert len(set(starters.thumbnails())) == len(starters.NAMES) == 8
    assert validation.shown(starters.read("owl.png").size) == "(64, 64)"
