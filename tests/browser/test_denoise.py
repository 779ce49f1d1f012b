"""A person's way through the Denoise tab: watch, scrub, branch, compare, race, take away."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.config import Config
from sd.generation.export import read_recipe
from sd.training.randomness import new_network
from tests.browser.conftest import quiet
from tests.browser.test_page import go_to, pixels, settled
from tests.helpers.networks import with_weights

pytestmark = pytest.mark.browser

PLAYER, RACE = "#denoise-player .sd-player", "#race-player .sd-player"
NODES = "#denoise-player .sdp-node"
LITTLE = "little"
CLOSE = 6  # of 255, on average: what a JPEG may lose
WATCH = """([player, key]) => {
  window.watching?.disconnect();
  window.seen = [];
  const node = document.querySelector(player);
  const note = () => seen.at(-1) === node.dataset[key] || seen.push(node.dataset[key]);
  window.watching = new MutationObserver(note);
  watching.observe(node, { attributeFilter: [`data-${key}`] });
}"""


CLOSED_FORM = '{"model": {"name": "ideal:starter"}}'  # of an address: it stands in no list


@pytest.fixture(scope="module")
def little(home: Path, tiny_config: Config) -> Iterator[str]:
    """A model of random weights and 8 x 8 pixels in the page's home: a step takes milliseconds."""
    folder = home / LITTLE
    network = with_weights(new_network(tiny_config, 0))
    save_checkpoint(Model(network, tiny_config), folder / "checkpoint-4", {"step": 4})
    (folder / "config.ini").write_text(tiny_config.to_ini())
    yield LITTLE
    shutil.rmtree(folder)


@pytest.fixture
def page(open_page: Any) -> Any:
    """The Denoise tab with its example."""
    return denoise_tab(open_page())


@pytest.fixture
def kept(kept_page: Any, _one_page: dict[str, Any]) -> Any:
    """The Denoise tab as the journey before left it; a new page finds its example."""
    if _one_page.pop("is_new", False):
        denoise_tab(kept_page)
    return kept_page


def denoise_tab(page: Any) -> Any:
    go_to(page, "denoise")
    settled(page, "#denoise-status", "a finished example of the bundled model")
    page.locator(f"{PLAYER}[data-ready]").wait_for()
    return page


def fill(page: Any, name: str, value: object) -> None:
    """Fill a field of the settings, which open over the stage and close again."""
    settings(page, True)
    box = field(page, "denoise-settings", name)
    box.fill(str(value))
    box.press("Tab")
    settings(page, False)


def settings(page: Any, whether: bool) -> None:
    """Open or close all settings."""
    if bool(page.locator("#denoise-form.open").count()) != whether:
        page.locator(".ask-all").click()


def ask(page: Any, *prompts: str) -> None:
    """Ask for these prompts and no others."""
    box = page.locator(".ask-input")
    box.click()
    for _ in range(page.locator(".ask-chip").count()):
        box.press("Backspace")
    for prompt in prompts:
        box.fill(prompt)
        box.press("Enter")


def field(page: Any, form: str, name: str) -> Any:
    """Return what a field of a form is typed into."""
    typed = ":is(input:not([type=range], [type=radio]), textarea, select)"
    return page.locator(f"#{form} [data-name={name}] {typed}").first


def choose(page: Any, box: Any, name: str) -> None:
    """Choose a word of a list that opens."""
    box.click()
    page.get_by_role("option", name=name).click()


def choose_model(page: Any, name: str) -> None:
    """Choose a model of the head's list."""
    page.locator("#model .model-now").click()
    page.locator("#model-list .pick").filter(has_text=name).click()


def unfold(page: Any, fold: str) -> None:
    """Open a tool or a fold, and wait until what is in it has been made: it is not there before."""
    tool = page.locator(f".tools-bar button[data-fold={fold.removeprefix('#')}]")
    if not page.locator(f"{fold} > button.open").count():
        (tool if tool.count() else page.locator(f"{fold} > button")).click()
    page.locator(f"{fold} > button.open").wait_for(state="attached")
    page.wait_for_timeout(400)


def denoised(page: Any, steps: int, *, button: str = "#denoise-go") -> None:
    """Press a button and wait until so many steps are done and all of them are on the page."""
    page.locator(button).click()
    settled(page, "#denoise-status", f"{steps} steps in")
    page.wait_for_function(
        "([player, steps]) => document.querySelector(player).dataset.ready === `${steps}`",
        arg=[PLAYER, steps],
    )


def step_of(page: Any, player: str = PLAYER) -> int:
    return int(page.locator(player).get_attribute("data-step"))


def canvas(page: Any, selector: str) -> Any:
    """Bring a canvas into sight; return what it shows: int64 [H, W, 3]."""
    page.locator(selector).first.scroll_into_view_if_needed()
    return pixels(page, selector)


def drawn(page: Any, step: int, kind: str = "x_t") -> Any:
    """Return the player's picture of one kind at a step."""
    selector = f"{PLAYER} canvas[data-kind={kind}][data-step='{step}']"
    page.locator(selector).first.wait_for()
    return canvas(page, selector)


def rest_at(page: Any, step: int) -> None:
    """Move the slider to a step by the keys, and wait until the page knows of it."""
    page.locator(f"{PLAYER} .sdp-slider:enabled").focus()
    page.keyboard.press("Home")
    page.locator(f"{PLAYER}[data-step='1']").wait_for()
    for _ in range(step - 1):
        page.keyboard.press("ArrowRight")
    page.locator(f"{PLAYER}[data-step='{step}']").wait_for()
    page.locator("#branch-go").get_by_text(f"Continue from step {step}").wait_for()


def stroke(page: Any, painter: str, *places: tuple[float, float]) -> None:
    """Paint along shares of a painter's canvas."""
    canvas = page.locator(f"{painter} canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for k, (x, y) in enumerate(places):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if k == 0:
            page.mouse.down()
    page.mouse.up()


def taken(page: Any, path: Path) -> bytes:
    """Download what is chosen; return its bytes."""
    with page.expect_download() as download:
        page.locator("#take-go").click()
    download.value.save_as(path)
    return path.read_bytes()


def test_watch_scrub_play_branch_restore_and_compare(page: Any) -> None:
    settled(page, "#model .model-now", "shapes32")
    fill(page, "steps", 80)
    fill(page, "count", 12)  # some seconds: after the first looks one comes a second
    page.evaluate(WATCH, [PLAYER, "ready"])
    denoised(page, 80)
    live = [int(ready) for ready in page.evaluate("seen")]
    assert any(0 < step < 80 for step in live) and live[-1] == 80  # fast or slow

    unfold(page, "#denoise-branch")
    scrub(page)
    play(page)

    rest_at(page, 20)
    steps = field(page, "branch-form", "steps")
    assert steps.input_value() == "60"
    steps.fill("12")
    stroke(page, "#denoise-paint", (0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))
    parent = drawn(page, 20)
    denoised(page, 12, button="#branch-go")
    nodes = page.locator(NODES)
    assert nodes.count() == 3
    title = nodes.nth(2).get_attribute("title")
    assert title.startswith("3: from step 20") and "painted" in title
    assert nodes.nth(2).get_attribute("aria-current") == "true"
    assert page.locator(f"{NODES}[data-branch=true]").count() == 1

    nodes.nth(1).click()
    settled(page, "#denoise-status", "all 80 steps")
    page.locator(f"{PLAYER}[data-ready='80']").wait_for()
    assert page.locator(f"{NODES}[aria-current]").get_attribute("title").startswith("2:")
    rest_at(page, 20)
    assert np.abs(drawn(page, 20) - parent).mean() == 0
    nodes.nth(2).hover()
    page.locator(f"{PLAYER} .sdp-card .sdp-over[data-kind=x_t][data-step='3']").first.wait_for()
    assert "right: from step 20" in page.locator(f"{PLAYER} .sdp-line").first.inner_text()


def scrub(page: Any) -> None:
    """Drag the slider from end to end: every step is shown, and nothing is asked for."""
    slider = page.locator(f"{PLAYER} .sdp-slider")
    slider.scroll_into_view_if_needed()
    quiet(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(WATCH, [PLAYER, "step"])
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] - 2, y)
    page.mouse.down()
    for share in range(100, 0, -2):
        page.mouse.move(box["x"] + share / 100 * box["width"], y)
    page.wait_for_timeout(400)  # held still: even then nothing is asked
    during = list(asked)
    seen = {int(step) for step in page.evaluate("seen")}
    page.mouse.up()
    assert during == [] and len(seen) >= 40 and min(seen) <= 3
    page.locator("#branch-go").get_by_text("Continue from step").wait_for()


def play(page: Any) -> None:
    """Play from the first step; it advances by itself and can be paused."""
    page.locator(f"{PLAYER} .sdp-slider").focus()
    page.keyboard.press("Home")
    page.evaluate(WATCH, [PLAYER, "step"])
    page.locator(f"{PLAYER} .sdp-play").click()
    page.wait_for_function("() => seen.length >= 3")  # of 80: it is not over before it is paused
    page.keyboard.press(" ")
    page.locator(f"{PLAYER}[data-playing=false]").wait_for()
    seen = [int(step) for step in page.evaluate("seen")]
    assert seen == sorted(seen)


def test_escape_stops_a_sampling_and_what_came_stays(page: Any) -> None:
    fill(page, "steps", 1000)
    page.locator("#denoise-go").click()
    settled(page, "#denoise-status", "of 1000, t =")
    page.keyboard.press("Escape")
    line = settled(page, "#denoise-status", "stopped at step")
    done = int(line.split("stopped at step ")[1].split(" of")[0])
    page.locator(f"{PLAYER}[data-ready]").wait_for()
    page.wait_for_function(
        "(player) => !document.querySelector(player).querySelector('.sdp-slider').disabled",
        arg=PLAYER,
    )
    page.locator(f"{PLAYER} .sdp-slider").focus()
    page.keyboard.press("End")
    assert 0 < done < 1000 and step_of(page) == done
    assert page.locator(NODES).count() == 2


def test_a_picture_brings_every_setting_back_and_is_made_again(
    open_page: Any, tmp_path: Path
) -> None:
    page = denoise_tab(open_page())
    settings(page, True)
    field(page, "denoise-settings", "sampler").select_option(label="DDPM")
    field(page, "denoise-settings", "spacing").select_option(label="karras")
    field(page, "denoise-settings", "clip").uncheck()
    fill(page, "steps", 9)
    fill(page, "count", 2)
    ask(page, "red heart", "owl")
    page.locator(".ask-number").fill("77")
    denoised(page, 9)
    held = page.evaluate(HELD)
    unfold(page, "#denoise-take")
    field(page, "take-form", "index").fill("2")
    first = taken(page, tmp_path / "first.png")
    told = read_recipe(tmp_path / "first.png")
    assert (told["index"], told["recipe"]["seed"], told["recipe"]["clip_x0"]) == (1, 77, False)

    page.goto(page.url.partition("?")[0])
    denoise_tab(page)
    page.locator(".ask-chip", has_text="blue square above").wait_for()  # as the example was made
    assert page.evaluate(HELD) != held
    unfold(page, "#denoise-take")
    page.locator("#denoise-take input[type=file]").set_input_files(str(tmp_path / "first.png"))
    page.wait_for_function(
        f"(held) => JSON.stringify(({HELD})()) === JSON.stringify(held)", arg=held
    )
    settled(page, "#denoise-status", "9 steps in")  # and it is made again at once
    page.wait_for_function("(p) => document.querySelector(p).dataset.ready === '9'", arg=PLAYER)
    assert field(page, "take-form", "index").input_value() == "2"
    assert taken(page, tmp_path / "second.png") == first


def test_a_player_of_one_file_plays_without_a_network(
    kept: Any, browser: Any, tmp_path: Path
) -> None:
    page = kept
    unfold(page, "#denoise-take")
    page.locator("#take-form").get_by_text("page (html)").click()
    taken(page, tmp_path / "player.html")
    context, faults = browser.new_context(offline=True), []
    alone = context.new_page()
    alone.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    alone.on("pageerror", lambda error: faults.append(str(error)))
    alone.goto((tmp_path / "player.html").as_uri())
    alone.locator(".sd-player canvas[data-kind=x_t][data-step]").first.wait_for()
    alone.locator(".sdp-slider").focus()
    alone.keyboard.press("Home")
    assert step_of(alone, ".sd-player") == 1
    alone.evaluate(WATCH, [".sd-player", "step"])
    alone.locator(".sdp-play").click()
    alone.wait_for_selector(".sd-player[data-step='25'][data-playing=false]")
    assert len(alone.evaluate("seen")) > 1
    assert alone.locator("details pre").text_content().count('"model": "shapes32"') == 1
    context.close()
    assert faults == []


def test_a_png_from_elsewhere_is_told_in_one_line(kept: Any, tmp_path: Path) -> None:
    page = kept
    Image.new("RGB", (32, 32)).save(tmp_path / "other.png")
    unfold(page, "#denoise-take")
    page.locator("#denoise-take input[type=file]").set_input_files(str(tmp_path / "other.png"))
    assert "from elsewhere" in settled(page, ".toast-body", "recipe")


def test_a_card_is_painted_on_and_what_is_dropped_is_begun_from(
    kept: Any, little: str, tmp_path: Path
) -> None:
    page = kept
    choose_model(page, little)
    fill(page, "steps", 3)
    denoised(page, 3)
    page.locator(f"{PLAYER}[data-ended=true]").wait_for()
    fill(page, "steps", 4)  # each drawing takes others, so that its end is told from those before
    assert not page.locator(".sdp-brush").nth(1).is_visible()
    page.locator(".sdp-card").nth(1).hover()
    page.locator(".sdp-brush").nth(1).click()
    page.locator(".inpaint-sheet canvas").wait_for()
    card, sheet = (page.locator(each).bounding_box() for each in (CARD, ".inpaint-sheet"))
    assert abs(card["x"] - sheet["x"]) < 8 and abs(card["y"] - sheet["y"]) < 8  # on the card itself
    page.keyboard.press("Escape")
    page.locator(".ask-line", has_text="start from noise").wait_for()
    page.locator(".sdp-brush").nth(1).click()
    stroke(page, ".inpaint-sheet", (0.3, 0.3), (0.6, 0.3))
    denoised(page, 4)
    page.locator(".inpaint-sheet").wait_for(state="detached")
    unfold(page, "#denoise-take")
    page.locator("#take-form").get_by_text("PNG", exact=True).click()
    taken(page, tmp_path / "own.png")
    assert read_recipe(tmp_path / "own.png")["recipe"]["start"]["mask"]

    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    fill(page, "steps", 5)
    drop(page, tmp_path / "red.png")
    page.locator(".inpaint-sheet canvas").wait_for()
    denoised(page, 5)
    drop(page, tmp_path / "own.png")
    settled(page, "#denoise-status", "4 steps in")
    page.locator(".ask-line", has_text="4 steps of").wait_for()


CARD = ".sdp-card:nth-child(2)"


def drop(page: Any, file: Path) -> None:
    """Drop a file of the machine on the stage, as a hand does."""
    box = page.locator(PLAYER).bounding_box()
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 60, "data": data}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **at})


def test_two_samplers_race_and_are_measured(kept: Any, little: str) -> None:
    page = kept
    choose_model(page, little)
    unfold(page, "#denoise-race")
    for lane in ("lane_2", "lane_4"):
        field(page, "race-form", lane).select_option(label="none")
    field(page, "race-form", "calls").fill("5")
    page.locator("#race-go").click()
    settled(page, "#race-status", "measured against 200 steps")
    page.locator(f"{RACE}[data-lanes='2'][data-ready='5']").wait_for()
    lanes = page.locator(f"{RACE} .sdp-lane")
    for place, name in enumerate(("DDIM", "DPM-Solver++")):
        told = lanes.nth(place).inner_text()
        assert f"{name}: 5 steps, 5 calls" in told
    assert page.locator("#race-result .ranks li").count() == 2
    assert "comes nearest to the exact picture" in page.locator("#race-result").inner_text()
    page.locator("#race-form").get_by_text("model, memory, blur").click()
    page.locator("#race-go").click()
    settled(page, ".toast-body", "kept no pictures")


@pytest.mark.slow
def test_a_reference_lets_a_sampling_in_and_is_stopped(page: Any) -> None:
    unfold(page, "#denoise-race")
    field(page, "race-form", "calls").fill("2")
    fill(page, "steps", 2)
    page.locator("#race-go").click()
    settled(page, "#race-status", "reference: step")
    denoised(page, 2)  # in between: the reference alone would take longer
    settled(page, "#race-status", "reference: step")
    page.locator("#race-go + .verb-stop").click()  # the verb has become its own Stop
    settled(page, "#race-status", "stopped at step")
    assert page.locator("#race-result").inner_text() == ""
    page.locator("#race-go").wait_for()


HELD = """() => [...document.querySelectorAll("#denoise-settings .field:not([hidden])")]
  .flatMap((field) => [...field.querySelectorAll("input, select")])
  .map((each) => (["checkbox", "radio"].includes(each.type) ? each.checked : each.value))
  .concat([...document.querySelectorAll(".ask-word")].map((each) => each.textContent))
  .concat(document.querySelector(".ask-number").value)"""
FIELDS = ":is(input, textarea):not(:disabled, [type=radio], [type=checkbox], [type=file])"
RINGS = """([fields, accents]) => {
  const looks = (each) => {
    const style = getComputedStyle(each), drawn = style.outlineStyle !== "none";
    const shadow = style.boxShadow.replace(/rgba\\(0, 0, 0, 0\\)/g, "");
    const edge = parseFloat(style.borderTopWidth) && accents.includes(style.borderTopColor);
    return [
      ...(drawn && parseFloat(style.outlineWidth) && style.opacity !== "0" ? ["outline"] : []),
      ...(shadow.includes("rgb") ? ["shadow"] : []),
      ...(edge ? ["border"] : []),
    ];
  };
  const wrong = [];
  for (const each of document.querySelectorAll(`.denoise-page ${fields}`)) {
    if (!each.offsetParent || each.getBoundingClientRect().width < 5) continue;
    const near = [each];
    while (near.length < 6) near.push(near.at(-1).parentElement);
    each.blur();
    const before = near.map((one) => looks(one).join());
    each.focus();
    const changed = near.filter((one, place) => looks(one).join() !== before[place]);
    const rings = changed.flatMap(looks);
    if (document.activeElement === each && rings.length !== 1) wrong.push([each.id, ...rings]);
  }
  return wrong;
}"""


def test_what_has_the_focus_has_one_ring(kept: Any) -> None:
    page = kept
    settings(page, True)
    page.keyboard.press("Tab")  # whoever uses keys
    theirs = ["rgb(147, 177, 234)", "rgb(47, 98, 201)", "rgb(37, 99, 235)"]
    assert page.evaluate(RINGS, [FIELDS, theirs]) == []


def test_begin_from_a_picture_inside_a_mask(page: Any) -> None:
    fill(page, "steps", 6)
    fill(page, "count", 1)
    ask(page, "red heart")
    settings(page, True)
    page.locator("#denoise-settings [data-name=begin]").get_by_text("a picture (img2img)").click()
    page.locator("#denoise-starters img").nth(2).click()
    page.locator("#denoise-mask canvas").wait_for()
    quiet(page)
    base = halves(canvas(page, "#denoise-mask canvas"))
    stroke(page, "#denoise-mask", (0.1, 0.1), (0.4, 0.1), (0.4, 0.4), (0.1, 0.4), (0.25, 0.25))
    quiet(page)
    denoised(page, 6)
    title = page.locator(f"{NODES}[aria-current]").get_attribute("title")
    assert "from a picture at t = 600" in title
    made = halves(drawn(page, 6))
    changed, kept = (np.abs(one - other).mean() for one, other in zip(base, made, strict=True))
    assert kept < CLOSE < 2 * CLOSE < changed, (kept, changed)


def halves(shown: Any) -> tuple[Any, Any]:
    """Return what a canvas shows at 32 x 32 points: the corner of the mask, and the lower part."""
    rows, columns = (((np.arange(32) + 0.5) * side / 32).astype(int) for side in shown.shape[:2])
    points = shown[rows][:, columns]
    return points[4:12, 4:12], points[18:]


def test_a_quick_sampling_and_a_restored_one_are_what_is_branched_from(
    page: Any, little: str
) -> None:
    unfold(page, "#denoise-branch")
    page.locator("#branch-go").get_by_text("Continue from step 15").wait_for()
    choose_model(page, little)
    fill(page, "steps", 5)
    denoised(page, 5)
    page.locator("#branch-go").get_by_text("Continue from step 4").wait_for()
    page.locator(NODES).first.click()
    settled(page, "#denoise-status", "all 25 steps")
    page.locator("#branch-go").get_by_text("Continue from step 24").wait_for()


def test_a_closed_form_model_works_before_any_training(open_page: Any) -> None:
    page = denoise_tab(open_page(address_end=f"?set={quote(CLOSED_FORM)}#denoise"))
    settled(page, "#model .model-now", "memory of the pictures")
    fill(page, "steps", 5)
    fill(page, "count", 1)
    denoised(page, 5)
    unfold(page, "#algorithm2")
    page.locator(f"{PLAYER} .sdp-slider").focus()
    page.keyboard.press("ArrowLeft")
    page.locator("#algorithm2-panel .result").wait_for()
    settled(page, "#algorithm2-panel", "step 4 of 5")
