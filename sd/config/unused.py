"""Settings that were changed and come to nothing, because another one decides: told, not hidden.

Free of torch: page and commands ask the same.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from sd.config import KEYS, Config, ini, preset_names
from sd.config.conditioning_kind import CLASS_KINDS
from sd.config.sections import OWN

REASONS = {
    "minutes": "training.minutes ends the run",
    "steps": "training.steps counts",
    "head_channels": "unet.num_head_channels decides",
    "resblocks": "unet.resblock_updown resamples",
    "no_betas": "this diffusion.schedule has none",
    "told_nothing": "the model is told nothing",
    "no_captions": "the model reads no captions",
    "encoder": "conditioning.encoder reads the captions",
    "pixels": "the network sees pixels",
    "given": "the autoencoder is one that was trained before",
    "own": "an own autoencoder is trained whole",
    "no_lora": "training.lora_rank is 0",
}


class Unused(NamedTuple):
    """A setting "section.key" with its value, as an ini spells it, and a key of `REASONS`."""

    key: str
    value: str
    reason: str

    @property
    def line(self) -> str:
        """What is said of it in English."""
        return f"{self.key} = {self.value}: not used; {REASONS[self.reason]}"


class Rule(NamedTuple):
    """Keys that are not used where `holds`."""

    reason: str
    keys: tuple[str, ...]
    holds: Callable[[Config], bool]


def _kind(*kinds: str) -> Callable[[Config], bool]:
    return lambda config: config.conditioning.kind in kinds


OF_CAPTIONS = ("pooled", "text_layers", "text_length", "vocabulary", "encoder")
OF_AUTOENCODERS = ("first_stage.factor", "first_stage.latent_scale")
OF_OWN = tuple(
    f"first_stage.{key}"
    for key in (
        *("ch", "ch_mult", "autoencoder_blocks", "autoencoder_steps", "autoencoder_batch"),
        *("autoencoder_rate", "kl_weight", "equivariance", "latent_noise"),
    )
)
TUNED = "first_stage.tune_steps"
RULES = (
    Rule("minutes", ("training.steps", "training.epochs"), lambda c: c.training.minutes > 0),
    Rule("steps", ("training.epochs",), lambda c: c.training.steps > 0),
    Rule("head_channels", ("unet.num_heads",), lambda c: c.unet.num_head_channels != -1),
    Rule("resblocks", ("unet.conv_resample",), lambda c: c.unet.resblock_updown),
    Rule(
        "no_betas",
        ("diffusion.beta_range", "diffusion.rescale_betas"),
        lambda c: c.diffusion.schedule not in ("linear", "scaled_linear"),
    ),
    Rule(
        "told_nothing",
        ("conditioning.drop", "conditioning.sample_prompts"),
        _kind("none"),
    ),
    Rule(
        "no_captions",
        tuple(f"conditioning.{key}" for key in OF_CAPTIONS),
        _kind("none", *CLASS_KINDS),
    ),
    Rule("pixels", (*OF_AUTOENCODERS, *OF_OWN, TUNED), lambda c: not c.is_latent),
    Rule("given", OF_OWN, lambda c: c.is_latent and c.first_stage.autoencoder != OWN),
    Rule(
        "no_lora",
        ("training.lora_alpha", "training.lora_targets"),
        lambda c: c.training.lora_rank == 0,
    ),
    Rule("own", (TUNED,), lambda c: c.first_stage.autoencoder == OWN),
    Rule(
        "encoder",
        ("conditioning.text_layers", "conditioning.vocabulary"),
        lambda c: c.conditioning.kind == "captions" and c.conditioning.encoder is not None,
    ),
)


def find_unused(config: Config) -> list[Unused]:
    """Return the settings that come to nothing, each once; not where a preset has them so."""
    found: dict[str, Unused] = {}
    for rule in RULES:
        for key in rule.keys if rule.holds(config) else ():
            value = _value(config, key)
            if value not in _preset_values(key):
                found.setdefault(key, Unused(key, ini.spell(value), rule.reason))
    return list(found.values())


def _value(config: Config, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


@cache
def _preset_values(key: str) -> tuple[Any, ...]:
    """Return the values that a key has by default and in the presets: nobody chose those."""
    section, _, name = key.partition(".")
    presets = [_value(Config.preset(preset), key) for preset in preset_names()]
    return (KEYS[section][name].default, *presets)
