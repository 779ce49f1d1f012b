"""What gradio's page asks and is told: every value is seen, and what is ended ends."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr
import pytest

from sd.ui.adapter.page import Page
from sd.ui.components.handlers import QUIET
from sd.ui.state import Shared

SEEN = 'window.seen = [], window.over = 0; watch("value", () => seen.push(props.value));'
PRESS = "(all) => document.querySelectorAll(all).forEach((each) => each.click())"
MEETING = threading.Barrier(8)
MOST_STEPS = 600
STEPS: list[int] = []  # of the long event
pytestmark = pytest.mark.browser


def go_long() -> Iterator[str]:
    """Go on for half a minute."""
    for step in range(MOST_STEPS):
        STEPS.append(step)
        time.sleep(0.05)
        yield "."


def meet(letter: str) -> str:
    """Return a value when all others of its kind are about to."""
    MEETING.wait(30)
    return letter


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a page of events."""
    with Page(Shared(), analytics_enabled=False) as demo:
        shows, other = gr.HTML("", js_on_load=SEEN), gr.Textbox()
        long = gr.Button("long").click(go_long, None, other, **QUIET)
        for letter in "abcdefgh":
            button = gr.Button(letter, elem_classes="one")
            sent = button.click(partial(meet, letter), None, shows, **QUIET)
            sent.success(None, None, None, js="() => { window.over += 1; }")
        gr.Button("end").click(None, None, None, cancels=[long])
    demo.queue(api_open=False, max_size=20)
    middleware = demo.middleware(lambda: None)
    demo.launch(prevent_thread_lock=True, quiet=True, app_kwargs={"middleware": middleware})
    yield str(demo.local_url)
    demo.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(address)
    opened.wait_for_selector("button.one")
    yield opened
    context.close()


@pytest.mark.parametrize("seen", ["visible", "hidden"])
def test_values_that_events_send_at_once_to_one_part_all_arrive(page: Any, seen: str) -> None:
    look = "(seen) => Object.defineProperty(document, 'visibilityState', { get: () => seen })"
    page.evaluate(look, seen)
    page.evaluate(PRESS, "button.one")
    page.wait_for_function("over === 8")
    assert sorted(page.evaluate("window.seen")) == list("abcdefgh")


def test_what_is_ended_before_it_has_its_number_ends_and_nothing_is_refused(page: Any) -> None:
    held: list[Any] = []
    page.route("**/queue/join*", lambda route: held.append(route))
    page.click("text=long")
    while not held:
        page.wait_for_timeout(20)
    with page.expect_response("**/cancel") as told:
        page.click("text=end")
        page.wait_for_timeout(200)
        held[0].continue_()
    assert told.value.status == 200
    taken = -1
    while taken < len(STEPS) < MOST_STEPS:
        taken = len(STEPS)
        page.wait_for_timeout(1000)
    assert taken < MOST_STEPS  # it ends long before its own end
