"""The script before gradio's own is in the page, and in nothing else."""

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from sd.ui.adapter.first_script import FirstScript, ScriptFile
from sd.ui.adapter.requests import PAGE


@pytest.mark.parametrize(
    ("path", "packed", "scripted", "trains"),
    [
        *(("/", False, True, False), ("/", False, True, True), ("/", True, False, True)),
        ("/gradio_api/file=player.html", False, False, True),
    ],
)
def test_only_the_page_itself_gets_the_first_script(
    path: str, packed: bool, scripted: bool, trains: bool
) -> None:
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"13")]
    headers += [(b"content-encoding", b"br")] * packed
    begin = {"type": "http.response.start", "status": 200, "headers": headers}
    sent: list[dict[str, Any]] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send(begin)
        await send({"type": "http.response.body", "body": b"<head></head>"})

    async def keep(message: dict[str, Any]) -> None:
        sent.append(message)

    pages: list[int] = []
    first = FirstScript(page, lambda: pages.append(len(sent)), lambda: trains)
    asyncio.run(first({"type": "http", "method": "GET", "path": path}, None, keep))
    body, length = sent[1]["body"], int(dict(sent[0]["headers"])[b"content-length"])
    assert length == len(body) and (body != b"<head></head>") == scripted
    assert (b"sdTraining = true" in body) == (scripted and trains)
    assert pages == ([2] if scripted else [])  # told once all was sent


def test_a_script_has_a_file_that_is_kept_until_it_is_another() -> None:
    one, other = ScriptFile("let n = 1;"), ScriptFile("let n = 2;")
    assert one.address != other.address and one.address == ScriptFile("let n = 1;").address
    assert one.tag == f'<script defer src="./{one.address}"></script>'.encode()
    answer = TestClient(Starlette(routes=[one.route])).get(f"/{one.address}")
    assert answer.text == "let n = 1;" and "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/javascript")
    assert PAGE.fullmatch(f"/{one.address}") and not PAGE.fullmatch("/sd/../app.py")
