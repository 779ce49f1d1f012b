"""A run seen through the page, whatever happens: what is shown comes to be true.

How soon, no test asks: the machine may be another's too.

The runs are trained for real, on the smallest network, in processes of their own.
"""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from PIL import Image

from sd import runs
from sd.config import Config
from sd.ui.components.curves import MOST_POINTS, WIDTH
from tests.browser.conftest import DEFAULT_WAIT, end_runs
from tests.conftest import TINY
from tests.helpers.serving import Server

pytestmark = pytest.mark.browser

LONG, SHORT = 200_000, 40  # what is to be seen on its way is not over before
HELD_OUT = "training.held_out=0.05"
PANEL = ".run-panel[data-run]:not([data-run=''])"


def begin(steps: int, *more: str) -> Path:
    """Start a run of the smallest network and wait for its first step."""
    settings = (*TINY, f"training.steps={steps}", "training.sample_every=0", HELD_OUT, *more)
    folder = runs.start(runs.default_home(), "starter", Config().with_settings(settings), 0, "cpu")
    until(lambda: runs.status(folder).step > 0)
    return folder


def until(holds: Callable[[], Any]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + DEFAULT_WAIT
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.05)


def told(page: Any) -> str:
    """Return what stands beside the clock; while a page is being loaded there is nothing."""
    line = page.locator(".run-facts")
    return str(line.inner_text()) if line.count() else ""


def shown(page: Any, name: str) -> str:
    """Return what the panel says of the run that it shows: data-run, data-state or data-step."""
    panel = page.locator(PANEL)
    return str(panel.get_attribute(f"data-{name}")) if panel.count() else ""


def comes_true(page: Any, folder: Path) -> None:
    """Wait until what is shown is what the files and the process say now."""
    now = runs.status(folder)

    def is_true() -> bool:
        if (shown(page, "run"), shown(page, "state")) != (folder.name, now.state):
            return False
        return now.state != "running" or int(shown(page, "step") or -1) >= now.step

    end = time.monotonic() + DEFAULT_WAIT
    while not is_true():
        assert time.monotonic() < end, f"{told(page)!r} is shown, it is {now}"
        page.wait_for_timeout(50)


def open_tool(page: Any, tool: str) -> None:
    """Open a tool below the samples, if it is not open."""
    button = page.locator(f"[data-tool={tool}]")
    if button.get_attribute("aria-expanded") != "true":
        button.click()


def curve_is_whole(page: Any, folder: Path) -> None:
    """Hold the curve that is shown to every logged step, from the first to where it stands."""
    open_tool(page, "loss")
    page.wait_for_selector(".run-drawn polyline.raw")
    points = page.locator(".run-drawn polyline.raw").first.get_attribute("points").split()
    past = runs.history(folder)
    assert len(points) >= min(MOST_POINTS, len(past.steps)) - 20
    first, last = (float(point.split(",")[0]) / WIDTH for point in (points[0], points[-1]))
    assert first <= (past.steps[0] + past.steps[-1] / 50) / past.steps[-1]
    assert last == pytest.approx(1, abs=0.02)


@pytest.fixture(autouse=True)
def home_of_the_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process see the runs that the page sees; none is left alive."""
    monkeypatch.setenv("SD_HOME", str(home))
    yield
    end_runs(home)


def open_run(open_page: Any, folder: Path) -> Any:
    page = open_page(address_end=f"?run={folder.name}")
    page.wait_for_selector(PANEL)
    return page


def test_a_run_is_steered_in_two_tabs_and_its_end_is_told(open_page: Any) -> None:
    folder = begin(LONG, "training.save_every=50")
    page = open_run(open_page, folder)
    comes_true(page, folder)
    curve_is_whole(page, folder)
    page.reload()
    page.wait_for_selector(PANEL)
    comes_true(page, folder)
    curve_is_whole(page, folder)
    second = page.context.new_page()
    second.goto(page.url)
    second.wait_for_selector(PANEL)
    comes_true(second, folder)
    curve_is_whole(second, folder)
    for button, state in (
        ("pause", "paused"),
        ("go-on", "running"),
        ("stop", "stopped"),
        ("resume", "running"),
    ):
        before = runs.status(folder).step
        page.locator(f"#train-{button}").click()
        until(lambda wanted=state: runs.status(folder).state == wanted)
        for each in (page, second):
            comes_true(each, folder)
        assert runs.status(folder).step >= before
    until(lambda: list(folder.glob("checkpoint-*")))
    end_runs(folder.parent)
    assert runs.status(folder).state == "lost"
    comes_true(page, folder)
    page.locator("#train-resume").click()
    until(lambda: runs.status(folder).state == "running")
    comes_true(page, folder)
    curve_is_whole(page, folder)
    page.locator("#train-stop").click()
    until(lambda: runs.status(folder).state == "stopped")
    steps = runs.history(folder).steps
    assert steps == sorted(set(steps)), "the log tells a step twice"


@pytest.mark.slow
def test_train_more_after_the_end(open_page: Any) -> None:
    folder = begin(SHORT)
    page = open_run(open_page, folder)
    until(lambda: runs.status(folder).state == "finished")
    comes_true(page, folder)
    page.locator("#train-further-minutes").fill("0.1")
    page.locator("#train-further").click()
    until(lambda: runs.status(folder).step > SHORT)
    until(lambda: runs.status(folder).state == "finished")
    comes_true(page, folder)
    open_tool(page, "nearest")
    page.locator(".run-drawn figure").first.wait_for()
    assert page.locator(".run-drawn figure").count() == 16


@pytest.mark.slow
def test_sample_now_and_save_now(open_page: Any) -> None:
    folder = begin(LONG, "training.save_every=0")
    page = open_run(open_page, folder)
    page.locator("#train-sample-now").click()
    until(lambda: runs.samples(folder))
    page.locator("#train-timeline[max='1']").wait_for()
    open_tool(page, "loss")
    page.locator(".run-drawn polyline.accent").first.wait_for()
    open_tool(page, "save")
    page.locator("#train-save-now").click()
    until(lambda: list(folder.glob("checkpoint-*")))


def test_a_run_is_seen_from_its_first_step_on_and_drawn_with_at_its_end(open_page: Any) -> None:
    """Noise, then the early samples, a film of them, and one click to draw."""
    page = open_page(address_end="#train")
    page.wait_for_selector(PANEL)  # open before the start
    folder = begin(LONG, "training.sample_early=[1, 8]", "training.save_every=100")
    comes_true(page, folder)
    page.wait_for_function("() => Number(document.querySelector('#train-timeline').max) >= 1")
    newest = page.locator(".run-sheet img").get_attribute("src")
    page.locator("#train-timeline").press("Home")
    assert "noise" in page.locator(".run-place").inner_text()
    assert page.locator(".run-sheet img").get_attribute("src") not in (newest, "")
    page.locator(".run-play").click()
    page.wait_for_function("() => document.querySelector('.run-place').textContent.includes('now')")
    open_tool(page, "coach")
    page.locator(".run-line").wait_for()
    page.locator("#train-pause").click()
    page.locator(".run-panel[data-state=paused]").wait_for()
    assert page.locator(".run-panel .blue:visible").all_inner_texts() == ["Resume"]
    card, model = page.locator("#train-set"), page.locator("#model .model-now b")
    model.filter(has_text=folder.name).wait_for()  # it was saved: the page's model by itself
    assert card.locator(".set-name").input_value() == folder.name
    card.get_by_text("train another").click()
    card.locator(".door").first.wait_for()
    assert page.locator("#train-start").is_visible()
    card.get_by_text("back").click()
    assert card.locator(".strip").is_visible() and not page.locator("#train-start").is_visible()
    page.locator("#train-go-on").click()
    page.locator("#train-stop").click()
    page.locator(".run-panel[data-state=stopped]").wait_for()
    blue = page.locator(".run-panel .blue:visible")
    assert blue.all_inner_texts() == ["Draw with it →"]
    assert page.locator(".track.none").count() == 1
    page.locator("#train-draw").click()
    page.locator("[role=tab][aria-selected=true][data-tab-id=denoise]").wait_for()
    page.locator("#model button").first.filter(has_text=folder.name).wait_for()


@pytest.mark.parametrize(
    "end", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_the_server_is_killed_while_it_trains(
    browser: Any, home: Path, tmp_path: Path, end: signal.Signals
) -> None:
    """The run goes on; a tab that was left open and a new one find it and the server again."""
    server, context = Server(home, tmp_path), browser.new_context(locale="en-US")
    server.start()
    try:
        folder, left = begin(LONG), context.new_page()
        left.goto(f"{server.address}?run={folder.name}")
        left.wait_for_selector(PANEL)
        comes_true(left, folder)
        before = runs.status(folder).step
        server.end(end)
        left.wait_for_timeout(1500)
        server.start()
        assert runs.status(folder).state == "running" and runs.status(folder).step > before
        page = context.new_page()
        page.goto(f"{server.address}?run={folder.name}")
        page.wait_for_selector(PANEL)
        comes_true(page, folder)
        curve_is_whole(page, folder)
        comes_true(left, folder)
        curve_is_whole(left, folder)
    finally:
        context.close()
        server.end(signal.SIGKILL)


def test_film_and_bundle_are_taken_away_and_the_bundle_opened(
    open_page: Any, tmp_path: Path
) -> None:
    folder = begin(SHORT, "training.sample_every=20")
    until(lambda: runs.status(folder).state == "finished")
    page = open_run(open_page, folder)
    comes_true(page, folder)
    open_tool(page, "save")
    page.locator("#train-form").select_option("webp")
    with page.expect_download() as download:
        page.locator("#train-download").click()
    assert download.value.suggested_filename == f"{folder.name}.webp"
    with Image.open(download.value.path()) as film:
        assert film.n_frames == 2
    page.locator("#train-form").select_option("zip")
    with page.expect_download() as download:
        page.locator("#train-download").click()
    taken = tmp_path / "taken.zip"
    download.value.save_as(taken)
    assert download.value.suggested_filename == f"{folder.name}.zip"
    page.locator("#train-bundle").set_input_files(str(taken))
    page.wait_for_url(lambda url: folder.name not in url)
    opened = runs.default_home().find_run(parse_qs(urlparse(page.url).query)["run"][0])
    comes_true(page, opened)
    curve_is_whole(page, opened)
    assert runs.history(opened) == runs.history(folder)
