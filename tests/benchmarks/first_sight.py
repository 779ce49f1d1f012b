"""What a person meets on the page: its words, its ways, whether it jumps, whom it leaves out.

    python -m tests.benchmarks.first_sight                         all parts, as below
    python -m tests.benchmarks.first_sight rest axe --looks LOOKS  some parts; pictures of each look
    python -m tests.benchmarks.first_sight start --against OLD     the time from address to tabs
    python -m tests.benchmarks.first_sight rest --tree OLD         another tree's page

parts    components of the page, and pairs of a component and an event that something listens to
rest     of each tab as it opens, at 1280 x 800 and 390 x 844: words in sight, height, places where
         the Tab key stops, targets under 44 pixels (390)
shift    the sum of Chromium's layout shifts while a tab loads, while its slider is dragged, and
         while four pictures are drawn; all count, also those just after a press
axe      what axe finds in each tab, with each tool opened in turn, at both sizes, light and dark;
         with the tools' targets under 44 pixels and their words of English on the Chinese page
way      a newcomer's way with 60 photographs, made from the bundled one: presses until the first
         sample of one's own run is seen and until one's own model has drawn; seconds from the first
         step to that sample; shifts meanwhile. The dialog of the system counts as one press.
idle     processor time while one tab is open and nobody asks (tests.benchmarks.page idle has more)
start    from the address to the tabs, in a window that has nothing kept, against another tree

Words: whatever between spaces has a letter, in text, fields and choices that are in sight, wherever
one scrolls to. Status 1: a bound is broken, and told last. Needs playwright, Chromium and
axe-playwright-python.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.noise_page import FLAGS
from tests.benchmarks.page import CHROMIUM, IDLE_TARGET, share
from tests.benchmarks.timing import Ratio, alternate, peer
from tests.helpers.newcomer import Hand, draw_with_it, train_photos
from tests.helpers.photos import make_photos
from tests.helpers.serving import ROOT, START_SECONDS, Server, answers

SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
WIDE, NARROW = (1280, 800), (390, 844)
TABS = ("denoise", "noise", "train")
NAMES = re.compile(r"^(Denoise|Draw|Noise|Train|去噪|画|加噪|训练)")
DRAW = "#denoise-go:visible"
STAGE = "#noise-t, .player, #train-timeline, #train-film"
TOOLS = ".tools button:visible, [role=tabpanel]:visible button.label-wrap:visible"
QUIET, LONGEST = 4.0, 60.0  # seconds without a change until a tab counts as at rest; at most
COMMAND = "python -m sd "  # the language of a terminal
PRODUCTS = {"API", "DPM-Solver", "Gradio", "M", "K", "MiB", "GiB", "Ctrl", "Shift", "Z"}
MOVES, PHOTOS = 24, 60  # places of a drag; pictures
COUNT = """
import json
from app import build_app
page = build_app().get_config_file()
told = sum(len(each["targets"]) for each in page["dependencies"])
print(json.dumps({"components": len(page["components"]), "triggers": told}))
"""
BOUNDS = {  # the most there may be of each figure
    "components": 221,
    "triggers": 137,
    "words": 130,
    "controls": 16,
    "height 1280": 900,
    "height 390": 1700,
    "sideways": 0,
    "small": 0,
    "english": 0,
    "axe": 0,
    "shift": 0.03,
    "presses to the first own sample": 5,
    "presses to the first own drawing": 7,
    "seconds from the first step to its sample": 5.0,
    "idle": IDLE_TARGET,
    "address to tabs": 0.60,
}


class Found(NamedTuple):
    """A figure, the bound it belongs to, and what it is made of."""

    name: str
    value: float
    bound: str = ""
    parts: Sequence[str] = ()

    @property
    def breaks(self) -> bool:
        """Whether it lies above its bound; without one it does not."""
        return bool(self.bound) and self.value > BOUNDS[self.bound]

    def __str__(self) -> str:
        """Return it in words."""
        value = f"{self.value:.3f}".rstrip("0").rstrip(".")
        mark = "  <-- BROKEN" if self.breaks else ""
        return f"{self.name}: {value}" + (
            f" (at most {BOUNDS[self.bound]}){mark}" if self.bound else ""
        )


@contextmanager
def serving(tree: Path) -> Iterator[Server]:
    """Yield a tree's page in an empty home, once it answers."""
    with tempfile.TemporaryDirectory() as name:
        (home := Path(name) / "home").mkdir()
        server = Server(home, Path(name))
        words = [sys.executable, "app.py", "--port", str(server.port)]
        with server.log.open("ab") as log:
            server.child = subprocess.Popen(words, cwd=tree, env=server.env, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        try:
            while not answers(server.address):
                assert server.child.poll() is None and time.monotonic() < end, server.told()[-2000:]
                time.sleep(0.1)
            yield server
        finally:
            server.child.terminate()
            server.child.wait(30)


class Site:
    """A page that is served, and windows of a browser to look at it."""

    def __init__(self, browser: Any, server: Server, tree: Path, looks: Path | None) -> None:
        self.browser, self.server, self.tree, self.looks = browser, server, tree, looks

    @contextmanager
    def window(self, size: tuple[int, int] = WIDE, scheme: str = "light", **more: Any) -> Any:
        """Yield the page in a window that has nothing kept, once its tabs are there."""
        options = {"viewport": dict(zip(("width", "height"), size, strict=True)), **more}
        options.update(color_scheme=scheme, has_touch=size == NARROW)
        context = self.browser.new_context(**options)
        try:
            page = context.new_page()
            page.add_init_script(SCRIPT)
            page.goto(self.server.address)
            page.wait_for_selector("[role=tab]")
            yield page
        finally:
            context.close()

    def keep(self, page: Any, name: str) -> None:
        """Keep a picture of the whole page, where pictures are asked for."""
        if self.looks:
            page.screenshot(path=self.looks / f"{name}.png", full_page=True)


def tabs(page: Any) -> Iterator[str]:
    """Open one tab after the other, and yield the name of each, settled."""
    for place, name in enumerate(order(page)):
        page.locator("[role=tab]").nth(place).click()
        settle(page)
        yield name


def settle(page: Any) -> None:
    """Wait until neither words nor height have changed for a while."""
    seen, since, end = None, time.monotonic(), time.monotonic() + LONGEST
    while time.monotonic() < min(since + QUIET, end):
        page.wait_for_timeout(250)
        now = page.evaluate("[sight.height(), sight.texts().join(), sight.pictures()]")
        if now != seen:
            seen, since = now, time.monotonic()


def order(page: Any) -> list[str]:
    """Return the tabs as they stand, by their names here."""
    told = {"T": "train", "训": "train", "N": "noise", "加": "noise"}
    shown = page.locator("[role=tab]").all_inner_texts()
    return [told.get(each.strip()[:1], "denoise") for each in shown[:3]]


def go_to(page: Any, tab: str) -> None:
    """Open a tab."""
    page.locator("[role=tab]").nth(order(page).index(tab)).click()


def tools(page: Any) -> Iterator[str]:
    """Open the tools of the shown tab one after the other, and yield the word on each."""
    for place in range(page.locator(TOOLS).count()):
        button = page.locator(TOOLS).nth(place)
        told = button.inner_text().strip().replace("\n", " ")
        button.click()
        page.wait_for_timeout(600)
        yield told
        page.locator(TOOLS).nth(place).click()
        page.wait_for_timeout(300)


def count_parts(site: Site) -> Iterator[Found]:
    """Count the parts of the page, in a process of its own."""
    line = [sys.executable, "-c", COUNT]
    done = subprocess.run(line, cwd=site.tree, env=site.server.env, capture_output=True, check=True)
    for name, value in json.loads(done.stdout.splitlines()[-1]).items():
        yield Found(name, value, name)


def words_in(texts: Sequence[str]) -> list[str]:
    """Return what between spaces has a letter."""
    return [word for text in texts for word in text.split() if re.search(r"[^\W\d_]", word)]


def look_at_rest(site: Site) -> Iterator[Found]:
    """Measure each tab as it opens."""
    for size in (WIDE, NARROW):
        with site.window(size) as page:
            for tab in tabs(page):
                where = f"{tab} at {size[0]}"
                words, controls = (
                    page.evaluate(f"sight.{each}()") for each in ("texts", "controls")
                )
                height, wide = page.evaluate("[sight.height(), sight.width()]")
                yield Found(f"words, {where}", len(words_in(words)), "words", words)
                yield Found(f"controls, {where}", len(controls), "controls", controls)
                yield Found(f"height, {where}", height, f"height {size[0]}")
                yield Found(f"pixels sideways, {where}", wide - size[0], "sideways")
                if size == NARROW:
                    small = page.evaluate("sight.small()")
                    yield Found(f"small targets, {where}", len(small), "small", small)
                site.keep(page, f"rest-{tab}-{size[0]}")


def shift_of(page: Any, name: str) -> Found:
    """Return the sum of the shifts since the last look."""
    moves = page.evaluate("sight.moves()")
    told = [f"{each['value']:.4f} {' | '.join(each['what'][:3])}" for each in moves]
    return Found(f"shift, {name}", sum(each["value"] for each in moves), "shift", told)


def drag(page: Any) -> bool:
    """Drag the stage's slider from its start to its end; tell whether there is one in sight."""
    sliders = page.locator(f":is({STAGE}) input[type=range]:visible, input#noise-t:visible")
    box = sliders.first.bounding_box() if sliders.count() else None
    if box is None:
        return False
    page.mouse.wheel(0, max(0, box["y"] - 700))
    page.wait_for_timeout(300)
    box["y"] -= page.evaluate("scrollY")
    height = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, height)
    page.mouse.down()
    for place in range(MOVES):
        page.mouse.move(box["x"] + 8 + (box["width"] - 16) * (place + 1) / MOVES, height)
        page.wait_for_timeout(60)
    page.mouse.up()
    page.wait_for_timeout(1000)
    return True


def watch_shifts(site: Site) -> Iterator[Found]:
    """Measure how far things move that a person did not move."""
    for size in (WIDE, NARROW):
        with site.window(size) as page:
            settle(page)
            yield shift_of(page, f"the first load at {size[0]}")
            for tab in tabs(page):
                yield shift_of(page, f"{tab} opened at {size[0]}")
                if drag(page):
                    yield shift_of(page, f"{tab} dragged at {size[0]}")
            go_to(page, "denoise")
            page.wait_for_timeout(1000)
            page.evaluate("sight.moves()")
            page.locator(DRAW).first.click()
            page.wait_for_timeout(1000)
            settle(page)
            yield shift_of(page, f"drawing at {size[0]}")


def look_with_axe(site: Site) -> Iterator[Found]:
    """Let axe look at each tab and each of its tools; told once for each fault and place."""
    axe = peer("axe_playwright_python.sync_playwright").Axe()
    for scheme in ("light", "dark"):
        for size in (WIDE, NARROW):
            with site.window(size, scheme) as page:
                for tab in tabs(page):
                    for tool in chain([""], tools(page)):
                        where = " ".join(filter(None, (tab, tool, f"at {size[0]}", scheme)))
                        site.keep(page, re.sub(r"\W+", "-", where))
                        faults = list(faults_in(axe.run(page).response))
                        yield Found(f"axe, {where}", len(faults), "axe", faults)
                        if tool and size == NARROW and scheme == "light":
                            small = page.evaluate("sight.small()")
                            yield Found(f"small targets, {where}", len(small), "small", small)


def faults_in(response: Any) -> Iterator[str]:
    """Yield each element that axe finds fault with."""
    for fault in response["violations"]:
        for node in fault["nodes"]:
            yield f"{fault['id']} ({fault['impact']}): {' '.join(map(str, node['target']))[:100]}"


def look_for_english(site: Site) -> Iterator[Found]:
    """Walk the words of the Chinese page: each tab, each tool, what is read out as well."""
    with site.window(locale="zh-CN") as page:
        for tab in tabs(page):
            for tool in chain([""], tools(page)):
                site.keep(page, f"zh-{tab}-{tool}")
                where = f"{tab} {tool}".strip()
                for name, way, bound in (("seen", "texts", "english"), ("heard", "spoken", "")):
                    left = english_in(page.evaluate(f"sight.{way}()"))
                    yield Found(f"English words {name}, {where}", len(left), bound, left)


def english_in(texts: Sequence[str]) -> list[str]:
    """Return the words of English in texts of the Chinese page, each with its text."""
    from tests.ui.test_chinese import english  # noqa: PLC0415

    return sorted(
        f"{word}: {text[:60]}"
        for text in texts
        if not text.startswith(COMMAND)
        for word in english(text)
        if word not in PRODUCTS
    )


def go_the_way(site: Site) -> Iterator[Found]:
    """Go from an empty page to a picture drawn with a model of one's own photographs."""
    home = Path(site.server.env["SD_HOME"])
    for size in (WIDE, NARROW):
        with tempfile.TemporaryDirectory() as scratch, site.window(size) as page:
            photos, hand = make_photos(Path(scratch) / "My cats", PHOTOS), Hand(page)
            settle(page)
            page.evaluate("sight.moves()")
            train_photos(hand, photos, by_files=size == NARROW)
            seen = time.time()
            site.keep(page, f"way-first-sheet-{size[0]}")
            bound = "presses to the first own sample"
            yield Found(f"{bound} at {size[0]}", hand.presses, bound)
            bound = "seconds from the first step to its sample"
            yield Found(f"{bound} at {size[0]}", seen - first_step(home), bound)
            yield shift_of(page, f"training at {size[0]}")
            draw_with_it(hand)
            site.keep(page, f"way-drawn-{size[0]}")
            bound = "presses to the first own drawing"
            yield Found(f"{bound} at {size[0]}", hand.presses, bound)


def first_step(home: Path) -> float:
    """Return when the newest run made its first step, in seconds since 1970."""
    journal = max(home.glob("*/events.jsonl"), key=lambda path: path.stat().st_mtime)
    events = map(json.loads, journal.read_text(encoding="utf-8").splitlines())
    return next(float(each["time"]) for each in events if each["event"] == "step")


def look_idly(site: Site, seconds: float) -> Iterator[Found]:
    """Measure what the server takes while one tab is open."""
    with site.window() as page:
        page.wait_for_timeout(10_000)
        yield Found("idle, of a core", share(site.server.child.pid, seconds), "idle")


def seconds_to_tabs(site: Site) -> float:
    """Return how long a window that has nothing kept takes from the address to the tabs."""
    began = time.perf_counter()
    with site.window():
        return time.perf_counter() - began


def compare_start(site: Site, other: Site, rounds: int) -> Iterator[Found]:
    """Open this page and another tree's in turn."""
    works = {"ours": partial(seconds_to_tabs, site), "other": partial(seconds_to_tabs, other)}
    found = alternate(works, rounds)
    ratio = Ratio.of(found["ours"], found["other"])
    told = [f"{name}: {sorted(each)[len(each) // 2]:.2f} s" for name, each in found.items()]
    yield Found("address to tabs, against the other", ratio.median, "address to tabs", told)


def parser() -> argparse.ArgumentParser:
    """Return the reader of the command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("parts", nargs="*", choices=[[], *PARTS, "start"], metavar="PART")
    made.add_argument("--tree", type=Path, default=ROOT, help="whose page; else this one's")
    made.add_argument("--against", type=Path, help="another tree, for start")
    made.add_argument("--rounds", type=int, default=5, help="of start")
    made.add_argument("--seconds", type=float, default=30.0, help="of idle")
    made.add_argument("--looks", type=Path, help="folder for pictures of what was looked at")
    made.add_argument("--json", type=Path, help="file for all figures and what they are made of")
    made.add_argument("--why", action="store_true", help="tell what broken figures are made of")
    return made


PARTS: dict[str, Callable[..., Iterator[Found]]] = {
    "parts": count_parts,
    "rest": look_at_rest,
    "shift": watch_shifts,
    "axe": look_with_axe,
    "chinese": look_for_english,
    "way": go_the_way,
    "idle": look_idly,
}


def measure(args: argparse.Namespace) -> Iterator[Found]:
    """Yield all figures that are asked for."""
    peer("playwright")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    if "start" in args.parts and args.against is None:
        raise SystemExit("start: give the other tree, --against OLD")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        raise SystemExit("Chromium is not installed")
    asked = args.parts or [*PARTS, *(["start"] if args.against else [])]
    with ExitStack() as stack:
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=path, args=FLAGS
        )
        stack.callback(browser.close)
        site = Site(browser, stack.enter_context(serving(args.tree)), args.tree, args.looks)
        for name in asked:
            if name == "start":
                server = stack.enter_context(serving(args.against))
                other = Site(browser, server, args.against, None)
                yield from compare_start(site, other, args.rounds)
            else:
                more = (args.seconds,) if name == "idle" else ()
                yield from PARTS[name](site, *more)


def main(words: Sequence[str] | None = None) -> int:
    """Print each figure beside its bound; return 1 where one is broken."""
    args = parser().parse_args(words)
    if args.looks:
        args.looks.mkdir(parents=True, exist_ok=True)
    found = []
    for figure in measure(args):
        found.append(figure)
        print(figure, flush=True)
        if args.why and figure.breaks:
            print(*(f"    {part}" for part in figure.parts), sep="\n", flush=True)
    if args.json:
        args.json.write_text(json.dumps([each._asdict() for each in found], indent=1))
    broken = [each for each in found if each.breaks]
    print(f"{len(found)} figures, {len(broken)} above their bounds", *broken, sep="\n  ")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
