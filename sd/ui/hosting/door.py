"""The page's door in front of all else.

It gives a visitor their key, takes uploads of nobody, and deletes everything of who asks for it.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from anyio import to_thread
from starlette.datastructures import Headers

from sd.common.validation import InputError
from sd.ui.adapter.requests import Receive, Refusal, Send, address, is_upload, refuse
from sd.ui.hosting.expiry import leave
from sd.ui.hosting.visitors import CLOSED, Visitors

KEY_PATH = "/sd/visitor"
FORWARDED = "x-forwarded-for"  # the sender's to invent, so no more than a hint


class Door:
    """Answers who asks for a key, and passes on what visitors ask for."""

    def __init__(self, app: Callable[..., Awaitable[None]], visitors: Visitors) -> None:
        """Take what it passes requests on to, and who is known."""
        self.app, self.visitors = app, visitors

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "http" and address(scope) == KEY_PATH:
            doing = {"POST": self._answer, "DELETE": self._forget}.get(scope["method"])
            if doing is None:
                await refuse(Refusal(405, "Method Not Allowed"), scope, receive, send)
            else:
                await doing(scope, receive, send)
            return
        is_strange = (
            scope["type"] == "http"
            and is_upload(scope)
            and self.visitors.name_of(Headers(scope=scope)) is None
        )
        if is_strange:
            await refuse(Refusal(401, CLOSED), scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _answer(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Send a key, or why there is none."""
        headers = Headers(scope=scope)
        near = str((scope.get("client") or ("",))[0])
        hint = headers.get(FORWARDED, near).partition(",")[0].strip()[:64]
        try:
            key = self.visitors.welcome(headers, hint)
        except PermissionError as error:
            await refuse(Refusal(403, str(error)), scope, receive, send)
            return
        except InputError as error:
            await refuse(Refusal(429, str(error)), scope, receive, send)
            return
        await _send_json({"key": key}, send)

    async def _forget(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Delete everything of the visitor who asks."""
        if (name := self.visitors.name_of(Headers(scope=scope))) is None:
            await refuse(Refusal(401, CLOSED), scope, receive, send)
            return
        await to_thread.run_sync(leave, self.visitors, name)
        await _send_json({}, send)


async def _send_json(value: dict[str, str], send: Send) -> None:
    """Answer with JSON that is kept nowhere."""
    data = json.dumps(value).encode()
    kind = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": kind})
    await send({"type": "http.response.body", "body": data})
