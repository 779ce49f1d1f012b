"""The page with a model that samples in another space: it shows, paints and takes away pictures."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sd.checkpoints.model import Model
from sd.config import Config
from sd.data.images import to_uint8
from sd.generation.export import read_recipe
from sd.generation.pipeline import picture_tensor
from sd.ui import models, state
from sd.ui.denoise import tab as denoise
from sd.ui.denoise.attention import panel, record
from sd.ui.denoise.attention.panel import Selection
from sd.ui.denoise.attention.record import RecordCache
from sd.ui.denoise.job import Job, StepCache
from sd.ui.denoise.tools import algorithm2, takeaway
from sd.ui.denoise.tree import Tree
from sd.ui.noise import algorithm1, model_view
from sd.ui.state import shared
from tests.helpers import denoising
from tests.helpers.denoising import (
    CLOSE,
    ENGLISH,
    NAME,
    another_day,
    branching,
    paint,
    recipe,
    resting,
    sent,
    values,
)
from tests.helpers.latents import Blocks, LatentModel, latent_model, only_pictures

little_model, only_pictures = denoising.little_model, only_pictures
pytestmark = pytest.mark.usefixtures("only_pictures")
BLOCKS = Blocks()


@pytest.fixture(autouse=True, name="model")
def opened(little: Model, tiny_config: Config, monkeypatch: pytest.MonkeyPatch) -> LatentModel:
    """In the place of `little` the page opens a model that sees blocks."""
    model = latent_model(tiny_config)
    monkeypatch.setattr(models, "open_model", lambda entry: model)
    monkeypatch.setitem(state.current().parts, RecordCache, RecordCache())
    another_day(monkeypatch)
    return model


@pytest.fixture(name="tree")
def grown_tree() -> Tree:
    """A page that has made one sampling of six steps."""
    tree = Tree()
    list(denoise.run(ENGLISH, tree, **values()))
    tree.place = 3
    return tree


def test_a_sampling_is_shown_and_taken_away_in_every_form(tree: Tree) -> None:
    node = tree.current
    assert node.end is not None and node.end.shape == (2, 1, 8, 8)
    assert (node.film["width"], node.film["factor"], len(node.film["frames"])) == (4, 2, 6)
    for form in takeaway.FORMS:
        path = takeaway.write_file(node, form, 1, "en")
        assert path.stat().st_size > 500
        if form == takeaway.PNG:
            with Image.open(path) as image:
                expected = to_uint8(node.end[1, 0]).numpy()
                assert np.array_equal(np.asarray(image), expected)
            assert read_recipe(path)["index"] == 1
    node.end = None  # as after a while
    again = takeaway.write_file(node, takeaway.PNG, 1, "en")
    with Image.open(again) as image:
        assert np.array_equal(np.asarray(image), expected)


def shown_picture(still: dict[str, Any], n: int) -> np.ndarray[Any, Any]:
    """Return picture `n` of two in a still as it is sent."""
    with Image.open(still["src"]["path"]) as sheet:
        assert sheet.size == (16, 8)
        return np.asarray(sheet.convert("L"), dtype=int)[:, 8 * n : 8 * n + 8]


def test_a_film_ends_with_the_decoded_pictures(tree: Tree) -> None:
    node = tree.current
    [sent_film] = denoise.show_films(tree, "en")["player"]["lanes"]
    [still] = sent_film["stills"]
    assert (still["i"], still["kind"]) == (6, "x_t") and node.end is not None
    for n in range(2):
        wanted = to_uint8(node.end[n, 0]).numpy().astype(int)
        assert np.abs(shown_picture(still, n) - wanted).mean() < CLOSE


def test_where_the_slider_rests_the_estimate_is_decoded_once(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    x0 = shared(StepCache).steps(tree.current.recipe)[2].x0
    updates = denoise.develop(ENGLISH, tree)
    [still] = updates["player"]["developed"]["stills"]
    assert updates["player"]["developed"]["id"] == tree.current.film["id"]
    assert (still["i"], still["kind"]) == (3, "x0")
    wanted = to_uint8(BLOCKS.decode(x0)).numpy().astype(int)
    for n in range(2):
        assert np.abs(shown_picture(still, n) - wanted[n, 0]).mean() < CLOSE
    below = updates["branch_paint"]
    assert below["keeps"] and (below["width"], below["height"]) == (8, 8)
    with monkeypatch.context() as patch:
        patch.setattr(Blocks, "decode", None)
        assert denoise.develop(ENGLISH, tree)["player"] == updates["player"]
    tree.place = 6  # the end is there already: what is left is where a branch would go on
    [end] = denoise.develop(ENGLISH, tree)["player"]["developed"]["stills"]
    assert (end["i"], end["kind"]) == (5, "x0")
    shared(StepCache).begin(tree.current.recipe, x0)  # as when its steps have gone
    tree.place = 2
    assert denoise.develop(ENGLISH, tree) == {}


def test_the_pictures_of_the_endpoint_are_decoded_at_the_end() -> None:
    job = Job(recipe(), pictured=True)
    job.start()
    assert job.wait(60) and job.error is None
    assert [each.size for each in job.pictures] == [(18, 8)] * 2


def test_a_branch_is_painted_at_the_size_of_the_picture(tree: Tree) -> None:
    drawn = denoise.note_place(ENGLISH, tree, resting(3))["branch_paint"]
    assert (drawn["width"], drawn["height"]) == (8, 8)
    painted = branching(steps=3, paint=sent(paint()))
    list(denoise.run_branch(ENGLISH, tree, **painted))
    child = tree.current
    assert child.recipe.branch is not None and child.recipe.branch.paint and child.done == 3
    assert child.end is not None and tree.nodes[1].end is not None
    assert not torch.equal(child.end, tree.nodes[1].end)


def test_a_picture_is_kept_outside_of_a_painted_mask() -> None:
    tree, drawn = Tree(), sent(paint())  # the four pixels of the upper left corner
    list(denoise.run(ENGLISH, tree, **values(begin="picture", share=90.0, mask=drawn)))
    node = tree.current
    assert node.recipe.start is not None and node.end is not None
    start = picture_tensor(node.recipe.start.picture, (1, 8, 8))
    outside = torch.ones(8, 8, dtype=torch.bool)
    outside[:2, :2] = False
    assert torch.allclose(node.end[:, 0, outside], start[0, outside].expand(2, -1), atol=1e-5)
    assert not torch.allclose(node.end[:, 0, :2, :2], start[0, :2, :2], atol=0.05)


def test_attention_is_looked_at_over_the_picture(tree: Tree, model: LatentModel) -> None:
    looking = {"picture": 1, "layer": "averaged", "head": "all"}
    shown = panel.show(ENGLISH, tree, Selection(), looking)
    assert shown["place"].count("<img") == shown["where"].count("<img") == 1
    assert 'data-width="8" data-height="8"' in shown["place"]
    look = record.record_attention(tree.current.recipe, 3, 1)
    assert look is not None and look.x0.shape == (1, 8, 8) and look.grid == (4, 4)
    assert look.place(record.Spot(7, 7)).shape == (4, 4)


def test_algorithm_2_names_a_channel_of_z(tree: Tree) -> None:
    numbers = algorithm2.step_numbers(tree.current.recipe, 2, "en")
    assert numbers.name_of_pixel == "channel 1 of 4, row 3, column 3 of picture 1"


def test_the_noise_tab_asks_of_z_and_shows_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = model_view.ModelProbe(NAME, "owl.png", 4, 1)
    assert probe.x0.shape == probe.eps.shape == (4, 4, 4) and probe.picture.shape == (1, 8, 8)
    seen, trip = probe.predict(20.0), probe.round_trip(20.0)
    assert seen.x0.shape == trip.x0.shape == (1, 8, 8) and seen.x_t.shape == (1, 4, 4)
    assert trip.rms == pytest.approx(float((trip.x0 - probe.picture).square().mean().sqrt()))
    assert model_view.prediction_html(seen, probe.T, "en").count("<img") == 3
    assert model_view.round_trips_html([trip], probe, "en").count("<img") == 2
    monkeypatch.setattr(algorithm1, "new_seed", lambda: 4)
    [shown] = algorithm1.show_algorithm({"picture": "owl.png"}, NAME, ENGLISH)
    assert shown["tool"]["shown"].count("<img") == 4
