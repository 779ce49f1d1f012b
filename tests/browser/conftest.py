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
from weakref import WeakKeyDictionary

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
QUIET = 0.5  # seconds without a request, after which a page has asked for all that it wants
_traffic: WeakKeyDictionary[Any, "Traffic"] = WeakKeyDictionary()  # of each page
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


class Windows:
    """Windows of the browser by size and language, lent to one journey at a time.

    What a page once fetched stays in its window, so that the next journey's page is there sooner;
    what a page has stored does not.
    """

    def __init__(self, browser: Any, address: str) -> None:
        self._browser, self._address = browser, address
        self._free: dict[tuple[int, int, str], list[Any]] = {}
        self._lent: list[tuple[tuple[int, int, str], Any]] = []
        self.faults: list[str] = []

    def open(
        self,
        width: int = 1280,
        height: int = 900,
        locale: str = "en-US",
        address_end: str = "#train",
    ) -> Any:
        """Open the page in a window that nobody else has, by itself on its Train tab."""
        page = self.blank(width, height, locale)
        page.on("console", lambda m: self.faults.append(m.text) if is_fault(m) else None)
        page.on("pageerror", lambda e: self._note_error(f"{e}"))
        page.on("request", lambda r: self._note_request(r.url))
        _traffic[page] = Traffic(page)
        page.goto(self._address + address_end)
        page.wait_for_selector("[role=tab]")
        return page

    def blank(self, width: int = 1280, height: int = 900, locale: str = "en-US") -> Any:
        """Open a page that has gone nowhere yet, in a window that nobody else has."""
        kind = width, height, locale
        free = self._free.setdefault(kind, [])
        window = free.pop() if free else self._new_window(*kind)
        self._lent.append((kind, window))
        return window.new_page()

    def _new_window(self, width: int, height: int, locale: str) -> Any:
        size = {"width": width, "height": height}
        window = self._browser.new_context(viewport=size, locale=locale, has_touch=width < 800)
        window.set_default_timeout(DEFAULT_WAIT * 1000)
        return window

    def _note_error(self, error: str) -> None:
        if not error.startswith(LEAVING):
            self.faults.append(error)

    def _note_request(self, url: str) -> None:
        if not inside(url, self._address):
            self.faults.append(url)

    def give_back(self, journeys: int = 0) -> None:
        """Close the pages of all windows but the first `journeys` that are lent."""
        while len(self._lent) > journeys:
            kind, window = self._lent.pop()
            forget_all(window, self._address)
            self._free[kind].append(window)


class Traffic:
    """What a page has asked for that is not answered yet, and how often it asked."""

    def __init__(self, page: Any) -> None:
        self.under_way: set[Any] = set()
        self.asked = 0
        page.on("request", self.begin)
        for ended in ("requestfinished", "requestfailed"):
            page.on(ended, self.end)

    def begin(self, request: Any) -> None:
        self.asked += 1
        self.under_way.add(request)

    def end(self, request: Any) -> None:
        self.under_way.discard(request)

    def awaited(self) -> list[str]:
        """Return what is awaited; of gradio's streams, which end with the last answer, too."""
        return [each.url for each in self.under_way if "/heartbeat/" not in each.url]


def quiet(page: Any) -> None:
    """Wait until all that a page has asked for was answered, and nothing follows from it."""
    traffic, end = _traffic[page], time.monotonic() + DEFAULT_WAIT
    since, asked = time.monotonic(), traffic.asked
    while time.monotonic() - since < QUIET:
        page.wait_for_timeout(50)
        assert time.monotonic() < end, f"never answered: {traffic.awaited()}"
        if traffic.awaited() or traffic.asked > asked:
            since, asked = time.monotonic(), traffic.asked


def forget_all(window: Any, address: str) -> None:
    """Close the pages of a window, and delete what they have stored."""
    blank = window.new_page()
    session = window.new_cdp_session(blank)
    for page in window.pages:
        if page is not blank:
            page.close()
    origin = {"origin": address.rstrip("/"), "storageTypes": "cookies,local_storage,indexeddb"}
    session.send("Storage.clearDataForOrigin", origin)
    blank.close()


@pytest.fixture(scope="session")
def windows(browser: Any, address: str) -> Windows:
    """The windows that journeys are lent."""
    return Windows(browser, address)


@pytest.fixture
def open_page(windows: Windows) -> Iterator[Any]:
    """Open the page as (width, height, locale, ?query); at the end nothing may have gone wrong."""
    before = len(windows._lent)
    yield windows.open
    windows.give_back(before)
    faults, windows.faults[:] = windows.faults[:], []
    assert faults == []


@pytest.fixture
def blank_page(windows: Windows) -> Iterator[Any]:
    """A page that has gone nowhere yet, of which no faults are kept."""
    before = len(windows._lent)
    yield windows.blank()
    windows.give_back(before)


@pytest.fixture(scope="module")
def _one_page(windows: Windows) -> Iterator[dict[str, Any]]:
    before = len(windows._lent)
    yield {}
    windows.give_back(before)


@pytest.fixture
def kept_page(
    _one_page: dict[str, Any], windows: Windows, request: pytest.FixtureRequest
) -> Iterator[Any]:
    """A page that the journeys of a file take over from each other, as each leaves it.

    A journey that is run once more begins on a new one: its first run may have ended anywhere.
    """
    if not _one_page or getattr(request.node, "execution_count", 1) > 1:
        _one_page.update(page=windows.open(), is_new=True)
    yield _one_page["page"]
    faults, windows.faults[:] = windows.faults[:], []
    assert faults == []


def is_fault(message: Any) -> bool:
    """Tell whether the console shows an error, other than gradio's when a page is left."""
    return message.type == "error" and not message.text.startswith(LEAVING)


def inside(url: str, address: str) -> bool:
    """Tell whether a request stays with the server."""
    return url.startswith((address, "data:", "blob:"))
