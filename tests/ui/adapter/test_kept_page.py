"""The page is made once for all who ask in the same way, and anew for all others."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from sd.ui.adapter.page import MOST_KEPT, KeptPage


def serve(answer: Callable[[Request], Response]) -> tuple[TestClient, list[str]]:
    """Return a page behind what keeps it, and for which addresses it was made."""
    made: list[str] = []

    async def make(request: Request) -> Response:
        made.append(str(request.url))
        await asyncio.sleep(0)
        return answer(request)

    routes = [Route("/", make, methods=["GET", "POST"]), Route("/config", make)]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(KeptPage)])), made


def name(request: Request) -> Response:
    return HTMLResponse(f"{request.headers.get('x-forwarded-host', request.url.netloc)}")


def test_the_page_is_made_once_by_where_it_is_asked_for() -> None:
    client, made = serve(name)
    for _ in range(3):
        assert client.get("/?run=mine", headers={"accept-language": "zh"}).text == "testserver"
        assert client.get("/", headers={"x-forwarded-host": "lab"}).text == "lab"
    assert len(made) == 2
    for number in range(2 * MOST_KEPT):
        assert client.get("/", headers={"x-forwarded-host": f"{number}"}).text == f"{number}"
    assert client.get("/").text == "testserver"


def test_all_else_is_made_each_time() -> None:
    client, made = serve(name)
    for _ in range(2):
        client.get("/config")
        client.post("/")
        client.get("/?deep_link=a")
        client.get("/?page=a")
    assert len(made) == 8


def test_what_is_no_page_is_not_kept_and_what_is_stays_as_it_was() -> None:
    statuses = [503, 200]
    client, made = serve(lambda _: HTMLResponse("there", statuses.pop(0)))
    assert [client.get("/").status_code for _ in range(3)] == [503, 200, 200] and len(made) == 2
    inner = client.app

    async def packed(scope: Any, receive: Any, send: Any) -> None:
        async def change(message: Any) -> None:
            for header in message.get("headers", ()):
                assert header[0] != b"content-encoding"
            message.get("headers", []).append((b"content-encoding", b"identity"))
            await send(message)

        await inner(scope, receive, change)

    for _ in range(2):
        assert TestClient(packed).get("/").text == "there"


def test_fifty_at_once_wait_for_one() -> None:
    made: list[int] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        made.append(1)
        await asyncio.sleep(0.01)
        await HTMLResponse("there")(scope, receive, send)

    async def ask() -> None:
        kept, sent = KeptPage(page), []

        async def note(message: Any) -> None:
            sent.append(message["type"])

        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
        await asyncio.gather(*(kept(scope, None, note) for _ in range(50)))
        assert len(sent) == 100

    asyncio.run(ask())
    assert made == [1]
