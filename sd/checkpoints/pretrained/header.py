"""A file of weights before any is read: names, shapes, types, and where the bytes lie.

Safetensors are read by their header alone, without torch. Files of torch (`.ckpt`, `.bin`) are zips
around a pickle: torch's own reader of weights goes through it, in which nothing is run, and what
training frameworks leave in such files becomes an empty stand-in. Which of both it is, the first
bytes tell; the file's own name counts for nothing.
"""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sd.common.text import brief, printable
from sd.common.validation import InputError

if TYPE_CHECKING:
    from torch import Tensor

WIDTHS = {  # bytes of a number, by safetensors' names
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}
TORCH_TYPES = {  # torch's names by safetensors'
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"},
    **{"U16": "uint16", "U32": "uint32", "U64": "uint64"},
}
FLOATS = ("F64", "F32", "F16", "BF16")  # what weights may be stored as
LARGEST_HEADER = 100_000_000  # bytes, as safetensors allows
MOST_TENSORS, MOST_AXES = 100_000, 8
NOT_WEIGHTS = (  # what people have instead, by its first bytes
    (
        b"version https://git-lfs",
        "a git-lfs pointer, not the file itself; fetch it with git lfs pull",
    ),
    (b"<", "a web page, not the file itself; download it again, perhaps after signing in"),
    (b"\x80", "a bare pickle, which can run code; save it as safetensors"),
    (b"GGUF", "a GGUF file, whose weights are quantised; safetensors are read"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"Rar!", "a rar archive; unpack it first"),
)
STAND_IN = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "omegaconf.", "numpy.")
SUFFIXES = (".safetensors", ".ckpt", ".bin", ".pt", ".pth")  # what such files are called
SAMPLES, SAMPLED = 256, 4096  # places of a file that a digest reads, and bytes at each
NESTED = ("state_dict", "model", "module", "model_state_dict")  # what files wrap weights in
DEEPEST = 4


class Entry(NamedTuple):
    """A tensor in a file; start, stop: its bytes in a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    start: int = 0
    stop: int = 0

    @property
    def bytes(self) -> int:
        """Bytes that it takes in the file."""
        return math.prod(self.shape) * WIDTHS.get(self.dtype, 4)


@dataclass(frozen=True, eq=False)
class WeightFile:
    """A file's tensors by name. `held`: those of a torch file, mapped and not yet read."""

    path: Path
    form: str  # "safetensors" or "torch"
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str] = field(default_factory=dict)
    held: "Mapping[str, Tensor]" = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)  # numbers beside a torch file's tensors

    @property
    def label(self) -> str:
        """What messages call it."""
        return file_label(self.path)

    @property
    def bytes(self) -> int:
        """Its size."""
        return self.path.stat().st_size


class Inert:
    """Stands in for what a training framework left in a file; takes anything and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def file_label(path: Path) -> str:
    """Return a file's own name, printable and not too long."""
    return brief(printable(path.name)) or "."


def has_weights(path: Path) -> bool:
    """Tell whether a file is one of weights, or is called as one: no settings and no picture."""
    with path.open("rb") as file:
        head = file.read(16)
    return path.suffix.lower() in SUFFIXES or head[:2] == b"PK" or head[8:9] == b"{"


def digest_of(path: Path) -> str:
    """Return a SHA-256 that tells a model's files from others: of sizes, headers and samples.

    A few bytes of every part of a file are read: of gigabytes a whole digest takes a long time.
    """
    files = sorted(path.rglob("*.*")) if path.is_dir() else [path]
    total = hashlib.sha256()
    for each in files:
        if each == path or (each.is_file() and each.suffix.lower() in SUFFIXES):
            size = each.stat().st_size
            total.update(f"{size}".encode())
            with each.open("rb") as stream:
                for k in range(SAMPLES + 1):  # the last bytes too
                    stream.seek(max(0, size - SAMPLED) * k // SAMPLES)
                    total.update(stream.read(SAMPLED))
    return total.hexdigest()


def read_header(path: Path) -> WeightFile:
    """Return what a file holds, told by its bytes; `InputError` in one line for what is none."""
    label = file_label(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InputError(f"{label}: cannot be read ({error.strerror})") from None
    if head[:2] == b"PK":
        return _read_torch(path)
    if head[8:9] != b"{":
        for start, what in NOT_WEIGHTS:
            if head.lstrip().startswith(start):
                raise InputError(f"{label}: it is {what}")
    if size < 10:
        raise InputError(f"{label}: is empty" if not size else f"{label}: is no file of weights")
    return _read_safetensors(path, label, size)


def _read_safetensors(path: Path, label: str, size: int) -> WeightFile:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > LARGEST_HEADER:
            raise InputError(f"{label}: is no file of weights (neither safetensors nor torch's)")
        if 8 + length > size:
            raise InputError(f"{label}: cut off within its header; download it again")
        text = file.read(length)
    try:
        header: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{label}: its header is not readable as JSON") from None
    if not isinstance(header, dict) or len(header) > MOST_TENSORS:
        raise InputError(f"{label}: its header is no list of at most {MOST_TENSORS:,} tensors")
    metadata = header.pop("__metadata__", {})
    entries = {name: _entry(label, name, each, 8 + length) for name, each in header.items()}
    _check_bytes(label, entries, 8 + length, size)
    words = metadata if isinstance(metadata, dict) else {}
    known = {str(key): value for key, value in words.items() if isinstance(value, str)}
    return WeightFile(path, "safetensors", entries, known)


def _entry(label: str, name: str, value: Any, begin: int) -> Entry:
    """Return an entry of a header, if it makes sense."""
    fault = InputError(f"{label}: {brief(printable(name))}: its entry in the header is damaged")
    if not isinstance(value, dict):
        raise fault
    dtype, shape, offsets = (value.get(key) for key in ("dtype", "shape", "data_offsets"))
    if dtype not in WIDTHS:
        raise InputError(
            f"{label}: {brief(printable(name))}: is stored as {brief(printable(str(dtype)))}, "
            "which is not read"
        )
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise fault
    if any(type(each) is not int or each < 0 for each in (*shape, *offsets)):
        raise fault
    entry = Entry(dtype, tuple(shape), begin + offsets[0], begin + offsets[1])
    if len(shape) > MOST_AXES or entry.stop - entry.start != entry.bytes:
        raise fault
    return entry


def _check_bytes(label: str, entries: Mapping[str, Entry], begin: int, size: int) -> None:
    """Raise `InputError` where tensors overlap or leave gaps, or the file is shorter or longer."""
    end = begin
    for entry in sorted(entries.values(), key=lambda each: (each.start, each.stop)):
        if entry.start != end:
            raise InputError(f"{label}: its header is damaged: tensors overlap or leave gaps")
        end = entry.stop
    if size < end:
        raise InputError(f"{label}: cut off, {end - size:,} bytes are missing; download it again")
    if size > end:
        raise InputError(f"{label}: {size - end:,} bytes follow its end; download it again")


def _read_torch(path: Path) -> WeightFile:
    """Return what a file of torch holds by name."""
    return _held(path, load_torch(path))


def load_torch(path: Path) -> Any:
    """Return what lies in a file of torch, its tensors mapped and not yet read.

    No code in it is run: it is read as weights alone, and raises `InputError` where it names any.
    """
    import torch  # noqa: PLC0415 (slow, and not needed for safetensors)

    label = file_label(path)
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        code = sorted(name for name in foreign if not name.startswith(STAND_IN))
        if code:
            raise InputError(
                f"{label}: names {brief(printable(code[0]))}, which is code and could do anything; "
                "it is not read"
            )
        with torch.serialization.safe_globals([(Inert, name) for name in foreign]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except InputError:
        raise
    except Exception as error:  # torch raises almost anything on what it cannot read
        reason = brief(printable(str(error).partition("\n")[0]))
        raise InputError(f"{label}: not readable as weights of torch ({reason})") from None


def _held(path: Path, stored: Any) -> WeightFile:
    """Return the innermost dict of tensors of what torch read."""
    import torch  # noqa: PLC0415 (see above)

    label = file_label(path)
    extra: dict[str, Any] = {}
    for _ in range(DEEPEST):
        if not isinstance(stored, dict):
            break
        extra |= {k: v for k, v in stored.items() if isinstance(k, str) and isinstance(v, int)}
        inner = next((stored[k] for k in NESTED if isinstance(stored.get(k), dict)), None)
        if inner is None:
            break
        stored = inner
    if not isinstance(stored, dict):
        raise InputError(f"{label}: holds no weights by name")
    held = {
        name: each
        for name, each in stored.items()
        if isinstance(name, str) and isinstance(each, torch.Tensor) and each.layout == torch.strided
    }
    if not held:
        raise InputError(f"{label}: holds no weights by name")
    entries = {name: Entry(_dtype(each), tuple(each.shape)) for name, each in held.items()}
    return WeightFile(path, "torch", entries, {}, held, extra)


def _dtype(tensor: "Tensor") -> str:
    """Return safetensors' name of a tensor's type; torch's own where there is none."""
    word = str(tensor.dtype).removeprefix("torch.")
    if word == "bfloat16":
        return "BF16"
    return next((ours for ours, theirs in TORCH_TYPES.items() if theirs == word), word)


def read_tensor(file: WeightFile, name: str) -> "Tensor":
    """Return one tensor of a file as it is stored, in memory of its own."""
    import torch  # noqa: PLC0415 (see above)

    if name in file.held:
        return file.held[name].detach().clone()
    entry = file.entries[name]
    out = torch.empty(entry.shape, dtype=getattr(torch, TORCH_TYPES[entry.dtype]))
    read_bytes(file, name, out.reshape(-1).view(torch.uint8))
    return out


def read_bytes(file: WeightFile, name: str, out: "Tensor") -> None:
    """Read the bytes of one tensor of a safetensors file into `out`, uint8 of as many."""
    entry = file.entries[name]
    if not entry.bytes:
        return
    with file.path.open("rb") as stream:
        stream.seek(entry.start)
        view: Any = out.numpy()
        if stream.readinto(memoryview(view)) != entry.bytes:  # it has become shorter meanwhile
            raise InputError(f"{file.label}: cut off while it was read")
