"""LoRA files: all spellings change the same layers alike, by the formula; others are named."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.func import functional_call

from sd.checkpoints.adapters.lora import attach_lora, read_lora
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.building import open_pretrained
from sd.checkpoints.pretrained.names import unet_modules
from sd.common.validation import InputError
from sd.config import Config
from sd.networks.attention import OnTokens, SpatialTransformer
from sd.networks.clip.captions import ClipCaptions
from sd.networks.clip.config import CLIPTextConfig
from sd.networks.clip.text import CLIPText
from sd.networks.unet import UNetModel
from tests.helpers import published
from tests.helpers.parity import weight

RANK, ALPHA, SCALE = 2, 4.0, 0.7
V1 = [
    *("unet.channel=4", "unet.n_embed=4", "unet.model_channels=320", "unet.num_res_blocks=2"),
    *("unet.attention_resolutions=1,2,4", "unet.channel_mult=1,2,4,4", "unet.num_heads=8"),
    *("unet.resblock_updown=false", "unet.context_dim=768", "unet.patch_size=1"),
]
UNET = (  # ours, of each kind of layer
    "input_blocks.1.1.transformer_blocks.0.attn1.to_q",
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k",
    "input_blocks.1.1.transformer_blocks.0.attn2.to_out.0",
    "input_blocks.1.1.transformer_blocks.0.ff.net.0.proj",
    "middle_block.1.proj_in",
    "output_blocks.2.1.proj_out",
    "input_blocks.1.0.in_layers.2",
    "input_blocks.2.0.op",
    "output_blocks.0.0.skip_connection",
    "input_blocks.1.0.emb_layers.1",
)
ATTENTION = UNET[:3]
TEXT = ("encoder.layers.0.self_attn.q_proj", "encoder.layers.1.mlp.fc1")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    return open_pretrained(str(published.write_single(path)))


def factors(name, shape):
    """Return A and B of a layer whose weight has that shape; a 3x3 kernel is A's."""
    kernel = shape[2:] if shape[2:] != (1, 1) else ()
    one = [1] * len(kernel)
    down = weight(f"{name}/down", [RANK, shape[1], *kernel])
    return down, weight(f"{name}/up", [shape[0], RANK, *one])


def changes(model, names, network):
    shapes = {name: tuple(each.shape) for name, each in network.state_dict().items()}
    return {name: factors(name, shapes[f"{name}.weight"]) for name in names}


def merged(network, found):
    """The network with alpha / r B A added to its weights, as the paper has it."""
    state = dict(network.state_dict())
    for name, (down, up) in found.items():
        key = f"{name}.weight"
        product = (up.flatten(1) @ down.flatten(1)).reshape(state[key].shape)
        state[key] = state[key] + SCALE * ALPHA / RANK * product
    return state


def kohya(ours, theirs, down, up):
    base = f"lora_unet_{theirs.replace('.', '_')}"
    return {f"{base}.lora_down.weight": down, f"{base}.lora_up.weight": up} | alpha(base)


def kohya_of_ours(ours, theirs, down, up):
    return kohya(ours, ours, down, up)


def peft(ours, theirs, down, up):
    return {f"unet.{theirs}.lora_A.weight": down, f"unet.{theirs}.lora_B.weight": up}


def peft_alone(ours, theirs, down, up):
    base = f"base_model.model.{theirs}"
    return {f"{base}.lora_A.default.weight": down, f"{base}.lora_B.default.weight": up}


def processors(ours, theirs, down, up):
    parent, _, last = theirs.removesuffix(".0").rpartition(".")
    base = f"unet.{parent}.processor.{last}_lora"
    return {f"{base}.down.weight": down, f"{base}.up.weight": up} | alpha(base)


def comfy(ours, theirs, down, up):
    base = f"diffusion_model.{ours}"
    return {f"{base}.lora_A.weight": down, f"{base}.lora_B.weight": up} | alpha(base)


def alpha(base):
    return {f"{base}.alpha": torch.tensor(ALPHA)}


SAVED = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": ALPHA, "unet.r": RANK})}
KINDS = {
    "kohya": (kohya, UNET, {}),
    "kohya in our words": (kohya_of_ours, UNET, {}),
    "PEFT": (peft, UNET, SAVED),
    "PEFT, two alphas": (
        peft,
        UNET,
        {
            "lora_adapter_metadata": json.dumps(
                {"unet.lora_alpha": 1, "unet.alpha_pattern": {"": ALPHA}}
            )
        },
    ),
    "PEFT alone": (peft_alone, UNET, SAVED),
    "processors": (processors, ATTENTION, {}),
    "ComfyUI": (comfy, UNET, {}),
}


def written(path, model, kind):
    spell, names, metadata = KINDS[kind]
    theirs, found = unet_modules(model.config.unet), changes(model, names, model.unet)
    state = {}
    for name, pair in found.items():
        state |= spell(name, theirs[name], *pair)
    save_file({name: each.contiguous() for name, each in state.items()}, path, metadata or None)
    return path, found


def asked(model):
    x = weight("x", [1, 4, 8, 8])
    return x, torch.tensor([500]), weight("context", [1, 77, 32])


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_every_spelling_is_the_formula(kind, model, tmp_path):
    path, found = written(tmp_path / "lora.safetensors", model, kind)
    plain, state = model.unet(*asked(model)), merged(model.unet, found)
    attached = attach_lora(path, model, SCALE)
    assert (attached.used, attached.total, attached.unused) == (len(found), len(found), ())
    changed = model.unet(*asked(model))
    attached.scale = 0
    assert torch.equal(model.unet(*asked(model)), plain)
    attached.remove()
    expected = functional_call(model.unet, state, asked(model))
    torch.testing.assert_close(changed, expected, rtol=0, atol=1e-5)
    assert (expected - plain).abs().max() > 1e-3


def text_file(path, model, spell):
    found = changes(model, TEXT, model.conditioner.encoder)
    state = {}
    for name, (down, up) in found.items():
        first, base = spell(name)
        state |= {f"{base}{first[0]}": down, f"{base}{first[1]}": up}
        state |= {} if "text_model." in base else alpha(base)
    metadata = {"lora_adapter_metadata": json.dumps({"text_encoder.lora_alpha": ALPHA})}
    save_file(state, path, metadata)
    return path, found


@pytest.mark.parametrize(
    "spell",
    [
        lambda name: (
            (".lora_down.weight", ".lora_up.weight"),
            f"lora_te_text_model_{name.replace('.', '_')}",
        ),
        lambda name: (
            (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
            f"text_encoder.text_model.{name}",
        ),
    ],
    ids=["kohya", "diffusers"],
)
@torch.no_grad()
def test_the_text_encoder_is_changed_too(spell, model, tmp_path):
    path, found = text_file(tmp_path / "lora.safetensors", model, spell)
    encoder, tokens = model.conditioner.encoder, torch.tensor([[49406, 320, 2368, *[49407] * 74]])
    state, plain = merged(encoder, found), encoder(tokens)
    attached = attach_lora(path, model, SCALE)
    assert len(attached.text.changes) == attached.used == 2
    changed = encoder(tokens)
    attached.remove()
    expected = functional_call(encoder, state, (tokens,))
    torch.testing.assert_close(changed, expected, rtol=0, atol=1e-5)
    assert (changed - plain).abs().max() > 1e-3


def test_what_is_not_this_models_is_told(model, tmp_path):
    path, found = written(tmp_path / "lora.safetensors", model, "kohya")
    file = read_lora(path)
    assert (file.ranks, file.context, len(file.changes)) == ([RANK], 32, len(UNET))
    more = dict(kohya("", "down_blocks.9.conv", torch.ones(1, 3), torch.ones(3, 1)))
    more["lora_unet_conv_in.diff"] = torch.ones(3)
    state, theirs = more, unet_modules(model.config.unet)
    for name, pair in found.items():
        state |= kohya(name, theirs[name], *pair)
    save_file(state, path)
    attached = attach_lora(path, model)
    assert attached.line == (
        "lora.safetensors: 10 of 12 used, 10 in the U-Net, 0 in the text encoder; not this "
        "model's: lora_unet_down_blocks_9_conv, lora_unet_conv_in.diff"
    )
    attached.remove()


TO_K = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ({"a.hada_w1_a": (2, 2)}, "is a LoHa; LoRA and LoCon are read"),
        ({"a.lokr_w1": (2, 2)}, "is a LoKr"),
        ({"a.lora_down.weight": (2, 2), "a.dora_scale": (2,)}, "is a DoRA"),
        ({"lora_te2_x.lora_down.weight": (2, 2)}, "is for SDXL, whose network is another"),
        ({"conv_in.weight": (2, 2)}, "lora.safetensors: holds no LoRA"),
        ({"a.lora_down.weight": (2, 2)}, "lora.safetensors: a: has no up"),
        (
            {f"{TO_K}.lora_down.weight": (2, 1024), f"{TO_K}.lora_up.weight": (32, 2)},
            "was trained for contexts of width 1024 (v2); this model's have 32",
        ),
        (
            {f"{TO_K}.lora_down.weight": (2, 32), f"{TO_K}.lora_up.weight": (9, 2)},
            "attn2.to_k: up is [9, 2], which does not fit [32, 32]",
        ),
        (
            {"lora_unet_x.lora_down.weight": (2, 2), "lora_unet_x.lora_up.weight": (2, 2)},
            "none of its 1 changes is of a layer of this model; one is lora_unet_x",
        ),
        (
            {"a.lora_down.weight": (2, 0), "a.lora_up.weight": (2, 2)},
            "a.lora_down.weight: is [2, 0]",
        ),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_in_one_line(state, line, model, tmp_path):
    path = tmp_path / "lora.safetensors"
    save_file({name: torch.ones(shape) for name, shape in state.items()}, path)
    with pytest.raises(InputError) as caught:
        attach_lora(path, model)
    assert line in str(caught.value)


def test_values_that_are_not_finite_are_refused(model, tmp_path):
    path = tmp_path / "lora.safetensors"
    state = {f"{TO_K}.lora_down.weight": torch.full((2, 32), torch.inf)}
    save_file(state | {f"{TO_K}.lora_up.weight": torch.ones(32, 2)}, path)
    with pytest.raises(InputError, match=r"lora_down.weight holds values that are not finite"):
        attach_lora(path, model)


def test_all_264_of_a_whole_one_are_used(tmp_path):
    """kohya's scripts train the linear layers of v1's 16 transformers and of its text encoder."""
    config = Config().with_settings(V1)
    with torch.device("meta"):
        unet, encoder = UNetModel.from_config(config.unet), CLIPText(CLIPTextConfig())
    model = Model(unet, config, conditioner=ClipCaptions(encoder))
    theirs = unet_modules(config.unet)
    named = {f"lora_unet_{theirs[n].replace('.', '_')}": m for n, m in in_transformers(unet)}
    layers = (each for each in encoder.named_modules() if isinstance(each[1], torch.nn.Linear))
    named |= {f"lora_te_text_model_{n.replace('.', '_')}": m for n, m in layers}
    state = {}
    for base, layer in named.items():
        out, inputs = layer.weight.shape[:2]
        state |= {f"{base}.lora_down.weight": torch.ones(1, inputs, dtype=torch.float16)}
        state |= {f"{base}.lora_up.weight": torch.ones(out, 1, dtype=torch.float16)} | alpha(base)
    save_file(state, tmp_path / "whole.safetensors")
    line = attach_lora(tmp_path / "whole.safetensors", model).line
    text = "192 in the U-Net, 72 in the text encoder"
    assert line == f"whole.safetensors: 264 of 264 used, {text}"


def in_transformers(unet):
    kinds = (torch.nn.Linear, OnTokens)
    inside = [name for name, each in unet.named_modules() if isinstance(each, SpatialTransformer)]
    return [
        (name, each)
        for name, each in unet.named_modules()
        if isinstance(each, kinds) and name.startswith(tuple(f"{place}." for place in inside))
    ]
