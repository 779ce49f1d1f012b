"""Published models made of their files, tensor by tensor."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from sd.checkpoints.first_stage import open_autoencoder_at
from sd.checkpoints.pretrained.building import LATENT_RGB, open_pretrained
from sd.checkpoints.pretrained.inspection import inspect
from sd.common.paths import PACKAGE
from sd.common.validation import InputError
from sd.data.image_set import read_images
from sd.diffusion.guidance import Guidance
from sd.networks.first_stage import Latents
from tests.helpers import published


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return published.write_single(tmp_path_factory.mktemp("single") / "model.safetensors")


def test_every_weight_of_a_single_file_arrives_to_the_bit(single):
    model = open_pretrained(str(single))
    for module, state in (
        (model.unet, published.unet_state()),
        (model.latents.autoencoder, published.autoencoder_state()),
        (model.conditioner.encoder, published.text_state()),
    ):
        found = module.state_dict()
        assert set(found) == set(state)
        assert all(torch.equal(found[name], each) for name, each in state.items())


def test_a_folder_gives_the_same_model(single, tmp_path):
    folder = published.write_folder(tmp_path / "folder", scheduler={"prediction_type": "epsilon"})
    a, b = open_pretrained(str(single)), open_pretrained(str(folder))
    one, other = a.network.state_dict(), b.network.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert a.config.diffusion == b.config.diffusion


def test_a_torch_file_gives_the_same_model(single, tmp_path):
    state = published.single_state()
    torch.save({"state_dict": state, "global_step": 1}, tmp_path / "model.ckpt")
    a, b = open_pretrained(str(single)), open_pretrained(str(tmp_path / "model.ckpt"))
    one, other = a.network.state_dict(), b.network.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_draws_what_it_is_asked_for(single):
    model = open_pretrained(str(single))
    assert model.shape == (4, 64, 64)
    small = model.resized(16, 16)
    sampling = small.sampling("ddim", 2)
    answers = [
        sampling.sample(small.guided([prompt], "", Guidance((2.0,))), small.shape, [0])
        for prompt in ("a cat", "a dog " * 90, "a cat")
    ]
    assert torch.equal(answers[0], answers[2])
    assert not torch.equal(answers[0], answers[1])
    picture = small.space.decode(answers[0])
    assert picture.shape == (1, 3, 16, 16)
    assert torch.isfinite(picture).all()


def test_in_bfloat16_it_answers_nearly_the_same(single):
    model, half = (open_pretrained(f"{single}{end}") for end in ("", "#dtype=bfloat16"))
    assert next(half.unet.parameters()).dtype == torch.bfloat16
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    a, b = (each.guided(["a cat"])(x, 500).eps for each in (model, half))
    assert b.dtype == torch.float32
    assert (a - b).abs().max() < 0.1 * a.abs().max()


def test_too_little_memory_is_said_before_a_tensor_is_read(single, monkeypatch):
    monkeypatch.setattr("sd.checkpoints.pretrained.building.read_tensor", None)
    with pytest.raises(InputError, match=r"weights take 14 MiB; 13 MiB are free here; with"):
        open_pretrained(str(single), room=13 * 2**20)
    with pytest.raises(InputError, match=r"weights take 14 MiB; 1 MiB are free here$"):
        open_pretrained(str(single), room=2**20)


def test_without_an_autoencoder_taesd_takes_its_place(tmp_path):
    path = published.write_single(tmp_path / "model.safetensors", vae=False, text=False)
    model = open_pretrained(str(path))
    assert model.latents.autoencoder.factor == 8
    assert model.latents.std.tolist() == [1.0] * 4
    assert model.conditioner is None


@pytest.mark.parametrize("form", ["taesd", "file", "folder"])
def test_another_autoencoder_may_take_the_place_of_its_own(tmp_path, single, form):
    if form == "taesd":
        model = open_pretrained(f"{single}#vae=taesd")
        assert model.latents.autoencoder.factor == 8
        return
    place = tmp_path / "diffusion_pytorch_model.safetensors"
    other = published.autoencoder_state(seed="another/")
    save_file(published.autoencoder_state(theirs=form == "folder", seed="another/"), place)
    model = open_pretrained(f"{single}#vae={place if form == 'file' else tmp_path}")
    found = model.latents.autoencoder.state_dict()
    assert all(torch.equal(found[name], each) for name, each in other.items())


def test_an_autoencoder_that_is_not_there_is_not_looked_for_elsewhere(single):
    with pytest.raises(InputError, match="vae = 'stabilityai/sd-vae': no such file or folder"):
        open_pretrained(f"{single}#vae=stabilityai/sd-vae")


def test_the_text_encoder_of_v2_is_taken_without_its_last_layer(tmp_path):
    theirs, used = published.open_clip_state(64, 3)
    theirs |= {"text_projection": torch.zeros(64, 64), "logit_scale": torch.zeros(())}
    config = replace(published.UNET, context_dim=64)
    state = published.single_state(config, text=False, vae=False)
    state |= published.prefixed("cond_stage_model.model.", theirs)
    path = published.write_single(tmp_path / "model.safetensors", state)
    part = inspect(path).part("open_clip")
    assert part.whole and not part.unexpected
    encoder = open_pretrained(str(path)).conditioner.encoder
    found = encoder.state_dict()
    assert set(found) == set(used)
    assert all(torch.equal(found[name], each) for name, each in used.items())
    config = encoder.config
    assert (config.layers, config.activation, config.padding) == (2, "gelu", 0)


def test_a_model_that_lacks_a_tensor_is_refused(tmp_path):
    state = published.single_state(text=False, vae=False)
    del state["model.diffusion_model.out.2.bias"]
    path = published.write_single(tmp_path / "model.safetensors", state)
    with pytest.raises(InputError, match=r"model\.safetensors: U-Net: 1 \(out\.2\.bias\) missing"):
        open_pretrained(str(path))


def test_values_that_are_not_finite_are_refused(tmp_path):
    state = published.single_state(text=False, vae=False)
    state["model.diffusion_model.out.2.bias"] = torch.full((4,), torch.nan)
    path = published.write_single(tmp_path / "model.safetensors", state)
    with pytest.raises(InputError, match=r"out\.2\.bias holds values that are not finite"):
        open_pretrained(str(path))


def test_the_linear_preview_shows_the_colours_of_a_photo():
    """19.4 dB against its mean colours, 16.9 with the factors that others publish."""
    picture = read_images(str(PACKAGE / "data" / "starter" / "cat.jpg"), height=128, width=128)
    x = picture.pixels / 127.5 - 1
    space = Latents(
        open_autoencoder_at("taesd"),
        torch.zeros(4),
        torch.ones(4),
        torch.tensor(LATENT_RGB),
        (3, 128, 128),
    )
    error = space.preview(space.encode(x)).clamp(-1, 1) - functional.avg_pool2d(x, 8)
    assert 10 * math.log10(4 / float(error.square().mean())) > 19
