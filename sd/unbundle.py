"""Opening a bundle: a stranger's zip becomes a run, or one line says why not.

Every member is known by name, held to the size that the settings allow, and checked as what it
claims to be before the run appears.
"""

import json
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from sd import runs
from sd.archive import BROKEN, ENCRYPTED_FLAG, judged
from sd.blueprint import TIME_EMBEDDING, blueprint
from sd.checkpoints import (
    ABOUT,
    CARD,
    CONDITIONING,
    LARGEST_FACTS,
    TRAINING,
    WEIGHTS,
    check_digests,
    load_checkpoint,
)
from sd.config import Config
from sd.disk import write_folder
from sd.events import check_event
from sd.files import brief, printable
from sd.gate import InputError, shown, text, whole
from sd.images import read_picture
from sd.ingest import open_images
from sd.journal import EVENTS

Parsed = TypeVar("Parsed")

PIXELS, INDEX = f"{runs.PICTURES}/pixels.bin", f"{runs.PICTURES}/index.json"
SAMPLE = re.compile(r"samples/(?:step|raw)-[0-9]{1,12}\.png")
CHECKPOINT = re.compile(r"(checkpoint-[0-9]{1,12})/([\w.]+)", re.ASCII)
PARTS = (WEIGHTS, TRAINING, runs.CONFIG, CONDITIONING, ABOUT, CARD)  # of a checkpoint
NEEDED = (runs.CONFIG, EVENTS)
LONGEST_TEXT, LONGEST_SHEET = 64 * 2**20, 16 * 2**20  # bytes
STATE_BYTES = 16  # per parameter: raw and averaged weights, two moments, float32 each
SPARE = 2**24  # bytes of a safetensors file that are no weights
MOST_SQUEEZED = 10  # unpacked : packed, of weights; real ones hardly shrink


def unpack(archive: Path, home: Path) -> Path:
    """Open a bundle as a new run folder in `home`; return it.

    Raises `InputError` in one line for whatever is not a whole bundle; then nothing is left behind.
    """
    label = brief(printable(archive.name))
    folder = home / runs.new_folder().name
    try:
        with judged(archive, label) as packed:
            bundle = _Bundle(label, packed)
            home.mkdir(parents=True, exist_ok=True)
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
        self._infos = self._known(packed.infolist())
        config = self._config(runs.CONFIG)
        self._texts = {runs.CONFIG: config.to_ini(), EVENTS: self._journal()}
        if runs.RUN in self._infos:
            self._texts[runs.RUN] = self._parsed(runs.RUN, note)
        self._check_sizes(config)

    def _known(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
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
                raise self._wrong(f"holds {shown(brief(printable(name)))}, which no bundle does")
            if name in found or not _is_plain(info):
                raise self._wrong(f"{name} is there twice, a link, encrypted or oddly packed")
            found[name] = info
            checkpoints |= {part[1]} if part else set()
        if len(checkpoints) != 1:
            raise self._wrong(f"holds {len(checkpoints)} checkpoints; a bundle has one")
        self._checkpoint = checkpoints.pop()
        needed = [
            *NEEDED,
            *(f"{self._checkpoint}/{each}" for each in (WEIGHTS, ABOUT, runs.CONFIG)),
        ]
        for name in needed:
            if name not in found:
                raise self._wrong(f"has no {name}")
        return found

    def _check_sizes(self, config: Config) -> None:
        """Hold every member to the size that the settings allow."""
        training, channels = config.training, config.unet.channel
        height, width = training.input_height, training.input_width
        parameters = blueprint(config.unet, height, width).parameters + self._told(config)
        longest = {WEIGHTS: 4 * parameters + SPARE, TRAINING: STATE_BYTES * parameters + SPARE}
        longest[CONDITIONING] = LARGEST_FACTS
        for name, info in self._infos.items():
            part = name.rpartition("/")[2]
            usual = LONGEST_SHEET if part.endswith(".png") else LONGEST_TEXT
            if part in longest and info.file_size > MOST_SQUEEZED * (info.compress_size + SPARE):
                raise self._wrong(f"{name} unpacks to more than weights can")
            if name != PIXELS and info.file_size > longest.get(part, usual):
                raise self._wrong(f"{name} has {info.file_size:,} bytes, more than its kind can")
        if (PIXELS in self._infos) != (INDEX in self._infos):
            raise self._wrong(f"{PIXELS} and {INDEX} belong together")
        if INDEX not in self._infos:
            return
        shape = self._parsed(INDEX, lambda written: json.loads(written)["shape"])
        size = self._infos[PIXELS].file_size
        if not isinstance(shape, list) or shape[1:] != [channels, height, width]:
            raise self._wrong(f"{INDEX}: pictures of another shape than the settings'")
        if not isinstance(shape[0], int) or prod(shape) != size or not size:
            raise self._wrong(f"{PIXELS} has {size:,} bytes, which {INDEX} does not tell")

    def _told(self, config: Config) -> int:
        """Return the most parameters of what reads labels or words: each takes a byte at least."""
        facts = self._infos.get(f"{self._checkpoint}/{CONDITIONING}")
        width, told = config.unet.context_dim or 0, config.conditioning
        known = 0 if facts is None else min(facts.file_size, LARGEST_FACTS)
        pooled = TIME_EMBEDDING * config.unet.model_channels if told.pooled else 0
        return (width + 1) * (known + told.text_length + 16 * told.text_layers * width + pooled)

    def write(self, folder: Path) -> None:
        """Unpack into `folder`, and check there what only whole files show."""
        for name, info in self._infos.items():
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            if name in self._texts:
                target.write_text(self._texts[name], encoding="utf-8")
                continue
            with self._zip.open(info) as entry, target.open("xb") as file:
                shutil.copyfileobj(entry, file, 2**20)
        model = load_checkpoint(folder / self._checkpoint)
        self._check_paths(model.config)
        about: Mapping[str, Any] = model.about
        check_digests(folder / self._checkpoint, about, set(about["sha256"]) & {TRAINING})
        self._check_record(about)
        if INDEX in self._infos:
            open_images(folder / runs.PICTURES, verify=True)
        for path in sorted((folder / "samples").glob("*.png")):
            read_picture(path, f"{self._label}: samples/{path.name}")

    def _check_record(self, about: Mapping[str, Any]) -> None:
        """Raise `InputError` if a checkpoint's record cannot be worked with."""
        whole("step", about.get("step"), 0, 2**53)
        kinds = {"machine": dict, "state": dict} if TRAINING in about["sha256"] else {}
        has_state = f"{self._checkpoint}/{TRAINING}" in self._infos
        fits = all(isinstance(about.get(name), kind) for name, kind in kinds.items())
        if not fits or has_state != (TRAINING in about["sha256"]):
            raise self._wrong(f"{self._checkpoint}/{ABOUT}: no record of this checkpoint")

    def _config(self, name: str) -> Config:
        config = self._parsed(name, lambda written: Config.from_ini(written, name))
        self._check_paths(config)
        return config

    def _check_paths(self, config: Config) -> None:
        if config.training.dataset_path or config.training.save_path:
            raise self._wrong(f"{runs.CONFIG}: names a path, which no bundle does")
        if config.conditioning.encoder:  # it would be opened or fetched here
            raise self._wrong(f"{runs.CONFIG}: names a pretrained encoder, which no bundle does")

    def _journal(self) -> str:
        """Return the journal with what is understood of it."""
        lines = self._parsed(EVENTS, lambda written: written.split("\n")[:-1])
        told = []
        for number, line in enumerate(lines, start=1):
            try:
                told.append(check_event(json.loads(line)))
            except (ValueError, RecursionError) as error:
                reason = error if isinstance(error, InputError) else "not readable as JSON"
                raise self._wrong(f"{EVENTS}, line {number}: {reason}") from None
        return "".join(json.dumps(event) + "\n" for event in told)

    def _parsed(self, name: str, parse: Callable[[str], Parsed]) -> Parsed:
        """Return what `parse` makes of a text member; `InputError` if it cannot."""
        if self._infos[name].file_size > LONGEST_TEXT:
            raise self._wrong(f"{name} is longer than {LONGEST_TEXT:,} bytes")
        try:
            return parse(self._zip.read(self._infos[name]).decode("utf-8"))
        except InputError as error:
            raise self._wrong(f"{name}: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise self._wrong(f"{name}: not readable") from None

    def _wrong(self, reason: str) -> InputError:
        return InputError(f"{self._label}: {reason}")


def _is_plain(info: zipfile.ZipInfo) -> bool:
    """Tell whether a member is an ordinary file, packed in an ordinary way."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    usual = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return kind in (0, stat.S_IFREG) and usual and not info.flag_bits & ENCRYPTED_FLAG


def note(written: str) -> str:
    """Return a run.json with what it may hold: seed, device, and the name of the data."""
    note = json.loads(written)
    seed = whole("seed", note.get("seed"), 0, 2**53)
    device, data = text("device", note.get("device"), 20), text("data", note.get("data"), 300)
    return json.dumps({"seed": seed, "device": device, "data": Path(data).name})
