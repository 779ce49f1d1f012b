"""First stages in files: bundled, a person's own, from a hub, and that of a checkpoint."""

import hashlib
import json
import socket

import pytest
import torch
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sd.checkpoints import first_stage
from sd.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from sd.checkpoints.first_stage import BUNDLED, HUB_FILE, open_autoencoder, read_autoencoder
from sd.checkpoints.model import Model
from sd.checkpoints.record import ABOUT, FIRST_STAGE
from sd.common.validation import InputError
from sd.networks.first_stage import Latents
from sd.training.randomness import new_network
from tests.helpers.first_stages import latent_settings, small_autoencoder
from tests.helpers.hub import COMMIT
from tests.helpers.networks import with_weights

LARGEST = 10 * 2**20  # bytes of a file in the repository
TAESD = ("first_stage.autoencoder=taesd", "first_stage.factor=8", "unet.patch_size=1")


def refusal(call, *args):
    with pytest.raises(InputError) as caught:
        call(*args)
    line = str(caught.value)
    assert "\n" not in line and len(line) <= 300
    return line


@pytest.mark.parametrize(("name", "channels"), [("taesd", 4), ("taef2", 32)])
def test_the_bundled_autoencoders_are_whole_small_and_half(name, channels):
    path = BUNDLED / f"{name}.safetensors"
    network = read_autoencoder(path)
    assert (network.factor, network.channels) == (8, channels)
    assert path.stat().st_size <= LARGEST
    with safe_open(path, "pt") as stored:
        assert {stored.get_slice(key).get_dtype() for key in stored.keys()} == {"F16"}  # noqa: SIM118
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    licence = (BUNDLED / "LICENSE").read_text()
    assert "Ollin Boer Bohan" in licence and "MIT License" in licence


def test_settings_name_the_bundled_one(tiny_config):
    config = tiny_config.with_settings([*TAESD, "unet.channel=4", "unet.n_embed=4"])
    assert open_autoencoder(config).channels == 4


def same_outputs(a, b):
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(a.encode(x).mean, b.encode(x).mean)
        z = b.encode(x).mean
        torch.testing.assert_close(a.decode(z), b.decode(z))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("encoder.down_blocks.0.resnets.1.norm1.weight", "encoder.down.0.block.1.norm1.weight"),
        (
            "encoder.down_blocks.1.resnets.0.conv_shortcut.bias",
            "encoder.down.1.block.0.nin_shortcut.bias",
        ),
        ("encoder.down_blocks.0.downsamplers.0.conv.bias", "encoder.down.0.downsample.conv.bias"),
        ("decoder.up_blocks.0.resnets.2.conv1.weight", "decoder.up.1.block.2.conv1.weight"),
        ("decoder.up_blocks.1.attentions.0.to_q.weight", "decoder.up.0.attn.0.q.weight"),
        ("decoder.up_blocks.0.upsamplers.0.conv.bias", "decoder.up.1.upsample.conv.bias"),
        ("encoder.mid_block.attentions.0.group_norm.bias", "encoder.mid.attn_1.norm.bias"),
        ("encoder.mid_block.attentions.0.to_out.0.bias", "encoder.mid.attn_1.proj_out.bias"),
        ("decoder.mid_block.attentions.0.query.weight", "decoder.mid.attn_1.q.weight"),
        ("decoder.mid_block.attentions.0.proj_attn.bias", "decoder.mid.attn_1.proj_out.bias"),
        ("decoder.mid_block.resnets.1.conv2.bias", "decoder.mid.block_2.conv2.bias"),
        ("decoder.conv_norm_out.bias", "decoder.norm_out.bias"),
        ("quant_conv.weight", "quant_conv.weight"),
    ],
)
def test_a_name_of_diffusers_is_that_of_latent_diffusion(theirs, ours):
    largest = "decoder.up_blocks.1.resnets.0.norm1.bias"
    assert first_stage.rename([theirs, largest])[theirs] == ours


@pytest.mark.slow
def test_the_names_of_diffusers_are_read(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    settings = {"block_out_channels": [32, 64], "layers_per_block": 1, "latent_channels": 4}
    blocks = {
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
    }
    theirs = with_weights(diffusers.AutoencoderKL(**settings, **blocks).eval())
    theirs.save_pretrained(tmp_path)
    ours = read_autoencoder(*first_stage._files(str(tmp_path)))
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        wanted = theirs.encode(x).latent_dist.mean
        torch.testing.assert_close(ours.encode(x).mean, wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            ours.decode(wanted), theirs.decode(wanted).sample, rtol=1e-4, atol=1e-3
        )


def test_the_tiny_one_is_read_by_the_names_of_diffusers_and_in_halves(tmp_path):
    wanted = read_autoencoder(BUNDLED / "taesd.safetensors").state_dict()
    renamed = {}
    for name, tensor in wanted.items():
        part, number, *rest = name.split(".")
        lower = int(number) - (part == "decoder")
        renamed[".".join([part, "layers", str(lower), *rest])] = tensor
    save_file(renamed, tmp_path / HUB_FILE)
    halves = tmp_path / "halves"
    halves.mkdir()
    for part in ("encoder", "decoder"):
        half = {n.removeprefix(f"{part}."): t for n, t in wanted.items() if n.startswith(part)}
        save_file(half, halves / f"taesd_{part}.safetensors")
    for place in (tmp_path, halves):
        found = read_autoencoder(*first_stage._files(str(place))).state_dict()
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_first_stage_is_found_within_a_whole_model(tmp_path):
    network = small_autoencoder()
    state = {f"first_stage_model.{name}": each for name, each in network.state_dict().items()}
    state |= {
        "first_stage_model.loss.logvar": torch.ones(1),
        "model.diffusion_model.x": torch.ones(2),
    }
    save_file(state, tmp_path / "model.safetensors")
    same_outputs(read_autoencoder(tmp_path / "model.safetensors"), network)


def test_what_was_fetched_of_a_hub_is_opened_and_nobody_is_asked(
    monkeypatch, tmp_path, tiny_config
):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "socket", None)
    place = f"somebody/vae@{COMMIT}"
    config = latent_settings(tmp_path, tiny_config, f"first_stage.autoencoder={place}")
    assert f"was not fetched; python -m sd pull {place} tells its size" in refusal(
        open_autoencoder, config
    )
    folder = tmp_path / "cache" / "models--somebody--vae" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    save_file(small_autoencoder().state_dict(), folder / HUB_FILE)
    same_outputs(open_autoencoder(config), small_autoencoder())


@pytest.mark.parametrize(
    "place", ["no/such/file/at/all", "nowhere.safetensors", "a b", "own", "stored"]
)
def test_a_place_that_has_none_is_one_line(place, tmp_path, tiny_config):
    config = latent_settings(tmp_path, tiny_config, f"first_stage.autoencoder={place}")
    assert refusal(open_autoencoder, config).startswith("first_stage.autoencoder")


def test_a_folder_without_one_is_one_line(tmp_path, tiny_config):
    config = latent_settings(tmp_path, tiny_config, f"first_stage.autoencoder={tmp_path}")
    assert "holds neither" in refusal(open_autoencoder, config)


def test_what_is_no_autoencoder_is_one_line(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"\x80\x04pickle")
    assert "it is a pickle" in refusal(read_autoencoder, path)
    save_file({"a": torch.ones(2)}, path)
    assert refusal(read_autoencoder, path).startswith("x.safetensors: no autoencoder")
    state = small_autoencoder().state_dict()
    save_file({n: t for n, t in state.items() if n != "decoder.conv_out.bias"}, path)
    assert "missing decoder.conv_out.bias" in refusal(read_autoencoder, path)
    save_file(state | {"decoder.conv_out.bias": torch.full((12,), float("nan"))}, path)
    assert "not finite" in refusal(read_autoencoder, path)


def test_another_factor_or_other_channels_are_one_line(tmp_path, tiny_config):
    config = latent_settings(tmp_path, tiny_config)
    other = config.with_settings(["first_stage.factor=4", "unet.patch_size=1"])
    assert "first_stage.factor = 4: must be 2" in refusal(open_autoencoder, other)
    other = config.with_settings(["unet.channel=8", "unet.n_embed=8"])
    assert "unet.channel = 8: must be 4" in refusal(open_autoencoder, other)


@pytest.fixture
def model(tiny_config, tmp_path):
    config = latent_settings(tmp_path, tiny_config)
    moments = torch.tensor([0.5, -1.0, 0.0, 2.0]), torch.tensor([1.0, 2.0, 0.5, 1.5])
    space = Latents(small_autoencoder(), *moments, torch.randn(5, 3), config.picture_shape)
    return Model(with_weights(new_network(config, 1)).eval(), config, latents=space)


@pytest.fixture
def saved(model, tmp_path):
    return save_checkpoint(model, tmp_path / "checkpoint-1", {"step": 1})


def test_a_checkpoint_holds_its_first_stage(model, saved):
    loaded = load_checkpoint(saved)
    assert (loaded.shape, loaded.space.picture_shape) == ((4, 4, 4), (3, 8, 8))
    for name in ("mean", "std", "rgb"):
        assert torch.equal(getattr(loaded.latents, name), getattr(model.latents, name))
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(loaded.space.encode(x), model.space.encode(x))
    sampled = [
        each.sampling(steps=3).sample(each.denoiser, each.shape, [0]) for each in (model, loaded)
    ]
    torch.testing.assert_close(*sampled)
    assert json.loads((saved / ABOUT).read_text())["format"] == 2


def test_weights_that_half_precision_holds_take_half_the_room(tmp_path, model):
    path = tmp_path / "a.safetensors"
    first_stage.write_autoencoder(path, small_autoencoder())
    network = small_autoencoder()
    network.load_state_dict({n: t.half().float() for n, t in network.state_dict().items()})
    first_stage.write_autoencoder(tmp_path / "b.safetensors", network)
    assert (tmp_path / "b.safetensors").stat().st_size < 0.6 * path.stat().st_size
    again = read_autoencoder(tmp_path / "b.safetensors").state_dict()
    assert all(torch.equal(again[n], t) for n, t in network.state_dict().items())


def harm(saved, change):
    """Alter the first stage and make its digest right again."""
    state = load_file(saved / FIRST_STAGE)
    change(state)
    save_file(state, saved / FIRST_STAGE)
    about = json.loads((saved / ABOUT).read_text())
    about["sha256"][FIRST_STAGE] = hashlib.sha256((saved / FIRST_STAGE).read_bytes()).hexdigest()
    (saved / ABOUT).write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.pop("space.std"), "has no space.std"),
        (lambda state: state["space.std"].zero_(), "space.std must be above 0"),
        (lambda state: state.update({"space.rgb": torch.ones(4, 3)}), "space.rgb is [4, 3]"),
        (lambda state: state["space.mean"].fill_(float("nan")), "not finite"),
        (lambda state: state.pop("post_quant_conv.weight"), "no autoencoder"),
        (lambda state: state.update({"x": torch.ones(1)}), "unknown x"),
    ],
)
def test_a_first_stage_that_is_none_is_one_line(saved, change, reason):
    harm(saved, change)
    assert reason in refusal(load_checkpoint, saved)


def test_a_damaged_or_missing_first_stage_is_one_line(saved):
    path = saved / FIRST_STAGE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "damaged" in refusal(load_checkpoint, saved)
    path.unlink()
    assert "has no file first_stage.safetensors" in refusal(load_checkpoint, saved)


def test_a_checkpoint_of_before_is_read(saved, tiny_config, tmp_path):
    plain = Model(with_weights(new_network(tiny_config, 1)), tiny_config)
    folder = save_checkpoint(plain, tmp_path / "checkpoint-2", {"step": 2})
    about = json.loads((folder / ABOUT).read_text())
    del about["sha256"][ABOUT]
    (folder / ABOUT).write_text(json.dumps(about | {"format": 1}))
    assert load_checkpoint(folder).shape == (1, 8, 8)
    (folder / ABOUT).write_text(json.dumps(about | {"format": 3}))
    assert "format 3; 1 to 2 are read" in refusal(load_checkpoint, folder)
