"""People's ways through the whole page: a teacher's, with a projector."""

from typing import Any

import pytest

from sd.ui.noise import schedules
from tests.browser.test_page import go_to, settled

pytestmark = pytest.mark.browser


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
