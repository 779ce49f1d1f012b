"""Whole samplings of published models against those of diffusers, with the same weights and noise.

The fixture holds what diffusers 0.42.1 draws in 5 steps with guidance 7.5 for "a red cat", trailing
times; its inpainting is given the mean of the latents of the masked picture.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sd.checkpoints.pretrained.building import open_pretrained
from sd.common.encoding import png_bytes
from sd.data.images import to_pil
from sd.diffusion.guidance import Guidance
from sd.generation.pipeline import denoiser_of
from sd.generation.recipe import Recipe, Start
from tests.helpers import published
from tests.helpers.parity import normal

FIXTURE = Path(__file__).parents[2] / "fixtures" / "pipelines.npz"
V2 = replace(published.UNET, model_channels=64, num_heads=-1, num_head_channels=64)
CASES = {  # a network, whether its projections are matrices, what it estimates
    "eps": (published.UNET, False, "eps"),
    "v2": (V2, True, "v"),
    "inpainting": (replace(published.UNET, channel=9), False, "eps"),
    "no_middle": (replace(published.UNET, middle=False), False, "eps"),
}


@pytest.mark.parametrize(
    ("kind", "sampler"),
    [
        ("eps", "ddim"),
        ("eps", "dpmpp_2m"),
        ("v2", "ddim"),
        ("inpainting", "ddim"),
        ("no_middle", "ddim"),
    ],
)
def test_a_whole_sampling_equals_that_of_diffusers(tmp_path, kind, sampler):
    config, linear, prediction = CASES[kind]
    state = published.single_state(config, linear)
    path = published.write_single(tmp_path / "model.safetensors", state)
    model = open_pretrained(f"{path}#prediction={prediction}").resized(16, 16)
    if kind == "inpainting":
        mask, picture = published.inpainted()
        model = model.around(picture, mask)
    denoiser = model.guided(["a red cat"], "", Guidance((7.5,)))
    start = torch.from_numpy(normal(f"{kind}/start", [1, 4, 8, 8]))
    *_, last = model.sampling(sampler, 5).steps(denoiser, model.shape, [0], start=start)
    fixture = np.load(FIXTURE)
    theirs = torch.from_numpy(fixture[f"{kind}/{sampler}/z"])
    assert ((last.x_t - theirs) / theirs.std()).abs().max() < 1e-4  # latents have a spread of 1
    if (kind, sampler) == ("eps", "ddim"):
        picture = model.space.decode(last.x_t)
        wanted = torch.from_numpy(fixture["eps/ddim/x"]).clamp(-1, 1)
        assert (picture - wanted).abs().max() < 2 / 255  # a grey level, of values from -1 to 1


def test_an_inpainting_network_sees_the_picture_and_the_mask_of_a_recipe(tmp_path):
    config = CASES["inpainting"][0]
    state = published.single_state(config)
    path = published.write_single(tmp_path / "model.safetensors", state)
    model = open_pretrained(str(path)).resized(16, 16)
    mask, picture = published.inpainted()
    picture = (picture * 127.5).round() / 127.5  # as a PNG holds it
    held = [png_bytes(to_pil(each)) for each in (picture, mask * 2 - 1)]
    recipe = Recipe(str(path), count=1, start=Start(held[0], 1000, held[1]))
    x = torch.from_numpy(normal("inpainting/start", [1, 4, 8, 8]))
    answer = denoiser_of(recipe, model)(x, 500).eps
    assert torch.allclose(answer, model.around(picture, mask).denoiser(x, 500).eps, atol=0.02)
    assert not torch.allclose(answer, model.denoiser(x, 500).eps, atol=0.2)
