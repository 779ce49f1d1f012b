"""A file or folder held against what a model needs: the loading report, of headers alone.

Free of torch for safetensors; of Stable Diffusion v2 one small tensor is read, for a guess.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sd.checkpoints.pretrained import shapes as described
from sd.checkpoints.pretrained.choices import AVERAGED, FLAGS, PREDICTIONS, RAW, Choices
from sd.checkpoints.pretrained.folder import Folder, read_folder
from sd.checkpoints.pretrained.header import (
    WeightFile,
    file_label,
    read_header,
    read_tensor,
)
from sd.checkpoints.pretrained.matching import (
    Tensors,
    about_unet,
    autoencoder_part,
    fill,
    open_clip_part,
    shapes_of,
    text_part,
    tiny_part,
)
from sd.checkpoints.pretrained.names import Shape, unet_tensors
from sd.checkpoints.pretrained.parts import (
    ARCHITECTURE,
    AUTOENCODER,
    EMA,
    OPEN_CLIP,
    OWN_ARCHITECTURE,
    OWN_PREFIXES,
    POSITION_IDS,
    READ,
    SETTINGS,
    TEXT,
    TINY,
    UNET,
    foreign_kind,
    refused_channels,
    split,
    without_dots,
)
from sd.checkpoints.pretrained.report import Guess, LoadingReport, Part, Stored
from sd.common.text import brief, printable
from sd.common.validation import InputError
from sd.config import Config
from sd.config.sections import (
    STORED,
    TINY_AUTOENCODERS,
    TINY_FACTOR,
    ConditioningConfig,
    DiffusionConfig,
    FirstStageConfig,
    TrainingConfig,
    UNetConfig,
)
from sd.networks.blueprint import size_factor

V1_CONTEXT, V2_CONTEXT, INPAINTING = 768, 1024, 9
LICENCE = (
    "Stable Diffusion's weights are under CreativeML Open RAIL-M, which restricts what they may be "
    "used for; the licence of this file may say more"
)
V_NORM, V_SPREAD = "output_blocks.11.1.transformer_blocks.0.norm1.bias", 0.09
SCALE = 0.18215  # what Stable Diffusion multiplies its latents by (Rombach et al. 2021, appendix G)
SIDE, SMALL_SIDE = 512, 16  # pixels; places of the coarsest level, of models that nobody published
TOKENS = 77
TINY_STAGE = "taesd"  # takes the place of an autoencoder that a file lacks
FIELDS = frozenset(DiffusionConfig.__dataclass_fields__)
THEIR_PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
THEIR_SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear"}
THEIR_SCHEDULES["squaredcos_cap_v2"] = "cosine"


def inspect(path: Path, choices: Choices = Choices()) -> LoadingReport:  # noqa: B008 (a constant)
    """Return the report of a file or a folder of diffusers.

    Raises `InputError` in one line for what is no model that is read, naming what it is.
    """
    if not path.exists():
        raise InputError(f"{brief(printable(str(path)))}: no such file or folder")
    folder = read_folder(path) if path.is_dir() else Folder({"": [read_header(path)]}, {})
    if own := own_settings(folder):
        return _report_own(*own)
    try:
        return _Inspection(path, folder, choices).report()
    except InputError as error:
        raise InputError(f"{file_label(path)}: {error}") from None


def own_settings(folder: Folder) -> tuple[WeightFile, Config] | None:
    """Return a single file that was exported from a model of our own, with its settings."""
    (file, *_), *_ = folder.parts.values()
    if file.metadata.get(ARCHITECTURE) != OWN_ARCHITECTURE or SETTINGS not in file.metadata:
        return None
    return file, Config.from_ini(file.metadata[SETTINGS], file.label)


def _report_own(file: WeightFile, config: Config) -> LoadingReport:
    parts, names = [], (UNET, AUTOENCODER, TEXT)
    titles = "U-Net", "autoencoder", "what it is told"
    for prefix, name, title in zip(OWN_PREFIXES, names, titles, strict=True):
        matched = {n: Stored(file, n) for n in file.entries if n.startswith(prefix)}
        about = about_unet(config.unet, linear=False) if name == UNET else ""
        if matched:
            parts.append(Part(name, title, about, config, matched))
    kind = "a model that was trained with sd"
    return LoadingReport(file.label, kind, file.form, file.bytes, parts)


class _Inspection:
    """One pass through the names of a model."""

    def __init__(self, path: Path, folder: Folder, choices: Choices) -> None:
        self.path, self.folder, self.choices = path, folder, choices
        self.files = [file for files in folder.parts.values() for file in files]
        self.ignored: list[str] = []
        self.unknown: list[str] = []
        self.notes: list[str] = []
        self.guesses: list[Guess] = []
        self.linear = False

    def report(self) -> LoadingReport:
        """Return what there is."""
        tensors = self._tensors()
        parts = self._parts(tensors)
        if not parts:
            raise InputError(f"holds no part of a model that is known; {READ}")
        unet = next((each for each in parts if each.name == UNET and each.used), None)
        unet = unet or next((each for each in parts if each.name == EMA and each.used), None)
        settings = {} if unet is None else self._settings(unet)
        if any(POSITION_IDS.fullmatch(name) for name in self.ignored):
            self.notes.append("position_ids of the file are not used: places are always 0 to 76")
        kind = "a part of a model" if unet is None else kind_of(unet.config)
        if unet is not None:
            self.notes += _absent(parts)
            if unet.config.context_dim in (V1_CONTEXT, V2_CONTEXT):
                self.notes.append(LICENCE)
        forms = list(dict.fromkeys(file.form for file in self.files))
        return LoadingReport(
            file_label(self.path),
            kind,
            " and ".join(forms) + (" (folder)" if self.path.is_dir() else ""),
            sum(file.bytes for file in self.files),
            parts,
            self.guesses,
            self.ignored,
            self.unknown,
            self.notes,
            settings,
        )

    def _tensors(self) -> dict[str, dict[str, Stored]]:
        """Return the tensors of each part by their names within it."""
        found: dict[str, dict[str, Stored]] = {}
        for part, files in self.folder.parts.items():
            stored = {name: Stored(file, name) for file in files for name in file.entries}
            kind = foreign_kind(stored)
            if kind:
                raise InputError(f"this is {kind}; {READ}")
            placed = split(stored)
            self.ignored += placed.ignored
            self.unknown += placed.unknown
            for name, inner in placed.parts.items():
                if part and name != part:  # a folder says what lies in it
                    raise InputError(f"the folder of the {part} holds other weights")
                found[name] = {new: stored[old] for new, old in inner.items()}
        return found

    def _parts(self, tensors: Mapping[str, Tensors]) -> list[Part]:
        parts: list[Part] = []
        if UNET in tensors:
            parts += self._unet(tensors[UNET], tensors.get(EMA, {}))
        if AUTOENCODER in tensors:
            parts.append(autoencoder_part(tensors[AUTOENCODER]))
        if TINY in tensors:
            parts.append(tiny_part(tensors[TINY]))
        if TEXT in tensors:
            told = self.folder.settings.get(TEXT, {})
            parts.append(text_part(tensors[TEXT], _number(told.get("num_attention_heads")), told))
        if OPEN_CLIP in tensors:
            parts.append(open_clip_part(tensors[OPEN_CLIP]))
        return parts

    def _unet(self, tensors: Tensors, averaged: Tensors) -> list[Part]:
        shapes = shapes_of(tensors)
        kind = refused_channels(shapes)
        if kind:
            raise InputError(f"this is {kind}; {READ}")
        heads, head_width = self._heads(shapes)
        found = described.describe_unet(shapes, heads, head_width)
        wanted = unet_tensors(found.config, found.linear)
        about = about_unet(found.config, found.linear)
        self.linear = found.linear
        filled = fill(wanted, tensors, found.theirs)
        if not averaged:
            return [Part(UNET, "U-Net", about, found.config, **filled)]
        ours = without_dots(each.ours for each in wanted)
        renamed = {ours.get(name, name): each for name, each in averaged.items()}
        means = fill(wanted, renamed, theirs=False)
        use_ema = self.choices.weights != RAW and not means["missing"]
        raw_title, title = "U-Net, raw weights", "U-Net, averaged weights (EMA)"
        raw = Part(UNET, raw_title, about, found.config, **filled, used=not use_ema)
        ema = Part(EMA, title, "", found.config, **means, used=use_ema)
        why = "the averaged ones draw better; fine-tuning begins with the raw"
        self.guesses.append(Guess("weights", AVERAGED if use_ema else RAW, why, (AVERAGED, RAW)))
        return [raw, ema]

    def _heads(self, shapes: Mapping[str, Shape]) -> tuple[int | None, int | None]:
        """Return (heads, head width) as somebody says; a guess is told where nobody does."""
        if self.choices.heads or self.choices.head_width:
            return self.choices.heads, self.choices.head_width
        told = self.folder.settings.get(UNET) or self.folder.settings.get("") or {}
        heads = told.get("num_attention_heads") or told.get("attention_head_dim")
        widths = told.get("block_out_channels")
        if _number(heads):  # diffusers calls the number of heads their width, as it always did
            return heads, None
        if isinstance(heads, list) and isinstance(widths, list) and len(heads) == len(widths):
            ratios = {
                w / h for w, h in zip(widths, heads, strict=True) if _number(h) and _number(w)
            }
            if len(ratios) == 1 and (ratio := ratios.pop()) == int(ratio):
                return None, int(ratio)
        found = described.describe_unet(shapes)
        if found.config.num_heads > 0:
            value, why = str(found.config.num_heads), "as all of v1's have; no shape tells"
            self.guesses.append(Guess("heads", value, why))
        else:
            value, why = str(found.config.num_head_channels), "channels, as v2's heads have"
            self.guesses.append(Guess("head_width", value, why))
        return None, None

    def _settings(self, unet: Part) -> dict[str, Any]:
        """Return the fields of `DiffusionConfig` of a model."""
        told = self.folder.settings.get("scheduler", {})
        betas = (_real(told.get("beta_start"), 0.00085), _real(told.get("beta_end"), 0.012))
        schedule = THEIR_SCHEDULES.get(str(told.get("beta_schedule")), "scaled_linear")
        zero_snr = self._zero_snr(told)
        scale = _real(self.folder.settings.get(AUTOENCODER, {}).get("scaling_factor"), 0.0)
        side = _number(self.folder.settings.get(UNET, {}).get("sample_size"))
        return {
            **({"scale": scale} if scale else {}),
            **({"side": side} if side else {}),
            "linear": self.linear,
            "timesteps": _number(told.get("num_train_timesteps")) or 1000,
            "beta_range": betas,
            "schedule": schedule,
            "prediction": self._prediction(unet, told),
            "zero_terminal_snr": zero_snr,
            "min_snr_gamma": 5.0,
        }

    def _prediction(self, unet: Part, told: Mapping[str, Any]) -> str:
        if self.choices.prediction:
            return self.choices.prediction
        if str(told.get("prediction_type")) in THEIR_PREDICTIONS:
            return THEIR_PREDICTIONS[str(told["prediction_type"])]
        value, why = _guess_prediction(unet, self.files)
        self.guesses.append(Guess("prediction", value, why, PREDICTIONS))
        return value

    def _zero_snr(self, told: Mapping[str, Any]) -> bool:
        if self.choices.zero_snr is not None:
            return self.choices.zero_snr
        if "rescale_betas_zero_snr" in told:
            return told["rescale_betas_zero_snr"] is True
        marked = any("ztsnr" in file.entries for file in self.files)
        why = "the file has the mark ztsnr" if marked else "the file has no mark of it"
        self.guesses.append(Guess("zero_snr", FLAGS[not marked], why, FLAGS))
        return marked


def _guess_prediction(unet: Part, files: Sequence[WeightFile]) -> tuple[str, str]:
    """Return what a network probably estimates, and why."""
    for file in files:
        if "v_pred" in file.entries:
            return "v", "the file has the mark v_pred"
        word = file.metadata.get("modelspec.prediction_type", "")
        if word in ("v", "epsilon"):
            return "v" if word == "v" else "eps", "its metadata say so"
        if file.extra.get("global_step") == 875_000:
            return "eps", "it was trained for 875,000 steps, as the base of v2 was"
    if unet.config.context_dim != V2_CONTEXT or unet.config.channel == INPAINTING:
        return "eps", "as all of its kind; some fine-tunes are v"
    stored = unet.matched.get(V_NORM)
    if stored is None:
        return "eps", "nothing tells"
    spread = float(read_tensor(stored.file, stored.name).float().std())
    word = "above" if spread > V_SPREAD else "at most"
    why = f"a norm's bias of its last block spreads by {spread:.2f}, {word} {V_SPREAD}"
    return "v" if spread > V_SPREAD else "eps", why


def kind_of(config: UNetConfig) -> str:
    """Return what people call a model with such a U-Net."""
    context = config.context_dim
    name = {V1_CONTEXT: "Stable Diffusion v1", V2_CONTEXT: "Stable Diffusion v2"}.get(context or 0)
    name = name or "built like Stable Diffusion"
    if set(config.res_blocks) == {1} or not config.middle:
        name = "BK-SDM" if context == V1_CONTEXT else f"{name} (BK-SDM)"
    return f"{name}, inpainting" if config.channel == INPAINTING else name


def _absent(parts: Sequence[Part]) -> list[str]:
    """Return what is taken in place of parts that are not there."""
    names, notes = {part.name for part in parts}, []
    if not {AUTOENCODER, TINY} & names:
        notes.append("no autoencoder: TAESD, which comes with sd, takes its place; or say vae=FILE")
    if not {TEXT, OPEN_CLIP} & names:
        notes.append("no text encoder: it is read, but cannot be asked for anything")
    return notes


def _number(value: Any) -> int | None:
    """Return a whole number above 0 that settings hold, else None."""
    return value if type(value) is int and 0 < value < 2**31 else None


def _real(value: Any, usual: float) -> float:
    """Return a number between 0 and 1 that settings hold, else the usual one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) and 0 < value < 1 else usual


class Stage(NamedTuple):
    """What a model's settings say of its autoencoder: channels of its latents, pixels a place."""

    channels: int
    factor: int


def stage_of(report: LoadingReport) -> Stage:
    """Return the stage of the autoencoder in a file; without one TAESD takes its place."""
    part = report.part(AUTOENCODER)
    if part is None:
        return Stage(TINY_AUTOENCODERS[TINY_STAGE], TINY_FACTOR)
    return Stage(part.config["embed_dim"], 2 ** (len(part.config["ch_mult"]) - 1))


def config_of(report: LoadingReport, stage: Stage, is_told: bool) -> Config:
    """Return the settings that say what the model is; its U-Net itself may take more channels.

    Raises `InputError` where its U-Net and its autoencoder do not belong together.
    """
    part = report.part(UNET, EMA)
    if part is None:
        raise InputError(f"holds no U-Net; {READ}")
    unet, sampled = part.config, stage.channels
    if unet.n_embed != sampled:
        raise InputError(
            f"the U-Net estimates {unet.n_embed} channels; the autoencoder's latents have {sampled}"
        )
    if unet.channel not in (sampled, 2 * sampled + 1):
        raise InputError(
            f"the U-Net sees {unet.channel} channels; {sampled}, or for inpainting "
            f"{2 * sampled + 1}, are known"
        )
    side = _side(report, unet, stage.factor)
    diffusion = {name: each for name, each in report.settings.items() if name in FIELDS}
    return Config(
        training=TrainingConfig(input_height=side, input_width=side),
        unet=replace(unet, channel=sampled),
        diffusion=DiffusionConfig(**diffusion),
        conditioning=ConditioningConfig(kind="captions" if is_told else "none", text_length=TOKENS),
        first_stage=FirstStageConfig(autoencoder=STORED, factor=stage.factor, latent_scale=SCALE),
    )


def _side(report: LoadingReport, unet: UNetConfig, factor: int) -> int:
    """Return the side in pixels at which a model was trained, as far as one can tell."""
    if report.settings.get("side"):
        return int(report.settings["side"]) * factor
    if unet.context_dim == V2_CONTEXT and report.settings["prediction"] == "v":
        return 768
    if unet.context_dim in (V1_CONTEXT, V2_CONTEXT):
        return SIDE
    return min(SIDE, SMALL_SIDE * size_factor(unet) * factor)
