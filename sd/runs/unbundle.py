"""Opening a bundle: a stranger's zip becomes a run, or one line says why not.

Every member is known by name and held to the size that the settings allow, and all that is text is
checked for its meaning before a byte is written or a folder opened; the rest is checked as what it
claims to be before the run appears.
"""

import json
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint
from sd.checkpoints.record import (
    ABOUT,
    CARD,
    FIRST_STAGE,
    TRAINING,
    WEIGHTS,
    check_digests,
    check_record,
)
from sd.common.disk import write_folder
from sd.common.text import brief, format_bytes, printable
from sd.common.validation import InputError, shown, text, whole
from sd.config import Config
from sd.config.sections import AUTOENCODERS
from sd.data.ingest import open_images
from sd.data.reading.archive import BROKEN, ENCRYPTED_FLAG, open_judged
from sd.networks.blueprint import TIME_EMBEDDING, blueprint
from sd.networks.conditioning_metadata import CONDITIONING, LARGEST_METADATA
from sd.runs.event_schema import check_event, check_place
from sd.runs.journal import EVENTS
from sd.runs.sample_grid import NAME, open_sample_grid
from sd.training.planning import memory

Parsed = TypeVar("Parsed")

PIXELS, INDEX = f"{runs.PICTURES}/pixels.bin", f"{runs.PICTURES}/index.json"
SAMPLE = re.compile(rf"samples/{NAME.pattern}")
CHECKPOINT = re.compile(r"(checkpoint-[0-9]{1,12})/([\w.]+)", re.ASCII)
PARTS = (WEIGHTS, TRAINING, FIRST_STAGE, runs.CONFIG, CONDITIONING, ABOUT, CARD)  # of a checkpoint
NEEDED = (runs.CONFIG, EVENTS)
LONGEST_TEXT, LONGEST_SHEET = 64 * 2**20, 16 * 2**20  # bytes
LONGEST_JOURNAL, MOST_EVENTS = 8 * 2**20, 20_000  # a long run's has 0.5 MB and 3,000
LONGEST_RECORD = 1_000_000  # bytes of settings and of a checkpoint's record
STATE_BYTES = 16  # per parameter: raw and averaged weights, two moments, float32 each
LARGEST_FIRST_STAGE = 2**29  # bytes; that of Stable Diffusion has 335 million as float32
SPARE = 2**24  # bytes of a safetensors file that are no weights
MOST_SQUEEZED = 10  # unpacked : packed, of weights; real ones hardly shrink
PIXELS_SQUEEZED = 50  # of pictures; flat drawings shrink so far, nothing more
SPARE_DISK = 64 * 2**20  # bytes that are left free


def unpack(archive: Path, home: Path) -> Path:
    """Open a bundle as a new run folder in `home`; return it.

    Raises `InputError` in one line for whatever is not a whole bundle; then nothing is left behind.
    """
    label = brief(printable(archive.name))
    folder = runs.Home(home).new_folder()
    try:
        with open_judged(archive, label) as packed:
            bundle = _Bundle(label, packed)
            home.mkdir(parents=True, exist_ok=True)
            bundle.check_room(shutil.disk_usage(home).free)
            write_folder(folder, bundle.write)
    except InputError:
        raise
    except BROKEN as error:
        reason = getattr(error, "strerror", None) or "it is damaged or cut off"
        raise InputError(f"{label}: cannot be opened ({reason})") from error
    return folder


class _Bundle:
    """The members of a bundle, judged before a byte is written."""

    def __init__(self, label: str, packed: zipfile.ZipFile) -> None:
        self._label, self._zip = label, packed
        self._infos = self._read_members(packed.infolist())
        self._config = self._read_settings()
        self._check_sizes()
        self._check_record()
        self._texts = {runs.CONFIG: self._config.to_ini(), EVENTS: self._read_journal()}
        if runs.RUN in self._infos:
            self._texts[runs.RUN] = self._parse(
                runs.RUN, lambda written: clean_note(json.loads(written))
            )

    def _read_members(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        """Return the members by name; raise `InputError` for what no bundle holds."""
        found: dict[str, zipfile.ZipInfo] = {}
        checkpoints: set[str] = set()
        for info in infos:
            name = info.filename
            part = CHECKPOINT.fullmatch(name)
            plain = name in (*NEEDED, runs.RUN, PIXELS, INDEX) or SAMPLE.fullmatch(name)
            if name.endswith("/") and not info.file_size:
                continue  # a folder's own entry, which other tools write
            if not plain and not (part and part[2] in PARTS):
                raise self._error(f"holds {shown(brief(printable(name)))}, which no bundle does")
            if name in found or not _is_plain(info):
                raise self._error(f"{name} is there twice, a link, encrypted or oddly packed")
            found[name] = info
            checkpoints |= {part[1]} if part else set()
        if len(checkpoints) != 1:
            raise self._error(f"holds {len(checkpoints)} checkpoints; a bundle has one")
        self._checkpoint = checkpoints.pop()
        parts = (f"{self._checkpoint}/{each}" for each in (WEIGHTS, ABOUT, runs.CONFIG))
        for name in (*NEEDED, *parts):
            if name not in found:
                raise self._error(f"has no {name}")
        return found

    def _check_sizes(self) -> None:
        """Hold every member to the size that the settings allow, and these to the memory."""
        config, weights = self._config, self._infos[f"{self._checkpoint}/{WEIGHTS}"]
        try:
            plan = blueprint(config.unet, *config.latent_shape[1:])
            memory.check(config.with_settings(["training.batch_size=1"]))  # a sheet counts sixteen
        except InputError as error:
            raise self._error(str(error)) from None
        if plan.parameters > weights.file_size:
            size = f"{plan.parameters:,} parameters; {WEIGHTS} has {weights.file_size:,} bytes"
            raise self._error(f"{runs.CONFIG}: describes {size}")
        parameters = plan.parameters + self._conditioning_parameters(config)
        longest = {WEIGHTS: 4 * parameters + SPARE, TRAINING: STATE_BYTES * parameters + SPARE}
        longest |= {CONDITIONING: LARGEST_METADATA, EVENTS: LONGEST_JOURNAL}
        longest[FIRST_STAGE] = LARGEST_FIRST_STAGE if config.is_latent else 0
        longest |= dict.fromkeys((runs.CONFIG, ABOUT, runs.RUN), LONGEST_RECORD)
        for name, info in self._infos.items():
            part = name.rpartition("/")[2]
            usual = LONGEST_SHEET if part.endswith(".png") else LONGEST_TEXT
            if part in longest and info.file_size > MOST_SQUEEZED * (info.compress_size + SPARE):
                raise self._error(f"{name} unpacks to more than weights can")
            if name != PIXELS and info.file_size > longest.get(part, usual):
                raise self._error(f"{name} has {info.file_size:,} bytes, more than its kind can")
        self._pictures = self._count_pictures()

    @property
    def _size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return self._config.training.input_height, self._config.training.input_width

    def _count_pictures(self) -> int:
        """Return how many pictures there are, 0 where none travel; hold them to their size."""
        if (PIXELS in self._infos) != (INDEX in self._infos):
            raise self._error(f"{PIXELS} and {INDEX} belong together")
        if INDEX not in self._infos:
            return 0
        shape = self._parse(INDEX, lambda written: json.loads(written)["shape"])
        info = self._infos[PIXELS]
        if not isinstance(shape, list) or shape[1:] != list(self._config.picture_shape):
            raise self._error(f"{INDEX}: pictures of another shape than the settings'")
        count, size = shape[0], info.file_size
        if type(count) is not int or prod(shape) != size or not size:
            raise self._error(f"{PIXELS} has {size:,} bytes, which {INDEX} does not tell")
        if size > PIXELS_SQUEEZED * info.compress_size + SPARE:
            raise self._error(f"{PIXELS} unpacks to more than pictures can")
        return count

    def check_room(self, free: int) -> None:
        """Raise `InputError` where the disk has not the room for what would be written."""
        need = sum(info.file_size for info in self._infos.values()) + SPARE_DISK
        if need > free:
            there = f"{format_bytes(free)} of the disk are free"
            raise self._error(f"unpacks to {format_bytes(need)}; {there}")

    def _conditioning_parameters(self, config: Config) -> int:
        """Return the most parameters of a conditioner: a label or word takes a byte at least."""
        metadata = self._infos.get(f"{self._checkpoint}/{CONDITIONING}")
        width, conditioning = config.unet.context_dim or 0, config.conditioning
        known = 0 if metadata is None else min(metadata.file_size, LARGEST_METADATA)
        pooled = TIME_EMBEDDING * config.unet.model_channels if conditioning.pooled else 0
        layers = 16 * conditioning.text_layers * width
        return (width + 1) * (known + conditioning.text_length + layers + pooled)

    def write(self, folder: Path) -> None:
        """Unpack into `folder`, and check there what only whole files show."""
        for name, info in self._infos.items():
            target = folder / name.replace(self._checkpoint, self._checkpoint_name)
            target.parent.mkdir(exist_ok=True)
            if name in self._texts:
                target.write_text(self._texts[name], encoding="utf-8")
                continue
            with self._zip.open(info) as entry, target.open("xb") as file:
                shutil.copyfileobj(entry, file, 2**20)
        model = load_checkpoint(folder / self._checkpoint_name)
        about: Mapping[str, Any] = model.about
        check_digests(folder / self._checkpoint_name, about, set(about["sha256"]) & {TRAINING})
        if INDEX in self._infos:
            open_images(folder / runs.PICTURES, verify=True)
        for path in sorted((folder / "samples").glob("*.png")):
            try:
                open_sample_grid(path, self._config)
            except InputError as error:
                raise self._error(f"samples/{error}") from None

    def _check_record(self) -> None:
        """Raise `InputError` if a checkpoint's record cannot be worked with; note its name here."""
        name = f"{self._checkpoint}/{ABOUT}"
        about = self._parse(name, json.loads)
        has_state = f"{self._checkpoint}/{TRAINING}" in self._infos
        digests = about.get("sha256") if isinstance(about, dict) else None
        if not isinstance(digests, dict) or has_state != (TRAINING in digests):
            raise self._error(f"{name}: no record of this checkpoint")
        step = self._parse(name, lambda _: check_record(about, has_state))
        if int(self._checkpoint.rpartition("-")[2]) != step:
            raise self._error(f"{name}: tells of step {step}")
        self._checkpoint_name = f"checkpoint-{step:09d}"

    def _read_settings(self) -> Config:
        """Return the run's settings, after holding those of its checkpoint to them."""
        outer, inner = (
            self._parse(name, partial(Config.from_ini, source=name))
            for name in (runs.CONFIG, f"{self._checkpoint}/{runs.CONFIG}")
        )
        for config in (outer, inner):
            self._check_paths(config)
        for name in ("unet", "diffusion", "first_stage"):
            if getattr(outer, name) != getattr(inner, name):
                raise self._error(f"{runs.CONFIG}: another [{name}] than its checkpoint's")
        sizes = [(c.training.input_height, c.training.input_width) for c in (outer, inner)]
        conditioning = [replace(c.conditioning, sample_prompts=None) for c in (outer, inner)]
        if sizes[0] != sizes[1] or conditioning[0] != conditioning[1]:
            raise self._error(f"{runs.CONFIG}: other pictures or words than its checkpoint's")
        return outer

    def _check_paths(self, config: Config) -> None:
        if config.training.dataset_path or config.training.save_path:
            raise self._error(f"{runs.CONFIG}: names a path, which no bundle does")
        if config.training.lora_rank:  # its base would be opened at a path of this machine
            raise self._error(f"{runs.CONFIG}: tells of a LoRA, which no bundle does")
        if config.conditioning.encoder:  # it would be opened or fetched here
            raise self._error(f"{runs.CONFIG}: names a pretrained encoder, which no bundle does")
        if config.first_stage.autoencoder not in (None, *AUTOENCODERS):
            raise self._error(
                f"{runs.CONFIG}: names an autoencoder elsewhere, which no bundle does"
            )

    def _read_journal(self) -> str:
        """Return the journal with what is understood of it."""
        lines = self._parse(EVENTS, lambda written: written.split("\n")[:-1])
        if len(lines) > MOST_EVENTS:
            raise self._error(f"{EVENTS}: {len(lines):,} lines; at most {MOST_EVENTS:,} are read")
        found = []
        for number, line in enumerate(lines, start=1):
            try:
                found.append(check_event(json.loads(line)))
                check_place(found[-1], self._config.diffusion.timesteps, self._pictures)
            except (ValueError, RecursionError) as error:
                reason = error if isinstance(error, InputError) else "not readable as JSON"
                raise self._error(f"{EVENTS}, line {number}: {reason}") from None
        steps = [event["step"] for event in found if event["event"] == "step"]
        if any(before >= after for before, after in pairwise(steps)):
            raise self._error(f"{EVENTS}: its steps do not follow one another")
        return "".join(json.dumps(event) + "\n" for event in found)

    def _parse(self, name: str, parse: Callable[[str], Parsed]) -> Parsed:
        """Return what `parse` makes of a text member; `InputError` if it cannot."""
        usual = LONGEST_JOURNAL if name == EVENTS else LONGEST_RECORD
        longest = LONGEST_TEXT if name == INDEX else usual
        if self._infos[name].file_size > longest:
            raise self._error(f"{name} has more than {longest:,} bytes")
        try:
            return parse(self._zip.read(self._infos[name]).decode("utf-8"))
        except InputError as error:
            raise self._error(f"{name}: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise self._error(f"{name}: not readable") from None

    def _error(self, reason: str) -> InputError:
        return InputError(f"{self._label}: {reason}")


def _is_plain(info: zipfile.ZipInfo) -> bool:
    """Tell whether a member is an ordinary file, packed in an ordinary way."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    usual = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return kind in (0, stat.S_IFREG) and usual and not info.flag_bits & ENCRYPTED_FLAG


def clean_note(note: Mapping[str, Any]) -> str:
    """Return a run.json with what it may hold: seed, device, and the name of the data."""
    seed = whole("seed", note.get("seed"), 0, 2**53)
    device, data = text("device", note.get("device"), 20), text("data", note.get("data"), 300)
    return json.dumps({"seed": seed, "device": device, "data": Path(data).name})
