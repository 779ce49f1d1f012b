"""Frames per second while t is dragged at 256 pixels: `python -m tests.benchmarks.noise_page`.

In headless Chromium without a graphics card, against a server of its own. Asked for: at least 30.
"""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.helpers.serving import served

SECONDS, WANTED = 5.0, 30
STRIDE = 8  # moves of the mouse that are asked for at once: each asking alone takes its time
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
TIMERS = """() => window.gradio_config.dependencies
  .filter((each) => each.targets.some(([_, kind]) => kind === "tick")).map((each) => each.id)"""
WATCH = """(() => {
  const ask = window.requestAnimationFrame.bind(window);
  window.spent = [];
  window.requestAnimationFrame = (work) => ask((time) => {
    const began = performance.now();
    work(time);
    window.spent.push(performance.now() - began);
  });
})()"""
COUNT = """() => {
  window.seen = { ticks: 0 };
  const tick = () => { window.seen.ticks++; requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
  return +document.querySelector("#noise-canvas").dataset.frames;
}"""
READ = """() => ({
  ticks: window.seen.ticks,
  frames: +document.querySelector("#noise-canvas").dataset.frames,
})"""


def photo(folder: Path) -> Path:
    """Write a picture of 256 x 256 pixels; return its path."""
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder / "photo.png"


def requests_of(page: Any) -> list[str]:
    """Return a list that fills with what the page asks for from now on.

    Left out: the timers that watch training, and the streams in which their answers come.
    """
    asked: list[str] = []
    timers = page.evaluate(TIMERS)

    def note(request: Any) -> None:
        joins = request.method == "POST" and "/queue/join" in request.url  # else it may be a file
        timed = joins and request.post_data_json.get("fn_index") in timers
        if not timed and "/queue/data?" not in request.url:
            asked.append(request.url)

    page.on("request", note)
    return asked


def dragged(page: Any) -> tuple[dict[str, int], float]:
    """Drag t to and fro for five seconds; return what was counted and the seconds it took."""
    box, asked = page.locator("#noise-t").bounding_box(), requests_of(page)
    y, step = box["y"] + box["height"] / 2, 0
    page.mouse.move(box["x"] + 2, y)
    page.mouse.down()
    before, began = page.evaluate(COUNT), time.perf_counter()
    while time.perf_counter() < began + SECONDS:
        step += STRIDE
        share = 0.5 - 0.49 * np.cos(step / 60)
        page.mouse.move(box["x"] + share * box["width"], y, steps=STRIDE)
    took, found = time.perf_counter() - began, page.evaluate(READ)
    counted = {"frames": found["frames"] - before, "moves": step, "requests": len(asked)}
    page.mouse.up()
    return {**found, **counted}, took


def played(page: Any) -> tuple[dict[str, int], float]:
    """Let t run by itself for as long; return what was counted and the seconds it took."""
    page.locator("#noise-t").focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(1000)
    page.keyboard.press("Space")
    before, began = page.evaluate(COUNT), time.perf_counter()
    page.wait_for_timeout(1000 * SECONDS)
    took, found = time.perf_counter() - began, page.evaluate(READ)
    return {**found, "frames": found["frames"] - before}, took


def main() -> None:
    """Measure and print."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        scratch = Path(name)
        (scratch / "home").mkdir()
        with served(scratch / "home", scratch) as address:
            path = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.add_init_script(WATCH)
            page.goto(address)
            page.locator("[role=tab]").nth(1).click()
            page.wait_for_selector("#noise-canvas[data-t]")
            page.locator("#noise-stage input[type=file]").set_input_files(str(photo(scratch)))
            page.wait_for_function("document.querySelector('#noise-canvas').width === 256")
            page.wait_for_timeout(1000)
            found, took = dragged(page)
            alone, played_for = played(page)
            spent = [each for each in page.evaluate("window.spent") if each > 1]
            browser.close()
    rate = found["frames"] / took
    print(f"{found['frames']} pictures of 256 x 256 drawn in {took:.1f} s: {rate:.0f} a second")
    print(f"{found['moves'] / took:.0f} moves, {found['ticks'] / took:.0f} frames of the screen")
    print(f"{found['requests']} requests while dragging; at least {WANTED} a second asked for")
    print(f"played: {alone['frames'] / played_for:.0f} pictures a second")
    middle, worst = np.percentile(spent, (50, 99))
    print(f"script of a picture: {middle:.1f} ms, 99 of 100 within {worst:.1f} ms")
    if rate < WANTED or found["requests"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
