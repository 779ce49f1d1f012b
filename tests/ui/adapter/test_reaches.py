"""With each private part of gradio gone that the page reaches for, it is built and it answers."""

import json
import threading
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import gradio as gr
import pytest

from sd.ui.adapter import event_queue, first_script, page
from sd.ui.adapter.page import Page
from sd.ui.state import Shared

Break = Callable[[pytest.MonkeyPatch], None]


class Lacking:
    """gradio's queue as one sees it that has no attribute of a name."""

    def __init__(self, queue: Any, name: str) -> None:
        self.__dict__.update(_real=queue, _name=name)

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            raise AttributeError(name)
        return getattr(self._real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        assert name != self._name
        setattr(self._real, name, value)

    def __len__(self) -> int:
        return len(self._real)


def lacks(name: str) -> Break:
    """Let gradio's queue have no attribute of a name."""
    real = event_queue.queue_of

    def apply(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(event_queue, "queue_of", lambda blocks: Lacking(real(blocks), name))

    return apply


def forget_description(patch: pytest.MonkeyPatch) -> None:
    """Let the page not find what describes it, as if that had another name."""
    plain = getattr
    patch.setattr(
        page,
        "getattr",
        lambda of, name, usual: usual if name == "default_config" else plain(of, name, usual),
        raising=False,
    )


def forget_server(patch: pytest.MonkeyPatch) -> None:
    """Let the page not find what makes gradio's servers, as if that had another name."""
    plain = hasattr
    patch.setattr(
        page, "hasattr", lambda of, name: name != "App" and plain(of, name), raising=False
    )


REACHES: dict[str, Break] = {
    "nothing": lambda patch: None,
    "_queue": lambda patch: patch.setattr(event_queue, "queue_of", lambda blocks: None),
    **{
        name: lacks(name)
        for name in (
            *("push", "blocks", "active_jobs", "event_queue_per_concurrency_id"),
            *("pending_event_ids_session", "pending_messages_per_session"),
            *("sleep_when_free", "progress_update_sleep_when_free"),
        )
    },
    "App": forget_server,
    "default_config": forget_description,
    "BlocksConfig": lambda patch: patch.setattr(page, "Config", type("Other", (), {})),
    "<head>": lambda patch: patch.setattr(first_script, "HEAD", b"<no-such-tag>"),
}


@pytest.mark.parametrize("reach", REACHES)
def test_the_page_answers_without(reach: str, monkeypatch: pytest.MonkeyPatch) -> None:
    REACHES[reach](monkeypatch)
    sent = threading.Event()  # set after the last byte of the page
    with Page(Shared(), analytics_enabled=False) as demo:
        number, double = gr.Number(3, precision=0, minimum=0, maximum=9, label="n"), gr.Textbox()
        gr.Button().click(lambda n: 2 * n, number, double, api_name="double")
    demo.queue(api_open=False, max_size=9)
    middleware = demo.middleware(sent.set)
    demo.launch(prevent_thread_lock=True, quiet=True, app_kwargs={"middleware": middleware})
    try:
        connection = HTTPConnection("127.0.0.1", demo.server_port, timeout=30)
        connection.request("GET", "/")
        assert b"</html>" in connection.getresponse().read() and sent.wait(30)
        assert ask(connection, 4) == {"data": ["8"]}
        assert ask(connection, 40) == {"error": "n = 40: must be a whole number from 0 to 9"}
    finally:
        demo.close()


def ask(connection: HTTPConnection, number: int) -> dict[str, Any]:
    """Return what the event answers, or its error."""
    body = json.dumps({"data": [number], "fn_index": 0, "session_hash": f"page{number}"})
    connection.request("POST", "/gradio_api/queue/join", body, {"Content-Type": "application/json"})
    assert connection.getresponse().read()
    connection.request("GET", f"/gradio_api/queue/data?session_hash=page{number}")
    lines = connection.getresponse().read().splitlines()
    messages = [json.loads(line[5:]) for line in lines if line.startswith(b"data:")]
    (output,) = [each["output"] for each in messages if each["msg"] == "process_completed"]
    return {key: output[key] for key in ("data", "error") if output.get(key)}
