"""The sections of the settings: training, unet, diffusion, conditioning and first_stage.

The keys of the original's config_SD.ini keep their names and, as defaults, their values. Each field
carries its check and one sentence about it; ini comments and the page's help come from there.
"""

from dataclasses import dataclass
from typing import Any

from sd.common import validation
from sd.common.validation import InputError, shown
from sd.config.fields import (
    Section,
    channels,
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

MOST_PIXELS = 2048 * 2048  # of one picture
MOST_STEPS = 100_000_000
MOST_MINUTES = 100_000.0
LORA_TARGETS = ("attention", "all")
GOOD_RATES = {"adamw": 1e-3, "muon": 2e-3}  # of learning, with which these networks do well


@dataclass(frozen=True)
class TrainingConfig(Section):
    """Section [training]: the pictures, the optimiser and what is kept on the way."""

    name = "training"

    epochs: int = key(3, whole(1, 1_000_000), "Passes over all pictures; counts where steps is 0.")
    steps: int = key(0, whole(0, MOST_STEPS), "Optimiser steps; 0 trains for the epochs above.")
    minutes: float = key(
        0.0,
        real(0.0, MOST_MINUTES),
        "Minutes after which training ends, samples made; 0: no limit.",
    )
    batch_size: int = key(10, whole(1, 65536), "Pictures that the network sees at once.")
    gradient_accumulation: int = key(
        1, whole(1, 4096), "Batches whose gradients are averaged into one optimiser step."
    )
    optimizer: str = key(
        "adamw",
        choice("adamw", "muon"),
        "What updates the weights: adamw, or muon for the inner ones, which needs fewer steps.",
    )
    learning_rate: float = key(1e-4, real(1e-12, 10.0), "Step size of the optimiser.")
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
    start_from: str | None = key(
        None,
        path_text,
        "Model whose weights training begins with; auto: a bundled one that fits; None: new ones.",
    )
    lora_rank: int = key(
        0,
        whole(0, 1024),
        "Rank of a LoRA that is trained for start_from, a published model, which stays; 0: none.",
    )
    lora_alpha: float = key(
        8.0, real(1e-6, 1e6), "How much a LoRA counts: its change times alpha / rank."
    )
    lora_targets: str = key(
        "attention", choice(*LORA_TARGETS), "Layers that a LoRA changes: attention, or all."
    )
    recompute: bool = key(
        False,
        validation.flag,
        "Compute a block's values again on the way back, which takes less memory and more time.",
    )
    classes: tuple[str, ...] | None = key(
        None, names, "Classes to train on, as a list of names; None takes every picture."
    )
    held_out: float = key(
        0.0, real(0.0, 0.5), "Share of the pictures kept out of training, to measure on them."
    )
    flip: bool = key(
        False, validation.flag, "Mirror each picture half of the time; not for letters."
    )
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
    weight_decay: float = key(0.0, real(0.0, 10.0), "Pull of the updates towards smaller weights.")
    grad_clip: float = key(1.0, real(0.0, 1e9), "Greatest gradient norm; 0 clips nothing.")
    ema_decay: float = key(
        0.999, real(0.0, 0.9999999), "How slowly the averaged weights follow; 0 keeps no average."
    )
    sample_every: int = key(0, whole(0, MOST_STEPS), "Steps between samples; 0: only at the end.")
    sample_early: tuple[int, ...] = key(
        (1, 8, 32),
        wholes(0, 16, 1, MOST_STEPS),
        "Further steps with samples, quick ones, that show how a run begins; [] for none.",
    )
    save_every: int = key(0, whole(0, MOST_STEPS), "Steps between checkpoints; 0: only at the end.")
    keep_checkpoints: int = key(2, whole(1, 10_000), "Newest checkpoints that are kept.")
    precision: str = key(
        "float32",
        choice("float32", "bfloat16"),
        "What training multiplies in: float32, or bfloat16, which newer processors do faster.",
    )
    compile: bool = key(
        False, validation.flag, "Compile the network first, for a GPU: slow to begin, faster after."
    )
    weights_dtype: str = key(
        "float32",
        choice("float32", "float16"),
        "Weights on disk: float32, or float16 at half the size.",
    )

    @property
    def good_rate(self) -> float:
        """The learning rate at which the optimiser does well."""
        return GOOD_RATES[self.optimizer]

    @property
    def lower_rate(self) -> float:
        """The learning rate to try where the run's own was too high: half, at most the good one."""
        return min(self.learning_rate / 2, self.good_rate)

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

    channel: int = key(1, channels, "Channels that come in: 1 grey, 3 colour, 4 also transparency.")
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
        True, validation.flag, "Without resblock_updown: resample by convolution, or plainly."
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
        False, validation.flag, "Time scales and shifts the normalised values, or is added to them."
    )
    resblock_updown: bool = key(
        True,
        validation.flag,
        "Resample between levels in a residual block, or as conv_resample says.",
    )
    transformer_depth: int = key(1, whole(1, 32), "Transformer blocks wherever there is attention.")
    context_dim: int | None = key(
        None, whole_or(None, 1, 65536), "Width of the context tokens; None: self-attention only."
    )
    n_embed: int = key(1, channels, "Channels that come out; the same number as channel.")
    patch_size: int = key(
        1, whole(1, 16), "Side of the pixel blocks that enter as one position; 1: every pixel."
    )
    middle: bool = key(
        True, validation.flag, "Blocks between the ways down and up; BK-SDM's small ones have none."
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
        False, validation.flag, "Multiply beta_range, meant for 1000 steps, by 1000 / timesteps."
    )
    zero_terminal_snr: bool = key(
        False, validation.flag, "Stretch the schedule so that its end is noise and nothing else."
    )
    prediction: str = key(
        "eps", choice("eps", "x0", "v"), "What the network estimates: noise eps, picture x0, or v."
    )
    min_snr_gamma: float = key(
        0.0,
        real(0.0, 1e6),
        "Most that a time's signal-to-noise ratio weighs in the loss; 0: all weigh alike.",
    )
    min_snr_floor: float = key(
        0.0,
        real(0.0, 1e6),
        "Least that it weighs, for the noisiest times; at most min_snr_gamma.",
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
        if self.min_snr_floor > self.min_snr_gamma:
            raise InputError(
                f"diffusion.min_snr_floor = {self.min_snr_floor:g}: must be at most "
                f"min_snr_gamma = {self.min_snr_gamma:g}"
            )


CONDITIONING_KINDS = ("none", "class_embedding", "class_tokens", "captions")  # of a condition


def _kind(name: str, value: Any) -> str:
    """Check for a kind of condition; None, as an ini spells nothing, is none."""
    return validation.choice(
        name, "none" if value is None else value, ("auto", *CONDITIONING_KINDS)
    )


@dataclass(frozen=True)
class ConditioningConfig(Section):
    """Section [conditioning]: the network's inputs besides picture and time."""

    name = "conditioning"

    kind: str = key(
        "none",
        _kind,
        "What the model is told: none, class_embedding, class_tokens, captions, or auto.",
    )
    drop: float = key(
        0.1, real(0.0, 0.9), "Share of the pictures that train untold; guidance needs some."
    )
    pooled: bool = key(
        False,
        validation.flag,
        "Add a caption's mean to the time embedding too (Saharia et al. 2022).",
    )
    text_layers: int = key(2, whole(0, 24), "Transformer layers that read a caption.")
    text_length: int = key(
        24, whole(4, 512), "Tokens of a caption that are read, its start and end included."
    )
    vocabulary: int = key(
        4000, whole(259, 65_536), "Most tokens that captions are cut into; whole words if it can."
    )
    encoder: str | None = key(
        None, path_text, "Folder or hub id of a pretrained text encoder, or None: one of its own."
    )
    sample_prompts: tuple[str, ...] | None = key(
        None, names, "Captions or classes that a run's samples are asked for; None: the set's."
    )


TINY_AUTOENCODERS = {"taesd": 4, "taef2": 32}  # bundled ones: the channels of their latents
TINY_FACTOR = 8
AUTO_START = "auto"  # as start_from: a bundled model that fits, if there is one
OWN, STORED = "own", "stored"  # trained with the run; the one that lies in a checkpoint
AUTOENCODERS = (*TINY_AUTOENCODERS, OWN, STORED)
AUTOENCODER_GROUPS = 32  # of its norms


def _autoencoder(name: str, value: Any) -> str | None:
    """Check for the place or word of an autoencoder; pixels and none are kept as None."""
    place = path_text(name, value)
    return None if place in ("pixels", "none") else place


@dataclass(frozen=True)
class FirstStageConfig(Section):
    """Section [first_stage]: what pictures become before the network sees them.

    ch, ch_mult, autoencoder_blocks and what follows describe an autoencoder of one's own.
    """

    name = "first_stage"

    autoencoder: str | None = key(
        None,
        _autoencoder,
        "None trains on pixels; taesd, taef2, own, a file, folder or hub id on latents.",
    )
    factor: int = key(8, whole(1, 64), "Pixels that a place of the latents covers, each way.")
    latent_scale: float = key(
        0.0,
        real(0.0, 1000.0),
        "What latents are multiplied by, as Stable Diffusion's 0.18215; 0: measured per channel.",
    )
    ch: int = key(32, whole(32, 1024), "Width of an own autoencoder, a multiple of 32.")
    ch_mult: tuple[int, ...] = key(
        (2, 3), wholes(1, 7, 1, 16), "Width of each of its levels in multiples of ch."
    )
    autoencoder_blocks: int = key(1, whole(1, 8), "Residual blocks of each of its levels.")
    autoencoder_steps: int = key(
        2000, whole(1, MOST_STEPS), "Steps in which an own autoencoder is trained, first of all."
    )
    autoencoder_batch: int = key(
        8, whole(1, 4096), "Pictures, or crops of 64 pixels a side, in each of its steps."
    )
    autoencoder_rate: float = key(
        0.002, real(1e-12, 10.0), "Its learning rate, which falls over the second half."
    )
    kl_weight: float = key(
        1e-6, real(0.0, 1e3), "Weight of what pulls its latents to a normal distribution."
    )
    equivariance: float = key(
        0.0,
        real(0.0, 1.0),
        "Share of its steps in which a turned or halved latent must decode to such a picture.",
    )
    latent_noise: float = key(
        0.0,
        real(0.0, 2.0),
        "Greatest noise on its latents before they are decoded, in their standard deviations.",
    )
    tune_steps: int = key(
        0, whole(0, MOST_STEPS), "Steps that tune the decoder of a trained one to the pictures."
    )

    @property
    def patch(self) -> int:
        """Side of the pixel blocks that enter an own autoencoder as one position."""
        return self.factor // self.halving

    @property
    def halving(self) -> int:
        """How many times smaller the levels of an own autoencoder make a side."""
        return 1 << (len(self.ch_mult) - 1)

    def check_together(self) -> None:
        if self.factor & (self.factor - 1):
            raise InputError(f"first_stage.factor = {self.factor}: must be a power of 2")
        tiny = TINY_AUTOENCODERS.get(self.autoencoder or "")
        if tiny and self.factor != TINY_FACTOR:
            raise InputError(
                f"first_stage.factor = {self.factor}: must be {TINY_FACTOR}, that of "
                f"{self.autoencoder}"
            )
        if self.autoencoder == OWN and self.factor < self.halving:
            raise InputError(
                f"first_stage.ch_mult = {shown(self.ch_mult)}: its {len(self.ch_mult)} levels make "
                f"a side {self.halving} times smaller; factor = {self.factor} allows fewer"
            )
        if self.ch % AUTOENCODER_GROUPS:
            raise InputError(
                f"first_stage.ch = {self.ch}: must be a multiple of {AUTOENCODER_GROUPS}"
            )
