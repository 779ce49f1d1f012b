"""Recording attention: what is recorded is true, and the network does not notice."""

import math
from pathlib import Path

import pytest
import torch

from sd.common.validation import InputError
from sd.networks.attention_maps.heatmaps import layer_names, word_map
from sd.networks.attention_maps.hooks import Recording, attention_weights, halves, transformers
from tests.helpers.attending import D, L, asked, hooks, tiny

ROOT = Path(__file__).parents[3]


@torch.no_grad()
def recorded(network, told, kinds=("self", "cross"), **settings):
    with Recording(network, kinds, **settings) as recording:
        network(**told)
        return recording.drain()


@torch.no_grad()
def brute(module, x, context, mask):
    """softmax(q k^T / sqrt(d)) a number at a time, in float64."""
    context = x if context is None else context
    q, k = (
        x.double() @ module.to_q.weight.double().T,
        context.double() @ (module.to_k.weight.double().T),
    )
    d = q.shape[-1] // module.heads
    out = torch.zeros(len(x), module.heads, x.shape[1], context.shape[1], dtype=torch.float64)
    for b in range(len(x)):
        for head in range(module.heads):
            part = slice(head * d, head * d + d)
            for n in range(x.shape[1]):
                scores = [float(q[b, n, part] @ key[part]) / math.sqrt(d) for key in k[b]]
                powers = torch.tensor(scores, dtype=torch.float64).exp()
                if mask is not None:
                    powers *= mask[b]
                out[b, head, n] = powers / powers.sum()
    return out


def inputs_of(network, told):
    """What each attention is called with, by an independent hook, in the network's order."""
    heard = []
    kept = [
        module.register_forward_pre_hook(lambda module, args: heard.append((module, args)))
        for _, _, transformer in transformers(network)
        for block in transformer.transformer_blocks
        for module in (block.attn1, block.attn2)
    ]
    with torch.no_grad():
        network(**told)
    for hook in kept:
        hook.remove()
    return heard


@pytest.mark.parametrize("context_dim", [D, None])
def test_the_weights_are_those_of_the_formula(context_dim):
    network = tiny(context_dim=context_dim)
    told = asked(network, (4, 6))
    (call,) = recorded(network, told)
    heard = inputs_of(network, told)
    assert len(heard) == len(call.layers) == 2 * len(list(transformers(network)))
    for (module, args), layer in zip(heard, call.layers.values(), strict=True):
        x, context, mask = (*args, None, None)[:3]
        assert layer.weights.dtype == torch.float32
        expected = brute(module, x, context, mask)
        torch.testing.assert_close(layer.weights.double(), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(layer.weights.sum(-1), torch.ones(layer.weights.shape[:3]))


def test_masked_tokens_get_nothing_and_others_something():
    network = tiny()
    told = asked(network)
    for layer in recorded(network, told, ("cross",))[0].layers.values():
        looked = layer.weights.amin(dim=(1, 2)) > 0
        assert torch.equal(looked, told["mask"])
        assert not layer.weights.movedim(-1, 1)[~told["mask"]].any()


def test_the_recorded_weights_make_the_modules_own_output():
    network = tiny()
    module, (x, context, mask) = inputs_of(network, asked(network))[1]
    values = module.to_v(context).unflatten(2, (module.heads, -1)).transpose(1, 2)
    mixed = attention_weights(module, x, context, mask) @ values
    own = module.to_out(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(own, module(x, context, mask), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kinds", [("cross",), ("self",), ("self", "cross")])
@pytest.mark.parametrize("lower", [False, True])
def test_the_network_answers_the_same_bit_for_bit(kinds, lower):
    network = tiny()
    told = asked(network)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, lower):
        before = network(**told)
        with Recording(network, kinds) as recording:
            during = network(**told)
        after = network(**told)
        layers = recording.drain()[0].layers.values()
    assert torch.equal(before, during) and torch.equal(before, after)
    for layer in layers:  # in float32, whatever the network works in
        torch.testing.assert_close(layer.weights.sum(-1), torch.ones(layer.weights.shape[:3]))


def test_gradients_and_the_random_state_are_left_alone():
    network = tiny().train()
    told = asked(network)
    torch.manual_seed(5)
    network(**told).sum().backward()
    plain = [parameter.grad.clone() for parameter in network.parameters()]
    state = torch.get_rng_state()
    network.zero_grad()
    torch.manual_seed(5)
    with Recording(network) as recording:
        network(**told).sum().backward()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b.grad) for a, b in zip(plain, network.parameters(), strict=True))
    weights = [layer.weights for layer in recording.drain()[0].layers.values()]
    assert not any(each.requires_grad for each in weights)


def test_every_hook_is_gone_after_use_and_after_an_error():
    network = tiny()
    assert hooks(network) == []
    with Recording(network, ("self", "cross")):
        assert hooks(network)
    assert hooks(network) == []
    with pytest.raises(InputError, match="context"), Recording(network):
        network(torch.randn(1, 1, 8, 8), torch.zeros(1))
    assert hooks(network) == []


def test_the_network_knows_nothing_of_it():
    for name in ("attention", "unet"):
        text = (ROOT / "sd" / "networks" / f"{name}.py").read_text(encoding="utf-8").lower()
        assert not any(word in text for word in ("record", "heat", "hook", "drain"))


def test_calls_are_numbered_and_drained_once():
    network = tiny()
    told = asked(network)
    with torch.no_grad(), Recording(network) as recording:
        network(**told)
        network(**told)
        assert [call.index for call in recording.drain()] == [0, 1]
        assert recording.drain() == []
        network(**told)
    assert [call.index for call in recording.drain()] == [2]


def test_layers_have_names_and_sizes_in_the_order_of_the_network():
    (call,) = recorded(tiny(attend=(2,)), asked(tiny(), (9, 12), 1))
    assert [
        (name, layer.height, layer.width, layer.stride) for name, layer in call.layers.items()
    ] == [
        ("down 3 self", 5, 6, 2),
        ("down 3 cross", 5, 6, 2),
        ("middle self", 5, 6, 2),
        ("middle cross", 5, 6, 2),
        ("up 0 self", 5, 6, 2),
        ("up 0 cross", 5, 6, 2),
        ("up 1 self", 5, 6, 2),
        ("up 1 cross", 5, 6, 2),
    ]


def test_depth_and_a_second_self_attention_are_named():
    deep = tiny(1, attend=(), transformer_depth=2)
    assert list(recorded(deep, asked(deep), ("cross",))[0].layers) == [
        "middle.1 cross",
        "middle.2 cross",
    ]
    bare = tiny(1, attend=(), context_dim=None)
    (call,) = recorded(bare, asked(bare))
    assert list(call.layers) == ["middle self", "middle self 2"]
    assert layer_names([call], "self") == list(call.layers)
    assert recorded(bare, asked(bare), ("cross",))[0].layers == {}


@pytest.mark.parametrize("options", [{}, {"resblock_updown": True}, {"conv_resample": False}])
@pytest.mark.parametrize("patch_size", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (13, 7), (5, 21)])
def test_any_size_and_patch_is_covered_by_its_map(options, patch_size, size):
    network = tiny(3, (1, 2, 4), patch_size=patch_size, **options)
    calls = recorded(network, asked(network, size, 1))
    for layer in calls[0].layers.values():
        for length, positions in zip(size, (layer.height, layer.width), strict=True):
            assert (positions - 1) * layer.stride < length <= positions * layer.stride
        assert layer.weights.shape[2] == layer.height * layer.width
    assert {layer.stride for layer in calls[0].layers.values()} == {
        patch_size,
        2 * patch_size,
        4 * patch_size,
    }
    whole = word_map(calls, range(L), 0, 1, size)
    torch.testing.assert_close(whole, torch.ones(size))  # a pixel looks at something, always


def test_only_the_wanted_pictures_are_kept():
    network = tiny()
    told = asked(network, batch=6)
    everything, some = recorded(network, told), recorded(network, told, pictures=[2, 0])
    guided = recorded(network, told, pictures=[1], count=3)
    for name, layer in everything[0].layers.items():
        close = {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(some[0].layers[name].weights, layer.weights[[2, 0]], **close)
        torch.testing.assert_close(guided[0].layers[name].weights, layer.weights[[1, 4]], **close)
    with pytest.raises(InputError, match="pictures = 3: must be a whole number from 0 to 2"):
        recorded(network, told, pictures=[3], count=3)


def test_the_halves_of_guidance_stay_apart():
    network = tiny()
    layer = recorded(network, asked(network, batch=4))[0].layers["middle cross"]
    conditional, null = halves(layer, 2)
    assert torch.equal(conditional, layer.weights[:2]) and torch.equal(null, layer.weights[2:])
    assert halves(layer, 4)[1] is None
    with pytest.raises(InputError, match=r"count = 3: 4 pictures"):
        halves(layer, 3)


def test_a_recording_that_would_fill_the_memory_is_refused():
    network = tiny(1, attend=(), num_heads=1)
    with pytest.raises(InputError, match="middle self: 655360000 weights"):
        recorded(network, asked(network, (160, 160), 1))
    with pytest.raises(InputError, match="kinds = 'both': must be one of self, cross"):
        Recording(network, ("both",))
    with pytest.raises(InputError, match=r"unet\.dims = 1"):
        Recording(tiny(1, (), dims=1))
