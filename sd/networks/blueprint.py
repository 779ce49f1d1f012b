"""What a network will be, by arithmetic alone: shapes, parameters, operations, memory.

It follows the latent-diffusion U-Net (Rombach et al. 2021, appendix E) block by block in the order
in which `sd.networks.unet` builds it, and refuses by name what cannot be built. No torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sd.common.text import format_bytes, format_count
from sd.common.validation import InputError, shown, whole
from sd.config.sections import MOST_PIXELS, UNetConfig

ENCODING_WORK = 220_000  # operations of encoding a pixel by the bundled autoencoders

GROUPS = 32  # of every group norm
CONTEXT_TOKENS = 77  # what Stable Diffusion's text encoder gives; assumed where context_dim is set
MOST_PARAMETERS = 4_000_000_000
MOST_SCORES = 2**19  # of a head: with more, attention never writes them down
TIME_EMBEDDING = 4  # width of the time embedding, in multiples of model_channels
BYTES = 4  # of one float32


@dataclass(frozen=True)
class Cost:
    """What a part of the network costs; costs add."""

    parameters: int = 0
    tensors: int = 0
    operations: int = 0  # per picture forward: two per multiply-add of a convolution or product
    kept: int = 0  # values per picture that the backward pass needs again

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.parameters + other.parameters,
            self.tensors + other.tensors,
            self.operations + other.operations,
            self.kept + other.kept,
        )

    def times(self, count: int) -> "Cost":
        """Return the cost of `count` parts like this one."""
        return sum((self,) * count, Cost())


@dataclass(frozen=True)
class Level:
    """One row of a blueprint: the blocks of one level on one way, or a part between the ways."""

    name: str  # "time", "entry", "down 1", …, "middle", …, "up 1", "exit"
    height: int  # of the feature map inside, before the level's own resampling
    width: int
    channels: int
    attention: bool
    heads: int  # 0 without attention
    head_width: int  # channels per head; 0 without attention
    parameters: int
    operations: int  # per picture forward


@dataclass(frozen=True)
class Blueprint:
    """What a network will be for pictures of one size."""

    levels: tuple[Level, ...]  # in the order in which a picture passes them
    parameters: int
    tensors: int  # entries of the state dict
    operations: int  # per picture forward; two per multiply-add
    activation_bytes: int  # per picture: float32 values that one training step keeps; an estimate
    recomputed_bytes: int  # the same where blocks are computed once more on the way back

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in float32."""
        return BYTES * self.parameters


def blueprint(
    unet: UNetConfig, height: int, width: int, context_tokens: int = CONTEXT_TOKENS
) -> Blueprint:
    """Return what the network will be for pictures of height x width pixels, any size.

    With dims 1 a signal of `width` values is meant, with dims 3 a volume one slice deep.
    `context_tokens` counts only where context_dim is set. Raises `InputError` for what cannot be.
    """
    check_network(unet, height, width)
    network = _NetworkCost(unet, height, width, context_tokens)
    rows = list(network.rows())
    total = sum((cost for _, cost in rows), Cost())
    return Blueprint(
        tuple(level for level, _ in rows),
        total.parameters,
        total.tensors,
        total.operations,
        BYTES * total.kept,
        BYTES * (total.kept - network.spared()),
    )


def check_network(unet: UNetConfig, height: int = 1, width: int = 1) -> None:
    """Raise `InputError` naming section.key and the level where the network cannot be built.

    Any height and width from 1 to 4096 can be, up to 2048 * 2048 pixels together.
    """
    height, width = whole("height", height, 1, 4096), whole("width", width, 1, 4096)
    if height * width > MOST_PIXELS:
        raise InputError(f"height = {height}, width = {width}: more than {MOST_PIXELS:,} pixels")
    if unet.model_channels % GROUPS:
        raise InputError(
            f"unet.model_channels = {unet.model_channels}: level 1 begins {unet.model_channels} "
            f"channels wide, which {GROUPS} groups do not divide; use a multiple of {GROUPS}"
        )
    _check_factors(unet)
    for level, mult in enumerate(unet.channel_mult):
        if 2**level in unet.attention_resolutions:
            _check_heads(unet, f"level {level + 1}", mult * unet.model_channels)
    if unet.middle:
        _check_heads(unet, "the middle", unet.channel_mult[-1] * unet.model_channels)
    parameters = sum(cost.parameters for _, cost in _NetworkCost(unet, 1, 1, 1).rows())
    if parameters > MOST_PARAMETERS:
        raise InputError(
            f"unet.model_channels = {unet.model_channels}: the network would have {parameters:,} "
            f"parameters; at most {MOST_PARAMETERS:,} are allowed"
        )


def size_factor(unet: UNetConfig) -> int:
    """Return what height and width are multiples of where every level halves them exactly."""
    return int(unet.patch_size * 2 ** (len(unet.channel_mult) - 1))


def check_size(unet: UNetConfig, height: int, width: int, places: int = 1) -> None:
    """Raise `InputError` where a network, trained on another size, does not draw this one.

    places: how many pixels a place of what it sees covers, each way.
    """
    factor = size_factor(unet) * places
    if unet.dims != 2:
        raise InputError(f"size = {height}x{width}: a network of {unet.dims} dimensions has none")
    if height % factor or width % factor:
        fits = "x".join(str(-(-side // factor) * factor) for side in (height, width))
        raise InputError(
            f"size = {height}x{width}: must be multiples of {factor}, as this network halves them; "
            f"the next that fits is {fits}"
        )
    check_network(unet, height // places, width // places)


def heads_of(unet: UNetConfig, channels: int) -> tuple[int, int]:
    """Return (heads, channels per head) of attention that is `channels` wide."""
    if unet.num_head_channels != -1:
        return channels // unet.num_head_channels, unet.num_head_channels
    return unet.num_heads, channels // unet.num_heads


def describe(plan: Blueprint) -> list[str]:
    """Return a blueprint as lines of a table for a terminal."""
    head = ("part", "size", "channels", "heads", "parameters", "operations")
    table = [head, *(_row(level) for level in plan.levels)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(map(str.rjust, row[1:], widths[1:]))])
        for row in table
    ]
    return [
        *lines,
        f"{plan.parameters:,} parameters in {plan.tensors} tensors, "
        f"{format_bytes(plan.weight_bytes)} as float32",
        f"{format_count(plan.operations, 'FLOP')} per picture forward; training keeps about "
        f"{format_bytes(plan.activation_bytes)} per picture",
    ]


def _check_factors(unet: UNetConfig) -> None:
    reachable = [2**level for level in range(len(unet.channel_mult))]
    known = ", ".join(map(str, reachable))
    for factor in unet.attention_resolutions:
        if factor not in reachable:
            raise InputError(
                f"unet.attention_resolutions = {shown(unet.attention_resolutions)}: no level has "
                f"factor {factor}; levels 1 to {len(reachable)} have {known}"
            )


def _check_heads(unet: UNetConfig, place: str, channels: int) -> None:
    if unet.num_head_channels != -1 and channels % unet.num_head_channels:
        raise InputError(
            f"unet.num_head_channels = {unet.num_head_channels}: {place} is {channels} channels "
            f"wide, which heads of {unet.num_head_channels} channels do not divide"
        )
    if unet.num_head_channels == -1 and channels % unet.num_heads:
        raise InputError(
            f"unet.num_heads = {unet.num_heads}: {place} is {channels} channels wide, which "
            f"{unet.num_heads} heads do not divide"
        )


def _row(level: Level) -> tuple[str, ...]:
    heads = f"{level.heads} x {level.head_width}" if level.attention else "-"
    size = f"{level.height} x {level.width}"
    counts = f"{level.parameters:,}", format_count(level.operations, "FLOP")
    return level.name, size, str(level.channels), heads, *counts


def _convolution(inputs: int, outputs: int, taps: int, places: int) -> Cost:
    parameters = inputs * outputs * taps + outputs
    return Cost(parameters, 2, 2 * inputs * outputs * taps * places, inputs * places)


def _linear(inputs: int, outputs: int, places: int, bias: bool = True) -> Cost:
    parameters = inputs * outputs + (outputs if bias else 0)
    return Cost(parameters, 2 if bias else 1, 2 * inputs * outputs * places)


def _norm(channels: int, places: int) -> Cost:
    return Cost(2 * channels, 2, kept=channels * places)


def _attention(channels: int, places: int, heads: int, other: int, other_places: int) -> Cost:
    """Attention from `places` tokens to `other_places` tokens that are `other` wide."""
    scores = places * other_places if places * other_places <= MOST_SCORES else 0
    pairs = Cost(operations=4 * channels * places * other_places)  # Q K^T, and the weights times V
    kept = channels * (3 * places + 2 * other_places) + heads * scores
    keys = _linear(other, channels, other_places, bias=False)
    ends = _linear(channels, channels, places, bias=False) + _linear(channels, channels, places)
    return keys.times(2) + ends + pairs + Cost(kept=kept)


def _transformer(unet: UNetConfig, channels: int, places: int, context_tokens: int) -> Cost:
    other, other_places = unet.context_dim or channels, places
    heads, _ = heads_of(unet, channels)
    if unet.context_dim is not None:
        other_places = context_tokens
    block = (
        _norm(channels, places).times(3)
        + _attention(channels, places, heads, channels, places)
        + _attention(channels, places, heads, other, other_places)
        + _linear(channels, 8 * channels, places)
        + _linear(4 * channels, channels, places)
        + Cost(kept=17 * channels * places)  # norm out, both halves, gelu of one, their product
    )
    ends = _convolution(channels, channels, 1, places).times(2)
    return _norm(channels, places) + ends + block.times(unet.transformer_depth)


def _part(
    name: str, size: tuple[int, int], channels: int, cost: Cost, heads: tuple[int, int] = (0, 0)
) -> tuple[Level, Cost]:
    counts = cost.parameters, cost.operations
    return Level(name, *size, channels, heads != (0, 0), *heads, *counts), cost


class _NetworkCost:
    """One pass through the network in the order in which it is built."""

    def __init__(self, unet: UNetConfig, height: int, width: int, context_tokens: int) -> None:
        self.unet, self.context_tokens = unet, context_tokens
        self.taps = 3**unet.dims
        p = unet.patch_size
        size = (-(-height // p) if unet.dims > 1 else 1, -(-width // p))
        self.sizes = [size]  # per level, each halving rounded up
        for _ in unet.channel_mult[1:]:
            height, width = self.sizes[-1]
            self.sizes.append((-(-height // 2), -(-width // 2)))
        self.places = [height * width for height, width in self.sizes]
        self.skips = [unet.model_channels]  # widths; the way up takes them from the end
        self.blocks: list[tuple[int, int]] = []  # values that enter each, and that it keeps

    def spared(self) -> int:
        """Return what is not kept, of `rows`, where each block keeps only what enters it.

        On the way back they are there again of one block at a time.
        """
        most = max((kept for _, kept in self.blocks), default=0)
        return max(0, sum(kept - entering for entering, kept in self.blocks) - most)

    def rows(self) -> Iterator[tuple[Level, Cost]]:
        """Yield every part with its cost."""
        unet, base = self.unet, self.unet.model_channels
        patch, levels = unet.patch_size**unet.dims, range(len(unet.channel_mult))
        wide = TIME_EMBEDDING * base
        time = _linear(base, wide, 1) + _linear(wide, wide, 1)
        if unet.num_classes is not None:
            time += Cost(unet.num_classes * wide, 1)
        yield _part("time", (1, 1), wide, time)
        entry = _convolution(unet.channel * patch, base, self.taps, self.places[0])
        yield _part("entry", self.sizes[0], base, entry)
        for level in levels:
            yield self._level(f"down {level + 1}", level, self._down(level))
        if unet.middle:
            yield self._level("middle", levels[-1], self._middle())
        for level in reversed(levels):
            yield self._level(f"up {level + 1}", level, self._up(level))
        last, places = self._channels(0), self.places[0]
        out = _convolution(last, unet.n_embed * patch, self.taps, places)
        exit_cost = _norm(last, places) + Cost(kept=last * places) + out
        yield _part("exit", self.sizes[0], last, exit_cost)

    def _level(self, name: str, level: int, cost: Cost) -> tuple[Level, Cost]:
        channels = self._channels(level)
        attends = name == "middle" or 2**level in self.unet.attention_resolutions
        heads = heads_of(self.unet, channels) if attends else (0, 0)
        return _part(name, self.sizes[level], channels, cost, heads)

    def _channels(self, level: int) -> int:
        return self.unet.channel_mult[level] * self.unet.model_channels

    def _down(self, level: int) -> Cost:
        cost, channels = Cost(), self._channels(level)
        for _ in range(self.unet.res_blocks[level]):
            cost += self._whole(self.skips[-1], level, self._block(self.skips[-1], level))
            self.skips.append(channels)
        if level + 1 < len(self.places):
            smaller = self._resample(channels, self.places[level], self.places[level + 1])
            cost += self._whole(channels, level, smaller)
            self.skips.append(channels)
        return cost

    def _middle(self) -> Cost:
        channels, places = self.skips[-1], self.places[-1]
        residual = self._residual(channels, channels, places, places)
        return residual.times(2) + _transformer(self.unet, channels, places, self.context_tokens)

    def _up(self, level: int) -> Cost:
        cost, channels = Cost(), self._channels(level)
        below = self._channels(min(level + 1, len(self.places) - 1))
        for last in reversed(range(self.unet.res_blocks[level] + 1)):
            inputs = below + self.skips.pop()
            block = self._block(inputs, level)
            if level and not last:  # it is part of the level's last block
                block += self._resample(channels, self.places[level], self.places[level - 1])
            cost += self._whole(inputs, level, block)
            below = channels
        return cost

    def _whole(self, inputs: int, level: int, cost: Cost) -> Cost:
        """Note what a block of the network takes in and keeps; return its cost."""
        self.blocks.append((inputs * self.places[level], cost.kept))
        return cost

    def _block(self, inputs: int, level: int) -> Cost:
        """A residual block and, where the level attends, its transformer."""
        channels, places = self._channels(level), self.places[level]
        cost = self._residual(inputs, channels, places, places)
        if 2**level in self.unet.attention_resolutions:
            cost += _transformer(self.unet, channels, places, self.context_tokens)
        return cost

    def _resample(self, channels: int, before: int, after: int) -> Cost:
        if self.unet.resblock_updown:
            return self._residual(channels, channels, before, after)
        if not self.unet.conv_resample:
            return Cost(kept=channels * before if after < before else 0)  # pooling keeps its input
        cost = _convolution(channels, channels, self.taps, after)
        return cost + Cost(kept=channels * max(before - after, 0))

    def _residual(self, inputs: int, outputs: int, before: int, after: int) -> Cost:
        """A residual block that resamples from `before` to `after` places between its parts."""
        unet, scaled = self.unet, self.unet.use_scale_shift_norm
        cost = (
            _norm(inputs, before)
            + Cost(kept=inputs * before)  # what SiLU saw
            + _convolution(inputs, outputs, self.taps, after)
            + _linear(4 * unet.model_channels, outputs * (2 if scaled else 1), 1)
            + _norm(outputs, after)
            + Cost(kept=outputs * after * (2 if scaled else 1))
            + _convolution(outputs, outputs, self.taps, after)
        )
        if after < before:
            cost += Cost(kept=inputs * before)  # average pooling keeps what it saw
        if inputs != outputs:
            skip = _convolution(inputs, outputs, 1, after)
            cost += replace(skip, kept=0)  # the first norm keeps the same values
        return cost
