"""The U-Net of latent diffusion: residual blocks and spatial transformers, conditioned on the time.

Rombach et al. 2021 (appendix E), after Dhariwal & Nichol 2021. Names of classes and of the state
dict are those of the latent-diffusion code. Unlike there, any height and width works: the way up
takes each skip's own size, which changes nothing where sizes divide.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sd.common.validation import InputError
from sd.config.sections import UNetConfig
from sd.networks.attention import GroupNorm32, SpatialTransformer, convolution, zero_module
from sd.networks.blueprint import TIME_EMBEDDING, check_network, heads_of

POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def timestep_embedding(t: Tensor, dim: int, max_period: float = 10_000) -> Tensor:
    """Return [cos, sin] of times t [B] at `dim`/2 frequencies, [B, dim] (Vaswani et al. 2017)."""
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angles = t.float()[:, None] * torch.exp(-math.log(max_period) * exponents)
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=-1), (0, dim % 2))


def normalization(channels: int) -> GroupNorm32:
    """Return the group norm used everywhere outside the transformers: 32 groups, eps 1e-5."""
    return GroupNorm32(32, channels)


class Upsample(nn.Module):
    """Repeat values to the wanted size (twice as large by default), then convolve if `use_conv`."""

    def __init__(self, channels: int, use_conv: bool, dims: int = 2) -> None:
        super().__init__()
        self.dims = dims
        self.conv = convolution(dims)(channels, channels, 3, padding=1) if use_conv else None

    def forward(self, x: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """x [B, C, ...] -> [B, C, *size]."""
        if size is None:
            outer = len(x.shape) - 4 if self.dims == 3 else 0
            size = [n if axis < outer else 2 * n for axis, n in enumerate(x.shape[2:])]
        x = F.interpolate(x, tuple(size), mode="nearest")
        return x if self.conv is None else self.conv(x)


class Downsample(nn.Module):
    """Halve the size, rounding up: by a strided convolution if `use_conv`, else by averaging."""

    def __init__(self, channels: int, use_conv: bool, dims: int = 2) -> None:
        super().__init__()
        self.dims = dims
        self.stride = (1, 2, 2) if dims == 3 else (2,) * dims  # of volumes the inner two axes
        if use_conv:
            self.op = convolution(dims)(channels, channels, 3, stride=self.stride, padding=1)
        self.use_conv = use_conv

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, ...] -> [B, C, ...], each resampled axis n -> ceil(n / 2)."""
        if self.use_conv:
            out: Tensor = self.op(x)
            return out
        odd = [pad for n in reversed(x.shape[2:][-2:]) for pad in (0, n % 2)]
        if any(odd):  # a doubled last value leaves the mean of a cut window as it is
            x = F.pad(x, [*odd, 0, 0] if self.dims == 3 else odd[: 2 * self.dims], "replicate")
        return POOLS[self.dims](x, self.stride, self.stride)


class TimestepBlock(nn.Module):
    """A module that also takes the time embedding: forward(x, emb, size)."""


class ResBlock(TimestepBlock):
    """Two convolutions with the time embedding between them, added to the input.

    With `up` or `down` both branches are resampled inside the block.
    """

    def __init__(
        self,
        channels: int,
        emb_channels: int,
        dropout: float,
        out_channels: int,
        use_scale_shift_norm: bool = False,
        dims: int = 2,
        up: bool = False,
        down: bool = False,
    ) -> None:
        super().__init__()
        conv = convolution(dims)
        self.use_scale_shift_norm, self.resampled, self.up = use_scale_shift_norm, up or down, up
        self.in_layers = nn.Sequential(
            normalization(channels), nn.SiLU(), conv(channels, out_channels, 3, padding=1)
        )
        if self.resampled:
            resample = Upsample if up else Downsample
            self.h_upd, self.x_upd = (
                resample(channels, False, dims),
                resample(channels, False, dims),
            )
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(emb_channels, out_channels * (2 if use_scale_shift_norm else 1))
        )
        self.out_layers = nn.Sequential(
            normalization(out_channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            zero_module(conv(out_channels, out_channels, 3, padding=1)),
        )
        same = out_channels == channels
        self.skip_connection = nn.Identity() if same else conv(channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """x [B, C, ...], emb [B, D] -> [B, C_out, ...]; `size` is wanted when going up."""
        h = self.in_layers[:-1](x)
        if self.resampled:
            sized = (size,) if self.up else ()
            h, x = self.h_upd(h, *sized), self.x_upd(x, *sized)
        h = self.in_layers[-1](h)
        emb = self.emb_layers(emb).unflatten(1, (-1, *[1] * (x.ndim - 2)))  # [B, C_emb, 1, ...]
        if self.use_scale_shift_norm:
            scale, shift = emb.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + emb)
        out: Tensor = self.skip_connection(x) + h
        return out


class TimestepEmbedSequential(nn.Sequential):
    """A sequence that hands each module what it needs besides x."""

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        emb: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        size: Sequence[int] | None = None,
    ) -> Tensor:
        for layer in self:
            if isinstance(layer, TimestepBlock):
                x = layer(x, emb, size)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context, mask)
            else:
                x = layer(x, size) if isinstance(layer, Upsample) else layer(x)
        return x


class UNetModel(nn.Module):
    """eps, x0 or v of (x_t, t), in the shape of x_t; `config` says how wide and deep."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        model_channels: int,
        num_res_blocks: int | Sequence[int],
        attention_resolutions: Iterable[int],
        channel_mult: Sequence[int] = (1, 2, 4, 8),
        **options: Any,
    ) -> None:
        """Take latent diffusion's arguments; `options` are the other fields of `UNetConfig`.

        Raises `InputError` for settings that cannot be built, naming the level.
        """
        super().__init__()
        per_level = num_res_blocks if isinstance(num_res_blocks, int) else tuple(num_res_blocks)
        self.config = UNetConfig(
            channel=in_channels,
            n_embed=out_channels,
            model_channels=model_channels,
            num_res_blocks=per_level,
            attention_resolutions=tuple(attention_resolutions),
            channel_mult=tuple(channel_mult),
            **{"num_heads": -1, "num_head_channels": -1, "resblock_updown": False, **options},
        )
        check_network(self.config)
        self._build()

    @classmethod
    def from_config(cls, config: UNetConfig) -> "UNetModel":
        """Build the network that a configuration's U-Net section describes."""
        options = {name: getattr(config, name) for name in config.__dataclass_fields__}
        in_channels, out_channels = options.pop("channel"), options.pop("n_embed")
        return cls(in_channels=in_channels, out_channels=out_channels, **options)

    def _build(self) -> None:
        c = self.config
        width, conv = c.model_channels, convolution(c.dims)
        self.emb_channels = TIME_EMBEDDING * width
        self.time_embed = nn.Sequential(
            nn.Linear(width, self.emb_channels),
            nn.SiLU(),
            nn.Linear(self.emb_channels, self.emb_channels),
        )
        if c.num_classes is not None:
            self.label_emb = nn.Embedding(c.num_classes, self.emb_channels)
        patch = c.patch_size**c.dims
        entry = conv(c.channel * patch, width, 3, padding=1)
        self.input_blocks = nn.ModuleList([TimestepEmbedSequential(entry)])
        skips = self._build_down(width)
        self.middle_block = TimestepEmbedSequential(*self._build_middle(skips[-1]))
        self.output_blocks = nn.ModuleList()
        last = self._build_up(skips)
        self.out = nn.Sequential(
            normalization(last), nn.SiLU(), zero_module(conv(last, c.n_embed * patch, 3, padding=1))
        )

    def _build_down(self, width: int) -> list[int]:
        """Append the way down; return the width of every skip."""
        c, skips, ch = self.config, [width], width
        for level, mult in enumerate(c.channel_mult):
            for _ in range(c.res_blocks[level]):
                block = [self._res(ch, mult * width)]
                ch = mult * width
                if 2**level in c.attention_resolutions:
                    block.append(self._transformer(ch))
                self.input_blocks.append(TimestepEmbedSequential(*block))
                skips.append(ch)
            if level != len(c.channel_mult) - 1:
                self.input_blocks.append(TimestepEmbedSequential(self._resample(ch, up=False)))
                skips.append(ch)
        return skips

    def _build_middle(self, ch: int) -> list[nn.Module]:
        """Return the blocks of the middle; none without one (BK-SDM, Kim et al. 2023)."""
        if not self.config.middle:
            return []
        return [self._res(ch, ch), self._transformer(ch), self._res(ch, ch)]

    def _build_up(self, skips: list[int]) -> int:
        """Append the way up, one block more a level than down; return the last width."""
        c, ch = self.config, skips[-1]
        for level, mult in reversed(list(enumerate(c.channel_mult))):
            for i in range(c.res_blocks[level] + 1):
                block = [self._res(ch + skips.pop(), mult * c.model_channels)]
                ch = mult * c.model_channels
                if 2**level in c.attention_resolutions:
                    block.append(self._transformer(ch))
                if level and i == c.res_blocks[level]:
                    block.append(self._resample(ch, up=True))
                self.output_blocks.append(TimestepEmbedSequential(*block))
        return ch

    def _res(self, channels: int, out_channels: int, **resample: bool) -> nn.Module:
        c = self.config
        norm = c.use_scale_shift_norm
        return ResBlock(
            channels, self.emb_channels, c.dropout, out_channels, norm, c.dims, **resample
        )

    def _resample(self, channels: int, up: bool) -> nn.Module:
        c = self.config
        if c.resblock_updown:
            return self._res(channels, channels, up=up, down=not up)
        return (Upsample if up else Downsample)(channels, c.conv_resample, c.dims)

    def _transformer(self, channels: int) -> nn.Module:
        c = self.config
        heads, d_head = heads_of(c, channels)
        depth, context_dim = c.transformer_depth, c.context_dim
        return SpatialTransformer(
            channels, heads, d_head, depth, context_dim=context_dim, dims=c.dims
        )

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | None = None,
        y: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the output [B, C_out, ...] for x [B, C, ...] of any size.

        timesteps: [B], the network's own (0..T-1), may be fractional. context: [B, L, context_dim]
        with its mask bool [B, L]; y: class labels int [B], given exactly when num_classes is set,
        or float [B, 4 model_channels], added to the time embedding as it is.
        """
        self._check_conditions(context, y)
        given, dtype = x.dtype, self._dtype
        x, context = x.to(dtype), None if context is None else context.to(dtype)
        emb = self.time_embed(timestep_embedding(timesteps, self.config.model_channels).to(dtype))
        if y is not None:
            emb = emb + (y if y.is_floating_point() else self.label_emb(y))
        size, h = x.shape[2:], self._to_patches(x)
        skips = []
        for block in self.input_blocks:
            h = block(h, emb, context, mask)
            skips.append(h)
        h = self.middle_block(h, emb, context, mask)
        for block in self.output_blocks:
            h = torch.cat([h, skips.pop()], dim=1)
            h = block(h, emb, context, mask, skips[-1].shape[2:] if skips else None)
        out = self._from_patches(self.out(h), size)
        return out if given == dtype else out.to(given)

    @property
    def _dtype(self) -> torch.dtype:
        """The type of its weights, in which it computes; that of its input may be another."""
        first: Any = self.time_embed[0]
        dtype: torch.dtype = first.weight.dtype
        return dtype

    def _check_conditions(self, context: Tensor | None, y: Tensor | None) -> None:
        labels = y is not None and not y.is_floating_point()
        if labels != (self.config.num_classes is not None):
            given = "labels were" if labels else "no labels were"
            raise InputError(f"unet.num_classes = {self.config.num_classes}: but {given} given")
        if (context is None) != (self.config.context_dim is None):
            given = "no context was" if context is None else "a context was"
            raise InputError(f"unet.context_dim = {self.config.context_dim}: but {given} given")

    def _to_patches(self, x: Tensor) -> Tensor:
        """Fold p x p pixels into channels, [B, C, H, W] -> [B, C p p, ceil(H/p), ceil(W/p)]."""
        p = self.config.patch_size
        if p == 1:
            return x
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % p, 0, -height % p), mode="replicate")
        return rearrange(x, "b c (h p) (w q) -> b (c p q) h w", p=p, q=p)

    def _from_patches(self, h: Tensor, size: Sequence[int]) -> Tensor:
        """Unfold the channels of `_to_patches` and cut to the picture's own size."""
        p = self.config.patch_size
        if p == 1:
            return h
        x = rearrange(h, "b (c p q) h w -> b c (h p) (w q)", p=p, q=p)
        return x[:, :, : size[0], : size[1]]
