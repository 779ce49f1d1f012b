"""A published model beside another of the same latents: one noise, one size, its own guidance."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sd.common.validation import InputError
from sd.generation.pipeline import begin_x
from sd.generation.published import shelf
from sd.runs import Home, default_home
from sd.ui import models, state
from sd.ui.denoise.tools import beside
from tests.helpers import published

OWN = "shapes128"  # bundled: through TAESD, whose latents are Stable Diffusion's


@pytest.fixture(autouse=True)
def model(tmp_path: Path) -> Iterator[str]:
    with state.use(state.Shared(home=Home(tmp_path, default_home().bundled))):
        file = published.write_single(tmp_path / "v1.safetensors")
        yield f"{shelf.open_file(state.home(), file, shelf.MODEL).name}#vae=taesd"


def test_both_begin_with_the_same_noise(model: str) -> None:
    settings = {"steps": 2, "prompts": ("a cat",), "negative": "dog", "guidance": (7.5,)}
    recipe = models.make_recipe(model, seed=3, size=(128, 128), **settings)
    lanes = beside.lanes(recipe, OWN)
    assert [each.model for each in lanes] == [model, OWN] and lanes[0] == recipe
    assert lanes[1].guidance == (2.0,) and not lanes[1].negative and lanes[1].digest
    noises = [begin_x(each, models.open_recipe_model(each), "cpu") for each in lanes]
    assert torch.equal(*noises)


def test_models_of_the_same_latents_are_offered(model: str) -> None:
    form = beside.offer(model)["race_form"]["patch"]
    assert form["values"] == {"beside": OWN}
    assert [value for _, value in form["choices"]["beside"]] == [OWN]
    assert not list(beside.others(OWN))  # the file alone has an autoencoder of another kind
    assert not list(beside.others("shapes32"))  # of pixels
    with pytest.raises(InputError, match="no other model has latents of this kind"):
        beside.lanes(models.make_recipe("shapes32", seed=0), OWN)
    with pytest.raises(InputError, match="beside = 'emoji32'"):
        beside.lanes(models.make_recipe(model, seed=0), "emoji32")
