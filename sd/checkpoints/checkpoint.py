"""Models on disk: safetensors, readable text and digests; never a pickle.

A checkpoint is a folder: `model.safetensors` (the averaged weights), `config.ini`,
`checkpoint.json` (step, seed, digests of the files) and `README.md`, its card for people and hubs;
where it is told something, `conditioning.json` with its classes or its vocabulary.
That of a run also holds `training.safetensors`, from which training goes on. It is written to a
temporary folder, flushed and renamed: there is a whole checkpoint or none.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sd.checkpoints.card import card
from sd.checkpoints.model import Model
from sd.common.disk import digest, numbered, write_folder
from sd.common.text import brief, printable
from sd.common.validation import InputError, real, shown, text, whole
from sd.config import Config
from sd.config.sections import MOST_STEPS
from sd.networks.blueprint import blueprint
from sd.networks.conditioning import conditioner_of
from sd.networks.conditioning_metadata import CONDITIONING, read_metadata
from sd.networks.unet import UNetModel

WEIGHTS, CONFIG, ABOUT, CARD = "model.safetensors", "config.ini", "checkpoint.json", "README.md"
TRAINING = "training.safetensors"
READ = (WEIGHTS, CONFIG, CONDITIONING)  # by whoever samples
OPTIONAL = {TRAINING, CONDITIONING, ABOUT}  # among the digests
STATE = "state"  # what checkpoint.json holds for training alone; the card is silent about it
FORMAT = 1
LARGEST_TEXT = 1_000_000  # bytes of the readable files
MACHINE_WORDS = {"device", "matmul", "label", "torch", "python"}  # what a machine's record says
LARGEST_COUNT = 2**53
LONGEST_WORD, MOST_THREADS = 200, 4096
MOST_SECONDS, LARGEST_LOSS = 1e9, 1e300  # of a run; the sum of a row's losses
DTYPES = {"float32": torch.float32, "float16": torch.float16}
FLOATS = ("F32", "F16", "BF16")
NO_WEIGHTS = (  # what people upload instead, by its first bytes
    (b"\x80", "it is a pickle, which can run code; only safetensors are read"),
    (b"PK", "it is a zip (a torch pickle?), which can run code; only safetensors are read"),
    (b"version https://git-lfs", "it is a git-lfs pointer, not the file itself"),
    (b"<", "it is an HTML page, not the file itself"),
)


def save_checkpoint(
    model: Model,
    folder: Path,
    about: Mapping[str, Any],
    training: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a model to a new `folder`, whole or not at all; return it.

    `about` (step, seed, ...) is kept in checkpoint.json beside format and digests. Weights are
    stored as training.weights_dtype says, the tensors of `training` as they are. Raises
    `InputError` if the folder is there already or a weight is not finite in that type, `OSError`
    if it cannot be written.
    """
    if folder.exists():
        raise InputError(f"{folder.name}: there is a checkpoint of that name already")
    dtype = DTYPES[model.config.training.weights_dtype]
    state = model.conditioned.stored_state()
    weights = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in state.items()}
    _check_finite(f"{folder.name} as {model.config.training.weights_dtype}", weights)
    told = {name: value for name, value in about.items() if name != STATE}
    parameters = sum(each.numel() for each in model.conditioned.parameters())
    texts = {CONFIG: model.config.to_ini(), CARD: card(model.config, parameters, told)}
    if model.conditioner is not None:
        texts[CONDITIONING] = json.dumps(model.conditioner.metadata(), ensure_ascii=False, indent=1)
    tensors = {WEIGHTS: weights, **({TRAINING: training} if training is not None else {})}

    def write(target: Path) -> None:
        for name, each in tensors.items():
            try:
                save_file(dict(each), target / name, metadata={"format": "pt"})
            except SafetensorError as error:  # a full disk, say
                raise OSError(f"{folder.name}/{name} cannot be written: {error}") from error
        for name, words in texts.items():
            (target / name).write_text(words, encoding="utf-8")
        digests = {name: digest(target / name) for name in (*tensors, *texts) if name != CARD}
        record = {"format": FORMAT, **about}
        record["sha256"] = {**digests, ABOUT: _digest_of(record)}
        (target / ABOUT).write_text(json.dumps(record, indent=1), encoding="utf-8")

    write_folder(folder, write)
    return folder


def newest_checkpoint(path: Path) -> Path:
    """Return `path` if it is a checkpoint, else the newest of the run folder that it is."""
    if (path / ABOUT).is_file() or (path / WEIGHTS).is_file():
        return path
    found = numbered(path, "checkpoint-*")
    if not found:
        raise InputError(f"{_called(path)}: no checkpoint there; give a checkpoint or run folder")
    return found[-1][1]


def load_checkpoint(path: str | Path, device: str = "cpu") -> Model:
    """Read a model from a checkpoint folder, or the newest of a run folder, in float32.

    Raises `InputError` for a missing, damaged, foreign or mismatching file, with the reason.
    """
    folder = newest_checkpoint(Path(path))
    about = read_about(folder)
    weights = _member(folder, WEIGHTS)
    _check_kind(weights)
    check_digests(folder, about, [name for name in about["sha256"] if name in READ])
    config = Config.read(_member(folder, CONFIG))
    unet = _empty_network(config, weights.stat().st_size)
    with torch.device("meta" if config.conditioning.encoder is None else "cpu"):
        conditioner = conditioner_of(config, read_metadata(folder))
    model = Model(unet, config, about, conditioner)
    state = _read_weights(weights, model.conditioned.stored_state())
    model.conditioned.load_stored(state, assign=True)
    model.conditioned.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.conditioned.eval().requires_grad_(False)
    return model


def load_training(folder: Path) -> dict[str, Tensor]:
    """Read the tensors from which training goes on, after checking every file of a checkpoint.

    Raises `InputError` for what is missing or damaged.
    """
    about = read_about(folder)
    if TRAINING not in about["sha256"]:
        raise InputError(f"{_called(folder)}: was kept without {TRAINING}, which resuming needs")
    check_digests(folder, about, [name for name in about["sha256"] if name != ABOUT])
    try:
        return load_file(folder / TRAINING)
    except (SafetensorError, OSError) as error:
        reason = printable(str(error))
        raise InputError(f"{TRAINING}: not readable as safetensors ({reason})") from None


def check_record(about: Mapping[str, Any], resumable: bool = True) -> int:
    """Return the step of a checkpoint.json; `resumable`: one from which training can go on.

    Raises `InputError` for what does not mean what it must, whoever vouched for its bytes.
    """
    step = whole("step", about.get("step"), 0, MOST_STEPS)
    if not resumable:
        return step
    machine, state = about.get("machine"), about.get(STATE)
    if not isinstance(machine, Mapping) or not isinstance(state, Mapping):
        raise InputError(f"{ABOUT}: tells no machine and state, which resuming needs")
    for name in MACHINE_WORDS & machine.keys():
        text(f"machine.{name}", machine[name], LONGEST_WORD)
    if "threads" in machine:
        whole("machine.threads", machine["threads"], 1, MOST_THREADS)
    whole("state.step", state.get("step"), step, step)
    for name in ("updates", "skipped"):
        whole(f"state.{name}", state.get(name), 0, step)
    real("state.seconds", state.get("seconds", 0.0), 0, MOST_SECONDS)
    row = state.get("row", {})
    if not isinstance(row, Mapping):
        raise InputError(f"state.row = {shown(row)}: must be an object")
    whole("state.row.count", row.get("count", 0), 0, step)
    real("state.row.loss", row.get("loss", 0.0), 0, LARGEST_LOSS)
    return step


def check_digests(folder: Path, about: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise `InputError` for the first file that is missing or not what was written."""
    for name in names:
        if digest(_member(folder, name)) != about["sha256"][name]:
            raise InputError(
                f"{_called(folder)}/{name}: damaged, its SHA-256 is not the recorded one"
            )


def _digest_of(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a checkpoint.json but for its own list of digests."""
    told = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _called(path: Path) -> str:
    """Return how messages call a file or folder: its own name, printable and not too long."""
    return brief(printable(path.name)) or "."


def _member(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise InputError(f"{_called(folder)}: has no file {name}")
    return path


def _empty_network(config: Config, size: int) -> UNetModel:
    """Return a configuration's network without storage, if weights of `size` bytes can be its.

    No weights take less than a byte each, so a few bytes never make a gigantic network.
    """
    unet, training = config.unet, config.training
    if unet.dims != 2:
        raise InputError(f"{CONFIG}: unet.dims = {unet.dims}: models of pictures have dims = 2")
    parameters = blueprint(unet, training.input_height, training.input_width).parameters
    if parameters > size:
        raise InputError(
            f"{CONFIG}: describes {parameters:,} parameters; {WEIGHTS} has only {size:,} bytes"
        )
    with torch.device("meta"):
        return UNetModel.from_config(unet)


def read_about(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's checkpoint.json, checked for form and format."""
    path, label = _member(folder, ABOUT), f"{_called(folder)}/{ABOUT}"
    if path.stat().st_size > LARGEST_TEXT:
        raise InputError(f"{label}: more than {LARGEST_TEXT:,} bytes")
    try:
        about: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise InputError(f"{label}: not readable as JSON") from None
    digests = about.get("sha256") if isinstance(about, dict) else None
    if not isinstance(digests, dict) or set(digests) - OPTIONAL != {WEIGHTS, CONFIG}:
        raise InputError(f"{label}: no record of a checkpoint")
    if digests.get(ABOUT, _digest_of(about)) != _digest_of(about):
        raise InputError(f"{label}: damaged, its SHA-256 is not the recorded one")
    for name in ("step", "seed", "pictures"):
        if name in about:
            whole(f"{label}: {name}", about[name], 0, LARGEST_COUNT)
    if about.get("format") != FORMAT:
        raise InputError(f"{label}: format {shown(about.get('format'))}; {FORMAT} is read")
    return dict(about)


def _check_kind(path: Path) -> None:
    """Raise `InputError` with what a file is instead of safetensors, whose text starts at byte 8.

    The eight bytes before are a length and may look like anything.
    """
    with path.open("rb") as file:
        head = file.read(64)
    for start, reason in NO_WEIGHTS:
        if head.startswith(start) and head[8:9] != b"{":
            raise InputError(f"{path.name}: {reason}")


def _read_weights(path: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the file's tensors as float32, after holding their names and shapes to `wanted`."""
    try:
        with safe_open(path, framework="pt") as stored:
            slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
            shapes = {name: part.get_shape() for name, part in slices.items()}
            _compare(path.name, shapes, {n: list(t.shape) for n, t in wanted.items()})
            for name, part in slices.items():
                if part.get_dtype() not in FLOATS:
                    raise InputError(f"{path.name}: {name} is stored as {part.get_dtype()}")
            state = {name: stored.get_tensor(name).float() for name in slices}
    except (SafetensorError, OSError) as error:
        reason = printable(str(error))
        raise InputError(f"{path.name}: not readable as safetensors ({reason})") from None
    _check_finite(path.name, state)
    return state


def _check_finite(label: str, weights: Mapping[str, Tensor]) -> None:
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{label}: {name} holds values that are not finite")


def _compare(file: str, found: Mapping[str, Sequence[int]], wanted: Mapping[str, Any]) -> None:
    """Raise `InputError` naming the first tensors that are missing, unknown or of another shape."""
    faults = [f"missing {name}" for name in wanted if name not in found]
    faults += [f"unknown {brief(printable(name))}" for name in found if name not in wanted]
    faults += [
        f"{name} is {list(found[name])}, not {shape}"
        for name, shape in wanted.items()
        if name in found and list(found[name]) != shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(f"{file}: not this network's: {'; '.join(faults[:3])}{more}")
