"""What a day of use leaves behind: memory, threads and open files of the page after many runs.

    python -m tests.benchmarks.growth [--runs 200] [--json]

A page of its own in an empty home is asked by plain HTTP for so many samplings (4 pictures, 4
steps, the bundled model) and then for so many trainings (2 steps of 8 pictures on the starter set,
each to its end). Told are the page's own figures after the first tenth, when all that is loaded
once is there, half of them and all. Trainings have processes of their own, which end with them. All
is one visit: what gradio keeps of each is bounded in app.py.
"""

import argparse
import json
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sd.training.planning import memory
from tests.benchmarks import timing
from tests.helpers.serving import Server

WAIT_SECONDS, POLL_SECONDS = 120.0, 0.2
SAMPLING = ["emoji32", "ddim", 4, 0, 4, 0, "fixed_small", "trailing", True, "", "", 1]
SESSION = "growth"  # one for all: gradio keeps something of each
ENDS = ("stopped", "finished", "failed", "lost")


def ask(address: str, endpoint: str, values: list[Any]) -> Any:
    """Return the last answer of a named endpoint."""
    call = f"{address}gradio_api/call/{endpoint}"
    body = json.dumps({"data": values, "session_hash": SESSION}).encode()
    kind = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(call, body, kind)) as answer:
        event = json.load(answer)["event_id"]
    name, told = "", None
    with urllib.request.urlopen(f"{call}/{event}") as lines:
        for line in map(bytes.decode, lines):
            key, _, rest = line.strip().partition(": ")
            name = rest if key == "event" else name
            if key == "data":
                assert name != "error", rest
                told = json.loads(rest) or told
    return told


def sample(address: str, number: int) -> None:
    """Sample once, with a seed of its own."""
    values = list(SAMPLING)
    values[3] = number
    assert ask(address, "denoise", values)


def train(address: str, number: int) -> None:
    """Train once and wait for the end."""
    asked = ["starter", "tiny", 16, 2, 8, 0, number, "cpu", 0]
    run = ask(address, "start_training", asked)[0]["run"]
    end = time.monotonic() + WAIT_SECONDS
    while (state := ask(address, "training_status", [run])[0]["state"]) not in ENDS:
        assert time.monotonic() < end, state
        time.sleep(POLL_SECONDS)
    assert state == "finished", state


def figures(pid: int) -> dict[str, float]:
    """Return what a process holds: MiB resident, threads, open files and children."""
    place = Path(f"/proc/{pid}")
    resident = memory._lines(place / "status")["VmRSS"] / 2**20
    threads, files = (sum(1 for _ in (place / each).iterdir()) for each in ("task", "fd"))
    children = (place / "task" / str(pid) / "children").read_text().split()
    return {"mib": resident, "threads": threads, "files": files, "children": len(children)}


def watched(
    work: Callable[[str, int], None], server: Server, runs: int
) -> dict[int, dict[str, float]]:
    """Do something so many times; return the page's figures on the way."""
    looks, found = {max(1, runs // 10), max(1, runs // 2), runs}, {}
    for number in range(1, runs + 1):
        work(server.address, number)
        if number in looks:
            found[number] = figures(server.child.pid)
    return found


def measure(runs: int) -> dict[str, Any]:
    """Return the page's figures after samplings and after trainings."""
    with tempfile.TemporaryDirectory() as name:
        (home := Path(name) / "home").mkdir()
        server = Server(home, Path(name))
        try:
            server.start()
            return {work.__name__: watched(work, server, runs) for work in (sample, train)}
        finally:
            server.child.terminate()
            server.child.wait(20)


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was found in words."""
    for name, looks in found.items():
        for number, each in looks.items():
            yield (
                f"{name} {number}: {each['mib']:.0f} MiB, {each['threads']} threads, "
                f"{each['files']} open files, {each['children']} children"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="for programs")
    args = parser.parse_args()
    found = measure(args.runs)
    timing.tell(found, lines(found), args.json)


if __name__ == "__main__":
    main()
