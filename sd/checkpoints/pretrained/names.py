"""Every tensor of a published model: our name, diffusers' name and the shape. No torch.

Ours are those of the latent-diffusion code, in which single files are written; folders have those
of diffusers. Both come of one walk through the blocks in the order in which they are built.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sd.config.sections import UNetConfig
from sd.networks.blueprint import TIME_EMBEDDING

Shape = tuple[int, ...]

OPEN_CLIP_BLOCKS = {  # within one of its blocks: transformers' names
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
IN_PROJECTIONS = ("q_proj", "k_proj", "v_proj")  # lie below each other in OpenCLIP's in_proj


class Named(NamedTuple):
    """A tensor by both names. linear: diffusers has it as a matrix, ours is a 1x1 convolution."""

    ours: str
    theirs: str
    shape: Shape
    linear: bool = False


def to_theirs(tensors: Iterable[Named]) -> dict[str, str]:
    """Return diffusers' names by ours."""
    return {each.ours: each.theirs for each in tensors}


def to_ours(tensors: Iterable[Named]) -> dict[str, str]:
    """Return our names by diffusers'."""
    return {each.theirs: each.ours for each in tensors}


def unet_modules(config: UNetConfig) -> dict[str, str]:
    """Return diffusers' names of a U-Net's layers, those with a weight, by ours."""
    pairs = to_theirs(unet_tensors(config)).items()
    end = ".weight"
    return {ours[: -len(end)]: theirs[: -len(end)] for ours, theirs in pairs if ours.endswith(end)}


def _layer(ours: str, theirs: str, *shape: int, linear: bool = False) -> Iterator[Named]:
    """Yield weight and bias of a layer; `shape` is the weight's."""
    yield Named(f"{ours}.weight", f"{theirs}.weight", shape, linear)
    yield Named(f"{ours}.bias", f"{theirs}.bias", shape[:1])


def unet_tensors(config: UNetConfig, linear: bool = False) -> list[Named]:
    """Return the tensors of a U-Net of pictures without labels.

    linear: the projections around its transformers are matrices in files (Stable Diffusion v2).
    """
    return list(_UNet(config, linear).tensors())


class _UNet:
    """One pass through a U-Net in the order in which it is built."""

    def __init__(self, config: UNetConfig, linear: bool) -> None:
        self.config, self.linear = config, linear
        self.wide = TIME_EMBEDDING * config.model_channels
        self.levels = len(config.channel_mult)

    def tensors(self) -> Iterator[Named]:
        """Yield every tensor."""
        c, width = self.config, self.config.model_channels
        patch = c.patch_size**2
        yield from _layer("time_embed.0", "time_embedding.linear_1", self.wide, width)
        yield from _layer("time_embed.2", "time_embedding.linear_2", self.wide, self.wide)
        yield from _layer("input_blocks.0.0", "conv_in", width, c.channel * patch, 3, 3)
        skips = [width]
        yield from self._down(skips)
        if c.middle:
            for k, number in enumerate((0, 2)):
                middle = f"middle_block.{number}", f"mid_block.resnets.{k}"
                yield from self._residual(*middle, skips[-1], skips[-1])
            yield from self._transformer("middle_block.1", "mid_block.attentions.0", skips[-1])
        yield from self._up(skips)
        last = c.channel_mult[0] * width
        yield from _layer("out.0", "conv_norm_out", last)
        yield from _layer("out.2", "conv_out", c.n_embed * patch, last, 3, 3)

    def _down(self, skips: list[int]) -> Iterator[Named]:
        number, ch = 0, skips[-1]
        for level, mult in enumerate(self.config.channel_mult):
            theirs = f"down_blocks.{level}"
            for i in range(self.config.res_blocks[level]):
                number, width = number + 1, mult * self.config.model_channels
                yield from self._block(f"input_blocks.{number}", theirs, i, level, ch, width)
                ch = width
                skips.append(ch)
            if level < self.levels - 1:
                number += 1
                op = f"input_blocks.{number}.0.op", f"{theirs}.downsamplers.0.conv"
                yield from _layer(*op, ch, ch, 3, 3)
                skips.append(ch)

    def _up(self, skips: list[int]) -> Iterator[Named]:
        number, ch = 0, skips[-1]
        for level in reversed(range(self.levels)):
            theirs = f"up_blocks.{self.levels - 1 - level}"
            width = self.config.channel_mult[level] * self.config.model_channels
            for i in range(self.config.res_blocks[level] + 1):
                ours = f"output_blocks.{number}"
                yield from self._block(ours, theirs, i, level, ch + skips.pop(), width)
                ch, number = width, number + 1
            if level:
                place = 2 if self._attends(level) else 1
                conv = f"output_blocks.{number - 1}.{place}.conv", f"{theirs}.upsamplers.0.conv"
                yield from _layer(*conv, ch, ch, 3, 3)

    def _attends(self, level: int) -> bool:
        return 2**level in self.config.attention_resolutions

    def _block(
        self, ours: str, theirs: str, i: int, level: int, inputs: int, width: int
    ) -> Iterator[Named]:
        yield from self._residual(f"{ours}.0", f"{theirs}.resnets.{i}", inputs, width)
        if self._attends(level):
            yield from self._transformer(f"{ours}.1", f"{theirs}.attentions.{i}", width)

    def _residual(self, ours: str, theirs: str, inputs: int, width: int) -> Iterator[Named]:
        yield from _layer(f"{ours}.in_layers.0", f"{theirs}.norm1", inputs)
        yield from _layer(f"{ours}.in_layers.2", f"{theirs}.conv1", width, inputs, 3, 3)
        yield from _layer(f"{ours}.emb_layers.1", f"{theirs}.time_emb_proj", width, self.wide)
        yield from _layer(f"{ours}.out_layers.0", f"{theirs}.norm2", width)
        yield from _layer(f"{ours}.out_layers.3", f"{theirs}.conv2", width, width, 3, 3)
        if inputs != width:
            skip = f"{ours}.skip_connection", f"{theirs}.conv_shortcut"
            yield from _layer(*skip, width, inputs, 1, 1)

    def _transformer(self, ours: str, theirs: str, width: int) -> Iterator[Named]:
        yield from _layer(f"{ours}.norm", f"{theirs}.norm", width)
        for name in ("proj_in", "proj_out"):
            parts = f"{ours}.{name}", f"{theirs}.{name}"
            yield from _layer(*parts, width, width, 1, 1, linear=self.linear)
        for k in range(self.config.transformer_depth):
            for name, shape in _transformer_block(width, self.config.context_dim or width):
                rest = f"transformer_blocks.{k}.{name}"
                yield Named(f"{ours}.{rest}", f"{theirs}.{rest}", shape)


def _transformer_block(width: int, context: int) -> Iterator[tuple[str, Shape]]:
    """Yield the tensors of a transformer block, which everybody calls alike."""
    for number, other in ((1, width), (2, context)):
        for each, inputs in (("to_q", width), ("to_k", other), ("to_v", other)):
            yield f"attn{number}.{each}.weight", (width, inputs)
        yield f"attn{number}.to_out.0.weight", (width, width)
        yield f"attn{number}.to_out.0.bias", (width,)
    for name, shape in (("ff.net.0.proj", (8 * width, width)), ("ff.net.2", (width, 4 * width))):
        yield f"{name}.weight", shape
        yield f"{name}.bias", shape[:1]
    for number in (1, 2, 3):
        yield f"norm{number}.weight", (width,)
        yield f"norm{number}.bias", (width,)


def autoencoder_tensors(ddconfig: Mapping[str, Any], embed_dim: int) -> list[Named]:
    """Return the tensors of latent diffusion's autoencoder, whose `ddconfig` is as it takes it.

    `attended`: the levels whose blocks are followed by attention.
    """
    z, moments = ddconfig["z_channels"], ddconfig["z_channels"] * 2
    embedded = embed_dim * 2
    return [
        *_encoder(ddconfig, moments),
        *_decoder(ddconfig, z),
        *_layer("quant_conv", "quant_conv", embedded, moments, 1, 1),
        *_layer("post_quant_conv", "post_quant_conv", z, embed_dim, 1, 1),
    ]


def _encoder(c: Mapping[str, Any], moments: int) -> Iterator[Named]:
    width, levels = c["ch"], len(c["ch_mult"])
    yield from _layer("encoder.conv_in", "encoder.conv_in", width, 3, 3, 3)
    for level, mult in enumerate(c["ch_mult"]):
        ours, theirs = f"encoder.down.{level}", f"encoder.down_blocks.{level}"
        for i in range(c["num_res_blocks"]):
            yield from _vae_block(ours, theirs, i, width, mult * c["ch"], level in c["attended"])
            width = mult * c["ch"]
        if level < levels - 1:
            conv = f"{ours}.downsample.conv", f"{theirs}.downsamplers.0.conv"
            yield from _layer(*conv, width, width, 3, 3)
    yield from _vae_middle("encoder", width)
    yield from _layer("encoder.norm_out", "encoder.conv_norm_out", width)
    yield from _layer("encoder.conv_out", "encoder.conv_out", moments, width, 3, 3)


def _decoder(c: Mapping[str, Any], z: int) -> Iterator[Named]:
    levels = len(c["ch_mult"])
    width = c["ch_mult"][-1] * c["ch"]
    yield from _layer("decoder.conv_in", "decoder.conv_in", width, z, 3, 3)
    yield from _vae_middle("decoder", width)
    for level in reversed(range(levels)):
        ours, theirs = f"decoder.up.{level}", f"decoder.up_blocks.{levels - 1 - level}"
        out = c["ch_mult"][level] * c["ch"]
        for i in range(c["num_res_blocks"] + 1):
            yield from _vae_block(ours, theirs, i, width, out, level in c["attended"])
            width = out
        if level:
            conv = f"{ours}.upsample.conv", f"{theirs}.upsamplers.0.conv"
            yield from _layer(*conv, width, width, 3, 3)
    yield from _layer("decoder.norm_out", "decoder.conv_norm_out", width)
    yield from _layer("decoder.conv_out", "decoder.conv_out", 3, width, 3, 3)


def _vae_middle(half: str, width: int) -> Iterator[Named]:
    for k in (0, 1):
        ours, theirs = f"{half}.mid.block_{k + 1}", f"{half}.mid_block.resnets.{k}"
        yield from _vae_residual(ours, theirs, width, width)
    yield from _vae_attention(f"{half}.mid.attn_1", f"{half}.mid_block.attentions.0", width)


def _vae_block(
    ours: str, theirs: str, i: int, inputs: int, width: int, attends: bool
) -> Iterator[Named]:
    yield from _vae_residual(f"{ours}.block.{i}", f"{theirs}.resnets.{i}", inputs, width)
    if attends:
        yield from _vae_attention(f"{ours}.attn.{i}", f"{theirs}.attentions.{i}", width)


def _vae_residual(ours: str, theirs: str, inputs: int, width: int) -> Iterator[Named]:
    for number, ch in ((1, inputs), (2, width)):
        yield from _layer(f"{ours}.norm{number}", f"{theirs}.norm{number}", ch)
        conv = f"{ours}.conv{number}", f"{theirs}.conv{number}"
        yield from _layer(*conv, width, ch, 3, 3)
    if inputs != width:
        skip = f"{ours}.nin_shortcut", f"{theirs}.conv_shortcut"
        yield from _layer(*skip, width, inputs, 1, 1)


def _vae_attention(ours: str, theirs: str, width: int) -> Iterator[Named]:
    yield from _layer(f"{ours}.norm", f"{theirs}.group_norm", width)
    for name, other in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")):
        parts = f"{ours}.{name}", f"{theirs}.{other}"
        yield from _layer(*parts, width, width, 1, 1, linear=True)


def text_tensors(
    width: int, layers: int, vocabulary: int, positions: int, hidden: int
) -> dict[str, Shape]:
    """Return the names and shapes of CLIP's text encoder (Radford et al. 2021).

    hidden: channels within the feed-forward network of a layer.
    """
    layer: list[tuple[str, Shape]] = [
        *((f"self_attn.{name}", (width, width)) for name in (*IN_PROJECTIONS, "out_proj")),
        ("mlp.fc1", (hidden, width)),
        ("mlp.fc2", (width, hidden)),
        ("layer_norm1", (width,)),
        ("layer_norm2", (width,)),
    ]
    named = [(f"encoder.layers.{k}.{name}", shape) for k in range(layers) for name, shape in layer]
    shapes: dict[str, Shape] = {
        "embeddings.token_embedding.weight": (vocabulary, width),
        "embeddings.position_embedding.weight": (positions, width),
    }
    for name, shape in [*named, ("final_layer_norm", (width,))]:
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def open_clip_names(layers: int) -> dict[str, tuple[str, ...]]:
    """Return by OpenCLIP's names those of CLIP of what lies in each tensor, below each other."""
    found: dict[str, tuple[str, ...]] = {
        "token_embedding.weight": ("embeddings.token_embedding.weight",),
        "positional_embedding": ("embeddings.position_embedding.weight",),
        "ln_final.weight": ("final_layer_norm.weight",),
        "ln_final.bias": ("final_layer_norm.bias",),
    }
    for k in range(layers):
        before, after = f"transformer.resblocks.{k}", f"encoder.layers.{k}"
        for end in ("weight", "bias"):
            parts = tuple(f"{after}.self_attn.{name}.{end}" for name in IN_PROJECTIONS)
            found[f"{before}.attn.in_proj_{end}"] = parts
            for theirs, ours in OPEN_CLIP_BLOCKS.items():
                found[f"{before}.{theirs}.{end}"] = (f"{after}.{ours}.{end}",)
    return found
