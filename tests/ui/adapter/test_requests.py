"""What is let through to the page: addresses, lengths of bodies, parts of uploads, short errors."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import gradio_client.utils as client
import pytest
from fastapi import FastAPI, Request
from gradio import route_utils
from starlette.responses import PlainTextResponse

from sd.ui.adapter import requests

Headers = dict[str, str]
FORM = "multipart/form-data; boundary=b"
JOIN = "/gradio_api/queue/join"
MOST_READ = 17 * 2**20
CLOSED = (
    *("/login", "/logout", "/token", "/monitoring", "/monitoring/summary", "/pwa_icon", "/other"),
    *("/gradio_api/component_server", "/gradio_api/component_server/", "/gradio_api/vibe-edit"),
    *("/gradio_api/stream/a", "/gradio_api/stream/a/close", "/gradio_api/proxy=http://a/b"),
    *("/gradio_api/run/denoise", "/gradio_api/api/denoise", "/gradio_api/process_recording"),
    *("/gradio_api/deep_link", "/gradio_api/dev/reload", "/gradio_api/run-history/connect"),
    *("//gradio_api/queue/join", "/gradio_api//queue/join", "/gradio_api/QUEUE/JOIN", "/config/a"),
    *("/sd/gradio_api/queue/join", f"/gradio_api/heartbeat/{'x' * 65}"),
)


class Told(NamedTuple):
    """An answer, and how much of the body was asked for."""

    status: int
    headers: Headers
    body: bytes
    before: int  # bytes that were asked for before it
    read: int  # in all

    @property
    def line(self) -> str:
        """What the answer says."""
        return str(json.loads(self.body)["detail"])


async def drain(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Read a whole body and tell its length: what gradio and FastAPI do with any."""
    length = len(await Request(scope, receive).body())
    await PlainTextResponse(str(length))(scope, receive, send)


def ask(
    app: Callable[..., Awaitable[None]],
    path: str,
    parts: Iterator[bytes],
    kind: str = "application/json",
    length: int | None = None,
    broken_off: bool = False,
    rest: float = 0.0,
    **more: Any,
) -> Told:
    """Send a body in parts to an app; nothing is made of it before it is asked for."""
    headers = [(b"content-type", kind.encode())]
    if length is None:
        headers.append((b"transfer-encoding", b"chunked"))
    else:
        headers.append((b"content-length", str(length).encode()))
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": headers,
    }
    said: list[dict[str, Any]] = []
    read = before = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        if rest:
            await asyncio.sleep(rest)
        part = next(parts, None)
        read += len(part or b"")
        if part is None and broken_off:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    async def send(message: dict[str, Any]) -> None:
        nonlocal before
        before = before if said else read
        said.append(message)

    asyncio.run(app({**scope, **more}, receive, send))
    start = said[0]
    told = {name.decode(): value.decode() for name, value in start["headers"]}
    body = b"".join(each.get("body", b"") for each in said[1:])
    return Told(start["status"], told, body, before, read)


def endless() -> Iterator[bytes]:
    """Yield a body of 1 GB, 64 KiB at a time."""
    return (b"\0" * 2**16 for _ in range(2**14))


@pytest.mark.parametrize("kind", ["application/json", FORM, "multipart/mixed", "text/plain", ""])
@pytest.mark.parametrize("path", [JOIN, "/config", "/", "/gradio_api/call/denoise"])
def test_a_body_is_ended_by_its_length_whatever_it_calls_itself(
    path: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = requests.Requests(drain)
    monkeypatch.setattr(requests, "LARGEST_BODY", 2**20)
    told = ask(app, path, endless(), kind)
    assert told.status == 413 and told.before <= 2**20 + 2**16
    assert told.line == "data: more than 1 MiB; send many files as one zip"
    assert told.headers["connection"] == "close"
    told = ask(app, path, endless(), kind, length=10**9)
    assert told.status == 413 and told.before == 0


def test_of_a_gigabyte_seventeen_mebibytes_are_read() -> None:
    told = ask(requests.Requests(drain), JOIN, endless(), FORM)
    assert told.status == 413 and told.read <= MOST_READ and len(told.body) < 100


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("length", [None, 10**9])
def test_a_body_that_nothing_reads_is_ended(method: str, length: int | None) -> None:
    app = requests.Requests(drain)
    told = ask(app, "/", endless(), length=length, method=method)
    assert (told.status, told.before) == (413, 0) and told.read <= MOST_READ
    assert told.line == f"data: a '{method}' takes none"
    assert ask(app, "/", iter([]), length=0, method=method).status == 200


@pytest.mark.parametrize(("status", "said"), [(200, b""), (405, b"no"), (404, b"x" * 500)])
def test_where_a_body_is_not_read_the_connection_ends(status: int, said: bytes) -> None:
    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await PlainTextResponse(said, status)(scope, receive, send)

    told = ask(requests.Requests(answer), "/config", endless())
    assert told.status == status and told.headers["connection"] == "close"
    assert "connection" not in ask(requests.Requests(answer), "/config", iter([]), length=0).headers


@pytest.mark.parametrize("value", [b"{},", b"[],", b"1,", b'"k":1,'])
def test_small_values_are_counted_before_they_are_made(
    value: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON of 16 MiB may be five million objects of 70 bytes each."""
    monkeypatch.setattr(requests, "MOST_MARKS", 1000)
    told = ask(requests.Requests(drain), JOIN, iter([b"[" + value * 600] * 9))
    assert told.status == 413 and told.line == "data: more than 1,000 values"
    assert told.before < 9 * 600 * len(value)
    assert ask(requests.Requests(drain), JOIN, iter([b"[" + value * 300])).status == 200


def test_a_body_within_the_limit_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "LARGEST_BODY", 2**20)
    for size, status in ((0, 200), (2**20, 200), (2**20 + 1, 413)):
        told = ask(requests.Requests(drain), JOIN, iter([b"x" * size]), FORM, length=None)
        assert told.status == status and (status == 413 or told.body == str(size).encode())


@pytest.mark.parametrize("path", CLOSED)
def test_what_the_page_does_not_use_is_not_there_and_not_read(path: str) -> None:
    told = ask(requests.Requests(drain), path, endless(), FORM)
    assert (told.status, told.before) == (404, 0) and told.read <= MOST_READ


@pytest.mark.parametrize("root", ["", "/sd", "/sd/", "https://example.org/sd"])
def test_an_address_is_found_below_the_root_of_a_proxy(root: str) -> None:
    app = requests.Requests(drain)
    for path in ["/", "/config", "/config/", JOIN, "/gradio_api/file=/tmp/a b.png", "/assets/a.js"]:
        assert ask(app, path, iter([]), root_path=root).status == 200
    inside = ask(app, "/sd/config", iter([]), root_path=root).status
    assert inside == (200 if root.startswith("/sd") else 404)


def test_what_gradio_s_own_client_asks_for_is_let_through() -> None:
    names = {name for name in vars(client) if name.endswith("_URL")}
    unused = {"COMPONENT_SERVER_URL", "LOGIN_URL", "SPACE_URL", "SPACE_FETCHER_URL", "RESET_URL"}
    unused |= {"SHARE_URL", "API_URL", "WS_URL", "RAW_API_INFO_URL"}
    for name in names - unused:
        path = "/" + getattr(client, name).partition("?")[0].strip("/").format(
            "a", session_hash="a", api_name="a"
        )
        found = requests.PAGE.fullmatch(path) or requests.PAGE.fullmatch(f"/gradio_api{path}")
        assert found or "http" in path, name


def test_names_and_addresses_have_a_length() -> None:
    app, path = requests.Requests(drain), "/gradio_api/queue/data"
    for query, status in (
        (f"session_hash={'x' * 64}", 200),
        (f"session_hash={'x' * 65}", 414),
        (f"a=1&upload_id={'x' * 65}", 414),
        ("a" * 4097, 414),
    ):
        told = ask(app, path, iter([]), query_string=query.encode())
        assert told.status == status, query[:20]


def test_few_large_bodies_are_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight at once, two are held in memory; the others wait, and all arrive."""
    monkeypatch.setattr(requests, "SMALL_BODY", 1000)
    held = most = 0

    async def hold(scope: dict[str, Any], receive: Any, send: Any) -> None:
        nonlocal held, most
        while (message := await receive()).get("more_body"):
            held += len(message["body"])
            most = max(most, held)
        held -= 8000
        await PlainTextResponse("")(scope, receive, send)

    app, statuses = requests.Requests(hold), []

    async def one() -> None:
        parts = iter([b"x" * 1000] * 8)

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0)
            part = next(parts, None)
            return {"type": "http.request", "body": part or b"", "more_body": part is not None}

        async def send(message: dict[str, Any]) -> None:
            statuses.append(message.get("status"))

        scope = {"type": "http", "method": "POST", "path": JOIN, "query_string": b"", "headers": []}
        await app(scope, receive, send)

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(8)))

    asyncio.run(all_of_them())
    assert statuses.count(200) == 8
    assert most <= 8 * 1000 + 2 * 8000


def test_a_large_body_that_stops_coming_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "SMALL_BODY", 10)
    for name in ("PATIENCE", "LINGERING"):
        monkeypatch.setattr(requests, name, 0.01)
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        if said:
            await asyncio.sleep(60)
        said.append(None)
        return {"type": "http.request", "body": b"x" * 20, "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": JOIN, "query_string": b"", "headers": []}
    asyncio.run(requests.Requests(fastapi())(scope, receive, send))
    assert said[1]["status"] == 408


def test_a_large_body_that_trickles_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that never end would keep everybody's large bodies away."""
    monkeypatch.setattr(requests, "SMALL_BODY", 10)
    for name in ("PATIENCE", "LINGERING"):
        monkeypatch.setattr(requests, name, 0.02)

    told = ask(requests.Requests(fastapi()), JOIN, iter([b"x"] * 2000), rest=0.001)
    assert told.status == 408 and told.read < 2000


def fastapi() -> FastAPI:
    """An application that reads JSON as gradio's does, and answers as it is told to."""
    app = FastAPI(exception_handlers=requests.EXCEPTION_HANDLERS)

    @app.post("/gradio_api/queue/join")
    async def join(body: dict[str, int]) -> dict[str, int]:
        return body

    @app.post("/gradio_api/cancel")
    async def cancel(body: list[str]) -> Any:
        return PlainTextResponse(body[0], status_code=int(body[1]))

    @app.post(requests.UPLOAD)
    async def upload(request: Request) -> Any:
        files = await route_utils.GradioMultiPartParser(
            request.headers, request.stream(), max_file_size=10**6, upload_dir=app.state.folder
        ).parse()
        return [file.size for _, file in files.multi_items()]

    return app


@pytest.mark.parametrize("sent", [b'{"a": "secret"}', b'"secret"', b"{secret", b"\0" * 10**5])
def test_an_answer_never_holds_what_was_sent(sent: bytes) -> None:
    told = ask(requests.Requests(fastapi()), JOIN, iter([sent]))
    assert told.status == 422 and told.line == "data: not what this address takes"


def test_a_long_error_becomes_one_line() -> None:
    app = requests.Requests(fastapi())
    for line, status in (("short", 400), ("x" * 1001, 400), ("x" * 1001, 500), ("x" * 1001, 200)):
        told = ask(app, "/gradio_api/cancel", iter([json.dumps([line, str(status)]).encode()]))
        assert told.status == status
        kept = status == 200 or line == "short"
        assert told.body == line.encode() if kept else told.line == "not what this address takes"


def part(name: str, data: bytes, key: str = "filename") -> bytes:
    """Return one part of a form."""
    return (
        f'--b\r\nContent-Disposition: form-data; name="files"; {key}="{name}"\r\n\r\n'.encode()
        + (data + b"\r\n")
    )


@pytest.fixture
def uploading(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Told]:
    """Return what uploads in small pieces to gradio's own reader, with small limits."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    for name, most in (("LARGEST_FILE", 1000), ("MOST_FILES", 3), ("LARGEST_BODY", 5000)):
        monkeypatch.setattr(requests, name, most)
    inner = fastapi()
    inner.state.folder = tmp_path

    def upload(body: bytes, kind: str = FORM, length: int | None = -1, step: int = 7) -> Told:
        before = set(tmp_path.iterdir())
        pieces = (body[first : first + step] for first in range(0, len(body), step))
        told = len(body) if length == -1 else length
        cut = told is not None and told > len(body)
        answer = ask(requests.Requests(inner), requests.UPLOAD, pieces, kind, told, cut)
        if answer.status != 200:
            assert set(tmp_path.iterdir()) == before, "what had come was left on the disk"
        return answer

    return upload


@pytest.mark.parametrize("step", [1, 7, 10**5])
def test_an_upload_within_its_limits_arrives(uploading: Callable[..., Told], step: int) -> None:
    body = part("a.png", b"x" * 1000) + part("b.png", b"\r\n--" * 200) + b"--b--\r\n"
    told = uploading(body, step=step)
    assert told.status == 200 and json.loads(told.body) == [1000, 800]


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        (part("a", b"x" * 1001), 413, "files: one has more than"),
        (part("a", b"") * 4, 413, "files: more than 3 at once; send them as one zip"),
        (part("a", b"x" * 900, "other"), 400, "files: a part of the form is no file"),
        (part("a" * 9000, b""), 400, "files: not a form as browsers send it"),
        (b"x" * 100, 400, "files: not a form as browsers send it"),
        (b"--b\r\n" + b"x" * 10**4, 400, "files: "),
    ],
)
def test_a_part_that_the_page_never_sends_ends_an_upload(
    uploading: Callable[..., Told], body: bytes, status: int, line: str
) -> None:
    told = uploading(body + b"--b--\r\n")
    assert told.status == status and told.body.decode().startswith(line)
    assert told.headers["content-type"].startswith("text/plain") and b"\n" not in told.body


def test_an_upload_tells_its_length_or_is_small(uploading: Callable[..., Told]) -> None:
    body = part("a", b"x" * 900) * 3
    assert uploading(body + b"--b--\r\n", length=None).status == 200
    told = ask(requests.Requests(drain), requests.UPLOAD, endless(), FORM)
    assert told.status in (400, 413) and told.before < 2**18
    told = uploading(body, length=10**9)
    assert told.status == 413 and told.before == 0
    assert told.body.startswith(b"files: 954 MiB; at most 896 MiB are allowed at once")
    told = uploading(b"x" * 20_000, kind="application/zip")
    assert told.status == 413  # what is no form is no upload


def test_an_upload_that_is_broken_off_leaves_nothing(uploading: Callable[..., Told]) -> None:
    told = uploading(part("a", b"x" * 900), length=10**6)
    assert told.status == 400


def test_an_upload_asks_for_the_disk_first(
    uploading: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "free_disk", lambda: requests.SPARE_DISK + 500 * 2**20)
    told = uploading(b"", length=501 * 2**20)
    assert told.status == 507 and told.before == 0
    assert told.body == b"files: 501 MiB; the disk of this page has 500 MiB left"
    app = requests.Requests(drain)
    app.incoming = 499 * 2**20  # of others
    assert ask(app, requests.UPLOAD, iter([]), FORM, 2 * 2**20).status == 507
