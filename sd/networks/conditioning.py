"""What a network is conditioned on besides the time: a class or a caption, and the null of each.

Two ways for classes: a label embedding that is added to the time embedding (Dhariwal & Nichol 2021;
the U-Net's own), and tokens for cross-attention (Rombach et al. 2021, section 3.3). Captions are
read by a small transformer that is trained from scratch with the U-Net, as there. "" is the null,
which a share of the training sees, so that guidance has its other half (Ho & Salimans 2022).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sd.common.validation import InputError, near, shown
from sd.config import Config
from sd.config.conditioning_kind import CONTEXT_WIDTH, check_unet_inputs
from sd.diffusion.guidance import Condition
from sd.networks.blueprint import TIME_EMBEDDING
from sd.networks.conditioning_metadata import EXAMPLES, examples_of, labels_of
from sd.networks.pretrained_text import PretrainedText
from sd.networks.text_encoder import TextEncoder
from sd.networks.tokenizer import Vocabulary


class Conditioner(nn.Module):
    """Reads prompts into rows of numbers, and turns rows into what the U-Net takes."""

    kind = "none"
    labels: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    usual_guidance: float | None = None  # where it is not that of an own run

    def read(self, prompts: Sequence[str]) -> Tensor:
        """Return a row int64 for each prompt, [B] or [B, L]; "" is the null."""
        raise NotImplementedError

    def forward(self, rows: Tensor) -> Condition:
        """Return what rows of `read` mean to the U-Net."""
        raise NotImplementedError

    def spans(self, prompt: str) -> list[tuple[str, list[int]]]:
        """Return each word of a prompt with the places of its tokens in the context."""
        return []

    def unseen(self, prompt: str) -> list[str]:
        """Return the words of a prompt that training never saw."""
        return []

    def metadata(self) -> dict[str, Any]:
        """Return what `conditioner_of` needs beside settings and weights, as JSON."""
        return {"kind": self.kind, "examples": list(self.examples)}


class ClassEmbedding(Conditioner):
    """A label that the U-Net adds to the time embedding; the null is one label more."""

    kind = "class_embedding"

    def __init__(self, labels: Sequence[str]) -> None:
        """Take the names of the classes, in the order of their numbers."""
        super().__init__()
        self.labels = tuple(labels)
        self.examples = self.labels[:EXAMPLES]

    def read(self, prompts: Sequence[str]) -> Tensor:
        """Return the number [B] of each class; raise `InputError` for one that is not there."""
        return torch.tensor([self._number(each) for each in prompts], dtype=torch.int64)

    def _number(self, name: str) -> int:
        if name == "":
            return len(self.labels)
        if name not in self.labels:
            listed = ", ".join(self.labels[:12]) + (", ..." if len(self.labels) > 12 else "")
            line = f"class {shown(name)}: the model knows {listed}"
            raise InputError(line + near(name, list(self.labels)))
        return self.labels.index(name)

    def forward(self, rows: Tensor) -> Condition:
        """Return the labels themselves."""
        return Condition(y=rows)

    def metadata(self) -> dict[str, Any]:
        return {**super().metadata(), "labels": list(self.labels)}


class ClassTokens(ClassEmbedding):
    """A context of two tokens, a common one and the class's: attention to one alone is always 1."""

    kind = "class_tokens"

    def __init__(self, labels: Sequence[str], width: int) -> None:
        """Take the names of the classes and the width of a token."""
        super().__init__(labels)
        self.rest = nn.Parameter(torch.randn(1, width))
        self.token = nn.Embedding(len(labels) + 1, width)

    def forward(self, rows: Tensor) -> Condition:
        """Return the context [B, 2, D]: rest, class."""
        rest = self.rest.expand(len(rows), -1)
        return Condition(context=torch.stack([rest, self.token(rows)], dim=1))

    def spans(self, prompt: str) -> list[tuple[str, list[int]]]:
        return [("(rest)", [0]), (prompt or "(any)", [1])]


class Pool(nn.Linear):
    """What the mean of a caption's tokens adds to the time embedding (Saharia et al. 2022, 2.3)."""

    def forward(self, context: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """context [B, L, D], mask bool [B, L], False where there is padding -> [B, E]."""
        kept = mask.to(context.dtype)[..., None]
        return super().forward((context * kept).sum(1) / kept.sum(1).clamp(min=1))


class Captions(Conditioner):
    """Captions through a vocabulary and a text encoder of the run's own."""

    kind = "captions"

    def __init__(
        self,
        vocabulary: Vocabulary,
        length: int,
        width: int,
        layers: int,
        examples: Sequence[str],
        pooled: int = 0,
    ) -> None:
        """Take the tokens, how many of them are read, and how the encoder is built.

        pooled: the width of the time embedding, to which the mean is added; 0 adds nothing.
        """
        super().__init__()
        self.vocabulary, self.length, self.examples = vocabulary, length, tuple(examples)
        self.encoder = TextEncoder(vocabulary.size, length, width, layers)
        self.pool = Pool(width, pooled) if pooled else None

    def read(self, prompts: Sequence[str]) -> Tensor:
        """Return the tokens [B, L] of each prompt, padded with 0; what is longer is cut."""
        rows = [self.vocabulary.encode(each, self.length) for each in prompts]
        padded = [row + [0] * (self.length - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.int64).reshape(len(rows), self.length)

    def forward(self, rows: Tensor) -> Condition:
        """Return the context [B, L, D] with its mask, and as y what the mean of its words says."""
        mask = rows != 0
        context = self.encoder(rows, mask)
        return Condition(None if self.pool is None else self.pool(context, mask), context, mask)

    def spans(self, prompt: str) -> list[tuple[str, list[int]]]:
        return self.vocabulary.spans(prompt, self.length)

    def unseen(self, prompt: str) -> list[str]:
        return self.vocabulary.unseen(prompt)

    def metadata(self) -> dict[str, Any]:
        return {**super().metadata(), "vocabulary": self.vocabulary.to_json()}


def _encode_frozen(encoder: PretrainedText, rows: Tensor) -> tuple[Tensor, Tensor]:
    context, mask = encoder.to(rows.device)(rows)
    return context, mask


class FrozenCaptions(Conditioner):
    """Captions through a pretrained encoder, which is not trained and not kept with the model."""

    kind = "captions"

    def __init__(self, place: str, length: int, examples: Sequence[str], pooled: int = 0) -> None:
        """Load the encoder from a folder or hub id; raise `InputError` where that fails."""
        super().__init__()
        self._frozen = (PretrainedText(place, length),)  # in a tuple: no module of this one
        # Not compiled: it is moved to the device meanwhile, and its code is another package's. Here
        # and not as a decorator, which would import all of torch's compiler, 1.3 s, for everybody.
        self._encode = torch.compiler.disable(_encode_frozen)  # type: ignore[no-untyped-call]
        self.examples = tuple(examples)
        self.pool = Pool(self.width, pooled) if pooled else None

    @property
    def width(self) -> int:
        """The width of its context tokens."""
        return self._frozen[0].width

    def read(self, prompts: Sequence[str]) -> Tensor:
        """Return the tokens [B, L] of each prompt."""
        return self._frozen[0].read(prompts)

    def forward(self, rows: Tensor) -> Condition:
        """Return the context [B, L, D] with its mask, and as y what the mean of its words says."""
        context, mask = self._encode(self._frozen[0], rows)
        return Condition(None if self.pool is None else self.pool(context, mask), context, mask)

    def spans(self, prompt: str) -> list[tuple[str, list[int]]]:
        return self._frozen[0].spans(prompt)


def conditioner_of(config: Config, metadata: Mapping[str, Any] | None) -> Conditioner | None:
    """Return the conditioner that settings and metadata describe, with new weights.

    `metadata` may come from anywhere: raises `InputError` for what is unfit.
    """
    check_unet_inputs(config)
    wanted, kind, width = config.conditioning, config.conditioning.kind, config.unet.context_dim
    if kind == "none" or (kind == "auto" and metadata is None):  # trained before there was any
        return None
    if metadata is None or metadata.get("kind") != kind:
        found = None if metadata is None else metadata.get("kind")
        raise InputError(f"conditioning.kind = {kind}: but the model's facts are of {shown(found)}")
    if kind != "captions":
        labels = labels_of(metadata)
        if kind == "class_tokens":
            return ClassTokens(labels, width or CONTEXT_WIDTH)
        if config.unet.num_classes != len(labels) + 1:
            raise InputError(
                f"unet.num_classes = {config.unet.num_classes}: must be {len(labels) + 1}, one "
                "more than the labels"
            )
        return ClassEmbedding(labels)
    examples = examples_of(metadata)
    pooled = TIME_EMBEDDING * config.unet.model_channels if wanted.pooled else 0
    if wanted.encoder is not None:
        frozen = FrozenCaptions(wanted.encoder, wanted.text_length, examples, pooled)
        if frozen.width != width:
            raise InputError(
                f"conditioning.encoder = {shown(wanted.encoder)}: gives tokens of width "
                f"{frozen.width}; this model takes {width}"
            )
        return frozen
    vocabulary, width = Vocabulary.from_json(metadata.get("vocabulary")), width or CONTEXT_WIDTH
    return Captions(vocabulary, wanted.text_length, width, wanted.text_layers, examples, pooled)
