"""A way through the tools of the Denoise tab: another wish on the way, grid, Stop, Save."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sd.generation.export import read_recipe
from tests.browser.test_denoise import (  # noqa: F401 (fixtures)
    PLAYER,
    ask,
    choose_model,
    denoise_tab,
    denoised,
    field,
    fill,
    kept,
    little,
    rest_at,
    taken,
    unfold,
)
from tests.browser.test_looked import worded_model  # noqa: F401 (a fixture)
from tests.browser.test_page import settled

pytestmark = pytest.mark.browser

TAKE_BACK = """document.querySelector(".sdp-panel")
  .append(document.querySelector(".sdp-numbers-box"))"""  # as a player does
HOLD_FRAMES = """() => {
  const native = window.requestAnimationFrame, held = [];
  window.requestAnimationFrame = (frame) => held.push(frame);
  window.letFramesGo = () => {
    window.requestAnimationFrame = native;
    held.forEach((frame) => native(frame));
  };
}"""
TOOLS = ("branch", "looked", "algorithm2", "race", "grid", "take")


@pytest.fixture
def page(open_page: Any) -> Any:
    return denoise_tab(open_page())


def test_a_sampling_is_saved_as_a_moving_picture(kept: Any, tmp_path: Path) -> None:  # noqa: F811
    page = kept
    unfold(page, "#denoise-take")
    for form in ("GIF", "WebP"):
        page.locator("#take-form").get_by_text(form, exact=True).click()
        taken(page, tmp_path / form)
        with Image.open(tmp_path / form) as film:
            assert film.format == form.upper() and film.n_frames == 25


def test_a_tool_that_is_opened_while_its_tab_is_being_made_stays_open(open_page: Any) -> None:
    """gradio lays the parts' first values over them once more, a frame after they are seen."""
    page = open_page()
    page.evaluate(HOLD_FRAMES)
    page.get_by_role("tab", name="Denoise").evaluate("(tab) => tab.click()")
    bar = page.locator(".tools-bar button[data-fold=denoise-branch]")
    bar.wait_for(state="attached")
    bar.evaluate("(button) => button.click()")
    page.locator("#denoise-branch > button.open").wait_for(state="attached")
    page.evaluate("letFramesGo()")
    page.wait_for_timeout(500)
    assert page.locator("#denoise-branch > button.open").count() == 1
    page.locator("#branch-go").get_by_text("Continue from step 15").wait_for()


def test_one_tool_is_open_at_a_time_in_one_place(kept: Any) -> None:  # noqa: F811
    page = kept
    buttons = page.locator(".denoise-page ~ * .tools button, .tools-bar button")
    words = ["Branch & paint", "Where it looks", "The numbers", "Race", "Grid", "Save"]
    assert [each.strip() for each in buttons.all_inner_texts() if each.strip()][-6:] == words
    tops = set()
    page.evaluate(
        "document.querySelector('.sdp-numbers-box').remove()"
    )  # as if laid down too early
    for name in TOOLS:
        fold = name if name == "algorithm2" else f"denoise-{name}"
        unfold(page, f"#{fold}")
        assert page.locator(".tool:has(> button.open)").count() == 1
        tops.add(round(page.locator(f"#{fold}").bounding_box()["y"] + page.evaluate("scrollY")))
    assert len(tops) == 1
    numbers = page.locator("#denoise-player-numbers .sdp-numbers dd")
    page.evaluate(TAKE_BACK)
    unfold(page, "#algorithm2")
    numbers.nth(6).wait_for()  # brought whenever they come into sight


def test_from_a_step_on_something_else_is_asked_for(page: Any, worded: str, tmp_path: Path) -> None:
    choose_model(page, worded)
    page.locator(".ask-chip", has_text="a small dog").wait_for()  # what its samples were
    ask(page, "a red heart")
    fill(page, "steps", 6)
    denoised(page, 6)
    unfold(page, "#denoise-branch")
    rest_at(page, 3)
    prompt = field(page, "branch-form", "prompt")
    page.wait_for_function("(box) => box.value === 'a red heart'", arg=prompt.element_handle())
    prompt.fill("a small dog")
    denoised(page, 3, button="#branch-go")
    unfold(page, "#denoise-take")
    taken(page, tmp_path / "dog.png")
    recipe = read_recipe(tmp_path / "dog.png")["recipe"]
    assert recipe["prompts"] == ["a small dog"] and recipe["branch"]["at"] == 3
    assert recipe["branch"]["recipe"]["prompts"] == ["a red heart"]


def test_a_grid_is_drawn_and_a_cell_comes_to_the_stage(page: Any, little: str) -> None:  # noqa: F811
    choose_model(page, little)
    fill(page, "steps", 4)
    unfold(page, "#denoise-grid")
    field(page, "grid-form", "down").select_option(label="seed")
    field(page, "grid-form", "down_values").fill("3, 5, 8")
    field(page, "grid-form", "across").select_option(label="size")
    field(page, "grid-form", "across_values").fill("8, 16")
    settled(page, "#grid-price", "6 pictures, 24 network calls")
    assert "Only 8x8 was trained" in page.locator("#grid-price").inner_text()
    page.locator("#grid-go").click()
    settled(page, "#grid-status", "6 pictures")
    cells = page.locator("#grid-sheet button img")
    assert cells.count() == 6
    assert cells.nth(3).get_attribute("alt") == "seed 5, size 16x16"
    assert cells.nth(3).evaluate("(each) => each.naturalWidth") == 16
    page.locator("#grid-sheet button").nth(3).click()
    settled(page, "#denoise-status", "4 steps in")
    page.wait_for_function("(p) => document.querySelector(p).dataset.ready === '4'", arg=PLAYER)


def test_a_pressed_verb_is_its_own_stop(kept: Any) -> None:  # noqa: F811
    page = kept
    fill(page, "steps", 1000)  # so many that no picture is finished before it is stopped
    unfold(page, "#denoise-grid")
    page.locator("#grid-go").click()
    stop = page.locator("#grid-go + .verb-stop")
    stop.wait_for()
    assert not page.locator("#grid-go").is_visible() and stop.inner_text() == "Stop"
    settled(page, "#grid-status", "picture 1 of")
    stop.click()
    settled(page, "#grid-status", "stopped after 0 of")
    page.locator("#grid-go").wait_for()
    assert stop.count() == 0
