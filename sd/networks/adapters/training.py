"""Adapters in training: low-rank branches beside the layers of a network that stays as it is.

W x + (alpha / r) B A x, A drawn at random and B zero, so that training begins at the network itself
(Hu et al. 2021, section 4.1). Names and `alpha` are those of kohya's files: what is stored of such
a network is a LoRA as other programs read it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sd.common.validation import InputError, shown
from sd.diffusion.guidance import Condition
from sd.networks.attention import OnTokens
from sd.networks.conditioning import Conditioner
from sd.networks.recomputation import recompute_blocks
from sd.networks.unet import UNetModel

AT_ONCE = 8  # prompts that are encoded together


class Adapter(nn.Module):
    """(alpha / r) B A x, as its layer goes over x: tokens, or a map under a convolution."""

    def __init__(self, layer: Any, rank: int, alpha: float) -> None:
        """Take the layer that it stands beside, and the channels between A and B."""
        super().__init__()
        out, inputs = layer.weight.shape[:2]
        if isinstance(layer, nn.Linear | OnTokens):
            self.lora_down: nn.Module = nn.Linear(inputs, rank, bias=False)
            self.lora_up: nn.Module = nn.Linear(rank, out, bias=False)
        else:
            place = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
            self.lora_down = nn.Conv2d(inputs, rank, layer.kernel_size, bias=False, **place)
            self.lora_up = nn.Conv2d(rank, out, 1, bias=False)
        nn.init.zeros_(self.lora_up.weight)
        self.register_buffer("alpha", torch.tensor(float(alpha)))
        self._scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to the layer's output, in x's own type."""
        down: Any = self.lora_down
        added: Tensor = self.lora_up(down(x.to(down.weight.dtype))) * self._scale
        return added.to(x.dtype)


class FrozenNetwork:
    """A U-Net that stays as it is, and the adapters that have a say in it when it is asked."""

    def __init__(self, unet: UNetModel, spellings: Mapping[str, str], kept: bool = True) -> None:
        """Take the U-Net, and what a file calls each of its layers that is adapted.

        kept: whether the values within its blocks are kept for the way back, see
        `recompute_blocks`.
        """
        self.unet = unet.requires_grad_(False).eval()
        self.active: AdaptedUNet | None = None
        named = dict(unet.named_modules())
        self.layers = {spelling: named[name] for name, spelling in spellings.items()}
        for spelling, layer in self.layers.items():
            layer.register_forward_hook(self._hook(spelling))
        if not kept:
            recompute_blocks(unet)

    def _hook(self, spelling: str) -> Any:
        def add(_layer: Any, args: tuple[Tensor], out: Tensor) -> Tensor:
            if self.active is None:
                return out
            added: Tensor = out + self.active.get_submodule(spelling)(args[0])
            return added

        return add


class AdaptedUNet(UNetModel):
    """Adapters beside a frozen U-Net: as a module it is these alone, asked it is both.

    Its copies have adapters of their own and share the U-Net.
    """

    def __init__(self, frozen: FrozenNetwork, rank: int, alpha: float) -> None:
        nn.Module.__init__(self)
        self.config = frozen.unet.config
        self._frozen, self._rank, self._alpha = frozen, rank, alpha
        for spelling, layer in frozen.layers.items():
            self.add_module(spelling, Adapter(layer, rank, alpha))

    def __deepcopy__(self, _memo: dict[int, Any]) -> "AdaptedUNet":
        twin = AdaptedUNet(self._frozen, self._rank, self._alpha)
        twin.to(next(self.parameters()).device).load_state_dict(self.state_dict())
        return twin.train(self.training)

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | None = None,
        y: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """See `UNetModel.forward`. The adapters stay active, for the way back may ask anew."""
        self._frozen.active = self
        out: Tensor = self._frozen.unet(x, timesteps, context, y, mask)
        return out


class EncodedCaptions(Conditioner):
    """Captions whose contexts were computed once, kept as float16 [L, D] each.

    Of a caption that needs several chunks the first is taken.
    """

    kind = "captions"

    def __init__(self, source: Conditioner, examples: tuple[str, ...], length: int) -> None:
        """Take what encodes, the captions that are offered, and the tokens of a chunk."""
        super().__init__()
        self.examples, self._length = examples, length
        self._source: tuple[Conditioner, ...] = (source,)  # no part: neither trained nor stored
        self._places: dict[str, int] = {}
        self._contexts: list[Tensor] = []

    def __deepcopy__(self, _memo: dict[int, Any]) -> "EncodedCaptions":
        return self  # nothing in it is trained

    @torch.no_grad()
    def read(self, prompts: Any) -> Tensor:
        """Return the places [B] of prompts; raise `InputError` for one that came too late."""
        new = [each for each in dict.fromkeys(prompts) if each not in self._places]
        if new and not self._source:
            raise InputError(f"prompt = {shown(new[0])}: was not encoded before training")
        for first in range(0, len(new), AT_ONCE):
            some = new[first : first + AT_ONCE]
            source = self._source[0]
            device = next(source.parameters()).device
            context = source(source.read(some).to(device)).context
            for prompt, each in zip(some, context, strict=True):
                self._places[prompt] = len(self._contexts)
                self._contexts.append(each[: self._length].to("cpu", torch.float16))
        return torch.tensor([self._places[each] for each in prompts])

    def release(self) -> None:
        """Let go of what encodes."""
        self._source = ()

    def forward(self, rows: Tensor) -> Condition:
        """Return the contexts [B, L, D] of places."""
        found = torch.stack([self._contexts[row] for row in rows.tolist()])
        return Condition(context=found.to(rows.device).float())
