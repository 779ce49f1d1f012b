"""A person's way through "Where it looked": a word, a place by pointer and keys, the way."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sd.config import Config
from tests.browser.test_denoise import (
    PLAYER,
    ask,
    choose_model,
    denoise_tab,
    denoised,
    fill,
    unfold,
)
from tests.browser.test_page import settled
from tests.helpers.denoising import WORDED, told_model

pytestmark = pytest.mark.browser

PRESSED = "#looked-words button[aria-pressed=true]"


@pytest.fixture(scope="module", name="worded")
def worded_model(home: Path, tiny_config: Config) -> Iterator[str]:
    """An untrained model of 8 x 8 pixels that reads captions, in the page's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SD_HOME", str(home))
        told_model(tiny_config, WORDED)
    yield WORDED
    shutil.rmtree(home / WORDED)


def address(page: Any, selector: str) -> str:
    return str(page.locator(f"{selector} img").first.get_attribute("src"))


def test_a_word_a_place_and_the_way(open_page: Any, worded: str) -> None:
    page = denoise_tab(open_page())
    choose_model(page, worded)
    page.locator(".ask-chip", has_text="a small dog").wait_for()  # what its samples were
    ask(page, "a red heart")
    fill(page, "steps", 6)
    denoised(page, 6)
    unfold(page, "#denoise-looked")
    words = page.locator("#looked-words button")
    words.nth(2).wait_for()
    assert [each.split("\n")[0] for each in words.all_inner_texts()] == ["a", "red", "heart"]
    words.nth(2).click()
    settled(page, "#looked-subject", "the heat of “heart”")
    assert page.locator(PRESSED).get_attribute("data-word") == "2"

    spot = page.locator(".looked-spot")
    box = spot.bounding_box()
    spot.click(position={"x": 0.9 * box["width"], "y": 0.1 * box["height"]})
    page.keyboard.press("ArrowDown")  # while the click is still under way
    settled(page, "#looked-where", "Where row 2, column 8 looks")
    assert page.locator(PRESSED).count() == 0
    from_above = address(page, "#looked-where")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):  # the rim is the end
        page.keyboard.press(key)
    settled(page, "#looked-place", "row 4, column 8")
    settled(page, "#looked-where", "Where row 4, column 8 looks")
    assert address(page, "#looked-where") != from_above
    assert spot.evaluate("(node) => node === document.activeElement")

    estimate = address(page, "#looked-place")
    page.locator(f"{PLAYER} .sdp-slider").focus()
    page.keyboard.press("Home")
    page.wait_for_function(
        "(old) => document.querySelector('#looked-place img').src !== old", arg=estimate
    )
    settled(page, "#looked-place", "row 4, column 8")
    page.locator("#looked-go").click()
    settled(page, "#looked-line", "6 steps looked at in")
    assert page.locator("#looked-strip img").count() == 6
