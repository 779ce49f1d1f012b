"""CLIP's text encoder: a transformer that sees what stands before a token (Radford et al. 2021).

State-dict names are those of `CLIPTextModel` in the package transformers, so that files load.
Stable Diffusion takes the tokens' states after the last layer as its context (Rombach et al. 2022).
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sd.common.validation import whole
from sd.networks.attention import attend
from sd.networks.clip.config import QUICK_GELU, CLIPTextConfig

SPREAD = 3**0.5 * 0.02  # of a new embedding's values


def quick_gelu(x: Tensor) -> Tensor:
    """Return x sigmoid(1.702 x), the GELU of OpenAI's CLIP (Hendrycks & Gimpel 2016)."""
    return x * torch.sigmoid(1.702 * x)


class CLIPEmbeddings(nn.Module):
    """A token's vector plus that of its place; tokens from `vocabulary` on are `learned` ones."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.token_embedding = _table(config.vocabulary, config.width)
        self.position_embedding = _table(config.positions, config.width)

    def forward(self, tokens: Tensor, learned: Tensor | None = None) -> Tensor:
        """tokens int64 [B, L], learned [K, D] -> [B, L, D]."""
        known = self.token_embedding.num_embeddings
        x: Tensor = self.token_embedding(tokens.clamp(max=known - 1))
        if learned is not None:
            new = tokens >= known
            x = x.masked_scatter(new[..., None], learned.to(x)[tokens[new] - known])
        return x + self.position_embedding.weight[: tokens.shape[1]]


def _table(rows: int, width: int) -> nn.Embedding:
    """Return a new embedding of standard deviation 0.02, drawn evenly.

    A normal draw without storage, as a model that is about to be read has none, is done by torch's
    compiler, whose import takes seconds.
    """
    drawn = torch.empty(rows, width).uniform_(-SPREAD, SPREAD)
    made: nn.Embedding = nn.Embedding.from_pretrained(drawn, freeze=False)  # type: ignore[no-untyped-call]
    return made


class CLIPAttention(nn.Module):
    """Self-attention of a few heads, [B, L, D] -> [B, L, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """mask: bool [L, L], True where a row's token may look."""
        q, k, v = (
            rearrange(project(x), "b l (h d) -> b h l d", h=self.heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended: Tensor = self.out_proj(rearrange(attend(q, k, v, mask), "b h l d -> b l (h d)"))
        return attended


class CLIPMLP(nn.Module):
    """Two linear layers with an activation between, [B, L, D] -> [B, L, D]."""

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.activation = quick_gelu if activation == QUICK_GELU else F.gelu
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.activation(self.fc1(x)))
        return out


class CLIPLayer(nn.Module):
    """Attention, then the MLP; each reads what is normalised and is added to what is not."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        hidden = config.hidden or 4 * config.width
        self.self_attn = CLIPAttention(config.width, config.heads)
        self.layer_norm1 = nn.LayerNorm(config.width)
        self.mlp = CLIPMLP(config.width, hidden, config.activation)
        self.layer_norm2 = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, L, D], mask bool [L, L] -> [B, L, D]."""
        x = x + self.self_attn(self.layer_norm1(x), mask)
        x = x + self.mlp(self.layer_norm2(x))
        return x


class CLIPEncoder(nn.Module):
    """The layers, of which the last few may be left out."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CLIPLayer(config) for _ in range(config.layers))

    def forward(self, x: Tensor, mask: Tensor, skip: int = 0) -> Tensor:
        """x [B, L, D], mask bool [L, L] -> [B, L, D]."""
        for layer in self.layers[: len(self.layers) - skip]:
            x = layer(x, mask)
        return x


class CLIPText(nn.Module):
    """Tokens [B, L] -> context [B, L, D]: embeddings, layers, a norm."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = CLIPEmbeddings(config)
        self.encoder = CLIPEncoder(config)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor, skip: int = 0, learned: Tensor | None = None) -> Tensor:
        """tokens int64 [B, L], L at most `positions` -> [B, L, D].

        skip: how many layers are left out before the norm, as some fine-tunes ask for; what other
        programs call "clip skip 2" is 1 here. learned: vectors [K, D] of the tokens `vocabulary`
        and following (Gal et al. 2022). Padding is read like any token, as in Stable Diffusion.
        """
        whole("skip", skip, 0, self.config.layers - 1)
        length = tokens.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        x = self.encoder(self.embeddings(tokens, learned), mask, skip)
        out: Tensor = self.final_layer_norm(x)
        return out
