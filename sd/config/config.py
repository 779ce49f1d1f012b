"""All settings of a model and its training as one frozen value: from ini and presets, and back."""

from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from sd.common import validation
from sd.common.validation import InputError, shown
from sd.config import ini
from sd.config.fields import LONGEST_PATH, Section
from sd.config.sections import (
    TINY_AUTOENCODERS,
    TINY_FACTOR,
    ConditioningConfig,
    DiffusionConfig,
    FirstStageConfig,
    TrainingConfig,
    UNetConfig,
)

LATENT_PRESETS = ("latent-own", "latent128", "latent256")
LORA_PRESET = "lora"  # what a LoRA is trained with; the rest of its settings are its model's
PRESETS = ("tiny", "small", *LATENT_PRESETS, "gpu", "seed-fixed", "seed")  # quickest first
LATENT_PICTURES = 3  # channels of the pictures that an autoencoder takes
LATENT_CHANNELS = 4  # of latents, unless settings or the autoencoder say otherwise
PRESET_FOLDER = Path(__file__).parent / "presets"

SECTIONS: dict[str, type[Section]] = {
    section.name: section
    for section in (
        TrainingConfig,
        UNetConfig,
        DiffusionConfig,
        ConditioningConfig,
        FirstStageConfig,
    )
}
KEYS: dict[str, dict[str, Field[Any]]] = {
    name: {each.name: each for each in fields(section)} for name, section in SECTIONS.items()
}


@dataclass(frozen=True)
class Config:
    """All settings of a model and its training."""

    training: TrainingConfig = field(default_factory=TrainingConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    conditioning: ConditioningConfig = field(default_factory=ConditioningConfig)
    first_stage: FirstStageConfig = field(default_factory=FirstStageConfig)

    def __post_init__(self) -> None:
        if self.is_latent:
            self._check_latents()
        else:
            validation.channels("unet.channel", self.unet.channel)
        if self.unet.n_embed != self.unet.channel:
            raise InputError(
                f"unet.n_embed = {self.unet.n_embed}: must equal unet.channel = "
                f"{self.unet.channel}; what the network estimates has the shape of what it sees"
            )

    def _check_latents(self) -> None:
        """Raise `InputError` where pictures or network do not fit the first stage."""
        stage, training = self.first_stage, self.training
        wanted = TINY_AUTOENCODERS.get(stage.autoencoder or "")
        if wanted and self.unet.channel != wanted:
            raise InputError(
                f"unet.channel = {self.unet.channel}: must be {wanted}, as many as the latents of "
                f"{stage.autoencoder} have"
            )
        for name in ("input_height", "input_width"):
            side = getattr(training, name)
            if side % stage.factor:
                fits = -(-side // stage.factor) * stage.factor
                raise InputError(
                    f"training.{name} = {side}: must be a multiple of {stage.factor}, the pixels "
                    f"that a place of the latents covers; the next that fits is {fits}"
                )
        for name in ("shift", "rotation", "brightness"):
            if getattr(training, name):
                raise InputError(
                    f"training.{name} = {getattr(training, name):g}: must be 0 where a first stage "
                    "is set; pictures are encoded once, before training"
                )

    @property
    def is_latent(self) -> bool:
        """Whether the network sees the latents of an autoencoder instead of pixels."""
        return self.first_stage.autoencoder is not None

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of every picture."""
        channels = LATENT_PICTURES if self.is_latent else self.unet.channel
        return channels, self.training.input_height, self.training.input_width

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """The shape (c, h, w) of what the network sees: the picture's own, or its latents'."""
        height, width = self.training.input_height, self.training.input_width
        return self.unet.channel, height // self.factor, width // self.factor

    @property
    def factor(self) -> int:
        """How many pixels a place of what the network sees covers, each way."""
        return self.first_stage.factor if self.is_latent else 1

    def with_first_stage(self, name: str) -> "Config":
        """Return the settings with another first stage, and channels and blocks that fit it.

        `name` is a value of first_stage.autoencoder.
        """
        stage = replace(self.first_stage, autoencoder=name)
        if name in TINY_AUTOENCODERS:
            stage = replace(stage, factor=TINY_FACTOR)
        channels = TINY_AUTOENCODERS.get(name, LATENT_CHANNELS)
        if stage.autoencoder is None:
            channels = LATENT_PICTURES
        unet = replace(self.unet, channel=channels, n_embed=channels)
        if stage.autoencoder is not None and not self.is_latent:
            unet = replace(unet, patch_size=max(1, unet.patch_size // stage.factor))
        return replace(self, unet=unet, first_stage=stage)

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
    @cache
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
            name, mark, value = validation.text("setting", setting, 2 * LONGEST_PATH).partition("=")
            if not mark:
                raise InputError(f"setting {shown(setting)}: must look like section.key=value")
            head, dot, last = name.strip().rpartition(".")
            section = locate(head if dot else None, last)
            values.setdefault(section, {})[last] = ini.parse_value(value)
        return self._with(values)

    def settings_from(self, base: "Config") -> list[str]:
        """Return the texts with which `base.with_settings` gives these settings."""
        return [
            f"{name}.{each}={ini.spell(getattr(getattr(self, name), each))}"
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
            f"{validation.near(section, list(SECTIONS))}"
        )
    for home, keys in KEYS.items():
        if name in keys and section in (None, home):
            return home
        if name in keys:
            raise InputError(f"{section}.{name}: this key belongs to the section [{home}]")
    known = KEYS[section] if section else [known for keys in KEYS.values() for known in keys]
    label = f"{section}.{name}" if section else name
    raise InputError(f"{shown(label)[1:-1]}: no such key{validation.near(name, list(known))}")


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
    known = (*PRESETS, LORA_PRESET)
    return ini.read_file(PRESET_FOLDER / f"{validation.choice('preset', name, known)}.ini")


def _section_text(section: Section) -> str:
    lines = [
        f"{each.name} = {ini.spell(getattr(section, each.name))}  # {each.metadata['about']}\n"
        for each in fields(section)
    ]
    return f"[{section.name}]\n" + "".join(lines)
