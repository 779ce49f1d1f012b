"""Prompts through CLIP's text encoder: weighted, in as many chunks as they need."""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from sd.common.validation import InputError
from sd.diffusion.guidance import Condition
from sd.networks.clip.config import END, START
from sd.networks.clip.prompt import Prompt, Words, parse_prompt
from sd.networks.clip.text import CLIPText
from sd.networks.conditioning import Conditioner
from sd.networks.conditioning_metadata import PUBLISHED_GUIDANCE


class ClipCaptions(Conditioner):
    """A conditioner that reads as Stable Diffusion does; its encoder was trained by others.

    Prompts of one call get as many chunks as the longest needs, the others empty ones: guidance
    needs contexts of one length. skip: layers left out at the end, see `CLIPText`.
    """

    kind = "captions"
    usual_guidance = PUBLISHED_GUIDANCE

    def __init__(self, encoder: CLIPText, skip: int = 0) -> None:
        """Take the encoder; raise `InputError` if its tokens are not CLIP's."""
        super().__init__()
        if encoder.config.vocabulary <= END:
            raise InputError(
                f"vocabulary = {encoder.config.vocabulary}: CLIP's has {END + 1} tokens"
            )
        self.encoder, self.skip = encoder, skip
        self.words: Words = {}
        self.learned: Tensor | None = None

    def learn(self, word: str, vectors: Tensor) -> None:
        """Let `word` stand for vectors [K, D], a textual inversion (Gal et al. 2022).

        Raises `InputError` for another width than the encoder's and for a word that it has.
        """
        width = self.encoder.config.width
        if vectors.ndim != 2 or vectors.shape[1] != width:
            raise InputError(
                f"{word}: vectors of width {vectors.shape[-1]}; this text encoder has {width}"
            )
        if word.lower() in map(str.lower, self.words):
            raise InputError(f"{word}: another embedding has this name")
        known = torch.empty(0, width) if self.learned is None else self.learned
        first = self.encoder.config.vocabulary + len(known)
        words = {**self.words, word: tuple(range(first, first + len(vectors)))}
        parse_prompt("", words, self.room)
        self.words, self.learned = words, torch.cat([known, vectors.to(known)])

    @property
    def room(self) -> int:
        """The tokens of a chunk, without START and END."""
        return self.encoder.config.positions - 2

    def parse(self, prompt: str) -> Prompt:
        """Return a prompt's tokens and weights."""
        return parse_prompt(prompt, self.words, self.room)

    def read(self, prompts: Sequence[str]) -> Tensor:
        """Return int64 [B, L, 2]: each token's id and the bits of its weight as float32.

        L is that of whole chunks, `positions` tokens each.
        """
        parsed = [self.parse(each) for each in prompts]
        longest = max((len(each.chunks) for each in parsed), default=1)
        ids = torch.full((len(parsed), longest, self.room + 2), self.encoder.config.padding)
        weights = torch.ones(ids.shape)
        ids[..., 0], ids[..., 1] = START, END
        for row, prompt in enumerate(parsed):
            for k, chunk in enumerate(prompt.chunks):
                end = 1 + len(chunk)
                ids[row, k, 1:end] = torch.tensor([token.id for token in chunk], dtype=ids.dtype)
                weights[row, k, 1:end] = torch.tensor([token.weight for token in chunk])
                ids[row, k, end] = END
        return torch.stack([ids, weights.view(torch.int32).long()], dim=-1).flatten(1, 2)

    def forward(self, rows: Tensor) -> Condition:
        """Return the context [B, L, D] of `read`'s rows; no mask, for padding is read as well."""
        chunks = rearrange(rows, "b (n l) two -> two (b n) l", l=self.room + 2)
        ids, weights = chunks[0], chunks[1].int().view(torch.float32)
        context = emphasize(self.encoder(ids, self.skip, self.learned), weights)
        return Condition(context=rearrange(context, "(b n) l d -> b (n l) d", b=len(rows)))

    def spans(self, prompt: str) -> list[tuple[str, list[int]]]:
        return self.parse(prompt).spans()


def encode_prompt(encoder: CLIPText, prompts: Sequence[str], skip: int = 0) -> Tensor:
    """Return the context [B, L, D] of prompts, L being the `positions` of the longest's chunks."""
    captions = ClipCaptions(encoder, skip)
    context: Tensor | None = captions(captions.read(prompts)).context
    assert context is not None
    return context


def emphasize(context: Tensor, weights: Tensor) -> Tensor:
    """Return a context [B, L, D] times the weights [B, L] of its tokens, at the mean it had.

    The mean is that of all values of a chunk, as AUTOMATIC1111's interface has it, so that a
    weight does not make a prompt louder or quieter as a whole.
    """
    weighted = context * weights.to(context)[..., None]
    before, after = (each.float().mean((1, 2), keepdim=True) for each in (context, weighted))
    return weighted * torch.where(after == 0, 1, before / after).to(weighted)
