"""Ways through the tabs with a model on latents: previews on the way, pictures where one rests."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.config import Config
from sd.data.images import to_uint8
from sd.training.latents import space_of_picture
from sd.training.randomness import new_network
from sd.ui.noise.pictures import STARTERS, read_pixels
from tests.browser.conftest import end_runs
from tests.browser.test_denoise import (
    PLAYER,
    choose_model,
    denoise_tab,
    denoised,
    fill,
    rest_at,
    taken,
    unfold,
)
from tests.browser.test_page import FACTS, go_to, settled
from tests.browser.test_training import open_tool
from tests.helpers.first_stages import latent_settings, small_autoencoder
from tests.helpers.networks import with_weights
from tests.helpers.photos import make_photos

pytestmark = pytest.mark.browser

NAME = "on latents"
BOX = "(each) => document.querySelector(each).getBoundingClientRect().toJSON()"
MOVE = """async (t) => {
  const range = document.querySelector("#noise-latents input.t");
  range.value = t;
  range.dispatchEvent(new Event("input"));
  await new Promise(requestAnimationFrame);
  return document.querySelectorAll("#noise-latents canvas")[1].width;
}"""
SIDE, PLACES = 8, 4  # of its pictures, and of the latents
FEW = {  # of the form of the settings: TAESD, its decoder tuned, and the smallest network
    "autoencoder": "taesd",
    "tune_steps": 2,
    "steps": 4,
    "batch_size": 2,
    "input_height": 64,
    "input_width": 64,
    "channel": 4,
    "n_embed": 4,
    "patch_size": 1,
    "model_channels": 32,
    "channel_mult": "[1]",
    "attention_resolutions": "[]",
    "sample_early": "[1]",
}
AS_SET = f"?set={quote(json.dumps({'minutes': {'minutes': None}, 'plan-fields': FEW}))}"


@pytest.fixture(scope="module")
def latent(
    home: Path, tiny_config: Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A model of random weights on 4 x 4 places of pictures of 8 x 8, in the page's home."""
    config = latent_settings(tmp_path_factory.mktemp("stage"), tiny_config)
    space = space_of_picture(small_autoencoder(), to_uint8(read_pixels(STARTERS[1], (3, 8, 8))))
    made = Model(with_weights(new_network(config, 0)), config, latents=space)
    save_checkpoint(made, home / NAME / "checkpoint-4", {"step": 4})
    (home / NAME / "config.ini").write_text(config.to_ini())
    yield NAME
    shutil.rmtree(home / NAME)


def shows(page: Any, kind: str, step: int, side: int) -> None:
    """Wait until a card shows a step's picture, of one kind, at so many pixels."""
    page.wait_for_function(
        """([player, kind, step, side]) => {
          const canvas = document.querySelector(
            `${player} .sdp-card canvas[data-kind=${kind}][data-step="${step}"]`);
          return canvas && canvas.width === side;
        }""",
        arg=[PLAYER, kind, step, side],
    )


def test_every_step_has_a_preview_and_pictures_where_one_rests(
    open_page: Any, latent: str, tmp_path: Path
) -> None:
    page = denoise_tab(open_page())
    choose_model(page, latent)
    fill(page, "steps", 4)
    denoised(page, 4)
    shows(page, "x_t", 4, SIDE)  # the end is decoded
    unfold(page, "#denoise-branch")
    rest_at(page, 2)
    shows(page, "x_t", 2, PLACES)
    shows(page, "x0", 2, SIDE)
    unfold(page, "#denoise-take")
    taken(page, tmp_path / "made.png")
    with Image.open(tmp_path / "made.png") as image:
        assert image.size == (SIDE, SIDE)
    go_to(page, "noise")
    unfold(page, "#noise-fold-latents")
    view = page.locator("#noise-latents canvas.rests")
    view.wait_for()
    assert view.evaluate("(canvas) => canvas.width") == SIDE
    assert page.evaluate(MOVE, 400) == PLACES  # in the next frame, before anything is asked
    page.locator("#noise-latents canvas.rests[data-t='400']").wait_for()
    assert view.evaluate("(canvas) => canvas.width") == SIDE


def test_on_a_phone_an_autoencoder_is_seen_from_within(open_page: Any, latent: str) -> None:
    page = open_page(390, 844)
    choose_model(page, latent)
    go_to(page, "noise")
    page.locator("#noise-canvas[data-t]").wait_for()
    unfold(page, "#noise-fold-inside")
    page.locator("#noise-look").click()
    shown = page.locator("#noise-inside .stages button")
    shown.nth(2).wait_for()
    assert shown.nth(0).get_attribute("aria-pressed") == "true"
    assert page.locator("#noise-inside .channels figure").count() == 4
    shown.nth(2).click()
    page.locator("#noise-inside .channels figure").nth(31).wait_for()  # those of TAEF2
    box = page.evaluate(BOX, "#noise-inside .stages button")  # at once: it is drawn anew meanwhile
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 44
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_a_model_on_latents_is_trained_taken_away_and_drawn_with(
    open_page: Any, home: Path, tmp_path: Path
) -> None:
    """With a decoder tuned to the pictures; drawn with once its bundle has been opened again."""
    page = open_page(address_end=f"{AS_SET}#train")
    page.locator("#train-start", has_text="4 steps").wait_for()  # the address has filled the form
    page.locator(".pick-folder").set_input_files(str(make_photos(tmp_path / "Few cats", 12)))
    settled(page, FACTS, "12 pictures")
    try:
        page.locator("#train-start").click()
        page.locator(".run-panel[data-run='Few cats'][data-state=finished]").wait_for()
    finally:
        end_runs(home)
    page.locator("#model .model-now b", has_text="Few cats").wait_for()  # by itself
    assert page.locator(".run-panel .blue:visible").all_inner_texts() == ["Draw with it →"]
    open_tool(page, "loss")
    page.locator(".run-note label", has_text="autoencoder").click()
    page.locator(".run-drawn img.kept").wait_for()  # beside the curves of its decoder
    open_tool(page, "save")
    page.locator("#train-form").select_option("webp")
    with page.expect_download() as download:
        page.locator("#train-download").click()
    with Image.open(download.value.path()) as film:
        assert film.n_frames == 2 and min(film.size) > 4 * 64
    page.locator("#train-form").select_option("zip")
    with page.expect_download() as download:
        page.locator("#train-download").click()
    download.value.save_as(tmp_path / "taken.zip")
    shutil.rmtree(home / "Few cats")  # what was taken away holds the tuned decoder too
    page.locator("#train-bundle").set_input_files(str(tmp_path / "taken.zip"))
    opened = page.locator(".run-panel[data-state=finished]:not([data-run='Few cats'])")
    opened.wait_for()
    name = str(opened.get_attribute("data-run"))
    page.locator("#train-draw").click()
    page.locator("#model .model-now b", has_text=name).wait_for()
    page.locator("#denoise-go").click()
    settled(page, "#denoise-status", "steps in")
    shutil.rmtree(home / name)
