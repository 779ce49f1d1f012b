"""A person's way through the Noise tab: drag t, play, compare, mend, ask the model."""

import base64
import json
import re
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
from sd.diffusion.analysis import finest_frequency, kl_to_prior, spectrum
from sd.ui import starters
from sd.ui.noise import exact as noise_exact
from sd.ui.noise import pictures as noise_pictures
from sd.ui.noise import schedules
from tests.benchmarks.noise_page import requests_of
from tests.browser.conftest import quiet
from tests.browser.test_denoise import choose_model
from tests.browser.test_page import pixels

pytestmark = pytest.mark.browser

SLIDER, CANVAS, PLOT, DL = "#noise-t", "#noise-canvas", "#noise-stage .plot", ("dt", "dd")
SMALL = """place => [...document.querySelectorAll(place + " :is(button, a, select, input)")]
  .filter((each) => each.offsetParent && each.type !== "radio")
  .map((each) => [each, each.getBoundingClientRect()])
  .filter(([each, box]) => Math.min(box.width, box.height) < 43.5 && each.tabIndex >= 0)
  .map(([each, box]) => `${each.outerHTML.slice(0, 90)} ${box.width} ${box.height}`)"""
SHIFTS = """new PerformanceObserver((list) => {
  for (const each of list.getEntries()) window.jumped = (window.jumped ?? 0) + each.value;
}).observe({ type: "layout-shift", buffered: true })"""
MOVED_AND_PRESSED = """([slider, t]) => {
  const range = document.querySelector(slider);
  range.value = t;
  range.dispatchEvent(new Event("input"));
  document.querySelector("#noise-steps").click();
}"""
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
    """Go to the Noise tab, t = 300, and wait until it has drawn and rests."""
    go(page)
    page.wait_for_selector(f"{CANVAS}[data-t]")
    if page.get_attribute(CANVAS, "data-t") != "300":  # as the journey before left it
        move_to(page, 300)
    rested(page, 300)
    return page


def go(page: Any) -> None:
    """Go to the Noise tab."""
    page.get_by_role("tab", name=re.compile("^(Noise|加噪)$")).click()


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


def rested(page: Any, t: int) -> None:
    """Wait until t is drawn."""
    page.wait_for_selector(f"{CANVAS}[data-t='{t}']")


def exactly(page: Any) -> dict[str, str]:
    """Return all that the plot tells of x_t when somebody looks."""
    page.locator(PLOT).hover()
    page.locator(f"{PLOT} .exact dd").first.wait_for()
    names, numbers = (page.locator(f"{PLOT} .exact {each}").all_inner_texts() for each in DL)
    page.mouse.move(2, 2)
    return dict(zip(names, numbers, strict=True))


def exact(picture: Any, course: str, t: int, seed: int = 0) -> Any:
    """Return the server's own x_t."""
    return np.asarray(noise_exact.noise_picture(picture, course, t, seed).image, dtype=np.int64)


def commanded(page: Any, words: str) -> str:
    """Wait until the tab's command line holds some words; return it."""
    box = page.locator("#noise-stage .command pre")
    box.filter(has_text=words).wait_for(state="attached")
    return str(box.text_content())


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
        page.evaluate("new Promise(requestAnimationFrame)")  # it is drawn in the frame that follows
        seen.add(page.get_attribute(CANVAS, "data-t"))
    page.wait_for_timeout(400)  # held still: even then nothing is asked
    assert len(seen) > moves / 3
    return asked.copy()


def tool(page: Any, name: str) -> None:
    """Open a tool."""
    page.locator(f"[data-fold=noise-fold-{name}]").click()


def upload(page: Any, path: Path) -> None:
    """Give the tab a picture and wait until it shows it."""
    page.locator("#noise-stage input[type=file]").set_input_files(str(path))
    page.get_by_role("radio", name=path.stem, checked=True).wait_for()
    page.wait_for_timeout(300)


def test_dragging_t_asks_nothing_and_rests_on_the_exact_picture(
    kept_page: Any, photo: Path
) -> None:
    page = opened(kept_page)
    upload(page, photo)
    assert drag(page, SLIDER, 0.3, 0.85) == []
    asked = requests_of(page)
    page.mouse.up()
    t = int(page.input_value(SLIDER))
    assert t > 800
    rested(page, t)
    page.wait_for_timeout(400)
    assert asked == []  # nor where it rests
    assert page.locator("#noise-stage .at input").input_value() == str(t)
    for place in (t, 0, 1, 137, 999, 1000):
        move_to(page, place)
        rested(page, place)
        assert farthest(page, str(photo), "tiny", place) <= CLOSEST
    page.get_by_role("radio", name="cat").click()
    page.get_by_role("radio", name="cat", checked=True).wait_for()


def test_what_the_plot_tells_of_x_t_is_what_the_package_computes(kept_page: Any) -> None:
    page, schedule = opened(kept_page), schedules.read_schedule("tiny")
    x0 = noise_pictures.read_pixels(starters.PHOTO)
    eps = noise_pictures.draw_noise(tuple(x0.shape), 0)
    for t in (1, 300, 990):
        move_to(page, t)
        rested(page, t)
        found, alpha_bar = exactly(page), float(schedule.alpha_bar[t])
        x_t = alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * eps
        assert found["picture"] == f"{float(schedule.signal(t)):.6f}"
        assert found["noise"] == f"{float(schedule.noise(t)):.6f}"
        kl = kl_to_prior(schedule, t, float(x0.double().square().mean()))
        close(found["nats from N(0, 1)"], kl, 1e-3)
        close(found["SNR"], alpha_bar / (1 - alpha_bar), 1e-3)
        assert abs(float(found["mean"]) - float(x_t.mean())) < 2e-4
        assert abs(float(found["spread"]) - float(x_t.std())) < 2e-4
        detail = spectrum(x0)
        assert found["Detail"] == f"{finest_frequency(detail, alpha_bar)} / {len(detail)}"


def close(shown: str, value: float, share: float) -> None:
    """Ask that a number is shown to within a share of it."""
    assert abs(float(shown) - value) <= share * abs(value)


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
    go(page)
    rested(page, 120)
    seen = page.evaluate("window.seen")
    assert seen == sorted(seen) and seen[0] < 100  # how many it saw depends on the machine
    assert farthest(page, starters.PHOTO, "tiny", 120) <= CLOSEST
    page.locator("[role=tab]").first.click()
    go(page)
    page.wait_for_timeout(300)
    assert page.input_value(SLIDER) == "120"


def test_the_photograph_stands_still_where_less_motion_is_asked_for(
    blank_page: Any, address: str
) -> None:
    page = blank_page
    page.emulate_media(reduced_motion="reduce")
    page.goto(f"{address}#train")
    go(page)
    rested(page, 120)
    assert int(page.get_attribute(CANVAS, "data-frames")) < 5


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
        assert page.get_attribute(CANVAS, "aria-label") == "t = 6 of 1000: 100 % picture"
        page.keyboard.press("PageUp")
        rested(page, 16)
        page.keyboard.press("End")
        rested(page, 1000)
        assert farthest(page, starters.PHOTO, "tiny", 1000) <= CLOSEST
    page.keyboard.press("Space")
    page.wait_for_selector(f"{CANVAS}:not([data-t='0'], [data-t='1000'])")
    assert page.get_attribute("#noise-stage .play", "aria-label") == "Pause"
    page.keyboard.press("Space")
    page.wait_for_timeout(300)  # the last move is drawn in the frame after it
    t = int(page.input_value(SLIDER))
    assert 0 < t < 1000
    rested(page, t)
    assert page.get_attribute("#noise-stage .play", "aria-label") == "Play"


@pytest.mark.slow
def test_buttons_step_and_save(open_page: Any, tmp_path: Path) -> None:
    page = opened(open_page())
    tool(page, "walk")
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
    page.locator("#noise-stage .at input").fill("412")
    rested(page, 412)
    with page.expect_download() as saving:
        page.get_by_text("Save PNG").click()
    saving.value.save_as(tmp_path / "saved.png")
    assert is_marked((tmp_path / "saved.png").read_bytes())
    assert saving.value.suggested_filename == "x_412.png"
    with Image.open(tmp_path / "saved.png") as saved:
        away = np.asarray(saved.convert("RGB"), dtype=np.int64)
    assert np.abs(away - exact(starters.PHOTO, "tiny", 412)).max() <= CLOSEST


def test_one_plot_at_a_time_moves_with_the_picture(kept_page: Any) -> None:
    page = opened(kept_page)
    told, words = page.locator("#noise-stage output").first, page.locator("#noise-stage [role=tab]")
    assert told.inner_text() == "40 % picture"
    words.first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#noise-stage .curve:visible").count() == 1
    told.filter(has_text="0.0797 nats from N(0, 1)").wait_for()
    bars = page.locator(f"{PLOT} .bars").get_attribute("d")
    assert "0.0797 nats" in page.get_attribute(PLOT, "aria-label")
    formula = page.locator("#noise-stage .formula")
    width = formula.evaluate("each => each.scrollWidth")
    drag(page, SLIDER, 0.3, 0.9)
    assert page.locator(f"{PLOT} .bars").get_attribute("d") != bars
    assert formula.inner_text().startswith("xt = 0.0")
    assert formula.evaluate("each => each.scrollWidth") == width
    assert float(told.inner_text().split()[0]) < 0.1
    page.mouse.up()
    page.keyboard.press("Home")
    words.nth(1).focus()
    page.keyboard.press("ArrowRight")
    told.filter(has_text="detail up to 128 of 128").wait_for()
    name, level = (
        page.locator(f"{PLOT} .{each}").bounding_box() for each in ("level-name", "level")
    )
    assert abs(name["y"] + name["height"] - level["y"]) < 2  # the dashed line says what it is
    assert page.locator(f"{PLOT} .level-name").inner_text() == "noise"
    words.nth(2).focus()
    page.keyboard.press("ArrowRight")
    assert words.first.get_attribute("aria-selected") == "true"


@pytest.mark.slow
def test_another_starter_and_a_new_seed(open_page: Any) -> None:
    page = opened(open_page())
    page.get_by_role("radio", name="cat").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.get_by_role("radio", name="owl", checked=True).wait_for()
    page.wait_for_function(f"document.querySelector('{CANVAS}').width === 64")
    rested(page, 300)
    assert farthest(page, "owl.png", "tiny", 300) <= CLOSEST
    page.locator(".quiet button").nth(1).click()
    page.get_by_role("button", name="New seed").click()
    page.wait_for_function("!/^0?$/.test(document.querySelector('.seed-box input').value)")
    seed = int(page.locator(".seed-box input").input_value())
    page.keyboard.press("Escape")
    commanded(page, f"--seed {seed} --t 300")
    page.wait_for_timeout(300)
    assert np.abs(pixels(page, CANVAS) - exact("owl.png", "tiny", 300, seed)).max() <= CLOSEST


@pytest.mark.slow
def test_a_picture_of_a_run(open_page: Any, pictured: str, home: Path) -> None:
    page = opened(open_page())
    page.get_by_label("Pictures from").select_option(pictured)
    page.wait_for_function(
        "document.querySelectorAll('#noise-stage [role=radio] img')[7]?.naturalWidth === 24"
    )
    page.locator("#noise-stage [role=radio]").nth(2).click()
    page.wait_for_function(f"document.querySelector('{CANVAS}').width === 24")
    page.wait_for_timeout(300)
    images = open_images(home / pictured / runs.PICTURES)
    page.locator(SLIDER).focus()
    page.keyboard.press("Home")
    rested(page, 0)
    place = noise_pictures.spread_indices(len(images.pixels))[1]
    assert np.array_equal(pixels(page, CANVAS), np.asarray(to_pil(images.pixels[place])))


def test_a_picture_may_be_dropped_anywhere(kept_page: Any, photo: Path) -> None:
    page = opened(kept_page)
    page.evaluate(
        """data => {
          const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
          for (const kind of ["dragover", "drop"]) {
            const about = { dataTransfer, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent(kind, about));
          }
        }""",
        base64.b64encode(photo.read_bytes()).decode(),
    )
    page.get_by_role("radio", name="dropped", checked=True).wait_for()
    page.wait_for_timeout(300)
    assert farthest(page, str(photo), "tiny", 300) <= CLOSEST
    page.get_by_role("radio", name="cat").click()
    page.get_by_role("radio", name="cat", checked=True).wait_for()
    page.wait_for_timeout(300)


def test_two_schedules_by_share_and_by_snr(kept_page: Any) -> None:
    page = opened(kept_page)
    tool(page, "pair")
    page.wait_for_selector("#noise-pair canvas[data-t]")
    times = [page.locator("#noise-pair canvas").nth(k) for k in (0, 1)]
    assert [each.get_attribute("data-t") for each in times] == ["300", "60"]
    second = pixels(page, "#noise-pair figure:nth-child(2) canvas")
    assert np.abs(second - exact(starters.PHOTO, "seed", 60)).max() <= CLOSEST
    page.get_by_text("the same SNR", exact=True).click()
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
    page.get_by_role("button", name="linear, 1000 steps").click()
    box = page.locator(".schedule-box")
    box.get_by_label("schedule", exact=True).select_option(label="linear, 200 steps (seed)")
    page.locator(".schedule-box .warning").filter(has_text="Ends at SNR 0.15").wait_for()
    rested(page, 60)
    assert page.get_attribute(SLIDER, "max") == "200"
    page.locator(".schedule-box .doctor button").first.click()
    page.locator(".schedule-box .note").filter(has_text="Ends at SNR 3e-5").wait_for()
    page.keyboard.press("Escape")
    page.locator(SLIDER).focus()
    page.keyboard.press("End")
    rested(page, 200)
    assert farthest(page, starters.PHOTO, "seed-fixed", 200) <= CLOSEST
    commanded(page, "--preset seed-fixed")


@pytest.mark.slow
def test_schedule_and_seed_are_there_again_after_a_reload(open_page: Any) -> None:
    page = opened(open_page())
    page.locator(".quiet button").first.click()
    page.locator(".schedule-box").get_by_label("schedule", exact=True).select_option("seed")
    page.wait_for_function(f"document.querySelector('{SLIDER}').max === '200'")
    page.wait_for_timeout(800)
    page.reload()
    go(page)
    page.wait_for_function(f"document.querySelector('{SLIDER}')?.max === '200'")


def test_a_file_that_is_no_picture_is_told(kept_page: Any, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_text("<html>")
    page = opened(kept_page)
    page.locator("#noise-stage input[type=file]").set_input_files(str(tmp_path / "photo.png"))
    page.locator(".toast-body").filter(has_text="photo.png: not a picture").wait_for()
    assert farthest(page, starters.PHOTO, "tiny", 300) <= CLOSEST
    page.get_by_role("radio", name="owl").click()  # what was refused is not asked for again
    page.get_by_role("radio", name="owl", checked=True).wait_for()


def test_what_is_pressed_while_a_file_is_being_refused_counts(
    kept_page: Any, tmp_path: Path
) -> None:
    (tmp_path / "page.png").write_text("<html>")
    page = opened(kept_page)
    held: list[Any] = []
    let_go: list[bool] = []
    page.route("**/join*", lambda route: route.continue_() if let_go else held.append(route))
    page.locator("#noise-stage input[type=file]").set_input_files(str(tmp_path / "page.png"))
    while not held:
        page.wait_for_timeout(20)
    page.get_by_role("radio", name="lion").click()
    let_go.append(True)
    for route in held:
        route.continue_()
    page.locator(".toast-body").filter(has_text="page.png: not a picture").wait_for()
    page.get_by_role("radio", name="lion", checked=True).wait_for()
    page.unroute("**/join*")
    page.get_by_role("radio", name="cat").click()
    page.get_by_role("radio", name="cat", checked=True).wait_for()


def test_less_motion_where_it_is_asked_for(kept_page: Any) -> None:
    page = opened(kept_page)
    page.emulate_media(reduced_motion="reduce")
    before = json.loads(page.get_attribute(CANVAS, "data-frames"))
    page.locator(CANVAS).focus()
    page.keyboard.press("Space")
    page.wait_for_function(f"+document.querySelector('{CANVAS}').dataset.t > 450")
    page.keyboard.press("Space")
    assert int(page.get_attribute(CANVAS, "data-frames")) - before < 30  # 22 to the end
    page.emulate_media(reduced_motion="no-preference")


def test_what_the_model_sees_and_the_way_back(kept_page: Any) -> None:
    page = opened(kept_page)
    choose_model(page, "emoji32")
    tool(page, "sight")
    page.locator("#noise-ask").click()
    page.locator("#noise-sight .column").nth(9).wait_for(timeout=60_000)
    words = page.locator("#noise-sight .column > span").all_inner_texts()
    errors = [float(each.split()[1]) for each in words]
    assert errors[0] < 0.4 < errors[-1]
    judged = page.locator("#noise-sight .judged")
    assert "knows emoji; your cat is none" in judged.inner_text()
    assert page.locator("#noise-sight .triple img").count() == 3
    page.get_by_role("button", name="Noise it and restore it").click()
    page.locator("#noise-sight .trip").wait_for(timeout=60_000)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Noise it and restore it").wait_for()
    quiet(page)
    came = page.locator("#noise-sight .column").count()
    page.wait_for_timeout(1000)
    assert page.locator("#noise-sight .column").count() == came  # nothing comes after the end
    page.locator("#noise-ask").click()
    page.locator("#noise-sight .own button").nth(1).click()  # one that it knows
    page.wait_for_function("!document.querySelector('#noise-sight .column')")  # of the one before
    page.get_by_role("radio", name="sunrise", checked=True).wait_for()
    page.locator("#noise-ask").click()
    judged.filter(has_text="your sunrise looks like one").wait_for(timeout=60_000)
    page.get_by_role("radio", name="cat").click()
    page.get_by_role("radio", name="cat", checked=True).wait_for()


@pytest.mark.slow
def test_who_waits_for_the_model_is_told_so(open_page: Any) -> None:
    pages = [open_page(address_end="#noise"), open_page(1280, 900, "zh-CN", "#noise")]
    for page in pages:
        rested(page, 120)
        tool(page, "sight")
        page.locator("#noise-restore").click()
    told = pages[1].locator("#noise-sight .told")
    told.filter(has_text="排队第 1 位").wait_for()
    for page in reversed(pages):
        page.locator("#noise-restore.stop").click()
        assert page.locator("#noise-sight .told").inner_text() == ""


def test_steps_and_closed_form_and_where_theory_breaks(kept_page: Any) -> None:
    page = opened(kept_page)  # the last to have it: the mean stays 1
    tool(page, "walk")
    page.get_by_role("button", name="Take the steps").wait_for()
    page.evaluate(MOVED_AND_PRESSED, [SLIDER, 310])  # before t has come to rest
    told = page.locator("#noise-walk .seen:not(.means) .told")
    told.filter(has_text="at t = 310").wait_for()
    assert page.locator("#noise-walk .triple img").count() == 3
    mean = page.locator("#noise-mean")
    mean.fill("1")
    mean.press("Tab")
    page.locator("#noise-walk .means .told").filter(has_text="With mean 1").wait_for()
    page.locator("#noise-stage .formula").filter(has_text="(1 + noise)").wait_for()
    assert "noise_info=[1, 1]" in commanded(page, "noise_info")


@pytest.mark.slow
def test_algorithm_1_line_by_line(open_page: Any) -> None:
    page = opened(open_page())
    tool(page, "algorithm")
    page.get_by_role("button", name="Draw t and eps").click()
    lines = page.locator("#noise-algorithm li")
    page.locator("#noise-algorithm li.on").wait_for(timeout=60_000)
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
    go(page)
    rested(page, 120)
    assert page.get_attribute(CANVAS, "aria-label") == "t = 120（共 1000）：图片占 86 %"
    canvas, slider = (page.locator(each).bounding_box() for each in (CANVAS, SLIDER))
    below = slider["y"] - canvas["y"] - canvas["height"]
    assert canvas["width"] > 340 and 0 <= below < 60
    for name in ("pair", "walk", "algorithm", "sight"):
        tool(page, name)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate(SMALL, ".tabitem") == []
    page.locator("#noise-ask").click()
    page.locator("#noise-sight .column").nth(9).wait_for(timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate(SMALL, ".tabitem") == []


def test_nothing_jumps_while_the_tab_comes_and_slides(blank_page: Any, address: str) -> None:
    page = blank_page
    page.add_init_script(SHIFTS)
    page.goto(f"{address}#train")
    go(page)
    rested(page, 120)
    page.evaluate("() => { window.jumped = 0; }")  # what came before is other tabs'
    drag(page, SLIDER, 0.12, 0.95)
    page.mouse.up()
    for name in ("left", "values", "detail"):
        page.get_by_role("tab", name=f"{name}", exact=False).first.click()
    page.wait_for_timeout(700)
    assert page.evaluate("window.jumped") <= 0.03


def test_few_stops_of_the_keyboard_lead_to_the_slider(kept_page: Any) -> None:
    page = opened(kept_page)
    page.evaluate(
        "() => { const at = document.querySelector('h1'); at.tabIndex = -1; at.focus(); }"
    )
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == SLIDER[1:]:
            break
    assert page.evaluate("document.activeElement.id") == SLIDER[1:]
