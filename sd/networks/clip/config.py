"""How a text encoder of CLIP is built: given, or read from the shapes of its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from sd.common.validation import InputError, choice, whole

QUICK_GELU, GELU = "quick_gelu", "gelu"
ACTIVATIONS = (QUICK_GELU, GELU)
START, END = 49406, 49407  # tokens before and after a text
HEAD = 64  # channels of an attention head, in every CLIP that was published
OPEN_WIDTH = 1024  # of OpenCLIP's ViT-H, which Stable Diffusion v2 reads prompts with
LARGEST = 1_000_000  # tokens, positions, channels


@dataclass(frozen=True)
class CLIPTextConfig:
    """CLIP ViT-L/14's text encoder (Radford et al. 2021), as Stable Diffusion v1 has it.

    hidden: channels within a layer's MLP, by default four times the width. padding: the token that
    fills a text up to `positions`. OpenCLIP's ViT-H, of v2, differs in all but the vocabulary.
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int | None = None
    vocabulary: int = 49_408
    positions: int = 77
    activation: str = QUICK_GELU
    padding: int = END

    def __post_init__(self) -> None:
        """Raise `InputError` for what cannot be built."""
        for name in ("width", "layers", "heads", "vocabulary", "positions"):
            whole(name, getattr(self, name), 1, LARGEST)
        if self.hidden is not None:
            whole("hidden", self.hidden, 1, LARGEST)
        choice("activation", self.activation, ACTIVATIONS)
        whole("padding", self.padding, 0, self.vocabulary - 1)
        if self.width % self.heads:
            raise InputError(f"heads = {self.heads}: must divide the width {self.width}")

    @classmethod
    def from_shapes(
        cls, shapes: Mapping[str, Sequence[int]], heads: int | None = None
    ) -> "CLIPTextConfig":
        """Return the settings of the encoder whose `CLIPText` weights have these shapes.

        What no shape tells, the activation and the padding, is that of the models of its width;
        `heads` may be given. Raises `InputError` where they are no such weights.
        """
        try:
            vocabulary, width = shapes["embeddings.token_embedding.weight"]
            positions, _ = shapes["embeddings.position_embedding.weight"]
            hidden, _ = shapes["encoder.layers.0.mlp.fc1.weight"]
        except (LookupError, ValueError):
            raise InputError("these are not the weights of a text encoder of CLIP") from None
        layers = next(k for k in count() if f"encoder.layers.{k}.mlp.fc1.weight" not in shapes)
        is_open = width == OPEN_WIDTH
        return cls(
            width=width,
            layers=layers,
            heads=heads or max(1, width // HEAD),
            hidden=hidden,
            vocabulary=vocabulary,
            positions=positions,
            activation=GELU if is_open else QUICK_GELU,
            padding=0 if is_open else min(END, vocabulary - 1),
        )
