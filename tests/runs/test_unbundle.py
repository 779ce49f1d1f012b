"""Hostile bundles that vouch for themselves: refused before a folder is opened or written."""

import hashlib
import json
import struct
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint
from sd.checkpoints.record import read_about
from sd.common.disk import numbered
from sd.common.validation import InputError
from sd.config import Config
from sd.generation.registry import list_models
from sd.runs import unbundle
from sd.runs.bundle import pack
from sd.runs.unbundle import unpack
from sd.runs.worker import resume
from sd.training.planning import memory
from tests.runs.test_bundle import (
    CHECKPOINT,
    Members,
    add_line,
    members,
    refused,
    rewritten,
)

Change = Callable[[Members], object]
ABOUT, INNER = f"{CHECKPOINT}/checkpoint.json", f"{CHECKPOINT}/config.ini"
BOTH = ("config.ini", INNER)


def signed(found: Members) -> None:
    """Let a checkpoint's record vouch for what its files hold now."""
    record = json.loads(found[ABOUT])
    told = {name: value for name, value in record.items() if name != "sha256"}
    digests = {
        name: hashlib.sha256(found[f"{CHECKPOINT}/{name}"]).hexdigest()
        for name in record["sha256"]
        if f"{CHECKPOINT}/{name}" in found
    }
    own = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    record["sha256"] = digests | {"checkpoint.json": own}
    found[ABOUT] = json.dumps(record).encode()


def settings(*changes: str, files: tuple[str, ...] = BOTH) -> Change:
    """Return a change of settings in the run's config.ini, its checkpoint's, or both."""

    def change(found: Members) -> None:
        for name in files:
            config = Config.from_ini(found[name].decode())
            found[name] = config.with_settings(list(changes)).to_ini().encode()

    return change


def record(path: str, value: Any) -> Change:
    """Return a change of one value of checkpoint.json, which may lie deep; None takes it out."""

    def change(found: Members) -> None:
        about = json.loads(found[ABOUT])
        *places, last = path.split(".")
        place = about
        for each in places:
            place = place.setdefault(each, {})
        place[last] = value
        if value is None:
            del place[last]
        found[ABOUT] = json.dumps(about).encode()

    return change


def event(name: str, /, **facts: Any) -> Change:
    return add_line(json.dumps({"event": name, **facts}))


def step(**facts: Any) -> Change:
    usual = {"step": 21, "loss": 0.5, "lr": 0.1, "grad_norm": 1.0, "pictures_per_second": 1.0}
    return event("step", **{**usual, **facts})


def evaluation(**facts: Any) -> Change:
    usual = {"step": 20, "times": [10, 20], "train": [0.5, 0.4], "held_out": None}
    return event("evaluation", **{**usual, **facts})


def samples(**facts: Any) -> Change:
    return event("samples", **{"step": 20, "file": "samples/step-000000020.png", **facts})


HUGE = "describes|of memory|would have"
ENCODERS = ("/root", "/nonexistent", "someone/some-model", "openai/clip-vit-base-patch32", "..")
HOSTILE: list[tuple[Change, str]] = [
    *((settings(f"conditioning.encoder={name}", files=(file,)), "names a pretrained encoder")
      for name in ENCODERS for file in BOTH),
    (settings("training.save_path=/etc", files=(INNER,)), "names a path"),
    (settings("training.dataset_path=/root", files=(INNER,)), "names a path"),
    *((settings("training.lora_rank=4", "training.start_from=/etc/sd.safetensors", files=files),
       "tells of a LoRA") for files in (BOTH, (INNER,), ("config.ini",))),
    (settings("training.input_height=2048", "training.input_width=2048", "unet.patch_size=1"),
     "of memory"),
    (settings("training.input_height=2048", "training.input_width=2048", files=(INNER,)),
     "other pictures or words than its checkpoint"),
    (settings("unet.model_channels=64", files=(INNER,)), "another .unet. than its checkpoint"),
    (settings("diffusion.timesteps=100000", files=(INNER,)), "another .diffusion. than its"),
    (settings("conditioning.text_length=512", files=(INNER,)), "other pictures or words"),
    (settings("unet.model_channels=4096"), HUGE),
    (settings("unet.channel_mult=[64, 64, 64, 64]"), HUGE),
    (settings("unet.num_res_blocks=32", "unet.model_channels=4096"), HUGE),
    (lambda m: m.update({INNER: b"\xff\xfe"}), "config.ini: not readable"),
    (lambda m: m.update({INNER: b"x" * 2_000_000}), "more than 1,000,000 bytes"),
    (lambda m: m.update({ABOUT: b"[]"}), "no record"),
    (lambda m: m.update({ABOUT: b"{"}), "not readable"),
    (record("step", 10), "state.step = 20"),
    (record("step", -1), "step = -1"),
    (record("machine", "cpu"), "tells no machine and state"),
    (record("machine.label", ["<b>"]), "machine.label"),
    (record("machine.matmul", "\ud800"), "machine.matmul"),
    (record("machine.threads", "two"), "machine.threads = 'two'"),
    (record("machine.threads", 10**9), "machine.threads"),
    (record("state", None), "tells no machine and state"),
    *((record(f"state.{name}", value), f"state.{name}") for name, value in (
        ("step", "twenty"), ("updates", "all"), ("updates", 21), ("skipped", -1),
        ("seconds", "1 h"), ("seconds", -5), ("row", []), ("row.count", "x"), ("row.loss", [1]))),
]  # fmt: skip
MEANINGLESS: list[tuple[Change, str]] = [
    (samples(prompts=["\ud800"]), "prompts"),
    (samples(prompts=["a"] * 17), "prompts"),
    (samples(nearest=[[0, 0.5]] * 10_000), "nearest"),
    (samples(nearest=[[12, 0.5]]), "nearest: picture 12 of 12"),
    (samples(nearest=[[0, -1.0]]), "nearest"),
    (samples(file="samples/" + "x" * 4000 + ".png"), "file"),
    (samples(file="samples/" + "猫" * 60), "file"),
    (event("stopped", step=20, line="\udcff"), "line"),
    (event("stopped", step=20, line="a\x1bb"), "line"),
    (event("stopped", step=2**40, line=""), "step"),
    (event("\ud800"), "no event"),
    (event("start", total=1, machine={"label": 5}), "machine"),
    (event("start", total=1, machine={"x" * 300: 5}), "machine"),
    (event("start", total=1, report=["x"] * 2000), "report"),
    (evaluation(times=[], train=[]), "times"),
    (evaluation(train=[0.5]), "not one length"),
    (evaluation(held_out=[]), "not one length"),
    (evaluation(held_out=[0.5, 0.4, 0.3]), "not one length"),
    (evaluation(times=[20, 10]), "times"),
    (evaluation(times=[10, 60]), "beyond t = 50"),
    (evaluation(train=[0.5, -0.4]), "train"),
    (step(step=20), "do not follow"),
    (step(total=10), "beyond total"),
    (step(loss=-1.0), "loss"),
    (step(seconds_left=-3), "seconds_left"),
    (event("ingest", done=-1, total=2), "done"),
]


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever would write, or open a checkpoint or an encoder, fail the test."""

    def never(*_: Any) -> None:
        pytest.fail("something was opened")

    monkeypatch.setattr("sd.training.planning.memory.available", lambda: 8 * 2**30)
    monkeypatch.setitem(sys.modules, "transformers", None)
    for name in ("write_folder", "load_checkpoint"):
        monkeypatch.setattr(unbundle, name, never)


def test_bundles_that_vouch_for_themselves_are_refused_unopened(
    bundle: Path,
    home: Path,
    sealed: None,
) -> None:
    whole = bundle.read_bytes()
    for change, words in [*HOSTILE, *MEANINGLESS]:
        bundle.write_bytes(whole)
        rewritten(bundle, lambda found, change=change: (change(found), signed_if_told(found)))
        refused(bundle, home, words)
    assert len(HOSTILE) >= 40


def signed_if_told(found: Members) -> None:
    with suppress(ValueError, AttributeError):  # the record itself is what is wrong
        signed(found)


def test_a_changed_bundle_that_is_true_opens(
    bundle: Path,
    home: Path,
) -> None:
    rewritten(bundle, lambda found: (settings("training.steps=9")(found), signed(found)))
    assert load_checkpoint(unpack(bundle, home)).config.training.steps == 9


def test_pictures_that_swell_are_refused_from_the_directory(
    bundle: Path,
    home: Path,
    sealed: None,
) -> None:
    count = 200 * 2**20 // 64

    def tell(found: Members) -> None:
        index = json.loads(found["pictures/index.json"])
        found["pictures/index.json"] = json.dumps({**index, "shape": [count, 1, 8, 8]}).encode()

    raw = bytearray(rewritten(bundle, tell).read_bytes())
    entry = raw.index(b"pictures/pixels.bin", raw.index(b"PK\x01\x02")) - 46
    raw[entry + 24 : entry + 28] = struct.pack("<I", 64 * count)
    bundle.write_bytes(raw)
    refused(bundle, home, "unpacks to more than pictures can")


def test_weights_that_swell_are_refused_though_the_settings_allow_their_size(
    bundle: Path,
    home: Path,
    sealed: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 2**40)
    size = 200 * 2**20
    raw = bytearray(rewritten(bundle, settings("unet.model_channels=1024")).read_bytes())
    entry = raw.index(f"{CHECKPOINT}/model.safetensors".encode(), raw.index(b"PK\x01\x02")) - 46
    raw[entry + 24 : entry + 28] = struct.pack("<I", size)
    bundle.write_bytes(raw)
    refused(bundle, home, "model.safetensors unpacks to more than weights can")


def test_a_disk_without_room_is_told_before_a_byte(
    bundle: Path,
    home: Path,
    sealed: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unbundle, "SPARE_DISK", 2**60)
    refused(bundle, home, "unpacks to .* of the disk are free")


@pytest.mark.parametrize(
    ("size", "form", "words"),
    [((1, 1), "PNG", "1 x 1 pixels; a sheet has 38 x 38"), ((8000, 7900), "PNG", "8000 x 7900"),
     ((38, 38), "JPEG", "not a PNG"), ((38, 38), "cut", "no picture|can be read")],
)  # fmt: skip
def test_a_sheet_that_would_not_be_shown_is_refused(
    bundle: Path,
    home: Path,
    size: tuple[int, int],
    form: str,
    words: str,
) -> None:
    file = BytesIO()
    image = Image.effect_noise(size, 50) if size == (38, 38) else Image.new("1", size)
    image.save(file, "PNG" if form == "cut" else form)
    data = file.getvalue()[:600] if form == "cut" else file.getvalue()
    rewritten(bundle, lambda found: found.update({"samples/raw-000000020.png": data}))
    refused(bundle, home, words)


# One order of checkpoints.


def renamed(path: Path, name: str) -> Path:
    """Call a bundle's checkpoint by another name."""
    found = members(path)
    with zipfile.ZipFile(path, "w") as packed:
        for each, content in found.items():
            packed.writestr(each.replace(CHECKPOINT, name), content)
    return path


def test_a_checkpoint_of_another_step_than_its_name_is_refused(
    bundle: Path,
    home: Path,
    sealed: None,
) -> None:
    refused(renamed(bundle, "checkpoint-5000"), home, "tells of step 20")


def test_a_checkpoint_of_few_zeros_is_opened_under_its_usual_name(
    bundle: Path,
    home: Path,
) -> None:
    opened = unpack(renamed(bundle, "checkpoint-20"), home)
    assert [path.name for path in opened.glob("checkpoint-*")] == [CHECKPOINT]


def test_what_is_shown_is_what_is_loaded(run: Path, home: Path) -> None:
    (run / CHECKPOINT).rename(run / "checkpoint-9")
    (run / "checkpoint-000000010").rename(run / "checkpoint-10")
    (run / "checkpoint-final").mkdir()
    (entry,) = (each for each in list_models(runs.default_home()) if each.name == run.name)
    assert entry.step == 10 and load_checkpoint(run).about["step"] == 10


def test_of_one_number_the_name_with_most_zeros_is_the_last(tmp_path: Path) -> None:
    for name in ("checkpoint-000000020", "checkpoint-20", "checkpoint-5000", "checkpoint-٣"):
        (tmp_path / name).mkdir()
    names = [path.name for _, path in numbered(tmp_path, "checkpoint-*")]
    assert names == ["checkpoint-20", "checkpoint-000000020", "checkpoint-5000"]


def test_a_state_of_words_is_one_line_where_it_lies(run: Path, tmp_path: Path) -> None:
    found = {
        f"{CHECKPOINT}/{each.name}": each.read_bytes() for each in (run / CHECKPOINT).iterdir()
    }
    record("state.updates", "all")(found)
    signed(found)
    (run / ABOUT).write_bytes(found[ABOUT])
    (run / "checkpoint-000000010").rename(run / "aside")
    with pytest.raises(InputError, match=r"no checkpoint from which to go on: state\.updates"):
        list(resume(run, steps=30))


def test_an_old_run_is_taken_away_without_what_no_bundle_may_hold(
    run: Path,
    home: Path,
    tmp_path: Path,
) -> None:
    with (run / "events.jsonl").open("a") as file:
        file.write(
            '{"event": "step", "step": 3, "loss": 1}\n{"event": "notice", "line": "\\udcff"}\n'
        )
    (run / "samples" / "raw-000000020.png").write_bytes(b"no picture")
    opened = unpack(pack(run, tmp_path / "old.zip"), home)
    assert [sheet.raw for sheet in runs.samples(opened)] == [None]
    assert runs.history(opened).steps == [20]


@pytest.mark.parametrize("name", ["step", "seed", "pictures"])
@pytest.mark.parametrize("value", ["\ud800", -1, 10**40, [1], 0.5])
def test_a_record_that_lies_here_has_numbers_where_they_are_shown(
    tmp_path: Path, name: str, value: Any
) -> None:
    about = {"sha256": {"model.safetensors": "", "config.ini": ""}, "format": 1, name: value}
    (tmp_path / "checkpoint.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=rf"checkpoint\.json: {name} = ") as told:
        read_about(tmp_path)
    assert str(told.value).isprintable()
