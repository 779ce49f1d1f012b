"""The player in a real browser: in a page of gradio's that streams to it, and as a file alone."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import torch

from sd.diffusion.sampling import SampleStep
from sd.diffusion.schedule import Schedule
from sd.generation.film import Film
from sd.generation.player.one_file import write_html
from sd.generation.player.words import PLAYER_TEXTS
from sd.ui.components import theme
from sd.ui.components.player import content, player, store_chunk
from tests.helpers.films import PIXELS, film_of

pytestmark = pytest.mark.browser

SCHEDULE = Schedule.create("cosine", 1000)
TOTAL = 12
STATE = "({...document.querySelector('.sd-player').dataset})"
PIXEL = """([kind, x, y]) => {
  const canvas = document.querySelector(`canvas[data-kind=${kind}]`);
  return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data].slice(0, 3);
}"""

SIZES = """() => [...document.querySelectorAll("button, input, summary, .sdp-switch label")]
  .filter((each) => each.offsetParent && !each.closest("dialog"))
  .map((each) => (each.matches("label input, dt button") ? each.closest("label, dl > div") : each))
  .map((each) => [each.offsetWidth, each.offsetHeight])"""
RECORD = """() => {
  window.seen = [];
  const player = document.querySelector(".sd-player");
  new MutationObserver(() => seen.push(player.dataset.step)).observe(player, {
    attributeFilter: ["data-step"],
  });
}"""


def step(i: int, total: int = TOTAL, count: int = 4) -> SampleStep:
    """A step whose x_t is as bright as it is far, and whose picture n is darker the larger n is."""
    share = torch.tensor([(i / total) * (count - n) / count for n in range(count)])
    x_t = (2 * share - 1).reshape(-1, 1, 1, 1).expand(count, 3, 16, 16)
    return SampleStep(i, 1000.0 * (total - i) / total, x_t, -x_t, x_t, 0.1)


def grey(i: int, total: int = TOTAL) -> float:
    """The grey of picture 0 at a step."""
    return 255 * i / total


class Gate:
    """Lets a sampling go on when a test says so."""

    def __init__(self) -> None:
        self.parts = threading.Semaphore(0)

    def open(self, parts: int) -> None:
        self.parts.release(parts)


GATE = Gate()


def stream() -> Iterator[dict[str, Any]]:
    """A sampling that hands on two steps at a time, each when the gate opens."""
    film = Film(PIXELS, SCHEDULE, TOTAL, label="live")
    yield content([film.json("begins", running=True)], "en")
    for i in range(1, TOTAL + 1):
        film.add(step(i))
        if i % 2 == 0 and GATE.parts.acquire(timeout=20):
            film.flush(store_chunk)
            yield content([film.json(f"{TOTAL - i} to go", running=True)], "en")
    yield content([film.json("done")], "en")


def lanes() -> dict[str, Any]:
    """Two finished films of different lengths."""
    made = [
        film_of((step(i, n) for i in range(1, n + 1)), SCHEDULE, n, store_chunk, label=f"of {n}")
        for n in (12, 4)
    ]
    return content(made, "en", at=6)


def first_lane() -> dict[str, Any]:
    """The first film of three that will be side by side."""
    made = (step(i, 4) for i in range(1, 5))
    return content([film_of(made, SCHEDULE, 4, store_chunk, label="of 4")], "en", across=3)


def parts() -> dict[str, Any]:
    """A finished film whose pictures come in three parts, opened in the last of them."""
    film = Film(PIXELS, SCHEDULE, TOTAL, label="parts")
    for i in range(1, TOTAL + 1):
        film.add(step(i))
        if i % 4 == 0:
            film.flush(store_chunk)
    return content([film.json("done")], "en", at=10)


def of(count: int) -> dict[str, Any]:
    """A finished film of so many pictures, each with a word."""
    captions = [f"word {n + 1}" for n in range(count)]
    made = (step(i, 4, count) for i in range(1, 5))
    film = film_of(made, SCHEDULE, 4, store_chunk, captions=captions)
    return content([film], "en")


def nodes() -> dict[str, Any]:
    """A finished film, another, and a branch of the first."""
    films = [
        film_of((step(i, n) for i in range(1, n + 1)), SCHEDULE, n, store_chunk, label=f"of {n}")
        for n in (12, 4, 6)
    ]
    others = [
        {"number": n + 1, "parent": 1 if n == 2 else None, "shown": n == 0, "film": n and film}
        for n, film in enumerate(films)
    ]
    return content(films[:1], "en", others)


def opening() -> dict[str, Any]:
    """A finished film that plays once by itself."""
    made = (step(i) for i in range(1, TOTAL + 1))
    return content([film_of(made, SCHEDULE, TOTAL, store_chunk)], "en", opening=True)


def told(event: gr.EventData) -> str:
    return f"{event.lane} {event.i} {event.t:g} {event.picture}"


def went(event: gr.EventData) -> str:
    return f"node {event.node}"


@pytest.fixture(scope="module")
def films(browser: Any) -> Iterator[tuple[str, gr.Blocks]]:
    """The address of a page with a player and what feeds it."""
    with gr.Blocks(delete_cache=(3600, 86400)) as demo:
        shows, out = player("film"), gr.Textbox(elem_id="out")
        feeds: dict[str, Callable[..., Any]] = {"stream": stream, "lanes": lanes, "parts": parts}
        feeds |= {"nodes": nodes, "opening": opening, "first lane": first_lane}
        feeds |= {f"of {count}": partial(of, count) for count in (1, 2, 4, 16)}
        with gr.Row():
            for name, feed in feeds.items():
                gr.Button(name).click(feed, None, shows, show_progress="hidden")
        shows.select(told, None, out, show_progress="hidden")
        shows.click(went, None, out, show_progress="hidden")
    _, url, _ = demo.launch(
        theme=theme.theme(),
        css_paths=theme.CSS_FILES,
        head=f"<script>{theme.script()}</script>",
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
    )
    yield url.rstrip("/"), demo
    demo.close()


@pytest.fixture(scope="module")
def window(browser: Any) -> Iterator[Any]:
    """A window that keeps what a page once fetched."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    yield context
    context.close()


@pytest.fixture
def page(window: Any, films: tuple[str, gr.Blocks]) -> Iterator[Any]:
    opened = window.new_page()
    GATE.parts = threading.Semaphore(0)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.goto(films[0])
    opened.wait_for_selector(".sd-player")
    yield opened
    opened.close()
    assert faults == []


def state(page: Any) -> dict[str, str]:
    found: dict[str, str] = page.evaluate(STATE)
    return found


def at(page: Any, number: int, kind: str = "x_t") -> None:
    """Wait until a step is shown, and see that its picture is that step's."""
    page.wait_for_selector(
        f".sd-player[data-step='{number}'] canvas[data-kind={kind}][data-step='{number}']"
    )
    wanted = grey(number) if kind == "x_t" else 255 - grey(number)
    assert page.evaluate(PIXEL, [kind, 8, 8]) == pytest.approx([wanted] * 3, abs=6)


def box_of(page: Any, selector: str) -> dict[str, float]:
    found: dict[str, float] = page.locator(selector).first.bounding_box()
    return found


def menu(page: Any) -> None:
    """Open the player's menu."""
    if page.locator(".sdp-panel").is_hidden():
        page.locator(".sdp-more").click()


def test_cards_stay_within_one_screen_and_the_strip_keeps_its_height(page: Any) -> None:
    empty = box_of(page, ".sdp-cards")
    for count, across in ((4, 4), (2, 2), (16, 8), (1, 1)):
        page.get_by_role("button", name=f"of {count}", exact=True).click()
        page.wait_for_function(f"document.querySelectorAll('.sdp-card').length === {count}")
        page.wait_for_selector("canvas[data-kind=x_t][data-step='4']")
        boxes = [each.bounding_box() for each in page.locator(".sdp-card").all()]
        assert len({box["y"] for box in boxes}) == count / across
        right = boxes[across - 1]["x"] + boxes[across - 1]["width"]
        room = box_of(page, ".sdp-cards")
        assert right == pytest.approx(room["x"] + room["width"], abs=2)  # they fill the row
        assert room["height"] <= 900 - 390
        assert box_of(page, ".sdp-strip")["height"] == 64
        square = box_of(page, ".sdp-picture")
        assert square["width"] == pytest.approx(square["height"], abs=1)
        if count == 4:
            assert room == empty  # what came first took no more room than was kept for it


def test_a_card_is_chosen_then_enlarged_and_the_keys_go_through_it(page: Any) -> None:
    page.get_by_role("button", name="of 4", exact=True).click()
    page.wait_for_selector("canvas[data-kind=x_t][data-step='4']")
    pick, cards = page.locator(".sdp-card .sdp-pick"), page.locator(".sdp-card")
    pick.nth(2).click()
    assert [card.get_attribute("data-chosen") for card in cards.all()].index("true") == 2
    assert page.locator("dialog[open]").count() == 0
    assert cards.nth(2).locator("figcaption").inner_text() == "word 3"
    page.wait_for_function("document.querySelector('#out textarea').value === '0 4 0 2'")
    pick.nth(2).click()
    large = page.locator("dialog[open]")
    assert "word 3 · step 4 of 4" in large.inner_text()
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".sd-player[data-step='3']")
    page.keyboard.press("ArrowDown")
    page.wait_for_function(
        "document.querySelector('dialog .sdp-told').textContent === 'word 4 · step 3 of 4'"
    )
    page.keyboard.press("Escape")
    large.wait_for(state="detached")
    assert page.locator(".sdp-card[data-chosen=true] .sdp-pick").get_attribute("tabindex") == "0"
    assert page.locator(".sdp-pick[tabindex='0']").count() == 1  # one stop, whatever their number


def test_the_divider_stands_between_both_and_leaves_at_the_last_step(page: Any) -> None:
    page.get_by_role("button", name="of 4", exact=True).click()
    page.wait_for_selector(".sd-player[data-step='4'][data-split='false']")
    assert page.locator(".sdp-cut:visible, .sdp-over:visible").count() == 0
    page.locator(".sdp-slider").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".sd-player[data-split='true'] .sdp-over[data-step='3']")
    assert page.locator(".sdp-card .sdp-over:visible").count() == 4
    box = box_of(page, ".sdp-picture")
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 40, steps=4)
    page.mouse.up()
    cut = page.locator(".sdp-card [role=slider]")
    assert cut.count() == 1 and int(cut.get_attribute("aria-valuenow")) == pytest.approx(25, abs=2)
    assert page.locator("dialog[open]").count() == 0
    cut.focus()
    page.keyboard.press("Home")
    assert cut.get_attribute("aria-valuenow") == "0" and state(page)["step"] == "3"


def test_what_has_no_words_yet_shows_no_keys(page: Any) -> None:
    named = page.locator(".sd-player [title], .sd-player [aria-label]")
    assert named.count() > 5
    names = named.evaluate_all("all => all.map((each) => `${each.title} ${each.ariaLabel ?? ''}`)")
    assert {name.strip() for name in names} == {"", "1×"}
    page.get_by_role("button", name="of 4", exact=True).click()
    page.get_by_role("button", name="Play").wait_for()


def test_another_film_is_compared_on_the_way_and_gone_to(page: Any) -> None:
    page.get_by_role("button", name="nodes").click()
    page.wait_for_selector(".sd-player[data-step='12'][data-split='false']")
    nodes = page.locator(".sdp-node")
    assert nodes.count() == 3 and nodes.nth(0).get_attribute("aria-current") == "true"
    assert nodes.nth(1).get_attribute("data-node") == "3"  # a branch stands behind what it left
    nodes.nth(2).hover()
    page.wait_for_selector(".sd-player[data-split='true'] .sdp-over[data-step='4']")
    assert "right: of 4" in page.inner_text(".sdp-line")
    page.mouse.move(5, 5)
    page.wait_for_selector(".sd-player[data-split='false']")
    nodes.nth(2).click()
    page.wait_for_function("document.querySelector('#out textarea').value === 'node 2'")


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_a_film_that_opens_the_page_plays_once_and_is_not_told(page: Any, motion: str) -> None:
    page.emulate_media(reduced_motion=motion)
    page.evaluate(RECORD)
    page.get_by_role("button", name="opening").click()
    moved = motion != "reduce"
    page.wait_for_function(
        """(moved) => document.querySelector(".sd-player[data-step='12'][data-playing='false']")
          && (!moved || seen.length > 1)""",
        arg=moved,
    )
    page.wait_for_timeout(1000)  # longer than the slider rests
    seen = [int(each) for each in page.evaluate("seen")]
    assert seen[-1] == 12 and any(0 < each < 12 for each in seen) == moved
    assert page.input_value("#out textarea") == ""


def requests_of(page: Any) -> list[str]:
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    return seen


def test_it_follows_a_sampling_and_then_needs_no_server(page: Any) -> None:
    place = page.locator(".sdp-slider").bounding_box()
    page.get_by_role("button", name="stream").click()
    GATE.open(2)
    page.wait_for_selector(".sd-player[data-ready='4']")
    assert page.inner_text(".sdp-where") == "step 4 of 12"
    assert page.locator(".sdp-thumbs button:not([disabled])").count() == 4
    GATE.open(4)
    page.wait_for_function("document.querySelector('.sdp-line').textContent === 'done'")
    at(page, 12)
    assert page.locator(".sdp-over:visible").count() == 0  # nothing is shown twice
    assert page.locator(".sdp-slider").bounding_box() == place  # nothing jumped
    seen = requests_of(page)
    page.locator(".sdp-slider").focus()
    for key, number in (("Home", 1), ("ArrowRight", 2), ("ArrowRight", 3), ("End", 12)):
        page.keyboard.press(key)
        at(page, number)
    page.locator(".sdp-thumbs button").nth(6).click()
    at(page, 7)
    page.locator(".sdp-slider").fill("5")
    at(page, 5)
    at(page, 5, "x0")
    menu(page)
    assert "583.3" in page.inner_text(".sdp-numbers")
    for view in ("x0", "eps", "change", "both"):
        page.locator(f".sdp-switch input[value={view}]").check(force=True)
        page.wait_for_selector(f".sd-player[data-view={view}] canvas[data-step='5']")
    assert [url for url in seen if "file=" in url] == []
    page.wait_for_function("document.querySelector('#out textarea').value === '0 5 583.333 0'")


def test_a_person_who_moved_the_slider_stays_there(page: Any) -> None:
    page.get_by_role("button", name="stream").click()
    GATE.open(3)
    page.wait_for_selector(".sd-player[data-ready='6']")
    page.locator(".sdp-slider").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    GATE.open(3)
    page.wait_for_selector(".sd-player[data-ready='12']")
    at(page, 2)
    assert page.get_by_role("img", name="step 2 of 12, x0 estimate").count() == 4


def test_pictures_that_come_late_change_neither_the_place_nor_that_it_is_told(page: Any) -> None:
    held: list[Any] = []
    page.route("**/chunk.bin", lambda route: held.append(route))
    page.get_by_role("button", name="parts").click()
    page.wait_for_selector(".sdp-thumbs button[title='Go to step 12']", state="attached")
    page.wait_for_timeout(500)  # longer than the slider rests before it is told
    assert len(held) == 3
    for part, shown_step in enumerate((4, 8, 10)):
        assert page.input_value("#out textarea") == ""
        held[part].continue_()
        at(page, shown_step)
        page.wait_for_timeout(300)  # longer than the slider rests
    page.wait_for_function("document.querySelector('#out textarea').value === '0 10 166.667 0'")


def test_a_slider_that_is_held_is_told_when_it_is_let_go(page: Any) -> None:
    page.get_by_role("button", name="lanes").click()
    page.wait_for_selector(".sd-player[data-step='6'][data-lanes='2']")
    page.wait_for_function("document.querySelector('#out textarea').value === '0 6 500 0'")
    page.locator(".sdp-slider").scroll_into_view_if_needed()
    box = page.locator(".sdp-slider").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 3, y, steps=5)
    page.wait_for_selector(".sd-player[data-step='1']")
    page.wait_for_timeout(600)  # longer than the slider rests before it is told
    assert page.input_value("#out textarea") == "0 6 500 0"
    page.mouse.move(box["x"] + 3, y + 300)  # let go beside it
    page.mouse.up()
    page.wait_for_function("document.querySelector('#out textarea').value === '0 1 916.667 0'")


@pytest.mark.slow
def test_it_plays_to_the_end_and_from_the_beginning(page: Any) -> None:
    page.get_by_role("button", name="lanes").click()
    page.wait_for_selector(".sd-player[data-step='6'][data-lanes='2']")
    page.locator(".sdp-slider").focus()
    page.keyboard.press(" ")
    assert state(page)["playing"] == "true"
    page.wait_for_selector(".sd-player[data-step='12'][data-playing='false']")
    page.evaluate(RECORD)
    menu(page)
    page.get_by_role("button", name="Loop").click()
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("seen[0] === '1' && seen.join().includes('12,1')")  # and again
    page.get_by_role("button", name="Pause").click()
    resting = state(page)["step"]
    page.wait_for_timeout(300)
    assert state(page)["step"] == resting


def test_the_first_of_several_lanes_has_its_place_from_the_beginning(page: Any) -> None:
    page.get_by_role("button", name="first lane").click()
    page.wait_for_selector(
        ".sd-player[data-lanes='1'] .sdp-lane[data-step='4'], .sdp-cards:visible"
    )
    lane, stage = (page.locator(f".sdp-lane{end}").bounding_box() for end in ("", "s"))
    assert not page.locator(".sdp-cards").is_visible()  # it does not turn from cards into lanes
    assert 0.3 < lane["width"] / stage["width"] < 0.34


@pytest.mark.slow
def test_lanes_move_together_by_their_share_of_calls(page: Any) -> None:
    page.get_by_role("button", name="lanes").click()
    page.wait_for_selector(".sd-player[data-step='6'][data-lanes='2']")
    steps = "[...document.querySelectorAll('.sdp-lane')].map((lane) => lane.dataset.step)"
    assert page.evaluate(steps) == ["6", "2"]
    page.locator(".sdp-slider").focus()
    page.keyboard.press("End")
    assert page.evaluate(steps) == ["12", "4"]
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(steps) == ["11", "3"]
    page.locator(".sdp-name", has_text="of 4").click()
    page.wait_for_function("document.querySelector('#out textarea').value === '1 3 250 0'")
    assert page.locator(".sdp-thumbs button").count() == 4


@pytest.mark.slow
def test_a_part_that_does_not_come_is_asked_for_again_and_told(page: Any) -> None:
    failures = []

    def fail_at_first(route: Any) -> None:
        failures.append(route.request.url)
        (route.abort if len(failures) <= 4 else route.continue_)()

    page.route("**/*.bin", fail_at_first)
    page.get_by_role("button", name="lanes").click()
    page.get_by_text("A part of the film is late; asking again.").wait_for()
    page.wait_for_selector(".sd-player[data-ready='12'] canvas[data-step='6']")
    page.wait_for_function("document.querySelector('.sdp-news').textContent === ''")


@pytest.mark.slow
def test_chunks_are_gradios_to_delete(page: Any, films: tuple[str, gr.Blocks]) -> None:
    page.get_by_role("button", name="lanes").click()
    page.wait_for_selector(".sd-player[data-ready='12']")
    kept = {path for each in films[1].temp_file_sets for path in each if path.endswith(".bin")}
    assert kept and all(Path(path).is_file() for path in kept)


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.slow)])
def test_the_file_plays_and_scrubs_without_a_network(
    browser: Any, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "film.html"
    film = film_of((step(i) for i in range(1, TOTAL + 1)), SCHEDULE, TOTAL)
    write_html([film], path, PLAYER_TEXTS, {"model": "made for a test"})
    context = browser.new_context(viewport={"width": width, "height": 800}, offline=True)
    page = context.new_page()
    seen, faults = requests_of(page), []
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(path.as_uri())
    at(page, 12)
    page.locator(".sdp-slider").focus()
    page.keyboard.press("Home")
    at(page, 1)
    page.keyboard.press(" ")
    page.wait_for_selector(".sd-player[data-step='12'][data-playing='false']")
    page.locator(".sdp-slider").fill("3")
    at(page, 3)
    page.get_by_text("How these pictures were made").click()
    assert "made for a test" in page.inner_text("details")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    menu(page)
    sizes = page.evaluate(SIZES)
    assert len(sizes) > 20 and (width > 860 or min(min(size) for size in sizes) >= 44), sizes
    context.close()
    assert faults == [] and seen == [path.as_uri()]
