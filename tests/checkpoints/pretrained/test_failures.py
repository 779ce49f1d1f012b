"""What people report that other programs fail at: each a generated file, read or refused in a line.

No socket is opened meanwhile, and no code in a file is run.
"""

import json
import os
import pickle
import socket
import struct
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sd.checkpoints.pretrained.building import open_pretrained
from sd.checkpoints.pretrained.inspection import inspect
from sd.common.validation import InputError
from sd.generation.pipeline import stream
from sd.generation.recipe import Recipe
from sd.networks.autoencoder import TinyAutoencoder
from tests.helpers import published

UNET = "model.diffusion_model."
VAE = "first_stage_model."


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.fixture(scope="module")
def unet_only():
    return published.single_state(text=False, vae=False)


def refusal(path):
    """Return the one line with which a file is refused."""
    with pytest.raises(InputError) as error:
        open_pretrained(str(path))
    line = str(error.value)
    assert line.isprintable() and len(line) < 300
    assert line.startswith(Path(str(path).partition("#")[0]).name)
    return line


def written(path, data):
    path.write_bytes(data)
    return path


# read


@pytest.mark.parametrize("ids", [None, torch.arange(77)[None], torch.rand(1, 77)])
def test_position_ids_may_be_missing_whole_or_wrong(tmp_path, unet_only, ids):
    state = unet_only | published.prefixed(published.TEXT_PREFIX, published.text_state())
    name = f"{published.TEXT_PREFIX}embeddings.position_ids"
    state.pop(name, None)
    if ids is not None:
        state[name] = ids
    report = inspect(published.write_single(tmp_path / "model.safetensors", state))
    text = report.part("text")
    assert text.whole and not text.unexpected
    assert any("position_ids" in note for note in report.notes) == (ids is not None)


def test_the_text_encoder_may_have_the_names_of_old_exports(tmp_path, unet_only):
    old = published.prefixed("cond_stage_model.transformer.", published.text_state())
    report = inspect(published.write_single(tmp_path / "model.safetensors", unet_only | old))
    assert report.part("text").whole


@pytest.mark.parametrize(("spread", "prediction"), [(0.2, "v"), (0.02, "eps")])
def test_a_v2_model_is_told_by_one_tensor_and_the_guess_can_be_overruled(
    tmp_path, spread, prediction
):
    config = replace(
        published.UNET,
        num_res_blocks=2,
        channel_mult=(1, 1, 1, 1),
        attention_resolutions=(1, 2, 4),
        context_dim=1024,
        model_channels=64,
    )
    state = published.unet_state(config, linear=True)
    name = "output_blocks.11.1.transformer_blocks.0.norm1.bias"
    state[name] = spread * torch.linspace(-1.7, 1.7, 64)
    path = tmp_path / "model.safetensors"
    save_file(published.prefixed(UNET, state), path)
    report = inspect(path)
    assert report.kind == "Stable Diffusion v2"
    assert report.settings["prediction"] == prediction
    guess = next(each for each in report.guesses if each.name == "prediction")
    assert set(guess.choices) == {"eps", "v", "x0"}
    assert report.parts[0].config.num_head_channels == 64


def test_the_mark_of_a_schedule_that_ends_in_noise_is_read(tmp_path, unet_only):
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    path = published.write_single(tmp_path / "model.safetensors", unet_only | marks)
    model = open_pretrained(str(path))
    assert model.diffusion.prediction == "v"
    assert model.diffusion.schedule.terminal_snr == 0
    line = refusal(f"{path}#prediction=eps")
    assert "zero_terminal_snr" in line


def test_an_inpainting_model_is_told_by_its_channels(tmp_path):
    config = replace(published.UNET, channel=9)
    path = tmp_path / "model.safetensors"
    save_file(published.prefixed(UNET, published.unet_state(config)), path)
    assert inspect(path).kind.endswith("inpainting")
    assert open_pretrained(str(path)).is_inpainting


@pytest.mark.parametrize("era", ["0.17", "to_to"])
def test_the_autoencoder_may_have_the_names_of_another_era(tmp_path, unet_only, era):
    earlier = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    doubled = {name: name.replace("to_", "to_to_") for name in ("to_q", "to_k", "to_v")}
    state = {}
    for name, each in published.autoencoder_state(theirs=True).items():
        for now, then in (earlier if era == "0.17" else doubled).items():
            name = name.replace(f".{now}.", f".{then}.")
        state[name] = each
    path = tmp_path / "model.safetensors"
    save_file(unet_only | published.prefixed(VAE, state), path)
    found = open_pretrained(str(path)).latents.autoencoder.state_dict()
    wanted = published.autoencoder_state()
    assert all(torch.equal(found[name], each) for name, each in wanted.items())


@pytest.mark.parametrize("theirs", [False, True])
def test_an_autoencoder_may_attend_in_its_levels(tmp_path, unet_only, monkeypatch, theirs):
    monkeypatch.setitem(published.DDCONFIG, "attended", (1,))
    state = published.autoencoder_state(theirs)
    path = tmp_path / "model.safetensors"
    save_file(unet_only | published.prefixed(VAE, state), path)
    found = open_pretrained(str(path)).latents.autoencoder.state_dict()
    wanted = published.autoencoder_state()
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], each) for name, each in wanted.items())


def test_without_an_autoencoder_taesd_takes_its_place_and_the_report_says_so(tmp_path):
    path = published.write_single(tmp_path / "model.safetensors", vae=False)
    assert "no autoencoder: TAESD, which comes with sd" in "\n".join(inspect(path).lines())
    model = open_pretrained(str(path)).resized(64, 64)
    assert isinstance(model.latents.autoencoder, TinyAutoencoder)
    assert model.space.decode(torch.zeros(1, *model.shape)).shape == (1, 3, 64, 64)


def test_without_a_text_encoder_it_is_read_and_says_why_it_draws_nothing(tmp_path, unet_only):
    path = published.write_single(tmp_path / "model.safetensors", unet_only)
    assert "no text encoder" in "\n".join(inspect(path).lines())
    with pytest.raises(InputError, match="knows no words"):
        open_pretrained(str(path)).guided(["a cat"])
    with pytest.raises(InputError, match="came without the text encoder"):
        open_pretrained(str(path)).guided()


def test_what_lightning_leaves_in_a_torch_file_is_passed_over(tmp_path, unet_only, monkeypatch):
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    for part in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
        monkeypatch.setitem(sys.modules, part, module if part == name else types.ModuleType(part))
    path = tmp_path / "model.ckpt"
    callback = module.ModelCheckpoint()
    callback.best = 1.5
    torch.save({"state_dict": unet_only, "callbacks": {module.ModelCheckpoint: callback}}, path)
    for part in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
        monkeypatch.delitem(sys.modules, part)
    assert inspect(path).parts[0].whole
    assert inspect(path).form == "torch"


def test_files_are_closed_and_no_longer_mapped_once_a_model_is_read(tmp_path, unet_only):
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("no /proc here")
    path = published.write_single(tmp_path / "model.safetensors", unet_only)
    model = open_pretrained(str(path))
    assert str(path) not in maps.read_text(encoding="utf-8", errors="replace")
    assert model.unet is not None


def test_the_autoencoder_stays_in_float32(tmp_path, unet_only):
    state = unet_only | published.prefixed(VAE, published.autoencoder_state())
    halves = {name: each.half() for name, each in state.items()}
    path = published.write_single(tmp_path / "model.safetensors", halves)
    model = open_pretrained(f"{path}#dtype=bfloat16")
    assert {each.dtype for each in model.latents.autoencoder.parameters()} == {torch.float32}


def test_a_picture_of_what_is_no_number_is_a_line_and_not_black(tmp_path):
    path = published.write_single(tmp_path / "model.safetensors")
    model = open_pretrained(str(path))
    z = torch.randn(1, *model.shape)
    model.latents.autoencoder.decoder.conv_out.weight.fill_(3e38)  # finite, its sums are not
    with pytest.raises(InputError, match="the autoencoder gives values that are not finite"):
        model.space.decode(z)
    model.unet.out[2].weight.fill_(3e38)
    recipe = Recipe(str(path), count=2, seed=7, steps=2, size=(16, 16))
    with pytest.raises(InputError, match=r"seed 7, step 1: values that are not finite.*float32"):
        list(stream(recipe, model, "cpu"))


def test_shards_and_half_precision_files_of_a_folder_are_read(tmp_path):
    folder = published.write_folder(tmp_path / "folder", variant=".fp16")
    file = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    state, unet = published.unet_state(theirs=True), folder / "unet"
    names = sorted(state)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, held in shards.items():
        save_file({name: state[name] for name in held}, unet / shard)
    file.unlink()
    index = {"weight_map": {name: shard for shard, held in shards.items() for name in held}}
    place = unet / "diffusion_pytorch_model.safetensors.index.json"
    place.write_text(json.dumps(index))
    report = inspect(folder)
    assert all(part.whole for part in report.parts)
    assert sorted(report.parts[0].files) == ["a.safetensors", "b.safetensors"]
    (unet / "b.safetensors").unlink()
    with pytest.raises(InputError, match=r"lists 'b\.safetensors', which is not there"):
        inspect(folder)


# refused


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "it is a web page, not the file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "it is a git-lfs pointer"),
        (pickle.dumps({"weight": [1.0] * 20}), "it is a bare pickle, which can run code"),
        (b"", "is empty"),
        (b"GGUF" + bytes(60), "it is a GGUF file"),
        (b"\x1f\x8b" + bytes(60), "it is a gzip archive; unpack it first"),
        (struct.pack("<Q", 2**40) + b"{}" + bytes(60), "is no file of weights"),
        (struct.pack("<Q", 200) + b'{"a":' + bytes(20), "cut off within its header"),
        (struct.pack("<Q", 9) + b'{"a": [1}', "its header is not readable as JSON"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path, data, line):
    assert line in refusal(written(tmp_path / "model.safetensors", data))


def test_missing_and_following_bytes_are_counted(tmp_path, unet_only):
    path = published.write_single(tmp_path / "model.safetensors", unet_only)
    whole = path.read_bytes()
    assert "cut off, 100 bytes are missing" in refusal(written(path, whole[:-100]))
    assert "3 bytes follow its end" in refusal(written(path, whole + b"end"))


def entry(**changes):
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize(
    "header",
    [
        entry(shape=[3]),
        entry(shape=[-1]),
        entry(data_offsets=[4, 12]),
        entry(data_offsets=[0]),
        entry(dtype="Q4"),
        {"w": 5},
        [],
    ],
)
def test_a_damaged_header_is_refused(tmp_path, header):
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + bytes(8)
    assert refusal(written(tmp_path / "model.safetensors", data))


FOREIGN = {
    "conditioner.embedders.0.transformer.text_model.x": "Stable Diffusion XL",
    f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": "Stable Diffusion 3",
    f"{UNET}double_blocks.0.img_attn.qkv.weight": "Flux",
    "control_model.input_blocks.0.0.weight": "a ControlNet",
    "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight": "a LoRA",
    "emb_params": "a textual inversion",
    "time_embedding.cond_proj.weight": "an LCM U-Net",
}


@pytest.mark.parametrize(("name", "kind"), FOREIGN.items())
def test_models_of_other_kinds_are_refused_by_name(tmp_path, name, kind):
    path = tmp_path / "model.safetensors"
    save_file({name: torch.zeros(2), "other": torch.zeros(1)}, path)
    line = refusal(path)
    assert f"this is {kind}" in line
    assert "sd reads Stable Diffusion v1 and v2" in line


@pytest.mark.parametrize(
    ("channels", "kind"), [(5, "depth"), (8, "InstructPix2Pix"), (7, "upscaler"), (6, "sees 6")]
)
def test_other_channels_are_refused_by_name(tmp_path, channels, kind):
    config = replace(published.UNET, channel=channels)
    path = tmp_path / "model.safetensors"
    save_file(published.prefixed(UNET, published.unet_state(config)), path)
    assert kind in refusal(path)


@pytest.mark.parametrize(
    ("index", "kind"),
    [
        ({"text_encoder_2": ["transformers", "X"]}, "Stable Diffusion XL"),
        ({"transformer": ["diffusers", "X"]}, "a diffusion transformer"),
        ({"_class_name": "StableDiffusionDepth2ImgPipeline"}, "a depth model"),
        ({}, "its folder unet holds no weights"),
    ],
)
def test_folders_of_other_kinds_are_refused_by_name(tmp_path, index, kind):
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert kind in refusal(tmp_path)


def test_a_file_that_holds_nothing_known_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"something": torch.zeros(2)}, path)
    assert "holds no part of a model that is known" in refusal(path)
    save_file(published.autoencoder_state(), path)
    assert "holds no U-Net, only: autoencoder" in refusal(path)


def test_weights_that_are_no_floats_are_refused(tmp_path, unet_only):
    state = dict(unet_only)
    state[f"{UNET}out.2.bias"] = torch.zeros(4, dtype=torch.int8)
    path = published.write_single(tmp_path / "model.safetensors", state)
    assert "out.2.bias is stored as I8" in refusal(path)


class Canary:
    """Would leave a file if it were ever run."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.system, (f"touch {self.place}",)


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
def test_code_in_a_file_is_named_and_never_run(tmp_path, name):
    place = tmp_path / "sang"
    torch.save({"state_dict": {"w": torch.zeros(1)}, "x": Canary(place)}, tmp_path / name)
    line = refusal(tmp_path / name)
    assert f"names {os.system.__module__}.system, which is code" in line
    assert not place.exists()
