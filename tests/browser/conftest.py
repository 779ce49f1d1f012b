"""The page in a real browser: a server of its own, an empty home, and Debian's Chromium.

Without a browser the tests skip by name; where CI is set, its absence is a failure.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sd.runs import process
from tests.helpers.serving import served

NAMES = ("chromium", "chromium-browser", "google-chrome")
LEAVING = (
    "AbortError: signal is aborted",
    "AbortError: BodyStreamBuffer was aborted",
    "Unexpected error Connection errored out",
)
CI = os.environ.get("CI") == "true"
PATIENCE = 3.0 if CI else 1.0  # how much longer a promise may take where others use the machine
DEFAULT_WAIT = 120 if CI else 30  # seconds; no promise, only when to give up
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def absent(what: str) -> None:
    """Skip for want of a browser, or fail where there must be one."""
    line = f"{what} is not installed: the page was not tried in a browser"
    (pytest.fail if CI else pytest.skip)(line)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError:
        absent("playwright")
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        absent("Chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The empty folder of runs that the server gets."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def address(browser: Any, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running page; the browser is asked for first, to skip early."""
    try:
        with served(home, tmp_path_factory.mktemp("server")) as url:
            yield url
    finally:
        end_runs(home)


def end_runs(home: Path) -> None:
    """End training processes that a failed test left behind."""
    for name in (process.PROCESS, process.STARTING):
        for record in home.glob(f"*/{name}"):
            if process.is_alive(record.parent, name):
                os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
                while process.is_alive(record.parent, name):
                    time.sleep(0.02)


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Any]:
    """Open the page as (width, height, locale, ?query); at the end nothing may have gone wrong."""
    faults: list[str] = []
    contexts = []

    def opened(
        width: int = 1280, height: int = 900, locale: str = "en-US", address_end: str = ""
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height}, locale=locale, has_touch=width < 800
        )
        contexts.append(context)
        context.set_default_timeout(DEFAULT_WAIT * 1000)
        page = context.new_page()
        page.on("console", lambda m: faults.append(m.text) if is_fault(m) else None)
        page.on(
            "pageerror", lambda e: None if f"{e}".startswith(LEAVING) else faults.append(f"{e}")
        )
        page.on("request", lambda r: None if inside(r.url, address) else faults.append(r.url))
        page.goto(address + address_end)
        page.wait_for_selector("[role=tab]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def is_fault(message: Any) -> bool:
    """Tell whether the console shows an error, other than gradio's when a page is left."""
    return message.type == "error" and not message.text.startswith(LEAVING)


def inside(url: str, address: str) -> bool:
    """Tell whether a request stays with the server."""
    return url.startswith((address, "data:", "blob:"))
