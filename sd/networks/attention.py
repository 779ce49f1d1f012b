"""Attention of latent diffusion (Rombach et al. 2021, section 3.3; Vaswani et al. 2017).

Class and state-dict names are those of the latent-diffusion code, so that published weights load.
Tokens are [B, N, D], a context [B, L, D_context], feature maps [B, C, ...] of any rank.
"""

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sd.common.device import products_by_onednn
from sd.networks.blueprint import MOST_SCORES

M = TypeVar("M", bound=nn.Module)


def convolution(dims: int) -> Any:
    """Return torch's convolution over `dims` axes, 1 to 3."""
    return (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]


def pointwise(conv: Any, tokens: Tensor) -> Tensor:
    """Return a convolution with one weight a place, done on tokens [B, N, C]: a linear layer.

    As convolutions the two made a training step of `tiny` about a twentieth longer
    (tests/benchmarks/EXPERIMENTS.md).
    """
    return F.linear(tokens, conv.weight.flatten(1), conv.bias)


class OnTokens:
    """Makes a convolution with one weight a place go over tokens [B, N, C]."""

    def forward(self, tokens: Tensor) -> Tensor:
        return pointwise(self, tokens)


class Pointwise1d(OnTokens, nn.Conv1d):
    """A linear layer of tokens with the weights of a convolution over one axis."""


class Pointwise2d(OnTokens, nn.Conv2d):
    """A linear layer of tokens with the weights of a convolution over two axes."""


class Pointwise3d(OnTokens, nn.Conv3d):
    """A linear layer of tokens with the weights of a convolution over three axes."""


POINTWISE: Any = (Pointwise1d, Pointwise2d, Pointwise3d)


def zero_module(module: M) -> M:
    """Set all of a module's parameters to zero, so that its branch begins as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class GroupNorm32(nn.GroupNorm):
    """Group norm that also takes a single value per group, as one small picture may leave."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class GEGLU(nn.Module):
    """x W_1 * gelu(x W_2) (Shazeer 2020), [B, N, D_in] -> [B, N, D_out]."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim_in, dim_out * 2)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    """A gated feed-forward network of four times the width, [B, N, D] -> [B, N, D]."""

    def __init__(self, dim: int, mult: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(
            GEGLU(dim, dim * mult), nn.Dropout(dropout), nn.Linear(dim * mult, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


def is_written_out(q: Tensor, k: Tensor) -> bool:
    """Return whether scores are computed as the formula stands, not in torch's fused kernel.

    The kernel is made of many small products. Where a CPU computes these with oneDNN, which is slow
    to begin one, the formula's two large ones are several times as fast, unless scores are many.
    """
    few = q.shape[2] * k.shape[2] <= MOST_SCORES
    return few and q.device.type == "cpu" and products_by_onednn()


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V: q [B, h, N, d], k and v [B, h, L, d] -> [B, h, N, d].

    mask: bool, broadcast to [B, h, N, L], True = attend.
    """
    if not is_written_out(q, k):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores: Tensor = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    attended: Tensor = scores.softmax(-1) @ v
    return attended


class CrossAttention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V with Q of the picture, K and V of the context.

    With no context, K and V come of the picture itself: self-attention.
    """

    def __init__(
        self,
        query_dim: int,
        context_dim: int | None = None,
        heads: int = 8,
        dim_head: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        inner, context_dim = heads * dim_head, context_dim or query_dim
        self.heads = heads
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, query_dim), nn.Dropout(dropout))

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Attend from x [B, N, D] to context [B, L, D_context]; mask bool [B, L]."""
        context = x if context is None else context
        q, k, v = (
            rearrange(tokens, "b n (h d) -> b h n d", h=self.heads)
            for tokens in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        if mask is not None:
            mask = rearrange(mask, "b l -> b 1 1 l")
        out = attend(q, k, v, mask)
        attended: Tensor = self.to_out(rearrange(out, "b h n d -> b n (h d)"))
        return attended


class BasicTransformerBlock(nn.Module):
    """Self-attention, attention to the context, feed-forward; each added to what it read."""

    def __init__(
        self,
        dim: int,
        n_heads: int,
        d_head: int,
        dropout: float = 0.0,
        context_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.attn1 = CrossAttention(dim, None, n_heads, d_head, dropout)
        self.ff = FeedForward(dim, dropout=dropout)
        self.attn2 = CrossAttention(dim, context_dim, n_heads, d_head, dropout)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """x [B, N, D] -> [B, N, D]; without a context attn2 is a second self-attention."""
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context, mask)
        x = x + self.ff(self.norm3(x))
        return x


class SpatialTransformer(nn.Module):
    """Transformer blocks over the positions of a feature map of any rank, added to the map."""

    def __init__(
        self,
        in_channels: int,
        n_heads: int,
        d_head: int,
        depth: int = 1,
        dropout: float = 0.0,
        context_dim: int | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__()
        inner, conv = n_heads * d_head, POINTWISE[dims - 1]
        self.norm = GroupNorm32(32, in_channels, eps=1e-6)
        self.proj_in = conv(in_channels, inner, 1)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(inner, n_heads, d_head, dropout, context_dim)
            for _ in range(depth)
        )
        self.proj_out = zero_module(conv(inner, in_channels, 1))

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """x [B, C, ...] -> [B, C, ...]; context [B, L, D_context] and its mask bool [B, L]."""
        h = self.proj_in(rearrange(self.norm(x), "b c ... -> b (...) c"))
        for block in self.transformer_blocks:
            h = block(h, context, mask)
        h = self.proj_out(h)
        added: Tensor = rearrange(h, "b n c -> b c n").reshape(*x.shape)
        return x + added
