"""The Train tab before the start, without a browser: a plan is made, measured and started."""

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
from markupsafe import Markup

from sd import runs
from sd.cli import commands
from sd.cli.parser import parser
from sd.common import device
from sd.common.validation import InputError
from sd.config import KEYS, Config
from sd.runs import process
from sd.training import coach
from sd.ui import texts, uploads
from sd.ui.state import Shared, shared, use
from sd.ui.train import config_view, forecast_view, form, pictures, plan_view, settings
from tests.helpers.planning import (
    ENGLISH,
    HOSTILE,
    as_fields,
    fields,
    make_zip,
)

ROOT = Path(__file__).parents[3]


# --- the plan ---


def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Keep what `runs.start` is asked for."""
    asked: list[Any] = []
    monkeypatch.setattr(runs, "start", lambda home, *words: asked.extend(words) or Path("run"))
    return asked


def test_a_start_takes_what_the_fields_say(
    mine: str, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = started(monkeypatch)
    assert plan_view.start_with_fields(mine, 5, "cpu", **fields(steps=3, classes=["cats"])) == "run"
    source, config, seed, where = asked
    assert (source, seed, where) == (uploads.source_of(mine), 5, "cpu")
    wanted = ["training.steps=3", 'training.classes=["cats"]']
    assert config == Config.preset("tiny").with_settings(wanted)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["data", "seed", "device"])
def test_a_start_refuses_hostile_pictures_seeds_and_devices(
    name: str, value: Any, roomy: None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, given = started(monkeypatch), {"data": "starter", "seed": 0, "device": "cpu", **fields()}
    given[name] = -2 if (name, value) == ("seed", -1) else value  # a seed of -1 is drawn
    with pytest.raises(InputError):
        plan_view.start_with_fields(**given)
    assert asked == []


def command(config: Config, *given: Any) -> str:
    return str(plan_view.show_command(config, *given)["line"])


def test_the_command_line_does_what_the_page_does(mine: str, home: Path) -> None:
    wanted = ["training.steps=7", 'training.classes=["cats"]', "diffusion.rescale_betas=True"]
    config = Config.preset("seed").with_settings(wanted)
    words = shlex.split(command(config, mine, 3, "cpu", ""))
    assert words[:4] == ["python", "-m", "sd", "train"]
    asked = parser().parse_args(words[3:])
    assert asked.data == uploads.source_of(mine) and asked.seed == 3 and asked.device == "cpu"
    assert Config.preset(asked.preset).with_settings(asked.set) == config
    assert command(config, mine, None, "cpu", "") == ""
    assert command(config, mine, 3, "abacus", "") == ""
    assert command(config, mine, 3, "cpu", "<p>a fault</p>") == ""
    assert command(config, "nowhere", 3, "cpu", "") == ""


def test_a_preset_keeps_what_was_chosen_of_the_pictures(roomy: None) -> None:
    now = fields(classes=["cats"], flip=True, shift=0.1, steps=9)
    sent = form.take_preset("seed", "starter", **now)
    config, _ = settings.read_config(as_fields(sent))
    assert config is not None and config.training.classes == ("cats",)
    assert config.training.flip and config.training.shift == 0.1
    assert config.training.steps == 0 and config.training.held_out == 0
    assert config == sent["config"] and "preset" not in sent
    with pytest.raises(gr.Error, match="preset = "):
        form.take_preset("../tiny", "starter", **now)


def test_an_ini_file_is_taken_whole(roomy: None) -> None:
    sent = form.take_file(str(ROOT / "tests" / "fixtures" / "config_SD.txt"), "starter", ENGLISH)
    config, faults = settings.read_config(as_fields(sent))
    assert config is not None and not faults and config.diffusion.timesteps == 200
    assert sent["preset"] == "seed"
    for bad in (None, 7, ["a"], str(ROOT / "sd" / "data" / "starter" / "emoji64.zip")):
        with pytest.raises(gr.Error):
            form.take_file(bad, "starter", ENGLISH)


def told_in_passing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(form.gr, "Info", lambda line, **more: lines.append(line))
    return lines


def test_a_path_in_an_ini_that_the_page_does_not_use_is_told_once(
    tmp_path: Path, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, path = told_in_passing(monkeypatch), tmp_path / "mine.ini"
    path.write_text("[training]\ndataset_path = /data/<b>cats\nsave_path = out\n")
    form.take_file(str(path), "starter", ENGLISH)
    (line,) = lines
    assert line.startswith(
        "mine.ini was loaded. Its dataset_path (/data/&lt;b&gt;cats) is not used"
    )
    assert line.count("is not used here") == 2 and "save_path (out)" in line
    path.write_text("[training]\nsteps = 3\n")
    form.take_file(str(path), "starter", ENGLISH)
    assert lines[1] == "mine.ini was loaded."


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ('training.classes=["cats", "cows"]', "classes"),
        ('conditioning.sample_prompts=["cows"]', "sample_prompts"),
        ("conditioning.kind=captions", "kind"),
    ],
)
def test_what_the_pictures_lack_is_told_when_settings_come_not_at_the_start(
    mine: str, roomy: None, setting: str, key: str
) -> None:
    wanted = Config.preset("tiny").with_settings([setting])
    sent = form.fill_fields(wanted, mine)
    assert f"#set-{key} input" in sent["fault"]
    assert "#plan-save { visibility: hidden; }" in sent["fault"]
    with pytest.raises(InputError):
        pictures.check_choices(mine, settings.read_config(as_fields(sent))[0])
    good = Config.preset("tiny").with_settings(['training.classes=["cats"]'])
    sent = form.fill_fields(good, mine)
    assert sent["fault"] == "" and sent["classes"]["visible"]


def test_an_impossible_ini_is_shown_with_its_fault(tmp_path: Path, roomy: None) -> None:
    path = tmp_path / "mine.ini"
    path.write_text("[unet]\nmodel_channels = 40\n")
    sent = form.take_file(str(path), "starter", ENGLISH)
    assert "#set-model_channels" in sent["fault"]
    views = form.describe(sent["config"], "starter", None, ENGLISH)
    assert views["summary"] == "" and views["levels"] == ""


def test_settings_fill_the_fields(roomy: None) -> None:
    wished = Config.preset("small").with_settings(["training.steps=12"])
    sent = form.fill_fields(wished, "starter")
    assert settings.read_config(as_fields(sent))[0] == wished == sent["config"]
    assert sent["preset"] == "small"


def test_the_page_knows_when_its_settings_are_others() -> None:
    """gradio tells a state's change by its hash."""
    config = Config.preset("tiny")
    assert hash(config) == hash(Config.from_ini(config.to_ini()))
    for setting in ("training.steps=7", "training.flip=True", 'training.classes=["a"]'):
        assert hash(config.with_settings([setting])) != hash(config)


def click(kind: Any) -> Any:
    return gr.EventData(None, {"fix": kind})


def test_one_click_fixes_the_schedule(home: Path, roomy: None) -> None:
    now = fields("seed")
    told = form.describe(Config.preset("seed"), "starter", None, ENGLISH)
    assert 'data-fix="terminal_snr"' in told["remarks"] and "0.152" in told["schedule_check"]
    sent = form.apply_fix(ENGLISH, click("terminal_snr"), "starter", **now)
    config, _ = settings.read_config(as_fields(sent))
    assert config is not None and config.diffusion.rescale_betas
    for bad in ("leak", None, 7, "training.steps=1"):
        with pytest.raises(gr.Error, match="fix = "):
            form.apply_fix(ENGLISH, click(bad), "starter", **now)


def test_strong_changes_are_warned_of_beside_them(home: Path) -> None:
    config = Config.preset("tiny").with_settings(["training.rotation=40"])
    told = form.describe(config, "starter", None, ENGLISH)
    assert "rotation" in told["leak"] and "rotation" not in told["remarks"]
    assert form.describe(Config.preset("tiny"), "starter", None, ENGLISH)["leak"] == ""


def test_what_was_measured_is_forgotten_when_the_settings_change(home: Path) -> None:
    config = Config.preset("tiny")
    of = form.Measurement(config, "starter", Markup("what was measured"))
    other = config.with_settings(["training.steps=1"])
    assert form.describe(config, "starter", of, ENGLISH)["answer"] == "what was measured"
    assert form.describe(other, "starter", of, ENGLISH)["answer"] == ""
    assert form.describe(config, "shapes", of, ENGLISH)["answer"] == ""
    # Back to the same settings, what was measured is true again.
    assert form.describe(config, "starter", of, ENGLISH)["answer"] == "what was measured"


def test_the_saved_ini_is_the_plan(home: Path) -> None:
    from urllib.parse import unquote  # noqa: PLC0415

    config = Config.preset("small").with_settings(['training.classes=["<b>", "鸟"]'])
    link = form.save_html(config, "en")
    address = re.search(r'href="data:text/plain;charset=utf-8,([^"]*)"', link)
    assert address and Config.from_ini(unquote(address[1])) == config
    assert "<b>" not in link


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
        command, as_json, *words = words
        assert (command, as_json) == ("plan", "--json")
        given.extend(words)
        if "--config" in words:
            given.append(Path(words[1]).read_text(encoding="utf-8"))
        yield None
        yield None
        if isinstance(answer, Exception):
            raise answer
        yield answer

    monkeypatch.setattr(process, "run_json", ask)
    return given


def planning(request: Any = ENGLISH, **given: Any) -> Any:
    """Plan three minutes on the starter set, but for what is given."""
    usual = {"plan_minutes": 3, "data": "starter", "device": "cpu", **fields()}
    return forecast_view.make_plan(request, **{**usual, **given})


def test_a_plan_fills_the_fields_and_says_why(
    home: Path, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = answering(monkeypatch, ANSWER)
    now = fields(flip=True, classes=["cats"], batch_size=-3)  # what is planned anew may be wrong
    seen = list(planning(**now))
    assert given == ["--minutes=3", "--device=cpu", "--", "starter"]  # of no such class
    assert "Measuring" in seen[0]["answer"]
    assert seen[0]["stop"]["visible"] and not seen[0]["go"]["visible"]
    last = seen[-1]
    assert last["go"]["visible"] and last["measure"]["visible"] and not last["stop"]["visible"]
    wanted = ["training.flip=True", 'training.classes=["cats"]', *ANSWER["settings"]]
    config = Config.preset("tiny").with_settings(wanted)
    assert settings.read_config(as_fields(last)) == (config, {}) and last["config"] == config
    told = last["answer"]
    assert last["measured"] == form.Measurement(config, "starter", told)
    assert "3 min 10 s" in told and "868 MiB" in told and "&lt;i&gt;The rate" in told


def test_a_plan_counts_the_pictures_that_are_used(
    home: Path, roomy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those that are left out, nor those of classes that are not chosen."""
    path = make_zip(tmp_path / "mine.zip", "cats/1.png", "cats/2.png", "dogs/1.png")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("cats/bad.png", b"\x89PNG\r\n\x1a\n and nothing else")
    handle, report = uploads.inspect([str(path)])
    assert report.left_out
    given = answering(monkeypatch, ANSWER)
    for classes in ([], ["cats"]):
        list(planning(data=handle, **fields(classes=classes)))
        list(forecast_view.make_forecast(ENGLISH, handle, "cpu", **fields(classes=classes)))
    counts = [word for word in given if word.startswith("--pictures=")]
    assert counts == ["--pictures=3", "--pictures=3", "--pictures=2", "--pictures=2"]
    assert commands.look_at(str(path)).count == 4 and commands.look_at(str(path), 3).count == 3
    with pytest.raises(InputError, match="--pictures = 0"):
        commands.look_at(str(path), 0)


def test_reasons_are_told_in_chinese_where_the_table_knows_them() -> None:
    known, unheard, no_numbers = (
        forecast_view.reason_line(each, "zh") for each in ANSWER["reasons"]
    )
    assert "50" in known and "学习率" in known
    assert unheard == "Something new" and no_numbers == "No numbers"


def test_settings_are_measured_as_they_stand(
    home: Path, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = answering(monkeypatch, ANSWER)
    seen = list(forecast_view.make_forecast(ENGLISH, "starter", "auto", **fields(steps=33)))
    assert given[0] == "--config"
    assert given[2:6] == ["--device=auto", "--pictures=1292", "--", "starter"]
    assert Config.from_ini(given[-1]).training.steps == 33
    assert not Path(given[1]).exists()
    assert "900 steps" in seen[-1]["answer"] and seen[-1]["go"]["visible"]
    with pytest.raises(gr.Error, match=r"training\.steps"):
        list(forecast_view.make_forecast(ENGLISH, "starter", "auto", **fields(steps=-1)))


def test_a_refused_plan_is_one_line_and_the_buttons_come_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, InputError("training.batch_size = 4: needs <much>"))
    steps, seen = planning(), []
    with pytest.raises(gr.Error, match="needs &lt;much&gt;"):
        for each in steps:
            seen.append(each)
    last = seen[-1]
    assert last["answer"] == "" and last["go"]["visible"] and not last["stop"]["visible"]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["plan_minutes", "data", "device"])
def test_a_plan_refuses_hostile_values(
    name: str, value: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = answering(monkeypatch, ANSWER)
    with pytest.raises(gr.Error):
        list(planning(**{name: value}))
    assert given == []


def endless(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let the child process measure for ever; keep what was ended."""
    ended: list[Any] = []

    def ask(words: Any, seconds: float = 1.0) -> Iterator[Any]:
        try:
            while True:
                yield None
        finally:
            ended.append(words[2:])

    monkeypatch.setattr(process, "run_json", ask)
    return ended


def test_a_closed_page_ends_the_child(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = endless(monkeypatch)
    steps = planning()
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
        begun = forecast_view.show_measuring(each)
        assert "Measuring" in begun["answer"] and begun["stop"]["visible"]
    here, there = planning(one), planning(other)
    next(here), next(there)
    forecast_view.cancel(one)
    last = next(here)
    assert "Cancelled" in last["answer"] and last["measured"] is None
    assert last["go"]["visible"] and not last["stop"]["visible"]
    assert not set(last) & {*settings.SECTION_OF, "config"}
    assert next(here, None) is None and len(ended) == 1
    assert "Measuring" in next(there)["answer"]
    forecast_view.show_measuring(one)
    assert "Measuring" in next(planning(one))["answer"]


# --- texts and lists ---


def test_the_lists_are_those_of_the_package() -> None:
    assert plan_view.DEVICES == device.DEVICES
    assert set(texts.FAMILIES["about"]) == {key for keys in KEYS.values() for key in keys}
    assert set(config_view.PICTURE_REMARKS) | {config_view.SCHEDULE_REMARK} <= set(coach.MESSAGES)


def test_every_reason_has_its_chinese_with_the_same_numbers() -> None:
    def names(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for key in texts.FAMILIES["why"]:
        english, chinese = (texts.TEXTS[lang][f"why_{key}"] for lang in ("en", "zh"))
        assert names(english) == names(chinese)


def test_a_page_that_cancelled_is_known_until_it_measures_again() -> None:
    page, other = (SimpleNamespace(session_hash=name, headers={}) for name in "ab")
    with use(Shared()):
        forecast_view.cancel(page)
        assert list(shared(forecast_view.Cancelled)) == ["a"]
        forecast_view.show_measuring(other)
        forecast_view.show_measuring(page)
        assert not shared(forecast_view.Cancelled)
