"""Ways out: what is written is what was read, to the bit, and other programs read it."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.building import open_pretrained
from sd.checkpoints.pretrained.export import unfit, write_pipeline, write_single
from sd.checkpoints.pretrained.inspection import inspect
from sd.common.validation import InputError
from sd.config.conditioning_kind import resolve_conditioning
from sd.diffusion.guidance import Guidance
from sd.networks.conditioning import ClassTokens
from sd.networks.first_stage import Latents
from sd.training.randomness import new_network
from tests.helpers import published
from tests.helpers.first_stages import latent_settings, small_autoencoder
from tests.helpers.networks import with_weights
from tests.helpers.parity import normal

V2 = replace(published.UNET, model_channels=64, num_heads=-1, num_head_channels=64)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return published.write_single(tmp_path_factory.mktemp("single") / "model.safetensors")


def equal(a, b):
    one, other = a.network.state_dict(), b.network.state_dict()
    vaes = [each.latents.autoencoder.state_dict() for each in (a, b)]
    return (
        set(one) == set(other)
        and all(torch.equal(one[name], other[name]) for name in one)
        and all(torch.equal(vaes[0][name], vaes[1][name]) for name in vaes[0])
    )


def test_a_single_file_goes_to_a_folder_and_back_to_the_bit(single, tmp_path):
    model = open_pretrained(str(single))
    write_pipeline(model, tmp_path / "folder")
    again = open_pretrained(str(tmp_path / "folder"))
    assert equal(model, again)
    assert again.config.diffusion == model.config.diffusion
    write_single(again, tmp_path / "again.safetensors")
    first, last = load_file(single), load_file(tmp_path / "again.safetensors")
    left = set(first) - set(last)
    assert left == set(published.LEFT_OVER)
    assert all(torch.equal(first[name], each) for name, each in last.items())
    report = inspect(tmp_path / "folder")
    assert all(part.whole and not part.unexpected for part in report.parts)
    assert not report.guesses


@pytest.mark.parametrize(
    "config", [V2, replace(published.UNET, middle=False), replace(published.UNET, channel=9)]
)
def test_other_networks_go_to_a_folder_and_back_too(tmp_path, config):
    linear = config is V2
    path = tmp_path / "model.safetensors"
    state = published.single_state(config, linear)
    model = open_pretrained(f"{published.write_single(path, state)}#prediction=v")
    write_pipeline(model, tmp_path / "folder")
    again = open_pretrained(str(tmp_path / "folder"))
    assert equal(model, again)
    assert again.unet.config == config
    assert again.config.diffusion.prediction == "v"
    settings = json.loads((tmp_path / "folder" / "unet" / "config.json").read_text())
    assert settings["use_linear_projection"] is linear


def test_the_header_of_a_single_file_says_what_it_is(single, tmp_path):
    model = open_pretrained(f"{single}#prediction=v")
    picture = Image.new("RGB", (600, 300), "red")
    write_single(model, tmp_path / "red.safetensors", "float16", picture)
    with safe_open(tmp_path / "red.safetensors", "pt") as file:
        metadata = file.metadata()
        assert file.get_tensor("model.diffusion_model.out.2.bias").dtype == torch.float16
    assert metadata["modelspec.sai_model_spec"] == "1.0.0"
    assert metadata["modelspec.title"] == "red"
    assert metadata["modelspec.prediction_type"] == "v"
    assert metadata["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")
    assert "RAIL-M" in metadata["modelspec.license"]
    assert open_pretrained(str(tmp_path / "red.safetensors")).diffusion.prediction == "v"


def test_what_diffusers_cannot_hold_is_named(single, tmp_path):
    model = open_pretrained(str(single))
    assert unfit(model) == ""
    assert "scaled channel by channel" in unfit(
        replace(model, latents=replace(model.latents, std=torch.tensor([1.0, 2.0, 3.0, 4.0])))
    )
    with pytest.raises(InputError, match="is not written with a model"):
        write_pipeline(replace(model, about={"added": ["red.safetensors"]}), tmp_path / "folder")
    tiny = replace(model, latents=replace(model.latents, mean=torch.ones(4)))
    with pytest.raises(InputError, match="no folder of diffusers can hold this model"):
        write_pipeline(tiny, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_single_file_of_v2_has_the_names_of_open_clip(tmp_path):
    theirs, _ = published.open_clip_state(64, 3)
    wide = replace(V2, context_dim=64)
    state = published.prefixed("model.diffusion_model.", published.unet_state(wide, linear=True))
    state |= published.prefixed("first_stage_model.", published.autoencoder_state())
    state |= published.prefixed("cond_stage_model.model.", theirs)
    path = published.write_single(tmp_path / "v2.safetensors", state)
    model = open_pretrained(f"{path}#prediction=v")
    write_single(model, tmp_path / "again.safetensors")
    written = load_file(tmp_path / "again.safetensors")
    unused = "cond_stage_model.model.transformer.resblocks.2."  # of three the last
    assert {name for name in written if name.startswith(unused)} == {
        name for name in state if name.startswith(unused)
    }
    for name, each in written.items():
        wanted = torch.zeros_like(each) if name.startswith(unused) else state[name]
        assert torch.equal(each, wanted), name
    again = open_pretrained(str(tmp_path / "again.safetensors"))
    assert equal(model, again) and again.diffusion.prediction == "v"


@pytest.mark.slow
@pytest.mark.parametrize("config", [published.UNET, V2])
def test_the_pipeline_of_diffusers_loads_a_folder_and_draws_the_same(tmp_path, config):
    diffusers = pytest.importorskip("diffusers")
    state = published.single_state(config, config is V2)
    path = published.write_single(tmp_path / "model.safetensors", state)
    model = open_pretrained(f"{path}#prediction=v").resized(16, 16)
    write_pipeline(model, tmp_path / "folder")
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "folder")
    start = torch.from_numpy(normal("start", [1, 4, 8, 8]))
    settings = {"num_inference_steps": 5, "guidance_scale": 7.5, "output_type": "latent"}
    size = {"height": 16, "width": 16}
    theirs = pipeline("a red cat", latents=start, **size, **settings).images
    denoiser = model.guided(["a red cat"], "", Guidance((7.5,)))
    *_, last = model.sampling("ddim", 5).steps(denoiser, model.shape, [0], start=start)
    assert ((last.x_t - theirs) / theirs.std()).abs().max() < 1e-4


@pytest.mark.slow
def test_a_picture_is_begun_from_as_by_diffusers(single, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    model = open_pretrained(str(single)).resized(16, 16)
    write_pipeline(model, tmp_path / "folder")
    pipeline = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(tmp_path / "folder")
    x0 = torch.from_numpy(normal("start", [1, 4, 8, 8]))  # latents, as all between the encoders
    settings = {"num_inference_steps": 10, "guidance_scale": 7.5, "output_type": "latent"}
    noise = torch.Generator().manual_seed(3)
    theirs = pipeline("a red cat", image=x0, strength=0.6, generator=noise, **settings).images
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(3))
    start = model.diffusion.q_sample(x0, 600, eps)
    denoiser = model.guided(["a red cat"], "", Guidance((7.5,)))
    sampling = model.sampling("ddim", 6, start_time=600)
    *_, last = sampling.steps(denoiser, model.shape, [0], start=start)
    assert ((last.x_t - theirs) / theirs.std()).abs().max() < 1e-4


def test_an_own_model_comes_back_from_a_single_file_to_the_bit(tmp_path, tiny_config):
    settings = ["conditioning.kind=class_tokens", "unet.attention_resolutions=[1]"]
    config = latent_settings(tmp_path, tiny_config, *settings)
    config = resolve_conditioning(config, captions=0, labels=2)
    unet = with_weights(new_network(config, seed=1)).requires_grad_(False)
    conditioner = ClassTokens(("cat", "dog"), config.unet.context_dim)
    moments = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    latents = Latents(small_autoencoder(), *moments, torch.randn(5, 3), config.picture_shape)
    model = Model(unet, config, {}, conditioner, latents)
    path = tmp_path / "own.safetensors"
    write_single(model, path)
    again = open_pretrained(str(path))
    assert equal(model, again)
    assert again.config == model.config
    assert torch.equal(again.latents.std, latents.std)
    report = inspect(path)
    assert report.kind == "a model that was trained with sd"
    assert [part.title for part in report.parts] == ["U-Net", "autoencoder", "what it is told"]
    x = torch.randn(1, *model.shape)
    answers = [each.guided(["dog"])(x, 9).eps for each in (model, again)]
    assert torch.allclose(*answers, atol=1e-4)  # the layout in memory differs
    assert "no words" in unfit(model) or "blocks" in unfit(model)
