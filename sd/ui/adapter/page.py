"""The page as gradio serves it: what is sent to its events is read by `checks`, errors are a line.

`preprocess_data` and `process_api` are overridden, which gradio documents nowhere; every other
reach in this file is a saving, and the page works without.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

import anyio.to_thread
import gradio as gr
import gradio.blocks
from starlette.datastructures import QueryParams
from starlette.middleware import Middleware

from sd.common.validation import InputError
from sd.runs.run import may_live
from sd.ui.adapter import event_queue
from sd.ui.adapter.checks import Reads, read_value
from sd.ui.adapter.errors import page_error
from sd.ui.adapter.first_script import FirstScript
from sd.ui.adapter.requests import Message, Receive, Requests, Send
from sd.ui.mistakes import speak
from sd.ui.state import Shared, use
from sd.ui.texts import page_language

NEVER = str(2**31)  # events until gradio makes a table of all that have been, for nobody
NO_NOTES: dict[str, Any] = {}
FOR_PROGRAMS = {"api_info", "api_info_as_input", "api_info_as_output", "example_inputs"}
ASKED_AS = (b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server")
OTHER_PAGES = {"deep_link", "page"}  # in the query: what gradio would show instead
MOST_KEPT = 8  # pages by what they were asked as, half a MiB each
App = Callable[..., Awaitable[None]]
Config: Any = getattr(gradio.blocks, "BlocksConfig", object)


class PageConfig(Config):  # type: ignore[misc]
    """What describes the page: found out once, and not again for each look and each visit.

    For a visit gradio notes how all parts look, for links to a state of a page, which there are
    none of: 45 ms and 0.8 of the 0.85 MiB that a page left behind for an hour or longer.
    """

    def __init__(self, page: gr.Blocks) -> None:
        """Describe a page; see gradio."""
        super().__init__(page)
        self.get_config = cache(drop_descriptions(getattr(self, "get_config", dict)))

    def __copy__(self) -> Any:
        """Return what describes the page for one visit, where nothing is noted of a part."""
        visit = super().__copy__()
        visit.config_for_block = lambda *_: NO_NOTES
        return visit


def drop_descriptions(describe: Callable[..., Any]) -> Callable[..., Any]:
    """Let what describes the page describe for programs only what programs may use.

    gradio tells of every part what type its values are, in four ways: a tenth of what is sent.
    """

    def describe_less(*args: Any) -> Any:
        config = describe(*args)
        events = [each for each in config["dependencies"] if each["api_visibility"] != "private"]
        used = {part for each in events for part in (*each["inputs"], *each["outputs"])}
        for part in config["components"]:
            if part["id"] not in used:
                part |= {name: {} for name in FOR_PROGRAMS.intersection(part)}
        return config

    return describe_less


class Visitors(event_queue.Crowd, Protocol):
    """Who looks at a page that strangers share."""

    def shared_of(self, headers: Mapping[str, str]) -> Shared:
        """Return what the events of a request's visitor share, by the headers."""


class Page(gr.Blocks):
    """The page: whatever is sent to one of its events is answered by its result or by one line."""

    def __init__(
        self,
        shared: Shared,
        visitors: "Visitors | None" = None,
        **settings: Any,
    ) -> None:
        """Begin a page whose events share these; see gradio for its settings.

        visitors: who they are, where each has a home of their own.
        """
        self.shared, self.visitors = shared, visitors
        super().__init__(**settings)
        if isinstance(getattr(self, "default_config", None), Config):
            self.default_config = PageConfig(self)

    def __exit__(self, *error: Any) -> None:
        """Finish the page; see gradio."""
        with no_server():
            super().__exit__(*error)
        self.numbers = {block: number for number, block in self.blocks.items()}

    def queue(self, *args: Any, **more: Any) -> "Page":
        """Set up the queue; see gradio."""
        os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", NEVER)
        with no_server():
            super().queue(*args, **more)
        queue = event_queue.queue_of(self)
        event_queue.guard(queue, self.visitors)
        event_queue.let_streams_end(queue)
        return self

    def middleware(self, on_page_sent: Callable[[], object], tag: bytes = b"") -> list[Middleware]:
        """Return what stands between the server and gradio; `tag`: for the head of the page."""
        queue, is_shared = event_queue.queue_of(self), self.visitors is not None
        return [
            Middleware(Requests),
            Middleware(FirstScript, on_page_sent, self.is_training, is_shared, tag),
            Middleware(event_queue.QueuePace, queue),
            Middleware(KeptPage),
        ]

    def is_training(self) -> bool:
        """Tell whether one of the home's runs is being trained; of visitors' none is told."""
        return self.visitors is None and any(map(may_live, self.shared.home.run_folders()))

    async def process_api(self, *args: Any, **more: Any) -> dict[str, Any]:
        """Run an event; see gradio. Whatever goes wrong becomes one line."""
        request = more.get("request")
        headers = getattr(request, "headers", {})
        try:
            shared = self.shared if self.visitors is None else self.visitors.shared_of(headers)
            with use(shared), speak(page_language(headers)):
                return await super().process_api(*args, **more)
        except Exception as error:
            raise page_error(error, request) from None

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, *_: Any, **__: Any
    ) -> list[Any]:
        """Read what arrived by the table of checks; see gradio."""
        if block_fn.fn is None:
            raise InputError("event: the server has nothing to do for it")
        if len(inputs) < len(block_fn.inputs):
            expected = len(block_fn.inputs)
            raise InputError(f"data: {len(inputs)} values; this event takes {expected}")
        # A field as this visitor has it (its choices may have changed), or the value of a state.
        current = [state[self.numbers[field]] for field in block_fn.inputs]
        return await anyio.to_thread.run_sync(read_values, block_fn.inputs, current, inputs)


def read_values(fields: Sequence[Any], current: Sequence[Any], sent: Sequence[Any]) -> list[Any]:
    """Return the values of an event's inputs; raise `InputError`.

    A component of our own reads as it was laid out: gradio makes a visitor's anew, as a plain one
    of its kind, with each event that leaves it as it is.
    """
    return [
        now if field.stateful else read_value(field if isinstance(field, Reads) else now, value)
        for field, now, value in zip(fields, current, sent, strict=False)
    ]


@contextmanager
def no_server() -> Iterator[None]:
    """Let gradio set up no server meanwhile, 50 ms of a core each time; `launch` makes its own."""
    module: Any = gradio.blocks
    if not hasattr(module, "App"):
        yield
        return
    usual, module.App = module.App, NoServer
    try:
        yield
    finally:
        module.App = usual


class NoServer:
    """What stands where gradio would make a server that nobody asks."""

    @staticmethod
    def create_app(*_: Any, **__: Any) -> None:
        """Make nothing."""


class KeptPage:
    """Sends the page as it was made first: it is the same for all who ask in the same way.

    gradio copies what describes the parts for each visit and writes the page's address into it, 80
    ms of a core: of fifty who open the page at once the last would wait for four seconds. All else
    passes.
    """

    def __init__(self, app: App) -> None:
        """Take what makes the page."""
        self.app = app
        self.kept: dict[tuple[Any, ...], list[Message]] = {}
        self.making = asyncio.Lock()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on, or send the page."""
        if (asked := key_of(scope)) is None:
            await self.app(scope, receive, send)
            return
        async with self.making:
            page = self.kept.get(asked)
            if page is None:
                page = await answer_of(self.app, scope, receive)
                if page[0].get("status") == 200:
                    self.kept[asked] = page
                if len(self.kept) > MOST_KEPT:
                    del self.kept[next(iter(self.kept))]
        for message in page:  # whoever it passes may change it
            await send({name: list(v) if name == "headers" else v for name, v in message.items()})


def key_of(scope: dict[str, Any]) -> tuple[Any, ...] | None:
    """Return what the page depends on of a request; None where the page is not asked for."""
    if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
        return None
    if OTHER_PAGES & QueryParams(scope["query_string"]).keys():
        return None
    named = [(name, value) for name, value in scope["headers"] if name in ASKED_AS]
    return scope.get("scheme"), str(scope.get("server")), scope.get("root_path"), *named


async def answer_of(app: App, scope: dict[str, Any], receive: Receive) -> list[Message]:
    """Return all messages of an answer."""
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    return messages
