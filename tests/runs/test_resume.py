"""Going on with a run: to the byte what it would have been, whatever ended the part before."""

import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sd import runs
from sd.checkpoints import checkpoint, record
from sd.checkpoints.checkpoint import load_checkpoint
from sd.checkpoints.record import ABOUT, CONFIG, TRAINING, WEIGHTS
from sd.common.disk import numbered
from sd.common.validation import InputError
from sd.config import Config
from sd.runs import process
from sd.runs.recorder import Recorder
from sd.runs.session import Session
from sd.runs.worker import begin, newest_state, resume
from sd.training import coach
from sd.training.loop import Training
from tests.helpers.run_folders import event_lines

STEPS = 24
EVERYTHING = (  # what could make a resumed run differ
    f"training.steps={STEPS}",
    "training.batch_size=3",
    "training.gradient_accumulation=2",
    "training.warmup_steps=10",
    "training.flip=True",
    "training.shift=0.1",
    "training.held_out=0.2",
    "training.ema_decay=0.99",
    "training.sample_every=9",
    "training.sample_early=[1, 5]",
    "training.save_every=4",
    "training.weights_dtype=float16",
    "unet.dropout=0.1",
)


@pytest.fixture(autouse=True)
def _small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small_samples(monkeypatch)


def make_small_samples(patch: pytest.MonkeyPatch) -> None:
    """Four samples in three steps: what is tested is when they come, not how they look."""
    patch.setattr("sd.runs.session.SAMPLE_SEEDS", range(4))
    patch.setattr("sd.runs.session.SAMPLE_STEPS", 3)
    patch.setattr("sd.training.loop.EVALUATED", 4)


@pytest.fixture
def config(tiny_config: Config) -> Config:
    return tiny_config.with_settings(EVERYTHING)


def rows(folder: Path) -> list[tuple[int, float, float]]:
    """Return the columns of the log that must not depend on a stop."""
    history = runs.history(folder)
    return list(zip(history.steps, history.loss, history.lr, strict=True))


def tensors(folder: Path) -> dict[str, str]:
    """Return the digests of the newest checkpoint's tensors."""
    newest = numbered(folder, "checkpoint-*")[-1][1]
    files = (newest / name for name in (WEIGHTS, TRAINING))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def pictures_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "samples").iterdir()}


def same(folder: Path, whole: Path) -> None:
    """Assert that a run is to the byte what the uninterrupted one is."""
    assert runs.status(folder).state == "finished"
    assert tensors(folder) == tensors(whole)
    assert rows(folder) == rows(whole)
    assert pictures_of(folder) == pictures_of(whole)
    assert runs.evaluations(folder) == runs.evaluations(whole)
    assert [sheet.nearest for sheet in runs.samples(folder)] == [
        sheet.nearest for sheet in runs.samples(whole)
    ]
    assert stale(folder) == []


def stale(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.tmp"))


@pytest.fixture(scope="module")
def uninterrupted(
    tiny_config: Config, emoji: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run that nothing interrupts, made once."""
    place = tmp_path_factory.mktemp("uninterrupted")
    (place / "pictures").mkdir()
    for name, data in emoji.items():
        (place / "pictures" / name).write_bytes(data)
    config = tiny_config.with_settings(EVERYTHING)
    with pytest.MonkeyPatch.context() as patch:
        make_small_samples(patch)
        list(begin(config, str(place / "pictures"), place / "whole", seed=7))
    assert len(rows(place / "whole")) == STEPS
    return place / "whole"


@pytest.fixture
def whole(uninterrupted: Path, home: Path) -> Path:
    """The run that nothing interrupts, a copy of a test's own."""
    return shutil.copytree(uninterrupted, home / "whole")


def until_stop(stream: Iterator[Any], folder: Path, step: int) -> None:
    for done in stream:
        if done.step == step:
            (folder / process.STOP).touch()


@pytest.mark.parametrize("count", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_two_random_stops_of_a_run_change_no_byte(
    config: Config, pictures: Path, home: Path, whole: Path, count: int
) -> None:
    dice = random.Random(0)
    for run in range(count):
        first, second = dice.randint(1, 10), dice.randint(13, STEPS - 2)
        folder = home / f"stopped-{run}"
        until_stop(begin(config, str(pictures), folder, seed=7), folder, first)
        status = runs.status(folder)
        assert (status.state, status.step, status.resumable) == ("stopped", first, True)
        until_stop(resume(folder), folder, second)
        assert runs.status(folder).step == second
        list(resume(folder))
        same(folder, whole)


def test_a_pause_samples_and_saves_on_request_change_no_byte(
    config: Config, pictures: Path, home: Path, whole: Path
) -> None:
    folder = home / "asked"
    for step in begin(config, str(pictures), folder, seed=7):
        if step.step == 5:
            for what in (process.SAMPLE, process.SAVE):
                (folder / what).touch()
    extra = [sheet.step for sheet in runs.samples(folder)]
    assert extra == [1, 5, 6, 9, 18, STEPS]  # asked during step 5's yield, so answered after step 6
    saved = [event["step"] for event in runs.events(folder) if event["event"] == "checkpoint"]
    assert saved == [4, 6, 8, 12, 16, 20, STEPS]
    assert tensors(folder) == tensors(whole) and rows(folder) == rows(whole)


def test_a_stop_while_samples_are_made_is_obeyed_and_they_come_later(
    config: Config, pictures: Path, home: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, folder = Session._sample, home / "midway"

    def stopped(self: Session, model: Any, steps: int, *flat: float) -> Any:
        if self.training.step == 9:
            (folder / process.STOP).touch()
        return genuine(self, model, steps, *flat)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_sample", stopped)
        list(begin(config, str(pictures), folder, seed=7))
    assert (runs.status(folder).state, runs.status(folder).step) == ("stopped", 9)
    assert [sheet.step for sheet in runs.samples(folder)] == [1, 5]
    list(resume(folder))
    same(folder, whole)


def test_turns_change_no_byte_and_wait_for_the_samples_of_their_step(
    config: Config, pictures: Path, home: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, folder = Session._sample, home / "turns"

    def yielding(self: Session, model: Any, steps: int, *flat: float) -> Any:
        if self.training.step == 9:
            (folder / process.YIELD).touch()
        return genuine(self, model, steps, *flat)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_sample", yielding)
        list(begin(config, str(pictures), folder, seed=7))
    assert (runs.status(folder).state, runs.status(folder).step) == ("stopped", 9)
    assert [sheet.step for sheet in runs.samples(folder)] == [1, 5, 9]
    while runs.status(folder).state == "stopped":
        for step in resume(folder):
            if step.step % 5 == 0:
                (folder / process.YIELD).touch()
    same(folder, whole)
    assert len(event_lines(folder, "resumed")) == 4


def test_train_more_is_as_if_it_had_been_planned(
    config: Config, pictures: Path, home: Path, whole: Path
) -> None:
    folder = home / "more"
    list(begin(config.with_settings(["training.steps=10"]), str(pictures), folder, seed=7))
    with pytest.raises(InputError, match="more: finished at step 10; give more --steps"):
        list(resume(folder))
    assert runs.status(folder).state == "finished"
    with pytest.raises(InputError, match="--steps = 10: must be a whole number from 11"):
        list(resume(folder, steps=10))
    list(resume(folder, steps=STEPS))
    assert Config.read(folder / "config.ini").training.steps == STEPS
    assert tensors(folder) == tensors(whole) and rows(folder) == rows(whole)


def test_minutes_more_begin_where_the_run_was_saved(
    config: Config, pictures: Path, home: Path
) -> None:
    folder = home / "run"
    config = config.with_settings(["training.steps=3", "training.sample_every=0"])
    list(begin(config, str(pictures), folder, seed=7))
    before = record.read_about(record.newest_checkpoint(folder))["state"]["seconds"]
    steps = list(resume(folder, minutes=0.1))
    assert steps[0].step == 4 and runs.status(folder).state == "finished"
    settings = Config.read(folder / CONFIG).training
    assert settings.minutes == pytest.approx(before / 60 + 0.1, rel=1e-4)
    assert before < (runs.status(folder).seconds or 0) <= before + 7
    with pytest.raises(InputError, match="--minutes = "):
        next(resume(folder, minutes=0))


def test_the_row_that_was_begun_is_not_lost(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sd.runs.recorder.MOST_LOGGED", 3)  # of nine steps every third
    config = config.with_settings(["training.steps=9", "training.gradient_accumulation=1"])
    list(begin(config, str(pictures), home / "whole", seed=7))
    assert [step for step, *_ in rows(home / "whole")] == [1, 3, 6, 9]
    folder = home / "stopped"
    until_stop(begin(config, str(pictures), folder, seed=7), folder, 5)
    assert [step for step, *_ in rows(folder)] == [1, 3]
    list(resume(folder))
    assert rows(folder) == rows(home / "whole")


def test_minutes_that_are_gone_are_gone(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("sd.runs.session.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(Session, "_sampling_time", lambda self, seconds: 0.0)
    monkeypatch.setattr("sd.runs.worker.time.time", lambda: 0.0)
    config = config.with_settings(["training.minutes=1", "training.save_every=0"])
    folder = home / "timed"

    def trained(stream: Iterator[Any], stop: int = 0) -> int:
        """Let every step take ten seconds; return the last."""
        for step in stream:
            clock[0] += 10
            if step.step == stop:
                (folder / process.STOP).touch()
        return int(step.step)

    assert trained(begin(config, str(pictures), folder, seed=7), stop=4) == 4
    clock[0] += 10_000  # the time between does not count
    assert trained(resume(folder)) == 7  # begun at 60 s, when nothing is left
    status = runs.status(folder)
    assert (status.state, status.step, status.total) == ("finished", 7, 7)
    (row,) = (each for each in runs.events(folder) if each.get("step") == 7 and "loss" in each)
    assert row["total"] == 7  # no estimate any more


# kill -9


def leave_alone(run: Callable[[], Iterator[Any]]) -> int:
    """Fork a child that drains a run; return its pid."""
    child = os.fork()
    if child:
        return child
    try:
        for _ in run():
            pass
    finally:
        os._exit(0)


def kill_at_random(child: int, folder: Path, dice: random.Random, in_save: bool) -> bool:
    """Kill a child after a random time, or while it saves; return whether it was still there."""
    until = time.monotonic() + 20
    if in_save:
        while time.monotonic() < until and os.waitpid(child, os.WNOHANG) == (0, 0):
            if any(folder.glob(".checkpoint-*.tmp")):
                time.sleep(dice.random() * 0.004)
                break
        else:
            return False
    else:
        time.sleep(dice.random() * 0.6)
    with_pid = os.waitpid(child, os.WNOHANG)
    if with_pid != (0, 0):
        return False
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def killed_again_and_again(
    config: Config, pictures: Path, home: Path, whole: Path, kills: int
) -> tuple[int, int]:
    """Kill runs until `kills` have died; every one must go on and end like the whole run.

    Return how many died, and of these how many inside a save.
    """
    dice, done, inside, number = random.Random(1), 0, 0, 0
    while done < kills:
        number += 1
        folder = home / f"killed-{number}"

        def begin_or_resume(folder: Path = folder) -> Iterator[Any]:
            return (
                resume(folder)
                if (folder / runs.RUN).exists()
                else begin(config, str(pictures), folder, seed=7)
            )

        while done < kills and runs.status(folder).state != "finished":
            in_save = bool(done % 2)
            before = numbered(folder, "checkpoint-*")
            if not kill_at_random(leave_alone(begin_or_resume), folder, dice, in_save):
                continue
            done += 1
            inside += bool(list(folder.glob(".checkpoint-*.tmp")))
            found, fallen = newest_of(folder)
            assert not fallen and (found is not None or not before)
            saved = numbered(folder, "checkpoint-*")
            assert not before or saved[-1][0] >= before[-1][0]
        if runs.status(folder).state != "finished":
            list(begin_or_resume())
        same(folder, whole)
    return done, inside


@pytest.mark.parametrize("kills", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_lose_no_checkpoint(
    config: Config, pictures: Path, home: Path, whole: Path, kills: int
) -> None:
    config = config.with_settings(["training.save_every=1"])
    done, inside = killed_again_and_again(config, pictures, home, whole, kills)
    assert done == kills and inside >= kills // 5


@pytest.mark.slow
@pytest.mark.parametrize("kills", [10])
def test_kills_of_the_real_command(
    config: Config, pictures: Path, home: Path, tmp_path: Path, kills: int
) -> None:
    ini = tmp_path / "config.ini"
    ini.write_text(config.with_settings(["training.save_every=3"]).to_ini(), encoding="utf-8")
    line = [sys.executable, "-m", "sd", "train"]
    first = [*line, str(pictures), "--config", str(ini), "--seed", "7", "--run"]
    subprocess.run([*first, str(home / "whole")], check=True, capture_output=True)
    dice, folder, done = random.Random(2), home / "killed", 0
    while done < kills:
        again = (folder / runs.RUN).exists() and runs.status(folder).state != "finished"
        if not again:
            folder = home / f"killed-{done}"
        words = [*line, "--run", str(folder), "--resume"] if again else [*first, str(folder)]
        child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and runs.status(folder).state != "running":
            time.sleep(0.005)
        time.sleep(dice.random() * 0.3)
        if (done + kills) % 2:  # a single one strikes inside a save
            while child.poll() is None and not any(folder.glob(".checkpoint-*.tmp")):
                pass
        done += child.poll() is None
        child.kill()
        child.wait()
        if (folder / runs.RUN).exists():
            assert newest_of(folder)[1] == ""
    if runs.status(folder).state != "finished":
        subprocess.run([*line, "--run", str(folder), "--resume"], check=True, capture_output=True)
    same(folder, home / "whole")


def test_a_resume_reads_its_training_state_once(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once to prove it by its digest and once to load it; the checkpoints before not at all."""
    folder, read = home / "run", []
    until_stop(begin(config, str(pictures), folder, seed=7), folder, 4)
    load, digest = checkpoint.load_file, record.digest
    monkeypatch.setattr(record, "digest", lambda path: (read.append(path), digest(path))[1])
    monkeypatch.setattr(checkpoint, "load_file", lambda path: (read.append(path), load(path))[1])
    next(stream := resume(folder))
    stream.close()
    (newest,) = {path.parent for path in read}
    assert newest == numbered(folder, "checkpoint-*")[-1][1]
    assert [path.name for path in read].count(TRAINING) == 2
    assert len(read) == len({path.name for path in read}) + 1


def test_what_the_pictures_decide_is_written_by_whoever_reads_them(
    config: Config, pictures: Path, home: Path
) -> None:
    """A run that was stopped while its pictures were read has decided nothing yet."""
    folder = home / "run"
    open_config = config.with_settings(['conditioning.kind="auto"'])
    recorder = Recorder(folder, new=True)
    recorder.begin(open_config, {"seed": 7, "device": "cpu", "data": "p"}, str(pictures))
    recorder.close()
    list(resume(folder))
    newest = numbered(folder, "checkpoint-*")[-1][1]
    assert Config.read(folder / runs.CONFIG).conditioning.kind == "none"
    assert Config.read(folder / runs.CONFIG) == Config.read(newest / CONFIG)


# Damage


def newest_of(folder: Path) -> tuple[Path | None, str]:
    """Return the checkpoint from which a run would go on, and the line about a damaged one."""
    saved, line = newest_state(folder)
    return (saved.checkpoint if saved else None), line


def damage(path: Path, kind: str, dice: random.Random) -> None:
    content = path.read_bytes()
    place = dice.randrange(len(content))
    if kind == "missing":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(content[:place])
    elif kind == "zeros":
        path.write_bytes(bytes(len(content)))
    else:
        flipped = content[place] ^ 1 << dice.randrange(8)
        path.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])


def test_forty_damaged_newest_checkpoints_fall_back(whole: Path) -> None:
    dice = random.Random(3)
    (_, before), (_, newest) = numbered(whole, "checkpoint-*")
    for kind in ("missing", "cut", "zeros", "flipped"):
        for name in (WEIGHTS, TRAINING, CONFIG, ABOUT) * 3:
            kept = (newest / name).read_bytes()
            damage(newest / name, kind, dice)
            found, line = newest_of(whole)
            assert found == before, (kind, name)
            assert newest.name in line and before.name in line and "\n" not in line
            (newest / name).write_bytes(kept)
    assert newest_of(whole) == (newest, "")


def test_a_hundred_flipped_bits_are_all_noticed(whole: Path) -> None:
    dice = random.Random(4)
    newest = numbered(whole, "checkpoint-*")[-1][1]
    for number in range(100):
        path = newest / (WEIGHTS, TRAINING)[number % 2]
        kept = path.read_bytes()
        damage(path, "flipped", dice)
        assert newest_of(whole)[0] != newest
        path.write_bytes(kept)


@pytest.mark.parametrize("kind", ["missing", "flipped"])
def test_a_run_goes_on_from_before_the_damage(
    config: Config, pictures: Path, home: Path, whole: Path, kind: str
) -> None:
    folder = home / "damaged"
    until_stop(begin(config, str(pictures), folder, seed=7), folder, 14)
    damage(folder / "checkpoint-000000014" / TRAINING, kind, random.Random(5))
    list(resume(folder))
    notices = runs.notices(folder)
    assert [event["kind"] for event in notices] == ["fell_back"]
    assert "checkpoint-000000014" in notices[0]["line"]
    assert notices[0]["line"].endswith("going on from checkpoint-000000012")
    assert (folder / "damaged-checkpoint-000000014").is_dir()
    same(folder, whole)


def test_where_all_are_damaged_nothing_is_touched(
    config: Config, pictures: Path, home: Path, whole: Path
) -> None:
    for _, path in numbered(whole, "checkpoint-*"):
        (path / WEIGHTS).write_bytes(b"")
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.name == "events.jsonl"}
    with pytest.raises(InputError, match="no checkpoint from which to go on"):
        list(resume(whole, steps=STEPS + 5))
    assert {path: path.read_bytes() for path in before} == before


# What runs out


def test_a_full_disk_is_one_line_and_loses_nothing(
    config: Config, pictures: Path, home: Path, whole: Path
) -> None:
    folder = home / "full"
    until_stop(begin(config, str(pictures), folder, seed=7), folder, 5)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(InputError, match=r"^checkpoint-000000008 \(4 MiB\) was not saved: "):
            list(resume(folder))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    status = runs.status(folder)
    assert status.state == "failed"
    assert status.line.startswith("checkpoint-000000008 (4 MiB) was not saved: ")
    assert load_checkpoint(folder).about["step"] == 5 and stale(folder) == []
    list(resume(folder))
    same(folder, whole)


def test_a_disk_without_room_is_noticed_while_it_can_be_told(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sd.runs.recorder.SPARE_BYTES", 2**60)
    line = r"was not saved: it takes \d MiB and [\d.,]+ \w+ of the disk are free, of which "
    with pytest.raises(InputError, match=line):
        list(begin(config, str(pictures), home / "run", seed=7))
    assert re.search(line, runs.status(home / "run").line)


def losing_the_loss(is_lost: Callable[[int], bool]) -> Callable[..., Iterator[Any]]:
    """Return a `Training.batches` whose pictures are no numbers at some steps."""
    genuine = Training.batches

    def batches(self: Training, step: int) -> Iterator[Any]:
        for x0, *others in genuine(self, step):
            yield (x0 * (float("nan") if is_lost(step) else 1.0), *others)

    return batches


def test_a_lost_loss_is_left_out_and_told(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Training, "batches", losing_the_loss(lambda step: step == 7))
    steps = list(begin(config, str(pictures), home / "run", seed=7))
    assert [step.step for step in steps if step.skipped] == [7]
    line = "the loss is not a finite number at step 7: this step changed nothing"
    assert [event["line"] for event in runs.notices(home / "run")] == [line]
    assert len(rows(home / "run")) == STEPS - 1 and runs.status(home / "run").state == "finished"


def test_a_loss_that_stays_lost_ends_the_run_in_one_line(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "run"
    with monkeypatch.context() as patch, pytest.raises(InputError) as caught:
        patch.setattr(Training, "batches", losing_the_loss(lambda step: step >= 7))
        list(begin(config, str(pictures), folder, seed=7))
    line = (
        "loss or gradient is not a finite number at 5 steps in a row, up to step 11: "
        "training.learning_rate = 0.002 may be too high; try 0.001"
    )
    assert str(caught.value) == line
    assert (runs.status(folder).state, runs.status(folder).line) == ("failed", line)
    about = load_checkpoint(folder).about  # finite, or it would have been refused
    assert about["step"] == 8 and about["state"]["skipped"] == 2
    said, *_ = coach.review_run(Config.read(folder / runs.CONFIG), runs.events(folder))
    assert "ended at step 11:" in said.line and "checkpoint of step 8 is whole" in said.line
    assert said.fix == ("training.learning_rate=0.001",)  # the same as in the line


# Who may go on, and with what


def test_two_processes_never_write_one_run(config: Config, pictures: Path, home: Path) -> None:
    folder = home / "run"
    stream = begin(config, str(pictures), folder, seed=7)
    next(stream)
    journal = (folder / "events.jsonl").read_bytes()
    with pytest.raises(InputError, match="run: a training process is at work there already"):
        list(resume(folder))
    with pytest.raises(InputError, match="run: a training process is at work there already"):
        list(begin(config, str(pictures), folder))
    assert (folder / "events.jsonl").read_bytes() == journal
    stream.close()
    list(resume(folder))


def test_what_is_no_run_cannot_go_on(home: Path) -> None:
    with pytest.raises(InputError, match="nothing: holds no run that can go on"):
        list(resume(home / "nothing"))
    assert not (home / "nothing").exists()


def test_a_run_needs_its_pictures_only_once(
    config: Config, pictures: Path, home: Path, whole: Path
) -> None:
    folder = home / "moved"
    until_stop(begin(config, str(pictures), folder, seed=7), folder, 5)
    pictures.rename(pictures.with_name("elsewhere"))
    list(resume(folder))
    same(folder, whole)


def test_a_run_killed_before_its_first_checkpoint_begins_again(
    config: Config, pictures: Path, home: Path, whole: Path
) -> None:
    folder = home / "young"
    stream = begin(config, str(pictures), folder, seed=7)
    next(stream)
    stream.close()
    assert runs.status(folder).state == "running"  # by this process, which lives on
    list(resume(folder))
    same(folder, whole)


def test_stale_files_of_killed_writers_are_swept(
    config: Config, pictures: Path, home: Path
) -> None:
    folder = home / "run"
    until_stop(begin(config, str(pictures), folder, seed=7), folder, 5)
    (folder / ".checkpoint-000000009.77.tmp").mkdir()
    (folder / ".checkpoint-000000009.77.tmp" / "model.safetensors").write_bytes(b"half")
    (folder / "samples").mkdir(exist_ok=True)  # early samples may have made it
    (folder / "samples" / ".step-000000009.png.77.tmp").write_bytes(b"half")
    next(stream := resume(folder))
    assert stale(folder) == []
    stream.close()


def test_the_recorded_machine_is_obeyed(config: Config, pictures: Path, home: Path) -> None:
    folder = home / "run"
    until_stop(begin(config, str(pictures), folder, seed=7), folder, 5)
    about = folder / "checkpoint-000000005" / ABOUT
    recorded = json.loads(about.read_text())
    recorded["machine"]["torch"] = "2.0.0"
    del recorded["sha256"][ABOUT]
    about.write_text(json.dumps(recorded))
    list(resume(folder))
    assert [event["kind"] for event in runs.notices(folder)] == ["machine"]
