"""The page's door in front of all else.

It gives a visitor their key, takes uploads of nobody, deletes everything of who asks for it, and
serves the host.
"""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from anyio import to_thread
from starlette.datastructures import Headers

from sd.common.validation import InputError
from sd.ui.adapter.requests import (
    LARGEST_BODY,
    Receive,
    Refusal,
    Send,
    address,
    is_upload,
    length_of,
    refuse,
)
from sd.ui.hosting import admin
from sd.ui.hosting.expiry import leave
from sd.ui.hosting.visitors import CLOSED, Visitors
from sd.ui.mistakes import translate
from sd.ui.texts import page_language

KEY_PATH = "/sd/visitor"
LONGEST_REQUEST = 4096  # bytes of what a host asks
FORWARDED = "x-forwarded-for"  # the sender's to invent, so no more than a hint


class Door:
    """Answers who asks for a key, and passes on what visitors ask for."""

    def __init__(self, app: Callable[..., Awaitable[None]], visitors: Visitors) -> None:
        """Take what it passes requests on to, and who is known."""
        self.app, self.visitors, self.token = app, visitors, admin.admin_token(visitors)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "http" and address(scope) == admin.PATH:
            await self._look_after(scope, receive, send)
            return
        if scope["type"] == "http" and address(scope) == KEY_PATH:
            doing = {"POST": self._answer, "DELETE": self._forget}.get(scope["method"])
            if doing is None:
                await refuse(Refusal(405, "Method Not Allowed"), scope, receive, send)
            else:
                await doing(scope, receive, send)
            return
        is_files = scope["type"] == "http" and is_upload(scope)
        if is_files and (refusal := self._refuse_upload(scope)) is not None:
            await refuse(refusal, scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refuse_upload(self, scope: dict[str, Any]) -> Refusal | None:
        """Return why an upload is not taken; None where it is, which is counted."""
        headers = Headers(scope=scope)
        if (name := self.visitors.name_of(headers)) is None:
            return Refusal(401, CLOSED)
        lang = page_language(headers)
        if line := self.visitors.closed_line():
            return Refusal(503, translate(line, lang))
        try:
            self.visitors.check_upload(name, length_of(scope) or LARGEST_BODY)
        except InputError as error:
            return Refusal(429, translate(str(error), lang))
        return None

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
        line = translate(self.visitors.closed_line(), page_language(headers))
        await _send_json({"key": key, "closed": line}, send)

    async def _look_after(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Send the page of the host, or what it asks for with the host's token."""
        headers = Headers(scope=scope)
        lang = page_language(headers)
        if scope["method"] == "GET":
            await _send(admin.page(lang), b"text/html; charset=utf-8", send)
        elif not admin.is_host(self.token, headers):
            await refuse(Refusal(401, "no token of the host"), scope, receive, send)
        elif (asked := await _read_json(receive)) is None:
            await refuse(Refusal(413, "data: not what this address takes"), scope, receive, send)
        else:
            told = await to_thread.run_sync(admin.answer, self.visitors, asked, lang)
            await _send_json(told, send)

    async def _forget(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Delete everything of the visitor who asks."""
        if (name := self.visitors.name_of(Headers(scope=scope))) is None:
            await refuse(Refusal(401, CLOSED), scope, receive, send)
            return
        await to_thread.run_sync(leave, self.visitors, name)
        await _send_json({}, send)


async def _read_json(receive: Receive) -> Any:
    """Return the JSON of a short request; None for what is none."""
    data = b""
    while len(data) <= LONGEST_REQUEST:
        message = await receive()
        data += message.get("body", b"")
        if not message.get("more_body"):
            with suppress(ValueError, RecursionError):
                return json.loads(data)
            return None
    return None


async def _send_json(value: dict[str, Any], send: Send) -> None:
    await _send(json.dumps(value).encode(), b"application/json", send)


async def _send(data: bytes, kind: bytes, send: Send) -> None:
    """Answer with what is kept nowhere and shown in no frame."""
    headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
    headers += [(b"x-frame-options", b"DENY"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})
