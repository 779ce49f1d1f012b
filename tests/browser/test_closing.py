"""Whoever leaves gives the device back: a closed tab, a reload, and one after the other in turn."""

import re
import time
from typing import Any

import pytest
from gradio_client import Client

from tests.browser.test_denoise import fill
from tests.browser.test_page import go_to, settled

pytestmark = pytest.mark.browser

LONGEST_STEPS = 1000


@pytest.fixture(scope="module")
def client(address: str) -> Client:
    """A program that waits for its turn behind the page's sampling."""
    return Client(address, verbose=False)


def waits(client: Client) -> float:
    """Return how long one step of one picture takes, with the wait for its turn."""
    began = time.monotonic()
    client.predict("emoji32", steps=1, api_name="/denoise")
    return time.monotonic() - began


def begin_long_sampling(page: Any) -> float:
    """Start a sampling that would go on for a minute; return how many seconds it has left."""
    go_to(page, "denoise")
    settled(page, "#denoise-status", "a finished example of the bundled model")
    fill(page, "steps", LONGEST_STEPS)
    fill(page, "count", 16)
    began = time.monotonic()
    page.locator("#denoise-go").click()
    line = settled(page, "#denoise-status", f"of {LONGEST_STEPS}")
    done = re.search(rf"(\d+) of {LONGEST_STEPS}", line)
    assert done is not None
    return (LONGEST_STEPS / int(done[1]) - 1) * (time.monotonic() - began)


@pytest.mark.parametrize("leave", ["close", pytest.param("reload", marks=pytest.mark.slow)])
def test_a_page_that_is_left_frees_the_device(open_page: Any, client: Client, leave: str) -> None:
    waits(client)  # the model is here from now on
    page = open_page()
    left = begin_long_sampling(page)
    page.close() if leave == "close" else page.reload()
    assert waits(client) < left / 2


@pytest.mark.slow
def test_a_second_sampling_waits_for_the_first_to_end(open_page: Any, client: Client) -> None:
    page = open_page()
    begin_long_sampling(page)
    waiting = client.submit("emoji32", steps=1, api_name="/denoise")
    time.sleep(2)
    assert not waiting.done()
    page.keyboard.press("Escape")
    settled(page, "#denoise-status", "stopped at step")
    waiting.result(timeout=60)
