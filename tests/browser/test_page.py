"""A person's way through the page: train on a zip, watch it, stop it; every tab on a phone."""

import base64
import io
import json
import shutil
import time
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from sd.config import Config
from sd.data.reading.archive import Archive
from sd.data.reading.source import starter_path
from sd.runs.home import BUNDLED_RUNS
from sd.runs.process import PROCESS
from tests.browser.conftest import DEFAULT_WAIT, quiet
from tests.conftest import TINY

pytestmark = pytest.mark.browser

FACTS = "#train-set .set-facts"
TABS = {"train": 0, "noise": 1, "denoise": 2}
VERBS = {"train": "#train-start", "noise": "#noise-t", "denoise": "#denoise-go"}
PIXELS = "(selector) => document.querySelector(selector).toDataURL('image/png')"
STAGES = ".run-sheet:visible, .picture:visible, #noise-canvas:visible, .player:visible"


def go_to(page: Any, tab: str) -> None:
    page.locator("[role=tab]").nth(TABS[tab]).click()


def settled(page: Any, selector: str, words: str, seconds: float = 60) -> str:
    """Wait until an element holds some words; return its text."""
    element = page.locator(selector).filter(has_text=words).first
    element.wait_for(timeout=seconds * 1000)
    return str(element.inner_text())


def picture(page: Any, selector: str) -> str:
    """Return the address of the picture that is shown; a new picture has a new one."""
    image = page.locator(f"{selector} img")
    image.first.wait_for()
    return str(image.first.get_attribute("src"))


def pixels(page: Any, selector: str) -> Any:
    """Return what a canvas shows: int64 [H, W, 3]."""
    data = base64.b64decode(page.evaluate(PIXELS, selector).partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), np.int64)


def test_a_page_that_waits_asks_for_no_frames(blank_page: Any, address: str) -> None:
    """gradio's own does, 60 times a second: its sign of loading goes on counting for ever."""
    page = blank_page
    page.add_init_script(
        """const native = window.requestAnimationFrame;
        window.asked = 0;
        window.requestAnimationFrame = (call) => (window.asked++, native.call(window, call));"""
    )
    page.goto(address)
    page.wait_for_selector("[role=tab]")
    asked, end = [page.evaluate("window.asked")], time.monotonic() + DEFAULT_WAIT
    while len(asked) < 2 or asked[-1] - asked[-2] >= 20:  # it may still be loading
        assert time.monotonic() < end, f"frames asked for: {asked}"
        page.wait_for_timeout(2000)
        asked.append(page.evaluate("window.asked"))


@pytest.fixture
def real_pictures(tmp_path: Path) -> Path:
    """A zip with 24 pictures in two class folders, and one file that is none."""
    target = tmp_path / "mine.zip"
    with closing(Archive(starter_path())) as starter, zipfile.ZipFile(target, "w") as packed:
        names = [name for name in starter.names if name.endswith(".png")][:24]
        for place, name in enumerate(names):
            packed.writestr(f"{'cats' if place % 2 else 'dogs'}/{place}.png", starter.read(name))
        packed.writestr("cats/broken.png", io.BytesIO(b"<script>alert(1)</script>").read())
    return target


def choose(page: Any, door: str, facts: str) -> None:
    """Choose a bundled set, unless it is chosen already."""
    if page.locator(".chosen").is_visible():
        page.locator(".chosen .card-head .link:visible").click()
    page.locator(f".door[data-door={door}]").click()
    settled(page, FACTS, facts)


def load_plan(page: Any, tmp_path: Path, *settings: str) -> None:
    """Take the smallest network into the plan, from an ini."""
    plan = tmp_path / "plan.ini"
    plan.write_text(Config().with_settings([*TINY, *settings]).to_ini())
    page.locator(".gear").click()
    with page.expect_file_chooser() as chooser:
        page.locator("#plan-load").click()
    chooser.value.set_files(str(plan))
    page.wait_for_function(
        "() => [...document.querySelectorAll('.command pre')]"
        ".some(line => line.textContent.includes('batch_size=4'))"
    )


def test_train_on_an_uploaded_zip_and_watch(
    open_page: Any, real_pictures: Path, tmp_path: Path
) -> None:
    page = open_page()
    page.locator(".pick-files").set_input_files(str(real_pictures))
    settled(page, FACTS, "24 pictures · 2 classes · 1 left out")
    assert page.locator(".set-name").input_value() == "mine"
    load_plan(page, tmp_path, "training.steps=300", "training.sample_every=150")
    page.locator("#train-start", has_text="Train 300 steps").click()
    page.locator("[data-tool=loss]").click()
    page.locator(".run-drawn polyline.accent").first.wait_for(timeout=60_000)
    page.locator("[data-tool=samples]").click()
    page.locator("#train-timeline[max='2']").wait_for(timeout=60_000)
    settled(page, ".run-facts", "300 steps")
    newest = page.locator(".run-sheet img").get_attribute("src")
    page.locator("#train-timeline").press("ArrowLeft")
    settled(page, ".run-place", "step 150")
    assert page.locator(".run-sheet img").get_attribute("src") != newest
    assert "run=mine" in page.url
    page.reload()
    settled(page, ".run-facts", "300 steps")


@pytest.mark.slow
def test_escape_stops_a_run(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    choose(page, "starter", "1,292 pictures")
    load_plan(page, tmp_path, "training.steps=50000", "training.sample_every=0")
    page.locator("#train-start").click()
    page.locator("#train-stop").wait_for()
    page.keyboard.press("Escape")
    settled(page, ".run-facts", "saved at step")
    page.locator("#train-resume").wait_for()


def test_a_bad_file_is_told_in_one_line(kept_page: Any, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_text("<html><script>alert(1)</script>")
    page = kept_page
    choose(page, "starter", "1,292 pictures")
    page.locator(".pick-files").set_input_files(str(tmp_path / "photo.png"))
    told = settled(page, ".toast-body", "photo.png")
    assert "not a picture" in told and str(tmp_path) not in told
    settled(page, FACTS, "1,292 pictures")


def test_a_plan_for_minutes_tells_why_and_stays(kept_page: Any) -> None:
    page = kept_page
    choose(page, "shapes", "2,400 pictures")
    page.locator(".gear").click()
    page.locator(".settings-head button", has_text="Run").click()
    minutes = page.locator("[data-name=plan_minutes] input")
    minutes.fill("2")
    settled(page, "#train-start", "Train for 2 minutes")
    page.locator("#plan-told button", has_text="Plan without starting").click()
    settled(page, "#plan-told", "Planned for 2 minutes")
    settled(page, "#plan-told", "or 2 minutes")
    quiet(page)  # what its settings set off has come and gone
    assert page.locator("#plan-told .told li").count() >= 3
    settled(page, "#train-start", "Train for 2 minutes")
    assert "training.minutes=2.0" in page.locator(".command pre").first.text_content()
    page.reload()  # the address has kept them
    settled(page, "#train-start", "Train for 2 minutes")
    page.locator(".gear").click()
    page.locator(".settings-head button", has_text="Training").click()
    assert page.locator("[data-name=minutes] input").input_value() == "2"
    page.locator("[data-name=batch_size] input").fill("0")
    settled(page, "[data-name=batch_size] .fault", "training.batch_size = 0")
    page.locator(".settings-head button", has_text="Presets").click()
    page.locator(".preset", has_text="small").click()
    settled(page, "#plan-told", "64 × 64 px")
    assert not page.locator("[data-name=batch_size] .fault").is_visible()
    page.locator(".gear").click()
    assert not page.locator("#plan-settings").is_visible()


OLD_TOAST = """() => {
  const close = document.createElement("button");
  close.className = "toast-close";
  close.onclick = () => { window.toastClosed = true; };
  document.body.append(close);
}"""


def test_the_button_measures_and_is_its_own_stop(open_page: Any, home: Path) -> None:
    page = open_page(address_end=f"?set={quote(json.dumps({'minutes': {'minutes': 5000}}))}#train")
    page.locator("#train-start").click()  # nothing is chosen
    settled(page, ".minutes-line", "Choose pictures first")
    page.evaluate(OLD_TOAST)
    choose(page, "shapes", "2,400 pictures")
    assert page.evaluate("window.toastClosed")  # what was refused before lies over nothing
    page.locator("#train-start").click()
    settled(page, ".toast-body", "minutes = 5000: must be a number from 0.1 to 1440")
    settled(page, "#train-start", "Train for 5000 minutes")  # it can be pressed again
    page.locator(".tiles label", has_text="1 min").click()
    before = set(home.iterdir())
    page.locator("#train-start", has_text="Train for 1 minute").click()
    settled(page, "#train-start", "Measuring this machine")
    page.locator("#train-start", has_text="Stop").click()
    settled(page, "#train-start", "Train for 1 minute")
    assert set(home.iterdir()) - before <= {home / "speed.json"}


def test_nothing_goes_sideways_on_a_phone_in_chinese(open_page: Any) -> None:
    page = open_page(390, 844, "zh-CN")
    settled(page, "[role=tab]", "去噪")
    for tab in TABS:
        go_to(page, tab)
        page.locator(STAGES).last.wait_for()
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
        shown = page.locator(STAGES).last.bounding_box()
        control = page.locator(VERBS[tab]).bounding_box()
        # A run comes first while it goes on; else the pictures that are to be trained on do.
        assert (shown["y"] < control["y"]) == (tab != "train"), tab


def test_what_a_box_means_stands_before_the_button_that_obeys_it(kept_page: Any) -> None:
    page = kept_page
    page.locator("[role=tab]").nth(TABS["train"]).click()
    page.locator("[data-tool=save]").click()
    pack = page.locator("#train-download").bounding_box()
    about = page.get_by_text("Include optimiser").bounding_box()
    assert about["x"] + about["width"] <= pack["x"] and abs(about["y"] - pack["y"]) < pack["height"]


def open_tab(page: Any) -> Any:
    return page.locator("[data-tab-id][aria-selected=true]")


def test_the_examples_pictures_stand_there_before_anything_is_answered(
    blank_page: Any, address: str
) -> None:
    page = blank_page
    page.route("**/queue/**", lambda _: None)  # the server is too busy to answer
    page.goto(address)
    cards = page.locator("#denoise-player .sdp-card")
    cards.nth(3).wait_for()
    captions = ["red circle left of blue square", "blue square above yellow circle"]
    assert cards.all_inner_texts()[:2] == captions
    backgrounds = page.evaluate(
        "[...document.querySelectorAll('.sdp-picture')].map(each => each.style.background)"
    )
    assert all("data:image/webp" in each for each in backgrounds) and len(set(backgrounds)) == 4
    assert not page.locator(".sdp-cut:visible").count()
    assert not page.locator(".ask-none:visible").count()  # whether it takes words is not known


def test_the_address_says_which_tab_is_open_and_keys_go_on(open_page: Any) -> None:
    page = open_page(address_end="")
    assert open_tab(page).get_attribute("data-tab-id") == "denoise"  # something alive at once
    open_tab(page).focus()
    page.keyboard.press("ArrowLeft")
    page.locator("#noise-canvas").wait_for()
    assert page.url.endswith("#noise")
    assert page.evaluate("document.activeElement.dataset.tabId") == "noise"
    page.reload()
    page.wait_for_selector("[role=tab]")
    assert open_tab(page).get_attribute("data-tab-id") == "noise"
    page.evaluate("location.hash = '#train'")
    page.locator("#train-set").wait_for()
    page.keyboard.press("Tab")
    page.locator("#head .skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "tabpanel"


# What has the focus, and whether anything lies over it.
FOCUSED = """() => {
  const held = document.activeElement, box = held.getBoundingClientRect();
  const x = box.x + Math.min(box.width / 2, 40), y = box.y + Math.min(box.height / 2, 20);
  const top = document.elementFromPoint(x, y);
  const seen = held === document.body || (top && (held.contains(top) || top.contains(held)
    || (held.closest("label") && top.closest("label") === held.closest("label"))));
  return [held.tagName, held.id || held.className, seen];
}"""
MOST_STOPS = 8  # of the tab key until a tab's own verb, or what moves its picture


FROM_THE_TOP = "() => { document.body.tabIndex = -1; document.body.focus(); }"


def test_the_keyboard_is_at_each_verb_soon_and_nothing_lies_over_the_focus(open_page: Any) -> None:
    page = open_page(address_end="#noise")
    settled(page, "#model .model-now", "2,280 pictures")
    for tab, verb in VERBS.items():
        go_to(page, tab)
        page.locator(verb).wait_for()
        quiet(page)  # what comes is there
        page.evaluate(FROM_THE_TOP)
        stops: list[str] = []
        for place in range(40):
            page.keyboard.press("Tab")
            kind, name, seen = page.evaluate(FOCUSED)
            stops.append(name)
            assert seen, (tab, kind, name)
            if not place:
                page.keyboard.press("Enter")  # the first stop leads past the head
        assert stops[0] == "skip" and stops.index(verb[1:]) < MOST_STOPS, stops


def test_the_head_is_one_stop_and_its_arrows_go_on(kept_page: Any) -> None:
    page = kept_page
    page.locator("#model .model-now").focus()
    for key, name in (("Right", "code"), ("Right", "language"), ("Left", "code")):
        page.keyboard.press(f"Arrow{key}")
        assert page.evaluate("document.activeElement.className") == name


def test_the_menu_tells_a_terminal_what_the_open_tab_does(kept_page: Any) -> None:
    page = kept_page
    go_to(page, "noise")
    page.locator("#noise-canvas[data-t]").wait_for()
    page.locator("#terminal .code").click()
    settled(page, "#terminal pre", "python -m sd noise")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "code"


def test_a_model_is_chosen_renamed_and_deleted_in_the_head(open_page: Any, home: Path) -> None:
    bundled = BUNDLED_RUNS / "emoji32"
    shutil.copytree(bundled, home / "old name")
    (home / "old name" / PROCESS).write_text("{}")
    page = open_page(address_end="#denoise")
    settled(page, "#model .model-now", "2,280 pictures")
    page.locator("#model .model-now").press("Enter")
    page.locator("#model-list").get_by_role("button", name="old name 4,000 steps").press("Enter")
    settled(page, "#model .model-now", "old name")
    page.wait_for_url("**old+name**")
    page.reload()
    settled(page, "#model .model-now", "old name")
    page.locator("#model .model-now").click()
    page.get_by_role("button", name="Rename old name").click()
    page.locator("#model-list input").fill("../my <b>cats")
    page.keyboard.press("Enter")
    settled(page, "#model .model-now", "my b cats")
    assert (home / "my b cats").is_dir() and not (home / "old name").exists()
    page.get_by_role("button", name="Delete my b cats").click()
    assert page.evaluate("document.activeElement.textContent") == "Keep"
    page.locator("#model-list .danger").click()
    settled(page, "#model .model-now", "shapes32")
    assert not (home / "my b cats").exists()


def test_the_language_is_switched_in_the_head_and_remembered(open_page: Any) -> None:
    page = open_page()
    for language, tab, machine in (("zh-CN", "训练", "个线程"), ("en", "Train", "thread")):
        page.locator("#head .language").click()
        page.locator("[role=tab]").first.filter(has_text=tab).wait_for()
        page.locator("#terminal .code").click()
        page.locator("#terminal .machine").filter(has_text=machine).wait_for()
        assert page.evaluate("navigator.language") == language
    page.locator("#head .language").click()
    page.locator("[role=tab]").first.filter(has_text="训练").wait_for()
    page.reload()
    page.locator("[role=tab]").first.filter(has_text="训练").wait_for()
