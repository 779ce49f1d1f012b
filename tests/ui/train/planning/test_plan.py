"""The Train tab before the start, without a browser: a plan is made, measured and started."""

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
from markupsafe import Markup

from sd import runs
from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.cli import commands
from sd.cli.parser import parser
from sd.common import device
from sd.common.validation import InputError
from sd.config import KEYS, Config
from sd.networks.unet import UNetModel
from sd.runs import process
from sd.training import coach
from sd.training.planning import speed
from sd.ui import models, texts, uploads
from sd.ui.adapter import checks
from sd.ui.adapter.errors import PageError
from sd.ui.state import Shared, shared, use
from sd.ui.train import pictures
from sd.ui.train.planning import (
    config_view,
    forecast_view,
    form,
    minutes,
    plan_view,
    settings,
)
from sd.ui.train.planning.forecast_view import Measurement
from tests.helpers.planning import (
    ENGLISH,
    HOSTILE,
    as_fields,
    fields,
    make_zip,
    start,
)

ROOT = Path(__file__).parents[4]


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
    form = {"steps": 3, "classes": ["cats"], "seed": 5, "device": "cpu"}
    assert start(mine, "My cats", **form) == "run"
    source, config, seed, where, title = asked
    assert (source, seed, where, title) == (uploads.source_of(mine), 5, "cpu", "My cats")
    wanted = ["training.steps=3", 'training.classes=["cats"]']
    assert config == Config.preset("tiny").with_settings(wanted)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["data", "seed", "device"])
def test_a_start_refuses_hostile_pictures_seeds_and_devices(
    name: str, value: Any, roomy: None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = started(monkeypatch)
    with pytest.raises(gr.Error):
        start(**{name: -2 if (name, value) == ("seed", -1) else value})  # a seed of -1 is drawn
    assert asked == []


def command(data: Any, **form: Any) -> str:
    config = Config.preset("tiny")
    return str(plan_view.show_command(config, data, fields(**form))["line"])


def test_the_command_line_does_what_the_page_does(mine: str, home: Path, roomy: None) -> None:
    wanted = ["training.steps=7", 'training.classes=["cats"]', "diffusion.rescale_betas=True"]
    config = Config.preset("seed").with_settings(wanted)
    form = settings.widget_values(config) | {"seed": 3, "device": "cpu"}
    words = shlex.split(command(mine, **form))
    assert words[:4] == ["python", "-m", "sd", "train"]
    asked = parser().parse_args(words[3:])
    assert asked.data == uploads.source_of(mine) and asked.seed == 3 and asked.device == "cpu"
    assert Config.preset(asked.preset).with_settings(asked.set) == config
    assert command(mine, seed=None) == command(mine, device="abacus") == ""
    assert command(mine, steps=-1) == command("nowhere") == ""
    assert " starter " in command(None)


def test_a_preset_keeps_what_was_chosen_of_the_pictures(roomy: None) -> None:
    now, tiny = fields(classes=["cats"], flip=True, shift=0.1, steps=9), Config.preset("tiny")
    sent = form.take_preset(pressed(preset="seed"), "starter", now, tiny)
    config, _ = settings.read_config(as_fields(sent))
    assert config is not None and config.training.classes == ("cats",)
    assert config.training.flip and config.training.shift == 0.1
    assert config.training.steps == 0 and config.training.held_out == 0
    assert config == sent["config"] and sent["minutes"] == {"minutes": None}
    with pytest.raises(gr.Error, match="preset = "):
        form.take_preset(pressed(preset="../tiny"), "starter", now, tiny)


def test_an_ini_file_is_taken_whole(roomy: None) -> None:
    sent = form.take_file(str(ROOT / "tests" / "fixtures" / "config_SD.txt"), "starter", ENGLISH)
    config, faults = settings.read_config(as_fields(sent))
    assert config is not None and not faults and config.diffusion.timesteps == 200
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
    assert list(sent["form"]["patch"]["faults"]) == [key]
    with pytest.raises(InputError):
        pictures.check_choices(mine, settings.read_config(as_fields(sent))[0])
    good = Config.preset("tiny").with_settings(['training.classes=["cats"]'])
    sent = form.fill_fields(good, mine)
    assert sent["form"]["patch"]["faults"] == {} and sent["form"]["patch"]["shown"]["classes"]


def test_an_impossible_ini_is_shown_with_its_fault(tmp_path: Path, roomy: None) -> None:
    path = tmp_path / "mine.ini"
    path.write_text("[unet]\nmodel_channels = 40\n")
    sent = form.take_file(str(path), "starter", ENGLISH)
    assert list(sent["form"]["patch"]["faults"]) == ["model_channels"]
    assert "<table" not in form.describe(sent["config"], "starter", None, ENGLISH)["told"]


def test_settings_fill_the_fields(roomy: None) -> None:
    wished = Config.preset("small").with_settings(["training.steps=12"])
    sent = form.fill_fields(wished, "starter")
    assert settings.read_config(as_fields(sent))[0] == wished == sent["config"]


def test_the_page_knows_when_its_settings_are_others() -> None:
    """gradio tells a state's change by its hash."""
    config = Config.preset("tiny")
    assert hash(config) == hash(Config.from_ini(config.to_ini()))
    for setting in ("training.steps=7", "training.flip=True", 'training.classes=["a"]'):
        assert hash(config.with_settings([setting])) != hash(config)


def pressed(**sent: Any) -> gr.EventData:
    return gr.EventData(None, sent)


def test_one_click_fixes_the_schedule(home: Path, roomy: None) -> None:
    now, tiny = fields("seed"), Config.preset("tiny")
    told = form.describe(Config.preset("seed"), "starter", None, ENGLISH)["told"]
    assert 'data-fix="terminal_snr"' in told and "0.152" in told
    sent = form.apply_fix(pressed(fix="terminal_snr"), "starter", now, tiny)
    config, _ = settings.read_config(as_fields(sent))
    assert config is not None and config.diffusion.rescale_betas
    for bad in ("leak", None, 7, "training.steps=1"):
        with pytest.raises(gr.Error, match="fix = "):
            form.apply_fix(pressed(fix=bad), "starter", now, tiny)


def test_strong_changes_are_warned_of(home: Path) -> None:
    config = Config.preset("tiny").with_settings(["training.rotation=40"])
    kinds = [
        re.findall('data-fix="(.*?)"', form.describe(each, "starter", None, ENGLISH)["told"])
        for each in (config, Config.preset("tiny"))
    ]
    assert kinds == [["leak"], []]


def test_what_was_measured_is_forgotten_when_the_settings_change(home: Path) -> None:
    config, line = Config.preset("tiny"), "what was measured"
    of = Measurement(config, "starter", Markup(line))
    other = config.with_settings(["training.steps=1"])
    assert line in form.describe(config, "starter", of, ENGLISH)["told"]
    assert line not in form.describe(other, "starter", of, ENGLISH)["told"]
    assert line not in form.describe(config, "shapes", of, ENGLISH)["told"]
    # Back to the same settings, what was measured is true again.
    assert line in form.describe(config, "starter", of, ENGLISH)["told"]


def test_settings_are_described_before_any_pictures_are_chosen(home: Path) -> None:
    shown = form.describe(Config.preset("tiny"), None, None, ENGLISH)
    assert "6,000 steps" in shown["told"] and "card" not in shown
    assert shown["minutes"] == {"own": "Train 6,000 steps"}


def test_the_saved_ini_is_the_plan(home: Path) -> None:
    from urllib.parse import unquote  # noqa: PLC0415

    config = Config.preset("small").with_settings(['training.classes=["<b>", "鸟"]'])
    link = config_view.save_html(config, "en")
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
    "machine": "the machine",
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


def planning(request: Any = ENGLISH, minutes: Any = 3, data: Any = "starter", **form: Any) -> Any:
    """Plan three minutes on the starter set, but for what is given, without starting."""
    values, tiny = fields() | {"device": "cpu"} | form, Config.preset("tiny")
    return plan_view.ask(request, pressed(ask="plan"), minutes, data, values, tiny)


def measuring(data: Any = "starter", **form: Any) -> Any:
    values, tiny = fields() | form, Config.preset("tiny")
    return plan_view.ask(ENGLISH, pressed(ask="measure"), 3, data, values, tiny)


def test_a_plan_fills_the_fields_and_says_why(
    home: Path, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = answering(monkeypatch, ANSWER)
    # What is planned anew may be wrong.
    seen = list(planning(flip=True, classes=["cats"], batch_size=-3))
    flags = ["--minutes=3", "--device=cpu", "--set=training.flip=True"]
    assert given == [*flags, "--", "starter"]  # of no such class
    assert "Measuring" in seen[0]["minutes"]["busy"]["line"]
    last = seen[-1]
    assert last["minutes"] == {"busy": None, "minutes": None}
    wanted = ["training.flip=True", 'training.classes=["cats"]', *ANSWER["settings"]]
    config = Config.preset("tiny").with_settings(wanted)
    assert settings.read_config(as_fields(last)) == (config, {}) and last["config"] == config
    told = last["measured"].answer
    assert last["measured"] == Measurement(config, "starter", told)
    assert "3 min 10 s" in told and "868 MiB" in told and "&lt;i&gt;The rate" in told


@pytest.fixture
def known(tiny_config: Config, home: Path) -> Path:
    """A trained model that the home calls "cats"."""
    model = Model(UNetModel.from_config(tiny_config.unet), tiny_config)
    (home / "cats").mkdir()
    (home / "cats" / "config.ini").write_text(tiny_config.to_ini())
    save_checkpoint(model, home / "cats" / "checkpoint-000000004", {"step": 4})
    return home / "cats"


def test_a_start_from_a_model_is_told_where_it_lies(
    known: Path, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = started(monkeypatch)
    assert start("starter", start_from="cats") == "run"
    assert asked[1].training.start_from == str(known)
    for name in ("dogs", str(known), "ideal:starter"):
        faults = settings.read_config(fields(start_from=name))[1]
        assert set(faults) == {"start_from"}
        with pytest.raises(PageError, match="no trained model is called so"):
            start("starter", start_from=name)
    assert len(asked) == 5  # of the one start


def test_the_form_offers_the_models_and_nothing(known: Path) -> None:
    told = form.describe(Config.preset("tiny"), None, None, ENGLISH)["form"]["patch"]
    offered = told["choices"]["start_from"]
    assert [value for _, value in offered] == ["", "auto", "cats"]
    assert [words["en"] for words, _ in offered] == ["nothing", "automatic", "cats"]
    run = Config.preset("tiny").with_settings(["training.start_from=cats@0123456789abcdef"])
    assert settings.to_widget("start_from", run) == "cats"


def test_a_plan_from_a_model_is_made_for_it_and_keeps_its_name(
    known: Path, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = ANSWER | {"settings": [*ANSWER["settings"], f"training.start_from={known}"]}
    given = answering(monkeypatch, answer)
    last = list(planning(start_from="cats"))[-1]
    assert f"--from={known}" in given
    assert last["config"].training.start_from == "cats"


def test_a_start_that_is_left_open_is_decided_by_the_plan_and_the_run(
    mine: str, home: Path, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.first_values()["start_from"] == ""
    given, asked = answering(monkeypatch, ANSWER), started(monkeypatch)
    last = list(planning(start_from="auto"))[-1]
    assert "--from=auto" in given
    assert last["config"].training.start_from == "auto"
    assert start(mine, start_from="auto") == "run"
    assert asked[1].training.start_from == "auto"


@pytest.mark.parametrize(("turned", "flag"), [(0.0, False), (12.0, True)])
def test_pictures_that_are_turned_are_planned_in_pixels(
    home: Path, roomy: None, monkeypatch: pytest.MonkeyPatch, turned: float, flag: bool
) -> None:
    given = answering(monkeypatch, ANSWER)
    list(planning(rotation=turned))
    assert ("--first-stage=pixels" in given) == flag


def test_the_button_measures_plans_and_starts(
    home: Path, mine: str, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, ANSWER | {"measured": {"2": dict.fromkeys(speed.TIMES, 0.2)}})
    asked = started(monkeypatch)
    values = fields(classes=["cats"], seed=7, device="cpu")
    steps = plan_view.train(ENGLISH, 3, mine, "My cats", values, Config.preset("tiny"))
    seen = list(steps)
    lines = [step["minutes"]["busy"] and step["minutes"]["busy"]["line"] for step in seen]
    assert lines == ["Measuring this machine: 0 s"] * 2 + ["Starting", None]
    source, config, *rest = asked
    assert config.training.minutes == 3 and config.training.classes == ("cats",)
    assert rest == [7, "cpu", "My cats"] and source == uploads.source_of(mine)
    last = seen[-1]
    assert last["started"] == "run" and last["config"] == config
    assert "minutes" not in last["minutes"]  # three minutes stay chosen
    assert speed.read(home, "the machine") == {2: dict.fromkeys(speed.TIMES, 0.2)}


def test_a_start_without_pictures_measures_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = answering(monkeypatch, ANSWER)
    with pytest.raises(gr.Error, match="data = None"):
        start(None, minutes=3)
    assert given == []


def test_minutes_tell_their_steps_once_the_machine_was_measured(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = device.Machine("cpu", 1, "mkl", "a machine")
    monkeypatch.setattr(models, "machine", lambda: machine)
    report, config = uploads.survey_of("starter").report, Config.preset("tiny")
    assert forecast_view.expected_steps(report, config, "en") == {}
    times = {"step": 0.2, "samples": 3.0, "save": 0.1}
    speed.keep(home, "a machine", {"2": times})
    told = forecast_view.expected_steps(report, config, "en")
    assert list(told) == ["1", "3", "10", "60"]
    counts = [int(re.sub(r"\D", "", line)) for line in told.values()]
    assert 100 < counts[0] < counts[1] < counts[2] and told["1"].startswith("≈ ")
    beside = runs.Home(home / "visitors" / "a", neighbours=home / "visitors")
    with use(Shared(home=beside)):  # what is measured of the machine all visitors have
        assert forecast_view.expected_steps(report, config, "en") == told
    speed.keep(home, "another machine", {"2": times})
    assert forecast_view.expected_steps(report, config, "en") == {}


def test_the_card_tells_its_minutes_and_nothing_else_is_taken_for_them() -> None:
    card = minutes.minutes_card("card", "pictures", "panel", "form")
    for sent, read in (({"now": 10}, 10), ({"now": None}, None), ({"busy": None}, 3)):
        assert checks.read_value(card, sent) == read
    for bad in (None, 7, {"now": 0}, {"now": "3"}, {"now": math.nan}, {"now": True}):
        with pytest.raises(InputError, match="must be"):
            checks.read_value(card, bad)


@pytest.mark.parametrize(
    ("most", "offered"), [(None, [1, 3, 10, 60]), (30, [1, 3, 10]), (10, [1, 3, 10]), (9, [1, 3])]
)
def test_no_tile_is_for_more_minutes_than_a_page_trains(
    tmp_path: Path, most: float | None, offered: list[int]
) -> None:
    with use(Shared(home=runs.Home(tmp_path, most_minutes=most))):
        assert minutes.offer_minutes() == offered


@pytest.mark.parametrize(("steps", "told"), [(7, 7), (94, 94), (273, 270), (5432, 5400)])
def test_steps_are_told_in_two_digits(steps: int, told: int) -> None:
    assert forecast_view.rounded(steps) == told


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
        list(planning(data=handle, classes=classes))
        list(measuring(handle, classes=classes))
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
    seen = list(measuring(steps=33))
    assert given[0] == "--config"
    assert given[2:6] == ["--device=auto", "--pictures=1292", "--", "starter"]
    assert Config.from_ini(given[-1]).training.steps == 33
    assert not Path(given[1]).exists()
    assert "900 steps" in seen[-1]["measured"].answer and seen[-1]["minutes"]["busy"] is None
    with pytest.raises(gr.Error, match=r"training\.steps"):
        list(measuring(steps=-1))


def test_a_refused_plan_is_one_line_and_the_buttons_come_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, InputError("training.batch_size = 4: needs <much>"))
    steps, seen = planning(), []
    with pytest.raises(gr.Error, match="needs &lt;much&gt;"):
        for each in steps:
            seen.append(each)
    assert seen[-1] == {"minutes": {"busy": None}}


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["data", "device"])
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
        forecast_view.begin_waiting(each)
    here, there = planning(one), planning(other)
    next(here), next(there)
    forecast_view.cancel(one)
    assert next(here) == {"minutes": {"busy": None}}
    assert next(here, None) is None and len(ended) == 1
    assert "Measuring" in next(there)["minutes"]["busy"]["line"]
    forecast_view.begin_waiting(one)
    assert "Measuring" in next(planning(one))["minutes"]["busy"]["line"]


# --- texts and lists ---


def test_the_lists_are_those_of_the_package() -> None:
    assert settings.DEVICES == device.DEVICES
    assert set(texts.FAMILIES["about"]) == {key for keys in KEYS.values() for key in keys}
    assert config_view.SCHEDULE_REMARK in coach.MESSAGES


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
        forecast_view.begin_waiting(other)
        forecast_view.begin_waiting(page)
        assert not shared(forecast_view.Cancelled)
