"""What showing costs: a sampling read live by a client, and by Chromium, against the plain call.

    python -m tests.benchmarks.live [--rounds 5] [--browser]

16 pictures of 32 pixels with the bundled model, a plain run of at least five seconds. The page runs
in a process of its own; the plain call runs in one too, on as many threads. The two alternate.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import expect, sync_playwright

from tests.helpers.serving import ROOT, served

COUNT, LEAST_SECONDS = 16, 5.0
PLAIN = """
import json, sys, time
from sd.common.threads import share_cores
share_cores()
from sd import load_checkpoint
from sd.common.device import choose
machine = choose().apply()
model = load_checkpoint("checkpoints/emoji32", machine.device)
for line in sys.stdin:
    steps = int(line)
    sampling = model.sampling("dpmpp_2m", steps)
    began = time.perf_counter()
    sampling.sample(model.denoiser, model.shape, list(range(16)), machine.device)
    print(json.dumps(time.perf_counter() - began), flush=True)
"""


class Plain:
    """The plain call in a process of its own, warm."""

    def __init__(self) -> None:
        words = [sys.executable, "-c", PLAIN]
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)

    def seconds(self, steps: int) -> float:
        """Return how long a plain sampling of so many steps takes."""
        assert self.child.stdin and self.child.stdout
        self.child.stdin.write(f"{steps}\n")
        self.child.stdin.flush()
        return float(json.loads(self.child.stdout.readline()))


def reading(address: str) -> Callable[[int], float]:
    """Return what times a sampling that a client of the `/denoise` endpoint reads to its end.

    Plain HTTP, as with curl, and every picture is fetched. gradio_client would do the same, but
    polls meanwhile and so takes more than a tenth of a core from the sampling.
    """
    call = f"{address}gradio_api/call/denoise"

    def seconds(steps: int) -> float:
        told = [0, COUNT, 0, "fixed_small", "trailing", True, "", "", 1, True, ""]
        asked = ["emoji32", "dpmpp_2m", steps, *told]
        body = json.dumps({"data": asked}).encode()
        headers = {"Content-Type": "application/json"}
        began, pictures = time.perf_counter(), 0
        with urllib.request.urlopen(urllib.request.Request(call, body, headers)) as answer:
            event = json.load(answer)["event_id"]
        with urllib.request.urlopen(f"{call}/{event}") as lines:
            for kind, told in zip(lines, lines, strict=False):
                if kind.strip() == b"event: generating":
                    for picture in json.loads(told.partition(b": ")[2])[:2]:
                        with urllib.request.urlopen(picture["url"]) as file:
                            pictures += bool(file.read())
                next(lines)
        assert pictures > 2
        return time.perf_counter() - began

    return seconds


def looking(page: Any) -> Callable[[int], float]:
    """Return what times a sampling from the click to the last step on the screen.

    The page begins with the settings of its example; what that asks for is taken away.
    """
    page.locator("#denoise-player .sd-player[data-ready]").wait_for()
    chips, box = page.locator(".ask-chip"), page.locator(".ask-input")
    expect(chips).not_to_have_count(0)
    for _ in range(chips.count()):
        box.press("Backspace")
    expect(chips).to_have_count(0)
    set_field(page, "count", COUNT)

    def seconds(steps: int) -> float:
        set_field(page, "steps", steps)
        page.wait_for_timeout(1500)
        return float(page.evaluate(CLICK_AND_WAIT, steps)) / 1000

    return seconds


def set_field(page: Any, name: str, value: int) -> None:
    """Fill a field of all settings, which open over the stage and close again."""
    page.locator(".ask-all").click()
    field = page.locator(f"#denoise-settings [data-name={name}] input[type=number]")
    field.fill(str(value))
    field.press("Tab")
    page.locator(".ask-all").click()


# The line says "N steps in ..." only at the end, together with the last frame. Looking at it must
# cost next to nothing: no layout, no frames.
CLICK_AND_WAIT = """(steps) => new Promise((done) => {
  const began = performance.now();
  document.querySelector("#denoise-go").click();
  setTimeout(() => {
    const timer = setInterval(() => {
      const line = document.querySelector("#denoise-status").textContent.trim();
      if (!line.startsWith(`${steps} steps in`)) return;
      clearInterval(timer);
      done(performance.now() - began);
    }, 20);
  }, 500);
})"""


def compare(
    name: str, plain: Plain, shown: Callable[[int], float], steps: int, rounds: int
) -> None:
    """Time the two in turn and print medians, the ratio and the difference."""
    shown(steps)
    pairs = []
    for _ in range(rounds):
        pairs.append((plain.seconds(steps), shown(steps)))
    alone, seen = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    more = statistics.median(b - 1.05 * a for a, b in pairs)
    print(
        f"{name}: plain {alone:.2f} s, shown {seen:.2f} s, ratio {ratio:.3f} "
        f"(each {', '.join(f'{b / a:.3f}' for a, b in pairs)}), beyond 1.05: {more:+.2f} s"
    )


def main() -> None:
    """Measure both ways of looking."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--browser", action="store_true", help="measure with Chromium too")
    flags = parser.parse_args()
    plain = Plain()
    each = min(plain.seconds(50) for _ in range(2)) / 50
    steps = min(1000, max(50, round(1.15 * LEAST_SECONDS / each / 50) * 50))
    print(f"{steps} steps of {COUNT} pictures, about {each * steps:.1f} s")
    with tempfile.TemporaryDirectory() as scratch, served(Path(scratch), Path(scratch)) as address:
        compare("client", plain, reading(address), steps, flags.rounds)
        if flags.browser:
            with sync_playwright() as playwright:
                words = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
                path = shutil.which("chromium")
                browser = playwright.chromium.launch(executable_path=path, args=words)
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(f"{address}#denoise")
                page.wait_for_selector("[role=tab]")
                compare("Chromium", plain, looking(page), steps, flags.rounds)
                browser.close()
    plain.child.kill()


if __name__ == "__main__":
    main()
