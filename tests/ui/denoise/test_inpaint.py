"""A picture is begun from on the stage: a mask painted on its card, or a file that was dropped."""

import io
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from sd.checkpoints.model import Model
from sd.data.images import to_array
from sd.ui.components import painter
from sd.ui.denoise import inpaint
from sd.ui.denoise import tab as denoise
from sd.ui.denoise.tree import Tree
from tests.helpers import denoising
from tests.helpers.denoising import ENGLISH, NAME, WORDED, recipe_of, set_fields, values
from tests.ui.denoise.tools.test_takeaway import refusal, taken

pytestmark = pytest.mark.usefixtures("little", "quick")
HELD = values()["held"]


def brushed(tree: Tree, n: Any, model: str = NAME) -> dict[str, Any]:
    """Press the brush of a card; return what the page changes."""
    event = gr.EventData(None, {"picture": n})
    updates: dict[str, Any] = inpaint.begin(ENGLISH, tree, model, HELD, event)
    return updates


def begun(updates: dict[str, Any], **changes: Any) -> Any:
    """Return the recipe that is drawn next, once part of the picture was painted over."""
    half = denoising.sent(painter.mask_paint(denoising.mask()))
    laid = updates["mask"] | half
    return recipe_of(**set_fields(updates) | {"mask": laid} | changes)


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


def test_a_card_s_picture_is_begun_from_with_the_mask_that_is_painted_on_it(tree: Tree) -> None:
    node = tree.current
    assert node.end is not None
    for n in (0, 1):
        updates = brushed(tree, n)
        assert (updates["mask"]["card"], updates["mask"]["film"]) == (n, node.film["id"])
        start = begun(updates).start
        np.testing.assert_array_equal(pixels(start.picture), to_array(node.end[[n]])[0, ..., 0])
        np.testing.assert_array_equal(pixels(start.mask), pixels(denoising.mask()))
    assert brushed(tree, 1)["mask"] != updates["mask"]  # so that the browser sees a second press
    recipe = begun(updates)
    list(denoise.sample(tree, recipe, "en"))
    kept = to_array(tree.current.end)[:, 4:, :, 0] - pixels(start.picture)[4:].astype(float)
    assert np.abs(kept).max() <= 1 and tree.current.recipe == recipe


def test_what_it_was_drawn_for_is_asked_for_again(told: dict[str, Model]) -> None:
    tree = Tree()
    wishes = ["a red heart", "a small dog"]
    list(denoise.run(ENGLISH, tree, **values(model=WORDED, prompts=wishes)))
    updates = brushed(tree, 1, WORDED)
    assert updates["asked"]["patch"] == {"prompts": ["a small dog"]}
    assert begun(updates, model=WORDED).prompts == ("a small dog",)


def test_of_a_film_alone_its_last_estimate_is_taken(tree: Tree) -> None:
    node = tree.current
    assert node.end is not None
    end, node.end = to_array(node.end)[..., 0].astype(float), None
    for n in (0, 1):
        found = pixels(inpaint.picture_of(node, n))
        own, other = (np.abs(found - end[k]).mean() for k in (n, 1 - n))
        assert own < 0.7 * other  # a small JPEG of noise loses much, and how much hangs on its size


def test_no_other_picture_is_painted_on(tree: Tree) -> None:
    for n in (2, -1, None, "0", 1.5):
        assert "picture = " in refusal(brushed, tree, n)
    assert "press Denoise first" in refusal(brushed, Tree(), 0)


def dropped(tree: Tree, file: Path | None) -> dict[str, Any]:
    """Drop a file on the stage; return what the page changes."""
    path = None if file is None else str(file)
    updates: dict[str, Any] = inpaint.take_in(ENGLISH, tree, NAME, HELD, path)
    return updates


def test_a_dropped_picture_is_begun_from(tree: Tree, tmp_path: Path) -> None:
    Image.new("RGB", (20, 30), (200, 100, 50)).save(tmp_path / "mine.jpg")
    updates = dropped(tree, tmp_path / "mine.jpg")
    assert updates["mask"]["card"] == 0 and "film" not in updates["mask"]
    start = recipe_of(**set_fields(updates)).start
    assert start is not None and start.mask is None and pixels(start.picture).std() < 2
    assert "asked" not in updates and tree.restored is None  # nothing is drawn yet


def test_a_dropped_picture_of_ours_brings_its_recipe_and_is_made(tree: Tree) -> None:
    path = taken(tree, index=2)
    other = Tree()
    updates = dropped(other, path)
    assert updates["asked"]["patch"]["again"] is True
    assert recipe_of(**set_fields(updates)) == other.restored == tree.current.recipe
    list(denoise.run_again(ENGLISH, other))
    assert taken(other, index=2).read_bytes() == path.read_bytes()


def test_a_dropped_file_that_is_no_picture_is_told(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    assert "notes.txt" in refusal(dropped, tree, tmp_path / "notes.txt")
    cut = tmp_path / "cut.png"
    cut.write_bytes(taken(tree).read_bytes()[:60])
    refusal(dropped, tree, cut)
    assert dropped(tree, None) == {}
