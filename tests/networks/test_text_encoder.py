"""The text encoder against its formula: places, attention over the words alone, a last norm."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from sd.networks.text_encoder import TextEncoder
from tests.helpers.networks import with_weights


def encoder() -> TextEncoder:
    torch.manual_seed(0)
    return with_weights(TextEncoder(20, 6, 64, 2)).eval()


def by_hand(made: TextEncoder, tokens: Tensor) -> Tensor:
    """Return the context [L, D] of one row without padding, two heads of 32 channels."""
    x = made.token.weight[tokens] + made.place.weight[: len(tokens)]
    for block in made.blocks:
        read, attn = block.norm1(x), block.attn
        q, k, v = (
            each(read).reshape(len(tokens), 2, 32).transpose(0, 1)
            for each in (attn.to_q, attn.to_k, attn.to_v)
        )
        looks = (q @ k.transpose(1, 2) / math.sqrt(32)).softmax(-1)
        x = x + attn.to_out[0]((looks @ v).transpose(0, 1).reshape(len(tokens), 64))
        value, gate = block.ff.net[0].proj(block.norm2(x)).chunk(2, dim=-1)
        x = x + block.ff.net[2](value * F.gelu(gate))
    return F.layer_norm(x, (64,), made.norm.weight, made.norm.bias)


@torch.no_grad()
def test_it_is_its_formula_whatever_pads_a_row() -> None:
    made, rows = encoder(), torch.tensor([[1, 7, 9, 2, 0, 0], [1, 9, 7, 4, 5, 2]])
    found = made(rows, rows != 0)
    assert torch.allclose(found[0, :4], by_hand(made, rows[0, :4]), atol=1e-4)
    assert torch.allclose(found[1], by_hand(made, rows[1]), atol=1e-4)


@torch.no_grad()
def test_the_same_words_in_another_order_are_another_context() -> None:
    made, rows = encoder(), torch.tensor([[1, 7, 9, 2], [1, 9, 7, 2]])
    one, other = made(rows, rows != 0)
    assert not torch.allclose(one[[0, 2, 1, 3]], other, atol=1e-2)
