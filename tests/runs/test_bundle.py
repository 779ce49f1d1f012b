"""Bundles: what goes in comes out; nothing of the machine travels; hostile ones leave nothing."""

import json
import os
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint, load_training, save_checkpoint
from sd.checkpoints.record import TRAINING
from sd.common.validation import InputError
from sd.config import Config
from sd.data.ingest import open_images
from sd.generation.registry import list_models
from sd.runs import bundle as bundle_module
from sd.runs.bundle import pack
from sd.runs.event_schema import check_event
from sd.runs.unbundle import unpack
from sd.runs.worker import begin, resume
from tests.helpers.run_folders import list_runs
from tests.helpers.runs import JOURNAL, event
from tests.networks.test_conditioning import trained

Members = dict[str, bytes]


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def rewritten(path: Path, change: Callable[[Members], object], method: int = 0) -> Path:
    """Write a zip anew with its members changed."""
    found = members(path)
    change(found)
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in found.items():
            packed.writestr(name, content)
    return path


def refused(path: Path, home: Path, words: str) -> None:
    """Hold a bundle to be refused in one line with these words, leaving nothing behind."""
    before, begun = sorted(home.rglob("*")), time.monotonic()
    with pytest.raises(InputError, match=words) as told:
        unpack(path, home)
    assert "\n" not in str(told.value) and len(str(told.value)) <= 300
    assert str(home) not in str(told.value)
    assert sorted(home.rglob("*")) == before
    assert time.monotonic() - begun < 2


CHECKPOINT = "checkpoint-000000020"


# There and back.


def test_what_a_model_is_told_travels_along(run: Path, tiny_config: Config, home: Path) -> None:
    training = trained(tiny_config, "captions", steps=1)
    folder = run / "checkpoint-000000030"
    save_checkpoint(training.model, folder, {"step": 30})
    (run / "config.ini").write_text(training.config.to_ini())
    opened = unpack(pack(run, home / "told.zip", resumable=False), home)
    model = load_checkpoint(opened / folder.name)
    assert model.conditioner is not None and model.conditioner.unseen("a green circle") == ["green"]


def test_a_model_that_needs_another_s_encoder_stays(run: Path, bundle: Path, home: Path) -> None:
    told = "conditioning.encoder=some/encoder"
    config = Config.read(run / "config.ini").with_settings([told])
    (run / "config.ini").write_text(config.to_ini())
    with pytest.raises(InputError, match="needs a pretrained encoder is not taken away"):
        pack(run, home / "told.zip")
    ini = config.with_settings(["training.dataset_path=None"]).to_ini().encode()
    rewritten(bundle, lambda found: found.update({"config.ini": ini}))
    refused(bundle, home, "names a pretrained encoder")


def test_a_bundle_holds_the_run_and_nothing_of_the_machine(bundle: Path) -> None:
    found = members(bundle)
    parts = ("model.safetensors", TRAINING, "config.ini", "README.md", "checkpoint.json")
    assert set(found) == {
        "config.ini", "events.jsonl", "run.json", "pictures/pixels.bin", "pictures/index.json",
        "samples/step-000000020.png", "samples/raw-000000020.png",
        *(f"{CHECKPOINT}/{part}" for part in parts),
    }  # fmt: skip
    assert not [name for name, content in found.items() if b"/home/" in content]


def test_what_goes_in_comes_out(run: Path, bundle: Path, home: Path) -> None:
    opened = unpack(bundle, home)
    assert opened.parent == home and opened != run
    for name in (f"{CHECKPOINT}/model.safetensors", "pictures/pixels.bin", "run.json"):
        assert (opened / name).read_bytes() == (run / name).read_bytes()
    told = [{**each} for each in JOURNAL]
    told[-1]["line"] = "stopped beside cat.png at step 20"
    assert list(runs.events(opened)) == told
    assert Config.read(opened / "config.ini").training.dataset_path is None
    assert len(open_images(opened / "pictures", verify=True).pixels) == 12
    assert torch.equal(load_training(opened / CHECKPOINT)["network.x"], torch.ones(3))


def test_an_opened_run_is_listed_found_sampled_and_resumable(bundle: Path, home: Path) -> None:
    opened = unpack(bundle, home)
    listed = {each.name: each for each in list_runs(runs.default_home())}[opened.name]
    assert (listed.state, listed.step, listed.resumable) == ("stopped", 20, True)
    assert runs.default_home().find_run(opened.name) == opened
    assert opened in [model.folder for model in list_models(runs.default_home())]
    model = load_checkpoint(opened)
    made = model.sampling(steps=2).sample(model.denoiser, model.shape, [0], "cpu")
    assert made.shape == (1, 1, 8, 8)


def test_a_bundle_may_go_without_what_training_needs(run: Path, tmp_path: Path) -> None:
    bundle = pack(run, tmp_path / "small.zip", resumable=False)
    names = set(members(bundle))
    assert not names & {"pictures/pixels.bin", "pictures/index.json", f"{CHECKPOINT}/{TRAINING}"}
    opened = unpack(bundle, tmp_path / "elsewhere")
    assert load_checkpoint(opened).about["step"] == 20
    assert not runs.status(opened).resumable


def test_equal_runs_give_equal_bundles(run: Path, bundle: Path, tmp_path: Path) -> None:
    assert pack(run, tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


def test_a_bundle_of_a_bundle_is_the_same(bundle: Path, home: Path, tmp_path: Path) -> None:
    again = pack(unpack(bundle, home), tmp_path / "again.zip")
    assert members(again) == members(bundle)


def test_the_bundled_run_can_be_packed_and_opened(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "checkpoints" / "emoji32"
    opened = unpack(pack(source, tmp_path / "emoji32.zip"), tmp_path / "home")
    assert len(list((opened / "samples").iterdir())) == 4
    assert load_checkpoint(opened).about["step"] == 4000


def test_a_damaged_newest_checkpoint_is_passed_over(run: Path, tmp_path: Path) -> None:
    weights = run / CHECKPOINT / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    names = members(pack(run, tmp_path / "run.zip"))
    assert "checkpoint-000000010/model.safetensors" in names


@pytest.mark.parametrize("note", ["[" * 100_000, "[1]", "", "{"])
def test_a_damaged_note_stays_behind(run: Path, tmp_path: Path, note: str) -> None:
    (run / runs.RUN).write_text(note)
    assert set(members(pack(run, tmp_path / "x.zip"))).isdisjoint({runs.RUN})


@pytest.mark.parametrize("last", ["step", "stopped", "paused"])
def test_an_opened_run_tells_the_step_of_its_checkpoint(run: Path, home: Path, last: str) -> None:
    journal = JOURNAL[:-1] if last == "step" else JOURNAL
    later = [{**JOURNAL[1], "step": 33}, event("samples", step=33, file="samples/s.png")]
    if last != "step":
        later.append(event(last, step=33, line=f"{last} at step 33"))
    written = "".join(json.dumps(each) + "\n" for each in [*journal, *later])
    (run / "events.jsonl").write_text(written)
    opened = runs.status(unpack(pack(run, home / "run.zip"), home))
    assert (opened.state, opened.step, opened.total) == ("stopped", 20, 40)
    assert opened.line == "packed at its checkpoint of step 20" and opened.resumable
    assert (run / "events.jsonl").read_text() == written


def test_a_failure_beyond_the_last_checkpoint_is_told_elsewhere_too(run: Path, home: Path) -> None:
    failed = event("failed", step=33, line="the loss at step 33 is nan")
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps(failed) + "\n")
    opened = runs.status(unpack(pack(run, home / "run.zip"), home))
    assert (opened.state, opened.line) == ("failed", failed["line"])


def test_a_run_without_a_checkpoint_is_no_bundle_yet(run: Path, tmp_path: Path) -> None:
    for folder in run.glob("checkpoint-*"):
        folder.rename(folder.with_name(f"damaged-{folder.name}"))
    with pytest.raises(InputError, match="has no checkpoint yet: save one first"):
        pack(run, tmp_path / "run.zip")
    assert not list(tmp_path.glob("*.zip")) and not list(tmp_path.glob(".*"))


def test_a_checkpoint_that_vanishes_while_packing_is_no_fault(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, vanish = bundle_module._add_member, [True]

    def late(packed: zipfile.ZipFile, name: str, content: Path | str) -> None:
        if name.endswith(TRAINING) and vanish and vanish.pop():
            (run / CHECKPOINT).rename(run / "gone")
        put(packed, name, content)

    monkeypatch.setattr("sd.runs.bundle._add_member", late)
    assert "checkpoint-000000010/config.ini" in members(pack(run, tmp_path / "run.zip"))


def test_a_bundle_packed_again_by_another_tool_opens_too(bundle: Path, home: Path) -> None:
    assert unpack(rewritten(bundle, lambda found: found.update({"samples/": b""}), 8), home)


def test_a_real_run_goes_on_from_its_bundle_as_it_would_have(
    tiny_config: Config, home: Path, pictures: Path, tmp_path: Path
) -> None:
    run = home / "here"
    for _ in begin(tiny_config, str(pictures), run):
        pass
    opened = unpack(pack(run, tmp_path / "run.zip"), home)
    for folder in (run, opened):
        for _ in resume(folder, steps=8):
            pass
    for part in ("model.safetensors", TRAINING):
        here, there = (folder / "checkpoint-000000008" / part for folder in (run, opened))
        assert here.read_bytes() == there.read_bytes()


# What is refused.


def change_json(name: str, **values: Any) -> Callable[[Members], object]:
    def change(found: Members) -> None:
        found[name] = json.dumps({**json.loads(found[name]), **values}).encode()

    return change


def add_line(line: str) -> Callable[[Members], object]:
    return lambda found: found.update(
        {"events.jsonl": found["events.jsonl"] + line.encode() + b"\n"}
    )


def replace(name: str, old: bytes, new: bytes) -> Callable[[Members], object]:
    def change(found: Members) -> None:
        assert old in found[name]
        found[name] = found[name].replace(old, new)

    return change


WEIGHTS = f"{CHECKPOINT}/model.safetensors"
HOSTILE: dict[str, tuple[Callable[[Members], object], str]] = {
    "a name that climbs": (lambda m: m.update({"../evil.txt": b"x"}), "no bundle does"),
    "an absolute name": (lambda m: m.update({"/tmp/evil": b"x"}), "no bundle does"),
    "a program": (lambda m: m.update({"sitecustomize.py": b"x"}), "no bundle does"),
    "a pickle": (lambda m: m.update({f"{CHECKPOINT}/model.pt": b"x"}), "no bundle does"),
    "a process note": (lambda m: m.update({"process.json": b"{}"}), "no bundle does"),
    "a request": (lambda m: m.update({"stop": b""}), "no bundle does"),
    "a source": (lambda m: m.update({"source.json": b"{}"}), "no bundle does"),
    "a climbing checkpoint": (
        lambda m: m.update({"checkpoint-1/../../x": b"x"}), "no bundle does"),
    "two checkpoints": (
        lambda m: m.update({"checkpoint-1/config.ini": b""}), "holds 2 checkpoints"),
    "no weights": (lambda m: m.pop(WEIGHTS), "has no checkpoint-000000020/model"),
    "no journal": (lambda m: m.pop("events.jsonl"), "has no events.jsonl"),
    "nothing": (lambda m: m.clear(), "holds 0 checkpoints"),
    "a flipped bit in the weights": (
        lambda m: m.update({WEIGHTS: m[WEIGHTS][:-1] + b"?"}), "damaged"),
    "a flipped bit in the state": (
        lambda m: m.update({f"{CHECKPOINT}/{TRAINING}": m[f"{CHECKPOINT}/{TRAINING}"] + b"?"}),
        "damaged"),
    "a flipped bit in the pictures": (
        lambda m: m.update({"pictures/pixels.bin": m["pictures/pixels.bin"][:-1] + b"?"}),
        "has changed"),
    "too few pixels": (
        lambda m: m.update({"pictures/pixels.bin": b"x" * 64}), "does not tell"),
    "pictures of another shape": (
        change_json("pictures/index.json", shape=[3, 1, 16, 16]), "another shape"),
    "no shape": (change_json("pictures/index.json", shape="12"), "another shape"),
    "an index of other pictures": (
        change_json("pictures/index.json", names=["a"]), "another number of pictures"),
    "an index that is no object": (
        lambda m: m.update({"pictures/index.json": b"[]"}), "index.json: not readable"),
    "pixels without an index": (
        lambda m: m.pop("pictures/index.json"), "belong together"),
    "settings that cannot be": (
        replace("config.ini", b"batch_size = 4 ", b"batch_size = -4 "), "batch_size"),
    "a path in the settings": (
        replace("config.ini", b"save_path = None", b"save_path = /etc"), "names a path"),
    "settings in the wrong code": (
        lambda m: m.update({"config.ini": b"\xff\xfe"}), "config.ini: not readable"),
    "a sample that is no picture": (
        lambda m: m.update({"samples/step-000000001.png": b"<script>"}), "step-000000001.png"),
    "a note with a path for a seed": (change_json("run.json", seed="/x"), "run.json: seed"),
    "a note without a device": (change_json("run.json", device=None), "run.json: device"),
    "a checkpoint of no step": (
        change_json(f"{CHECKPOINT}/checkpoint.json", step="x"), "damaged|step"),
    "a step in words, vouched for": (
        change_json(f"{CHECKPOINT}/checkpoint.json", step="x", sha256={}), "no record"),
    "another format": (
        change_json(f"{CHECKPOINT}/checkpoint.json", format=9), "damaged|format"),
    "words for a loss": (
        add_line('{"event": "step", "step": 1, "loss": "low", "lr": 1, "grad_norm": 1, '
                 '"pictures_per_second": 1}'), "line 8: loss = 'low'"),
    "an infinite loss": (
        add_line('{"event": "step", "step": 1, "loss": 1e999, "lr": 1, "grad_norm": 1, '
                 '"pictures_per_second": 1}'), "line 8: loss = inf"),
    "an event that is none": (add_line("[1]"), "line 8: no event"),
    "a line that is no JSON": (add_line("{{"), "line 8: not readable"),
    "a deep line": (add_line("[" * 100_000), "line 8: not readable"),
    "a step without a loss": (add_line('{"event": "step", "step": 1}'), "without loss"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_is_refused_and_leaves_nothing(
    name: str, bundle: Path, home: Path
) -> None:
    change, words = HOSTILE[name]
    refused(rewritten(bundle, change), home, words)


def test_what_is_no_zip_is_refused(tmp_path: Path, bundle: Path, home: Path) -> None:
    other = tmp_path / "other.zip"
    other.write_bytes(b"not a zip at all")
    refused(other, home, "other.zip: not a zip")
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[: len(whole) // 2])
    refused(bundle, home, "run.zip: not a zip")


def test_a_member_that_is_there_twice_is_refused(bundle: Path, home: Path) -> None:
    with zipfile.ZipFile(bundle, "a") as packed, pytest.warns(UserWarning, match="Duplicate"):
        packed.writestr("run.json", "{}")
    refused(bundle, home, "there twice")


@pytest.mark.parametrize("mode", [0o120777, 0o010666, 0o020666], ids=["link", "pipe", "device"])
def test_links_and_devices_are_refused(mode: int, bundle: Path, home: Path) -> None:
    info = zipfile.ZipInfo("samples/step-000000099.png")
    info.external_attr = mode << 16
    with zipfile.ZipFile(bundle, "a") as packed:
        packed.writestr(info, "/etc/passwd")
    refused(bundle, home, "a link")


def test_an_encrypted_member_is_refused(bundle: Path, home: Path) -> None:
    raw = bytearray(bundle.read_bytes())
    entry = raw.rindex(b"PK\x01\x02")  # the directory's last entry
    raw[entry + 8] |= 1
    bundle.write_bytes(raw)
    refused(bundle, home, "encrypted")


def test_damage_that_only_the_checksum_shows_is_refused(bundle: Path, home: Path) -> None:
    raw = bundle.read_bytes()
    with zipfile.ZipFile(bundle) as packed:
        start = packed.getinfo("samples/raw-000000020.png").header_offset
    at = start + 30 + len("samples/raw-000000020.png") + 20
    bundle.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    refused(bundle, home, "damaged")


def test_weights_that_would_fill_the_disk_are_refused_unread(bundle: Path, home: Path) -> None:
    def grow(found: Members) -> None:
        found[WEIGHTS] = bytes(60 * 2**20)

    refused(rewritten(bundle, grow, zipfile.ZIP_DEFLATED), home, "more than")


def test_a_bomb_is_refused_from_its_directory(bundle: Path, home: Path) -> None:
    raw = bytearray(bundle.read_bytes())
    entry = raw.index(b"pictures/pixels.bin", raw.index(b"PK\x01\x02")) - 46
    raw[entry + 24 : entry + 28] = struct.pack("<I", 4_000_000_000)
    bundle.write_bytes(raw)
    refused(bundle, home, "would unpack to")


def test_a_full_disk_is_told_in_one_line(
    bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("sd.runs.unbundle.shutil.copyfileobj", full)
    refused(bundle, home, "No space left on device")


def test_every_event_that_runs_write_is_borne_and_what_is_unknown_dropped() -> None:
    for each in JOURNAL:
        assert check_event(each) == each
    assert check_event({"event": "later", "step": 1, "what": [[]]}) == {"event": "later", "step": 1}
