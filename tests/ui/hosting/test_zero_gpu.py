"""A GPU that is lent by the call, with a stand-in for the package that lends it."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sd import runs
from sd.runs import process
from sd.runs.worker import begin
from sd.ui.hosting import zero_gpu
from sd.ui.hosting.visitors import HEADER, SECRET_NAME, Keys
from tests.helpers.run_folders import tiny
from tests.helpers.serving import Server
from tests.helpers.visiting import Visitor

SECONDS = float(os.environ.get("GPU_SECONDS", "2"))  # of a slice of training; 28 on a real page
SECRET = "a secret of the tests"
PATIENCE = 300.0  # seconds until something is given up
NEEDS_SPACES = pytest.mark.skipif(
    not importlib.util.find_spec("spaces"), reason="needs the package spaces"
)
WITHOUT_GPU = """
import spaces
import spaces.zero.torch
for name in ("init", "move", "size"):  # what a machine without the GPU has to leave out
    setattr(spaces.zero.torch, name, lambda *_, **__: 0)
"""
PAGE = f"""
{WITHOUT_GPU}
from sd.ui.denoise import gpu as drawing
from sd.ui.train import gpu as training
drawing.DEVICE = training.DEVICE = "cpu"
training.SECONDS = {SECONDS}
import app
app.main()
"""
SAMPLING = f"""
{WITHOUT_GPU}
import numpy as np
from sd.generation.recipe import Recipe
from sd.runs import default_home
from sd.ui import state
from sd.ui.denoise import gpu
gpu.DEVICE = "cpu"
with state.use(state.Shared()):
    recipe = Recipe(model="emoji32", steps=3, count=1, seed=7)
    steps = list(gpu.lent_records(recipe, default_home()))[1:]
    half = gpu.lent_records(recipe, default_home())
    next(half)
    half.close()
from sd.generation.records import sample_records
from sd.generation.registry import load_recipe_model
source = load_recipe_model(default_home(), recipe, "cpu")
here = list(sample_records(recipe, source, "cpu"))[1:]
print(len(steps), max(float((a.x_t - b.x_t).abs().max()) for a, b in zip(steps, here)))
"""


class Lender(ThreadingHTTPServer):
    """A stand-in for what lends a Space its GPU; `asked` is what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Lending)
        self.asked: list[tuple[str, dict[str, str]]] = []

    def environment(self) -> dict[str, str]:
        """Return what a Space tells its page."""
        address = f"http://127.0.0.1:{self.server_port}"
        return {zero_gpu.NAME: "true", "SPACES_ZERO_DEVICE_API_URL": address, "NO_PROXY": "*"}

    def wait(self, count: int) -> None:
        """Wait until there were so many questions."""
        end = time.monotonic() + PATIENCE
        while len(self.asked) < count:
            assert time.monotonic() < end, self.asked
            time.sleep(0.01)


class Lending(BaseHTTPRequestHandler):
    """One question to it."""

    server: Lender

    def do_POST(self) -> None:
        """Say yes."""
        parts = urlsplit(self.path)
        about = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.server.asked.append((parts.path, about))
        answer = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def lender() -> Iterator[Lender]:
    server = Lender()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.mark.slow
@NEEDS_SPACES
def test_with_the_package_itself_a_sampling_is_one_loan(lender: Lender, tmp_path: Path) -> None:
    environment = {**os.environ, **lender.environment(), "SD_HOME": str(tmp_path)}
    words = [sys.executable, "-c", SAMPLING]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, far = done.stdout.split()[-2:]
    assert int(count) == 3 and float(far) < 2 / 255
    assert [path for path, _ in lender.asked] == ["/schedule", "/allow", "/release"] * 2
    for path, about in lender.asked:
        if path == "/schedule":
            assert 10 < float(about["durationSeconds"]) <= 60
        assert path != "/release" or about["fail"] == "false"


@pytest.fixture
def visitor(lender: Lender, tmp_path: Path) -> Iterator[Visitor]:
    """A visitor of a page that is lent a GPU."""
    (tmp_path / "home").mkdir()
    server = Server(tmp_path / "home", tmp_path, ("-c", PAGE))
    server.env |= {**lender.environment(), "SD_MODE": "public", SECRET_NAME: SECRET}
    server.start()
    yield Visitor(server.port)
    server.end(signal.SIGTERM)
    assert "Traceback" not in server.told(), server.told()[-3000:]


@pytest.mark.slow
@NEEDS_SPACES
def test_a_closed_page_gives_the_gpu_back(lender: Lender, visitor: Visitor) -> None:
    assert [path for path, _ in lender.asked] == ["/startup-report"]
    visitor.join(*visitor.event("denoise", ["emoji32", "ddpm", 1000, 0, 16]))
    line = visitor.listen()
    answer = line.getresponse()
    lender.wait(3)  # a report, a schedule, an allowance
    while b"process_generating" not in answer.readline():
        pass
    line.sock.close()
    answer.close()
    left = time.monotonic()
    lender.wait(4)
    print(f"given back {time.monotonic() - left:.2f} s after the page was closed")
    assert lender.asked[-1][0] == "/release" and lender.asked[-1][1]["fail"] == "false"


@pytest.mark.slow
@NEEDS_SPACES
def test_a_slice_of_training_is_one_loan(
    lender: Lender, visitor: Visitor, tmp_path: Path, pictures: Path
) -> None:
    name = Keys(SECRET.encode()).visitor_of(visitor.headers[HEADER])
    folder = tmp_path / "home" / "visitors" / str(name) / "mine"
    for step in begin(
        tiny("training.steps=100000", "training.save_every=0"), str(pictures), folder
    ):
        if step.step == 2:
            process.request(folder, process.STOP)
    (folder / process.PROCESS).unlink()  # it was this process, which goes on
    asked = time.monotonic()
    visitor.ask("press", do="on_gpu", run="mine")
    seconds = time.monotonic() - asked
    (now,) = visitor.ask("training_status", "mine")
    print(f"a slice of {SECONDS:g} s: {now['step'] - 2} steps, {seconds:.1f} s in all")
    assert now["state"] == "stopped" and now["step"] > 2 and runs.saved_step(folder) == now["step"]
    questions = ["/startup-report", "/schedule", "/allow", "/release"]
    assert [path for path, _ in lender.asked] == questions
    assert float(lender.asked[1][1]["durationSeconds"]) <= 60
    assert lender.asked[3][1]["fail"] == "false"


@pytest.mark.parametrize(
    ("value", "lent"), [("true", True), ("1", True), ("T", True), ("", False), ("false", False)]
)
def test_a_gpu_is_lent_where_the_space_says_so(value: str, lent: bool) -> None:
    assert zero_gpu.is_lent({"SPACES_ZERO_GPU": value}) is lent
    assert not zero_gpu.is_lent({})


def test_elsewhere_a_generator_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(zero_gpu.NAME, raising=False)
    assert zero_gpu.lend(len)(iter) is iter


def test_what_is_marked_says_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    stand_in = SimpleNamespace(GPU=lambda duration: lambda stream: asked.append(duration) or stream)
    monkeypatch.setitem(sys.modules, "spaces", stand_in)
    monkeypatch.setenv(zero_gpu.NAME, "true")
    assert zero_gpu.lend(len)(iter) is iter and asked == [len]
