"""The card of the pictures on a page that strangers share: without a server, only its scripts."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sd.ui.adapter.first_script import ASSETS
from sd.ui.train.doors import WORDS
from tests.browser.conftest import FLAGS, NAMES

pytestmark = pytest.mark.browser

FRAMED = "http://page.test/"
KEY, PAGE = "of this visitor", "http://page.test/?class=told"
SCRIPTS = ("visitor.js", "elements.js", "doors.js")
MOUNT = """(words) => {
  window.sdSay = (text) => text;
  window.props = { value: {} };
  window.told = [];
  const watch = (name, take) => { window.take = take; };
  const tell = () => window.told.push(JSON.stringify(window.props.value));
  window.sdDoors.mount(document.body, window.props, tell, watch, { words, doors: {} });
}"""
OWN = {"set": "a set", "title": "cats", "facts": "1 picture", "kept": 1.8e9}
OWN |= {"count": 1, "columns": 1, "details": "one picture"}


class Host:
    """Answers a page's requests, and keeps those headers by which a visitor is known."""

    def __init__(self) -> None:
        self.asked: dict[str, dict[str, str]] = {}

    def answer(self, route: Any) -> None:
        path = route.request.url.partition("?")[0].rpartition("/")[2]
        self.asked[path] = route.request.headers
        bodies = {"visitor": {"key": KEY, "closed": ""}, "upload": ["/scratch/ab/1.jpg"]}
        if path in bodies:
            route.fulfill(body=json.dumps(bodies[path]), content_type="application/json")
        else:
            scripts = "".join(f"<script>{(ASSETS / name).read_text()}</script>" for name in SCRIPTS)
            body = f"<!doctype html><body>{scripts}<div class=set-card></div></body>"
            route.fulfill(body=body, content_type="text/html; charset=utf-8")


class Crowd:
    """Answers for a shared page, in a frame of one of two other pages; keys are numbers."""

    def __init__(self) -> None:
        self.keys = 0

    def answer(self, route: Any) -> None:
        address = route.request.url
        if address.endswith("/sd/visitor"):
            known = route.request.headers.get("x-sd-visitor")
            self.keys += not known
            body, kind = (
                json.dumps({"key": known or f"{self.keys}", "closed": ""}),
                "application/json",
            )
        else:
            script = f"<script>{(ASSETS / 'visitor.js').read_text()}</script>"
            frame = f"<iframe src='{FRAMED}'></iframe>"
            is_framed = address.startswith(FRAMED)
            body, kind = f"<!doctype html>{script if is_framed else frame}", "text/html"
        route.fulfill(body=body, content_type=kind)


@pytest.fixture
def strict(browser: Any) -> Iterator[Any]:
    """A browser that blocks the cookies of third parties and parts what frames keep, as usual.

    Playwright turns the parting off in a list of features of its own, which another list replaces.
    """
    path = next(found for name in NAMES if (found := shutil.which(name)))
    flags = [*FLAGS, "--test-third-party-cookie-phaseout", "--disable-features=Translate"]
    started = browser.browser_type.launch(executable_path=path, args=flags)
    yield started
    started.close()


def test_in_a_frame_a_visitor_stays_the_same_and_elsewhere_is_another(strict: Any) -> None:
    crowd = Crowd()

    def key(window: Any, around: str) -> str:
        page = window.new_page()
        page.goto(around)
        found = [page.frames[1].evaluate("window.sdVisitor")]
        page.reload()
        found.append(page.frames[1].evaluate("window.sdVisitor"))
        assert found[0] == found[1]
        return str(found[0])

    window, incognito = strict.new_context(), strict.new_context()
    for each in (window, incognito):
        each.route("**/*", crowd.answer)
    assert key(window, "http://around.test/") == key(window, "http://around.test/") == "1"
    assert key(window, "http://elsewhere.test/") == "2"
    assert key(incognito, "http://around.test/") == "3"
    assert window.cookies() == []


def test_pictures_come_with_the_visitors_key_and_are_shown(browser: Any, tmp_path: Path) -> None:
    host, page, faults = Host(), browser.new_page(), []
    page.on("pageerror", lambda error: faults.append(error))
    page.route("**/*", host.answer)
    page.goto(PAGE)
    page.evaluate(MOUNT, {key: f"{key} {{time}}" for key in (*WORDS, "kept_until")})
    (tmp_path / "1.jpg").write_bytes(b"a picture")
    page.locator(".pick-files").set_input_files([tmp_path / "1.jpg"])
    page.wait_for_function("told.length")
    assert host.asked["visitor"]["x-sd-class"] == "told"
    assert host.asked["upload"]["x-sd-visitor"] == KEY
    assert json.loads(page.evaluate("told[0]")) == {"files": [["ab/1.jpg", "1.jpg"]]}
    page.evaluate("(own) => { props.value = { own }; take(); }", OWN)
    assert page.locator(".set-facts").inner_text().startswith("1 picture · kept_until ")
    assert page.locator(".chosen").is_visible()
    page.locator(".set-details").evaluate("(details) => { details.open = true; }")
    gone = page.get_by_role("button", name="delete")
    assert gone.is_visible()
    gone.click()
    page.get_by_role("button", name="really").click()
    assert json.loads(page.evaluate("told.at(-1)")) == {"set": "a set", "delete": True}
    page.evaluate("() => { props.value = { own: null }; take(); }")
    assert page.locator(".doors").is_visible() and page.evaluate("localStorage.length") == 1
    assert faults == []
    page.close()
