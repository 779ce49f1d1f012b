"""People's ways through the whole page: a hobbyist's, a telephone's in Chinese, a teacher's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sd.ui.denoise.prompts import bundled_captions
from sd.ui.noise import schedules
from tests.benchmarks.first_sight import SCRIPT
from tests.browser.conftest import end_runs
from tests.browser.test_page import go_to, settled
from tests.helpers.newcomer import Hand, draw_with_it, train_photos
from tests.helpers.photos import make_photos
from tests.ui.test_chinese import english

pytestmark = pytest.mark.browser

SMALL = {  # of the form of the settings: the smallest network, a few steps
    "steps": 8,
    "batch_size": 4,
    "input_height": 8,
    "input_width": 8,
    "channel": 1,
    "n_embed": 1,
    "model_channels": 32,
    "channel_mult": "[1]",
    "attention_resolutions": "[]",
    "num_heads": 1,
    "sample_early": "[1]",
    "sample_steps": 2,
}
IN_SIGHT = """(selector) => {
  const { top, bottom } = document.querySelector(selector).getBoundingClientRect();
  return 0 <= top && bottom <= innerHeight && top < bottom;
}"""
AS_SET = f"?set={quote(json.dumps({'minutes': {'minutes': None}, 'plan-fields': SMALL}))}"


@pytest.fixture
def no_run_is_left(home: Path) -> Iterator[None]:
    """End what a journey that failed has begun."""
    yield
    end_runs(home)


@pytest.mark.usefixtures("no_run_is_left")
@pytest.mark.parametrize(
    ("width", "locale", "title"),
    [
        pytest.param(1280, "en-US", "My cats", marks=pytest.mark.slow),
        (390, "zh-CN", "我的图片"),
    ],
)
def test_sixty_photographs_become_a_model_that_draws(
    open_page: Any, tmp_path: Path, width: int, locale: str, title: str
) -> None:
    """A hobbyist's way; on a telephone with a finger, in Chinese, and without an English word."""
    page = open_page(width, 844, locale, f"{AS_SET}#train")
    page.locator("#train-start", has_text="8").wait_for()  # steps: the address has filled the form
    page.evaluate(SCRIPT)
    english_words: set[str] = set()
    asked = {
        word for caption in bundled_captions("starter") for word in caption.split()
    }  # of the example

    def look() -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        texts = page.evaluate("sight.texts()") if locale == "zh-CN" else []
        found = [(word, text) for text in texts for word in english(text) if word not in asked]
        english_words.update(f"{word}: {text}" for word, text in found)

    hand, photos = Hand(page, width == 390, look), make_photos(tmp_path / "My cats", 60)
    train_photos(hand, photos, by_files=width == 390, minutes=False)
    assert hand.presses <= 5
    page.locator(".run-panel[data-state=finished]").wait_for()
    page.wait_for_function(IN_SIGHT, arg="#train-draw")  # the thumb need not look for it
    look()
    draw_with_it(hand)
    look()
    assert hand.presses <= 7
    page.locator("[role=tab][aria-selected=true][data-tab-id=denoise]").wait_for()
    page.locator("#model .model-now b", has_text=title).wait_for(state="attached")
    page.locator(".sdp-card canvas[data-step]:visible").first.wait_for()
    assert sorted(english_words) == []


def test_a_teacher_shows_how_noise_comes(open_page: Any) -> None:
    page = open_page(1920, 1080)
    go_to(page, "noise")
    page.locator("#noise-canvas[data-t='120']").wait_for()  # it has slid there by itself
    canvas = page.locator("#noise-canvas").bounding_box()
    assert canvas["width"] >= 720 and canvas["y"] + canvas["height"] <= 1080
    type_of = "each => getComputedStyle(each).fontSize"
    assert page.locator("[data-fold=noise-fold-pair]").evaluate(type_of) == "17px"
    page.locator("#noise-t").focus()
    page.keyboard.press("End")
    page.locator("#noise-canvas[data-t='1000']").wait_for()
    schedule = schedules.read_schedule("tiny")
    numbers = page.locator("#noise-stage .formula b").all_inner_texts()
    assert numbers == [f"{float(schedule.signal(1000)):.2f}", f"{float(schedule.noise(1000)):.2f}"]
    page.locator("[data-fold=noise-fold-pair]").click()
    page.locator("#noise-fold-pair canvas:visible").nth(1).wait_for()
    page.locator("[data-fold=noise-fold-algorithm]").click()
    page.locator("#noise-fold-pair canvas").first.wait_for(state="hidden")  # one tool at a time
    page.locator("#noise-draw").click()
    settled(page, "#noise-fold-algorithm", "eps")
