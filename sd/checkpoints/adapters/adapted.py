"""A published model that stays open while what is added to it changes from drawing to drawing.

Its weights are read once, and so is each LoRA. The models that are made of it share them; each says
by how much every LoRA counts whenever it asks U-Net or text encoder, so that their calls may come
in any order, one at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

import torch
from torch import Tensor

from sd.checkpoints.adapters.adding import ADDED, learn_embeddings, skip_layers
from sd.checkpoints.adapters.lora import AttachedLoRA, attach_lora
from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.choices import Choices
from sd.diffusion.guidance import Denoiser, Guidance
from sd.networks.clip.captions import ClipCaptions

Key = tuple[Path, int]  # of a file: another at the same path is another LoRA


class Scales:
    """The LoRA of a model that is open, none of which counts but within `of`.

    is_short: whether memory is so short that the text encoder is let go of once a prompt is read;
    fill: reads its weights again for the next.
    """

    def __init__(
        self,
        is_short: Callable[[], bool] = lambda: False,
        fill: Callable[[], object] = lambda: None,
    ) -> None:
        """Begin without any LoRA."""
        self.attached: dict[Key, AttachedLoRA] = {}
        self.is_short, self._fill = is_short, fill
        self._lock = RLock()

    def read_again(self, model: Model) -> None:
        """See that a model has its text encoder; within `of`."""
        if not model.has_text_encoder:
            self._fill()

    @contextmanager
    def of(self, scales: Sequence[tuple[Key, float]]) -> Iterator[None]:
        """Let LoRA count so much within the block, and no others; one block at a time."""
        with self._lock:
            try:
                for key, scale in scales:
                    self.attached[key].scale += scale
                yield
            finally:
                for key, _ in scales:
                    self.attached[key].scale = 0.0


@dataclass(frozen=True)
class AdaptedModel(Model):
    """A model with LoRA of some scales; `weights` is what all models of its weights share."""

    weights: Scales = field(default_factory=Scales)
    scales: tuple[tuple[Key, float], ...] = ()

    def guided(
        self,
        prompts: Sequence[str] = (),
        negative: str = "",
        guidance: Guidance = Guidance(),  # noqa: B008 (a constant)
    ) -> Denoiser:
        """Return the denoiser for prompts, which are read with the LoRA as well."""
        with self.weights.of(self.scales):
            self.weights.read_again(self)
            denoiser = super().guided(prompts, negative, guidance)
            if self.weights.is_short():
                self.release_text_encoder()
            return denoiser

    @property
    def _asked(self) -> Any:
        network = super()._asked

        def ask(x: Tensor, timesteps: Tensor, **condition: Any) -> Tensor:
            with self.weights.of(self.scales):
                found: Tensor = network(x, timesteps, **condition)
                return found

        return ask


class AdaptableModel:
    """A published model that is open, and what was ever added to it."""

    def __init__(self, base: Model, weights: Scales | None = None) -> None:
        """Take the model without anything added, and what its models share."""
        self.base, self._weights = base, weights or Scales()

    @torch.no_grad()
    def with_choices(self, choices: Choices) -> Model:
        """Return the model with the LoRA, the words and the layers that choices say.

        Raises `InputError` for a file that does not fit, after which all is as before.
        """
        conditioner = self.base.conditioner
        if isinstance(conditioner, ClipCaptions):
            conditioner = ClipCaptions(conditioner.encoder).eval().requires_grad_(False)
        skip_layers(conditioner, choices)
        lines = learn_embeddings(conditioner, choices)
        scales = []
        for place, scale in choices.lora:
            attached = self._attach(path := Path(place).expanduser())
            scales.append((_key(path), scale))
            lines.append(f"{attached.line}; at {scale:g}")
        return AdaptedModel(
            self.base.unet,
            self.base.config,
            {**self.base.about, ADDED: lines},
            conditioner,
            self.base.latents,
            weights=self._weights,
            scales=tuple(scales),
        )

    def _attach(self, path: Path) -> AttachedLoRA:
        known = self._weights.attached
        if (key := _key(path)) not in known:
            with self._weights.of(()):
                self._weights.read_again(self.base)
                known[key] = attach_lora(path, self.base, 0.0)
        return known[key]


def _key(path: Path) -> Key:
    return path, path.stat().st_mtime_ns if path.exists() else 0
