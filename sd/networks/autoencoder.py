"""The first stage of latent diffusion: an autoencoder whose latents the U-Net learns instead.

`AutoencoderKL` is that of Rombach et al. 2021 (appendix G), its names those of the latent-diffusion
code, so that published weights load. `TinyAutoencoder` is the small one distilled from it (TAESD).
Pictures are [B, C, H, W] in [-1, 1], latents z [B, Z, H/f, W/f].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sd.common.validation import InputError
from sd.networks.attention import GroupNorm32, attend, pointwise

LOG_VARIANCE = (-30.0, 20.0)  # where the posterior's is kept, as in latent diffusion
GROUPS = 32
TINY_WIDTH = 64


def normalization(channels: int) -> GroupNorm32:
    """Return the group norm of the autoencoder: 32 groups, eps 1e-6."""
    return GroupNorm32(GROUPS, channels, eps=1e-6)


def activated(norm: nn.Module, x: Tensor) -> Tensor:
    """Return SiLU of the normalised x, without a second copy where no gradient asks for it."""
    return F.silu(norm(x), inplace=not torch.is_grad_enabled())


class UpsamplingConv2d(nn.Conv2d):
    """Repeat every value twice each way, then convolve: [B, C, H, W] -> [B, C', 2 H, 2 W].

    A repeated value meets sums of the 3x3 kernel's weights, so without a gradient a CPU does both
    as one transposed convolution of stride 2 by a kernel of 4x4: 4/9 of the products, equal to
    rounding, half of the time (tests/benchmarks/RESULTS.md).
    """

    def __init__(self, channels: int, bias: bool = True) -> None:
        super().__init__(channels, channels, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or torch.is_grad_enabled():
            return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        w = self.weight.permute(2, 3, 1, 0)  # places first, so that whole slices are added
        w = torch.stack([w[2], w[1] + w[2], w[0] + w[1], w[0]])
        w = torch.stack([w[:, 2], w[:, 1] + w[:, 2], w[:, 0] + w[:, 1], w[:, 0]], 1)
        return F.conv_transpose2d(x, w.permute(2, 3, 0, 1), self.bias, stride=2, padding=1)


@dataclass(frozen=True)
class Posterior:
    """q(z | x) = N(mean, exp(logvar)), both [B, Z, H/f, W/f]."""

    mean: Tensor
    logvar: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + std noise, with noise ~ N(0, 1) of the mean's shape."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def kl(self) -> Tensor:
        """Return KL(q || N(0, 1)) in nats of each picture, [B] (Kingma & Welling 2014, app. B)."""
        return 0.5 * (self.mean**2 + self.logvar.exp() - 1 - self.logvar).flatten(1).sum(1)


class ResnetBlock(nn.Module):
    """Two normalised convolutions, added to the input; [B, C, H, W] -> [B, C_out, H, W]."""

    def __init__(self, channels: int, out_channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = normalization(channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = normalization(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = channels == out_channels
        self.nin_shortcut = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(activated(self.norm1, x))
        h = self.conv2(self.dropout(activated(self.norm2, h)))
        out: Tensor = h.add_(self.nin_shortcut(x))
        return out


class AttnBlock(nn.Module):
    """Self-attention of one head over all places, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = normalization(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> [B, C, H, W]."""
        tokens = rearrange(self.norm(x), "b c h w -> b (h w) c")
        q, k, v = (pointwise(conv, tokens)[:, None] for conv in (self.q, self.k, self.v))
        h = pointwise(self.proj_out, attend(q, k, v)[:, 0])  # one head
        return x + rearrange(h, "b (h w) c -> b c h w", h=x.shape[2])


class Downsample(nn.Module):
    """Halve the size by a strided convolution that looks to the right and below only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    """Repeat every value twice each way, then convolve."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = UpsamplingConv2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


@dataclass(frozen=True)
class AutoencoderConfig:
    """latent-diffusion's `ddconfig` and embed_dim.

    Two settings are ours and rename no tensor: `patch` folds p x p pixels into channels at the
    entry and unfolds them at the exit, and without `mid_attention` the middle is convolutions only.
    """

    in_channels: int = 3
    out_ch: int = 3
    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = ()  # sides of the feature map that get attention
    resolution: int = 256  # the picture's side, from which those sides are counted
    z_channels: int = 4
    double_z: bool = True  # the encoder gives mean and log variance
    dropout: float = 0.0
    embed_dim: int = 4
    patch: int = 1
    mid_attention: bool = True

    def __post_init__(self) -> None:
        for mult in (1, *self.ch_mult):
            if self.ch * mult % GROUPS:
                raise InputError(
                    f"first_stage: ch {self.ch} times {mult} is no multiple of {GROUPS}"
                )

    @property
    def factor(self) -> int:
        """Pixels that one place of z covers, each way."""
        factor: int = self.patch * 2 ** (len(self.ch_mult) - 1)
        return factor

    def has_attention(self, level: int) -> bool:
        """Tell whether the blocks of a level are followed by attention."""
        return self.resolution // (self.patch * 2**level) in self.attn_resolutions


class Level(nn.Module):
    """Residual blocks of one size, each followed by attention where wanted, then a resampling."""

    def __init__(
        self,
        config: AutoencoderConfig,
        level: int,
        widths: Sequence[int],
        down: bool = False,
        up: bool = False,
    ) -> None:
        """`widths` are the channels before and after each block, in order."""
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(a, b, config.dropout) for a, b in pairwise(widths))
        attended = widths[1:] if config.has_attention(level) else []
        self.attn = nn.ModuleList(AttnBlock(width) for width in attended)
        self.downsample = Downsample(widths[-1]) if down else nn.Identity()
        self.upsample = Upsample(widths[-1]) if up else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        out: Tensor = self.upsample(self.downsample(x))
        return out


class Middle(nn.Module):
    """The blocks of the smallest size."""

    def __init__(self, config: AutoencoderConfig, channels: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, config.dropout)
        self.attn_1 = AttnBlock(channels) if config.mid_attention else nn.Identity()
        self.block_2 = ResnetBlock(channels, channels, config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return out


class Encoder(nn.Module):
    """Pictures [B, C, H, W] -> moments [B, 2 Z or Z, H/f, W/f]."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.conv_in = nn.Conv2d(config.in_channels * config.patch**2, config.ch, 3, padding=1)
        self.down = nn.ModuleList()
        width = config.ch
        for level, mult in enumerate(config.ch_mult):
            widths = [width, *[mult * config.ch] * config.num_res_blocks]
            last = level == len(config.ch_mult) - 1
            self.down.append(Level(config, level, widths, down=not last))
            width = widths[-1]
        self.mid = Middle(config, width)
        self.norm_out = normalization(width)
        moments = config.z_channels * (2 if config.double_z else 1)
        self.conv_out = nn.Conv2d(width, moments, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(F.pixel_unshuffle(x, self.patch))
        for down in self.down:
            h = down(h)
        out: Tensor = self.conv_out(activated(self.norm_out, self.mid(h)))
        return out


class Decoder(nn.Module):
    """Latents [B, Z, h, w] -> pictures [B, C, h f, w f]; one block a level more than the way in."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.patch = config.patch
        width = config.ch * config.ch_mult[-1]
        self.conv_in = nn.Conv2d(config.z_channels, width, 3, padding=1)
        self.mid = Middle(config, width)
        levels = []
        for level, mult in reversed(list(enumerate(config.ch_mult))):
            widths = [width, *[mult * config.ch] * (config.num_res_blocks + 1)]
            levels.append(Level(config, level, widths, up=level > 0))
            width = widths[-1]
        self.up = nn.ModuleList(reversed(levels))  # up.0 is the largest, as in the files
        self.norm_out = normalization(width)
        self.conv_out = nn.Conv2d(width, config.out_ch * config.patch**2, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for up in reversed(self.up):
            h = up(h)
        h = self.conv_out(activated(self.norm_out, h))
        return F.pixel_shuffle(h, self.patch)


class AutoencoderKL(nn.Module):
    """The variational autoencoder of latent diffusion; `config` says how wide and deep."""

    def __init__(self, ddconfig: dict[str, Any], embed_dim: int) -> None:
        """Take latent diffusion's arguments; `ddconfig` are fields of `AutoencoderConfig`."""
        super().__init__()
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in ddconfig.items()
        }
        self.config = c = AutoencoderConfig(**fields, embed_dim=embed_dim)
        self.encoder, self.decoder = Encoder(c), Decoder(c)
        both = 2 if c.double_z else 1
        self.quant_conv = nn.Conv2d(both * c.z_channels, both * embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, c.z_channels, 1)

    @property
    def factor(self) -> int:
        """Pixels that one place of z covers, each way."""
        return self.config.factor

    @property
    def channels(self) -> int:
        """Channels of z."""
        return self.config.embed_dim

    def encode(self, x: Tensor) -> Posterior:
        """Return q(z | x) of pictures x [B, C, H, W] in [-1, 1]; H and W are multiples of f.

        Without `double_z` the encoder gives the mean alone; the variance is the smallest there is.
        """
        check_sides(x, self.config.factor)
        moments = self.quant_conv(self.encoder(x))
        if not self.config.double_z:
            return Posterior(moments, torch.full_like(moments, LOG_VARIANCE[0]))
        mean, logvar = moments.chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(*LOG_VARIANCE))

    def decode(self, z: Tensor) -> Tensor:
        """Return the pictures [B, C, H, W] of latents z [B, embed_dim, H/f, W/f]."""
        out: Tensor = self.decoder(self.post_quant_conv(z))
        return out

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Posterior]:
        """Return the reconstruction of x and q(z | x); z is its mean, or a sample by `noise`."""
        posterior = self.encode(x)
        z = posterior.mean if noise is None else posterior.sample(noise)
        return self.decode(z), posterior


def check_sides(x: Tensor, factor: int) -> None:
    """Raise `InputError` if a side is no multiple of `factor`, naming the next that is."""
    height, width = x.shape[2:]
    if height % factor or width % factor:
        fits = " x ".join(str(-(-side // factor) * factor) for side in (width, height))
        raise InputError(
            f"a picture of {width} x {height} pixels: sides must be multiples of {factor}; "
            f"the next that fit are {fits}"
        )


class TinyBlock(nn.Module):
    """Three convolutions added to the input, then a ReLU; [B, C, H, W] -> [B, C, H, W].

    With `pool` a normalised branch of 1x1 convolutions is added first (TAEF2's coarsest blocks).
    """

    def __init__(self, width: int, pool: bool = False) -> None:
        super().__init__()
        convs = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2])
        wide = 4 * width
        self.pool = (
            nn.Sequential(
                nn.Conv2d(width, wide, 1, bias=False),
                nn.GroupNorm(4, wide),
                nn.ReLU(),
                nn.Conv2d(wide, width, 1, bias=False),
            )
            if pool
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return F.relu(self.conv(x) + x)


class SoftClamp(nn.Module):
    """3 tanh(z / 3): latents far outside are drawn in."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(z / 3) * 3


class TinyAutoencoder(nn.Module):
    """TAESD (github.com/madebyollin/taesd): f = 8, no norms, latents of Stable Diffusion's own.

    With `pooled` it is TAEF2, whose coarsest blocks have a normalised branch (latents of FLUX.2).
    Names are the files' own, below `encoder.` and `decoder.`.
    """

    factor = 8

    def __init__(self, z_channels: int = 4, pooled: bool = False) -> None:
        super().__init__()
        self.channels = z_channels
        self.encoder = tiny_encoder(z_channels, pooled)
        self.decoder = tiny_decoder(z_channels, pooled)

    def encode(self, x: Tensor) -> Tensor:
        """Return the latents [B, Z, H/8, W/8] of pictures x [B, 3, H, W] in [-1, 1]."""
        check_sides(x, self.factor)
        z: Tensor = self.encoder((x + 1) / 2)
        return z

    def decode(self, z: Tensor) -> Tensor:
        """Return the pictures [B, 3, H, W], about in [-1, 1], of latents z [B, Z, H/8, W/8]."""
        x: Tensor = self.decoder(z)
        return x * 2 - 1


def tiny_encoder(z_channels: int, pooled: bool) -> nn.Sequential:
    """Return TAESD's encoder of pictures in [0, 1]."""
    width = TINY_WIDTH
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), TinyBlock(width)]
    for level in range(3):
        layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False))
        layers += [TinyBlock(width, pooled and level == 2) for _ in range(3)]
    return nn.Sequential(*layers, nn.Conv2d(width, z_channels, 3, padding=1))


def tiny_decoder(z_channels: int, pooled: bool) -> nn.Sequential:
    """Return TAESD's decoder into pictures in [0, 1]."""
    width = TINY_WIDTH
    layers = [SoftClamp(), nn.Conv2d(z_channels, width, 3, padding=1), nn.ReLU()]
    for level in range(3):
        layers += [TinyBlock(width, pooled and level == 0) for _ in range(3)]
        layers.append(nn.Identity())  # the files number the repeating apart
        layers.append(UpsamplingConv2d(width, bias=False))
    return nn.Sequential(*layers, TinyBlock(width), nn.Conv2d(width, 3, 3, padding=1))
