"""Two visitors of a class: what the one has, no event and no address tells the other.

Each event of the page's own list is asked by the one with the other's names, and with names of
nothing: both must come to the same. What belongs to the other holds a word that is nowhere else.
"""

import json
import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import gradio as gr
import pytest

import app
from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.config import Config
from sd.diffusion.sampling import Sampling
from sd.generation import registry
from sd.runs import process
from sd.runs.sharing.closing import close, reopen
from sd.training.randomness import new_network
from sd.ui import models
from sd.ui.adapter import event_queue
from sd.ui.hosting import logs, rates
from sd.ui.hosting.visitors import CLOSED, HEADER, TOKEN_HEADER, Visitors
from sd.ui.noise import latents
from sd.ui.state import use
from sd.ui.texts import say
from tests.helpers.networks import with_weights
from tests.ui.adapter.test_page import GOOD, SMALL, Noted, Served, distinct, looked_at
from tests.ui.test_api import picture_bytes

CANARY = "zygodactyl"  # what the one visitor's run is called
NOTHING = "nonexisten"  # as long, and nowhere
KEPT, ABSENT = "0123456789abcdef.zip", "fedcba9876543210.zip"  # an upload, and none
DONE = ("choose", "runs", "stop", "resume", "rename", "delete", "further")


class Visit(Served):
    """The page as one visitor sees it; `key` is None for who has none."""

    def __init__(self, page: Any, noted: Noted, key: str | None) -> None:
        self.page, self.noted, self.key = page, noted, key
        self.picture = "null"
        self.heard = ""  # all that was ever told

    def request(self, method: str, path: str, *more: Any) -> HTTPResponse:
        """Send a request by itself: the server ends a connection that rests."""
        connection = HTTPConnection("127.0.0.1", self.page.server_port, timeout=120)
        connection.request(method, f"/gradio_api/{path}", *more)
        return connection.getresponse()

    def post(self, path: str, body: bytes, kind: str = "application/json") -> tuple[int, Any]:
        """Post to the server as this visitor; return status and JSON or text."""
        headers = {"Content-Type": kind} | ({HEADER: self.key} if self.key else {})
        answer = self.request("POST", path, body, headers)
        data = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(data) if is_json else data.decode()

    def outcome(self, event: Any, name: str, handle: str, what: str) -> tuple[bool, str]:
        """Ask an event with a run's name and an upload wherever they fit; return how it ended."""
        good = GOOD | {key: name for key, value in GOOD.items() if value == "little"}
        good["train-set"] = {"set": handle}
        fields = [getattr(each, "elem_id", None) or each.label for each in event.inputs]
        words = [
            json.dumps(handle)
            if field in ("data", "Picture set") or isinstance(part, gr.State)
            else json.dumps(good[field])
            if field in good
            else json.dumps(getattr(part, "value", None))
            for field, part in zip(fields, event.inputs, strict=True)
        ]
        names = dict.fromkeys(("run", "name", "model", "choose", "picked", "file"), name)
        data = json.dumps({**names, "do": what, "data": handle, "handle": handle, "form": "zip"})
        session = uuid.uuid4().hex
        body = f'{{"data": [{", ".join(words)}], "fn_index": {event._id}, "event_data": {data}, '
        status, answer = self.post("queue/join", (body + f'"session_hash": "{session}"}}').encode())
        if status != 200:
            return False, str(answer)
        lines = self.request("GET", f"queue/data?session_hash={session}")
        messages = [json.loads(line[5:]) for line in lines if line.startswith(b"data:")]
        self.heard += json.dumps(messages)
        ends = [each for each in messages if each["msg"] == "process_completed"]
        success = bool(ends) and bool(ends[-1].get("success"))
        line = "" if success or not ends else str(ends[-1]["output"].get("error"))
        return success, line.replace(name, "NAME").replace(handle, "HANDLE")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Noted]]:
    """Open the page for a class; training and measuring are not begun, samplings end soon."""
    scratch, opened, noted = tmp_path_factory.mktemp("scratch"), [], Noted()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SD_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("SD_SECRET", "a secret of the tests")
        patch.setenv("GRADIO_TEMP_DIR", str(scratch / "cache"))
        patch.setattr("sd.runs.control._begin", lambda _, folder, *__: noted.note("run", folder))
        patch.setattr(process, "run_json", lambda *_: iter([None]))
        patch.setattr(Sampling, "steps", looked_at(Sampling.steps, noted))
        patch.setattr(latents, "SIDES", SMALL)
        patch.setattr(gr.Blocks, "block_thread", lambda page: opened.append(page))
        for each in ("OFTEN", "SELDOM"):
            patch.setattr(event_queue, each, 0.001)
        for each in ("BURST", "PAGES_AN_HOUR", "MOST_PAGES"):  # each event is sent by a new page
            patch.setattr(rates, each, 10**6)
        patch.setenv("GRADIO_ROOT_PATH", "/lab")  # a proxy that serves the page there
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        patch.setattr(logs, "LOGGERS", ())  # other tests read what is logged
        patch.setattr(threading, "excepthook", threading.excepthook)
        patch.setattr(sys, "argv", ["app.py", "--mode", "class", "--port", port])
        assert app.main() == 0
        yield opened[0], noted
        opened[0].close()


@pytest.fixture(scope="module")
def crowd(page: tuple[Any, Noted]) -> Visitors:
    """The visitors of the page."""
    visitors: Visitors = page[0].visitors
    return visitors


@pytest.fixture(scope="module")
def owner(page: tuple[Any, Noted], crowd: Visitors, tiny_config: Config) -> Visit:
    """A visitor with a model and an upload."""
    key = crowd.welcome({TOKEN_HEADER: crowd.keys.token}, "")
    home = crowd.shared_of({HEADER: key}).home
    folder = home.path / CANARY
    model = Model(with_weights(new_network(tiny_config, 0)), tiny_config)
    save_checkpoint(model, folder / "checkpoint-0000004", {"step": 4})
    (folder / "config.ini").write_text(tiny_config.to_ini(), encoding="utf-8")
    (folder / "events.jsonl").touch()
    home.uploads.mkdir()
    (home.uploads / KEPT).write_bytes(b"not looked into")
    return Visit(*page, key)


@pytest.fixture(scope="module")
def other(page: tuple[Any, Noted], crowd: Visitors) -> Visit:
    """Another visitor, who has nothing."""
    return Visit(*page, crowd.welcome({TOKEN_HEADER: crowd.keys.token}, ""))


def test_what_one_has_no_event_tells_another(
    page: tuple[Any, Noted], owner: Visit, other: Visit
) -> None:
    wrong, found = [], 0
    for number, event in enumerate(distinct(page[0])):
        what = DONE[number % len(DONE)]
        foreign = other.outcome(event, CANARY, KEPT, what)
        unknown = other.outcome(event, NOTHING, ABSENT, what)
        if foreign != unknown:
            wrong.append(f"{event._id} {event.name}: {foreign} but {unknown}")
        found += number % 2 == 0 and owner.outcome(event, CANARY, KEPT, what) != foreign
    assert not wrong, "\n".join(wrong)
    assert found > 2, "the owner's own names come to nothing either"
    home = page[0].visitors.shared_of({HEADER: owner.key}).home
    weights = registry.digest(registry.find_model(home, CANARY))
    assert home.path.name not in other.heard and str(weights) not in other.heard
    assert CANARY in owner.heard


def test_the_lists_of_another_are_their_own(owner: Visit, other: Visit) -> None:
    event = next(each for each in owner.page.fns.values() if each.api_name == "list_models")
    for visit, there in ((owner, True), (other, False)):
        visit.heard = ""
        assert visit.outcome(event, NOTHING, ABSENT, "")[0]
        assert (CANARY in visit.heard) is there


def test_nobody_looks_and_starts_nothing(page: tuple[Any, Noted], owner: Visit) -> None:
    nobody = Visit(*page, None)
    named = {each.api_name: each for each in page[0].fns.values()}
    nobody.outcome(named["list_models"], NOTHING, ABSENT, "")
    assert "emoji32" in nobody.heard and CANARY not in nobody.heard
    assert nobody.outcome(named["denoise"], "emoji32", "starter", "") == (
        False,
        str({"detail": CLOSED}),
    )
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body, kind = head + picture_bytes() + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"
    assert nobody.post("upload", body, kind) == (401, CLOSED)
    assert owner.post("upload", body, kind)[0] == 200


def test_behind_a_proxy_the_page_lies_where_that_serves_it(page: tuple[Any, Noted]) -> None:
    connection = HTTPConnection("127.0.0.1", page[0].server_port, timeout=60)

    def ask(method: str, path: str, **headers: str) -> tuple[int, str]:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    for root in ("", "/lab"):  # a proxy may take the prefix off, or leave it
        status, text = ask(
            "GET", f"{root}/config", host="lab.example", **{"x-forwarded-proto": "https"}
        )
        assert status == 421, text
        status, text = ask("GET", f"{root}/config")
        assert status == 200 and json.loads(text)["root"].endswith("/lab")
        assert ask("POST", f"{root}/sd/visitor")[0] == 403
        assert ask("POST", f"{root}/sd/host")[0] == 401
        assert ask("GET", f"{root}/gradio_api/component_server")[0] == 404


def test_a_key_is_given_to_who_has_the_token(page: tuple[Any, Noted], crowd: Visitors) -> None:
    connection = HTTPConnection("127.0.0.1", page[0].server_port, timeout=60)

    def ask(headers: dict[str, str]) -> tuple[int, bytes]:
        connection.request("POST", "/sd/visitor", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    status, line = ask({})
    assert status == 403 and b"your teacher" in line
    connection.close()
    status, data = ask({TOKEN_HEADER: crowd.keys.token})
    key = json.loads(data)["key"]
    assert status == 200 and crowd.name_of({HEADER: key})
    assert ask({HEADER: key}) == (200, data)


def test_a_closed_page_takes_no_work_and_shows_what_is_there(
    page: tuple[Any, Noted], crowd: Visitors, owner: Visit
) -> None:
    named = {each.api_name: each for each in page[0].fns.values()}
    close(crowd.place.parent, "back at noon")
    try:
        for name in ("denoise", "resume_training", "inspect_data"):
            success, line = owner.outcome(named[name], CANARY, KEPT, "")
            assert not success and "back at noon" in line, name
        for name in ("list_models", "training_status"):
            assert owner.outcome(named[name], CANARY, KEPT, "")[0]
    finally:
        reopen(crowd.place.parent)
    assert "noon" not in owner.outcome(named["resume_training"], CANARY, KEPT, "")[1]


def test_one_visitor_has_two_heavy_events_however_many_pages(
    page: tuple[Any, Noted], owner: Visit, other: Visit
) -> None:
    event = next(each for each in page[0].fns.values() if each.api_name == "denoise")

    def join(visit: Visit) -> tuple[int, Any]:
        words = [json.loads(word) for word in visit.usual(event)]
        words[0] = "emoji32"
        body = {"data": words, "fn_index": event._id, "session_hash": uuid.uuid4().hex}
        return visit.post("queue/join", json.dumps(body).encode())

    with use(page[0].visitors.nobody), models.turn():
        assert [join(owner)[0] for _ in range(2)] == [200, 200]
        status, answer = join(owner)
        assert (status, answer["detail"]) == (400, say("busy_page", "en", n=2))
        assert join(other)[0] == 200
