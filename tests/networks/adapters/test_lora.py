"""Low-rank changes: the formula on every kind of layer, weighed live, taken away again."""

import pytest
import torch
from torch import nn

from sd.common.validation import InputError
from sd.networks.adapters.lora import LoRA, LowRank
from sd.networks.attention import Pointwise2d


class Layers(nn.Module):
    """One layer of each kind that a U-Net has."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 5)
        self.tokens = Pointwise2d(6, 5, 1)
        self.conv = nn.Conv2d(6, 5, 3, padding=1)
        self.down = nn.Conv2d(6, 5, 3, stride=2, padding=1)
        self.skip = nn.Conv2d(6, 5, 1)

    def forward(self, x):
        """Return what each makes of a map [B, 6, H, W]."""
        rows = x.flatten(2).transpose(1, 2)
        of_rows = (self.linear(rows), self.tokens(rows))
        return [*of_rows, *(layer(x) for layer in (self.conv, self.down, self.skip))]


NAMES = ("linear", "tokens", "conv", "down", "skip")
KERNELS = {"linear": (), "tokens": (1, 1), "conv": (3, 3), "down": (3, 3), "skip": (1, 1)}


def change_of(name, rank=2, alpha=3.0, middle=False):
    kernel = KERNELS[name]
    one = [1] * len(kernel)
    down = 0.3 * torch.randn(rank, 6, *(one if middle else kernel))
    mid = torch.randn(rank, rank, *kernel) if middle else None
    return LowRank(down, torch.randn(5, rank, *one), alpha, mid)


def product(change, weight):
    """alpha / r B A in the shape of a weight, as the paper has it."""
    up = change.up.flatten(1)
    if change.mid is None:
        found = up @ change.down.flatten(1)
    else:
        found = torch.einsum("or,rskl,si->oikl", up, change.mid, change.down.flatten(1))
    return (found * change.alpha / change.rank).reshape(weight.shape)


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return Layers().eval()


@pytest.mark.parametrize("middle", [False, True], ids=["two factors", "three"])
@torch.no_grad()
def test_a_layer_answers_as_one_of_changed_weights(layers, middle):
    torch.manual_seed(1)
    changes = {name: change_of(name, middle=middle and name in ("conv", "down")) for name in NAMES}
    x, merged = torch.randn(2, 6, 4, 4), Layers()
    state = layers.state_dict()
    for name, change in changes.items():
        weight = f"{name}.weight"
        state[weight] = state[weight] + 0.7 * product(change, state[weight])
    merged.load_state_dict(state)
    plain = layers(x)
    lora = LoRA(changes, 0.7)
    lora.attach(layers)
    for ours, theirs, before in zip(layers(x), merged(x), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
        assert (ours - before).abs().max() > 0.1  # so that it can fail


@torch.no_grad()
def test_the_scale_is_live_and_nothing_stays_behind(layers):
    x, lora = torch.randn(1, 6, 4, 4), LoRA({"conv": change_of("conv")})
    names, plain = list(layers.state_dict()), layers(x)[2]
    lora.attach(layers)
    full = layers(x)[2]
    lora.scale = 0.5
    torch.testing.assert_close(layers(x)[2], (plain + full) / 2)
    lora.scale = 0
    assert torch.equal(layers(x)[2], plain)
    lora.scale = 1
    assert torch.equal(layers(x)[2], full) and list(layers.state_dict()) == names
    other = LoRA({"conv": lora.changes["conv"]}, -1)
    other.attach(layers)
    torch.testing.assert_close(layers(x)[2], plain)
    other.remove()
    lora.remove()
    assert torch.equal(layers(x)[2], plain)


@pytest.mark.parametrize("middle", [False, True], ids=["two factors", "three"])
@torch.no_grad()
def test_merged_it_is_the_same_without_branches(layers, middle):
    torch.manual_seed(1)
    changes = {name: change_of(name, middle=middle and name in ("conv", "down")) for name in NAMES}
    x, lora = torch.randn(2, 6, 4, 4), LoRA(changes, 0.7)
    lora.attach(layers)
    wanted = layers(x)
    lora.remove()
    lora.merge(layers)
    for ours, branched in zip(layers(x), wanted, strict=True):
        torch.testing.assert_close(ours, branched, rtol=0, atol=1e-5)
    weight = layers.conv.weight.clone()
    with pytest.raises(InputError, match="no layer other"):
        LoRA({**changes, "other": changes["conv"]}).merge(layers)
    assert torch.equal(layers.conv.weight, weight)


@torch.no_grad()
def test_it_takes_the_type_of_the_layer(layers):
    layers.bfloat16()
    LoRA({"linear": change_of("linear")}).attach(layers)
    assert layers.linear(torch.randn(1, 6).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"other": change_of("conv")}, "LoRA: the network has no layer other"),
        (
            {"linear": LowRank(torch.ones(2, 7), torch.ones(5, 2), 1)},
            r"LoRA: linear: down is \[2, 7\], which does not fit \[5, 6\]",
        ),
        (
            {"conv": change_of("skip")},
            r"LoRA: conv: down is \[2, 6, 1, 1\], which does not fit \[5, 6, 3, 3\]",
        ),
    ],
)
def test_a_change_that_does_not_fit_is_refused_whole(layers, changes, line):
    x = torch.randn(1, 6, 4, 4)
    plain = layers(x)
    with pytest.raises(InputError, match=line):
        LoRA({"skip": change_of("skip"), **changes}).attach(layers)
    assert all(torch.equal(a, b) for a, b in zip(layers(x), plain, strict=True))
    with pytest.raises(InputError, match="scale = nan"):
        LoRA(changes, float("nan"))
