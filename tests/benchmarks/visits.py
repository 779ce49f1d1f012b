"""What a page bears of many visitors for long, and of many picture sets whose settings are changed.

    python -m tests.benchmarks.visits visits [--visitors 50] [--seconds 1800]
    python -m tests.benchmarks.visits fields [--visitors 30] [--seconds 60] [--pictures 500]
    python -m tests.benchmarks.visits greedy [--visitors 50] [--seconds 30]

All start a page of their own in an empty SD_HOME, beside which the visitors run.
visits: all open the page, upload, start a training, watch it, sample, list and now and then delete
everything; at the end no answer may have been an error of the server, and no visitor may have been
told another's word.
fields: each uploads a set of their own, then changes a field every two seconds.
greedy: one sends 200 samplings of 16 pictures in 1,000 steps; the others read a field's meaning
every two seconds.
"""

import argparse
import io
import random
import re
import signal
import statistics
import tempfile
import threading
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from sd.common.encoding import png_bytes
from tests.benchmarks.growth import figures
from tests.helpers.serving import Server
from tests.helpers.visiting import Refused, Visitor

SIDE, EVERY, LOOK = 24, 2.0, 0.5  # pixels of a picture; seconds
TENTHS, GREEDY = 10, 200
FAULT = re.compile(r"unexpected", re.IGNORECASE)  # what the page says of a fault of its own


def make_set(seed: str, count: int) -> bytes:
    """Return a zip of pictures that nobody else has."""
    dice = random.Random(seed)
    with zipfile.ZipFile(file := io.BytesIO(), "w") as packed:
        for number in range(count):
            pixels = dice.randbytes(3 * SIDE * SIDE)
            picture = Image.frombytes("RGB", (SIDE, SIDE), pixels)
            packed.writestr(f"{number}.png", png_bytes(picture))
    return file.getvalue()


class Guest:
    """A visitor who does this and that until time is over, and what came of it."""

    def __init__(self, port: int, number: int) -> None:
        self.port, self.dice = port, random.Random(number)
        self.word = f"z{uuid.uuid4().hex}"  # which nobody else is ever to be told
        self.heard: list[str] = []
        self.told: Counter[str] = Counter()
        self.visitor = Visitor(port)
        self.run = ""

    def visit(self, until: float) -> None:
        """Come and go, and do things in between."""
        doing = (self.load, self.upload, self.watch, self.watch, self.sample, self.list_models)
        doing += (self.leave,) if self.dice.random() < 0.3 else ()
        self.attempt(self.load)
        self.attempt(self.upload)
        while time.monotonic() < until:
            self.attempt(self.dice.choice(doing))
            time.sleep(self.dice.random() * EVERY)

    def attempt(self, what: Callable[[], object]) -> None:
        """Do one thing; note how it ended."""
        try:
            self.heard.append(str(what()))
            self.told["answered"] += 1
        except Refused as refused:
            is_fault = refused.status >= 500 or FAULT.search(refused.line)
            self.told["faults" if is_fault else "refused"] += 1
            self.told[f"  {refused.status} {refused.line[:100]}"] += 1

    def load(self) -> None:
        """Open the page in another tab."""
        self.visitor.session = uuid.uuid4().hex
        self.visitor.load()

    def upload(self) -> object:
        """Bring pictures, and train on them for six seconds."""
        file = self.visitor.upload(f"{self.word}.zip", make_set(self.word, 12))
        (report,) = self.visitor.ask("inspect_data", [file])
        asked = [report["data"], "tiny", 16, 20, 4, 0.001, 7, "cpu", 0.1]
        (begun,) = self.visitor.ask("start_training", *asked)
        self.run = begun["run"]
        return self.visitor.ask("training_status", self.run)

    def watch(self) -> object:
        """Look at one's own run."""
        return self.visitor.ask("training_status", self.run) if self.run else ""

    def sample(self) -> object:
        """Draw with the bundled model."""
        return self.visitor.ask("denoise", "emoji32", "ddim", 4)

    def list_models(self) -> object:
        """Ask for the models."""
        return self.visitor.ask("list_models")

    def leave(self) -> None:
        """Delete everything, and come back as somebody else."""
        self.visitor.request("DELETE", "/sd/visitor")
        self.run = ""
        self.visitor = Visitor(self.port)  # refused where too many came from one address


class Watch(threading.Thread):
    """Looks at what a process holds until it is ended."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.over, self.seen = pid, threading.Event(), [figures(pid)]

    def run(self) -> None:
        """Look."""
        while not self.over.wait(LOOK):
            self.seen.append(figures(self.pid))

    def tell(self) -> None:
        """Print what it held at first, after each tenth of the time, and at most."""
        self.over.set()
        self.join()
        looks = [self.seen[k * (len(self.seen) - 1) // TENTHS] for k in range(TENTHS + 1)]
        for name in ("mib", "threads", "files", "children"):
            most = max(each[name] for each in self.seen)
            shown = ", ".join(f"{each[name]:.0f}" for each in looks)
            print(f"{name}: {shown}; at most {most:.0f}")


def visits(server: Server, count: int, seconds: float, _: int) -> None:
    """Let visitors come and go."""
    guests = [Guest(server.port, number) for number in range(count)]
    watch, until = Watch(server.child.pid), time.monotonic() + seconds
    watch.start()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda guest: guest.visit(until), guests))
    told = sum((guest.told for guest in guests), Counter())
    words = {guest.word for guest in guests} | {guest.run for guest in guests if guest.run}
    foreign = sum(
        any(word in line for line in guest.heard for word in words - {guest.word, guest.run})
        for guest in guests
    )
    print(
        f"{count} visitors, {seconds:.0f} s:",
        *(f"{n} x {what}" for what, n in told.items()),
        sep="\n  ",
    )
    print(f"visitors that were told of another: {foreign}")
    tracebacks = server.told().split("Traceback")[1:]
    print(f"tracebacks in the log: {len(tracebacks)}", *tracebacks[:2], sep="\n")
    watch.tell()


def fields(server: Server, count: int, seconds: float, pictures: int) -> None:
    """Let each visitor change a field of a set of their own every two seconds."""
    takes: list[float] = []

    def change(number: int) -> None:
        visitor = Visitor(server.port)
        file = visitor.upload("mine.zip", make_set(f"{number}", pictures))
        card = {"files": [["/".join(Path(file["path"]).parts[-2:]), "mine.zip"]]}
        visitor.ask("take_pictures", card)
        start.wait()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            visitor.ask("read_fields")
            visitor.ask("describe")
            takes.append(time.monotonic() - began)
            time.sleep(max(0.0, EVERY - takes[-1]))

    start, watch = threading.Barrier(count), Watch(server.child.pid)
    watch.start()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(change, range(count)))
    p95 = statistics.quantiles(takes, n=20)[-1]
    kept = len(list(Path(server.env["SD_HOME"]).rglob("*.survey")))
    middle = statistics.median(takes)
    print(f"{count} visitors, {len(takes)} changes: median {middle:.2f} s, p95 {p95:.2f} s")
    print(f"sets kept as read: {kept}")
    watch.tell()


def greedy(server: Server, count: int, seconds: float, _: int) -> None:
    """Let one visitor ask for far more than a share."""
    takes: list[float] = []
    others, one = [Visitor(server.port) for _ in range(count - 1)], Visitor(server.port)
    admitted, lines = 0, Counter[str]()
    for _ in range(GREEDY):
        try:
            one.join(*one.event("denoise", ["emoji32", "ddpm", 1000, 0, 16]))
            admitted += 1
        except Refused as refused:
            lines[f"{refused.status} {refused.line[:100]}"] += 1

    def change(visitor: Visitor) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            visitor.ask("read_fields")
            takes.append(time.monotonic() - began)
            time.sleep(max(0.0, EVERY - takes[-1]))

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(change, others))
    p95 = statistics.quantiles(takes, n=20)[-1]
    print(f"{GREEDY} samplings of one visitor: {admitted} admitted; {dict(lines)}")
    print(f"{len(others)} others, {len(takes)} events: p95 {p95:.2f} s")
    began = time.monotonic()
    others[0].ask("denoise", "emoji32", "ddim", 4)
    print(f"another's sampling of 4 steps is there after {time.monotonic() - began:.1f} s")


def main() -> None:
    """Run one of the loads beside a page."""
    every = {each.__name__: each for each in (visits, fields, greedy)}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("load", choices=list(every))
    parser.add_argument("--visitors", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--pictures", type=int, default=500)
    asked = parser.parse_args()
    usual = {"visits": (50, 1800.0), "fields": (30, 60.0), "greedy": (50, 30.0)}[asked.load]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "home").mkdir()
        server = Server(scratch / "home", scratch)
        server.env |= {"SD_MODE": "public"}
        server.start()
        try:
            count, seconds = asked.visitors or usual[0], asked.seconds or usual[1]
            every[asked.load](server, count, seconds, asked.pictures)
        finally:
            server.end(signal.SIGTERM)


if __name__ == "__main__":
    main()
