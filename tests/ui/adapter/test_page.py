"""Whatever is sent to any argument of any event of the page: its result, or one line.

The page is opened as people open it, in this process, so that its own list of events is swept and
what would start work is only noted. Every value travels over HTTP and the queue, as a program sends
it past the browser.
"""

import html
import inspect
import itertools
import json
import os
import re
import socket
import sys
import tracemalloc
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import pytest
from gradio.context import LocalContext
from gradio.state_holder import SessionState

import app
from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.common import validation
from sd.config import Config
from sd.diffusion.sampling import Sampling
from sd.runs import process
from sd.training.randomness import new_network
from sd.ui import models
from sd.ui.adapter import checks, event_queue, page, requests
from sd.ui.noise import latents
from sd.ui.texts import say
from tests.helpers.networks import with_weights
from tests.helpers.serving import ROOT
from tests.ui.test_api import picture_bytes

FILE = '{"path": %s, "meta": {"_type": "gradio.FileData"}}'
HOSTILE = {
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-1": "-1",
    "4.7": "4.7",
    "10^9": "1000000000",
    "10^400": str(10**400),
    "true": "true",
    "null": "null",
    "a word": '"x"',
    "half a character": r'"\ud800"',
    "a control character": r'"a\u0000b"',
    "markup": '"<img src=x onerror=alert(1)>"',
    "a list": "[1, [2]]",
    "a list of words": '["x", "x"]',
    "a dict": '{"value": {"a": 1}}',
    "200 lists": "[" * 200 + "]" * 200,
    "100,000 numbers": f"[{'0,' * 99_999}0]",
    "5 MB": f'"{"x" * 5_000_000}"',
    "a file of the server": FILE % '"/etc/passwd"',
}
FILES = {
    "a file beside the server": FILE % '"app.py"',
    "a file elsewhere": FILE % '"http://127.0.0.1:9/x.zip"',
    "a file without a place": FILE % "null",
    "half a file": '{"path": "x", "meta": 5}',
    "files of the server": "[" + FILE % '"pyproject.toml"' + "]",
    "no files": "[]",
}
SMALL = (16, 32)  # pixels at which autoencoders are looked into: at 256 each look takes seconds
AT_ONCE = 24  # events in the queue; a page may have two heavy ones, which the sweep changes
EVENTS = ("[]", "5", '"x"', '{"index": NaN}', '{"index": 1000000000}', '{"kind": {"a": 1}}')
# What the fields hold so that a handler gets as far as it can; others hold what they show.
GOOD = {
    "train-set": {"set": "shapes"},
    "Model": "little",
    "model": "little",
    "Network": "little",
    "Run shown": "little",
    "run": "little",
    "Steps": 2,
    "steps": 2,
    "t": 3,
}


class Answer(NamedTuple):
    """What came back: the handler's result, or a line; was the handler reached, what it began."""

    success: bool
    line: Any
    reached: bool
    begun: list[Any]


class Noted:
    """What the handlers did, by the queue's own number of the event."""

    def __init__(self) -> None:
        self.reached: set[str] = set()
        self.work: dict[str, list[Any]] = defaultdict(list)

    def note(self, *what: Any) -> None:
        """Note what the event at hand would begin."""
        self.work[LocalContext.event_id.get(None) or ""].append(what)


class Served:
    """The page as it is served, and what its handlers did and would have begun."""

    def __init__(self, page: gr.Blocks, noted: Noted) -> None:
        self.page, self.noted = page, noted
        self.connection = HTTPConnection("127.0.0.1", page.server_port, timeout=60)
        self.picture = FILE % json.dumps(self.uploaded("face.png", picture_bytes()))

    def post(self, path: str, body: bytes, kind: str = "application/json") -> tuple[int, Any]:
        """Post to the server; return status and JSON."""
        self.connection.request("POST", f"/gradio_api/{path}", body, {"Content-Type": kind})
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def uploaded(self, name: str, data: bytes) -> str:
        """Upload a file as a browser does; return where it lies."""
        head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + data + b"\r\n--b--\r\n"
        return str(self.post("upload", body, "multipart/form-data; boundary=b")[1][0])

    def ask(
        self, event: int, *asked: Sequence[str], data: str = "null", session: str = ""
    ) -> list[Answer]:
        """Send JSON texts to an event, as often as is asked; return the last that each is told."""
        answers: list[Answer] = []
        session = session or uuid.uuid4().hex
        for first in range(0, len(asked), AT_ONCE):
            numbers = [
                self.joined(event, words, session, data) for words in asked[first : first + AT_ONCE]
            ]
            told = self.told(session)
            answers += [self.answer(number, told[number]) for number in numbers]
        return answers

    def usual(self, event: Any) -> list[str]:
        """Return the JSON that an event's fields send when nobody has touched them."""
        return [self.usual_of(field) for field in event.inputs]

    def usual_of(self, field: Any) -> str:
        """Return the JSON of one field: an upload, what gets a handler far, or what it shows."""
        if isinstance(field, gr.File | gr.UploadButton):
            return self.picture if field.file_count == "single" else f"[{self.picture}]"
        name = getattr(field, "elem_id", None) or checks.name_of(field)
        good = GOOD.get(name, GOOD.get(checks.name_of(field), getattr(field, "value", None)))
        return "null" if isinstance(field, gr.State) else json.dumps(good)

    def joined(self, event: int, words: Sequence[str], session: str, data: str) -> str:
        """Put an event into the queue; return its number there."""
        body = (
            f'{{"data": [{", ".join(words)}], "fn_index": {event}, "event_data": {data}, '
            f'"session_hash": "{session}"}}'
        )
        status, answer = self.post("queue/join", body.encode())
        assert status == 200, (event, status, answer)
        return str(answer["event_id"])

    def told(self, session: str) -> dict[str, Any]:
        """Return the messages with which the events of a session ended."""
        self.connection.request("GET", f"/gradio_api/queue/data?session_hash={session}")
        ended: dict[str, Any] = defaultdict(dict)
        for line in self.connection.getresponse():
            message = json.loads(line[5:]) if line.startswith(b"data:") else {"msg": ""}
            if message["msg"] == "process_completed":
                ended[message["event_id"]] = message
        return ended

    def answer(self, number: str, message: dict[str, Any]) -> Answer:
        """Return how an event ended; no message at all is no success and no line."""
        success = message.get("success", False)
        line = None if success else message.get("output", {}).get("error")
        return Answer(success, line, number in self.noted.reached, self.noted.work[number])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> Path:
    """A home that holds one small model of random weights."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "little"
    network = with_weights(new_network(tiny_config, 0))
    save_checkpoint(Model(network, tiny_config), folder / "checkpoint-0000004", {"step": 4})
    (folder / "config.ini").write_text(tiny_config.to_ini(), encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def served(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Open the page; training and measuring are noted and not begun, sampling is looked at."""
    scratch, opened, noted = tmp_path_factory.mktemp("scratch"), [], Noted()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SD_HOME", str(home))
        patch.setenv("GRADIO_TEMP_DIR", str(scratch / "cache"))
        patch.setattr("sd.runs.home.BUNDLED_RUNS", scratch / "bundled")
        patch.setattr(
            "sd.runs.control._spawn", lambda folder, words, ini="": noted.note("run", folder, words)
        )
        patch.setattr(
            process, "run_json", lambda words, _: noted.note("plan", words[2:]) or iter([None])
        )
        patch.setattr(Sampling, "steps", looked_at(Sampling.steps, noted))
        patch.setattr(latents, "SIDES", SMALL)
        patch.setattr(gr.Blocks, "call_function", counted(gr.Blocks.call_function, noted))
        patch.setattr(gr.Blocks, "block_thread", lambda page: opened.append(page))
        patch.setattr(event_queue, "GROUPS", dict.fromkeys(event_queue.GROUPS, (AT_ONCE, AT_ONCE)))
        for each in ("OFTEN", "SELDOM"):
            patch.setattr(event_queue, each, 0.001)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            patch.setattr(sys, "argv", ["app.py", "--port", str(probe.getsockname()[1])])
        app.main()
        yield Served(opened[0], noted)
        opened[0].close()


def looked_at(steps: Callable[..., Any], noted: Noted) -> Callable[..., Any]:
    """Return `Sampling.steps` that notes what it is asked for, and ends after two steps."""

    def call(
        self: Sampling, denoiser: Any, shape: Any, seeds: Any, *more: Any, **named: Any
    ) -> Any:
        noted.note("sampling", len(self.times), len(list(seeds)))
        return itertools.islice(steps(self, denoiser, shape, seeds, *more, **named), 2)

    return call


def counted(call: Callable[..., Any], noted: Noted) -> Callable[..., Any]:
    """Return `call_function` that notes for which events a handler is called."""

    async def call_function(
        self: Any, event: Any, inputs: Any, iterator: Any, request: Any, number: str, *more: Any
    ) -> Any:
        noted.reached.add(number)
        return await call(self, event, inputs, iterator, request, number, *more)

    return call_function


def distinct(page: gr.Blocks) -> list[Any]:
    """Return the page's events; of those that differ only in what triggers them, the first."""
    events: dict[Any, Any] = {}
    for event in page.fns.values():
        fields = tuple(each._id for each in (*event.inputs, *event.outputs))
        events.setdefault((event.fn, fields), event)
    return list(events.values())


def complaint(answer: Answer) -> str:
    """Return what is wrong with an answer, "" if nothing is."""
    line = answer.line
    if answer.success:
        return ""
    if not isinstance(line, str) or not line.strip():
        return f"no line but {line!r}"
    places = (str(ROOT), os.environ["SD_HOME"], os.environ["GRADIO_TEMP_DIR"], "site-packages")
    wrong = {
        "more than a line": "\n" in line,
        "too long": len(html.unescape(line)) > validation.LONGEST_MESSAGE,
        "a path of the server": any(place in line for place in places),
        "nothing said": line in (say("unexpected", "en"), say("unexpected", "zh")),
        "markup": "<" in line,
        f"{answer.begun} was begun": bool(answer.begun),
    }
    found = [what for what, it_is in wrong.items() if it_is]
    return f"{', '.join(found)}: {line}" if found else ""


def tries(event: Any, words: list[str]) -> Iterator[tuple[str, Any, list[str]]]:
    """Yield (what it is, its key, the values) of everything hostile that is sent to an event."""
    for place, field in enumerate(event.inputs):
        if isinstance(field, gr.State):
            continue  # what is sent for it is not looked at
        takes_files = isinstance(field, gr.File | gr.UploadButton)
        for title, value in (HOSTILE | (FILES if takes_files else {})).items():
            name = f"{checks.name_of(field)} = {title}"
            yield name, (field._id, title), [*words[:place], value, *words[place + 1 :]]


def before(page: gr.Blocks, event: Any) -> list[Any]:
    """Return the events that fill what the server keeps for an event."""
    kept = {field._id for field in event.inputs if isinstance(field, gr.State)}
    others = [each for each in distinct(page) if each is not event]
    return [each for each in others if kept & {field._id for field in each.outputs}]


def swept(served: Served, event: Any, known: set[Any], every: int) -> Iterator[str]:
    """Send each hostile value as each argument of one event; yield what is wrong.

    `known`: fields and values that are refused before any handler is reached, so for every event.
    `every`: send each so-manieth only, from another place for each event.
    """
    session, words = uuid.uuid4().hex, served.usual(event)
    (untouched,) = served.ask(event._id, words, session=session)
    if found := complaint(untouched):
        yield f"{event._id} {event.name}, untouched: {found}"
    for other in before(served.page, event) if not untouched.success else ():
        served.ask(other._id, served.usual(other), session=session)
    sent = [each for each in tries(event, words) if each[1] not in known]
    sent = sent[event._id % every :: every]
    answers = served.ask(event._id, *[values for *_, values in sent], session=session)
    for (name, key, _), answer in zip(sent, answers, strict=True):
        if found := complaint(answer):
            yield f"{event._id} {event.name}, {name}: {found}"
        if not answer.reached and not answer.success:
            known.add(key)


def silent(capfd: pytest.CaptureFixture[str]) -> None:
    """Hold the log to the promise: no traceback."""
    log = "".join(capfd.readouterr())
    assert "Traceback" not in log, log[-5000:]


@pytest.mark.parametrize(
    ("every", "refused", "reached"),
    [(7, 150, 80), pytest.param(1, 1000, 500, marks=pytest.mark.slow)],
    ids=["a seventh", "all"],
)
def test_every_value_to_every_argument_of_every_event(
    served: Served, every: int, refused: int, reached: int, capfd: pytest.CaptureFixture[str]
) -> None:
    known: set[Any] = set()
    wrong = [line for event in distinct(served.page) for line in swept(served, event, known, every)]
    assert not wrong, "\n".join([f"{len(wrong)} answers are wrong", *wrong])
    silent(capfd)
    assert len(known) > refused and len(served.noted.reached) > reached
    work = [what for each in served.noted.work.values() for what in each]
    assert {kind for kind, *_ in work} == {"run", "plan", "sampling"}
    sampled = [what[1:] for what in work if what[0] == "sampling"]
    assert all(steps <= models.CAPS.steps and n <= models.CAPS.count for steps, n in sampled)


def test_every_event_with_any_data_of_its_own(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = []
    for event in distinct(served.page):
        hints = inspect.signature(event.fn).parameters.values() if event.fn else ()
        for data in EVENTS if any("Data" in str(each.annotation) for each in hints) else ():
            if found := complaint(served.ask(event._id, served.usual(event), data=data)[0]):
                wrong.append(f"{event._id} {event.name}, event data {data}: {found}")
    assert not wrong, "\n".join(wrong)
    silent(capfd)


def test_too_few_values_are_counted(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    event = next(each for each in served.page.fns.values() if len(each.inputs) > 5)
    (answer,) = served.ask(event._id, ["1"])
    assert answer.line == f"data: 1 values; this event takes {len(event.inputs)}"
    silent(capfd)


def test_a_body_beyond_the_limit_is_not_read(served: Served) -> None:
    status, answer = served.post("queue/join", b'["' + b"x" * requests.LARGEST_BODY + b'"]')
    assert status == 413 and answer["detail"].startswith("data: more than 16 MiB")
    served.connection.close()


def test_the_page_s_own_addresses_answer(served: Served) -> None:
    """The page, what it names, and what its scripts ask for when it is opened."""
    served.connection.request("GET", "/")
    page = served.connection.getresponse().read().decode()
    named = {each for each in re.findall(r'(?:src|href)="([^"]+)"', page) if "//" not in each}
    assert len(named) > 3
    api = [f"/gradio_api/{each}" for each in ("info", "app_id", "queue/status", "theme.css")]
    for address in ["/config", "/theme.css", *api, *(f"/{each.strip('./')}" for each in named)]:
        served.connection.request("GET", address)
        answer = served.connection.getresponse()
        answer.read()
        assert answer.status == 200, address


def test_the_queue_takes_two_heavy_events_of_a_page(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a sampling is held up: a third is refused in one line, all that is light goes on."""
    monkeypatch.setattr(event_queue, "GROUPS", {"model": (2, 3)})
    asked = next(each for each in served.page.fns.values() if each.api_name == "denoise")
    light = next(each for each in served.page.fns.values() if each.api_name == "list_models")
    one, other = uuid.uuid4().hex, uuid.uuid4().hex

    def join(event: Any, page: str) -> tuple[int, Any]:
        body = {"data": [json.loads(word) for word in served.usual(event)], "session_hash": page}
        return served.post("queue/join", json.dumps({**body, "fn_index": event._id}).encode())

    with models.turn():
        assert [join(asked, one)[0] for _ in range(2)] == [200, 200]
        status, answer = join(asked, one)
        assert (status, answer["detail"]) == (400, say("busy_page", "en", n=2))
        assert join(asked, other)[0] == 200
        status, answer = join(asked, uuid.uuid4().hex)
        assert (status, answer["detail"]) == (400, say("busy_all", "en", n=3))
        assert served.ask(light._id, [])[0].success
    assert len(served.told(one)) == 2 and len(served.told(other)) == 1
    assert join(asked, one)[0] == 200
    served.told(one)


def test_a_page_s_name_has_a_length(served: Served) -> None:
    event = next(each for each in served.page.fns.values() if each.api_name == "list_models")
    for length, status in ((64, 200), (65, 400)):
        body = {"data": [], "fn_index": event._id, "session_hash": "x" * length}
        answer = served.post("queue/join", json.dumps(body).encode())
        assert answer[0] == status
    assert answer[1]["detail"] == "session_hash: 65 characters; at most 64 are allowed"
    served.told("x" * 64)


def taken_by_a_state(page_: gr.Blocks) -> int:
    """Return the bytes that a new page's state takes; other threads may add some of theirs."""
    before = tracemalloc.get_traced_memory()[0]
    state = SessionState(page_)
    taken = tracemalloc.get_traced_memory()[0] - before
    del state
    return taken


def test_what_a_page_leaves_behind_is_small(served: Served) -> None:
    """gradio notes of no part how it looks; what an event changed is still known."""
    event = next(each for each in served.page.fns.values() if each.api_name == "list_models")
    served.ask(event._id, [], session="little")
    state = served.page.app.state_holder.session_data["little"]
    assert not list(state.components) and not page.NO_NOTES
    tracemalloc.start()
    try:
        left = min(taken_by_a_state(served.page) for _ in range(5))
    finally:
        tracemalloc.stop()
    assert left < 100_000


def test_no_part_is_described_for_a_look_or_a_visit(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.page.get_config_file()
    described: list[gr.HTML] = []
    monkeypatch.setattr(gr.HTML, "get_config", lambda part, *_: described.append(part) or {})
    assert SessionState(served.page).blocks_config.blocks == served.page.blocks
    served.page.get_config_file()
    assert not described


def test_no_component_answers_beside_the_events(served: Served) -> None:
    assert not [block for block in served.page.blocks.values() if getattr(block, "server_fns", ())]


def test_no_stubs_are_written_beside_the_source() -> None:
    assert not list((ROOT / "sd").rglob("*.pyi")) and not list(ROOT.glob("*.pyi"))
