"""Memory that training takes and memory that is there: by arithmetic and by asking the system.

No torch, so that the page can ask before anything is loaded.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sd.checkpoints.adapters.targets import count_parameters
from sd.common.text import MIB, format_bytes
from sd.common.validation import InputError
from sd.config import Config
from sd.config.sections import OWN
from sd.networks.blueprint import GROUPS, blueprint
from sd.training.monitoring import EVALUATED, SAMPLE_COUNT

if sys.platform != "win32":
    import resource

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
UNKNOWN = 2**62  # where the system does not tell; "no limit" is written as about this number too

# Fitted to the peak resident size of real processes that trained, sampled, measured and saved, the
# allocator keeping what is freed: `python -m tests.benchmarks.memory` repeats it.
BASE = 780 * MIB  # Python and torch's CUDA build (690), what they need at work, allocator's padding
COPIES = 5  # weights, averaged weights, gradients and AdamW's two moments (Muon has one)
KEPT = 1.35  # a step's peak over what the blueprint counts as kept for the backward pass
PASSING = 0.29  # share of it without a backward pass
FIRST_STAGE = 260 * MIB  # TAESD, and what encoding a part of the pictures takes
CROP = 64  # pixels a side of what phase 1 trains on at once
MAPS = 6  # that a residual block of an autoencoder keeps for the backward pass
TUNED = 12 * MIB  # kept of a crop where TAESD's decoder is tuned
LORA_BESIDE = 900 * MIB  # text encoder and autoencoder of Stable Diffusion, while they are needed
MOST_GROWTH = 1.5  # times what is needed, for a process among those of others
SAVING = 4  # further copies of the weights while a checkpoint is written


def needed(config: Config) -> int:
    """Return about how many bytes a process holds that trains these settings on a CPU.

    The pictures are not counted: they are mapped from a file. Raises `InputError` for a network
    that cannot be.
    """
    training = config.training
    plan = blueprint(config.unet, *config.latent_shape[1:])
    lower = 0.5 if training.precision == "bfloat16" else 1.0
    kept = plan.recomputed_bytes if training.recompute else plan.activation_bytes
    beside = (KEPT - 1) * plan.activation_bytes  # what convolutions need while they compute
    step = lower * (kept + beside) * training.batch_size
    passes = 1 if config.conditioning.kind == "none" else 2  # guided: cond and uncond at once
    samples = 1 if training.lora_rank else SAMPLE_COUNT
    at_once = max(passes * samples, min(training.batch_size, EVALUATED))
    measuring = PASSING * plan.activation_bytes * at_once
    trained = 4 * count_parameters(config) if training.lora_rank else plan.weight_bytes
    saving = SAVING * trained
    most = max(step, measuring, saving)
    first_stage = FIRST_STAGE if config.is_latent else 0
    frozen = plan.weight_bytes + LORA_BESIDE if training.lora_rank else 0
    network = frozen + COPIES * trained + first_stage + round(most)
    return BASE + max(network, of_phase_1(config))


def of_phase_1(config: Config) -> int:
    """Return about how many bytes training the first stage takes beyond `BASE`; 0 without one."""
    stage, training = config.first_stage, config.training
    if stage.autoencoder != OWN:
        tunes = config.is_latent and stage.tune_steps > 0
        return FIRST_STAGE + TUNED * stage.autoencoder_batch if tunes else 0
    height, width = (
        min(side, max(CROP, 2 * stage.factor)) // stage.patch
        for side in (training.input_height, training.input_width)
    )
    values = weights = 0
    for level, mult in enumerate(stage.ch_mult):
        # Up there is a block more than down; the last level has both middles, of two blocks each.
        blocks = 2 * stage.autoencoder_blocks + 1 + (4 if level == len(stage.ch_mult) - 1 else 0)
        channels = mult * stage.ch
        values += MAPS * blocks * channels * max(1, (height >> level) * (width >> level))
        weights += 18 * blocks * channels**2
    return 4 * values * stage.autoencoder_batch + 4 * (COPIES + 1) * weights


def sampling(config: Config, pictures: int) -> int:
    """Return about how many bytes more a process holds that loads a model and asks it.

    pictures: how many at once; twice as many where they are guided. Raises `InputError` for a
    network that cannot be.
    """
    plan = blueprint(config.unet, *config.latent_shape[1:])
    first_stage = FIRST_STAGE if config.is_latent else 0
    return plan.weight_bytes + first_stage + round(PASSING * plan.activation_bytes * pictures)


def check(config: Config, device: str = "cpu") -> None:
    """Raise `InputError`, naming a value that fits, if training needs more than there is.

    Of a GPU nothing is known before it is full: all is well there.
    """
    if device != "cpu":
        return
    room = available()
    if needed(config) <= room:
        return
    if BASE + of_phase_1(config) > room:
        raise _refusal_of_phase_1(config, room)
    batch, alone = config.training.batch_size, config.with_settings(["training.batch_size=1"])
    for smaller in _halves(batch, 1):
        if needed(config.with_settings([f"training.batch_size={smaller}"])) <= room:
            raise _refusal(f"training.batch_size = {batch}", config, room, f"{smaller} fits")
    if (side := _side(alone, room)) is not None:
        height = config.training.input_height
        where = f"training.input_height = {height}: already at batch_size 1"
        raise _refusal(where, alone, room, f"{side[0]} x {side[1]} pixels fit")
    width = config.unet.model_channels
    where, fitting = f"unet.model_channels = {width}: already at batch_size 1", _width(alone, room)
    raise _refusal(where, alone, room, f"{fitting} fits" if fitting else "that is too little")


def _refusal_of_phase_1(config: Config, room: int) -> InputError:
    """Return the line that says with which batch the first stage can be trained, if with any."""
    batch = config.first_stage.autoencoder_batch
    fitting = next((each for each in _halves(batch, 1) if _phase_1_fits(config, each, room)), None)
    where = f"first_stage.autoencoder_batch = {batch}"
    return _refusal(where, config, room, f"{fitting} fits" if fitting else "that is too little")


def _phase_1_fits(config: Config, batch: int, room: int) -> bool:
    smaller = config.with_settings([f"first_stage.autoencoder_batch={batch}"])
    return BASE + of_phase_1(smaller) <= room


def _refusal(where: str, config: Config, room: int, remedy: str) -> InputError:
    need = format_bytes(needed(config))
    joint = " it" if ":" in where else ":"
    return InputError(
        f"{where}{joint} needs about {need} of memory, {format_bytes(room)} are there; {remedy}"
    )


def _side(config: Config, room: int) -> tuple[int, int] | None:
    """Return the largest height and width, of the same shape, with which training fits."""
    height, width = config.training.input_height, config.training.input_width
    for side in _halves(max(height, width), 8):
        size = [max(1, each * side // max(height, width)) for each in (height, width)]
        settings = [f"training.input_height={size[0]}", f"training.input_width={size[1]}"]
        if needed(config.with_settings(settings)) <= room:
            return size[0], size[1]
    return None


def _width(config: Config, room: int) -> int | None:
    """Return the largest width of the network with which training fits."""
    for channels in _halves(config.unet.model_channels, GROUPS):
        with suppress(InputError):  # the heads do not divide it
            if needed(config.with_settings([f"unet.model_channels={channels}"])) <= room:
                return channels
    return None


def _halves(value: int, least: int) -> Iterator[int]:
    """Yield the powers of two below a value, the largest first, down to `least`."""
    power = 1 << (value - 1).bit_length() - 1 if value > 1 else 0
    while power >= least:
        yield power
        power //= 2


def resident() -> int | None:
    """Return the bytes of memory that this process holds now; None where the system cannot tell.

    Beside Linux it is the most that it has held, which is all that Python can ask there.
    """
    with suppress(OSError, LookupError, ValueError):  # statm, for each step asks: one short line
        pages = int((PROC / "self" / "statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "win32":
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def available() -> int:
    """Return the bytes that this process can come to hold: what is free and what it has already.

    The least of what the system has free, what its control group and its own limit on addresses
    leave; 2**62 where the system tells none of them.
    """
    return left() + _lines(PROC / "self" / "status").get("VmRSS", 0)


def left() -> int:
    """Return the bytes that this process can still take, beside what it has; see `available`."""
    used = _lines(PROC / "self" / "status").get("VmSize", 0)
    return max(0, min([_free(), *_group_rooms(), _address_room(used)]))


def limit_growth(config: Config) -> None:
    """Let this process take at most half as much again as training these settings should.

    That is beside what it has mapped already. Beyond it memory ends for this process alone. Only
    on Linux, and not where a GPU is used, whose driver reserves more than it takes.
    """
    now = _lines(PROC / "self" / "status").get("VmData", 0)
    if sys.platform == "linux" and now:
        most, hard = now + round(MOST_GROWTH * needed(config)), resource.RLIM_INFINITY
        if (known := resource.getrlimit(resource.RLIMIT_DATA)[1]) != hard:
            most, hard = min(most, known), known
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _free() -> int:
    """Return what the system can give without swapping."""
    free = _lines(PROC / "meminfo").get("MemAvailable")
    if free is not None:
        return free
    with suppress(AttributeError, ValueError, OSError):  # no such question on this system
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return UNKNOWN


def _address_room(used: int) -> int:
    """Return what RLIMIT_AS leaves of the process's addresses."""
    if sys.platform == "win32":
        return UNKNOWN
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return UNKNOWN if limit == resource.RLIM_INFINITY else limit - used


def _group_rooms() -> Iterator[int]:
    """Yield what the memory limits of the process's control groups leave, version 2 and 1."""
    for line in _text(PROC / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            root, names = CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            root = CGROUPS / "memory"
        else:
            continue
        place = root / path.strip("/")
        for folder in (place, *place.parents):
            if folder.is_relative_to(root):
                yield _room(folder, *names)


def _room(folder: Path, limit: str, use: str, cache: str) -> int:
    """Return what a control group leaves; file pages that it would drop count as free."""
    words = _text(folder / limit).strip(), _text(folder / use).strip()
    if not all(word.isdecimal() for word in words):
        return UNKNOWN
    found = [line.split() for line in _text(folder / "memory.stat").splitlines()]
    dropped = sum(int(pair[1]) for pair in found if pair[0] == cache)
    return int(words[0]) - int(words[1]) + dropped


def _lines(path: Path) -> dict[str, int]:
    """Return the sizes, in bytes, that a file of /proc tells in kB."""
    pairs = (line.split(":") for line in _text(path).splitlines() if line.endswith(" kB"))
    return {name: int(size.split()[0]) * 1024 for name, size in pairs}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
