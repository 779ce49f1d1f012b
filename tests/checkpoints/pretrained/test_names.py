"""The names of published models, both ways, against our networks and what diffusers has."""

import hashlib

import pytest
import torch

from sd.checkpoints.pretrained.names import (
    autoencoder_tensors,
    open_clip_names,
    text_tensors,
    to_ours,
    to_theirs,
    unet_modules,
    unet_tensors,
)
from sd.config.sections import UNetConfig
from sd.networks.autoencoder import AutoencoderKL
from sd.networks.blueprint import blueprint
from sd.networks.unet import UNetModel

V1 = UNetConfig(
    channel=4,
    n_embed=4,
    model_channels=320,
    num_res_blocks=2,
    attention_resolutions=(1, 2, 4),
    channel_mult=(1, 2, 4, 4),
    resblock_updown=False,
    context_dim=768,
)
CHANGES = {
    "v1": {},
    "inpainting": {"channel": 9},
    "v2": {"context_dim": 1024, "num_heads": -1, "num_head_channels": 64},
    "bk_base": {"num_res_blocks": 1},
    "bk_small": {"num_res_blocks": 1, "middle": False},
    "bk_tiny": {"num_res_blocks": 1, "middle": False, "channel_mult": (1, 2, 4)},
}
# How many tensors diffusers 0.42.1 and transformers 5.24 have, and a digest of names and shapes.
THEIRS = {
    "v1": (686, "06ab0a594a10b99f"),
    "inpainting": (686, "2737c4bf65acefd5"),
    "v2": (686, "102cedebfb24e477"),
    "bk_base": (442, "820775a71d87f57b"),
    "bk_small": (396, "609ca6611417ae62"),
    "bk_tiny": (358, "c87828681b8fe33c"),
    "autoencoder": (248, "a8eb7356226250e7"),
    "clip": (196, "a49bc0b832a1e5c1"),
    "open_clip": (372, "9a375520eeec0ca2"),
}
FULL = {"ch": 128, "ch_mult": (1, 2, 4, 4), "num_res_blocks": 2, "z_channels": 4, "attended": ()}


def config_of(kind):
    return UNetConfig(**{**V1.__dict__, **CHANGES[kind]})


def digest(shapes):
    lines = sorted(f"{name} {list(shape)}" for name, shape in shapes.items())
    return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def theirs_of(tensors):
    return {each.theirs: each.shape[:2] if each.linear else each.shape for each in tensors}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_unet_has_our_names_and_those_of_diffusers(kind):
    config = config_of(kind)
    tensors = unet_tensors(config, linear=kind == "v2")
    with torch.device("meta"):
        network = UNetModel.from_config(config)
    assert {each.ours: each.shape for each in tensors} == {
        name: tuple(each.shape) for name, each in network.state_dict().items()
    }
    assert digest(theirs_of(tensors)) == THEIRS[kind]


def test_an_autoencoder_has_our_names_and_those_of_diffusers():
    tensors = autoencoder_tensors(FULL, 4)
    with torch.device("meta"):
        network = AutoencoderKL({}, 4)
    assert {each.ours: each.shape for each in tensors} == {
        name: tuple(each.shape) for name, each in network.state_dict().items()
    }
    assert digest(theirs_of(tensors)) == THEIRS["autoencoder"]


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("clip", (768, 12, 49408, 77, 3072)), ("open_clip", (1024, 23, 49408, 77, 4096))],
)
def test_a_text_encoder_has_the_names_of_transformers(kind, sizes):
    assert digest(text_tensors(*sizes)) == THEIRS[kind]


def test_all_that_open_clip_holds_fills_the_text_encoder():
    found = [name for names in open_clip_names(23).values() for name in names]
    assert len(found) == len(set(found))
    assert set(found) == set(text_tensors(1024, 23, 49408, 77, 4096))


@pytest.mark.parametrize("kind", CHANGES)
def test_names_go_there_and_back(kind):
    tensors = unet_tensors(config_of(kind))
    there, back = to_theirs(tensors), to_ours(tensors)
    assert len(there) == len(back) == len(tensors)
    assert all(back[there[each.ours]] == each.ours for each in tensors)


def test_layers_are_called_as_in_adapters():
    modules = unet_modules(V1)
    assert modules["middle_block.1.proj_in"] == "mid_block.attentions.0.proj_in"
    assert modules["output_blocks.2.1.conv"] == "up_blocks.0.upsamplers.0.conv"
    key = "transformer_blocks.0.attn1.to_q"
    assert modules[f"input_blocks.1.1.{key}"] == f"down_blocks.0.attentions.0.{key}"
    assert "input_blocks.0.0" in modules


def test_a_network_without_a_middle_is_counted_as_it_is_built():
    config = config_of("bk_tiny")
    plan = blueprint(config, 64, 64)
    assert plan.parameters == 323_384_964
    assert plan.tensors == 358
    assert "middle" not in [level.name for level in plan.levels]
