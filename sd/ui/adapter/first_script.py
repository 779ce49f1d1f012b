"""Scripts that run before gradio's own, written into the page as it is sent.

gradio's own `head` runs later than gradio, and is sent with each page as a text within a text: a
quarter of the page's bytes, written, read and run while nothing is seen yet. So what is small and
must come first stands in the page, and the page's other scripts are one file, which is fetched
beside gradio's and kept. A page that has no <head>, or is packed, is sent as it is.
"""

from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sd.common.paths import PACKAGE
from sd.ui.adapter.requests import Send

ASSETS = PACKAGE / "ui" / "assets"
SCRIPTS = [ASSETS / name for name in ("requests.js", "frame_rate.js", "language.js", "tabs.js")]
VISITOR = ASSETS / "visitor.js"  # for a page that strangers share
HEAD = b"<head>"
TRAINING = b"<script>window.sdTraining = true;</script>"
FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}


class ScriptFile:
    """A script of the page as a file of its own, whose address changes with what is in it."""

    def __init__(self, text: str) -> None:
        """Take the script."""
        self.data = text.encode()
        self.address = f"sd/{blake2b(self.data, digest_size=8).hexdigest()}.js"
        self.tag = f'<script defer src="./{self.address}"></script>'.encode()
        self.route = Route(f"/{self.address}", self.answer)

    async def answer(self, request: Request) -> Response:
        """Send the script, to be kept."""
        return Response(self.data, media_type="text/javascript", headers=FOR_EVER)


class FirstScript:
    """Writes the scripts into the head of the page as it is sent; all else passes."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        sent: Callable[[], object],
        trains: Callable[[], bool],
        shared: bool = False,
        tag: bytes = b"",
    ) -> None:
        """Take what it passes requests on to, what is called when a page was sent, and what tells

        whether a run is being trained, which the page then opens with. shared: by strangers. tag:
        what else the page's head gets.
        """
        self.app, self.sent, self.trains = app, sent, trains
        scripts = [VISITOR, *SCRIPTS] if shared else SCRIPTS
        texts = (b"<script>\n" + script.read_bytes() + b"</script>" for script in scripts)
        self.tag = b"".join(texts) + tag

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
