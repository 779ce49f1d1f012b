"""Checkpoints: what is saved comes back, whole or not at all, and nothing foreign is believed."""

import hashlib
import io
import json
import pickle
import resource
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sd.checkpoints import checkpoint
from sd.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from sd.checkpoints.model import Model
from sd.checkpoints.record import ABOUT, CARD, CONFIG, WEIGHTS, newest_checkpoint
from sd.common import disk
from sd.common.validation import InputError
from sd.config import Config
from sd.training.randomness import new_network
from tests.helpers.networks import with_weights

ENTRY = "input_blocks.0.0.weight"  # [32, 4, 3, 3] in the tiny network


def network_of(config: Config) -> Any:
    """Return a network whose every weight is random, the zero-initialised ones too."""
    return with_weights(new_network(config, seed=1))


@pytest.fixture
def model(tiny_config: Config) -> Model:
    return Model(network_of(tiny_config), tiny_config)


@pytest.fixture
def saved(model: Model, tmp_path: Path) -> Path:
    return save_checkpoint(model, tmp_path / "run" / "checkpoint-1", {"step": 1, "seed": 7})


def restamp(folder: Path) -> Path:
    """Make the digests right again: what follows is a forgery, not damage."""
    about = json.loads((folder / ABOUT).read_text())
    for name in (WEIGHTS, CONFIG):
        about["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / ABOUT).write_text(json.dumps(about))
    return folder


def reweigh(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """Let `change` alter the tensors of a checkpoint."""
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)
    return restamp(folder)


def reconfigure(folder: Path, *settings: str) -> Path:
    config = Config.read(folder / CONFIG).with_settings(settings)
    (folder / CONFIG).write_text(config.to_ini(), encoding="utf-8")
    return restamp(folder)


def refusal(path: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert len(message) <= 300 and message.isprintable()
    assert str(Path(path).parent) not in message or str(Path(path).parent) in (".", "/")
    return message


# What is saved comes back


def test_weights_config_and_record_come_back(model: Model, saved: Path) -> None:
    loaded = load_checkpoint(saved)
    assert loaded.config == model.config
    assert loaded.about["step"] == 1 and loaded.about["seed"] == 7
    assert sorted(path.name for path in saved.iterdir()) == sorted([WEIGHTS, CONFIG, ABOUT, CARD])
    wanted, found = model.unet.state_dict(), loaded.unet.state_dict()
    assert list(wanted) == list(found)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert not loaded.unet.training
    assert not any(parameter.requires_grad for parameter in loaded.unet.parameters())


def test_the_loaded_network_answers_as_the_saved_one(model: Model, saved: Path) -> None:
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 40])
    loaded = load_checkpoint(saved).unet
    network = model.unet.eval().to(memory_format=torch.channels_last)
    assert torch.equal(loaded(x, t), network(x, t))


def test_float16_on_disk_is_float32_in_memory(model: Model, saved: Path) -> None:
    config = model.config.with_settings(["training.weights_dtype=float16"])
    half = save_checkpoint(Model(model.unet, config), saved.with_name("half"), {"step": 1})
    with safe_open(half / WEIGHTS, framework="pt") as stored:
        assert {stored.get_slice(name).get_dtype() for name in stored.keys()} == {"F16"}  # noqa: SIM118
    parameters = sum(parameter.numel() for parameter in model.unet.parameters())
    sizes = [(folder / WEIGHTS).stat().st_size for folder in (half, saved)]
    assert sizes[1] - sizes[0] == pytest.approx(2 * parameters, abs=1000)
    found = load_checkpoint(half).unet.state_dict()
    for name, tensor in model.unet.state_dict().items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], tensor.half().float())


def test_the_digests_are_those_of_the_files(saved: Path) -> None:
    about = json.loads((saved / ABOUT).read_text())
    for name in (WEIGHTS, CONFIG):
        assert about["sha256"][name] == hashlib.sha256((saved / name).read_bytes()).hexdigest()


def test_a_header_that_begins_like_a_pickle_is_still_read(saved: Path, model: Model) -> None:
    """The first byte belongs to a length; one length in 32 makes it 0x80, as in a pickle."""
    data = (saved / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + length]
    for byte in (0x80, 0x3C):  # 0x3C is "<", as in a page
        padded = header + b" " * ((byte - length) % 256)
        forged = struct.pack("<Q", len(padded)) + padded + data[8 + length :]
        assert forged[0] == byte
        (saved / WEIGHTS).write_bytes(forged)
        found = load_checkpoint(restamp(saved)).unet.state_dict()
        assert torch.equal(found[ENTRY], model.unet.state_dict()[ENTRY])


def test_a_run_folder_means_its_newest_checkpoint(model: Model, saved: Path) -> None:
    for step in (900, 1000):
        folder = saved.with_name(f"checkpoint-{step:09d}")
        save_checkpoint(model, folder, {"step": step})
    shutil.rmtree(saved)
    assert newest_checkpoint(folder.parent).name == "checkpoint-000001000"
    assert load_checkpoint(folder.parent).about["step"] == 1000


def test_the_model_knows_its_shape_and_samples_its_own_process(saved: Path) -> None:
    model = load_checkpoint(saved)
    sampling = model.sampling(steps=5)
    assert model.shape == (1, 8, 8)
    assert sampling.schedule.timesteps == 50 and sampling.times[0] == 50
    assert sampling.sample(model.denoiser, model.shape, [3]).shape == (1, 1, 8, 8)


def test_the_card_is_a_card_whatever_the_record_holds(model: Model, tmp_path: Path) -> None:
    about = {"step": 3, "command": "train 'a\n# <img onerror=x>\udcff\x1b[2J'"}
    folder = save_checkpoint(model, tmp_path / "checkpoint-3", about)
    text = (folder / CARD).read_text(encoding="utf-8")
    card = ModelCard.load(folder / CARD)
    assert card.data.library_name == "sd"
    assert "\n# <img" not in text and "\x1b" not in text
    assert "203,460 parameters" in text and "- step: 3" in text
    assert load_checkpoint(folder).about["command"] == about["command"]


# Whole or not at all


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize(
    ("module", "place"), [(checkpoint, "save_file"), (checkpoint, "digest"), (disk, "flush")]
)
def test_a_failure_midway_leaves_nothing(
    model: Model,
    saved: Path,
    module: ModuleType,
    place: str,
    error: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    genuine = getattr(module, place)

    def broken(*args: Any, **kwargs: Any) -> Any:
        genuine(*args, **kwargs)  # the file is there already when it fails
        raise error

    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(module, place, broken)
        save_checkpoint(model, saved.with_name("checkpoint-2"), {"step": 2})
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint-1"]
    assert load_checkpoint(saved.parent).about["step"] == 1


def test_a_full_disk_is_told_and_leaves_nothing(model: Model, saved: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=r"model\.safetensors.*cannot be written"):
            save_checkpoint(model, saved.with_name("checkpoint-2"), {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint-1"]


def test_a_checkpoint_is_never_overwritten(model: Model, saved: Path) -> None:
    before = {path: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(InputError, match="of that name already"):
        save_checkpoint(model, saved, {"step": 2})
    assert {path: path.read_bytes() for path in saved.iterdir()} == before


@pytest.mark.parametrize(
    ("value", "dtype"), [(float("nan"), "float32"), (float("inf"), "float32"), (1e6, "float16")]
)
def test_no_weight_that_is_not_finite_reaches_the_disk(
    model: Model, tmp_path: Path, value: float, dtype: str
) -> None:
    with torch.no_grad():
        next(model.unet.parameters())[0] = value
    config = model.config.with_settings([f"training.weights_dtype={dtype}"])
    with pytest.raises(InputError, match=f"as {dtype}: time_embed.0.weight holds values"):
        save_checkpoint(Model(model.unet, config), tmp_path / "checkpoint-2", {})
    assert not list(tmp_path.iterdir())


# Damage


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
@pytest.mark.parametrize("place", [0.2, 0.5, 0.99])
def test_one_flipped_bit_is_noticed(saved: Path, name: str, place: float) -> None:
    data = bytearray((saved / name).read_bytes())
    data[int(place * len(data))] ^= 1
    (saved / name).write_bytes(data)
    assert refusal(saved) == f"checkpoint-1/{name}: damaged, its SHA-256 is not the recorded one"


def test_a_truncated_file_is_noticed(saved: Path) -> None:
    data = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(data[: len(data) // 2])
    assert "damaged" in refusal(saved)
    assert "model.safetensors: not readable as safetensors" in refusal(restamp(saved))


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, ABOUT])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert refusal(saved) == f"checkpoint-1: has no file {name}"


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 7, b"\xff" * 16, b"x" * 50])
def test_what_is_no_safetensors_at_all_is_refused(saved: Path, content: bytes) -> None:
    (saved / WEIGHTS).write_bytes(content)
    line = refusal(restamp(saved))
    assert line.startswith("config.ini: describes 203,460 parameters; model.safetensors has only")
    (saved / WEIGHTS).write_bytes(content + b"." * 500_000)
    assert "model.safetensors: not readable as safetensors" in refusal(restamp(saved))


# Forgeries


class Payload:
    """What a hostile pickle holds: a call that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def torch_zip(payload: Payload) -> bytes:
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(3), "payload": payload}, file)
    return file.getvalue()


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (pickle.dumps, "it is a pickle, which can run code; only safetensors are read"),
        (torch_zip, "it is a zip (a torch pickle?), which can run code; only safetensors are read"),
        (lambda _: b"<!DOCTYPE html><title>404</title>", "it is an HTML page, not the file itself"),
        (
            lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "it is a git-lfs pointer, not the file itself",
        ),
    ],
)
def test_impostors_are_named_and_run_nothing(
    saved: Path,
    tmp_path: Path,
    make: Callable[[Payload], bytes],
    reason: str,
    stamped: bool,
) -> None:
    mark = tmp_path / "mark"
    (saved / WEIGHTS).write_bytes(make(Payload(mark)))
    line = refusal(restamp(saved) if stamped else saved)
    assert line == f"model.safetensors: {reason}"
    assert not mark.exists()


def test_an_old_pickle_is_refused_and_runs_nothing(saved: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    data = pickle.dumps(Payload(mark), protocol=0)  # it begins with a letter
    (saved / WEIGHTS).write_bytes(data + b" " * 400_000)
    assert "not readable as safetensors" in refusal(restamp(saved))
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists()  # whoever had believed it would have left the mark


def test_wrong_tensors_are_named_with_their_shapes(saved: Path) -> None:
    def reshape(weights: dict[str, Tensor]) -> None:
        weights[ENTRY] = torch.zeros(32, 5, 3, 3)

    line = refusal(reweigh(saved, reshape))
    assert line == (
        f"model.safetensors: not this network's: {ENTRY} is [32, 5, 3, 3], not [32, 4, 3, 3]"
    )


def test_missing_and_unknown_tensors_are_named(saved: Path) -> None:
    def swap(weights: dict[str, Tensor]) -> None:
        weights["stranger\x1b[2J"] = weights.pop(ENTRY)

    line = refusal(reweigh(saved, swap))
    assert line == (
        f"model.safetensors: not this network's: missing {ENTRY}; unknown stranger\ufffd[2J"
    )


def test_of_many_wrong_tensors_three_are_named_and_the_rest_counted(saved: Path) -> None:
    def rename(weights: dict[str, Tensor]) -> None:
        for name in list(weights):
            weights[f"model.{name}"] = weights.pop(name)

    count = len(load_file(saved / WEIGHTS))
    line = refusal(reweigh(saved, rename))
    assert line.count("missing") == 3 and line.endswith(f"and {2 * count - 3} more")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(saved: Path, value: float) -> None:
    def poison(weights: dict[str, Tensor]) -> None:
        weights[ENTRY][0, 0, 0, 0] = value

    line = refusal(reweigh(saved, poison))
    assert line == f"model.safetensors: {ENTRY} holds values that are not finite"


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_weights_of_another_kind_are_refused(saved: Path, dtype: torch.dtype) -> None:
    def retype(weights: dict[str, Tensor]) -> None:
        weights[ENTRY] = torch.zeros(32, 4, 3, 3).to(dtype)

    assert f"{ENTRY} is stored as" in refusal(reweigh(saved, retype))


STRANGE_RECORDS = [
    "",
    "not json",
    "[1, 2]",
    "null",
    "[" * 100_000,
    '{"format": 1}',
    '{"format": 1, "sha256": []}',
    '{"format": 1, "sha256": {}}',
    '{"format": 1, "sha256": {"../x": "00", "config.ini": "00"}}',
    '{"format": 1, "sha256": {"/etc/passwd": "00"}}',
    '{"format": 1, "sha256": {"model.safetensors": "0", "config.ini": "0", "../x": "0"}}',
    '{"format": 2, "sha256": {"model.safetensors": "0", "config.ini": "0"}}',
    '{"format": "' + 5000 * "x" + '", "sha256": {"model.safetensors": 0, "config.ini": 0}}',
    '{"format": 1, "sha256": {"model.safetensors": null, "config.ini": {}}}',
    '{"format": ' + 10_000 * "9" + "}",
    " " * 1_000_001,
    "\x00\x1b[2J",
]


@pytest.mark.parametrize("number", range(len(STRANGE_RECORDS)))
def test_a_strange_record_is_one_line(saved: Path, number: int) -> None:
    (saved.parent / "x").write_text("outside")
    (saved / ABOUT).write_text(STRANGE_RECORDS[number])
    assert refusal(saved).startswith("checkpoint-1/")


def test_a_record_that_is_no_text_is_one_line(saved: Path) -> None:
    (saved / ABOUT).write_bytes(b"\xff\xfe\x00")
    assert refusal(saved) == "checkpoint-1/checkpoint.json: not readable as JSON"


@pytest.mark.parametrize(
    "settings",
    [
        ("unet.model_channels=3200", "unet.channel_mult=[1, 2, 4, 8]"),  # beyond every limit
        ("unet.model_channels=1024", "unet.channel_mult=[1, 2, 4]"),  # 1.7e9 parameters
        (
            "unet.channel_mult=[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]",  # 427,916 tensors
            "unet.num_res_blocks=32",
            "unet.attention_resolutions=[1, 2, 4, 8, 16, 32, 64, 128, 256, 512]",
            "unet.transformer_depth=32",
        ),
    ],
)
def test_a_gigantic_network_is_never_made(saved: Path, settings: tuple[str, ...]) -> None:
    reconfigure(saved, *settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    line = refusal(saved)
    assert time.perf_counter() - started < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    assert "parameters" in line


def test_a_bad_ini_in_a_checkpoint_is_one_line(saved: Path) -> None:
    (saved / CONFIG).write_text("[unet]\nmodel_chanels = 32\n")
    line = refusal(restamp(saved))
    assert "line 2: unet.model_chanels: no such key; did you mean 'model_channels'?" in line


@pytest.mark.parametrize("dims", [1, 3])
def test_only_networks_of_pictures_are_models(saved: Path, model: Model, dims: int) -> None:
    config = model.config.with_settings([f"unet.dims={dims}", "unet.patch_size=1"])
    forged = Model(network_of(config), config)
    folder = save_checkpoint(forged, saved.with_name("checkpoint-2"), {})
    assert f"unet.dims = {dims}" in refusal(folder)


# Where to look


def test_a_place_without_a_checkpoint_is_one_line(tmp_path: Path, saved: Path) -> None:
    strange = tmp_path / "a\n<img>\x1b[2J"
    strange.mkdir()
    for path in (tmp_path / "missing", tmp_path, saved / WEIGHTS, strange, tmp_path / ("x" * 200)):
        assert "no checkpoint there" in refusal(path)
    assert "no checkpoint there" in refusal("nul\0byte")
    assert "no checkpoint there" in refusal("")


def test_what_a_killed_save_leaves_is_no_checkpoint(saved: Path) -> None:
    shutil.copytree(saved, saved.with_name(".checkpoint-2.123.tmp"))
    assert newest_checkpoint(saved.parent) == saved
