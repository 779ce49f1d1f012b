"""A person's way through the Noise tab: drag t, play, compare, mend, ask the model."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sd import runs
from sd.common.marks import is_marked
from sd.config import Config
from sd.data.images import to_pil
from sd.data.ingest import ingest_images, open_images
from sd.ui import starters
from sd.ui.noise import exact as noise_exact
from sd.ui.noise import pictures as noise_pictures
from sd.ui.noise import schedules
from tests.benchmarks.noise_page import requests_of
from tests.browser.test_page import pixels

pytestmark = pytest.mark.browser

SLIDER, CANVAS = "#noise-t", "#noise-canvas"
CLOSEST = 2  # of 255: how far a value on the canvas may lie from the server's


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of 300 x 256 pixels with soft and fine detail."""
    y, x = np.mgrid[0:256, 0:300]
    waves = [128 + 90 * np.sin(x / 40 + y / (20 + 30 * k)) for k in range(3)]
    grain = np.random.default_rng(0).normal(0, 20, (256, 300, 3))
    pixels = (np.stack(waves, -1) + grain).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def pictured(home: Path, pictures: Path) -> Iterator[str]:
    """A run that kept its pictures: twelve of 24 x 24 pixels."""
    folder = home / "pictured"
    folder.mkdir()
    (folder / runs.CONFIG).write_text(Config.preset("tiny").to_ini())
    target = folder / runs.PICTURES
    for _ in ingest_images(pictures, target, height=24, width=24, channels=3, fit="crop"):
        pass
    yield "pictured"
    shutil.rmtree(folder)


def opened(page: Any) -> Any:
    """Go to the Noise tab, t = 300, and wait until it has drawn and the server has answered."""
    page.locator("[role=tab]").nth(1).click()
    page.wait_for_selector(f"{CANVAS}[data-t]")
    if page.get_attribute(CANVAS, "data-t") != "300":  # as the journey before left it
        move_to(page, 300)
    page.wait_for_selector(f"{CANVAS}[data-t='300']")
    rested(page, 300)
    return page


def move_to(page: Any, t: int) -> None:
    """Put the slider to t."""
    page.evaluate(
        """([selector, t]) => {
          const range = document.querySelector(selector);
          range.value = t;
          range.dispatchEvent(new Event("input"));
        }""",
        [SLIDER, t],
    )


def rested(page: Any, t: int) -> str:
    """Wait for the exact figures of t; return their line."""
    line = page.locator("#noise-exact .note").filter(has_text=f" t = {t}:")
    line.wait_for()
    return str(line.inner_text())


def exact(picture: Any, course: str, t: int, seed: int = 0) -> Any:
    """Return the server's own x_t."""
    return np.asarray(noise_exact.noise_picture(picture, course, t, seed).image, dtype=np.int64)


def commanded(page: Any, words: str) -> str:
    """Wait until the tab's command line holds some words; return it."""
    box = page.locator("[role=tabpanel]:visible .command pre")
    for _ in range(100):
        if words in (line := str(box.text_content())):
            return line
        page.wait_for_timeout(50)
    raise AssertionError(line)


def farthest(page: Any, picture: Any, course: str, t: int) -> int:
    return int(np.abs(pixels(page, CANVAS) - exact(picture, course, t)).max())


def drag(page: Any, selector: str, start: float, end: float, moves: int = 40) -> list[str]:
    """Drag a slider between two shares of its width; return what was requested meanwhile."""
    box, asked = page.locator(selector).bounding_box(), requests_of(page)
    page.mouse.move(box["x"] + start * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    seen = set()
    for k in range(moves):
        share = start + (end - start) * (k + 1) / moves
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        seen.add(page.get_attribute(CANVAS, "data-t"))
    page.wait_for_timeout(400)  # held still: even then nothing is asked
    assert len(seen) > moves / 3
    return asked.copy()


def fold(page: Any, name: str) -> None:
    """Open what is folded away."""
    page.locator(f"#noise-fold-{name} > button").click()


def upload(page: Any, path: Path) -> None:
    """Give the tab a picture and wait until it shows it."""
    page.locator(".page.noise input[type=file]").first.set_input_files(str(path))
    commanded(page, path.name)
    page.wait_for_timeout(300)


def test_dragging_t_asks_nothing_and_rests_on_the_exact_picture(
    open_page: Any, photo: Path
) -> None:
    page = opened(open_page())
    upload(page, photo)
    assert drag(page, SLIDER, 0.3, 0.85) == []
    answered = requests_of(page)
    page.mouse.up()
    t = int(page.input_value(SLIDER))
    assert t > 800
    line = rested(page, t)
    page.wait_for_timeout(400)
    assert len(answered) == 1
    assert page.get_attribute(CANVAS, "data-t") == str(t)
    assert page.locator("#noise-stage output").inner_text() == f"t = {t}"
    schedule = schedules.read_schedule("tiny")
    assert f"{float(schedule.signal(t)):.6f} x_0" in line
    for place in (t, 0, 1, 137, 999, 1000):
        move_to(page, place)
        rested(page, place)
        assert farthest(page, str(photo), "tiny", place) <= CLOSEST


def test_a_photograph_slides_once_into_noise_that_it_is_still_seen_in(open_page: Any) -> None:
    page = open_page()
    page.evaluate(
        """selector => {
          window.seen = [];
          const look = () => {
            const t = document.querySelector(selector)?.dataset.t;
            if (t !== undefined) window.seen.push(Number(t));
            requestAnimationFrame(look);
          };
          look();
        }""",
        CANVAS,
    )
    page.locator("[role=tab]").nth(1).click()
    page.wait_for_selector(f"{CANVAS}[data-t='200']")
    rested(page, 200)
    seen = page.evaluate("window.seen")
    assert seen == sorted(seen) and seen[0] < 100 and len(set(seen)) > 5
    assert farthest(page, starters.PHOTO, "tiny", 200) <= CLOSEST
    page.locator("[role=tab]").first.click()
    page.locator("[role=tab]").nth(1).click()
    page.wait_for_timeout(300)
    assert page.input_value(SLIDER) == "200"


def test_the_photograph_stands_still_where_less_motion_is_asked_for(open_page: Any) -> None:
    page = open_page()
    page.emulate_media(reduced_motion="reduce")
    page.reload()
    page.locator("[role=tab]").nth(1).click()
    page.wait_for_selector(f"{CANVAS}[data-t='200']")
    rested(page, 200)
    assert int(page.get_attribute(CANVAS, "data-frames")) < 5
    page.emulate_media(reduced_motion="no-preference")


def test_keys_move_and_play_from_slider_and_picture(kept_page: Any) -> None:
    page = opened(kept_page)
    assert page.get_attribute(CANVAS, "role") == "img"
    for selector in (SLIDER, CANVAS):
        page.locator(selector).focus()
        page.keyboard.press("Home")
        rested(page, 0)
        for _ in range(7):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
        rested(page, 6)
        assert page.get_attribute(CANVAS, "aria-label") == "t = 6 of 1000: 100 % signal"
        page.keyboard.press("PageUp")
        rested(page, 16)
        page.keyboard.press("End")
        rested(page, 1000)
        assert farthest(page, starters.PHOTO, "tiny", 1000) <= CLOSEST
    page.keyboard.press("Space")
    page.wait_for_selector(f"{CANVAS}[data-t^='1']:not([data-t='1000'])")
    assert page.locator("#noise-stage .play").inner_text() == "Pause"
    page.keyboard.press("Space")
    page.wait_for_timeout(300)  # the last move is drawn in the frame after it
    t = int(page.input_value(SLIDER))
    assert 0 < t < 1000
    rested(page, t)
    assert page.locator("#noise-stage .play").inner_text() == "Play"


@pytest.mark.slow
def test_buttons_step_and_save(open_page: Any, tmp_path: Path) -> None:
    page = opened(open_page())
    page.get_by_role("button", name="One step on").click()
    page.get_by_role("button", name="One step on").click()
    page.get_by_role("button", name="One step back").click()
    rested(page, 301)
    page.locator(".marks button").nth(2).click()
    rested(page, 333)
    page.locator(".marks button").first.click()
    rested(page, 0)
    page.locator(".marks button").nth(2).click()
    page.get_by_role("button", name="One step back").click()
    rested(page, 332)
    with page.expect_download() as saving:
        page.get_by_text("Save PNG").click()
    saving.value.save_as(tmp_path / "saved.png")
    assert is_marked((tmp_path / "saved.png").read_bytes())
    assert saving.value.suggested_filename == "x_332.png"
    with Image.open(tmp_path / "saved.png") as saved:
        away = np.asarray(saved.convert("RGB"), dtype=np.int64)
    assert np.abs(away - exact(starters.PHOTO, "tiny", 332)).max() <= CLOSEST


def test_what_is_beside_the_picture_moves_with_it(kept_page: Any) -> None:
    page = opened(kept_page)
    told = page.locator("#noise-live .curve-name b")
    assert told.nth(0).inner_text() == "0.396" and told.nth(1).inner_text() == "-0.42"
    exact_line = rested(page, 300)
    assert told.nth(2).inner_text() == "0.0797 nats from N(0, 1)"
    assert "0.07969 nats" in exact_line
    cycles = told.nth(3).inner_text().split()
    assert f"up to {cycles[2]} of {cycles[4]} cycles" in exact_line
    bars = page.locator("#noise-live .bars").get_attribute("d")
    drag(page, SLIDER, 0.3, 0.9)
    assert page.locator("#noise-live .bars").get_attribute("d") != bars
    assert page.locator("#noise-stage .formula").inner_text().startswith("xt = 0.0")
    assert float(told.nth(2).inner_text().split()[0]) < 0.1
    page.mouse.up()


@pytest.mark.slow
def test_another_starter_and_a_new_seed(open_page: Any) -> None:
    page = opened(open_page())
    page.locator("#noise-starters button.thumbnail-item").nth(3).click()
    commanded(page, "owl.png")
    assert farthest(page, "owl.png", "tiny", 300) <= CLOSEST
    page.get_by_role("button", name="New seed").last.click()
    page.wait_for_function(
        "!document.querySelector('.page.noise .with-dice input').value.match(/^0?$/)"
    )
    seed = int(page.locator(".page.noise .with-dice input").input_value())
    commanded(page, f"--seed {seed}")
    page.wait_for_timeout(300)
    assert np.abs(pixels(page, CANVAS) - exact("owl.png", "tiny", 300, seed)).max() <= CLOSEST


@pytest.mark.slow
def test_a_picture_of_a_run(open_page: Any, pictured: str, home: Path) -> None:
    page = opened(open_page())
    page.get_by_label("Pictures", exact=True).click()
    page.get_by_role("option", name=pictured).click()
    page.wait_for_function(
        "document.querySelectorAll('#noise-starters img')[7]?.naturalWidth === 24"
    )
    page.locator("#noise-starters button.thumbnail-item").nth(1).click()
    page.wait_for_function(f"document.querySelector('{CANVAS}').width === 24")
    page.wait_for_timeout(300)
    images = open_images(home / pictured / runs.PICTURES)
    page.locator(SLIDER).focus()
    page.keyboard.press("Home")
    rested(page, 0)
    place = noise_pictures.spread_indices(len(images.pixels))[1]
    assert np.array_equal(pixels(page, CANVAS), np.asarray(to_pil(images.pixels[place])))


def test_two_schedules_by_share_and_by_snr(kept_page: Any) -> None:
    page = opened(kept_page)
    fold(page, "pair")
    page.wait_for_selector("#noise-pair canvas[data-t]")
    times = [page.locator("#noise-pair canvas").nth(k) for k in (0, 1)]
    assert [each.get_attribute("data-t") for each in times] == ["300", "60"]
    second = pixels(page, "#noise-pair figure:nth-child(2) canvas")
    assert np.abs(second - exact(starters.PHOTO, "seed", 60)).max() <= CLOSEST
    page.get_by_text("equal SNR", exact=True).click()
    page.wait_for_selector("#noise-pair figure:nth-child(2) canvas:not([data-t='60'])")
    t = int(times[1].get_attribute("data-t"))
    wanted = schedules.read_schedule("tiny").log_snr(300)
    far = np.abs(schedules.read_schedule("seed").log_snr(np.arange(1, 201)) - wanted)
    assert t == int(far.argmin()) + 1
    assert drag(page, "#noise-pair .t", 0.3, 0.7) == []
    page.mouse.up()
    rested(page, int(page.input_value(SLIDER)))


def test_the_doctor_mends_with_one_click(open_page: Any) -> None:
    page = opened(open_page())
    page.get_by_label("Schedule", exact=True).click()
    page.get_by_role("option", name="(seed)").click()
    page.locator("#noise-ends .warning").filter(has_text="Ends at SNR 0.15").wait_for()
    rested(page, 60)
    assert page.get_attribute(SLIDER, "max") == "200"
    page.locator("#noise-ends button").first.click()
    page.locator("#noise-ends .note").filter(has_text="Ends at SNR 3e-5").wait_for()
    page.locator(SLIDER).focus()
    page.keyboard.press("End")
    rested(page, 200)
    assert farthest(page, starters.PHOTO, "seed-fixed", 200) <= CLOSEST
    commanded(page, "--preset seed-fixed")


def test_a_file_that_is_no_picture_is_told(kept_page: Any, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_text("<html>")
    page = opened(kept_page)
    page.locator(".page.noise input[type=file]").first.set_input_files(str(tmp_path / "photo.png"))
    page.locator(".toast-body").filter(has_text="photo.png: not a picture").wait_for()
    assert farthest(page, starters.PHOTO, "tiny", 300) <= CLOSEST


def test_less_motion_where_it_is_asked_for(kept_page: Any) -> None:
    page = opened(kept_page)
    page.emulate_media(reduced_motion="reduce")
    before = json.loads(page.get_attribute(CANVAS, "data-frames"))
    page.locator(CANVAS).focus()
    page.keyboard.press("Space")
    page.wait_for_function(f"+document.querySelector('{CANVAS}').dataset.t > 450")
    page.keyboard.press("Space")
    assert int(page.get_attribute(CANVAS, "data-frames")) - before < 20
    page.emulate_media(reduced_motion="no-preference")


def test_what_the_model_sees_and_the_way_back(kept_page: Any) -> None:
    page = opened(kept_page)
    fold(page, "sight")
    page.locator("#sight-go").click()
    page.locator("#sight-seen .column").nth(9).wait_for(timeout=60_000)
    words = page.locator("#sight-seen .column > span").all_inner_texts()
    errors = [float(each.split()[1]) for each in words]
    assert errors[0] < 0.4 < errors[-1]  # a model of emoji sees the cat badly
    assert page.locator("#sight-seen .triple img").count() == 3
    page.locator("#trip-go").click()
    page.locator("#trip-seen .column").nth(1).wait_for(timeout=60_000)
    page.keyboard.press("Escape")
    page.wait_for_timeout(1500)
    came = page.locator("#trip-seen .column").count()
    page.wait_for_timeout(1500)
    assert page.locator("#trip-seen .column").count() == came < 8
    page.locator("#noise-starters button").nth(3).click()  # what was seen was of another picture
    page.wait_for_function("!document.querySelector('#sight-seen .column, #trip-seen .column')")


def test_steps_and_closed_form_and_where_theory_breaks(kept_page: Any) -> None:
    page = opened(kept_page)  # the last to have it: the mean stays 1
    fold(page, "walk")
    page.locator("#walk-go").click()
    told = page.locator("#walk-seen .told")
    told.wait_for()
    assert "at t = 300" in told.inner_text()
    assert page.locator("#walk-seen .triple img").count() == 3
    mean = page.locator("#noise-mean input[type=number]")
    mean.fill("1")
    mean.press("Tab")
    page.locator("#walk-broken .told").filter(has_text="With mean 1").wait_for()
    page.locator("#noise-stage .formula").filter(has_text="(1 + eps)").wait_for()
    rested_at_one = page.locator("#noise-exact .note").filter(has_text="(1 + eps)")
    rested_at_one.wait_for()


@pytest.mark.slow
def test_algorithm_1_line_by_line(open_page: Any) -> None:
    page = opened(open_page())
    fold(page, "algorithm")
    page.locator("#algorithm-go").click()
    lines = page.locator("#algorithm-seen li")
    page.locator("#algorithm-seen li.on").wait_for(timeout=60_000)
    assert lines.count() == 8
    on = page.get_by_role("button", name="Next line")
    for k in range(6):
        assert lines.nth(k).get_attribute("aria-current") == "step"
        assert not lines.nth(k + 1).locator(".came").is_visible()
        on.click()
    assert "mean squared error" in lines.nth(6).inner_text()
    page.get_by_role("button", name="Line before").click()
    assert lines.nth(5).get_attribute("aria-current") == "step"


def test_on_a_phone_the_picture_comes_first_and_thumbs_fit(open_page: Any) -> None:
    page = open_page(390, 844, "zh-CN")
    page.locator("[role=tab]").nth(1).click()
    page.wait_for_selector(f"{CANVAS}[data-t='200']")
    assert page.get_attribute(CANVAS, "aria-label") == "t = 200（共 1000）：信号占 66 %"
    for name in ("pair", "sight", "walk", "algorithm"):
        fold(page, name)
    page.locator("#sight-go").click()
    page.locator("#sight-seen .column").nth(9).wait_for(timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    canvas, slider = (page.locator(each).bounding_box() for each in (CANVAS, SLIDER))
    below = slider["y"] - canvas["y"] - canvas["height"]
    assert canvas["width"] > 340 and 0 <= below < 60
    assert slider["height"] >= 44
    for button in page.locator("#noise-stage .moves > *").all():
        box = button.bounding_box()
        assert box["height"] >= 44 and box["width"] >= 44
