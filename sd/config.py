"""Every setting of a model and its training: three frozen dataclasses, one per section of the ini.

The keys of the original's config_SD.ini keep their names and, as defaults, their values. Each field
carries its check and one sentence about it; ini comments and the page's help come from there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any

from sd import gate, ini
from sd.fields import (
    LONGEST_PATH,
    Section,
    choice,
    factors,
    key,
    names,
    one_or_more,
    pair,
    path_text,
    real,
    whole,
    whole_or,
    wholes,
)
from sd.gate import InputError, shown

PRESETS = ("tiny", "small", "seed-fixed", "seed")  # quickest first
PRESET_FOLDER = Path(__file__).parent / "presets"
MOST_PIXELS = 2048 * 2048  # of one picture
MOST_STEPS = 100_000_000


@dataclass(frozen=True)
class TrainingConfig(Section):
    """Section [training]: the pictures, the optimiser and what is kept on the way."""

    name = "training"

    epochs: int = key(3, whole(1, 1_000_000), "Passes over all pictures; counts where steps is 0.")
    steps: int = key(0, whole(0, MOST_STEPS), "Optimiser steps; 0 trains for the epochs above.")
    minutes: float = key(
        0.0, real(0.0, 100_000.0), "Minutes after which training ends, samples made; 0: no limit."
    )
    batch_size: int = key(10, whole(1, 65536), "Pictures that the network sees at once.")
    gradient_accumulation: int = key(
        1, whole(1, 4096), "Batches whose gradients are averaged into one optimiser step."
    )
    learning_rate: float = key(1e-4, real(1e-12, 10.0), "Step size of the optimiser, AdamW.")
    save_path: str | None = key(
        None, path_text, "Folder for pictures made with the model, or None."
    )
    dataset_path: str | None = key(None, path_text, "Folder or zip of the pictures, or None.")
    input_height: int = key(32, whole(1, 4096), "Height in pixels of every picture; any will do.")
    input_width: int = key(32, whole(1, 4096), "Width in pixels of every picture; any will do.")
    fit: str = key(
        "crop",
        choice("crop", "pad", "stretch"),
        "How pictures of another shape are brought to size: crop, pad or stretch.",
    )
    classes: tuple[str, ...] | None = key(
        None, names, "Classes to train on, as a list of names; None takes every picture."
    )
    held_out: float = key(
        0.0, real(0.0, 0.5), "Share of the pictures kept out of training, to measure on them."
    )
    flip: bool = key(False, gate.flag, "Mirror each picture half of the time; not for letters.")
    shift: float = key(
        0.0, real(0.0, 0.25), "Greatest random shift, as a share of the picture's side."
    )
    rotation: float = key(0.0, real(0.0, 45.0), "Greatest random rotation in degrees.")
    brightness: float = key(
        0.0, real(0.0, 0.5), "Greatest random change of brightness, as a share."
    )
    warmup_steps: int = key(
        0, whole(0, MOST_STEPS), "Steps in which the learning rate rises from 0."
    )
    weight_decay: float = key(0.0, real(0.0, 10.0), "Pull of AdamW towards smaller weights.")
    grad_clip: float = key(1.0, real(0.0, 1e9), "Greatest gradient norm; 0 clips nothing.")
    ema_decay: float = key(
        0.999, real(0.0, 0.9999999), "How slowly the averaged weights follow; 0 keeps no average."
    )
    sample_every: int = key(0, whole(0, MOST_STEPS), "Steps between samples; 0: only at the end.")
    save_every: int = key(0, whole(0, MOST_STEPS), "Steps between checkpoints; 0: only at the end.")
    keep_checkpoints: int = key(2, whole(1, 10_000), "Newest checkpoints that are kept.")
    precision: str = key(
        "float32",
        choice("float32", "bfloat16"),
        "What training multiplies in: float32, or bfloat16, which newer processors do faster.",
    )
    weights_dtype: str = key(
        "float32",
        choice("float32", "float16"),
        "Weights on disk: float32, or float16 at half the size.",
    )

    def check_together(self) -> None:
        if self.input_height * self.input_width > MOST_PIXELS:
            raise InputError(
                f"training.input_height = {self.input_height}: with training.input_width = "
                f"{self.input_width} these are more than {MOST_PIXELS:,} pixels"
            )


@dataclass(frozen=True)
class UNetConfig(Section):
    """Section [unet]: the network, in the words of the latent-diffusion code."""

    name = "unet"

    channel: int = key(1, whole(1, 256), "Channels that come in: 1 for grey, 3 for colour.")
    model_channels: int = key(64, whole(1, 4096), "Base width in channels, a multiple of 32.")
    num_res_blocks: int | tuple[int, ...] = key(
        1, one_or_more(10, 1, 32), "Residual blocks per level on the way down; one more going up."
    )
    attention_resolutions: tuple[int, ...] = key(
        (1,),
        factors,
        "Downsample factors 1, 2, 4, … of levels that attend; the middle always does.",
    )
    dropout: float = key(0.0, real(0.0, 0.99), "Share of values that residual blocks drop.")
    channel_mult: tuple[int, ...] = key(
        (1, 2, 4, 8), wholes(1, 10, 1, 64), "Width of each level in multiples of model_channels."
    )
    conv_resample: bool = key(
        True, gate.flag, "Without resblock_updown: resample by convolution, or plainly."
    )
    dims: int = key(2, whole(1, 3), "1 for signals, 2 for pictures, 3 for volumes.")
    num_classes: int | None = key(
        None, whole_or(None, 1, 1_000_000, 0, ""), "Number of labels; None trains without labels."
    )
    num_heads: int = key(8, whole_or(-1, 1, 1024), "Attention heads; -1: by num_head_channels.")
    num_head_channels: int = key(
        -1,
        whole_or(-1, 1, 4096),
        "Channels per attention head, stronger than num_heads; -1: unset.",
    )
    use_scale_shift_norm: bool = key(
        False, gate.flag, "Time scales and shifts the normalised values, or is added to them."
    )
    resblock_updown: bool = key(
        True, gate.flag, "Resample between levels in a residual block, or as conv_resample says."
    )
    transformer_depth: int = key(1, whole(1, 32), "Transformer blocks wherever there is attention.")
    context_dim: int | None = key(
        None, whole_or(None, 1, 65536), "Width of the context tokens; None: self-attention only."
    )
    n_embed: int = key(1, whole(1, 256), "Channels that come out; the same number as channel.")
    patch_size: int = key(
        1, whole(1, 16), "Side of the pixel blocks that enter as one position; 1: every pixel."
    )

    @property
    def res_blocks(self) -> tuple[int, ...]:
        """Residual blocks on the way down, one number per level."""
        counts = self.num_res_blocks
        return counts if isinstance(counts, tuple) else (counts,) * len(self.channel_mult)

    def check_together(self) -> None:
        if self.num_heads == -1 and self.num_head_channels == -1:
            raise InputError("unet.num_heads = -1: num_head_channels is -1 too; set one of them")
        if len(self.res_blocks) != len(self.channel_mult):
            raise InputError(
                f"unet.num_res_blocks = {shown(self.num_res_blocks)}: must be one number, or one "
                f"for each of the {len(self.channel_mult)} levels of channel_mult"
            )
        if self.patch_size != 1 and self.dims != 2:
            raise InputError(f"unet.patch_size = {self.patch_size}: must be 1 where dims is not 2")


@dataclass(frozen=True)
class DiffusionConfig(Section):
    """Section [diffusion]: the noise schedule and what the network estimates."""

    name = "diffusion"

    timesteps: int = key(200, whole(1, 100_000), "Steps T from the clean picture to noise.")
    beta_range: tuple[float, float] = key(
        (0.0001, 0.02),
        pair(0.0, 1.0, "first and last beta"),
        "First and last beta, the variance of the noise that a step adds.",
    )
    noise_info: tuple[float, float] = key(
        (0.0, 1.0),
        pair(-1000.0, 1000.0, "mean and standard deviation"),
        "Mean and standard deviation of the noise.",
    )
    schedule: str = key(
        "linear",
        choice("linear", "scaled_linear", "cosine", "sigmoid"),
        "Course of the noise: linear, scaled_linear (Stable Diffusion's), cosine or sigmoid.",
    )
    rescale_betas: bool = key(
        False, gate.flag, "Multiply beta_range, meant for 1000 steps, by 1000 / timesteps."
    )
    zero_terminal_snr: bool = key(
        False, gate.flag, "Stretch the schedule so that its end is noise and nothing else."
    )
    prediction: str = key(
        "eps", choice("eps", "x0", "v"), "What the network estimates: noise eps, picture x0, or v."
    )
    min_snr_gamma: float = key(
        0.0, real(0.0, 1e6), "Greatest weight of a signal-to-noise ratio in the loss; 0: no limit."
    )

    def check_together(self) -> None:
        first, last = self.beta_range
        if not 0 < first <= last < 1:
            raise InputError(
                f"diffusion.beta_range = {shown(self.beta_range)}: must be two numbers with "
                "0 < first <= last < 1"
            )
        if not self.noise_info[1] >= 1e-6:
            raise InputError(
                f"diffusion.noise_info = {shown(self.noise_info)}: the standard deviation must be "
                "above 0 (at least 1e-06)"
            )
        if self.zero_terminal_snr and self.prediction == "eps":
            raise InputError(
                "diffusion.prediction = 'eps': must be v or x0 where zero_terminal_snr is True; "
                "from pure noise, eps tells nothing of the picture"
            )


SECTIONS: dict[str, type[Section]] = {
    section.name: section for section in (TrainingConfig, UNetConfig, DiffusionConfig)
}
KEYS: dict[str, dict[str, Field[Any]]] = {
    name: {each.name: each for each in fields(section)} for name, section in SECTIONS.items()
}


@dataclass(frozen=True)
class Config:
    """All settings of a model and its training."""

    training: TrainingConfig = TrainingConfig()
    unet: UNetConfig = UNetConfig()
    diffusion: DiffusionConfig = DiffusionConfig()

    def __post_init__(self) -> None:
        if self.unet.n_embed != self.unet.channel:
            raise InputError(
                f"unet.n_embed = {self.unet.n_embed}: must equal unet.channel = "
                f"{self.unet.channel}; what the network estimates has the picture's own shape"
            )

    @classmethod
    def from_ini(cls, text: str, source: str = "settings") -> "Config":
        """Return the settings in an ini text; keys that it leaves out keep their defaults."""
        values: dict[str, dict[str, Any]] = {}
        for entry in ini.read_entries(text, source):
            try:
                section = locate(entry.section, entry.key)
                check = KEYS[section][entry.key].metadata["check"]
                value = check(f"{section}.{entry.key}", entry.value)
            except InputError as error:
                raise InputError(f"{source}, line {entry.line}: {error}") from None
            values.setdefault(section, {})[entry.key] = value
        try:
            return cls()._with(values)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None

    @classmethod
    def read(cls, path: str | Path) -> "Config":
        """Return the settings in an ini file: one of ours, or the original's config_SD.ini."""
        path = Path(path)
        return cls.from_ini(ini.read_file(path), shown(path.name))

    @classmethod
    def preset(cls, name: str) -> "Config":
        """Return the settings of one of `preset_names()`."""
        return cls.from_ini(_preset_text(name), f"preset {name}")

    def to_ini(self) -> str:
        """Return the settings as an ini text, a comment per key; reading it gives them back."""
        return "\n".join(_section_text(getattr(self, name)) for name in SECTIONS)

    def with_settings(self, settings: Iterable[str]) -> "Config":
        """Return a copy changed by texts like "unet.model_channels=32"; of two the last wins."""
        values: dict[str, dict[str, Any]] = {}
        for setting in settings:
            name, mark, value = gate.text("setting", setting, 2 * LONGEST_PATH).partition("=")
            if not mark:
                raise InputError(f"setting {shown(setting)}: must look like section.key=value")
            head, dot, last = name.strip().rpartition(".")
            section = locate(head if dot else None, last)
            values.setdefault(section, {})[last] = ini.value_of(value)
        return self._with(values)

    def settings_from(self, base: "Config") -> list[str]:
        """Return the texts with which `base.with_settings` gives these settings."""
        return [
            f"{name}.{each}={ini.spelled(getattr(getattr(self, name), each))}"
            for name, keys in KEYS.items()
            for each in keys
            if getattr(getattr(self, name), each) != getattr(getattr(base, name), each)
        ]

    def _with(self, values: Mapping[str, Mapping[str, Any]]) -> "Config":
        sections: dict[str, Any] = {
            name: replace(getattr(self, name), **changes) for name, changes in values.items()
        }
        return replace(self, **sections)


def locate(section: str | None, name: str) -> str:
    """Return the section that holds the key `name`; raise `InputError` where there is none."""
    if section is not None and section not in SECTIONS:
        raise InputError(
            f"[{shown(section)[1:-1]}]: no such section; must be one of {', '.join(SECTIONS)}"
            f"{gate.near(section, list(SECTIONS))}"
        )
    for home, keys in KEYS.items():
        if name in keys and section in (None, home):
            return home
        if name in keys:
            raise InputError(f"{section}.{name}: this key belongs to the section [{home}]")
    known = KEYS[section] if section else [known for keys in KEYS.values() for known in keys]
    label = f"{section}.{name}" if section else name
    raise InputError(f"{shown(label)[1:-1]}: no such key{gate.near(name, list(known))}")


def about(section: str, name: str) -> str:
    """Return the sentence about a key."""
    return str(KEYS[locate(section, name)][name].metadata["about"])


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets, quickest first."""
    return PRESETS


def preset_about(name: str) -> str:
    """Return what a preset is for: the first comment line of its ini."""
    return _preset_text(name).partition("\n")[0].lstrip("# ")


def _preset_text(name: str) -> str:
    return ini.read_file(PRESET_FOLDER / f"{gate.choice('preset', name, PRESETS)}.ini")


def _section_text(section: Section) -> str:
    lines = [
        f"{each.name} = {ini.spelled(getattr(section, each.name))}  # {each.metadata['about']}\n"
        for each in fields(section)
    ]
    return f"[{section.name}]\n" + "".join(lines)
