"""The networks: any size, every option, and refusals by name."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sd.common.validation import InputError
from sd.config import Config
from sd.config.sections import UNetConfig
from sd.networks.attention import (
    CrossAttention,
    FeedForward,
    SpatialTransformer,
    attend,
    is_written_out,
)
from sd.networks.blueprint import blueprint
from sd.networks.unet import Downsample, UNetModel, Upsample, timestep_embedding
from tests.helpers.networks import with_weights

OPTIONS = [
    {},
    {"resblock_updown": True},
    {"conv_resample": False},
    {"resblock_updown": True, "patch_size": 2},
    {"use_scale_shift_norm": True, "patch_size": 3},
    {"middle": False},
]


def small(levels, **options):
    torch.manual_seed(0)
    network = UNetModel(1, 1, 32, 1, [], (1,) * levels, num_heads=1, **options)
    return with_weights(network).eval()


@torch.no_grad()
def answer(network, *size, batch=1, **conditions):
    x = torch.randn(batch, network.config.channel, *size)
    out = network(x, torch.full((batch,), 3), **conditions)
    assert out.shape == x.shape
    assert torch.isfinite(out).all()
    return out


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_every_height_and_width_comes_back(levels):
    network = small(levels)
    for k, height in enumerate(range(8, 41)):
        answer(network, height, 8 + (7 * k) % 33)  # 7 and 33 share no factor: every width too


@pytest.mark.slow
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_every_pair_of_height_and_width_comes_back(levels):
    network = small(levels)
    for height, width in itertools.product(range(8, 41), repeat=2):
        answer(network, height, width)


NETWORKS = {
    (levels, k): small(levels, **options)
    for levels in (1, 2, 3, 4)
    for k, options in enumerate(OPTIONS)
}


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(0, len(OPTIONS) - 1), st.integers(1, 40), st.integers(1, 40))
def test_any_size_with_any_way_of_resampling(levels, options, height, width):
    answer(NETWORKS[levels, options], height, width)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("options", OPTIONS[:3])
@pytest.mark.parametrize("sizes", [[(8,), (9,), (23,), (40,)], [(1, 8, 8), (3, 9, 13), (4, 1, 7)]])
def test_signals_and_volumes_of_any_size(levels, options, sizes):
    network = small(levels, dims=len(sizes[0]), **options)
    for size in sizes:
        answer(network, *size)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_transformer_works_in_any_rank(dims):
    network = UNetModel(2, 2, 32, 1, [1, 2], (1, 2), dims=dims, num_head_channels=16, context_dim=5)
    with_weights(network)
    x, t = torch.randn(1, 2, *(4, 6, 5)[:dims]), torch.tensor([3])
    with torch.no_grad():
        one, other = (network(x, t, context=torch.full((1, 3, 5), told)) for told in (0.0, 1.0))
    assert one.shape == x.shape and not torch.allclose(one, other, atol=1e-3)


@torch.no_grad()
def test_padding_is_never_looked_at_and_words_are():
    network = UNetModel(1, 1, 32, 1, [1, 2], (1, 2), num_head_channels=16, context_dim=5)
    with_weights(network).eval()
    x, t, context = torch.randn(2, 1, 8, 8), torch.tensor([3, 9]), torch.randn(2, 4, 5)
    mask = torch.tensor([[True, True, False, False], [True, True, True, False]])
    padded = torch.where(mask[..., None], context, 100.0)
    other = torch.where(mask[..., None], -context, context)
    one, same, changed = (network(x, t, told, mask=mask) for told in (context, padded, other))
    torch.testing.assert_close(one, same)
    assert not torch.allclose(one, changed, atol=1e-2)


def test_volumes_keep_their_first_axis():
    x = torch.randn(1, 32, 5, 8, 6)
    assert Downsample(32, True, 3)(x).shape == (1, 32, 5, 4, 3)
    assert Downsample(32, False, 3)(x).shape == (1, 32, 5, 4, 3)
    assert Upsample(32, True, 3)(x).shape == (1, 32, 5, 16, 12)


def test_pooling_an_odd_size_averages_what_is_there():
    x = torch.randn(1, 2, 5, 7)
    expected = F.avg_pool2d(x, 2, 2, ceil_mode=True)
    torch.testing.assert_close(Downsample(2, False)(x), expected)


def test_upsampling_to_an_odd_size_is_the_even_one_cut():
    x = torch.randn(1, 2, 3, 4)
    whole = Upsample(2, False)(x)
    torch.testing.assert_close(whole, x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(Upsample(2, False)(x, (5, 7)), whole[:, :, :5, :7])


def test_patches_are_folded_without_loss():
    network = small(1, patch_size=2)
    x = torch.randn(1, 1, 6, 4)
    torch.testing.assert_close(network._from_patches(network._to_patches(x), (6, 4)), x)
    assert network._to_patches(torch.randn(1, 1, 5, 3)).shape == (1, 4, 3, 2)
    torch.testing.assert_close(network._to_patches(x), F.pixel_unshuffle(x, 2))


def test_time_embedding_is_cosines_then_sines():
    t = torch.tensor([0.0, 2.5])
    emb = timestep_embedding(t, 6)
    frequencies = torch.tensor([1.0, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3)])
    torch.testing.assert_close(emb[0], torch.tensor([1.0, 1, 1, 0, 0, 0]))
    torch.testing.assert_close(emb[1, :3], (2.5 * frequencies).cos())
    torch.testing.assert_close(emb[1, 3:], (2.5 * frequencies).sin())
    assert timestep_embedding(t, 7).shape == (2, 7)


def test_attention_is_softmax_of_scaled_products():
    attention = CrossAttention(6, 5, heads=2, dim_head=3)
    x, context = torch.randn(2, 4, 6), torch.randn(2, 7, 5)
    q, k, v = attention.to_q(x), attention.to_k(context), attention.to_v(context)
    heads = []
    for h in range(2):
        part = slice(3 * h, 3 * h + 3)
        weights = torch.softmax(q[..., part] @ k[..., part].transpose(1, 2) / 3**0.5, -1)
        heads.append(weights @ v[..., part])
    torch.testing.assert_close(attention(x, context), attention.to_out(torch.cat(heads, -1)))


def test_masked_tokens_are_not_looked_at():
    attention = CrossAttention(6, 5, heads=2, dim_head=3)
    x, context = torch.randn(2, 4, 6), torch.randn(2, 7, 5)
    mask = torch.tensor([[True] * 4 + [False] * 3] * 2)
    torch.testing.assert_close(attention(x, context, mask), attention(x, context[:, :4]))


@pytest.mark.parametrize("masked", [False, True])
def test_the_written_out_formula_and_the_fused_kernel_come_to_the_same(monkeypatch, masked):
    q, k, v = torch.randn(2, 3, 16, 8), torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8)
    mask = torch.tensor([True, True, False, True, False]).expand(2, 1, 1, 5) if masked else None
    monkeypatch.setattr("sd.networks.attention.products_by_onednn", lambda: True)
    assert is_written_out(q, k)
    written = attend(q, k, v, mask)
    monkeypatch.setattr("sd.networks.attention.MOST_SCORES", 79)
    assert not is_written_out(q, k)
    torch.testing.assert_close(attend(q, k, v, mask), written)
    monkeypatch.setattr("sd.networks.attention.MOST_SCORES", 80)
    assert is_written_out(q, k)
    monkeypatch.setattr("sd.networks.attention.products_by_onednn", lambda: False)
    assert not is_written_out(q, k)


def test_feed_forward_is_a_gated_gelu():
    block = FeedForward(4)
    x = torch.randn(3, 4)
    value, gate = block.net[0].proj(x).chunk(2, -1)
    torch.testing.assert_close(block(x), block.net[2](value * F.gelu(gate)))


def test_a_spatial_transformer_begins_as_the_identity():
    x = torch.randn(2, 32, 5, 3)
    torch.testing.assert_close(SpatialTransformer(32, 2, 16)(x), x)


def test_head_width_wins_over_head_count_and_nothing_is_changed_on_the_way():
    network = UNetModel(
        1, 1, 32, 1, [1, 2], (1, 2), num_heads=3, num_head_channels=8, context_dim=None
    )
    heads = [m.heads for m in network.modules() if isinstance(m, CrossAttention)]
    assert set(heads) == {4, 8}  # 32 / 8 and 64 / 8
    assert network.config.num_heads == 3


@pytest.mark.parametrize("mult", [(1,), (2, 1), (2, 3, 4), (3,)])
def test_the_first_multiplier_need_not_be_one(mult):
    answer(UNetModel(3, 3, 32, [1] * len(mult), [1], mult, num_heads=4), 12, 9)


def test_residual_blocks_may_be_counted_per_level():
    network = UNetModel(1, 1, 32, [1, 3], [], (1, 2), num_heads=1)
    assert len(network.input_blocks) == 1 + 1 + 1 + 3
    assert len(network.output_blocks) == 4 + 2


def test_labels_change_the_answer():
    network = with_weights(UNetModel(1, 1, 32, 1, [], (1,), num_heads=1, num_classes=3))
    x, t = torch.randn(1, 1, 8, 8), torch.tensor([5])
    zero, one = (network(x, t, y=torch.tensor([label])) for label in (0, 1))
    assert not torch.equal(zero, one)


@pytest.mark.parametrize(
    ("made", "given", "named"),
    [
        ({}, {"y": torch.tensor([0])}, "num_classes = None"),
        ({"num_classes": 3}, {}, "num_classes = 3"),
        ({}, {"context": torch.zeros(1, 2, 4)}, "context_dim = None"),
        ({"context_dim": 4}, {}, "context_dim = 4"),
    ],
)
def test_conditions_are_held_to_the_settings(made, given, named):
    network = UNetModel(1, 1, 32, 1, [1], (1,), num_heads=1, **made)
    with pytest.raises(InputError, match=named):
        network(torch.zeros(1, 1, 8, 8), torch.tensor([0]), **given)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_channels": 48}, "level"),
        ({"model_channels": 32, "num_heads": 5}, "unet.num_heads.*level"),
        ({"num_heads": -1, "num_head_channels": 24}, "unet.num_head_channels.*level"),
        ({"num_heads": -1}, "unet.num_heads"),
        ({"attention_resolutions": (3,)}, "attention_resolutions"),
    ],
)
def test_impossible_networks_are_refused_by_name(changes, named):
    settings = {
        "in_channels": 1,
        "out_channels": 1,
        "model_channels": 32,
        "num_res_blocks": 1,
        "attention_resolutions": (1, 2),
        "channel_mult": (1, 2),
        "num_heads": 4,
    }
    with pytest.raises(InputError, match=named):
        UNetModel(**{**settings, **changes})


@pytest.mark.parametrize("name", ["seed", "seed-fixed", "tiny", "small"])
def test_presets_build_the_network_that_the_blueprint_foretells(name):
    config = Config.preset(name)
    with torch.device("meta"):
        network = UNetModel.from_config(config.unet)
    plan = blueprint(config.unet, config.training.input_height, config.training.input_width)
    assert sum(p.numel() for p in network.parameters()) == plan.parameters
    assert len(network.state_dict()) == plan.tensors
    assert network.config == config.unet
    if name.startswith("seed"):
        assert plan.parameters == 48_924_417


def test_unet_model_takes_every_field_of_its_configuration():
    config = UNetConfig(channel=3, n_embed=6, model_channels=32, channel_mult=(1,), num_heads=4)
    assert UNetModel.from_config(config).config == config
