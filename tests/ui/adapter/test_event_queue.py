"""Who may wait in gradio's queue, and that its parts which that needs are still there."""

import asyncio
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio.queueing import Event, EventQueue, Queue

import app
from sd.common.validation import InputError
from sd.ui.adapter import event_queue
from sd.ui.adapter.page import Page
from sd.ui.state import Shared


async def nothing() -> bytes:
    """Return the body of a request."""
    return b""


ENGLISH = SimpleNamespace(headers={}, body=nothing)


@pytest.fixture
def page() -> Page:
    """A page with a light event, and a heavy one of each of two groups."""
    with Page(Shared()) as page:
        for group in (None, "model", "upload"):
            more: dict[str, Any] = {"concurrency_id": group} if group else {}
            gr.Button().click(lambda: None, None, None, **more)
    return page


def asked(page: Page, session: str, event: int) -> Any:
    """Return what a browser sends."""
    return SimpleNamespace(session_hash=session, fn_index=event, data=[], event_data=None)


def put(page: Page, session: str, event: int, times: int = 1) -> None:
    """Let events wait in gradio's own queue."""
    queue, fn = page._queue, page.fns[event]
    queue.create_event_queue_for_fn(fn)
    waiting_ones = [Event(session, fn, ENGLISH, None) for _ in range(times)]  # type: ignore[arg-type]
    queue.event_queue_per_concurrency_id[fn.concurrency_id].queue += waiting_ones


def admitted(page: Page, session: str, event: int) -> bool:
    """Tell whether an event may join."""
    try:
        event_queue.admit(page._queue, asked(page, session, event), "en")
    except InputError:
        return False
    return True


def test_a_page_has_two_heavy_events_of_a_group(page: Page) -> None:
    light, model, upload = page.fns
    put(page, "a", model)
    assert admitted(page, "a", model)
    page._queue.active_jobs = [
        None,
        list(page._queue.event_queue_per_concurrency_id["model"].queue),
    ]
    assert not admitted(page, "a", model)  # one at work, one that waits
    assert admitted(page, "a", light) and admitted(page, "a", upload)
    assert admitted(page, "b", model)


def test_each_visitor_has_one_before_anybody_has_a_second(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, model = page._queue, list(page.fns)[1]
    crowd: Any = SimpleNamespace(
        name_of=lambda headers: headers["key"],
        check_rate=lambda *_: None,
        closed_line=lambda: "",
        heavy=(4, 24),
    )

    async def join(body: Any, request: Any, username: Any) -> tuple[bool, Any, str]:
        put(page, body.session_hash, model)
        queue.event_queue_per_concurrency_id["model"].queue[-1].request = request
        return True, "id", "success"

    monkeypatch.setattr(queue, "push", join)
    event_queue.guard(queue, crowd)

    def push(visitors: str) -> str:
        for name in visitors:
            request: Any = SimpleNamespace(headers={"key": name}, body=nothing)
            body: Any = asked(page, name, model)
            assert asyncio.run(queue.push(body=body, request=request, username=None))[0]
        waiting = queue.event_queue_per_concurrency_id["model"].queue
        return "".join(each.session_hash for each in waiting)

    assert push("aaabbc") == "abcaba"
    queue.active_jobs = [None, [queue.event_queue_per_concurrency_id["model"].queue.pop(0)]]
    assert push("d") == "bcdaba"  # a has one at work


def test_all_pages_together_have_a_bound_that_opening_the_page_does_not_meet(page: Page) -> None:
    light, model, upload = page.fns
    for number in range(event_queue.HEAVY[1]):
        put(page, f"page {number}", model)
    assert not admitted(page, "another", model)
    assert admitted(page, "another", upload)
    put(page, "x", light, 1000)  # 50 people with 14 events each are 700
    assert admitted(page, "another", light)
    assert not admitted(page, "x", light)  # but not one page alone
    put(page, "y", light, event_queue.LIGHT[1])
    assert not admitted(page, "another", light)


def test_a_refusal_is_one_line_and_joins_nothing(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model, _ = page.fns
    put(page, "a", model, 2)
    body = asked(page, "a", model)
    chinese = SimpleNamespace(headers={"accept-language": "zh-CN"}, body=nothing)
    for request, words in ((ENGLISH, "2 of these are at work"), (chinese, "本页已有 2 项")):
        push = page._queue.push(body=body, request=request, username=None)  # type: ignore[arg-type]
        success, line, state = asyncio.run(push)
        assert (success, state) == (False, "error") and words in str(line)
    assert len(page._queue) == 2


def test_what_all_were_sent_with_is_bounded_and_forgotten_with_them(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_queue, "MOST_HELD", 10_000)
    model = list(page.fns)[1]

    async def join(body: Any, request: Any, username: Any) -> tuple[bool, Any, str]:
        put(page, body.session_hash, model)
        newest = list(event_queue.events(page._queue))[-1]
        newest.data = body
        return True, newest._id, "success"

    async def body() -> bytes:
        return b"x" * 4000

    monkeypatch.setattr(page._queue, "push", join)
    event_queue.guard(page._queue)
    request: Any = SimpleNamespace(headers={}, body=body)

    def push(session: str) -> tuple[bool, Any, str]:
        sent: Any = asked(page, session, model)
        sent.data = [["x" * 500]]
        return asyncio.run(page._queue.push(body=sent, request=request, username=None))

    assert push("a")[0] and push("b")[0]
    success, line, _ = push("c")
    assert not success and line.startswith("what waits already")
    page._queue.event_queue_per_concurrency_id["model"].queue.clear()
    assert push("c")[0]


def test_json_is_weighed_as_it_lies_in_memory() -> None:
    assert event_queue.size_of(["\U0001f600" * 1000]) > 4000
    assert event_queue.size_of([[{}] * 1000, {"a": [[]] * 1000}]) > 1000 * (64 + 56 + 16)


def test_names_of_pages_that_gradio_forgot_are_forgotten(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_queue, "MOST", 3)
    queue = page._queue
    queue.pending_event_ids_session = {name: {"1"} for name in "abcd"}
    queue.pending_messages_per_session["b"] = asyncio.Queue()
    event_queue.forget(queue)
    assert list(queue.pending_event_ids_session) == ["b"]


def test_gradio_s_queue_still_has_what_is_looked_at() -> None:
    """The names of gradio 6.31 that `event_queue` reaches for."""
    queue = Page(Shared())._queue
    assert queue.event_queue_per_concurrency_id == {} and queue.active_jobs == []
    assert queue.pending_event_ids_session == {} and len(queue.pending_messages_per_session) == 0
    assert EventQueue("a", None).queue == []
    taken = Queue.push.__code__.co_varnames[: Queue.push.__code__.co_argcount]
    assert taken == ("self", "body", "request", "username")


def test_every_event_that_takes_long_is_counted() -> None:
    """Whatever may take a thread for long belongs to a group of its own."""
    groups: dict[str, set[Any]] = {}
    for event in app.build_app().fns.values():
        if isinstance(event.concurrency_id, str) and not event.concurrency_id.isdigit():
            groups.setdefault(event.concurrency_id, set()).add(event.api_name)
    assert set(event_queue.GROUPS) <= set(groups)
    assert {"denoise"} <= groups["model"] and {"inspect_data"} <= groups["upload"]
    assert len(groups["bundle"]) == 2 and len(groups["survey"]) >= 5


class ClosedCrowd:
    """Visitors of a page that its host has closed."""

    heavy, stranger = (2, 48), "nobody"

    def closed_line(self) -> str:
        return "back at noon"

    def check_rate(self, visitor: str | None, page: str) -> None:
        pass

    def name_of(self, headers: Any) -> str:
        return "a"


def test_a_closed_page_takes_neither_samplings_nor_grids() -> None:
    with gr.Blocks() as page:
        for group in ("model", "grid", "background"):
            gr.Button().click(lambda: None, None, None, concurrency_id=group)
    model, grid, background = page.fns
    for event in (model, grid):
        with pytest.raises(InputError, match="back at noon"):
            event_queue.admit(page._queue, asked(page, "a", event), "en", ClosedCrowd(), "a")
    event_queue.admit(page._queue, asked(page, "a", background), "en", ClosedCrowd(), "a")


class WaitingEvents(list[str]):
    """What waits, as gradio's queue does."""

    sleep_when_free = 0.001


def test_the_queue_is_looked_into_often_while_somebody_asks_or_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue, passed = WaitingEvents(), []

    async def page(*asked: Any) -> None:
        passed.append((*asked, queue.sleep_when_free))

    async def visit() -> list[float]:
        attentive, seen = event_queue.QueuePace(page, queue), [queue.sleep_when_free]
        await attentive({"type": "lifespan"}, 1, 2)
        for seconds_awake in ((3600.0,), (0.0,), (0.0, 3600.0), (3600.0, 0.0)):
            for seconds in seconds_awake:  # the last request counts
                monkeypatch.setattr(event_queue, "AWAKE", seconds)
                await attentive({"type": "http"}, 3, 4)
            await asyncio.sleep(0.05)
            seen.append(queue.sleep_when_free)
        for waiting in (["an event"], []):
            queue[:] = waiting
            attentive.doze()
            seen.append(queue.sleep_when_free)
        return seen

    often, seldom = event_queue.OFTEN, event_queue.SELDOM
    asked = [often, often, seldom, often, seldom]
    assert asyncio.run(visit()) == [*asked, often, seldom] and often < seldom
    assert passed == [({"type": "lifespan"}, 1, 2, often)] + [({"type": "http"}, 3, 4, often)] * 6


def test_two_streams_of_a_page_that_is_left_both_end(page: Page) -> None:
    page.queue()
    messages = page._queue.pending_messages_per_session
    messages["left"], messages["there"] = Queue, Queue
    for _ in range(2):  # as gradio's stream does when it is cancelled
        del messages["left"]
    assert list(messages) == ["there"]
    for name in map(str, range(messages.max_size + 1)):
        messages[name] = Queue
    assert len(messages) == messages.max_size and "there" not in messages
