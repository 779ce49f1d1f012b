"""What a page bears among strangers: huge bodies, fifty openings at once, one zip twenty times.

    python -m tests.benchmarks.hosting bodies|openings|uploads|sessions [--port 7860]

A page must be running on this machine; its resident memory is read from /proc by its port.
"""

import argparse
import json
import os
import random
import socket
import threading
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

GIGABYTE, PART = 10**9, b"\0" * 2**16
KINDS = (
    "application/json",
    "multipart/form-data; boundary=b",
    "multipart/mixed; boundary=b",
    "application/x-www-form-urlencoded",
    "text/plain",
    "application/octet-stream",
    "image/png",
    "application/xml",
    "application/zip",
    "",
)
ROUTES = (
    *(
        "",
        "config",
        "login",
        "login/",
        "token",
        "svelte/a",
        "assets/a.js",
        "static/a",
        "monitoring",
    ),
    *("theme.css", "manifest.json", "pwa_icon", "%2e%2e/login", "/gradio_api/upload"),
    *("gradio_api/queue/join", "gradio_api/queue/join/", "gradio_api/QUEUE/join"),
    *("gradio_api//queue/join", "gradio_api/queue%2Fjoin", "gradio_api/queue/data?session_hash=a"),
    *("gradio_api/upload", "gradio_api/upload/", "gradio_api/upload?upload_id=a"),
    *("gradio_api/component_server", "gradio_api/component%5Fserver/", "gradio_api/cancel"),
    *("gradio_api/reset", "gradio_api/run/denoise", "gradio_api/api/denoise"),
    *("gradio_api/call/denoise", "gradio_api/call/v2/denoise", "gradio_api/stream/a"),
    *("gradio_api/stream/a/close", "gradio_api/proxy=http://a/b", "gradio_api/file=a"),
    *("gradio_api/vibe-edit", "gradio_api/vibe-code", "gradio_api/process_recording"),
    *("gradio_api/heartbeat/a", "gradio_api/run-history/connect", "gradio_api/info"),
)
MOST_READ, MOST_GROWTH = 17 * 2**20, 64 * 2**20
AT_ONCE, VISITORS, SAME = 8, 50, 20
ZIP_BYTES = 180 * 2**20


def process_on(port: int) -> int:
    """Return the process that listens on a port."""
    wanted = f":{port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    nodes = {
        f"socket:[{line[9]}]" for line in lines if line[1].endswith(wanted) and line[3] == "0A"
    }
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            if any(os.readlink(each) in nodes for each in folder.iterdir()):
                return int(folder.parent.name)
    raise SystemExit(f"no page listens on port {port}")


def resident(process: int) -> int:
    """Return the bytes that a process holds."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def watched(port: int) -> Iterator[dict[str, float]]:
    """Look at a page all the while: its longest answer in seconds, its growth in bytes."""
    process, over = process_on(port), threading.Event()
    before = resident(process)
    seen = {"longest answer": 0.0, "growth": 0.0}

    def look() -> None:
        while not over.wait(0.1):
            began = time.monotonic()
            ask(port, "GET", "/config")
            seen["longest answer"] = max(seen["longest answer"], time.monotonic() - began)

    def weigh() -> None:
        while not over.wait(0.02):
            seen["growth"] = max(seen["growth"], resident(process) - before)

    threads = [threading.Thread(target=each) for each in (look, weigh)]
    for each in threads:
        each.start()
    try:
        yield seen
    finally:
        over.set()
        for each in threads:
            each.join()


def ask(port: int, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, bytes]:
    """Return status and body of an answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request(method, path, body or None, {"Content-Type": kind} if kind else {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def pour(port: int, method: str, route: str, kind: str, chunked: bool) -> tuple[int, int, int]:
    """Send a gigabyte until the page has had enough: bytes taken, status, length of the answer."""
    head = f"{method} /{route} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    head += f"Content-Type: {kind}\r\n" if kind else ""
    head += "Transfer-Encoding: chunked" if chunked else f"Content-Length: {GIGABYTE}"
    part = b"%x\r\n%b\r\n" % (len(PART), PART) if chunked else PART
    first = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
    first = first if "boundary" in kind else b'{"data": ["'
    first = b"%x\r\n%b\r\n" % (len(first), first) if chunked else first
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
        line.sendall(f"{head}\r\n\r\n".encode())
        with suppress(OSError):
            line.sendall(first)
            while sent < GIGABYTE:
                line.setblocking(False)
                with suppress(BlockingIOError):
                    if line.recv(1, socket.MSG_PEEK):
                        break
                line.settimeout(60)
                line.sendall(part)
                sent += len(PART)
        answer = b""
        with suppress(OSError):
            while more := line.recv(2**16):
                answer += more
    return sent, int(answer[9:12] or 0), len(answer.partition(b"\r\n\r\n")[2])


def bodies(port: int) -> None:
    """Send 1 GB of ten kinds to every address, eight at once."""
    tasks = [
        (method, route, kind, chunked)
        for route in ROUTES
        for kind in KINDS
        for method, chunked in (("POST", False), ("POST", True), ("PUT", False), ("GET", True))
    ]
    random.Random(0).shuffle(tasks)
    statuses: Counter[int] = Counter()
    worst: tuple[int, Any] = (0, None)
    longest = 0
    with watched(port) as seen, ThreadPoolExecutor(AT_ONCE) as pool:
        for task, told in zip(tasks, pool.map(lambda each: pour(port, *each), tasks), strict=True):
            sent, status, length = told
            statuses[status] += 1
            worst = max(worst, (sent, task), key=lambda pair: pair[0])
            longest = max(longest, length if status >= 400 else 0)
    print(len(tasks), "bodies; statuses:", dict(statuses), "; most sent:", worst)
    print("longest error:", longest, "bytes;", told_of(seen))


def told_of(seen: dict[str, float]) -> str:
    """Return what was seen of a page, in words."""
    growth = seen["growth"] / 2**20
    return f"resident +{growth:.0f} MiB, longest answer of the page {seen['longest answer']:.2f} s"


def loads(port: int) -> list[tuple[int, list[Any]]]:
    """Return (event, what its fields show at first) of what a page asks for when it is opened."""
    config = json.loads(ask(port, "GET", "/config")[1])
    shown = {each["id"]: each["props"].get("value") for each in config["components"]}
    return [
        (each["id"], [shown[field] for field in each["inputs"]])
        for each in config["dependencies"]
        if any(target[1] == "load" for target in each["targets"])
    ]


def join(port: int, session: str, event: int, values: list[Any]) -> int:
    """Put an event into the queue; return the status."""
    body = {"data": values, "fn_index": event, "session_hash": session}
    return ask(port, "POST", "/gradio_api/queue/join", json.dumps(body).encode(), JSON)[0]


JSON = "application/json"


def ended(port: int, session: str) -> list[dict[str, Any]]:
    """Return with what each event of a session ended."""
    address = f"/gradio_api/queue/data?session_hash={session}"
    lines = ask(port, "GET", address)[1].split(b"\n")
    messages = [json.loads(line[5:]) for line in lines if line.startswith(b"data:")]
    return [each for each in messages if each["msg"] == "process_completed"]


class Opening(NamedTuple):
    """A page that was opened: statuses of its events, how many succeeded, seconds of the clock."""

    statuses: Counter[int]
    succeeded: int
    first_answer: float
    all_there: float


def opened(port: int, events: list[tuple[int, list[Any]]]) -> Opening:
    """Open a page."""
    began, session = time.monotonic(), uuid.uuid4().hex
    ask(port, "GET", "/")
    first = time.monotonic() - began
    statuses = Counter(join(port, session, event, values) for event, values in events)
    done = ended(port, session) if statuses[200] else []
    return Opening(statuses, sum(each["success"] for each in done), first, time.monotonic() - began)


def openings(port: int) -> None:
    """Open one page, then ten at once, then fifty."""
    events, process = loads(port), process_on(port)
    opened(port, events)
    for count in (1, 10, VISITORS):
        before, held = cpu_seconds(process), resident(process)
        with ThreadPoolExecutor(count) as pool:
            found = list(pool.map(lambda _: opened(port, events), range(count)))
        spent = cpu_seconds(process) - before
        statuses = sum((each.statuses for each in found), Counter())
        answers = sorted(each.first_answer for each in found)
        print(
            f"{count} at once: {count * len(events)} events, statuses {dict(statuses)},",
            f"{sum(each.succeeded for each in found)} succeeded;",
            f"first answer p95 {answers[min(count - 1, round(0.95 * count))]:.2f} s,",
            f"all there after {max(each.all_there for each in found):.1f} s;",
            f"{spent / count:.3f} CPU s a page, resident +{(resident(process) - held) >> 20} MiB",
        )


def cpu_seconds(process: int) -> float:
    """Return the seconds of a core that a process has had."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def large_zip() -> bytes:
    """Return a zip of 180 MB of real pictures."""
    file, noise = BytesIO(), random.Random(0)
    with zipfile.ZipFile(file, "w") as packed:
        for number in range(ZIP_BYTES // (3 * 2**18)):
            picture = BytesIO()
            Image.frombytes("RGB", (512, 512), noise.randbytes(3 * 2**18)).save(picture, "BMP")
            packed.writestr(f"{number:05d}.bmp", picture.getvalue())
    return file.getvalue()


def sent(port: int, data: bytes) -> str:
    """Upload a zip as a browser does; return where it lies."""
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="set.zip"\r\n\r\n'
    body, kind = head + data + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"
    status, answer = ask(port, "POST", "/gradio_api/upload", body, kind)
    assert status == 200, answer
    return str(json.loads(answer)[0])


def inspected(port: int, event: int, data: bytes, start: threading.Barrier) -> Any:
    """Upload a zip and have it read; return what was told."""
    start.wait()
    place, session = sent(port, data), uuid.uuid4().hex
    file = {"path": place, "meta": {"_type": "gradio.FileData"}}
    status = join(port, session, event, [[file]])
    return ended(port, session)[0] if status == 200 else status


def event_of(port: int, name: str) -> int:
    """Return the number of a named event."""
    config = json.loads(ask(port, "GET", "/config")[1])
    return next(each["id"] for each in config["dependencies"] if each["api_name"] == name)


def uploads(port: int) -> None:
    """Upload the same 180 MB twenty times within a second."""
    data, start, event = large_zip(), threading.Barrier(SAME), event_of(port, "inspect_data")
    began = time.monotonic()
    with watched(port) as seen, ThreadPoolExecutor(SAME) as pool:
        told = list(pool.map(lambda _: inspected(port, event, data, start), range(SAME)))
    usable = [isinstance(each, dict) and each["success"] for each in told]
    for each in [each for each, fine in zip(told, usable, strict=True) if not fine][:3]:
        print("refused:", str(each)[:300])
    print(f"{sum(usable)} of {SAME} usable after {time.monotonic() - began:.0f} s;", told_of(seen))


def sessions(port: int) -> None:
    """Invent 600 sessions that ask for something, and 25 with names of 4 MB."""
    events = loads(port)
    with watched(port) as seen, ThreadPoolExecutor(AT_ONCE) as pool:
        done = sum(
            each.succeeded for each in pool.map(lambda _: opened(port, events[:1]), range(600))
        )
        told = Counter(join(port, "x" * 4 * 10**6, events[0][0], []) for _ in range(25))
    print(done, "sessions answered; names of 4 MB:", dict(told), ";", told_of(seen))


def main() -> None:
    """Run one of the loads."""
    every: tuple[Callable[[int], None], ...] = (bodies, openings, uploads, sessions)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("load", choices=[each.__name__ for each in every])
    parser.add_argument("--port", type=int, default=7860)
    asked = parser.parse_args()
    next(each for each in every if each.__name__ == asked.load)(asked.port)


if __name__ == "__main__":
    main()
