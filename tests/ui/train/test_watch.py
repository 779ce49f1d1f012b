"""What the page shows of a run, from files alone: progress, samples, curves, advice, controls."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from sd import runs
from sd.common.paths import PROJECT
from sd.config import Config
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


def look(
    name: str,
    seen: dict[str, Any] | None = None,
    place: float = 0,
    view: str = "averaged",
    request: Any = ENGLISH,
) -> dict[str, Any]:
    """Return what the page is sent when it shows a run."""
    return watch.refresh(name, seen or {}, place, view, "loss", "t", request)  # type: ignore[no-any-return]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("lang", texts.TEXTS)
def test_every_state_of_a_run_has_words(state: str, lang: str) -> None:
    status = runs.Status("x", state, 5, 20, 0.5, 38.2, 190.0, "<b>no</b>", "<b>CPU</b>")
    told = watch.progress_html(status, lang)
    assert "<b>" not in told and "{" not in told
    assert state == "starting" or "5" in told or "&lt;b&gt;" in told


def test_memory_in_use_stands_beside_the_speed() -> None:
    running = runs.Status("x", "running", 5, 20, 0.5, 38.2, 190.0, "", "CPU")
    held = replace(running, memory_bytes=850 * 2**20, device_memory_bytes=3 * 2**30)
    for lang, told in (("en", "850 MiB of memory"), ("zh", "内存 850 MiB")):
        words = watch.progress_lines(held, lang)
        assert words.index(told) == 1 + words.index(texts.say("speed", lang, n=38))
    assert "3.0 GiB on the GPU" in watch.progress_lines(held, "en")
    assert not [word for word in watch.progress_lines(running, "en") if "memory" in word]


def test_reading_pictures_is_progress_too() -> None:
    status = runs.Status("x", "starting", 0, 0, None, None, None, "", "", (3200, 20_000))
    told = watch.progress_html(status, "en")
    assert "reading pictures: 3,200 of 20,000" in told and 'aria-valuenow="16"' in told


def test_a_run_stopped_before_its_first_step_tells_of_nothing_saved() -> None:
    status = runs.Status("x", "stopped", 0, 0, None, None, None, "")
    assert watch.progress_lines(status, "en") == ["stopped before the first step"]


def test_a_line_with_braces_is_told_as_it_is() -> None:
    status = runs.Status("x", "failed", 5, 20, None, None, None, "{step} {0}")
    assert "failed: {step} {0}" in watch.progress_html(status, "en")


def test_a_run_is_shown_once_and_then_skipped(home: Path) -> None:
    made_run(home)
    first = look("made")
    assert "stopped and saved at step 400 of 1,000" in first["progress"]
    assert "polyline" in first["curve"] and "held-out" in first["levels"]
    assert Image.open(first["picture"]["value"]).size == (536, 536)
    assert "step 400" in first["picture"]["alt_text"]
    assert "polyline" not in first["advice"] and "<ul>" in first["advice"]
    assert set(look("made", first["seen"])) == {"progress", "seen"}
    assert watch.read_pulse("made", first["seen"], True) == {}
    assert watch.read_pulse("made", {}, True) == {"pulse": first["seen"]["pulse"]}


def test_only_what_changed_is_sent(home: Path) -> None:
    folder = revive(made_run(home, end=None))
    first = look("made")
    assert "62 pictures/s" in first["progress"] or "pictures/s" in first["progress"]
    add_events(folder, step_event(404, 1000))
    assert watch.read_pulse("made", first["seen"], True)["pulse"] != first["seen"]["pulse"]
    second = look("made", first["seen"])
    assert set(second) - {"advice"} == {"progress", "curve", "seen"}
    add_events(folder, evaluation_event(404))
    assert "levels" in set(look("made", second["seen"]))


def asked_run(home: Path, prompts: Any) -> str:
    """Make a run whose newest samples were asked for `prompts`; return their caption."""
    folder = made_run(home, steps=100)
    name = "samples/step-000000100.png"
    add_events(folder, {"event": "samples", "step": 100, "file": name, "prompts": prompts})
    return str(look("made")["caption"])


def test_what_samples_were_asked_for_stands_under_them(home: Path) -> None:
    told = asked_run(home, ["cats", "<b>dogs</b>"] * 8)
    assert "Asked for: 1 cats, 2 &lt;b&gt;dogs&lt;/b&gt;" in told and "<b>" not in told
    assert told.count("<li>") == 16 and "<details" in told
    alt = look("made")["picture"]["alt_text"]
    assert alt.endswith("; Asked for: " + alt.partition("Asked for: ")[2]) and "1 cats, 2" in alt


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


@pytest.mark.parametrize("prompts", [None, [], "abc", 7, {"a": 1}])
def test_samples_that_were_asked_for_nothing_say_nothing(home: Path, prompts: Any) -> None:
    assert "sked for" not in asked_run(home, prompts)


def test_endless_prompts_are_cut_or_passed_over(home: Path) -> None:
    told = asked_run(home, ["x" * 2000] * 15 + ["y"])
    assert len(told) < 8000 and told.count("<li>") == 16


@pytest.mark.parametrize("prompts", [["x" * 100_000], ["a"] * 17, ["\ud800"], ["a", 3]])
def test_prompts_that_no_run_has_are_passed_over(home: Path, prompts: Any) -> None:
    assert "sked for" not in asked_run(home, prompts)


def test_the_timeline_follows_only_from_its_end(home: Path) -> None:
    folder = revive(made_run(home, steps=100, end=None))

    def one_more(step: int) -> None:
        name = f"samples/step-{step:09d}.png"
        write_sheet(folder / name, emoji(16), 0.5)
        add_events(folder, {"event": "samples", "step": step, "file": name})

    first = look("made")
    assert first["timeline"]["value"] == 1
    one_more(104)
    assert look("made", first["seen"], place=0)["timeline"]["value"] == 0
    second = look("made", first["seen"], place=1)
    assert (second["timeline"]["value"], second["timeline"]["step"]) == (1, 0.5)
    one_more(108)
    held = look("made", second["seen"], place=0.5)["timeline"]  # the second of three, now of four
    assert held["value"] == held["step"] == 1 / 3
    assert "maximum" not in held  # or gradio would hold another run's place to it


def test_a_run_without_samples_says_so(home: Path) -> None:
    revive(write_events(home / "new", {"event": "start", "total": 4, "machine": MACHINE}))
    shown = look("new", request=CHINESE)
    assert shown["picture"]["value"] is None
    assert texts.say("samples_wait", "zh") in shown["caption"]
    assert texts.say("levels_wait", "zh") in shown["levels"]
    assert texts.say("likeness_wait", "zh") in shown["meter"]
    assert (shown["timeline"]["value"], shown["timeline"]["interactive"]) == (0, False)


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
    shown = look("old")
    assert texts.say("levels_none", "en") in shown["levels"] and "svg" not in shown["levels"]
    assert shown["meter"] == ""
    for view in ("raw", "nearest"):
        shown = watch.scrub("old", 0, view, ENGLISH)
        assert (
            Image.open(shown["picture"]["value"]).size[0] == 536
            and shown["pairs"]["visible"] is False
        )
        assert texts.say(f"no_{view}", "en") in shown["caption"].unescape()


@pytest.mark.parametrize("part", ["place", "view", "curve", "levels"])
@pytest.mark.parametrize("value", [-1, 10**400, True, "../x", [1], {"a": 1}, None])
def test_nothing_from_the_browser_is_believed(home: Path, part: str, value: Any) -> None:
    made_run(home, steps=100)
    good = {"place": 0, "view": "raw", "curve": "speed", "levels": "course"}
    with pytest.raises(gr.Error, match=r"must be|choose"):
        watch.refresh("made", {}, request=ENGLISH, **{**good, part: value})


@pytest.mark.parametrize("name", BAD_NAMES)
def test_watching_takes_only_names_of_runs(name: Any, home: Path) -> None:
    with pytest.raises(gr.Error):
        watch.scrub(name, 0, "raw", ENGLISH)
    with pytest.raises(gr.Error):
        watch.draw_curve(name, "loss", ENGLISH)
    with pytest.raises(gr.Error):
        control.select_run(name)
    if name:
        for asked in (lambda: watch.read_pulse(name, {}, True), lambda: watch.wake(name)):
            with pytest.raises(gr.Error):
                asked()


@pytest.mark.parametrize(
    ("state", "resumable", "shown"),
    [
        ("starting", False, {"pause", "stop"}),
        ("running", False, {"pause", "stop"}),
        ("pausing", False, {"go_on", "stop"}),
        ("paused", False, {"go_on", "stop"}),
        ("stopping", False, {"pause", "leave"}),
        ("stopped", True, {"pause", "resume"}),
        ("lost", True, {"pause", "resume"}),
        ("failed", True, {"pause", "resume"}),
        ("failed", False, {"pause", "stop"}),
        ("finished", True, {"pause", "stop"}),
    ],
)
def test_two_buttons_beside_start_fit_the_state(
    state: str, resumable: bool, shown: set[str]
) -> None:
    status = runs.Status("x", state, 5, 20, 0.5, 1.0, None, "", resumable=resumable)
    parts = watch.show_controls(status)
    assert {name for name in watch.CONTROLS if parts[name]["visible"]} == shown
    assert parts["further"]["visible"] is resumable
    assert parts["requests"]["visible"] is status.alive
    assert parts["start"]["interactive"] is (not status.alive or state == "paused")
    assert parts["clock"]["active"] is status.alive
    assert parts["slow_clock"]["active"] is not status.alive  # another run may be started
    if not status.alive:
        assert not parts["pause"]["interactive"] and not parts["stop"]["interactive"]


@pytest.mark.parametrize("state", ["starting", "running"])
def test_a_run_can_be_paused_and_stopped_as_soon_as_it_is_shown(state: str) -> None:
    parts = watch.show_controls(runs.Status("x", state, 0, 20, None, None, None, ""))
    assert parts["pause"]["interactive"] and parts["stop"]["interactive"]


@pytest.mark.parametrize("lang", texts.TEXTS)
def test_what_is_asked_before_the_first_step_speaks_of_no_step(lang: str) -> None:
    for state in ("pausing", "stopping"):
        early, later = (runs.Status("x", state, n, 20, None, None, None, "") for n in (0, 7))
        (line,) = watch.progress_lines(early, lang)
        assert "0" not in line and line != watch.progress_lines(later, lang)[0]


def test_a_tab_that_was_open_before_shows_a_run_that_is_started(home: Path) -> None:
    """In another tab, or by the command line; not where a person chose what is shown."""
    assert watch.read_pulse(None, {}, True) == {}
    started = revive(made_run(home, "b-new", steps=52, end=None))
    sent = watch.read_pulse(None, {}, True)
    assert sent["run"]["value"] == "b-new" and sent["pulse"]
    made_run(home, "a-old", steps=52)
    attached = {"by_page": True}
    assert look("a-old", attached)["seen"]["by_page"] is True
    assert watch.read_pulse("a-old", look("a-old", attached)["seen"], True)["run"] == sent[
        "run"
    ] | {"choices": ["b-new", "a-old"]}
    chosen = look("a-old", control.select_run("a-old")["seen"])["seen"]
    assert watch.read_pulse("a-old", chosen, True) == {}
    seen = look("b-new", attached)["seen"]
    assert watch.read_pulse("b-new", seen, True) == {} and started.is_dir()


def test_the_page_s_own_choice_is_known(home: Path) -> None:
    made_run(home, "a", steps=52)
    assert control.attach({}, ENGLISH)["seen"] == {"by_page": True}
    asked = SimpleNamespace(headers=ENGLISH.headers, query_params={"run": "a"})
    assert control.attach({}, asked)["seen"] == {"by_page": False}


def test_a_clock_that_ticks_unseen_is_ended(home: Path) -> None:
    """As after an answer that came when another tab was looked at already."""
    made_run(home)
    for sent in (watch.read_pulse("made", {}, False), watch.rest()):
        assert not sent["clock"].active and not sent["slow_clock"].active and "pulse" not in sent
    assert watch.rest()["watched"] is False and watch.wake("made")["watched"] is True


def test_the_quick_clock_goes_for_what_lives_and_the_slow_one_for_what_may_begin(
    home: Path,
) -> None:
    def going(name: str | None) -> list[bool]:
        sent = watch.wake(name)
        return [sent[clock].active for clock in ("clock", "slow_clock")]

    made_run(home)
    assert going(None) == going("") == going("made") == [False, True]
    revive(made_run(home, "alive", end=None))
    assert going("alive") == [True, False]


@pytest.mark.parametrize("which", watch.CURVES)
def test_every_figure_over_the_steps_is_drawn(home: Path, which: str) -> None:
    made_run(home, steps=100)
    assert "<polyline" in watch.draw_curve("made", which, ENGLISH)["curve"]
    assert texts.say(f"curve_{which}", "zh") in watch.draw_curve("made", which, CHINESE)["curve"]


def test_the_levels_at_each_t_and_over_the_steps(home: Path) -> None:
    made_run(home, steps=100)
    assert "at step 100" in watch.draw_levels("made", "t", ENGLISH)["levels"]
    assert "<polyline" in watch.draw_levels("made", "course", ENGLISH)["levels"]
    folder = home / "one"
    write_events(folder, {"event": "start", "total": 4}, evaluation_event(4))
    assert texts.say("levels_one", "en") in watch.draw_levels("one", "course", ENGLISH)["levels"]


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
    shown = look("made", view="nearest")
    assert shown["picture"] == gr.update(visible=False)
    pairs = shown["pairs"]["value"]
    assert pairs.count("<figure>") == 16 and pairs.count("data:image/png") == 32
    assert "<i>" not in pairs and "&lt;i&gt;3.png" in pairs
    assert pairs.index("0.21") < pairs.index("0.28") < pairs.index("1.26")
    assert "a copy" in pairs and "its own" in pairs
    assert "2 of 16 samples are copies" in shown["meter"]


def test_the_bundled_run_shows_its_nearest_pictures(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It carries no pictures: those of the starter set are here."""
    monkeypatch.setattr("sd.runs.home.BUNDLED_RUNS", PROJECT / "checkpoints")
    shown = look("emoji32", view="nearest")
    pairs = shown["pairs"]["value"]
    assert pairs.count("<figure>") == 16 and "at step 4,000, each" in shown["caption"]
    folder = runs.default_home().find_run("emoji32")
    grid = runs.samples(folder)[-1]
    ((name, picture),) = samples.open_training_pictures(folder, [grid.nearest[0][0]])
    assert name == "images/0000-grinning-face.png" and picture.size == (32, 32)


def test_damaged_pictures_do_not_hide_the_run(home: Path) -> None:
    folder = made_run(home, steps=100)
    (folder / "pictures").mkdir()
    (folder / "pictures" / "index.json").write_text("[]")
    shown = look("made", view="nearest")
    assert "stopped and saved" in shown["progress"]
    assert shown["picture"]["visible"] and not shown["pairs"]["visible"]
    assert "pictures" in shown["caption"] and "samples at step 100" in shown["caption"]


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


def click(kind: Any) -> Any:
    return gr.EventData(None, {"fix": kind})


def test_a_click_takes_the_remedy_into_the_plan(home: Path) -> None:
    folder = grey_run(home)
    told = advice.run_advice_html(folder, False, "en")
    assert "<button" in told and "rescale_betas = True" in told
    kind = told.partition('data-fix="')[2].partition('"')[0]
    sent = control.apply_fix("grey", "starter", ENGLISH, click(kind))
    config = advice.read_config(folder).with_settings(["diffusion.rescale_betas=True"])
    assert sent["config"] == config and sent["rescale_betas"]["value"] is True


@pytest.mark.parametrize("kind", ["nope", None, 3, "<b>", ["x"]])
def test_only_a_remedy_of_the_coach_is_taken(home: Path, kind: Any) -> None:
    grey_run(home)
    with pytest.raises(gr.Error):
        control.apply_fix("grey", "starter", ENGLISH, click(kind))


def test_a_run_that_needs_more_steps_is_resumed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_run(home, steps=100, total=100, end="finished")
    figures = dict.fromkeys(("steps", "passes", "pictures", "batch", "shapes", "better"), 9)
    remark = coach.Remark("few_steps", figures, ("training.steps=300",))
    assert advice.requested_steps(remark) == 300
    resumed: list[Any] = []
    monkeypatch.setattr(coach, "review_run", lambda config, events: [remark])
    monkeypatch.setattr(runs, "status", lambda _: SimpleNamespace(resumable=True))
    monkeypatch.setattr(runs, "resume", lambda home, *given: resumed.append(given))
    assert ">Train on to step 300</button>" in advice.run_advice_html(folder, True, "en")
    assert control.apply_fix("made", "starter", ENGLISH, click("few_steps")) == {}
    assert resumed == [(folder, 300)]


def test_notices_are_told_and_escaped(home: Path) -> None:
    folder = made_run(home, steps=100)
    add_events(folder, {"event": "notice", "step": 9, "kind": "fell_back", "line": "<b>back"})
    told = look("made")["advice"]
    assert "&lt;b&gt;back" in told and "<b>back" not in told


def test_a_page_finds_its_run_again(home: Path) -> None:
    made_run(home, "mine", steps=52)
    made_run(home, "newer", steps=52)
    assert control.attach({"run": "mine"}, ENGLISH)["run"]["value"] == "mine"
    asked: Any = SimpleNamespace(headers={}, query_params={"run": "newer"})
    assert control.attach({"run": "mine"}, asked)["run"]["value"] == "newer"
    for forgotten in ({"run": "../mine"}, None, [], {"run": 3}):
        assert control.attach(forgotten, ENGLISH)["run"]["value"] == "newer"
    revive(write_events(home / "alive", {"event": "start", "total": 4}))
    assert control.attach({}, ENGLISH)["run"]["value"] == "alive"


@pytest.mark.parametrize("name", ["nope", "../x", "", "<b>"])
def test_an_address_that_names_no_run_is_told(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda line, **_: told.append(line))
    asked: Any = SimpleNamespace(headers={}, query_params={"run": name})
    control.attach({}, asked)
    assert len(told) == 1 and "run = " in told[0] and "<b>" not in told[0]
