"""What keeps the page calm: a first script, before gradio's own, and a queue seldom looked into.

What gradio calls the head comes later than this script.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sd.common.paths import PACKAGE

SCRIPT = PACKAGE / "ui" / "assets" / "calm.js"
HEAD = b"<head>"
# gradio looks into its queue every ms, which is 6% of a core for nothing.
OFTEN, SELDOM = 0.05, 0.2  # seconds between two looks: while somebody asks, and when nobody does
AWAKE = 1.0  # seconds after a request in which more are expected

Send = Callable[[dict[str, Any]], Awaitable[None]]


class FirstScript:
    """Writes `calm.js` into the head of the page as it is sent; all else passes."""

    def __init__(self, app: Callable[..., Awaitable[None]], sent: Callable[[], object]) -> None:
        """Take what it passes requests on to, and what is called when a page was sent."""
        self.app, self.sent = app, sent
        self.tag = b"<script>\n" + SCRIPT.read_bytes() + b"</script>"

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        """Pass a request on; the head of the page gets the script. Files are left as they are."""
        asked = scope["type"] == "http" and scope["method"] == "GET"
        if asked and scope["path"].endswith("/"):
            send = self.scripted(send)
        await self.app(scope, receive, send)

    def scripted(self, send: Send) -> Send:
        """Return `send` that holds an HTML answer's beginning back until its body is there."""
        held: list[dict[str, Any]] = []

        async def send_some(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start" and is_html(message):
                held.append(message)
                return
            if held:
                start = held.pop()
                body = message.get("body", b"")
                message = {**message, "body": body.replace(HEAD, HEAD + self.tag, 1)}
                await send(longer(start, len(message["body"]) - len(body)))
                await send(message)
                self.sent()
                return
            await send(message)

        return send_some


class Attentive:
    """Has gradio look into its queue often while somebody asks or waits, else seldom."""

    def __init__(self, app: Callable[..., Awaitable[None]], queue: Any) -> None:
        """Take what it passes requests on to, and gradio's queue."""
        self.app, self.queue = app, queue
        self.dozing: asyncio.TimerHandle | None = None
        queue.sleep_when_free = OFTEN

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        """Pass a request on; it wakes."""
        if scope["type"] == "http":
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


def is_html(start: dict[str, Any]) -> bool:
    """Tell whether an answer that begins is a page that nobody has packed."""
    headers = dict(start["headers"])
    kind = headers.get(b"content-type", b"")
    return kind.startswith(b"text/html") and b"content-encoding" not in headers


def longer(start: dict[str, Any], more: int) -> dict[str, Any]:
    """Return the beginning of an answer that has become so many bytes longer."""
    headers = [
        (name, str(int(value) + more).encode() if name == b"content-length" else value)
        for name, value in start["headers"]
    ]
    return {**start, "headers": headers}
