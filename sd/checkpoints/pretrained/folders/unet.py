"""The U-Net of latent diffusion (Rombach et al. 2021) with the names of its code, in one file.

This file lies in the folder of an exported model and needs torch and diffusers alone: diffusers'
own U-Net has no first level that is wider than its entry, and no blocks of pixels.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

GROUPS = 32


class Upsample(nn.Module):
    """Repeat values to the wanted size, then convolve if `conv`."""

    def __init__(self, channels: int, conv: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if conv else nn.Identity()

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, tuple(size), mode="nearest"))
        return out


class Downsample(nn.Module):
    """Halve the size, rounding up: by a strided convolution if `conv`, else by averaging."""

    def __init__(self, channels: int, conv: bool) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if conv else None

    def forward(self, x: Tensor) -> Tensor:
        if self.op is None:
            odd = (0, x.shape[3] % 2, 0, x.shape[2] % 2)
            return F.avg_pool2d(F.pad(x, odd, "replicate"), 2)
        out: Tensor = self.op(x)
        return out


class ResBlock(nn.Module):
    """Two convolutions with the time embedding between them, added to the input."""

    def __init__(
        self, channels: int, out: int, time: int, scaled: bool, resample: str = ""
    ) -> None:
        super().__init__()
        self.scaled, self.resample = scaled, resample
        conv = nn.Conv2d(channels, out, 3, padding=1)
        self.in_layers = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), conv)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, out * (1 + scaled)))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, out), nn.SiLU(), nn.Identity(), nn.Conv2d(out, out, 3, padding=1)
        )
        same = channels == out
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out, 1)
        kinds = {"up": Upsample, "down": Downsample}
        self.resampler = kinds[resample](out, False) if resample else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor, size: Sequence[int] | None) -> Tensor:
        sized = (size,) if self.resample == "up" else ()
        h = self.resampler(self.in_layers[:2](x), *sized)
        x = self.resampler(x, *sized)
        h = self.in_layers[2](h)
        emb = self.emb_layers(emb)[..., None, None]
        if self.scaled:
            scale, shift = emb.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + emb)
        out: Tensor = self.skip_connection(x) + h
        return out


class TransformerBlock(nn.Module):
    """Self-attention, attention to the context, feed-forward; each added to what it read."""

    def __init__(self, width: int, heads: int, context: int | None) -> None:
        super().__init__()
        sizes: dict[str, int] = {"heads": heads, "dim_head": width // heads}
        self.attn1 = Attention(width, **sizes)
        self.attn2 = Attention(width, cross_attention_dim=context, **sizes)
        self.ff = FeedForward(width, activation_fn="geglu")
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor | None, bias: Tensor | None) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context, attention_mask=bias)
        out: Tensor = x + self.ff(self.norm3(x))
        return out


class SpatialTransformer(nn.Module):
    """Transformer blocks over the places of a feature map, added to the map."""

    def __init__(self, width: int, heads: int, depth: int, context: int | None) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(width, heads, context) for _ in range(depth)
        )

    def forward(self, x: Tensor, context: Tensor | None, bias: Tensor | None) -> Tensor:
        h = self.proj_in(self.norm(x)).flatten(2).mT  # [B, h w, C]
        for block in self.transformer_blocks:
            h = block(h, context, bias)
        out: Tensor = x + self.proj_out(h.mT.reshape(x.shape))
        return out


class UNetModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """What the model estimates at (x_t, t), in the shape of x_t."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        channels: int,
        model_channels: int,
        num_res_blocks: Sequence[int],
        channel_mult: Sequence[int],
        attended: Sequence[int],
        num_heads: int,
        num_head_channels: int,
        transformer_depth: int = 1,
        context_dim: int | None = None,
        num_classes: int | None = None,
        use_scale_shift_norm: bool = False,
        resblock_updown: bool = False,
        conv_resample: bool = True,
        patch_size: int = 1,
        middle: bool = True,
    ) -> None:
        """Take latent diffusion's settings; attended: the levels with transformers."""
        super().__init__()
        width, patch = model_channels, patch_size**2
        self.time = 4 * width
        self.time_embed = nn.Sequential(
            nn.Linear(width, self.time), nn.SiLU(), nn.Linear(self.time, self.time)
        )
        if num_classes is not None:
            self.label_emb = nn.Embedding(num_classes, self.time)
        entry = nn.Conv2d(channels * patch, width, 3, padding=1)
        self.input_blocks = nn.ModuleList([nn.ModuleList([entry])])
        self.output_blocks = nn.ModuleList()
        skips = self._build_down(width)
        ch = skips[-1]
        blocks = [self._res(ch, ch), self._transformer(ch), self._res(ch, ch)] if middle else []
        self.middle_block = nn.ModuleList(blocks)
        last = self._build_up(skips)
        self.out = nn.Sequential(
            nn.GroupNorm(GROUPS, last), nn.SiLU(), nn.Conv2d(last, channels * patch, 3, padding=1)
        )

    def _build_down(self, width: int) -> list[int]:
        c, skips, ch = self.config, [width], width
        for level, mult in enumerate(c.channel_mult):
            for _ in range(c.num_res_blocks[level]):
                block = [self._res(ch, ch := mult * width)]
                block += [self._transformer(ch)] if level in c.attended else []
                self.input_blocks.append(nn.ModuleList(block))
                skips.append(ch)
            if level < len(c.channel_mult) - 1:
                self.input_blocks.append(nn.ModuleList([self._resample(ch, "down")]))
                skips.append(ch)
        return skips

    def _build_up(self, skips: list[int]) -> int:
        c, ch = self.config, skips[-1]
        for level, mult in reversed(list(enumerate(c.channel_mult))):
            for i in range(c.num_res_blocks[level] + 1):
                block = [self._res(ch + skips.pop(), ch := mult * c.model_channels)]
                block += [self._transformer(ch)] if level in c.attended else []
                block += (
                    [self._resample(ch, "up")] if level and i == c.num_res_blocks[level] else []
                )
                self.output_blocks.append(nn.ModuleList(block))
        return ch

    def _res(self, channels: int, out: int, resample: str = "") -> nn.Module:
        return ResBlock(channels, out, self.time, self.config.use_scale_shift_norm, resample)

    def _resample(self, channels: int, way: str) -> nn.Module:
        if self.config.resblock_updown:
            return self._res(channels, channels, way)
        return (Upsample if way == "up" else Downsample)(channels, self.config.conv_resample)

    def _transformer(self, width: int) -> nn.Module:
        c = self.config
        of_width = c.num_head_channels != -1
        heads = width // c.num_head_channels if of_width else c.num_heads
        return SpatialTransformer(width, heads, c.transformer_depth, c.context_dim)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        y: Tensor | None = None,
    ) -> Tensor:
        """x [B, C, H, W] at time t [] -> [B, C, H, W].

        context: [B, L, D] with its mask bool [B, L]. y: classes [B], or float [B, E], what is added
        to the time embedding.
        """
        emb = self.time_embed(self._frequencies(t.expand(len(x))).to(x))
        if y is not None:
            emb = emb + (y if y.is_floating_point() else self.label_emb(y))
        bias = None
        if mask is not None:
            bias = torch.zeros(mask.shape, device=x.device, dtype=x.dtype)
            bias = bias.masked_fill(~mask, -torch.inf)[:, None]
        (height, width), patch = x.shape[2:], self.config.patch_size
        h = F.pad(x, (0, -width % patch, 0, -height % patch), mode="replicate")
        h, skips = F.pixel_unshuffle(h, patch), []
        for block in self.input_blocks:
            h = self._through(block, h, emb, context, bias)
            skips.append(h)
        h = self._through(self.middle_block, h, emb, context, bias)
        for block in self.output_blocks:
            h = torch.cat([h, skips.pop()], dim=1)
            size = skips[-1].shape[2:] if skips else None
            h = self._through(block, h, emb, context, bias, size)
        return F.pixel_shuffle(self.out(h), patch)[..., :height, :width]

    def _frequencies(self, t: Tensor) -> Tensor:
        """Return cosines and sines of times [B], [B, width]."""
        half = self.config.model_channels // 2
        exponents = torch.arange(half, device=t.device) / half
        angles = t.float()[:, None] * torch.exp(-math.log(10_000) * exponents)
        return torch.cat([angles.cos(), angles.sin()], dim=-1)

    def _through(
        self, block: Any, h: Tensor, emb: Tensor, context: Any, bias: Any, size: Any = None
    ) -> Tensor:
        for layer in block:
            if isinstance(layer, ResBlock):
                h = layer(h, emb, size)
            elif isinstance(layer, SpatialTransformer):
                h = layer(h, context, bias)
            else:
                h = layer(h, size) if isinstance(layer, Upsample) else layer(h)
        return h
