"""What the page shows of a run, from files alone: progress, samples, curves, advice, controls."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from sd import runs
from sd.common.paths import PROJECT
from sd.config import Config
from sd.data import shapes
from sd.runs import process
from sd.runs.sharing.scheduler import Place
from sd.training import coach
from sd.ui import texts
from sd.ui.components import images
from sd.ui.train import advice, control, samples, watch
from tests.helpers.made import (
    MACHINE,
    add_events,
    emoji,
    evaluation_event,
    made_run,
    revive,
    step_event,
    write_events,
    write_sheet,
)

ENGLISH: Any = SimpleNamespace(headers={"accept-language": "en-GB,en;q=0.9"}, query_params={})
CHINESE: Any = SimpleNamespace(headers={"accept-language": "zh-CN,zh;q=0.9"}, query_params={})
STATES = (
    "starting",
    "running",
    "pausing",
    "paused",
    "stopping",
    "stopped",
    "finished",
    "failed",
    "lost",
)
BAD_NAMES = ["..", "../x", "", None, 7, "nope", "/etc"]


def look(name: str = "", *, request: Any = ENGLISH, **at: Any) -> dict[str, Any]:
    """Return what the page is sent when it shows a run: what it lacks, {} for nothing."""
    sent = watch.look(request, gr.EventData(None, {"run": name, "by_page": False, **at}))
    return dict(sent["panel"]["patch"]) if sent else {}


def first_look(name: str, **at: Any) -> dict[str, Any]:
    """Return what a page is sent that shows nothing yet, whose address names a run."""
    return look("", asked=name, **at)


def after(sent: dict[str, Any]) -> dict[str, Any]:
    """Return what a page tells of itself that has been sent this."""
    steps = [each["step"] for each in sent["sheets"]["more"]]
    return {"pulse": sent["pulse"], "drawn": sent["part"]["key"], "steps": steps}


def opened(file: Any) -> Image.Image:
    return Image.open(file["path"])


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("lang", texts.TEXTS)
def test_every_state_of_a_run_has_words(state: str, lang: str) -> None:
    status = runs.Status("x", state, 5, 20, 0.5, 38.2, 190.0, "<b>no</b>", "CPU", seconds=110.0)
    told = " ".join([watch.big_word(status, lang), *watch.facts(status, lang)])
    assert "{" not in told and told.strip()
    assert state == "starting" or "5" in told or "<b>" in told


def test_a_running_run_tells_its_time_and_what_it_holds() -> None:
    running = runs.Status("x", "running", 57, 270, 0.5, 40.2, 70.0, "", "CPU", seconds=110.0)
    held = replace(running, memory_bytes=850 * 2**20)
    assert watch.big_word(held, "en") == "1:50"
    assert watch.facts(held, "en") == ["of 3:00", "step 57", "40 pictures/s", "850 MiB"]
    assert (
        watch.facts(replace(held, device_memory_bytes=3 * 2**30), "en")[-1] == "3.0 GiB on the GPU"
    )
    assert watch.share(held) == pytest.approx(110 / 180)
    old = replace(running, seconds=None)  # a journal that does not tell the seconds
    assert watch.facts(old, "en")[0] == "step 57 of 270" and watch.share(old) == 57 / 270
    none = replace(old, step=0, total=1)  # of one by the clock the total is a guess
    assert watch.facts(none, "en")[0] == "taking its first step"
    assert watch.clock(3723) == "1:02:03"


@pytest.mark.parametrize("state", ["finished", "stopped", "failed", "lost"])
def test_a_run_that_ended_shows_no_bar_and_one_number_of_steps(state: str) -> None:
    status = runs.Status("x", state, 74, 74, 0.5, 38.2, None, "why", resumable=True, seconds=9.0)
    assert watch.share(status) is None
    assert watch.facts(replace(status, state="finished"), "en") == ["74 steps", "9 s"]
    told = watch.facts(status, "en")
    assert (texts.say("resume_hint", "en") in told) == (state in ("failed", "lost"))


def test_a_process_that_is_still_leaving_is_asked_for_nothing(home: Path) -> None:
    revive(made_run(home, "leaving", steps=52, end="finished"))
    assert runs.status(home / "leaving").state == "finished"
    assert first_look("leaving")["head"]["at_work"] is False
    add_events(revive(made_run(home, "going", steps=52, end=None)), step_event(56, 1000))
    assert first_look("going")["head"]["at_work"] is True


def test_reading_pictures_is_progress_too() -> None:
    status = runs.Status("x", "starting", 0, 0, None, None, None, "", "", (3200, 20_000))
    assert watch.facts(status, "en") == ["reading pictures: 3,200 of 20,000"]
    assert watch.share(status) == 0.16 and watch.big_word(status, "en") == "Preparing"


def first_stage_run(home: Path) -> Path:
    """A run whose autoencoder is in training, with what it makes of some pictures."""
    folder = revive(write_events(home / "own"))
    rows: list[dict[str, Any]] = [
        {"event": "first_stage", "done": 10 * k, "total": 160, "loss": 0.5 / k, "lr": 0.002}
        for k in range(1, 5)
    ]
    rows[1] |= {"psnr": 17.26}
    rows[3] |= {"psnr": 21.04}
    write_events(folder, {"event": "ingest", "done": 3, "total": 4}, *rows)
    write_sheet(folder / runs.LATENTS / runs.RECONSTRUCTIONS, emoji(16), 0.2)
    return folder


def test_an_autoencoder_in_training_shows_what_comes_back(home: Path) -> None:
    first_stage_run(home)
    sent = first_look("own")
    assert sent["head"]["facts"] == ["autoencoder: step 40 of 160", "21.0 dB"]
    assert sent["head"]["share"] == pytest.approx(40 / 160)
    assert sent["sheets"]["more"] == []
    with opened(sent["part"]["src"]) as image:
        assert image.size == (134, 134)
    assert "what comes back" in sent["part"]["note"]


def test_its_curves_are_its_own_and_stay(home: Path) -> None:
    folder = first_stage_run(home)
    sent = first_look("own", tool="loss")
    assert sent["head"]["curves"][-1] == "autoencoder"
    assert sent["part"]["stage"].count("<svg") == 2 and "PSNR, dB 21" in sent["part"]["stage"]
    assert "loss" in sent["part"]["stage"] and "step 160" in sent["part"]["stage"]
    add_events(folder, {"event": "start", "total": 900}, *(step_event(k, 900) for k in (4, 8)))
    later = first_look("own", tool="loss", curve="autoencoder")
    assert later["part"]["stage"] == sent["part"]["stage"]
    assert first_look("own", tool="loss")["part"]["stage"] != sent["part"]["stage"]


def test_a_run_without_one_offers_no_curve_of_it(home: Path) -> None:
    made_run(home, "plain")
    sent = first_look("plain", tool="loss", curve="autoencoder")
    assert "autoencoder" not in sent["head"]["curves"] and "<svg" in sent["part"]["stage"]


def test_a_run_stopped_before_its_first_step_tells_of_nothing_saved() -> None:
    status = runs.Status("x", "stopped", 0, 0, None, None, None, "")
    assert watch.facts(status, "en") == ["before the first step"]


def test_a_line_with_braces_is_told_as_it_is() -> None:
    status = runs.Status("x", "failed", 5, 20, None, None, None, "{step} {0}")
    assert watch.facts(status, "en")[0] == "{step} {0}"


def test_what_is_read_aloud_changes_with_state_and_samples_alone(home: Path) -> None:
    folder = revive(made_run(home, steps=100, end=None))
    first = watch.told(runs.status(folder), folder, "en")
    add_events(folder, step_event(104, 1000))
    assert watch.told(runs.status(folder), folder, "en") == first
    add_events(folder, {"event": "stopped", "step": 104})
    assert "saved at step 104" in watch.told(runs.status(folder), folder, "en")


def test_a_run_is_shown_once_and_then_nothing_is_sent(home: Path) -> None:
    made_run(home)
    first = first_look("made")
    assert (first["run"], first["by_page"]) == ("made", False)
    assert first["head"]["facts"][:2] == ["made", "saved at step 400 of 1,000"]
    assert opened(first["sheets"]["more"][-1]["src"]).size == (134, 134)
    assert first["coach"][0]["line"]
    assert look("made", **after(first)) == {}


def test_only_what_changed_is_sent(home: Path) -> None:
    folder = revive(made_run(home, end=None))
    first = first_look("made")
    assert "62 pictures/s" in first["head"]["facts"]
    add_events(folder, step_event(404, 1000))
    second = look("made", **after(first))
    assert set(second) == {"run", "by_page", "pulse", "sheets", "head", "coach"}
    assert len(second["sheets"]["more"]) == 1  # the newest, which may be made anew


def test_curves_are_drawn_only_while_their_tool_is_open(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = revive(made_run(home, end=None))
    shown = first_look("made", tool="loss")
    assert "polyline" in shown["part"]["stage"] and "held-out" in shown["part"]["stage"]
    at = after(shown)
    add_events(folder, step_event(404, 1000))
    assert "polyline" in look("made", tool="loss", **at)["part"]["stage"]
    monkeypatch.setattr(watch, "curve_html", lambda *_: pytest.fail("drawn for nobody"))
    look("made", tool="coach", **at)
    first_look("made")


def asked_run(home: Path, prompts: Any) -> str:
    """Make a run whose newest samples were asked for `prompts`; return their caption."""
    folder = made_run(home, steps=100)
    name = "samples/step-000000100.png"
    add_events(folder, {"event": "samples", "step": 100, "file": name, "prompts": prompts})
    return str(first_look("made")["part"]["note"])


def test_what_samples_were_asked_for_stands_under_them(home: Path) -> None:
    told = asked_run(home, ["cats", "<b>dogs</b>"] * 8)
    assert "Asked for: 1 cats, 2 &lt;b&gt;dogs&lt;/b&gt;" in told and "<b>" not in told
    assert told.count("<li>") == 16 and "<details" in told


@pytest.mark.parametrize(
    ("prompts", "line"),
    [
        (["a"] * 16, "All were asked for: a"),
        ([str(n) for n in "abcdefghijklmnop"], "Asked for: 1 a, 2 b, 3 c"),
    ],
)
def test_a_short_list_of_prompts_is_not_folded(home: Path, prompts: list[str], line: str) -> None:
    told = asked_run(home, prompts)
    assert line in told and "<details" not in told


def shapes_run(home: Path, source: str) -> str:
    """Make a run of drawn shapes, each second sample drawn as asked; return what it shows."""
    folder = made_run(home, "shapes", steps=100)
    seen, unseen = "red circle above blue square", "red circle left of blue square"
    prompts = [seen, unseen] * 8
    pictures = [
        shapes.draw(prompt if k < 8 else "yellow square", np.random.default_rng(k))
        for k, prompt in enumerate(prompts)
    ]
    write_sheet(folder / "samples" / "drawn.png", pictures, 0.0)
    (folder / "source.json").write_text(json.dumps({"data": source}))
    sample = {"event": "samples", "step": 100, "file": "samples/drawn.png", "prompts": prompts}
    add_events(folder, sample)
    return str(first_look("shapes")["part"]["note"])


def test_samples_of_drawn_shapes_are_told_right_or_wrong(home: Path) -> None:
    assert "by geometry: 8 of 16; of 8 combinations never shown: 4." in shapes_run(home, "shapes")


def test_of_other_sets_it_is_not_known_what_was_never_shown(home: Path) -> None:
    shown = shapes_run(home, "mine.zip")
    assert "by geometry: 8 of 16." in shown and "never shown" not in shown


@pytest.mark.parametrize("prompts", [None, [], "abc", 7, {"a": 1}])
def test_samples_that_were_asked_for_nothing_say_nothing(home: Path, prompts: Any) -> None:
    assert "sked for" not in asked_run(home, prompts)


def test_endless_prompts_are_cut_or_passed_over(home: Path) -> None:
    told = asked_run(home, ["x" * 2000] * 15 + ["y"])
    assert len(told) < 8000 and told.count("<li>") == 16


@pytest.mark.parametrize("prompts", [["x" * 100_000], ["a"] * 17, ["\ud800"], ["a", 3]])
def test_prompts_that_no_run_has_are_passed_over(home: Path, prompts: Any) -> None:
    assert "sked for" not in asked_run(home, prompts)


def one_more(folder: Path, step: int, name: str = "step") -> None:
    """Add samples of a step to a run."""
    file = f"samples/{name}-{step:09d}.png"
    write_sheet(folder / file, emoji(16), 0.5)
    add_events(folder, {"event": "samples", "step": step, "file": file})


def test_the_browser_is_sent_the_samples_that_it_lacks(home: Path) -> None:
    folder = revive(made_run(home, steps=100, end=None))
    first = first_look("made")
    steps = [each["step"] for each in first["sheets"]["more"]]
    one_more(folder, 104)
    more = look("made", **after(first))["sheets"]
    assert [each["step"] for each in more["more"]] == [104] and more["keep"] == len(steps)
    anew = look("made", **{**after(first), "steps": [3, *steps]})[
        "sheets"
    ]  # it went back meanwhile
    assert anew["keep"] == 0 and [each["step"] for each in anew["more"]] == [*steps, 104]


def test_a_long_timeline_keeps_its_ends_and_leaves_the_same_ones_out() -> None:
    grids = [runs.SampleGrid(step, Path("a.png"), None, []) for step in range(1, 500)]
    some, more = (samples.thin_grids(grids[:count]) for count in (400, 401))
    assert len(some) <= samples.MOST_SHEETS and (some[0], some[-1]) == (grids[0], grids[399])
    assert set(id(each) for each in some[:-1]) <= {id(each) for each in more}


def test_damaged_samples_hide_nothing_else(home: Path) -> None:
    folder = made_run(home, steps=100)
    runs.samples(folder)[-1].average.write_bytes(b"no picture")
    shown = first_look("made")
    assert shown["sheets"]["more"][-1]["src"] is None and shown["head"]["state"] == "stopped"


def test_a_run_without_samples_says_so(home: Path) -> None:
    revive(write_events(home / "new", {"event": "start", "total": 4, "machine": MACHINE}))
    shown = first_look("new", request=CHINESE)
    assert shown["sheets"] == {"keep": 0, "more": []}
    assert texts.say("samples_wait", "zh") in shown["part"]["note"]
    drawn = first_look("new", request=CHINESE, tool="loss")["part"]["stage"]
    assert texts.say("levels_wait", "zh") in drawn


def test_an_old_run_shows_a_sentence_and_no_empty_box(home: Path) -> None:
    folder = home / "old"
    write_sheet(folder.joinpath("samples").mkdir(parents=True) or folder / "samples" / "a.png",
                emoji(16), 0.2)  # fmt: skip
    steps = [
        {"event": "step", "step": n, "loss": 1 / n, "lr": 0.1, "grad_norm": 1.0,
         "pictures_per_second": 9.0, "step_seconds": 0.1} for n in (1, 2, 4)
    ]  # fmt: skip
    sample = {"event": "samples", "step": 4, "file": "samples/a.png"}
    start = {"event": "start", "total": 4, "machine": MACHINE}
    write_events(folder, start, *steps, sample, {"event": "finished", "step": 4})
    assert (
        texts.say("levels_none", "en") in first_look("old", tool="loss", curve="t")["part"]["stage"]
    )
    raw = first_look("old", view="raw")["part"]
    assert raw["src"] is None and texts.say("no_raw", "en") in raw["note"].unescape()
    nearest = first_look("old", tool="nearest")["part"]
    assert nearest["stage"] == "" and texts.say("no_nearest", "en") in nearest["note"].unescape()


def test_noise_stands_at_the_beginning_of_the_timeline(home: Path) -> None:
    made_run(home, steps=100)
    first = first_look("made")
    begun = look("made", **{**after(first), "step": 0})["part"]
    assert begun["note"] == "" and begun["key"] != first["part"]["key"]


@pytest.mark.parametrize(
    "part", ["step", "view", "curve", "tool", "steps", "run", "asked", "pulse"]
)
@pytest.mark.parametrize("value", [-1, 10**400, True, [1, "x"], {"a": 1}, "\ud800"])
def test_nothing_from_the_browser_is_believed(home: Path, part: str, value: Any) -> None:
    made_run(home, steps=100)
    with pytest.raises(gr.Error, match=r"must (be|not)|choose"):
        look("made", **{part: value}) if part != "run" else look(value)


def test_a_name_of_no_run_shows_the_usual_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a run was deleted elsewhere: the page goes on with another."""
    told: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda line, **_: told.append(line))
    made_run(home, steps=52)
    for name in ("..", "../x", "nope", "/etc"):
        assert look(name)["run"] == "made" and not told
        assert first_look(name)["run"] == "made" and "run = " in told.pop()
    for name in BAD_NAMES:
        with pytest.raises(gr.Error):
            control.press(ENGLISH, gr.EventData(None, {"do": "choose", "run": name}))


@pytest.mark.parametrize(
    ("place", "lang", "line"),
    [
        ((3, 5, 235.0), "en", "3rd of 5 in line, about 4 minutes"),
        ((11, 21, 40.0), "en", "11th of 21 in line, about 1 minute"),
        ((22, 22, 700.0), "zh", "排在第22位，共 22 个，约 12 分钟"),
        ((1, 5, 8.0), "en", "next in line"),
        ((1, 5, 60.0), "en", "1st of 5 in line, about 1 minute"),
        (None, "zh", "马上轮到"),
    ],
)
def test_who_waits_is_told_where_and_how_long(
    home: Path, monkeypatch: pytest.MonkeyPatch, place: Any, lang: str, line: str
) -> None:
    found = place and Place(*place)
    monkeypatch.setattr(runs, "find_place", lambda *_: found)
    folder = made_run(home, "a", steps=4)
    now = replace(runs.status(folder), state="waiting", step=4)
    shown = watch.head(now, folder, lang)
    assert shown["facts"] == [line, texts.say("at_step", lang, step="4")]
    assert shown["big"] == texts.say("big_waiting", lang) and not shown["at_work"]
    pulse = watch.pulse_of(now, folder)
    monkeypatch.setattr(runs, "find_place", lambda *_: Place(2, 9, 500.0))
    assert watch.pulse_of(now, folder) != pulse


@pytest.mark.parametrize(
    ("state", "resumable", "shown", "blue"),
    [
        ("waiting", False, ["pause", "stop"], ""),
        ("starting", False, ["pause", "stop"], ""),
        ("running", False, ["pause", "stop"], ""),
        ("pausing", False, ["go_on", "stop"], "go_on"),
        ("paused", False, ["go_on", "stop"], "go_on"),
        ("stopping", False, ["leave"], ""),
        ("stopped", True, ["resume", "further"], "draw"),
        ("lost", True, ["resume"], "resume"),
        ("failed", True, ["resume"], "resume"),
        ("failed", False, [], "draw"),
        ("finished", True, ["further"], "draw"),
        ("finished", False, [], "draw"),
    ],
)
def test_what_can_be_pressed_fits_the_state(
    state: str, resumable: bool, shown: list[str], blue: str
) -> None:
    status = runs.Status("x", state, 5, 20, 0.5, 1.0, None, "", resumable=resumable)
    assert (watch.verbs(status), watch.primary(status, True)) == (shown, blue)
    assert watch.primary(status, False) == ("" if blue == "draw" else blue)


@pytest.mark.parametrize("lang", texts.TEXTS)
def test_what_is_asked_before_the_first_step_speaks_of_no_step(lang: str) -> None:
    for state in ("pausing", "stopping"):
        early, later = (runs.Status("x", state, n, 20, None, None, None, "") for n in (0, 7))
        (line,) = watch.facts(early, lang)
        assert "0" not in line and line != watch.facts(later, lang)[0]


def test_a_tab_that_was_open_before_shows_a_run_that_is_started(home: Path) -> None:
    """In another tab, or by the command line; not where a person chose what is shown."""
    assert look() == {}
    made_run(home, "a-old", steps=52)
    attached = look()
    assert attached["run"] == "a-old" and attached["by_page"] is True
    revive(made_run(home, "b-new", steps=52, end=None))
    assert look("a-old", **after(attached)) == {}  # a person's choice
    sent = look("a-old", **{**after(attached), "by_page": True})
    assert (sent["run"], sent["by_page"]) == ("b-new", True)


def test_a_clone_keeps_the_bundled_runs_apart_from_ones_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There both lie in one folder; the bundled ones are as old as the clone."""
    monkeypatch.setattr("sd.runs.home.BUNDLED_RUNS", home)
    checkpoint = made_run(home, "shapes32", steps=52) / "checkpoint-000000052"
    checkpoint.mkdir()
    (checkpoint / "checkpoint.json").write_text("{}")
    example = look()
    assert example["head"]["facts"] == [texts.say("example_run", "en")]
    assert example["head"]["verbs"] == [] and example["head"]["primary"] == ""
    process.record(made_run(home, "mine", steps=52), control.NOBODY)
    os.utime(home / "mine" / runs.CONFIG, (1, 1))
    assert look()["run"] == "mine"
    assert control.list_run_names() == ["mine", "shapes32"]
    assert look()["head"]["facts"][0] == "mine"
    assert runs.status(home / "mine").state == "stopped"
    (home / "next").mkdir()
    (home / "next" / runs.LOG).touch()
    process.record(home / "next", os.getpid(), process.STARTING)
    assert look()["run"] == "next" and look()["head"]["facts"] == ["starting"]


def test_a_page_opens_what_lives_else_ones_own_newest(home: Path, tmp_path: Path) -> None:
    bundled = made_run(tmp_path / "bundled", "shipped", steps=52)
    (bundled / "checkpoint-000000052").mkdir()
    (bundled / "checkpoint-000000052" / "checkpoint.json").write_text("{}")
    example = look()
    assert example["run"] == "shipped" and example["head"]["verbs"] == []
    assert example["head"]["facts"] == [texts.say("example_run", "en")]
    os.utime(made_run(home, "older", steps=52) / runs.CONFIG, (1, 1))
    made_run(home, "newer", steps=52)
    assert look()["run"] == "newer" and look()["by_page"] is True
    assert first_look("older")["run"] == "older" and first_look("older")["by_page"] is False
    os.utime(revive(made_run(home, "alive", steps=52, end=None)) / runs.CONFIG, (2, 2))
    assert look()["run"] == "alive"


@pytest.mark.parametrize("which", watch.CURVES[:-1])  # the last is an autoencoder's
def test_every_figure_over_the_steps_is_drawn(home: Path, which: str) -> None:
    folder = made_run(home, steps=100)
    drawn = watch.curve_html(folder, which, "en")
    assert "<polyline" in drawn
    if which != "t":
        assert "step 100" in drawn  # the axis ends where the run stands
    if which not in watch.LEVELS:
        assert texts.say(f"curve_{which}", "zh") in watch.curve_html(folder, which, "zh")


def test_one_measurement_is_no_course(home: Path) -> None:
    write_events(home / "one", {"event": "start", "total": 4}, evaluation_event(4))
    assert texts.say("levels_one", "en") in watch.curve_html(home / "one", "course", "en")


def test_a_sheet_is_cut_into_its_pictures(tmp_path: Path) -> None:
    pictures = emoji(16)
    write_sheet(write_events(tmp_path) / "samples" / "b.png", pictures, 0.0)
    cut = samples.cut_cells(samples.open_grid(tmp_path / "samples" / "b.png"), 16)
    assert [image.tobytes() for image in cut] == [image.tobytes() for image in pictures]


def test_large_pictures_travel_small() -> None:
    address = images.data_address(Image.effect_noise((600, 600), 90))
    assert address.startswith("data:image/jpeg;base64,") and len(address) < 25_000
    assert images.data_address(Image.new("L", (32, 32))).startswith("data:image/png;base64,")


def test_samples_beside_their_nearest_pictures(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made_run(home, steps=100)
    (folder / "pictures").mkdir()
    found = [(f"<i>{k}.png", image) for k, image in enumerate(emoji(16))]
    monkeypatch.setattr(
        samples, "open_training_pictures", lambda _, places: [found[k] for k in places]
    )
    shown = first_look("made", tool="nearest")["part"]
    pairs = shown["stage"]
    assert pairs.count("<figure>") == 16 and pairs.count("data:image/png") == 32
    assert "<i>" not in pairs and "&lt;i&gt;3.png" in pairs
    assert pairs.index("0.21") < pairs.index("0.28") < pairs.index("1.26")
    assert "a copy" in pairs and "its own" in pairs
    assert "2 of 16 samples are copies" in shown["note"]


def test_the_bundled_run_shows_its_nearest_pictures(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It carries no pictures: those of the starter set are here."""
    monkeypatch.setattr("sd.runs.home.BUNDLED_RUNS", PROJECT / "checkpoints")
    assert first_look("emoji32", tool="nearest")["part"]["stage"].count("<figure>") == 16
    folder = runs.default_home().find_run("emoji32")
    grid = runs.samples(folder)[-1]
    ((name, picture),) = samples.open_training_pictures(folder, [grid.nearest[0][0]])
    assert name == "images/0000-grinning-face.png" and picture.size == (32, 32)


def test_damaged_pictures_do_not_hide_the_run(home: Path) -> None:
    folder = made_run(home, steps=100)
    (folder / "pictures").mkdir()
    (folder / "pictures" / "index.json").write_text("[]")
    shown = first_look("made", tool="nearest")
    assert shown["head"]["state"] == "stopped" and shown["sheets"]["more"]
    assert shown["part"]["stage"] == "" and "pictures" in shown["part"]["note"]


@pytest.mark.parametrize(
    ("distances", "told"),
    [([0.9, 1.1], "None of the 2 samples"), ([0.4, 0.9], "1 of 2 samples comes close"),
     ([0.1, 0.2], "2 of 2 samples are copies")],
)  # fmt: skip
def test_the_meter_says_how_near(distances: list[float], told: str) -> None:
    sheet = runs.SampleGrid(4, Path("a.png"), None, [(0, far) for far in distances])
    usual = samples.Baseline("held_out", 20, 0.5, 0.9)
    assert told in samples.meter_html(sheet, usual, False, "en")
    assert "20" in samples.meter_html(sheet, usual, False, "zh")
    alone = samples.meter_html(sheet, None, True, "en")  # measured, with nothing to compare it with
    assert f"nearest of the 2 samples is {min(distances):.2f}" in alone and "too few" in alone
    assert samples.meter_html(replace(sheet, nearest=[]), None, False, "en") == ""


def grey_run(home: Path) -> Path:
    """Make a run whose schedule ends too early, as the original's."""
    folder = made_run(home, "grey", steps=100)
    (folder / runs.CONFIG).write_text(Config.preset("seed").to_ini())
    return folder


def click(run: str, kind: Any) -> Any:
    return gr.EventData(None, {"run": run, "fix": kind})


def test_a_click_takes_the_remedy_into_the_plan(home: Path) -> None:
    folder = grey_run(home)
    told = advice.run_remarks(folder, runs.status(folder), "en")
    (remark,) = [each for each in told if "rescale_betas = True" in each.get("button", "")]
    sent = control.apply_fix(ENGLISH, click("grey", remark["fix"]), "starter")
    config = advice.read_config(folder).with_settings(["diffusion.rescale_betas=True"])
    assert sent["config"] == config


def test_a_tuned_decoder_goes_with_the_network_as_it_is(home: Path) -> None:
    folder = made_run(home, "on latents", steps=52, end=None)
    (folder / runs.CONFIG).write_text(Config.preset("latent128").to_ini())
    (folder / "checkpoint-000000052").mkdir()
    (folder / "checkpoint-000000052" / "checkpoint.json").write_text("{}")
    saved = {"event": "checkpoint", "step": 52, "folder": "checkpoint-000000052"}
    add_events(folder, saved, {"event": "finished", "step": 52})
    told = advice.run_remarks(folder, runs.status(folder), "en")
    (remark,) = [each for each in told if each.get("fix") == "untuned_run"]
    assert remark["button"] == "Tune the decoder in a new run"
    sent = control.apply_fix(ENGLISH, click("on latents", "untuned_run"), "starter")
    values = sent["form"]["patch"]["values"]
    assert (values["start_from"], values["tune_steps"]) == ("on latents", 100)
    assert not sent["form"]["patch"]["faults"]


@pytest.mark.parametrize("kind", ["nope", None, 3, "<b>", ["x"]])
def test_only_a_remedy_of_the_coach_is_taken(home: Path, kind: Any) -> None:
    grey_run(home)
    with pytest.raises(gr.Error):
        control.apply_fix(ENGLISH, click("grey", kind), "starter")


def test_a_run_that_needs_more_steps_is_resumed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_run(home, steps=100, total=100, end="finished")
    figures = dict.fromkeys(("steps", "passes", "pictures", "batch", "shapes", "better"), 9)
    remark = coach.Remark("few_steps", figures, ("training.steps=300",))
    assert advice.requested_steps(remark) == 300
    resumed: list[Any] = []
    monkeypatch.setattr(coach, "tell_run", lambda config, events: [remark])
    status: Any = SimpleNamespace(resumable=True)
    monkeypatch.setattr(runs, "status", lambda _: status)
    monkeypatch.setattr(runs, "resume", lambda home, *given: resumed.append(given))
    (told,) = advice.run_remarks(folder, status, "en")
    assert told["button"] == "Train on to step 300"
    sent = control.apply_fix(ENGLISH, click("made", "few_steps"), "starter")
    assert sent == {"panel": {"ask": True}} and resumed == [(folder, 300)]


def test_notices_are_told(home: Path) -> None:
    folder = made_run(home, steps=100)
    add_events(folder, {"event": "notice", "step": 9, "kind": "fell_back", "line": "<b>back"})
    assert {"line": "<b>back"} in first_look("made")[
        "coach"
    ]  # a text: the browser writes it as one
