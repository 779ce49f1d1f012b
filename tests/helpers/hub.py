"""A hub on this machine: lists the files of repositories and hands them out, and notes who asks."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Folders as repositories, all at one commit. told: what a file's entry says instead."""

    daemon_threads = True

    def __init__(self, repositories: dict[str, Path], licence: str = "creativeml-openrail-m"):
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories, self.licence = repositories, licence
        self.told: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    """What the hub answers: its list of a model's files, and a file of a revision."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        body, headers = self.body(path)
        if not body and not headers:
            headers = {"X-Error-Code": "RepoNotFound"}
            self.send_response(404)
        else:
            self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def body(self, path: str) -> tuple[bytes, dict[str, str]]:
        for repo, folder in self.server.repositories.items():
            if path.startswith(f"/api/models/{repo}"):
                listed = {"id": repo, "sha": COMMIT, "siblings": self.siblings(folder)}
                listed["cardData"] = {"license": self.server.licence}
                return json.dumps(listed).encode(), {"Content-Type": "application/json"}
            prefix = f"/{repo}/resolve/{COMMIT}/"
            if path.startswith(prefix):
                data = (folder / path.removeprefix(prefix)).read_bytes()
                return data, {"ETag": f'"{digest(data)}"', "X-Repo-Commit": COMMIT}
        return b"", {}

    def siblings(self, folder: Path) -> list[dict[str, Any]]:
        found = []
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            name, data = path.relative_to(folder).as_posix(), path.read_bytes()
            lfs = {"sha256": digest(data), "size": len(data), "pointerSize": 100}
            entry = {"rfilename": name, "size": len(data), "lfs": lfs}
            found.append({**entry, **self.server.told.get(name, {})})
        return found

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def serving(repositories: dict[str, Path]) -> Iterator[Hub]:
    """Serve folders as the repositories of these ids."""
    hub = Hub(repositories)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
