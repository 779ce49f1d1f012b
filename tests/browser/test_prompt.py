"""The bar that draws: chips, what typing offers, a pause and a step, and a page that then rests."""

import json
import time
from typing import Any

import pytest

from tests.browser.conftest import DEFAULT_WAIT, quiet
from tests.browser.test_denoise import (  # noqa: F401 (fixtures)
    PLAYER,
    choose_model,
    denoise_tab,
    fill,
    kept,
)
from tests.browser.test_page import settled

pytestmark = pytest.mark.browser


def words(page: Any) -> list[str]:
    found: list[str] = page.locator(".ask-word").all_inner_texts()
    return found


def test_prompts_are_chips_and_what_is_not_known_has_its_nearest(kept: Any) -> None:  # noqa: F811
    page = kept
    first, second, third, _ = words(page)
    assert (first, second) == ("red circle left of blue square", "blue square above yellow circle")
    box, waiting = page.locator(".ask-input"), []
    page.route("**/queue/join*", lambda route: waiting.append(route))
    box.click()
    box.press("Backspace")
    page.get_by_role("button", name=f"Remove {second}").click()
    assert words(page) == [first, third]
    box.fill("yellow triangle left of red sq")
    offered = "yellow triangle left of red square"
    page.get_by_role("option", name=offered, exact=True).wait_for()
    box.press("ArrowDown")
    for each in waiting:
        each.continue_()
    page.unroute("**/queue/join*")
    page.locator(".ask-face[style]").first.wait_for(state="attached")  # pictures of what is offered
    box.press("Enter")  # still takes what was pointed at before they came
    box.fill("green circel,")
    assert words(page) == [first, third, offered, "green circel"]
    unknown = page.locator(".ask-chip.unknown")
    unknown.get_by_role("button", name="→ green circle").click()
    unknown.wait_for(state="detached")
    assert words(page)[-1] == "green circle"
    quiet(page)  # a note on the prompts is no change of them: it would never come to rest
    for told, line in QUEUED.items():
        page.evaluate(WAITING, told)
        page.locator(".ask-line").get_by_text(line, exact=True).wait_for()
    page.evaluate("sdPrompt.be('rest')")
    page.locator(".ask-line", has_text="25 steps of").wait_for()


def test_what_is_changed_while_an_answer_is_awaited_stays(kept: Any) -> None:  # noqa: F811
    page, waiting = kept, []
    first, *others = words(page)

    def hold(route: Any) -> None:
        """Let all pass but what fills the bar for a model that was chosen."""
        data = json.loads(route.request.post_data)["data"]
        fills = len(data) == 3 and data[1]["prompts"] == [first, *others]
        waiting.append(route) if fills else route.continue_()

    page.route("**/queue/join*", hold)
    choose_model(page, "shapes128")
    page.locator("#model .model-now", has_text="shapes128").wait_for()
    end = time.monotonic() + DEFAULT_WAIT
    while not waiting:
        assert time.monotonic() < end
        page.wait_for_timeout(50)
    page.get_by_role("button", name=f"Remove {first}").click()
    waiting[0].continue_()
    page.unroute("**/queue/join*")
    quiet(page)
    assert words(page) == others
    choose_model(page, "shapes32")
    page.locator("#model .model-now", has_text="shapes32").wait_for()
    quiet(page)


FORM = """(seen) => {
  const element = document.createElement("div"), props = {};
  element.innerHTML = '<div class="form-fields"></div>';
  const about = { kind: "number", low: 0, high: 99, step: 1 };
  const field = (name, value) => ({ ...about, name, label: name, value });
  let take;
  const page = { watch: (_, heard) => { take = heard; }, input: () => {} };
  const fields = [field("steps", 25), field("count", 4)];
  sdFields.mount(element, props, page, { form: "", fields });
  const box = element.querySelector("input");
  box.value = "7";
  box.dispatchEvent(new Event("input"));
  const rest = { choices: {}, shown: {}, enabled: {}, faults: null };
  props.value = { patch: { values: { steps: 20, count: 1 }, seen, ...rest } };
  take();
  return props.value;
}"""


@pytest.mark.parametrize(
    ("seen", "left"),
    [
        ({"steps": 25, "count": 4}, {"steps": 7, "count": 1}),
        ({"steps": 7, "count": 4}, {"steps": 20, "count": 1}),
        (None, {"steps": 20, "count": 1}),
    ],
)
def test_a_field_changed_after_it_was_seen_stays(
    kept: Any,  # noqa: F811
    seen: dict[str, int] | None,
    left: dict[str, int],
) -> None:
    assert kept.evaluate(FORM, seen) == left


QUEUED = {  # what gradio tells -> what the bar says
    "queue: 1/3 | 0.5s": "1st in line",
    "queue: 2/3 | 2.2/22.0s": "2nd in line, about 20 s",
    "queue: 12/12 | 30.1/22.0s": "12th in line, about 1 s",
}
WAITING = """(text) => {
  sdPrompt.be("waiting");
  const told = document.createElement("div");
  told.className = "progress-text";
  told.textContent = text;
  document.querySelector("#denoise-status .progress-text")?.remove();
  document.querySelector("#denoise-status").prepend(told);
}"""


def test_the_chips_are_one_stop_and_the_arrows_go_along_them(kept: Any) -> None:  # noqa: F811
    page = kept
    box = page.locator(".ask-input")
    first, *others = words(page)
    assert page.locator(".ask-chips [tabindex='0']").count() == 1
    assert page.locator(".ask-line [tabindex='0']").count() == 1
    box.focus()
    box.press("ArrowLeft")
    for _ in others[1:]:
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Delete")
    assert words(page) == [first, *others[1:]]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert words(page) == others[1:]
    for _ in others[1:]:
        page.keyboard.press("ArrowRight")
    assert box.evaluate("box => box === document.activeElement")


def test_on_a_phone_the_line_is_one_target_and_the_tools_can_be_pressed(open_page: Any) -> None:
    page = denoise_tab(open_page(390, 844))
    line = page.locator(".ask-line button")
    assert line.count() == 1 and "DPM-Solver++" in line.inner_text()
    line.click()
    page.locator("#denoise-form.open").wait_for()
    line.click()
    page.locator(".tools [data-fold=algorithm2]").click()  # nothing lies over it
    page.locator(".tools [data-fold=algorithm2][aria-expanded=true]").wait_for()


def test_a_sampling_pauses_goes_a_step_and_on(kept: Any) -> None:  # noqa: F811
    page = kept
    fill(page, "size", "large")
    page.locator("#denoise-go").click()
    settled(page, ".toast-body", "size = 'large'")
    page.locator("#denoise-go", has_text="Draw").wait_for()  # what was refused does not run
    fill(page, "size", "")
    fill(page, "steps", 1000)  # so many that none of what is looked for is over before
    page.locator(".ask-line", has_text="1000 steps of DPM-Solver++").wait_for()
    page.locator("body").press("Control+Enter")
    settled(page, "#denoise-status", "of 1000, t =")
    page.locator("#denoise-pause").click()
    at = int(settled(page, "#denoise-status", "paused at step").split()[3])
    page.evaluate(PRESSED_AT_ONCE, 1)
    page.locator("#denoise-step").click()
    settled(page, "#denoise-status", f"paused at step {at + 2} of 1000")
    page.locator(f"{PLAYER}[data-step='{at + 2}']").wait_for()  # its picture comes after its line
    blue = page.locator("#denoise-pause").evaluate("each => getComputedStyle(each).backgroundColor")
    assert blue == "rgb(47, 98, 201)"  # what a paused sampling is asked next
    page.get_by_role("button", name="Resume").click()
    settled(page, "#denoise-status", "of 1000, t =")
    page.keyboard.press("Escape")
    settled(page, "#denoise-status", "stopped at step")
    page.locator("#denoise-go", has_text="Draw").wait_for()


# Press the next step as soon as the one at hand has paused, so many times.
PRESSED_AT_ONCE = """(times) => {
  const bar = document.querySelector("[data-state]:has(.ask)");
  let state = bar.dataset.state;
  new MutationObserver((_, watching) => {
    const before = state;
    state = bar.dataset.state;
    if (state !== "paused" || before === "paused") return;
    document.querySelector("#denoise-step").click();
    if (!--times) watching.disconnect();
  }).observe(bar, { attributeFilter: ["data-state"] });
}"""


@pytest.mark.slow
def test_who_waits_is_told_a_place_in_the_line(open_page: Any) -> None:
    first, second, third = (denoise_tab(open_page()) for _ in range(3))
    fill(first, "steps", 1000)
    first.locator("#denoise-go").click()
    settled(first, "#denoise-status", "of 1000, t =")
    second.locator("#denoise-go").click()
    second.locator(".ask-line", has_text="1st in line").wait_for()
    third.locator("#denoise-go").click()
    third.locator(".ask-line", has_text="2nd in line").wait_for()
    first.keyboard.press("Escape")
    settled(first, "#denoise-status", "stopped at step")
    settled(second, "#denoise-status", "step ")
    line = third.locator(".ask-line", has_text="1st in line")
    line.or_(third.locator(f"{PLAYER}[data-ready='25']")).first.wait_for()  # unless it was quick
    settled(third, "#denoise-status", "25 steps in")
