"""What a small diffusion model is told: a class as tokens, or a caption through its text encoder.

This file lies in the folder of an exported model and needs torch and diffusers alone. A caption's
words are cut into byte-level tokens by the merges that were learned from the training captions.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

HEAD = 32  # channels of an attention head
START, END = 1, 2
LONGEST = 10_000  # characters that are read
MARK, JOINERS = "\u0300", "\u200c\u200d"
WORD = re.compile(
    rf"(?:[^\W_]|['’-])(?:[^\W_]|['’{MARK}{JOINERS}-])*"
    r"|[\U0001f1e6-\U0001f1ff]{2}"
    rf"|\S(?:[{MARK}\U0001f3fb-\U0001f3ff]|\u200d[^\s\w])*"
)


class TextBlock(nn.Module):
    """Self-attention over the words, then a feed-forward network, each added to what it read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        heads = max(1, width // HEAD)
        self.attn = Attention(width, heads=heads, dim_head=width // heads)
        self.ff = FeedForward(width, activation_fn="geglu")
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x [B, L, D], bias [B, 1, L] of the scores."""
        x = x + self.attn(self.norm1(x), attention_mask=bias)
        added: Tensor = x + self.ff(self.norm2(x))
        return added


class TextEncoder(nn.Module):
    """Embeddings with places, transformer blocks, a norm."""

    def __init__(self, size: int, length: int, width: int, layers: int) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(size, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(TextBlock(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [B, L], 0 where there is padding -> [B, L, D]."""
        x = self.token(tokens) + self.place.weight[: tokens.shape[1]]
        bias = torch.where(tokens == 0, -torch.inf, 0.0).to(x)[:, None]
        for block in self.blocks:
            x = block(x, bias)
        out: Tensor = self.norm(x)
        return out


class Conditioner(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Turns prompts into rows of numbers, and rows into what the U-Net takes."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        width: int,
        classes: int = 0,
        tokens: Sequence[str] = (),
        merges: Sequence[Sequence[str]] = (),
        length: int = 0,
        layers: int = 0,
        pooled: int = 0,
    ) -> None:
        """Take how wide a token is, and how many classes there are or how captions are read.

        pooled: the width of the time embedding, to which a caption's mean is added; 0 adds none.
        """
        super().__init__()
        self.length = length
        if classes:
            self.rest = nn.Parameter(torch.zeros(1, width))
            self.token = nn.Embedding(classes + 1, width)
        else:
            self.encoder = TextEncoder(len(tokens), length, width, layers)
            self.pool = nn.Linear(width, pooled) if pooled else None
        self._ids = {token: number for number, token in enumerate(tokens)}
        self._ranks = {(a, b): rank for rank, (a, b) in enumerate(merges)}

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the context of classes [B] or of tokens [B, L], with its mask."""
        if rows.ndim == 1:
            pair = self.rest.expand(len(rows), -1), self.token(rows)
            return {"context": torch.stack(pair, dim=1)}
        context, mask = self.encoder(rows), rows != 0
        told = {"context": context, "mask": mask}
        if self.pool is not None:
            kept = mask[..., None].to(context)
            told["y"] = self.pool((context * kept).sum(1) / kept.sum(1).clamp(min=1))
        return told

    def read(self, captions: Sequence[str]) -> Tensor:
        """Return the tokens [B, L] of captions, padded with 0; what is longer is cut."""
        rows = [self._encode(each) for each in captions]
        return torch.tensor([row + [0] * (self.length - len(row)) for row in rows])

    def _encode(self, caption: str) -> list[int]:
        ids = [self._ids[token] for word in split(caption) for token in self._tokens(word)]
        return [START, *ids[: self.length - 2], END]

    def _tokens(self, word: str) -> list[str]:
        """Return a word's tokens: its bytes, joined by the merges in the order they were learned.

        Byte pair encoding, Sennrich et al. 2016; bytes are spelled as GPT-2 does.
        """
        parts = [BYTES[each] for each in f" {word}".encode()]
        while len(parts) > 1:
            ranks = [self._ranks.get(pair, len(self._ranks)) for pair in pairwise(parts)]
            first = min(ranks)
            if first == len(self._ranks):
                break
            place = ranks.index(first)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return parts


def _spell_bytes() -> list[str]:
    """Return a visible character for every byte, as GPT-2 has them."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(each if each in visible else next(others)) for each in range(256)]


BYTES = _spell_bytes()


def split(caption: str) -> list[str]:
    """Return the words of a caption, lower-cased: runs of letters and digits, or one symbol."""
    halves = caption[:LONGEST].encode("utf-16-le", "surrogatepass")
    text = halves.decode("utf-16-le", "replace")
    spans = [word.span() for word in WORD.finditer("".join(map(_stand_in, text)))]
    return [unicodedata.normalize("NFC", text[start:stop].lower()) for start, stop in spans]


def _stand_in(char: str) -> str:
    kind = unicodedata.category(char)
    if kind.startswith("M"):
        return MARK
    return " " if kind in ("Cc", "Cf") and char not in JOINERS else char
