"""Arithmetic about networks against published counts, the built network and counted operations."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sd.common.validation import LONGEST_MESSAGE, InputError
from sd.config import Config, preset_names
from sd.config.sections import UNetConfig
from sd.networks.blueprint import MOST_PARAMETERS, blueprint, check_network, describe, heads_of
from sd.networks.recomputation import recompute_blocks
from sd.networks.unet import UNetModel

PARITY = Path(__file__).parents[1] / "fixtures" / "parity"
REFERENCES = ["avgpool", "class_conditional", "cross_attention", "sd_v1", "seed"]


def unet_of(reference):
    """Return the settings of a reference network, whose own defaults are not ours."""
    names = {"in_channels": "channel", "out_channels": "n_embed"}
    given_values = {names.get(name, name): value for name, value in reference["config"].items()}
    unset = {"num_heads": -1, "num_head_channels": -1, "resblock_updown": False}
    return UNetConfig(**{**unset, **given_values})


def small(**changes):
    base = dict(model_channels=32, channel_mult=(1, 2), num_heads=2, attention_resolutions=(2,))
    return UNetConfig(**{**base, **changes})


@pytest.mark.parametrize("name", REFERENCES)
def test_parameters_and_tensors_equal_the_reference(name):
    reference = json.loads((PARITY / f"unet_{name}.json").read_text())
    plan = blueprint(unet_of(reference), *reference["x_shape"][2:])
    assert plan.parameters == reference["parameters"]
    assert plan.tensors == len(reference["state_dict"])


def test_published_counts():
    reference = json.loads((PARITY / "unet_sd_v1.json").read_text())
    stable_diffusion = blueprint(unet_of(reference), 64, 64)
    assert (stable_diffusion.parameters, stable_diffusion.tensors) == (859_520_964, 686)
    seed = Config.preset("seed").unet
    assert blueprint(seed, 32, 32).parameters == 48_924_417
    assert blueprint(replace(seed, resblock_updown=False), 32, 32).parameters == 44_701_569


def test_levels_of_the_seed():
    plan = blueprint(Config.preset("seed").unet, 32, 32)
    rows = [(level.name, level.height, level.channels, level.heads) for level in plan.levels]
    assert rows == [
        ("time", 1, 256, 0),
        ("entry", 32, 64, 0),
        ("down 1", 32, 64, 8),
        ("down 2", 16, 128, 0),
        ("down 3", 8, 256, 0),
        ("down 4", 4, 512, 0),
        ("middle", 4, 512, 8),
        ("up 4", 4, 512, 0),
        ("up 3", 8, 256, 0),
        ("up 2", 16, 128, 0),
        ("up 1", 32, 64, 8),
        ("exit", 32, 64, 0),
    ]
    assert sum(level.parameters for level in plan.levels) == plan.parameters
    assert sum(level.operations for level in plan.levels) == plan.operations


def test_odd_sizes_are_halved_rounding_up_after_patching():
    plan = blueprint(small(channel_mult=(1, 2, 3), patch_size=2), 37, 9)
    sizes = [(level.height, level.width) for level in plan.levels if level.name.startswith("down")]
    assert sizes == [(19, 5), (10, 3), (5, 2)]


@pytest.mark.parametrize("name", preset_names())
def test_presets_can_be_built(name):
    config = Config.preset(name)
    with torch.device("meta"):
        network = UNetModel.from_config(config.unet)
    plan = blueprint(config.unet, *config.latent_shape[1:])
    assert plan.parameters == sum(p.numel() for p in network.parameters())
    assert plan.tensors == len(network.state_dict())


CASES = [
    (small(), 16, 16, 0),
    (small(), 13, 10, 0),
    (small(resblock_updown=False), 13, 10, 0),
    (small(resblock_updown=False, conv_resample=False), 16, 16, 0),
    (small(attention_resolutions=(1, 2), context_dim=24, transformer_depth=2), 16, 12, 7),
    (small(use_scale_shift_norm=True, num_classes=10), 16, 16, 0),
    (small(patch_size=2, channel=3, n_embed=3), 15, 17, 0),
    (small(channel_mult=(1, 2, 3), num_res_blocks=(1, 2, 1)), 17, 9, 0),
    (small(dims=1), 1, 30, 0),
    (small(dims=3), 6, 10, 0),
    (small(dims=3, resblock_updown=False), 6, 9, 0),
]


def network_and_inputs(unet, height, width, tokens, batch=1):
    torch.manual_seed(0)
    shape = {1: (width,), 2: (height, width), 3: (1, height, width)}[unet.dims]
    inputs = {"x": torch.randn(batch, unet.channel, *shape), "timesteps": torch.zeros(batch)}
    if unet.context_dim is not None:
        inputs["context"] = torch.randn(batch, tokens, unet.context_dim)
    if unet.num_classes is not None:
        inputs["y"] = torch.zeros(batch, dtype=torch.long)
    return UNetModel.from_config(unet), inputs


@pytest.mark.parametrize(("unet", "height", "width", "tokens"), CASES)
def test_operations_equal_those_that_torch_counts(unet, height, width, tokens):
    network, inputs = network_and_inputs(unet, height, width, tokens)
    # The plain form of attention, since the counter does not know the CPU's fused one.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(**inputs)
    assert blueprint(unet, height, width, tokens or 77).operations == counter.get_total_flops()


def test_operations_of_stable_diffusion_equal_those_that_torch_counts():
    unet = unet_of(json.loads((PARITY / "unet_sd_v1.json").read_text()))
    with torch.device("meta"), sdpa_kernel(SDPBackend.MATH):
        network, inputs = network_and_inputs(unet, 64, 64, 77)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(**inputs)
    assert blueprint(unet, 64, 64).operations == counter.get_total_flops()


@pytest.mark.parametrize(("unet", "height", "width", "tokens"), CASES)
def test_activation_bytes_are_those_that_autograd_keeps_within_three_percent(
    monkeypatch, unet, height, width, tokens
):
    monkeypatch.setattr(
        "sd.networks.attention.products_by_onednn", lambda: True
    )  # it keeps the scores
    network, inputs = network_and_inputs(unet, height, width, tokens)
    kept = Kept(network)
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        network(**inputs)
    plan = blueprint(unet, height, width, tokens or 77)
    assert plan.activation_bytes == pytest.approx(kept.nbytes(), rel=0.03)


class Kept:
    """Storages by their address, but those of the weights: what autograd keeps of a pass."""

    def __init__(self, network):
        self._own = {each.untyped_storage().data_ptr() for each in network.parameters()}
        self.storages = {}

    def pack(self, tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._own:
            self.storages[storage.data_ptr()] = storage
        return tensor

    def note(self, tensor):
        self.pack(tensor)

    def nbytes(self):
        return sum(storage.nbytes() for storage in self.storages.values())


@pytest.mark.parametrize(("unet", "height", "width", "tokens"), CASES)
def test_recomputed_bytes_are_what_enters_the_blocks_and_all_of_one(
    monkeypatch, unet, height, width, tokens
):
    monkeypatch.setattr("sd.networks.attention.products_by_onednn", lambda: True)
    network, inputs = network_and_inputs(unet, height, width, tokens)
    blocks = [*network.input_blocks, *network.output_blocks]
    largest = max(kept_bytes(network, inputs, block) for block in blocks)
    recompute_blocks(network)
    kept = Kept(network)
    for block in blocks:
        block.register_forward_pre_hook(lambda _, args: kept.note(args[0]))
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        network(**inputs)
    plan = blueprint(unet, height, width, tokens or 77)
    assert plan.recomputed_bytes == pytest.approx(kept.nbytes() + largest, rel=0.08)
    assert plan.recomputed_bytes < plan.activation_bytes


def kept_bytes(network, inputs, block):
    """What autograd keeps of one block of a pass."""
    kept = Kept(network)
    hooks = torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor)
    begin = block.register_forward_pre_hook(lambda *_: hooks.__enter__() and None)
    end = block.register_forward_hook(lambda *_: hooks.__exit__(None, None, None))
    network(**inputs)
    begin.remove(), end.remove()
    return kept.nbytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(model_channels=48), "unet.model_channels = 48: level 1 begins 48 channels wide, "
         "which 32 groups do not divide; use a multiple of 32"),
        (dict(num_heads=6), "unet.num_heads = 6: level 2 is 64 channels wide, which 6 heads do "
                            "not divide"),
        (dict(num_head_channels=48), "unet.num_head_channels = 48: level 2 is 64 channels wide, "
                                     "which heads of 48 channels do not divide"),
        (dict(num_heads=6, attention_resolutions=()), "unet.num_heads = 6: the middle is 64 "
                                                      "channels wide, which 6 heads do not divide"),
        (dict(attention_resolutions=(2, 8)), "unet.attention_resolutions = (2, 8): no level has "
                                             "factor 8; levels 1 to 2 have 1, 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_named_with_its_level(changes, message):
    with pytest.raises(InputError) as caught:
        check_network(small(**changes))
    assert str(caught.value) == message


def test_absurd_sizes_and_networks_are_refused_at_once():
    for height, width in [(0, 8), (8, 10**9), (4096, 4096), (True, 8), (8.5, 8), (None, 8)]:
        with pytest.raises(InputError, match=r"height|width"):
            blueprint(small(), height, width)
    giant = small(model_channels=4096, channel_mult=(64,) * 10, num_res_blocks=32)
    with pytest.raises(InputError, match=f"at most {MOST_PARAMETERS:,}") as caught:
        check_network(giant)
    assert len(str(caught.value)) <= LONGEST_MESSAGE


def test_heads_by_channels_win_over_heads():
    assert heads_of(small(num_heads=8), 64) == (8, 8)
    assert heads_of(small(num_heads=8, num_head_channels=32), 64) == (2, 32)


def test_the_table_holds_the_totals():
    lines = describe(blueprint(Config.preset("seed").unet, 32, 32))
    assert len(lines) == 1 + 12 + 2
    assert len({len(line) for line in lines[:13]}) == 1
    assert " ".join(lines[3].split()) == "down 1 32 x 32 64 8 x 8 272,576 910 MFLOP"
    assert lines[-2] == "48,924,417 parameters in 336 tensors, 187 MiB as float32"
    assert lines[-1].startswith("7.16 GFLOP per picture forward; training keeps about")


@st.composite
def networks(draw):
    levels = draw(st.integers(1, 4))
    dims = draw(st.sampled_from([1, 2, 2, 3]))
    counts = st.lists(st.integers(1, 3), min_size=levels, max_size=levels)
    return UNetConfig(
        channel=draw(st.integers(1, 4)),
        n_embed=draw(st.integers(1, 4)),
        model_channels=draw(st.sampled_from([32, 32, 64, 96, 48])),
        channel_mult=draw(st.lists(st.integers(1, 4), min_size=levels, max_size=levels)),
        num_res_blocks=draw(st.integers(1, 2) | counts),
        attention_resolutions=draw(st.sets(st.sampled_from([1, 2, 4, 8]), max_size=3)),
        conv_resample=draw(st.booleans()),
        dims=dims,
        num_classes=draw(st.none() | st.integers(1, 5)),
        num_heads=draw(st.sampled_from([1, 2, 4, 3])),
        num_head_channels=draw(st.sampled_from([-1, -1, 8, 32])),
        use_scale_shift_norm=draw(st.booleans()),
        resblock_updown=draw(st.booleans()),
        transformer_depth=draw(st.integers(1, 2)),
        context_dim=draw(st.none() | st.integers(1, 40)),
        patch_size=draw(st.integers(1, 4)) if dims == 2 else 1,
        middle=draw(st.booleans()),
    )


@settings(max_examples=30, deadline=None)
@given(networks(), st.integers(9, 40), st.integers(9, 40))
def test_what_passes_the_check_is_built_as_counted_and_keeps_the_size(unet, height, width):
    try:
        plan = blueprint(unet, height, width, 3)
    except InputError:
        return
    with torch.device("meta"):
        network, inputs = network_and_inputs(unet, height, width, 3, batch=2)
        out = network(**inputs)
    assert plan.parameters == sum(p.numel() for p in network.parameters())
    assert plan.tensors == len(network.state_dict())
    assert out.shape == (2, unet.n_embed, *inputs["x"].shape[2:])
