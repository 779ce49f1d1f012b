"""gradio's queue of events: who may wait in it, and how often gradio looks into it.

What is heavy is counted by its group, so that whoever opens the page never waits behind samplings
or uploads. gradio has one bound for all events together (`max_size`), at which it turns everybody
away, and no word about who asked: so `admit` stands before its queue.

The queue is not of gradio's public interface. Without it the page works, but nobody is turned away
before `max_size`, and the server is never quite idle.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol

import gradio as gr

from sd.common import validation
from sd.common.validation import InputError
from sd.ui.texts import page_language, say

LIGHT, HEAVY, PANEL = (200, 4000), (2, 48), (12, 400)  # events of one page, and of all together
GROUPS = {  # by concurrency_id; a panel asks whenever a slider rests, though it be closed
    **dict.fromkeys(("model", "background", "grid", "measure", "upload", "bundle"), HEAVY),
    "panel": PANEL,
}
CLOSABLE = ("model", "grid", "measure", "upload")  # what a host's switch refuses; the rest goes on
MOST = sum(most for _, most in (LIGHT, *GROUPS.values()))  # events in gradio's queue
MOST_HELD = 2**27  # bytes that all were sent with; the names of 40,000 uploaded files are 60 MiB
LONGEST_SESSION = 64  # characters; gradio's own have 10 to 12, those of programs 36
NO_EVENT = {"index": None, "value": None}  # without these gradio cannot make its SelectData
# gradio looks into its queue every ms, which is 6% of a core for nothing.
OFTEN, SELDOM = 0.05, 0.2  # seconds between two looks: while somebody asks, and when nobody does
AWAKE = 1.0  # seconds after a request in which more are expected
PROGRESS_SECONDS = 1.0  # gradio looks every 10 ms for progress bars, which the page has none of

Pushed = tuple[bool, Any, str]
Push = Callable[..., Awaitable[Pushed]]


def queue_of(page: gr.Blocks) -> Any:
    """Return gradio's queue of a page, or None where this gradio has no such queue."""
    return getattr(page, "_queue", None)


class Crowd(Protocol):
    """Visitors of whom each has a share of what is heavy, however many pages they open."""

    heavy: tuple[int, int]  # events of one visitor, and of all together
    stranger: str  # why nobody's heavy events are not taken

    def closed_line(self) -> str:
        """Return why no work is taken at all; "" where it is."""

    def check_rate(self, visitor: str | None, page: str) -> None:
        """Raise `InputError` where a visitor asks too often."""

    def name_of(self, headers: Mapping[str, str]) -> str | None:
        """Return whose a request is by its headers, or None for nobody's."""


def guard(queue: Any, crowd: Crowd | None = None) -> None:
    """Let `queue` of gradio take only what is admitted, of each page or of each of a crowd."""
    looked_into = ("push", "blocks", "event_queue_per_concurrency_id", "active_jobs")
    if not all(hasattr(queue, name) for name in looked_into):
        return
    push: Push = queue.push
    sizes: dict[int, int] = {}  # bytes that each event keeps until its end, by its body

    async def admitted_push(body: Any, request: Any, username: Any) -> Pushed:
        """Put an event into the queue, or return why it is not."""
        lang = page_language(request.headers)
        size = size_of([body.data, body.event_data]) + len(await request.body())
        for gone in sizes.keys() - {id(event.data) for event in events(queue)}:
            del sizes[gone]
        try:
            admit(queue, body, lang, crowd, crowd.name_of(request.headers) if crowd else None)
            if sum(sizes.values(), size) > MOST_HELD:
                raise InputError(say("busy_bytes", lang))
        except InputError as refusal:
            return False, str(refusal), "error"
        forget(queue)
        body.event_data = NO_EVENT | (body.event_data if isinstance(body.event_data, dict) else {})
        pushed = await push(body=body, request=request, username=username)
        if pushed[0]:
            sizes[id(body)] = size
            if crowd:
                take_turns(queue, crowd)
        return pushed

    queue.push = admitted_push


def let_streams_end(queue: Any) -> None:
    """Let a page's stream end though another of the same page has ended before it.

    A page that is left while two of its streams are open ends both, and gradio deletes its messages
    for each: the second time was an error, behind which what the page had asked for ran on.
    """
    messages: Any = getattr(queue, "pending_messages_per_session", None)
    kind: Any = type(messages)
    if not hasattr(messages, "max_size"):
        return

    class Messages(kind):  # type: ignore[misc]
        """What waits for each page; deleting what is gone is no error."""

        def __delitem__(self, page: str) -> None:
            if page in self:
                super().__delitem__(page)

    queue.pending_messages_per_session = Messages(messages.max_size)


def size_of(data: Any) -> int:
    """Return about how many bytes JSON takes that has been read."""
    size, left = 0, [data]
    while left:
        value = left.pop()
        size += sys.getsizeof(value)
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            left += value.values()
    return size


def admit(
    queue: Any, body: Any, lang: str, crowd: Crowd | None = None, visitor: str | None = None
) -> None:
    """Raise `InputError` where an event may not join: its page, or all, have too many there.

    What is heavy is counted by visitor where there is a crowd, and nobody's is not taken.
    """
    name = "" if body.session_hash is None else body.session_hash
    page = validation.text("session_hash", name, LONGEST_SESSION)
    if crowd:
        crowd.check_rate(visitor, page)
    event = queue.blocks.fns.get(body.fn_index)
    group = group_of(event)
    there = [each for each in events(queue) if group_of(each) == group]
    own = sum(each.session_hash == page for each in there)
    of_a_page, in_all = GROUPS[group] if group else LIGHT
    if crowd and group and GROUPS[group] == HEAVY:
        if visitor is None:
            raise InputError(crowd.stranger)
        if group in CLOSABLE and (line := crowd.closed_line()):
            raise InputError(line)
        own = sum(crowd.name_of(each.request.headers) == visitor for each in there)
        of_a_page, in_all = crowd.heavy
    if own >= of_a_page:
        raise InputError(say("busy_page" if group else "busy_light", lang, n=own))
    if len(there) >= in_all:
        raise InputError(say("busy_all", lang, n=len(there)))


def take_turns(queue: Any, crowd: Crowd) -> None:
    """Let each visitor's first heavy event of a group come before anybody's second.

    What is at work counts as one that the visitor had.
    """
    working = [event for job in queue.active_jobs for event in job or ()]
    for group, waiting in queue.event_queue_per_concurrency_id.items():
        if GROUPS.get(group) != HEAVY:
            continue
        had = Counter(
            crowd.name_of(event.request.headers) for event in working if group_of(event) == group
        )
        order: dict[int, int] = {}
        for event in waiting.queue:
            name = crowd.name_of(event.request.headers)
            order[id(event)] = had[name]
            had[name] += 1
        waiting.queue.sort(key=lambda event: order[id(event)])


def group_of(event: Any) -> str | None:
    """Return the group of an event if it is one that is counted by itself, else None."""
    group = getattr(event, "concurrency_id", None)
    return group if group in GROUPS else None


def events(queue: Any) -> Iterator[Any]:
    """Yield what waits in a queue and what is at work."""
    for group in queue.event_queue_per_concurrency_id.values():
        yield from group.queue
    for job in queue.active_jobs:
        yield from job or ()


def forget(queue: Any) -> None:
    """Drop the names of pages whose messages gradio has dropped, for nobody read them."""
    known = getattr(queue, "pending_event_ids_session", {})
    messages = getattr(queue, "pending_messages_per_session", known)
    if len(known) > MOST:
        for page in [page for page in known if page not in messages]:
            del known[page]


class QueuePace:
    """Middleware: gradio looks into its queue often while somebody asks or waits, else seldom."""

    def __init__(self, app: Callable[..., Awaitable[None]], queue: Any) -> None:
        """Take what it passes requests on to, and gradio's queue, or None."""
        self.app, self.queue = app, queue
        self.has_pace = hasattr(queue, "sleep_when_free")
        self.dozing: asyncio.TimerHandle | None = None
        if hasattr(queue, "progress_update_sleep_when_free"):
            queue.progress_update_sleep_when_free = PROGRESS_SECONDS
        if self.has_pace:
            queue.sleep_when_free = OFTEN

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on; it wakes."""
        if scope["type"] == "http" and self.has_pace:
            self.wake()
        await self.app(scope, receive, send)

    def wake(self) -> None:
        """Look often from now on, and seldom again unless there is another request."""
        if self.dozing:
            self.dozing.cancel()
        self.queue.sleep_when_free = OFTEN
        self.dozing = asyncio.get_running_loop().call_later(AWAKE, self.doze)

    def doze(self) -> None:
        """Look seldom, unless somebody waits."""
        if len(self.queue):
            self.wake()
        else:
            self.queue.sleep_when_free = SELDOM
