"""Scripts that run before gradio's own, written into the page as it is sent.

gradio's own `head` runs later than gradio. A page that has no <head>, or is packed, is sent as it
is: then an open page costs the browser some of a core for nothing, and its language is the
browser's own.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from anyio import to_thread

from sd.common.paths import PACKAGE
from sd.ui.adapter.requests import Send

ASSETS = PACKAGE / "ui" / "assets"
SCRIPTS = [ASSETS / name for name in ("frame_rate.js", "language.js", "tabs.js")]
VISITOR = ASSETS / "visitor.js"  # for a page that strangers share
HEAD = b"<head>"
TRAINING = b"<script>window.sdTraining = true;</script>"


class FirstScript:
    """Writes the scripts into the head of the page as it is sent; all else passes."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        sent: Callable[[], object],
        trains: Callable[[], bool],
        shared: bool = False,
    ) -> None:
        """Take what it passes requests on to, what is called when a page was sent, and what tells

        whether a run is being trained, which the page then opens with. shared: by strangers.
        """
        self.app, self.sent, self.trains = app, sent, trains
        scripts = [VISITOR, *SCRIPTS] if shared else SCRIPTS
        texts = (b"<script>\n" + script.read_bytes() + b"</script>" for script in scripts)
        self.tag = b"".join(texts)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        """Pass a request on; the head of the page gets the scripts. Files are left as they are."""
        is_page = scope["type"] == "http" and scope["method"] == "GET"
        if is_page and scope["path"].endswith("/"):
            send = self.add_script(send)
        await self.app(scope, receive, send)

    def add_script(self, send: Send) -> Send:
        """Return `send` that holds an HTML answer's beginning back until its body is there."""
        begun: list[dict[str, Any]] = []

        async def send_some(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start" and is_html(message):
                begun.append(message)
                return
            if begun:
                start = begun.pop()
                body = message.get("body", b"")
                tag = (TRAINING if await to_thread.run_sync(self.trains) else b"") + self.tag
                message = {**message, "body": body.replace(HEAD, HEAD + tag, 1)}
                await send(lengthen(start, len(message["body"]) - len(body)))
                await send(message)
                self.sent()
                return
            await send(message)

        return send_some


def is_html(start: dict[str, Any]) -> bool:
    """Tell whether an answer that begins is a page that nobody has packed."""
    headers = dict(start["headers"])
    kind = headers.get(b"content-type", b"")
    return kind.startswith(b"text/html") and b"content-encoding" not in headers


def lengthen(start: dict[str, Any], more: int) -> dict[str, Any]:
    """Return the beginning of an answer that has become so many bytes longer."""
    headers = [
        (name, str(int(value) + more).encode() if name == b"content-length" else value)
        for name, value in start["headers"]
    ]
    return {**start, "headers": headers}
