"""A way through the page with a file of others: opened, asked, watched, masked, weighed, back."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sd.generation.export import read_recipe
from sd.generation.published import shelf
from tests.browser.test_denoise import (
    PLAYER,
    WATCH,
    denoise_tab,
    denoised,
    fill,
    rest_at,
    settings,
    stroke,
    taken,
    unfold,
)
from tests.browser.test_page import settled
from tests.helpers import published

pytestmark = pytest.mark.browser

MODEL, INK = "tiny-v1.safetensors", "ink.safetensors"
SIDE = 16  # pixels: an eighth of what the file was made for, so that a step takes milliseconds
PROMPT = "a (red:1.3) cat, by the [sea]"
WORDS = ["a", "red", "cat", ",", "by", "the", "sea"]
RING = ((0.05, 0.05), (0.45, 0.05), (0.45, 0.45), (0.05, 0.45), (0.25, 0.25))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    published.write_single(folder / MODEL)
    published.write_lora(folder / INK, size=4)
    (folder / "page.safetensors").write_text("<!DOCTYPE html><html></html>")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _forgotten(home: Path) -> Iterator[None]:
    """Leave no opened file to the journeys of others."""
    yield
    (home / shelf.FILE).unlink(missing_ok=True)


@pytest.fixture
def page(kept_page: Any, _one_page: dict[str, Any], files: Path) -> Any:
    """The tab with the file opened, as the journey before left it."""
    if _one_page.pop("is_new", False):
        open_model(kept_page, files)
    return kept_page


def open_model(page: Any, files: Path) -> None:
    """Make the file the page's model, chosen from its folder after its report."""
    denoise_tab(page)
    page.locator("#model .model-now").click()
    page.locator("#model-list .open-file button").click()
    look_at(page, files)
    listed = page.locator(".opening-list button")
    listed.filter(has_text="page.safetensors").click()
    settled(page, ".opening-fault", "it is a web page")
    look_at(page, files)
    listed.filter(has_text=MODEL).click()
    settled(page, ".opening-tree", "324 of 324 tensors")
    page.locator(".opening-go", has_text="Open").click()
    settled(page, "#model .model-now", MODEL)
    page.locator(".ask-line", has_text="20 steps of").wait_for()  # with which such a file begins
    page.locator(".ask-text").fill(PROMPT)
    fill(page, "size", f"{SIDE}x{SIDE}")
    settled(page, ".ask-told", f"20 steps at {SIDE} px: about")


def look_at(page: Any, place: Path) -> None:
    """Type a place into the dialog, and wait until it shows it."""
    page.locator("#opening-dialog[open]:not([aria-busy=true])").wait_for()
    page.locator(".opening-path input").fill(str(place))
    page.locator(".opening-path button").click()
    shown = ".opening-list" if place.is_dir() else ".opening-name"
    page.locator(f"#opening-dialog:not([aria-busy=true]) {shown}").first.wait_for()


def test_a_prompt_is_told_by_its_tokens_and_drawn_step_by_step(page: Any) -> None:
    settled(page, ".ask-told", f"{len(WORDS)} of 75 tokens")
    page.locator(".ask-told button").first.click()
    tokens = page.locator(".ask-tokens span")
    assert tokens.evaluate_all("all => all.map((each) => each.firstChild.data)") == WORDS
    assert tokens.locator("sup").all_inner_texts() == ["1.30", "0.91"]
    fill(page, "steps", 60)
    settled(page, ".ask-told", f"60 steps at {SIDE} px: about")
    page.evaluate("document.querySelector('.ask-told span').textContent = ''")
    page.evaluate(WATCH, [PLAYER, "ready"])
    denoised(page, 60)
    seen = [int(each) for each in page.evaluate("seen") if each not in (None, "25")]
    assert len(seen) > 1 and seen == sorted(seen), seen  # steps came while others were at work
    page.locator(f"{PLAYER} .sdp-card canvas[data-step='60']").first.wait_for()
    settled(page, ".ask-told", f"60 steps at {SIDE} px: about")  # told anew, by what it took
    assert page.locator(".ask-text").input_value() == PROMPT


def test_each_word_has_its_map(page: Any) -> None:
    fill(page, "steps", 4)
    denoised(page, 4)
    unfold(page, "#denoise-branch")
    rest_at(page, 2)
    unfold(page, "#denoise-looked")
    words = page.locator("#looked-words button")
    words.nth(len(WORDS) - 1).wait_for()
    assert [text.split("\n")[0] for text in words.all_inner_texts()] == WORDS


def test_outside_a_mask_every_pixel_stays(page: Any, tmp_path: Path) -> None:
    settings(page, True)
    page.locator("#denoise-settings [data-name=begin]").get_by_text("a picture (img2img)").click()
    page.locator("#denoise-starters img").nth(2).click()
    page.locator("#denoise-mask canvas").wait_for()
    stroke(page, "#denoise-mask", *RING)
    settings(page, False)
    fill(page, "steps", 5)
    denoised(page, 5)
    unfold(page, "#denoise-take")
    taken(page, tmp_path / "masked.png")
    start = read_recipe(tmp_path / "masked.png")["recipe"]["start"]
    mask, before = (decoded(start[each], form) for each, form in PARTS.items())
    with Image.open(tmp_path / "masked.png") as image:
        after = np.asarray(image.convert("RGB"))
    assert 0 < (mask == 0).sum() < mask.size
    assert (after[mask == 0] == before[mask == 0]).all()
    assert (after[mask > 0] != before[mask > 0]).any(axis=1).mean() > 0.9
    settings(page, True)
    page.locator("#denoise-settings [data-name=begin]").get_by_text("noise", exact=True).click()
    settings(page, False)


PARTS = {"mask": "L", "picture": "RGB"}  # of a recipe's start


def decoded(address: str, form: str) -> Any:
    """Return the picture of a recipe as an array."""
    data = base64.b64decode(address.rpartition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert(form))


def test_a_lora_is_weighed_and_a_picture_brings_it_back(
    page: Any, files: Path, tmp_path: Path
) -> None:
    fill(page, "steps", 6)
    denoised(page, 6)
    unfold(page, "#denoise-take")
    plain = taken(page, tmp_path / "plain.png")
    page.locator(".ask-file").click()
    look_at(page, files / INK)
    settled(page, ".opening-tree", "2 of 2 used")
    page.locator(".opening-go").click()
    page.locator("#opening-dialog").wait_for(state="hidden")
    scale = page.locator(".added-row input")
    scale.fill("0.5")
    settled(page, ".added-row output", "0.50")
    settled(page, ".ask-told", f"{len(WORDS)} of 75 tokens")
    fill(page, "steps", 7)
    denoised(page, 7)
    weighed = taken(page, tmp_path / "weighed.png")
    recipe = read_recipe(tmp_path / "weighed.png")["recipe"]
    assert recipe["model"] == f"{MODEL}#lora={INK}@0.5" and recipe["prompts"] == [PROMPT]
    page.get_by_role("button", name=f"Take {INK} away").click()
    page.locator(".added-row").wait_for(state="detached")
    page.locator("#denoise-take input[type=file]").set_input_files(str(tmp_path / "plain.png"))
    settled(page, "#denoise-status", "6 steps in")
    assert taken(page, tmp_path / "again.png") == plain
    page.locator("#denoise-take input[type=file]").set_input_files(str(tmp_path / "weighed.png"))
    settled(page, "#denoise-status", "7 steps in")
    assert taken(page, tmp_path / "again.png") == weighed
    settled(page, ".added-row output", "0.50")
