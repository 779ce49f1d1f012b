"""Runs: a real child trains, is watched, stopped, killed; what is shown follows from its files."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sd import runs, worker
from sd.__main__ import main, parser
from sd.checkpoints import load_checkpoint
from sd.config import Config
from sd.data import read_images
from sd.device import choose
from sd.gate import InputError
from sd.training import Training, train
from sd.worker import Recorder, work
from tests.conftest import TINY

LONG = "training.steps=100000"


def wait(folder: Path, until: Callable[[runs.Status], bool], seconds: float = 90) -> runs.Status:
    """Return the first status of a run that `until` accepts."""
    limit = time.monotonic() + seconds
    while not until(now := runs.status(folder)):
        assert time.monotonic() < limit, now
        time.sleep(0.02)
    return now


def is_over(status: runs.Status) -> bool:
    return not status.alive


def is_running(status: runs.Status) -> bool:
    assert status.alive, status
    return status.state == "running"


def event_lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in runs.events(folder) if event["event"] == kind]


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def pid_of(folder: Path) -> int:
    return int(json.loads((folder / "process.json").read_text())["pid"])


def make_run(
    home: Path, name: str, *, events: str = "", log: str | None = None, process: Any = None
) -> Path:
    """Write the files of a run by hand."""
    folder = home / name
    folder.mkdir(parents=True)
    (folder / "config.ini").write_text(Config().to_ini(), encoding="utf-8")
    if events:
        (folder / "events.jsonl").write_text(events)
    if log is not None:
        (folder / "train.log").write_text(log)
    if process is not None:
        (folder / "process.json").write_text(json.dumps(process))
    return folder


DEAD = {"pid": 2**22 + 1, "started": "1"}
START = '{"event": "start", "time": 1, "total": 10}\n'
STEP = '{"event": "step", "time": 2, "step": 4, "loss": 0.5, "lr": 0.1, "grad_norm": 1.0}\n'


def alive() -> dict[str, Any]:
    return {"pid": os.getpid(), "started": runs.process_identity(os.getpid())}


# A real child


def test_a_child_trains_to_the_end_as_the_library_does(home: Path, pictures: Path) -> None:
    more = ["training.steps=30", "training.sample_every=10", "training.save_every=10"]
    folder = runs.start(str(pictures), "tiny", [*TINY, *more], seed=3)
    assert folder.parent == home
    seen = [runs.status(folder)]
    while seen[-1].alive:
        seen.append(runs.status(folder))
        time.sleep(0.01)
    states = list(dict.fromkeys(status.state for status in seen))
    assert states in (["starting", "running", "finished"], ["starting", "finished"])
    assert [s.step for s in seen] == sorted(s.step for s in seen)
    assert all(s.seconds_left is None or 0 <= s.seconds_left < 60 for s in seen)
    last = seen[-1]
    assert (last.step, last.total, last.line) == (30, 30, "finished 30 steps")
    assert last.pictures_per_second is not None and last.pictures_per_second > 0
    assert runs.history(folder).steps == list(range(1, 31))
    assert [step for step, _ in runs.samples(folder)] == [10, 20, 30]
    assert names(folder, "checkpoint-*") == ["checkpoint-000000020", "checkpoint-000000030"]
    with Image.open(runs.samples(folder)[-1][1]) as grid:
        assert grid.size == (4 * 8 + 3 * 2, 4 * 8 + 3 * 2)
    check_same_as_library(folder, pictures)
    assert [entry.name for entry in runs.list_models()] == [folder.name]
    assert [status.name for status in runs.list_runs()] == [folder.name]


def check_same_as_library(folder: Path, pictures: Path) -> None:
    config = Config.read(folder / "config.ini")
    images = read_images(pictures, height=8, width=8, channels=1)
    steps = list(train(config, images, 3, choose("cpu").apply()))
    assert runs.history(folder).loss == [round(step.loss, 6) for step in steps]
    found, wanted = load_checkpoint(folder).network, steps[-1].model.network
    assert all(map(torch.equal, found.state_dict().values(), wanted.state_dict().values()))


def test_stop_saves_and_leaves_within_a_step(home: Path, pictures: Path) -> None:
    folder = runs.start(str(pictures), "tiny", [*TINY, LONG])
    wait(folder, is_running)
    asked = time.time()
    runs.stop(folder)
    assert runs.status(folder).state in ("stopping", "stopped")
    last = wait(folder, is_over)
    stopped = event_lines(folder, "stopped")[0]
    assert last.state == "stopped" and stopped["time"] - asked < 5
    before = [event["step"] for event in event_lines(folder, "step") if event["time"] < asked]
    assert last.step <= max(before) + 100  # steps are logged by the hundred and take 10 ms
    assert last.line == f"stopped and saved at step {last.step}"
    assert load_checkpoint(folder).about["step"] == last.step == runs.history(folder).steps[-1]


def test_sigterm_saves_and_leaves(home: Path, pictures: Path, tiny_ini: Path) -> None:
    folder = home / "terminated"
    words = [sys.executable, "-m", "sd", "train", str(pictures), "--config", str(tiny_ini)]
    words += ["--steps", "100000", "--run", str(folder)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        while not event_lines(folder, "step"):
            assert child.poll() is None
            time.sleep(0.02)
        assert runs.status(folder).state == "running"
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=30)
    assert child.returncode in (0, 143)
    status = runs.status(folder)
    assert status.state == "stopped"
    assert load_checkpoint(folder).about["step"] == status.step
    assert out.decode() == f"stopped and saved at step {status.step}: {folder}\n"


def test_a_killed_child_is_lost_and_nobody_else_may_enter(
    home: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs.start(str(pictures), "tiny", [*TINY, LONG, "training.save_every=1"])
    wait(folder, lambda status: bool(names(folder, "checkpoint-*")))
    before = [(folder / name).read_bytes() for name in ("config.ini", "process.json")]
    assert main(["train", str(pictures), "--run", str(folder)]) == 2
    assert capsys.readouterr().err == (
        f"{folder.name}: holds a run already; give --run a new folder\n"
    )
    assert [(folder / name).read_bytes() for name in ("config.ini", "process.json")] == before
    assert runs.status(folder).alive
    os.kill(pid_of(folder), signal.SIGKILL)
    last = wait(folder, is_over, seconds=10)
    assert last.state == "lost" and last.step > 0
    assert load_checkpoint(folder).about["step"] in (last.step, last.step + 1)  # every step saves
    runs.stop(folder)
    assert not (folder / "stop").exists()  # nobody is there to be asked


def test_a_child_that_cannot_read_its_pictures_fails_with_one_line(
    home: Path, tmp_path: Path
) -> None:
    folder = runs.start(str(tmp_path / "nothing"), "tiny", TINY)
    last = wait(folder, is_over)
    line = "nothing: no such folder, zip or picture (nor the word starter)"
    assert (last.state, last.line) == ("failed", line)
    assert (folder / "train.log").read_text() == line + "\n"


def test_a_child_that_fails_before_its_first_event_is_heard(home: Path) -> None:
    folder = runs.start("", "tiny")
    last = wait(folder, is_over)
    line = "DATA: give a folder, a zip or the word starter (the ini names none)"
    assert (last.state, last.line) == ("failed", line)
    assert [status.name for status in runs.list_runs()] == [folder.name]


def test_a_data_set_called_like_an_option_is_data(home: Path) -> None:
    folder = runs.start("--help", "tiny")
    assert wait(folder, is_over).line.startswith("--help: no such folder")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"preset": "tinny"}, "did you mean 'tiny'?"),
        ({"settings": ["training.epochs=0"]}, "training.epochs = 0: must be a whole number"),
        ({"settings": ["training.input_width=1000000000"]}, "from 1 to 4096"),
        ({"seed": float("nan")}, "seed = nan: must be a whole number"),
        ({"seed": -1}, "seed = -1"),
        ({"data": "a\0b"}, "DATA = 'a\\x00b': must not hold"),
        ({"data": "x" * 5000}, "DATA: 5000 characters"),
        ({"data": None}, "DATA = None: must be a text"),
        ({"device": ["cpu"]}, "device = ['cpu']: must be a text"),
    ],
)
def test_what_cannot_be_starts_nothing(home: Path, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        runs.start(**{"data": "starter", "preset": "tiny", **changes})
    assert line in str(caught.value) and not list(home.iterdir())


# The worker


@pytest.fixture
def config(tiny_config: Config) -> Config:
    return tiny_config


def test_events_samples_and_checkpoints_of_a_run(
    config: Config, pictures: Path, home: Path
) -> None:
    config = config.with_settings(
        ["training.steps=9", "training.save_every=2", "training.sample_every=3"]
    )
    folder = home / "run"
    steps = list(work(config, str(pictures), folder, seed=5, device="cpu"))
    assert [step.step for step in steps] == list(range(1, 10))
    kinds = [event["event"] for event in runs.events(folder)]
    assert kinds[0] == "start" and kinds[-3:] == ["checkpoint", "samples", "finished"]
    start = event_lines(folder, "start")[0]
    assert (start["total"], start["seed"], start["pictures"], start["left_out"]) == (9, 5, 12, 0)
    assert start["report"][0] == "pictures used: 12"
    assert start["machine"]["device"] == "cpu" and start["machine"]["torch"] == torch.__version__
    assert [event["step"] for event in event_lines(folder, "checkpoint")] == [2, 4, 6, 8, 9]
    assert names(folder, "checkpoint-*") == ["checkpoint-000000008", "checkpoint-000000009"]
    assert [step for step, _ in runs.samples(folder)] == [3, 6, 9]
    about = load_checkpoint(folder).about
    assert about["command"] == (
        "python -m sd train pictures --config config.ini --seed 5 --device cpu"
    )
    assert Config.read(folder / "config.ini") == config
    assert not names(folder, "**/*.tmp") and not names(folder, ".*")


def test_few_events_tell_the_mean_of_many_steps(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MOST_LOGGED", 5)
    config = config.with_settings(["training.steps=17"])
    losses = [step.loss for step in work(config, str(pictures), home / "run")]
    history = runs.history(home / "run")
    assert history.steps == [1, 4, 8, 12, 16, 17]
    spans = [(0, 1), (1, 4), (4, 8), (8, 12), (12, 16), (16, 17)]
    means = [sum(losses[low:high]) / (high - low) for low, high in spans]
    assert history.loss == pytest.approx(means, abs=1e-6)


@pytest.mark.parametrize("total", [1, 3, 999, 1000, 1001, 1999, 5400, 100_000_000])
def test_a_run_of_any_length_has_about_a_thousand_events(total: int) -> None:
    every = -(-total // worker.MOST_LOGGED)
    assert total // every <= worker.MOST_LOGGED
    assert total // every >= min(total, worker.MOST_LOGGED / 2)


def test_a_stop_file_ends_the_run_after_the_step_at_hand(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MOST_LOGGED", 1)  # so that the last step is not due
    folder = home / "run"
    seen = []
    for step in work(config.with_settings([LONG]), str(pictures), folder):
        seen.append(step.step)
        if step.step == 3:
            assert runs.status(folder).state == "running"
            runs.stop(folder)
            assert runs.status(folder).state == "stopping"
    status = runs.status(folder)
    assert seen == [1, 2, 3, 4]
    assert (status.state, status.step, status.total) == ("stopped", 4, 100_000)
    assert runs.history(folder).steps == [1, 4]
    assert load_checkpoint(folder).about["step"] == 4


def test_a_stop_at_the_last_step_is_a_finish(config: Config, pictures: Path, home: Path) -> None:
    for step in work(config, str(pictures), home / "run"):
        if step.step == step.total - 1:
            runs.stop(home / "run")
    assert runs.status(home / "run").state == "finished"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_and_a_second_one_acts_at_once(
    config: Config, pictures: Path, home: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    seen = []
    for step in work(config.with_settings([LONG]), str(pictures), home / "run"):
        seen.append(step.step)
        if step.step == 2:
            os.kill(os.getpid(), number)
            assert signal.getsignal(number) == before
    assert seen == [1, 2, 3] and runs.status(home / "run").state == "stopped"
    assert signal.getsignal(number) == before


@pytest.fixture
def usual_interrupt() -> Iterator[None]:
    """Python's own answer to SIGINT, which a shell's background job is started without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_interrupt")
def test_two_interrupts_leave_at_once(config: Config, pictures: Path, home: Path) -> None:
    stream = work(config.with_settings([LONG]), str(pictures), home / "run")
    next(stream)
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    stream.close()


def test_of_many_who_claim_a_folder_one_gets_it(config: Config, home: Path) -> None:
    gate, outcomes = threading.Barrier(8), []

    def claim() -> None:
        gate.wait()
        try:
            outcomes.append(Recorder(home / "run", config) and "claimed")
        except InputError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = "run: holds a run already; give --run a new folder"
    assert sorted(outcomes) == ["claimed", *[refused] * 7]


def test_a_refused_second_run_changes_no_byte(config: Config, pictures: Path, home: Path) -> None:
    list(work(config, str(pictures), home / "run"))
    before = {path: path.read_bytes() for path in (home / "run").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="holds a run already"):
        list(work(config.with_settings(["training.steps=2"]), str(pictures), home / "run"))
    after = {path: path.read_bytes() for path in (home / "run").rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 99 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        MemoryError(),
    ],
)
def test_a_lack_of_memory_is_told_with_what_to_lower(
    config: Config, pictures: Path, home: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Training, "_loss", raiser(error))
    line = (
        "training.batch_size = 4: there is not enough memory; try 2, smaller pictures or a "
        "smaller network"
    )
    with pytest.raises(InputError) as caught:
        list(work(config, str(pictures), home / "run"))
    assert str(caught.value) == line
    status = runs.status(home / "run")
    assert (status.state, status.line) == ("failed", line)


def raiser(error: Exception) -> Callable[..., Any]:
    def raise_it(*args: Any, **kwargs: Any) -> Any:
        raise error

    return raise_it


def test_the_unexpected_is_the_last_event_in_one_line(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Training, "_loss", raiser(RuntimeError("shapes\n  differ " + "x" * 500)))
    with pytest.raises(RuntimeError):
        list(work(config, str(pictures), home / "run"))
    status = runs.status(home / "run")
    assert status.state == "failed" and status.line.startswith("RuntimeError: shapes differ xxx")
    assert len(status.line) == 300


def test_samples_that_fail_cost_no_checkpoint(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "sample", raiser(RuntimeError("no picture")))
    with pytest.raises(RuntimeError):
        list(work(config, str(pictures), home / "run"))
    assert load_checkpoint(home / "run").about["step"] == 4


def test_markup_and_newlines_in_names_break_nothing(
    config: Config, emoji: dict[str, bytes], home: Path, tmp_path: Path
) -> None:
    data = tmp_path / "a\n<img src=x onerror=alert(1)>"
    data.mkdir()
    for number, content in enumerate(emoji.values()):
        (data / f"{number}\n<script>.png").write_bytes(content)
    folder = home / "b\n<b>"
    list(work(config, str(data), folder))
    status = runs.status(folder)
    assert status.state == "finished" and load_checkpoint(folder).about["pictures"] == 12
    assert all(line.isprintable() for line in event_lines(folder, "start")[0]["report"])
    assert len((folder / "events.jsonl").read_text().splitlines()) == 8
    assert runs.list_runs() == []  # no name by which the page could ask for it
    assert [entry.name for entry in runs.list_models()] == ["b\n<b>"]


def test_outputs_inside_the_picture_folder_are_left_out(config: Config, pictures: Path) -> None:
    samples = pictures / "made"
    samples.mkdir()
    Image.new("L", (8, 8)).save(samples / "seed-00000.png")
    config = config.with_settings([f"training.save_path={samples}"])
    list(work(config, str(pictures), pictures / "run"))
    start = event_lines(pictures / "run", "start")[0]
    reason = "a folder that training or sampling writes to"
    assert start["pictures"] == 12 and start["left_out"] == 2
    assert start["report"][-2:] == [f"  made: {reason}", f"  run: {reason}"]


# What is shown follows from the files


def test_a_line_that_is_still_being_written_is_left_for_later(home: Path) -> None:
    folder = make_run(home, "run", events=START + STEP + STEP[:-20], process=alive())
    assert [event["event"] for event in runs.events(folder)] == ["start", "step"]
    status = runs.status(folder)
    assert (status.state, status.step, status.total, status.loss) == ("running", 4, 10, 0.5)
    (folder / "events.jsonl").write_text(START + STEP[:-1])  # whole, but for its end
    assert runs.status(folder).step == 0


def test_lines_that_are_no_events_are_passed_over(home: Path) -> None:
    odd = "\n5\n[]\nnull\n{}\nnot json\n\udcff\u2028\n"
    folder = make_run(home, "run", process=alive())
    (folder / "events.jsonl").write_bytes((START + odd + STEP).encode("utf-8", "surrogateescape"))
    assert runs.status(folder).step == 4 and runs.history(folder).loss == [0.5]


def test_time_left_is_steps_times_seconds(home: Path) -> None:
    step = STEP.replace('"loss"', '"step_seconds": 1.5, "pictures_per_second": 8.0, "loss"')
    status = runs.status(make_run(home, "run", events=START + step, process=alive()))
    assert status.seconds_left == pytest.approx((10 - 4) * 1.5)
    assert status.pictures_per_second == 8.0
    dead = runs.status(make_run(home, "dead", events=START + step, process=DEAD))
    assert (dead.state, dead.seconds_left) == ("lost", None)


def test_a_run_lives_only_as_long_as_its_own_process(home: Path) -> None:
    ours = alive()
    running = make_run(home, "a", events=START + STEP, process=ours)
    assert runs.status(running).state == "running"
    assert runs.status(make_run(home, "b", events=START, process=ours)).state == "starting"
    reused = {**ours, "started": str(int(ours["started"]) - 1)}
    for name, process in enumerate([reused, DEAD, {**DEAD, "started": None}, {}, [], {"pid": "x"}]):
        folder = make_run(home, str(name), events=START + STEP, process=process)
        assert runs.status(folder).state == "lost"
    (running / "process.json").write_text('{"pid": ')
    assert runs.status(running).state == "lost"


def test_a_process_is_known_by_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = runs.process_identity(os.getpid())
    assert mine is not None and mine == runs.process_identity(os.getpid())
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        other = runs.process_identity(child.pid)
        assert other is None or other != mine
        deadline = time.monotonic() + 20
        while runs.process_identity(child.pid) is not None:  # ended, but still in the table
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert child.returncode is None
    assert runs.process_identity(child.pid) is None
    if shutil.which("ps"):  # where there is no /proc
        monkeypatch.setattr(Path, "exists", lambda self: False)
        listed = runs.process_identity(os.getpid())
        assert listed is not None and listed == runs.process_identity(os.getpid())
        assert runs.process_identity(DEAD["pid"]) is None


def test_a_new_folder_is_starting_and_an_old_one_lost(home: Path) -> None:
    folder = make_run(home, "run")
    assert runs.status(folder).state == "starting"
    past = time.time() - 2 * runs.STARTING_SECONDS
    os.utime(folder / "config.ini", (past, past))
    assert runs.status(folder).state == "lost"
    shutil.rmtree(folder)
    assert runs.status(folder).state == "lost"


def test_what_a_dead_process_said_is_shown(home: Path) -> None:
    log = "a warning\n\nconfig.ini, line 3: is wrong \n\n"
    status = runs.status(make_run(home, "a", log=log, process=DEAD))
    assert (status.state, status.line) == ("failed", "config.ini, line 3: is wrong")
    assert runs.status(make_run(home, "b", log="", process=DEAD)).state == "lost"
    talking = runs.status(make_run(home, "c", log="loading", process=alive()))
    assert (talking.state, talking.line) == ("starting", "")
    long = make_run(home, "d", log="", process=DEAD)
    (long / "train.log").write_bytes(b"x" * 1000 + b"\xff\n")
    assert runs.status(long).line == "x" * 300


def test_ends_are_as_the_worker_wrote_them(home: Path) -> None:
    for state in runs.ENDS:
        end = f'{{"event": "{state}", "time": 3, "step": 5, "line": "so it was"}}\n'
        status = runs.status(make_run(home, state, events=START + STEP + end, process=alive()))
        assert (status.state, status.step, status.line) == (state, 5, "so it was")
        assert not status.alive


def test_odd_files_among_samples_and_checkpoints_are_passed_over(home: Path) -> None:
    folder = make_run(home, "run", events=START)
    for name in ("step-000000010.png", "step-9.png", "step-x.png", "step-.png", "step-3.tmp"):
        (folder / "samples").mkdir(exist_ok=True)
        (folder / "samples" / name).write_bytes(b"")
    assert [step for step, _ in runs.samples(folder)] == [9, 10]
    for name in ("checkpoint-final", "checkpoint-", "checkpoint-9", "checkpoint-000000010"):
        (folder / name).mkdir()
        (folder / name / "checkpoint.json").write_text("{}")
    assert [(entry.name, entry.step) for entry in runs.list_models()] == [("run", 10)]


# Names and places


@pytest.mark.parametrize(
    "name",
    ["../x", "..", ".", "", "a/b", "/etc", "a\\b", "x\ny", "<b>", "x" * 65, "-x", ".x", None, 5],
)
def test_names_that_lead_elsewhere_are_refused(home: Path, name: Any) -> None:
    make_run(home.parent, "x", events=START)
    with pytest.raises(InputError) as caught:
        runs.find_run(name)
    assert str(caught.value).startswith("run = ") and str(caught.value).isprintable()


def test_runs_are_found_at_home_and_among_the_bundled(home: Path) -> None:
    mine = make_run(home, "mine", events=START)
    bundled = make_run(runs.BUNDLED, "emoji32", events=START)
    assert runs.find_run("mine") == mine and runs.find_run("emoji32") == bundled
    with pytest.raises(InputError, match="run = 'other': there is no run of that name"):
        runs.find_run("other")


def test_models_are_listed_bundled_first_then_the_newest(home: Path) -> None:
    for place, name, step in (
        (home, "20260101-a", 5),
        (home, "20270101-b", 50),
        (runs.BUNDLED, "emoji32", 5400),
    ):
        checkpoint = place / name / f"checkpoint-{step:09d}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "checkpoint.json").write_text("{}")
    (home / "empty").mkdir()
    found = [(entry.name, entry.step, entry.bundled) for entry in runs.list_models()]
    assert found == [("emoji32", 5400, True), ("20270101-b", 50, False), ("20260101-a", 5, False)]


def test_runs_are_listed_newest_first_and_nothing_else(home: Path) -> None:
    make_run(home, "20260101-a", events=START)
    make_run(home, "20270101-b", log="starting")
    make_run(home, "only-a-config")
    (home / "uploads").mkdir()
    assert [status.name for status in runs.list_runs()] == ["20270101-b", "20260101-a"]


def test_home_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SD_HOME", str(tmp_path / "x" / ".." / "y"))
    assert runs.home() == tmp_path / "y"
    monkeypatch.setenv("SD_HOME", "")
    assert runs.home() == Path(runs.__file__).parent.parent / "checkpoints"


def test_new_folders_never_meet(home: Path) -> None:
    made = {runs.new_folder() for _ in range(100)}
    assert len(made) == 100 and all(folder.parent == home for folder in made)
    assert all(runs.file_name("run", folder.name) for folder in made)


def test_the_printed_command_does_the_same() -> None:
    data, settings = "my pictures/$(rm -rf ~)'; x", ["training.save_path=/a b/c", "unet.dims=2"]
    line = runs.command(data, "small", settings, 7, "cpu")
    python, *words = shlex.split(line)
    assert python == "python" and words[:2] == ["-m", "sd"]
    args = parser().parse_args(words[2:])
    assert (args.data, args.preset, args.set, args.seed, args.device) == (
        data,
        "small",
        settings,
        7,
        "cpu",
    )
