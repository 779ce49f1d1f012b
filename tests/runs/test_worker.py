"""The training process: what it writes, what ends it, and how one line tells why."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint
from sd.common.validation import InputError
from sd.config import Config
from sd.diffusion.loss import Diffusion
from sd.generation.registry import list_models
from sd.runs import process, recorder
from sd.runs.recorder import Recorder
from sd.runs.session import Session
from sd.runs.worker import begin, resume
from sd.training.loop import Training
from tests.helpers.run_folders import list_runs

LONG = "training.steps=100000"


def event_lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [dict(event) for event in runs.events(folder) if event["event"] == kind]


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


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
    steps = list(begin(config, str(pictures), folder, seed=5, device="cpu"))
    assert [step.step for step in steps] == list(range(1, 10))
    kinds = [event["event"] for event in runs.events(folder)]
    assert kinds[0] == "start" and kinds[-4:] == ["checkpoint", "evaluation", "samples", "finished"]
    start = event_lines(folder, "start")[0]
    assert (start["total"], start["seed"], start["pictures"], start["left_out"]) == (9, 5, 12, 0)
    assert start["report"][0] == "pictures used: 12"
    left = [event["seconds_left"] for event in event_lines(folder, "step")]
    assert left[0] is None and all(seconds > 0 for seconds in left[1:])
    assert start["machine"]["device"] == "cpu" and start["machine"]["torch"] == torch.__version__
    assert [event["step"] for event in event_lines(folder, "checkpoint")] == [2, 4, 6, 8, 9]
    assert names(folder, "checkpoint-*") == ["checkpoint-000000008", "checkpoint-000000009"]
    assert [sheet.step for sheet in runs.samples(folder)] == [3, 6, 9]
    about = load_checkpoint(folder).about
    assert about["command"] == (
        "python -m sd train pictures --config config.ini --seed 5 --device cpu"
    )
    assert Config.read(folder / "config.ini") == config
    assert not names(folder, "**/*.tmp") and not names(folder, ".*")


def test_few_events_tell_the_mean_of_many_steps(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MOST_LOGGED", 5)
    config = config.with_settings(["training.steps=17"])
    losses = [step.loss for step in begin(config, str(pictures), home / "run")]
    history = runs.history(home / "run")
    assert history.steps == [1, 4, 8, 12, 16, 17]
    spans = [(0, 1), (1, 4), (4, 8), (8, 12), (12, 16), (16, 17)]
    means = [sum(losses[low:high]) / (high - low) for low, high in spans]
    assert history.loss == pytest.approx(means, abs=1e-6)


@pytest.mark.parametrize("total", [1, 3, 999, 1000, 1001, 1999, 5400, 100_000_000])
def test_a_run_of_any_length_has_about_a_thousand_events(total: int) -> None:
    every = -(-total // recorder.MOST_LOGGED)
    assert total // every <= recorder.MOST_LOGGED
    assert total // every >= min(total, recorder.MOST_LOGGED / 2)


def test_a_stop_file_ends_the_run_after_the_step_at_hand(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MOST_LOGGED", 1)  # so that the last step is not due
    folder = home / "run"
    seen = []
    for step in begin(config.with_settings([LONG]), str(pictures), folder):
        seen.append(step.step)
        if step.step == 3:
            assert runs.status(folder).state == "running"
            runs.stop(folder)
            assert runs.status(folder).state == "stopping"
    status = runs.status(folder)
    assert seen == [1, 2, 3]
    assert (status.state, status.step, status.total) == ("stopped", 3, 100_000)
    assert runs.history(folder).steps == [1]  # rows lie where they would without the stop
    assert load_checkpoint(folder).about["step"] == 3


def test_a_pause_waits_saved_until_it_is_taken_back(
    config: Config, pictures: Path, home: Path
) -> None:
    folder, seen = home / "run", []

    def until(holds: Callable[[], bool]) -> None:
        limit = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < limit
            time.sleep(0.01)

    def visitor() -> None:
        try:
            until(lambda: runs.status(folder).state == "paused")
            seen.append(runs.status(folder).step)
            runs.request_sample(folder)
            until(lambda: bool(runs.samples(folder)))
            seen.append(runs.status(folder).state)
            runs.unpause(runs.default_home(), folder)
        finally:
            (folder / process.PAUSE).unlink(missing_ok=True)  # or a failure would wait for ever

    thread = threading.Thread(target=visitor)
    for step in begin(config.with_settings(["training.steps=6"]), str(pictures), folder):
        if step.step == 2:
            runs.pause(folder)
            assert runs.status(folder).state == "pausing"
            thread.start()
    thread.join()
    assert seen == [3, "paused"] and runs.status(folder).state == "finished"
    kinds = [event["event"] for event in runs.events(folder)]
    assert kinds.index("paused") < kinds.index("samples") < kinds.index("continued")
    assert [event["step"] for event in event_lines(folder, "checkpoint")] == [3, 6]


def test_a_stop_ends_a_pause_too(config: Config, pictures: Path, home: Path) -> None:
    folder = home / "run"
    for step in begin(config.with_settings([LONG]), str(pictures), folder):
        if step.step == 2:
            runs.pause(folder)
            threading.Timer(0.5, lambda: runs.stop(folder)).start()
    assert (runs.status(folder).state, runs.status(folder).step) == ("stopped", 3)
    next(stream := resume(folder))
    assert not (folder / process.PAUSE).exists()  # or it would wait again at once
    stream.close()


def test_a_stop_at_the_last_step_is_a_finish(config: Config, pictures: Path, home: Path) -> None:
    for step in begin(config, str(pictures), home / "run"):
        if step.step == step.total:
            runs.stop(home / "run")
    assert runs.status(home / "run").state == "finished"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_and_a_second_one_acts_at_once(
    config: Config, pictures: Path, home: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    seen = []
    for step in begin(config.with_settings([LONG]), str(pictures), home / "run"):
        seen.append(step.step)
        if step.step == 2:
            os.kill(os.getpid(), number)
            assert signal.getsignal(number) == before
    assert seen == [1, 2] and runs.status(home / "run").state == "stopped"
    assert signal.getsignal(number) == before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals here")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_ends_the_run_saved_unless_that_is_ignored(
    config: Config, pictures: Path, home: Path, ignored: bool
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    seen = []
    try:
        for step in begin(config.with_settings(["training.steps=5"]), str(pictures), home / "run"):
            seen.append(step.step)
            if step.step == 2:
                os.kill(os.getpid(), signal.SIGHUP)
                os.kill(os.getpid(), signal.SIGHUP)  # the shell sends one, and the system another
        usual = signal.SIG_IGN if ignored else signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) == usual
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen == ([1, 2, 3, 4, 5] if ignored else [1, 2])
    assert runs.status(home / "run").state == ("finished" if ignored else "stopped")
    step = 5 if ignored else 2
    assert (home / "run" / f"checkpoint-{step:09d}").is_dir()


@pytest.fixture
def usual_interrupt() -> Iterator[None]:
    """Python's own answer to SIGINT, which a shell's background job is started without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_interrupt")
def test_two_interrupts_leave_at_once(config: Config, pictures: Path, home: Path) -> None:
    stream = begin(config.with_settings([LONG]), str(pictures), home / "run")
    next(stream)
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    stream.close()


def test_of_many_who_claim_a_folder_one_gets_it(config: Config, home: Path) -> None:
    gate, outcomes, held = threading.Barrier(8), [], []

    def claim() -> None:
        gate.wait()
        try:
            held.append(Recorder(home / "run", new=True))  # one let go would let the next one in
            outcomes.append("claimed")
        except InputError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = "run: a training process is at work there already"
    assert sorted(outcomes) == ["claimed", *[refused] * 7]


def test_a_run_killed_before_its_first_word_can_be_begun_again(
    config: Config, pictures: Path, home: Path
) -> None:
    folder = home / "run"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").touch()
    (folder / ".config.ini.1.tmp").touch()
    list(begin(config, str(pictures), folder))
    assert runs.status(folder).state == "finished" and not list(folder.glob(".*.tmp"))


def test_a_refused_second_run_changes_no_byte(config: Config, pictures: Path, home: Path) -> None:
    list(begin(config, str(pictures), home / "run"))
    before = {path: path.read_bytes() for path in (home / "run").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="holds a run already"):
        list(begin(config.with_settings(["training.steps=2"]), str(pictures), home / "run"))
    after = {path: path.read_bytes() for path in (home / "run").rglob("*") if path.is_file()}
    assert after == before


def test_a_run_that_was_refused_before_it_began_can_be_begun(
    config: Config, pictures: Path, home: Path
) -> None:
    folder = home / "run"
    for data, setting in (
        ("misspelt", "training.steps=2"),
        (pictures, "conditioning.kind=captions"),
    ):
        with pytest.raises(InputError, match=r"misspelt|captions"):
            list(begin(config.with_settings([setting]), str(data), folder))
        assert [each["event"] for each in runs.events(folder)] == ["failed"]
    list(begin(config, str(pictures), folder))
    assert runs.status(folder).state == "finished"
    assert runs.events(folder)[0]["event"] == "start"


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
    monkeypatch.setattr(Training, "batches", raiser(error))
    line = (
        "training.input_height = 8: there is not enough memory, even for one picture at a time; "
        "try 4, a smaller network or training.recompute = True"
    )
    with pytest.raises(InputError) as caught:
        list(begin(config, str(pictures), home / "run"))
    assert str(caught.value) == line
    status = runs.status(home / "run")
    assert (status.state, status.line) == ("failed", line)


def test_a_batch_that_is_cut_is_told_once(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = Diffusion.loss

    def shortage(self: Diffusion, network: Any, x0: Tensor, *rest: Tensor) -> Any:
        is_held = len(x0) < 4 or not torch.is_grad_enabled()
        return loss(self, network, x0, *rest) if is_held else raiser(MemoryError())()

    monkeypatch.setattr(Diffusion, "loss", shortage)
    list(begin(config, str(pictures), home / "run"))
    assert runs.status(home / "run").state == "finished"
    assert [each["line"] for each in runs.notices(home / "run")] == [
        "memory does not hold 4 pictures at once: from step 1 on they are computed in 2 parts, "
        "with the same gradient"
    ]


def raiser(error: Exception) -> Callable[..., Any]:
    def raise_it(*args: Any, **kwargs: Any) -> Any:
        raise error

    return raise_it


def test_the_unexpected_is_the_last_event_in_one_line(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Training, "batches", raiser(RuntimeError("shapes\n  differ " + "x" * 500)))
    with pytest.raises(RuntimeError):
        list(begin(config, str(pictures), home / "run"))
    status = runs.status(home / "run")
    assert status.state == "failed" and status.line.startswith("RuntimeError: shapes differ xxx")
    assert len(status.line) == 300


def test_samples_that_fail_cost_no_checkpoint(
    config: Config, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "_sample_and_evaluate", raiser(RuntimeError("no picture")))
    with pytest.raises(RuntimeError):
        list(begin(config, str(pictures), home / "run"))
    assert load_checkpoint(home / "run").about["step"] == 4


def test_markup_and_newlines_in_names_break_nothing(
    config: Config, emoji: dict[str, bytes], home: Path, tmp_path: Path
) -> None:
    data = tmp_path / "a\n<img src=x onerror=alert(1)>"
    data.mkdir()
    for number, content in enumerate(emoji.values()):
        (data / f"{number}\n<script>.png").write_bytes(content)
    folder = home / "b\n<b>"
    list(begin(config, str(data), folder))
    status = runs.status(folder)
    assert status.state == "finished" and load_checkpoint(folder).about["pictures"] == 12
    assert all(line.isprintable() for line in event_lines(folder, "start")[0]["report"])
    assert len((folder / "events.jsonl").read_text().splitlines()) == 10
    assert list_runs(runs.default_home()) == []  # no name by which the page could ask for it
    assert [entry.name for entry in list_models(runs.default_home())] == ["b\n<b>"]


def test_outputs_inside_the_picture_folder_are_left_out(config: Config, pictures: Path) -> None:
    samples = pictures / "made"
    samples.mkdir()
    Image.new("L", (8, 8)).save(samples / "seed-00000.png")
    config = config.with_settings([f"training.save_path={samples}"])
    list(begin(config, str(pictures), pictures / "run"))
    start = event_lines(pictures / "run", "start")[0]
    reason = "a folder that training or sampling writes to"
    assert start["pictures"] == 12 and start["left_out"] == 2
    assert start["report"][-2:] == [f"  made: {reason}", f"  run: {reason}"]
