"""Whole samplings of published models against those of diffusers, with the same weights and noise.

The fixture holds what diffusers 0.42.1 draws in 10 steps with guidance 7.5 for "a red cat":
`python -m tests.benchmarks.published_pipelines`.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from sd.checkpoints.pretrained.building import open_pretrained
from sd.common.encoding import png_bytes
from sd.data.images import to_pil
from sd.generation.pipeline import (
    denoiser_of,
    encoded_picture,
    known_of,
    sampling_of,
    space_of,
    starting_x,
)
from sd.generation.recipe import Recipe, Start
from tests.helpers import published
from tests.helpers.parity import normal
from tests.helpers.pipelines import CASES, FIXTURE, PROMPT, SCALE, SIDE, STEPS


@cache
def stored():
    """Return what diffusers drew, by name."""
    with np.load(FIXTURE, allow_pickle=False) as found:
        return {name: torch.from_numpy(found[name]) for name in found.files}


def written(tmp_path, case):
    """Return a case's model, from a single file."""
    path = published.write_single(tmp_path / "model.safetensors", case.state())
    return open_pretrained(f"{path}#prediction={case.prediction}").resized(SIDE, SIDE)


def recipe_of(case, sampler):
    """Return the recipe of a case; of a picture, as many steps as diffusers makes of its t."""
    mask, picture = published.inpainted()
    held = [png_bytes(to_pil(each)) for each in (picture, mask * 2 - 1)]
    start = Start(held[0], case.t, held[1] if case.mask else None)
    return Recipe(
        "model",
        count=1,
        seed=case.seed,
        sampler=sampler,
        steps=STEPS * case.t // 1000,
        prompts=(PROMPT,),
        guidance=(SCALE,),
        start=start if case.mask or case.t < 1000 else None,
    )


@pytest.mark.parametrize(
    ("name", "sampler"), [(name, each) for name, case in CASES.items() for each in case.samplers]
)
def test_a_whole_sampling_equals_that_of_diffusers(tmp_path, name, sampler):
    case = CASES[name]
    model, recipe = written(tmp_path, case), recipe_of(case, sampler)
    x = starting_x(recipe, model)
    if name == "inpainting":  # diffusers begins with noise alone, and lays back nothing meanwhile
        x = starting_x(replace(recipe, start=None), model)
    *_, last = sampling_of(recipe, model).steps(
        denoiser_of(recipe, model),
        model.shape,
        recipe.seeds,
        start=x,
        known=None if name == "inpainting" else known_of(recipe, model.space),
    )
    theirs = stored()[f"{name}/{sampler}/z"]
    assert ((last.x_t - theirs) / theirs.std()).abs().max() < 1e-4
    wanted = stored()[f"{name}/{sampler}/x"]
    grey_level = 2 / 255  # of values from -1 to 1
    assert (model.space.decode(last.x_t).clamp(-1, 1) - wanted).abs().max() < grey_level


def test_outside_a_mask_the_picture_is_the_original_and_within_it_what_diffusers_draws(tmp_path):
    case = CASES["masked"]
    model, recipe = written(tmp_path, case), recipe_of(case, "ddim")
    theirs = stored()["masked/ddim/z"]
    picture = space_of(recipe, model.space).decode(theirs)
    mask, original = published.inpainted()
    assert torch.allclose(picture[0][:, mask[0] == 0], original[:, mask[0] == 0], atol=1e-6)
    wanted = stored()["masked/ddim/x"]
    assert (picture - wanted)[..., 5:11, 3:9].abs().max() < 2 / 255
    assert (picture - wanted)[..., mask[0] == 0].abs().max() > 0.5  # diffusers leaves it decoded


def test_a_picture_is_noised_as_diffusers_does(tmp_path):
    case = CASES["img2img"]
    model, recipe = written(tmp_path, case), recipe_of(case, "ddim")
    x0 = encoded_picture(recipe.start.picture, model.space)
    x = starting_x(recipe, model)[0]
    a, b = model.diffusion.schedule.at(600)
    noise = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(case.seed))
    assert torch.allclose(x, a * x0 + b * noise, atol=1e-5)


def test_an_inpainting_network_sees_the_picture_and_the_mask_of_a_recipe(tmp_path):
    case = CASES["inpainting"]
    model, recipe = written(tmp_path, case), recipe_of(case, "ddim")
    mask, picture = published.inpainted()
    x = torch.from_numpy(normal("inpainting/start", [1, 4, 8, 8]))
    told = denoiser_of(replace(recipe, prompts=(), guidance=(1.0,)), model)
    assert torch.allclose(
        told(x, 500).eps, model.around(picture, mask).denoiser(x, 500).eps, atol=0.02
    )
    assert not torch.allclose(told(x, 500).eps, model.denoiser(x, 500).eps, atol=0.2)
