"""What the page costs: until it answers, while nobody asks, under a drag, and beside a sampling.

    python -m tests.benchmarks.page start [--rounds 5] [--json]
    python -m tests.benchmarks.page idle [--seconds 60] [--json]
    python -m tests.benchmarks.page slider
    python -m tests.benchmarks.page live [--rounds 5]

start: seconds from the start of the process until `/` answers, in an empty SD_HOME, against a bare
gradio page with one line of Markdown; the two alternate, the first round warms up. "Loaded" is when
the process has mapped its last library. Then two commands that need no torch, against `pass`.
idle: processor time of the server and its children as a share of one core: without a tab, with one
that shows the bundled run, and with one that shows an ended run of two steps, which may live again.
slider and live run tests.benchmarks.noise_page and, with Chromium, tests.benchmarks.live.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sd.training.planning import memory
from tests.benchmarks.noise_page import FLAGS
from tests.benchmarks.timing import Ratio, alternate, medians, peer, tell
from tests.helpers.serving import ROOT, START_SECONDS, Server
from tests.helpers.serving import answers as has_answered

START_TARGET, IDLE_TARGET, LIVE_TARGET = 1.15, 0.01, 1.05
POLL_SECONDS = 0.01  # between two looks whether the page answers
QUIET_SECONDS = 3.0  # without a new library: all are loaded
SETTLED_SECONDS = 10.0  # that a tab gets to load before it counts as idle
PAGES = ("ours", "bare")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
BARE = """
import sys
import gradio as gr
with gr.Blocks(analytics_enabled=False) as demo:
    gr.Markdown("A page.")
options = dict.fromkeys(("run_history", "ssr_mode", "enable_monitoring", "pwa"), False)
demo.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), show_error=True, **options)
"""
TRAINING = ["-m", "sd", "train", "starter", "--preset", "tiny", "--steps", "2"]
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "sd --help": ["-m", "sd", "--help"],
    "sd info FILE.ini": ["-m", "sd", "info", "sd/config/presets/tiny.ini"],
}


def words_of(page: str, server: Server) -> list[str]:
    """Return what Python is started with for a page; the bare one lies beside the server's log."""
    if page == "ours":
        return ["app.py", "--port", str(server.port)]
    file = server.log.with_name("bare.py")
    file.write_text(BARE)
    return [str(file), str(server.port)]


@contextmanager
def running(page: str) -> Iterator[Server]:
    """Yield a page that has just been started in an empty home, and end it."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "home").mkdir()
        server = Server(scratch / "home", scratch)
        line = [sys.executable, *words_of(page, server)]
        with server.log.open("ab") as log:
            server.child = subprocess.Popen(line, cwd=ROOT, env=server.env, stdout=log, stderr=log)
        try:
            yield server
        finally:
            server.end(signal.SIGTERM)


def await_answer(server: Server) -> None:
    """Wait until `/` answers with status 200."""
    end = time.monotonic() + START_SECONDS
    while not has_answered(server.address):
        assert server.child.poll() is None and time.monotonic() < end, server.told()[-2000:]
        time.sleep(POLL_SECONDS)


def libraries(pid: int) -> set[str]:
    """Return the shared libraries that a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[-1] for line in lines if ".so" in line}


def await_libraries(pid: int) -> tuple[float, bool]:
    """Wait until no more come; return when the last one did, and whether torch is among them."""
    known, changed = libraries(pid), time.perf_counter()
    while time.perf_counter() < changed + QUIET_SECONDS:
        time.sleep(0.1)
        if len(now := libraries(pid)) > len(known):
            known, changed = now, time.perf_counter()
    return changed, any("libtorch" in name for name in known)


def peak(pid: int) -> float:
    """Return the most memory that a process has had resident, in MiB."""
    return memory._lines(memory.PROC / str(pid) / "status")["VmHWM"] / 2**20


def started(page: str) -> dict[str, float]:
    """Start a page once; return seconds until it answers and has loaded all, and its peaks."""
    began = time.perf_counter()
    with running(page) as server:
        await_answer(server)
        answers, so_far = time.perf_counter() - began, peak(server.child.pid)
        loaded, torch = await_libraries(server.child.pid)
        found = {"answers": answers, "loaded": loaded - began, "torch": torch}
        return {**found, "answers_mib": so_far, "loaded_mib": peak(server.child.pid)}


def command_seconds(words: Sequence[str]) -> float:
    """Return how long Python takes for a command."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def imports_torch(words: Sequence[str]) -> bool:
    """Tell whether a command imports torch."""
    line = [sys.executable, "-X", "importtime", *words]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    return any(told.rpartition("|")[2].strip() == "torch" for told in done.stderr.splitlines())


def command_figures(rounds: int) -> dict[str, Any]:
    """Return the commands' seconds, how many times those of `pass`, and whether torch came in."""
    found = alternate({name: partial(command_seconds, COMMANDS[name]) for name in COMMANDS}, rounds)
    nothing = next(iter(found.values()))
    return {
        name: {
            "seconds": statistics.median(times),
            "ratio": Ratio.of(times, nothing),
            "torch": imports_torch(COMMANDS[name]),
        }
        for name, times in found.items()
    }


def start(args: argparse.Namespace) -> dict[str, Any]:
    """Measure how both pages and the commands start."""
    found: Any = alternate({page: partial(started, page) for page in PAGES}, args.rounds)
    figures: dict[str, Any] = {
        page: medians({key: [each[key] for each in all_] for key in all_[0]})
        for page, all_ in found.items()
    }
    ours, bare = ([each["answers"] for each in found[page]] for page in PAGES)
    figures["ratio"] = {"found": Ratio.of(ours, bare), "target": START_TARGET}
    return {**figures, "commands": command_figures(args.rounds)}


def start_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what `start` has found in words."""
    for page in PAGES:
        each = figures[page]
        torch = "with torch" if each["torch"] else "no torch"
        yield f"{page}: / answers after {each['answers']:.2f} s, {each['answers_mib']:.0f} MiB"
        yield f"  loaded after {each['loaded']:.2f} s, {each['loaded_mib']:.0f} MiB, {torch}"
    yield f"ours / bare until / answers: {figures['ratio']['found']}; target {START_TARGET}"
    for name, each in figures["commands"].items():
        torch = "with torch" if each["torch"] else "no torch"
        yield f"{name}: {each['seconds']:.3f} s, {each['ratio']} times pass, {torch}"


def used(pid: int) -> float:
    """Return the processor seconds of a process and its children, the living and the ended."""
    ticks, children = {}, {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # a process may end meanwhile
            words = file.read_text().rpartition(")")[2].split()
            number = int(file.parent.name)
            ticks[number] = sum(map(int, words[11:15]))  # fields 14 to 17 of proc(5)
            children.setdefault(int(words[1]), []).append(number)
    family = [pid]
    for member in family:
        family += children.get(member, [])
    return sum(ticks.get(member, 0) for member in family) / os.sysconf("SC_CLK_TCK")


def share(pid: int, seconds: float) -> float:
    """Return the share of one core that a process takes for so many seconds."""
    before, began = used(pid), time.perf_counter()
    time.sleep(seconds)
    return (used(pid) - before) / (time.perf_counter() - began)


@contextmanager
def tab(address: str) -> Iterator[None]:
    """Keep the page open in Chromium."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        raise SystemExit("Chromium is not installed")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.wait_for_selector("[role=tab]")
        time.sleep(SETTLED_SECONDS)
        yield
        browser.close()


def idle(args: argparse.Namespace) -> dict[str, Any]:
    """Measure what the served page takes while nobody asks for anything."""
    peer("playwright")
    with running("ours") as server:
        await_answer(server)
        await_libraries(server.child.pid)
        found = {"no tab": share(server.child.pid, args.seconds)}
        with tab(server.address):
            found["one tab"] = share(server.child.pid, args.seconds)
        run = Path(server.env["SD_HOME"]) / "own"
        line = [sys.executable, *TRAINING, "--run", str(run)]
        subprocess.run(line, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        with tab(f"{server.address}?run={run.name}"):
            found["one tab, a run of one's own"] = share(server.child.pid, args.seconds)
    return {"shares": found, "target": IDLE_TARGET}


def idle_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what `idle` has found in words."""
    for name, found in figures["shares"].items():
        yield f"{name}: {found:.2%} of a core; target under {IDLE_TARGET:.0%}"


def run_other(name: str, target: str, *flags: str) -> None:
    """Run another benchmark that needs a browser, beside its target."""
    peer("playwright")
    print(f"target: {target}")
    module = import_module(f"tests.benchmarks.{name}")
    with suppress(SystemExit), patch.object(sys, "argv", [name, *flags]):
        module.main()  # it may end with status 1 where the target is missed


def parser() -> argparse.ArgumentParser:
    """Return the reader of the command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = made.add_subparsers(dest="command", required=True)
    starting, idling, _, live = map(commands.add_parser, ("start", "idle", "slider", "live"))
    for each in (starting, live):
        each.add_argument("--rounds", type=int, default=5)
    idling.add_argument("--seconds", type=float, default=60.0)
    for each in (starting, idling):
        each.add_argument("--json", action="store_true", help="for programs")
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Measure one of the four and print it beside its target."""
    args = parser().parse_args(words)
    if args.command == "slider":
        run_other("noise_page", "30 pictures a second, no request")
    elif args.command == "live":
        flags = ("--rounds", str(args.rounds), "--browser")
        run_other("live", f"ratio {LIVE_TARGET}", *flags)
    else:
        measure, lines = {"start": (start, start_lines), "idle": (idle, idle_lines)}[args.command]
        figures = measure(args)
        tell(figures, lines(figures), args.json)


if __name__ == "__main__":
    main()
