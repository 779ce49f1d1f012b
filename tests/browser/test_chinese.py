"""The Chinese page: no word of English is seen, and what a network is asked is its own caption."""

from typing import Any

import pytest

from tests.benchmarks.first_sight import SCRIPT, TOOLS, english_in
from tests.browser.test_page import TABS, go_to, settled

pytestmark = pytest.mark.browser

READY = {"train": "要的是", "noise": "噪声", "denoise": "圆"}
EMOJI = '?set={"model":{"name":"emoji32"}}'
OPEN = "[aria-expanded=true][data-fold], [aria-expanded=true][data-tool]"


def test_no_word_of_english_is_seen_on_any_tab_with_any_tool(open_page: Any) -> None:
    page = open_page(1280, 800, "zh-CN")
    settled(page, "#model .model-now", "像素")
    page.evaluate(SCRIPT)
    for tab in TABS:
        go_to(page, tab)
        settled(page, "[role=tabpanel]:visible", READY[tab])
        left = {"": english_in(page.evaluate("sight.texts()"))}
        for button in page.locator(TOOLS).all():
            if button.get_attribute("id") == "train-draw":  # it leads away
                continue
            button.click()
            page.locator(OPEN).locator("visible=true").first.wait_for()
            left[button.inner_text()] = english_in(page.evaluate("sight.texts()"))
        assert not {tool: words for tool, words in left.items() if words}, tab


def test_a_caption_is_asked_for_by_its_chinese_name(open_page: Any) -> None:
    page = open_page(1280, 800, "zh-CN", f"{EMOJI}#denoise")
    box = page.locator(".ask-input")
    box.fill("西红柿")
    option = page.get_by_role("option").first
    option.wait_for()
    assert (option.inner_text(), option.get_attribute("title")) == ("西红柿", "tomato")
    box.press("Enter")
    chip = page.locator(".ask-chip").last
    assert chip.get_attribute("title") == "tomato" and chip.inner_text().startswith("西红柿")
    page.wait_for_url("**tomato**")
