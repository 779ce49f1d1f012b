"""A visitor of a page that many share, who asks as a browser does."""

import json
import uuid
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from typing import Any

from sd.ui.hosting.visitors import HEADER, TOKEN_HEADER

BOUNDARY = "b"
JSON, FORM = "application/json", f"multipart/form-data; boundary={BOUNDARY}"
LONGEST_WAIT = 600.0  # seconds for an answer


class Refused(Exception):
    """A request that was not taken, or an event that failed: status and line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(f"{status}: {line}")
        self.status, self.line = status, line


class Visitor:
    """Somebody with a key of their own, and a page that is open."""

    def __init__(self, port: int, token: str = "") -> None:
        """Ask for a key. token: of a class."""
        self.port, self.headers = port, {TOKEN_HEADER: token}
        self.session = uuid.uuid4().hex
        self.headers = {HEADER: json.loads(self.request("POST", "/sd/visitor"))["key"]}
        self.config = json.loads(self.request("GET", "/config"))
        self._events = {each["api_name"]: each for each in self.config["dependencies"]}
        parts = {each["id"]: each["props"] for each in self.config["components"]}
        self._first = {each: props.get("value") for each, props in parts.items()}

    def request(self, method: str, path: str, body: bytes = b"", kind: str = "") -> bytes:
        """Return what a request is answered; raise `Refused`."""
        line = HTTPConnection("127.0.0.1", self.port, timeout=LONGEST_WAIT)
        headers = self.headers | ({"content-type": kind} if kind else {})
        line.request(method, path, body or None, headers)
        answer = line.getresponse()
        data = answer.read()
        line.close()
        if answer.status != 200:
            raise Refused(answer.status, data.decode(errors="replace"))
        return data

    def upload(self, name: str, data: bytes) -> dict[str, Any]:
        """Send a file; return it as an event takes it."""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"'
        body = head.encode() + b"\r\n\r\n" + data + f"\r\n--{BOUNDARY}--\r\n".encode()
        (path,) = json.loads(self.request("POST", "/gradio_api/upload", body, FORM))
        return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def ask(self, name: str, *values: Any, **about: Any) -> list[Any]:
        """Return what an event by its name gives last, for values of its first fields.

        The other fields hold what they show at first; about: what the browser tells of the event.
        """
        return self.send(*self.event(name, values), about)

    def event(self, name: str, values: Sequence[Any]) -> tuple[int, list[Any]]:
        """Return the number of an event and the values of all its fields; see `ask`."""
        event = self._events[name]
        shown = [self._first[each] for each in event["inputs"]]
        return event["id"], [*values, *shown[len(values) :]]

    def join(self, event: int, values: list[Any], about: Mapping[str, Any] | None = None) -> None:
        """Put an event into the queue; raise `Refused`."""
        asked = {"data": values, "fn_index": event, "session_hash": self.session}
        asked |= {"event_data": about} if about else {}
        self.request("POST", "/gradio_api/queue/join", json.dumps(asked).encode(), JSON)

    def listen(self) -> HTTPConnection:
        """Return the line on which the page's answers come; closing it is leaving the page."""
        line = HTTPConnection("127.0.0.1", self.port, timeout=LONGEST_WAIT)
        address = f"/gradio_api/queue/data?session_hash={self.session}"
        line.request("GET", address, headers=self.headers)
        return line

    def load(self) -> None:
        """Ask, one after the other, what a page asks for when it is opened."""
        self.request("GET", "/")
        for each in self.config["dependencies"]:
            if any(target[1] == "load" for target in each["targets"]):
                self.send(each["id"], [self._first[field] for field in each["inputs"]])

    def send(
        self, event: int, values: list[Any], about: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """Put an event into the queue and wait for its end; raise `Refused`."""
        self.join(event, values, about)
        told = self.request("GET", f"/gradio_api/queue/data?session_hash={self.session}")
        outcome: list[Any] = []
        for line in told.split(b"\n"):
            message = json.loads(line[5:]) if line.startswith(b"data:") else {"msg": ""}
            if message["msg"] == "process_completed":
                if not message["success"]:
                    raise Refused(200, str(message["output"].get("error")))
                outcome = message["output"].get("data", outcome) or outcome
        return outcome
