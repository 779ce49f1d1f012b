"""The transformer that reads captions, trained with the U-Net (Rombach et al. 2021, 4.3)."""

from torch import Tensor, nn

from sd.networks.attention import CrossAttention, FeedForward

HEAD = 32  # channels of an attention head


class TextBlock(nn.Module):
    """Self-attention over the words, then a feed-forward network, each added to what it read."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        heads = max(1, dim // HEAD)
        self.attn = CrossAttention(dim, None, heads, dim // heads)
        self.ff = FeedForward(dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, L, D], mask bool [B, L] -> [B, L, D]."""
        x = x + self.attn(self.norm1(x), None, mask)
        x = x + self.ff(self.norm2(x))
        return x


class TextEncoder(nn.Module):
    """Tokens [B, L] -> context [B, L, D]: embeddings with places, transformer blocks, a norm."""

    def __init__(self, size: int, length: int, dim: int, layers: int) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(size, dim), nn.Embedding(length, dim)
        self.blocks = nn.ModuleList(TextBlock(dim) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """tokens int64 [B, L], mask bool [B, L] -> [B, L, D]."""
        x = self.token(tokens) + self.place.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm(x)
        return out
