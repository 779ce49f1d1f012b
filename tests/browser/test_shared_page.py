"""The card of the pictures on a page that strangers share: without a server, only its scripts."""

import json
from pathlib import Path
from typing import Any

import pytest

from sd.ui.adapter.first_script import ASSETS
from sd.ui.train.doors import WORDS

pytestmark = pytest.mark.browser

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
OWN |= {"count": 1, "columns": 1}


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


def test_pictures_come_with_the_visitors_key_and_are_shown(browser: Any, tmp_path: Path) -> None:
    host, page, faults = Host(), browser.new_page(), []
    page.on("pageerror", lambda error: faults.append(error))
    page.route("**/*", host.answer)
    page.goto(PAGE)
    page.evaluate(MOUNT, {key: f"{key} {{time}}" for key in WORDS})
    (tmp_path / "1.jpg").write_bytes(b"a picture")
    page.locator(".pick-files").set_input_files([tmp_path / "1.jpg"])
    page.wait_for_function("told.length")
    assert host.asked["visitor"]["x-sd-class"] == "told"
    assert host.asked["upload"]["x-sd-visitor"] == KEY
    assert json.loads(page.evaluate("told[0]")) == {"files": [["ab/1.jpg", "1.jpg"]]}
    page.evaluate("(own) => { props.value = { own }; take(); }", OWN)
    assert page.locator(".set-facts").inner_text().startswith("1 picture · kept_until ")
    assert page.locator(".chosen").is_visible() and faults == []
    page.close()
