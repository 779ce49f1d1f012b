"""What may be sent to the page, before anything reads it: which addresses, how large a body.

The address alone decides, never what a request calls itself. All but uploads are held in memory by
gradio and FastAPI, so they are small, and of the larger ones a few are read at a time. An upload
goes to the disk; its parts are followed as they come, since gradio keeps a part that is no file in
memory and leaves what was cut off on the disk.
"""

import asyncio
import json
import re
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from sd.common.text import format_bytes
from sd.common.validation import shown
from sd.ui.adapter import served_files

LARGEST_BODY = 16 * 2**20  # bytes of one request; the names of 40,000 uploaded files
LARGEST_UPLOAD = 896 * 2**20  # bytes of one upload; a browser sends at most 1,000 files in each
LARGEST_FILE, MOST_FILES = 200 * 2**20, 1000  # of one upload; as gradio is told, and tells itself
SMALL_BODY = 2**18  # bytes; of larger ones only so many are read at a time, so long at most
LARGE_AT_ONCE, PATIENCE = 2, 30.0  # seconds
MARKS, MOST_MARKS = b",:[{", 2**20  # of JSON, up to 70 bytes each; 40,000 files have 0.8 million
MOST_READ, LINGERING = 17 * 2**20, 2.0  # bytes, seconds: of what is refused, thrown away
SPARE_DISK = 2**28  # bytes that an upload leaves free
LONGEST_ERROR = 1000  # bytes of an answer that tells an error
LONGEST_QUERY, LONGEST_HASH = 4096, 64
NAMES = ("session_hash", "upload_id")  # in the query; gradio keeps tables of them
UPLOAD = "/gradio_api/upload"
NAME = rf"[^/]{{1,{LONGEST_HASH}}}"
PAGE = re.compile(
    r"/|/(?:config|favicon\.ico|theme\.css|manifest\.json|robots\.txt)|/(?:assets|static|svelte)/.+"
    r"|/sd/[0-9a-f]{16}\.js"
    r"|/gradio_api/(?:info|openapi\.json|app_id|user|login_check|startup-events|theme\.css"
    rf"|upload|upload_progress|file=.+|queue/(?:join|data|status)|cancel|reset|heartbeat/{NAME}"
    rf"|call/(?:v2/)?{NAME}(?:/{NAME})?)"
)  # what the page, its list of endpoints and gradio_client ask for; gradio has some 40 more

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Refusal(Exception):
    """Why a request is not answered: an HTTP status and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status, self.line = status, line


class Requests:
    """Ends what the page never asks for, and bodies that are larger than what it sends."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        """Take what it passes requests on to."""
        self.app = app
        self.reading = asyncio.Semaphore(LARGE_AT_ONCE)
        self.incoming = 0  # bytes that uploads at hand have announced

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on; what it sends is counted while it is read."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        incoming = Incoming(scope, receive)
        answer = Answer(send, incoming, plain=is_upload(scope))
        try:
            body = self.admitted(scope, incoming, answer)
        except Refusal as refusal:
            await answer.refuse(refusal)
            return
        self.incoming += body.announced
        try:
            await self.app(scope, body.receive, answer.send)
        except (HTTPException, MultiPartException):
            if answer.refusal is None:
                raise
            await answer.refuse(answer.refusal)
        finally:
            self.incoming -= body.announced
            body.release()

    def admitted(self, scope: Message, incoming: "Incoming", answer: "Answer") -> "Body | Upload":
        """Return the body of a request that may be read; raise `Refusal`."""
        if not PAGE.fullmatch(address(scope)):
            raise Refusal(404, "Not Found")
        check_query(scope["query_string"])
        if scope["method"] != "POST" and not incoming.ended:  # nothing would ever read it
            raise Refusal(413, f"data: a {shown(scope['method'])} takes none")
        length = length_of(scope)
        if not is_upload(scope):
            if length is not None and length > LARGEST_BODY:
                raise too_large()
            return Body(incoming, answer, self.reading)
        if length is None:
            return Upload(incoming, answer, 0, boundary_of(scope))
        if length > LARGEST_UPLOAD:
            raise too_much(length)
        if (room := free_disk() - self.incoming - SPARE_DISK) < length:
            left = f"the disk of this page has {format_bytes(max(0, room))} left"
            raise Refusal(507, f"files: {format_bytes(length)}; {left}")
        return Upload(incoming, answer, length, boundary_of(scope))


class Incoming:
    """What a request sends, counted."""

    def __init__(self, scope: Message, receive: Receive) -> None:
        """Take what it comes from; a request that announces no body has sent it all."""
        self._receive = receive
        self.size, self.ended = 0, not has_body(scope)

    async def __call__(self) -> Message:
        """Return what comes next."""
        message = await self._receive()
        self.size += len(message.get("body", b""))
        self.ended = not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Throw away what still comes, a little of it for a little while.

        Where a connection is closed while more arrives, its end may never read the answer.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGERING):
                while not self.ended and self.size < MOST_READ:
                    await self()


class Body:
    """The body of a request: counted while it is read, and waited for if it is a large one."""

    announced = 0  # bytes that will be on the disk

    def __init__(self, incoming: Incoming, answer: "Answer", reading: asyncio.Semaphore) -> None:
        self._incoming, self._answer, self._reading = incoming, answer, reading
        self._holds, self._marks, self._until = False, 0, 0.0

    async def receive(self) -> Message:
        """Return what comes next; raise status 413 once too much has come."""
        message = await self._next()
        if message["type"] == "http.request":
            data = message.get("body", b"")
            self._marks += sum(map(data.count, MARKS))
            if self._incoming.size > LARGEST_BODY:
                raise self._answer.end(too_large())
            if self._marks > MOST_MARKS:
                raise self._answer.end(Refusal(413, f"data: more than {MOST_MARKS:,} values"))
            if self._incoming.size > SMALL_BODY and not self._holds:
                await self._hold()
        return message

    async def _next(self) -> Message:
        """Return the next message; of a large body that takes too long, raise status 408."""
        if self._incoming.ended or not self._holds:
            return await self._incoming()
        try:
            async with asyncio.timeout_at(self._until):
                return await self._incoming()
        except TimeoutError:
            raise self._answer.end(Refusal(408, "data: too slow, or it stopped incoming")) from None

    async def _hold(self) -> None:
        """Wait until fewer large bodies are being read."""
        try:
            await asyncio.wait_for(self._reading.acquire(), PATIENCE)
        except TimeoutError:
            raise self._answer.end(Refusal(503, "data: too much at once; try again")) from None
        self._holds = True
        self._until = asyncio.get_running_loop().time() + PATIENCE

    def release(self) -> None:
        """Let the next large body be read."""
        if self._holds:
            self._holds = False
            self._reading.release()


class Upload:
    """The body of an upload: its files are counted and measured while gradio writes them."""

    def __init__(self, incoming: Incoming, answer: "Answer", length: int, boundary: bytes) -> None:
        self.announced = length
        self._incoming, self._answer = incoming, answer
        self._most = length or LARGEST_BODY
        self._parts = Parts(boundary)

    async def receive(self) -> Message:
        """Return what comes next. Raises what lets gradio delete the part that has come."""
        ended = self._incoming.ended
        message = await self._incoming()
        try:
            if message["type"] == "http.request":
                self._look_at(message.get("body", b""))
            elif not ended:
                raise Refusal(400, "files: the upload was broken off")
        except Refusal as refusal:
            self._answer.end(refusal)
            raise MultiPartException(refusal.line) from None
        return message

    def _look_at(self, data: bytes) -> None:
        if self._incoming.size > self._most:
            raise Refusal(413, "files: more than 16 MiB without having told the length")
        self._parts.feed(data)

    def release(self) -> None:
        """Nothing is held."""


class Parts:
    """Follows the parts of a form: each is a file, and none is too long."""

    def __init__(self, boundary: bytes) -> None:
        """Begin before the first part; `boundary` is what stands between them."""
        self._files = self._length = 0
        self._name, self._value, self._is_file = b"", b"", False  # a head is 4 KiB at most
        calls = ["part_begin", "header_field", "header_value", "header_end"]
        calls += ["headers_finished", "part_data"]
        self._parser = MultipartParser(
            boundary,
            {f"on_{name}": getattr(self, f"_{name}") for name in calls},  # type: ignore[arg-type]
        )

    def feed(self, data: bytes) -> None:
        """Read on; raise `Refusal`."""
        try:
            self._parser.write(data)
        except MultipartParseError:
            raise Refusal(400, "files: not a form as browsers send it") from None

    def _part_begin(self) -> None:
        self._length = 0
        self._name, self._value, self._is_file = b"", b"", False
        self._files += 1
        if self._files > MOST_FILES:
            raise Refusal(413, f"files: more than {MOST_FILES} at once; send them as one zip")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._is_file = b"filename" in parse_options_header(self._value)[1]
        self._name, self._value = b"", b""

    def _headers_finished(self) -> None:
        if not self._is_file:
            raise Refusal(400, "files: a part of the form is no file")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._length += end - start
        if self._length > LARGEST_FILE:
            raise Refusal(413, f"files: one has more than {format_bytes(LARGEST_FILE)}")


class Answer:
    """The answer to a request; an error is one short line, whatever was to be said of it."""

    def __init__(self, send: Send, incoming: Incoming, plain: bool) -> None:
        """Take where it goes to and what it answers; `plain` as text, else as JSON."""
        self._send, self._incoming, self._plain = send, incoming, plain
        self.refusal: Refusal | None = None
        self._held: Message | None = None
        self._over = self.started = False

    def end(self, refusal: Refusal) -> HTTPException:
        """Note why the request ends, whatever is made of it; return what ends its handler."""
        self.refusal = self.refusal or refusal
        return HTTPException(refusal.status, refusal.line)

    async def send(self, message: Message) -> None:
        """Send on; an error is held back until it is known to be short."""
        if self._over:
            return
        if message["type"] == "http.response.start" and not self.started:
            if self.refusal:
                await self.refuse(self.refusal)
            elif message["status"] >= 400:
                self._held = message
            else:
                await self._start(message)
            return
        if self._held is not None:
            start, self._held = self._held, None
            long = len(message.get("body", b"")) > LONGEST_ERROR or message.get("more_body")
            if long or not self._incoming.ended:
                await self.refuse(Refusal(start["status"], "not what this address takes"))
                return
            await self._send(start)
        await self._send(message)

    async def _start(self, message: Message) -> None:
        if not self._incoming.ended:  # else the server would read on to the end of what comes
            headers = [*message.get("headers", ()), (b"connection", b"close")]
            message = message | {"headers": headers}
        self.started = True
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Tell why in one line and let the connection end, so that little more is read."""
        if self._over or self.started:
            return
        self._over = True
        line = refusal.line if self._plain else json.dumps({"detail": refusal.line})
        kind = b"text/plain; charset=utf-8" if self._plain else b"application/json"
        headers = [(b"content-type", kind), (b"content-length", str(len(line.encode())).encode())]
        headers.append((b"connection", b"close"))
        start = {"type": "http.response.start", "status": refusal.status, "headers": headers}
        await self._send(start)
        body = {"type": "http.response.body", "body": line.encode(), "more_body": True}
        await self._send(body)
        await self._incoming.drain()
        await self._send({"type": "http.response.body"})


async def refuse(refusal: Refusal, scope: Message, receive: Receive, send: Send) -> None:
    """Answer a request with a refusal as plain text, and read little more of it."""
    await Answer(send, Incoming(scope, receive), plain=True).refuse(refusal)


async def answer_invalid(_: Any, __: Exception) -> JSONResponse:
    """Answer what FastAPI could not read; its own answer would hold all that was sent."""
    return JSONResponse({"detail": "data: not what this address takes"}, 422)


EXCEPTION_HANDLERS = {RequestValidationError: answer_invalid}


def too_large() -> Refusal:
    """Return why a body that is no upload is refused."""
    most = LARGEST_BODY // 2**20
    return Refusal(413, f"data: more than {most} MiB; send many files as one zip")


def too_much(length: int) -> Refusal:
    """Return why an upload is refused."""
    told = f"{format_bytes(length)}; at most {format_bytes(LARGEST_UPLOAD)} are allowed at once"
    return Refusal(413, f"files: {told}; send them in parts, or make the pictures smaller")


def address(scope: Message) -> str:
    """Return the path as the routes see it: without the root of a proxy, or a slash at its end."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return (path[:-1] if path.endswith("/") else path) or "/"


def is_upload(scope: Message) -> bool:
    """Tell whether a request brings files: by its address, and a form is what gradio reads there.

    Anything else that is sent there is never read, so it is as small as all other bodies.
    """
    kind = parse_options_header(header(scope, b"content-type"))[0]
    return address(scope) == UPLOAD and kind == b"multipart/form-data"


def boundary_of(scope: Message) -> bytes:
    """Return what stands between the parts of a form; raise `Refusal`."""
    boundary = parse_options_header(header(scope, b"content-type"))[1].get(b"boundary")
    if not boundary:
        raise Refusal(400, "files: not a form as browsers send it")
    return boundary


def header(scope: Message, name: bytes) -> bytes:
    """Return the first header of a name, or nothing."""
    return next((bytes(value) for key, value in scope["headers"] if key == name), b"")


def has_body(scope: Message) -> bool:
    """Tell whether a request announces that something follows its head."""
    return bool(header(scope, b"transfer-encoding")) or length_of(scope) not in (None, 0)


def length_of(scope: Message) -> int | None:
    """Return how long a body says it is; None if it does not say."""
    told = header(scope, b"content-length")
    return int(told) if told.isdigit() else None


def check_query(query: bytes) -> None:
    """Raise `Refusal` where an address is too long, or a name that gradio would keep."""
    if len(query) > LONGEST_QUERY:
        raise Refusal(414, f"the address has more than {LONGEST_QUERY} bytes after its ?")
    told = parse_qs(query.decode("latin-1"))
    for name in NAMES:
        if any(len(value) > LONGEST_HASH for value in told.get(name, ())):
            raise Refusal(414, f"{name}: more than {LONGEST_HASH} characters")


def free_disk() -> int:
    """Return the bytes that are free where uploads are written."""
    folder = served_files.folder().absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free
