"""Who may wait: how many events of one page and of all stand in gradio's queue.

What is heavy is counted by its group, so that whoever opens the page never waits behind samplings
or uploads. gradio has one bound for all events together (`max_size`), at which it turns everybody
away, and no word about who asked: so `admit` stands before its queue. That, and what it looks into,
is all that is used of gradio's queue beyond its public interface.
"""

import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from sd.common import validation
from sd.common.validation import InputError
from sd.ui.texts import language_of, say

LIGHT, HEAVY, PANEL = (200, 4000), (2, 48), (12, 400)  # events of one page, and of all together
GROUPS = {  # by concurrency_id; a panel asks whenever a slider rests, though it be closed
    **dict.fromkeys(("model", "measure", "upload", "bundle"), HEAVY),
    "panel": PANEL,
}
MOST = sum(most for _, most in (LIGHT, *GROUPS.values()))  # events in gradio's queue
MOST_HELD = 2**27  # bytes that all were sent with; the names of 40,000 uploaded files are 60 MiB
LONGEST_SESSION = 64  # characters; gradio's own have 10 to 12, those of programs 36

Pushed = tuple[bool, Any, str]
Push = Callable[..., Awaitable[Pushed]]


def guard(queue: Any) -> None:
    """Let `queue` of gradio take only what is admitted."""
    push: Push = queue.push
    sizes: dict[str, int] = {}  # bytes that each event keeps until its end

    async def admitted_push(body: Any, request: Any, username: Any) -> Pushed:
        """Put an event into the queue, or return why it is not."""
        lang = language_of(request.headers.get("accept-language"))
        size = size_of([body.data, body.event_data]) + len(await request.body())
        there = {event._id for event in events(queue)}
        for event in sizes.keys() - there:
            del sizes[event]
        try:
            admit(queue, body, lang)
            if sum(sizes.values(), size) > MOST_HELD:
                raise InputError(say("busy_bytes", lang))
        except InputError as refusal:
            return False, str(refusal), "error"
        forget(queue)
        pushed = await push(body=body, request=request, username=username)
        if pushed[0]:
            sizes[pushed[1]] = size
        return pushed

    queue.push = admitted_push


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


def admit(queue: Any, body: Any, lang: str) -> None:
    """Raise `InputError` where an event may not join: its page, or all, have too many there."""
    page = session_name(body.session_hash)
    event = queue.blocks.fns.get(body.fn_index)
    group = group_of(event)
    there = [each for each in events(queue) if group_of(each) == group]
    own = sum(each.session_hash == page for each in there)
    of_a_page, in_all = GROUPS[group] if group else LIGHT
    if own >= of_a_page:
        raise InputError(say("busy_page" if group else "busy_light", lang, n=own))
    if len(there) >= in_all:
        raise InputError(say("busy_all", lang, n=len(there)))


def group_of(event: Any) -> str | None:
    """Return the group of an event if it is one that is counted by itself, else None."""
    group = getattr(event, "concurrency_id", None)
    return group if group in GROUPS else None


def session_name(name: Any) -> str:
    """Return the name that a page gives itself; raise `InputError` for one that is too long."""
    return validation.text("session_hash", "" if name is None else name, LONGEST_SESSION)


def events(queue: Any) -> Iterator[Any]:
    """Yield what waits in a queue and what is at work."""
    for group in queue.event_queue_per_concurrency_id.values():
        yield from group.queue
    for job in queue.active_jobs:
        yield from job or ()


def forget(queue: Any) -> None:
    """Drop the names of pages whose messages gradio has dropped, for nobody read them."""
    known, messages = queue.pending_event_ids_session, queue.pending_messages_per_session
    if len(known) > MOST:
        for page in [page for page in known if page not in messages]:
            del known[page]
