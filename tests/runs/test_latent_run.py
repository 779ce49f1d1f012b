"""A run on latents: encoded once, resumed to the byte, whole in a bundle."""

import json
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint
from sd.checkpoints.latent_set import INDEX, VALUES
from sd.checkpoints.record import FIRST_STAGE
from sd.common.validation import InputError
from sd.config import Config
from sd.data.images import to_float
from sd.data.ingest import open_images
from sd.runs import process, recorder
from sd.runs.bundle import pack
from sd.runs.unbundle import unpack
from sd.runs.worker import begin, restart, resume
from sd.training import latents
from sd.training.first_stage import FirstStageTraining
from sd.training.memorisation import Nearest, find_nearest
from tests.helpers.first_stages import LATENT, latent_settings
from tests.runs.test_resume import leave_alone, make_small_samples, same, stale, tensors

SETTINGS = (
    "training.steps=6",
    "training.flip=True",
    "training.held_out=0.2",
    "training.sample_every=3",
    "training.save_every=2",
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small_samples(monkeypatch)


@pytest.fixture
def config(tiny_config: Config, tmp_path: Path) -> Config:
    return latent_settings(tmp_path, tiny_config, *SETTINGS)


@pytest.fixture
def whole(config: Config, pictures: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "whole"
    assert [step.step for step in begin(config, str(pictures), folder)] == [1, 2, 3, 4, 5, 6]
    return folder


def stopped(config: Config, pictures: Path, folder: Path, at: int) -> Path:
    steps = begin(config, str(pictures), folder)
    for step in steps:
        if step.step == at:
            process.request(folder, process.STOP)
    return folder


def test_a_run_on_latents_keeps_what_it_is_made_of(whole: Path) -> None:
    model = load_checkpoint(whole)
    assert (model.shape, model.space.picture_shape) == ((4, 4, 4), (3, 8, 8))
    assert not model.sampling(clip_x0=True).clip_x0  # latents have no bounds
    index = json.loads((whole / runs.LATENTS / INDEX).read_text())
    assert index["shape"] == [12, 2, 4, 4, 4]
    assert model.latents is not None
    assert model.latents.mean.tolist() == pytest.approx(index["mean"])
    grids = runs.samples(whole)
    assert [grid.step for grid in grids] == [3, 6] and len(grids[0].nearest) == 4


def test_its_samples_are_held_against_what_the_autoencoder_gives_back(
    config: Config, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def watch(*args: Any) -> Nearest:
        asked.append(args)
        return find_nearest(*args)

    monkeypatch.setattr("sd.runs.session.find_nearest", watch)
    folder = tmp_path / "run"
    list(begin(config.with_settings(["training.steps=1"]), str(pictures), folder))
    _, pixels, rows, _, given_back = asked[-1]
    space = load_checkpoint(folder).space
    wanted = space.decode(space.encode(to_float(pixels[rows[:3]])))
    torch.testing.assert_close(given_back(rows[:3]), wanted, rtol=0, atol=0.15)


def test_a_resumed_run_is_to_the_byte_what_it_would_have_been(
    whole: Path, config: Config, pictures: Path, tmp_path: Path
) -> None:
    folder = stopped(config, pictures, tmp_path / "stopped", at=3)
    assert runs.status(folder).state == "stopped"
    assert [step.step for step in resume(folder)] == [4, 5, 6]
    same(folder, whole)


def test_where_the_latents_are_gone_they_are_encoded_as_they_were(
    whole: Path, config: Config, pictures: Path, tmp_path: Path
) -> None:
    folder = stopped(config, pictures, tmp_path / "stopped", at=3)
    shutil.rmtree(folder / runs.LATENTS)
    Path(str(config.first_stage.autoencoder)).unlink()  # the checkpoint has what it needs
    assert [step.step for step in resume(folder)] == [4, 5, 6]
    same(folder, whole)
    values = [each / runs.LATENTS / VALUES for each in (folder, whole)]
    assert values[0].read_bytes() == values[1].read_bytes()


@pytest.fixture
def stop_while_encoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Let the next run be asked to stop after its second block."""
    monkeypatch.setattr(latents, "BLOCK", 2)
    monkeypatch.setattr(latents, "PROVED_SECONDS", -1.0)
    inner = latents.encode_mode

    def prepare(folder: Path) -> None:
        calls = []

        def encode(*args: object) -> torch.Tensor:
            calls.append(1)
            if len(calls) == 4:  # two views a block
                process.request(folder, process.STOP)
            return inner(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(latents, "encode_mode", encode)

    return prepare


def test_a_run_stopped_while_encoding_goes_on_there(
    config: Config, pictures: Path, tmp_path: Path, stop_while_encoding: Callable[[Path], None]
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "stopped"
    list(begin(config, str(pictures), whole))
    stop_while_encoding(folder)
    assert list(begin(config, str(pictures), folder)) == []
    status = runs.status(folder)
    assert (status.state, status.line) == ("stopped", "stopped while the pictures were encoded")
    assert 0 < (folder / runs.LATENTS / VALUES).stat().st_size < 12 * 2 * 64 * 2
    assert len(list(resume(folder))) == 6
    assert tensors(folder) == tensors(whole)


def test_a_bundle_of_it_is_whole_and_names_no_place(
    whole: Path, config: Config, pictures: Path, tmp_path: Path
) -> None:
    packed = pack(stopped(config, pictures, tmp_path / "stopped", at=3), tmp_path / "run.zip")
    Path(str(config.first_stage.autoencoder)).unlink()
    opened = unpack(packed, tmp_path / "home")
    assert str(tmp_path).encode() not in packed.read_bytes()
    assert Config.read(opened / runs.CONFIG).first_stage.autoencoder == "stored"
    assert not (opened / runs.LATENTS).exists()
    assert [step.step for step in resume(opened)] == [4, 5, 6]
    assert tensors(opened) == tensors(whole)
    a, b = load_checkpoint(opened), load_checkpoint(whole)
    z = torch.randn(2, 4, 4, 4)
    assert torch.equal(a.space.decode(z), b.space.decode(z))


def test_a_run_from_a_bundle_begins_anew_with_the_autoencoder_that_it_has(
    whole: Path, config: Config, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    list(begin(config, str(pictures), folder))
    ini = Config.read(folder / runs.CONFIG).with_settings(["first_stage.autoencoder=stored"])
    (folder / runs.CONFIG).write_text(ini.to_ini())
    assert len(list(restart(folder))) == 6
    assert tensors(folder) == tensors(whole)
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    for aside in folder.glob("before-*"):
        shutil.rmtree(aside)
    with pytest.raises(InputError, match="this run has no checkpoint that holds one"):
        list(restart(folder))


def test_a_bundle_without_its_first_stage_is_refused(whole: Path, tmp_path: Path) -> None:
    (whole / f"checkpoint-{6:09d}" / FIRST_STAGE).unlink()
    packed = pack(whole, tmp_path / "run.zip")  # the one before is whole
    assert len(list(unpack(packed, tmp_path / "home").glob("checkpoint-*4"))) == 1


def test_the_first_event_tells_how_far_encoding_is(
    config: Config, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sd.runs.recorder.INGEST_EVENT_SECONDS", -1.0)
    heard = []
    folder = tmp_path / "run"

    def listen(event: str, fields: object) -> None:
        if event == "encode":
            status = runs.status(folder)
            heard.append((status.state, status.ingested, status.preparing))

    list(begin(config, str(pictures), folder, listener=listen))
    assert heard[0] == ("starting", (0, 12), "encode") and heard[-1][1] == (12, 12)
    assert not runs.status(folder).preparing


def own_settings(config: Config) -> Config:
    more = ("first_stage.autoencoder=own", "first_stage.autoencoder_steps=8")
    return config.with_settings([*LATENT, *SETTINGS, *more, "training.steps=2"])


@pytest.fixture
def own(tiny_config: Config) -> Config:
    return own_settings(tiny_config)


def test_a_run_trains_its_own_autoencoder_first_and_tells_how_it_does(
    own: Config, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    assert len(list(begin(own, str(pictures), folder))) == 2
    rows = [each for each in runs.events(folder) if each["event"] == "first_stage"]
    assert [row["done"] for row in rows] == list(range(1, 9))
    assert "psnr" in rows[-1] and all(row["total"] == 8 for row in rows)
    latents = load_checkpoint(folder).latents
    assert latents is not None
    with Image.open(folder / runs.LATENTS / runs.RECONSTRUCTIONS) as sheet:
        assert sheet.size == (38, 38)
        shown = to_float(torch.from_numpy(np.array(sheet.convert("RGB"))).permute(2, 0, 1))
    picture, back = shown[:, :8, :8], shown[:, :8, 10:18]
    images = open_images(folder / runs.PICTURES)
    assert any(torch.equal(picture, each) for each in to_float(images.pixels))
    expected = latents.decode(latents.encode(picture[None]))[0]
    assert (back - expected).abs().max() < 0.05


def test_without_room_for_what_comes_back_of_pictures_training_goes_on(
    own: Config, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = recorder.write_file

    def full(path: Path, fill: Any) -> None:
        if path.name == runs.RECONSTRUCTIONS:
            raise OSError(28, "No space left on device")
        inner(path, fill)

    monkeypatch.setattr(recorder, "write_file", full)
    folder = tmp_path / "own"
    assert len(list(begin(own, str(pictures), folder))) == 2
    assert not (folder / runs.LATENTS / runs.RECONSTRUCTIONS).exists()


def stop_in_phase_1(folder: Path, at: int = 4) -> Callable[[str, Mapping[str, Any]], None]:
    """Return a listener that asks a run to stop after a step of its autoencoder."""

    def listen(event: str, fields: Mapping[str, Any]) -> None:
        if event == "first_stage" and fields["done"] == at:
            status = runs.status(folder)
            assert (status.preparing, status.ingested) == ("first_stage", (at, 8))
            process.request(folder, process.STOP)

    return listen


@pytest.fixture(scope="module")
def own_whole(
    tiny_config: Config, emoji: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run with an autoencoder of its own that nothing interrupts, made once."""
    place = tmp_path_factory.mktemp("own")
    (place / "pictures").mkdir()
    for name, data in emoji.items():
        (place / "pictures" / name).write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        make_small_samples(patch)
        list(begin(own_settings(tiny_config), str(place / "pictures"), place / "whole"))
    return place / "whole"


def phase_1(folder: Path) -> list[tuple[Any, ...]]:
    """Return what the journal tells of an autoencoder in training."""
    rows = [each for each in runs.events(folder) if each["event"] == "first_stage"]
    return [(row["done"], row["loss"], row["lr"], row.get("psnr")) for row in rows]


def flip(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


HARMS: dict[str, Callable[[Path], object]] = {
    "none": lambda path: None,
    "a bit": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:1000]),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_run_stopped_in_phase_1_goes_on_to_the_byte(
    own: Config,
    own_whole: Path,
    pictures: Path,
    tmp_path: Path,
    harm: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "stopped"
    assert list(begin(own, str(pictures), folder, listener=stop_in_phase_1(folder))) == []
    assert runs.status(folder).line == "stopped while the autoencoder was trained"
    HARMS[harm](folder / runs.LATENTS / "unfinished.safetensors")
    taken = count_first_stage_steps(monkeypatch)
    assert len(list(resume(folder))) == 2
    assert len(taken) == (4 if harm == "none" else 8)
    assert tensors(folder) == tensors(own_whole)
    assert phase_1(folder) == phase_1(own_whole)
    names = (runs.LATENTS + "/trained.safetensors", runs.LATENTS + "/" + VALUES)
    for name in names:
        assert (folder / name).read_bytes() == (own_whole / name).read_bytes()


def count_first_stage_steps(patch: pytest.MonkeyPatch) -> list[int]:
    """Return the list that will hold the steps that autoencoders take from now on."""
    taken, inner = [], FirstStageTraining._step

    def step(self: FirstStageTraining, number: int, lr: float) -> tuple[float, float]:
        taken.append(number)
        return inner(self, number, lr)

    patch.setattr(FirstStageTraining, "_step", step)
    return taken


def test_a_row_that_was_begun_in_phase_1_is_not_lost(
    own: Config, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sd.runs.recorder.FIRST_STAGE_ROWS", 2)  # rows of four steps
    monkeypatch.setattr("sd.runs.recorder.FIRST_STAGE_SECONDS", -1.0)  # saved at each step
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    list(begin(own, str(pictures), whole))
    with monkeypatch.context() as patch:
        taken = count_first_stage_steps(patch)

        def killed(*_: object) -> bool:
            if len(taken) == 6:
                raise KeyboardInterrupt
            return False

        patch.setattr("sd.runs.process.is_requested", killed)
        with pytest.raises(KeyboardInterrupt):
            list(begin(own, str(pictures), folder))
    assert len(phase_1(folder)) == 1
    assert len(list(resume(folder))) == 2
    assert phase_1(folder) == phase_1(whole) and len(phase_1(whole)) == 2


@pytest.mark.parametrize("name", ["trained.safetensors", "autoencoder.safetensors", VALUES])
def test_what_was_damaged_of_phase_1_is_made_anew(
    own: Config, own_whole: Path, pictures: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "damaged"
    stream = begin(own, str(pictures), folder)  # ended before its first checkpoint
    next(stream)
    stream.close()
    flip(folder / runs.LATENTS / name)
    assert len(list(resume(folder))) == 2
    assert tensors(folder) == tensors(own_whole)
    path = f"{runs.LATENTS}/{name}"
    assert (folder / path).read_bytes() == (own_whole / path).read_bytes()


KILLS = {  # what is killed: whose call does not return, and the number of that call
    "a step of phase 1": (FirstStageTraining, "_step", 6),
    "a save of phase 1": (recorder, "write_proved", 4),
    "the save of what was trained": (recorder, "write_proved", 9),
    "encoding": (latents, "encode_mode", 3),
    "the index of latents": (latents, "write_text", 2),
}


@pytest.mark.parametrize("what", KILLS)
def test_a_kill_before_the_first_step_changes_no_byte(
    own: Config,
    own_whole: Path,
    pictures: Path,
    tmp_path: Path,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGKILL where it hurts: a save lies half written under its temporary name."""
    monkeypatch.setattr("sd.runs.recorder.FIRST_STAGE_SECONDS", -1.0)  # saved at each step
    monkeypatch.setattr(latents, "PROVED_SECONDS", -1.0)
    folder, (place, name, number) = tmp_path / "killed", KILLS[what]
    inner, calls = getattr(place, name), []

    def killed(*args: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            if name == "write_proved":
                args[0].write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, killed)
        child = leave_alone(lambda: begin(own, str(pictures), folder))
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    taken = count_first_stage_steps(monkeypatch)
    assert len(list(resume(folder))) == 2
    assert len(taken) == {"a step of phase 1": 3, "a save of phase 1": 5}.get(what, 0)
    assert tensors(folder) == tensors(own_whole) and stale(folder) == []
    assert phase_1(folder) == phase_1(own_whole)
    for each in ("trained.safetensors", VALUES, INDEX):
        path = f"{runs.LATENTS}/{each}"
        assert (folder / path).read_bytes() == (own_whole / path).read_bytes()


def test_a_full_disk_in_phase_1_is_one_line_and_loses_nothing(
    own: Config, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "full"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(
            InputError, match=r"^latents/trained\.safetensors \(.*\) was not saved: "
        ):
            list(begin(own, str(pictures), folder))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    status = runs.status(folder)
    assert status.state == "failed" and "latents/trained.safetensors" in status.line
    assert not list(folder.rglob("*.tmp"))
    assert len(list(resume(folder))) == 2


def test_an_autoencoder_alone_stopped_and_gone_on_with_ends_when_it_is_trained(
    own: Config, own_whole: Path, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    stopping = stop_in_phase_1(folder)
    list(begin(own, str(pictures), folder, only_first_stage=True, listener=stopping))
    assert runs.status(folder).state == "stopped"
    assert list(resume(folder)) == []
    assert re.fullmatch(r"the autoencoder is trained: -?\d+\.\d dB", runs.status(folder).line)
    assert runs.status(folder).state == "finished" and not list(folder.glob("checkpoint-*"))
    assert phase_1(folder) == phase_1(own_whole)
    trained = [each / runs.LATENTS / "trained.safetensors" for each in (folder, own_whole)]
    assert trained[0].read_bytes() == trained[1].read_bytes()
    steps = resume(folder)  # from there to the network
    assert next(steps).step == 1
    steps.close()
    assert [step.step for step in resume(folder)] == [1, 2]


def test_an_autoencoder_alone_begun_anew_stays_alone(
    own: Config, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "alone"
    list(begin(own, str(pictures), folder, only_first_stage=True))
    assert list(restart(folder)) == []
    assert runs.status(folder).state == "finished" and len(phase_1(folder)) == 8
    process.request(folder, process.STOP)
    assert len(list(folder.glob("before-*/latents"))) == 1
    listener = stop_in_phase_1(folder)
    assert list(restart(folder, listener=listener)) == []  # stopped: all is as it was
    assert runs.status(folder).state == "finished"


def test_with_steps_an_autoencoder_alone_goes_on_to_the_network(
    own: Config, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "more"
    stopping = stop_in_phase_1(folder)
    list(begin(own, str(pictures), folder, only_first_stage=True, listener=stopping))
    assert [step.step for step in resume(folder, steps=3)] == [1, 2, 3]


def test_a_tuned_decoder_goes_into_the_checkpoint_and_latents_stay(
    config: Config, pictures: Path, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tuned"
    tuned = config.with_settings(["first_stage.tune_steps=3", "training.steps=2"])
    list(begin(tuned, str(pictures), folder))
    values = [each / runs.LATENTS / VALUES for each in (folder, whole)]
    assert values[0].read_bytes() == values[1].read_bytes()
    assert (folder / runs.LATENTS / "trained.safetensors").is_file()
