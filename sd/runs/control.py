"""What is done to runs: start, resume, stop, pause, and asking a run for samples or a checkpoint.

A run is started as a child process that makes its folder's contents itself (`recorder`); all else
is a request that its process finds there (`process`).
"""

import secrets
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sd.common.validation import InputError, real, text, whole
from sd.config import Config
from sd.config.sections import MOST_MINUTES, MOST_STEPS
from sd.runs import process
from sd.runs.home import Home, plain_name
from sd.runs.run import CONFIG, GOING, LOG, may_live, obstacle, saved_step, status
from sd.runs.sharing import scheduler

LONGEST_DATA = 4096  # characters of the path of a picture set


def train_command(
    data: str, preset: str, settings: Sequence[str] = (), seed: int = 0, device: str = "auto"
) -> str:
    """Return the command line that trains as these arguments say, for people to copy."""
    words = ["python", "-m", "sd", "train", data, "--preset", preset]
    for setting in settings:
        words += ["--set", setting]
    return shlex.join([*words, "--seed", str(seed), "--device", device])


def start(
    home: Home, data: str, config: Config, seed: int = 0, device: str = "auto", title: str = ""
) -> Path:
    """Start a training process on `data` and return its run folder, a new one in `home`.

    title: what it is called, as near as a folder can be; else the time.
    The process is a child in a session of its own: it goes on when the page or the server ends.
    Where visitors share a machine the run waits for its turn. Raises `InputError` for settings that
    cannot be, and elsewhere while another run is being trained.
    """
    whole("seed", seed, 0, 2**53)
    text("DATA", data, LONGEST_DATA)
    text("device", device, 20)
    home.check_minutes(config.training.minutes)
    with _one_at_a_time(home):
        home.check_new_run()
        folder = home.new_folder(title)
        folder.mkdir(parents=True)
        words = ["--config", "-", "--seed", str(seed), f"--device={device}", "--", data]
        try:
            _begin(home, folder, words, config.to_ini())
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder


def resume(
    home: Home, folder: Path, steps: int | None = None, minutes: float | None = None
) -> None:
    """Let training go on in a process of its own, up to `steps` in all if given, or for `minutes`.

    Raises `InputError` while this or another run is being trained, and where nothing is left to do.
    """
    with _one_at_a_time(home):
        now = status(folder)
        if now.alive:
            raise InputError(f"run = {now.name!r}: it is {now.state} already")
        if reason := obstacle(folder):
            raise InputError(f"run = {now.name!r}: {reason}")
        if minutes is not None:
            real("minutes", minutes, 0.1, MOST_MINUTES)
        elif steps is not None:
            whole("steps", steps, saved_step(folder) + 1, MOST_STEPS)
        elif now.state == "finished":
            raise InputError(f"run = {now.name!r}: it is finished; give more steps than {now.step}")
        if home.most_minutes is not None:
            home.check_minutes(_minutes_of(folder) if steps is minutes is None else minutes or 0)
        more = [] if steps is None else ["--steps", str(steps)]
        more = more if minutes is None else ["--minutes", str(minutes)]
        _begin(home, folder, ["--resume", *more])


def rename(home: Home, name: str | None, title: Any) -> Path:
    """Call an own run otherwise, as near to a title as a folder can be; return its new folder.

    Raises `InputError` for a bundled or living run, and for a name that cannot be or is taken.
    """
    with home.start_lock():
        folder = _find_resting(home, name)
        wanted = plain_name(text("name", title, LONGEST_DATA)) or str(title)
        if wanted == folder.name:
            return folder
        return folder.rename(home.free_folder(wanted))


def delete(home: Home, name: str | None) -> None:
    """Delete an own run with all that belongs to it; raise `InputError` for any other."""
    with home.start_lock():
        folder = _find_resting(home, name)
        if folder.is_symlink():  # what it leads to is somebody's own
            folder.unlink()
            return
        going = folder.rename(home.path / f"{GOING}{secrets.token_hex(8)}")
    shutil.rmtree(going)


def _find_resting(home: Home, name: str | None) -> Path:
    """Return the folder of an own run that no process is at work in."""
    folder = home.find_own_run(name)
    if may_live(folder):
        raise InputError(f"run = {name!r}: it is being trained; stop it first")
    process.claim(folder).release()  # another process than the noted one may be there, too
    return folder


@contextmanager
def _one_at_a_time(home: Home, own: str = "") -> Iterator[None]:
    """Hold the lock under which a process is started.

    Raises `InputError` while a run other than `own` trains: two trainings on one machine take
    longer than one after the other. Visitors' runs wait for each other.
    """
    home.check_open()
    with home.start_lock():
        for each in home.live_runs() if home.neighbours is None else ():
            if each.state != "paused" and each.name != own:
                raise InputError(f"run {each.name} is being trained: stop or pause it first")
        yield


def _minutes_of(folder: Path) -> float:
    """Return how long a run is to train; 0 is until its steps are done."""
    return Config.read(folder / CONFIG).training.minutes


def _begin(home: Home, folder: Path, words: Sequence[str], ini: str = "") -> None:
    """Start a run's process, or let the run wait for its turn."""
    if home.neighbours is None:
        _spawn(folder, ["train", "--run", str(folder), *words], ini)
        return
    process.drop_requests(folder)
    scheduler.ask(folder, words, ini)
    scheduler.serve(home.neighbours, home.turn_seconds)


def _spawn(folder: Path, words: Sequence[str], ini: str = "") -> None:
    """Start a run's process; requests to the one before it are dropped."""
    process.drop_requests(folder)
    process.record(folder, process.spawn(words, folder / LOG, ini), process.STARTING)


def stop(folder: Path) -> None:
    """Ask a run's process to finish its step, save and leave; asked again, it leaves at once.

    A run that waits leaves the line; one that has not begun yet goes altogether.
    """
    if status(folder).state == "stopping":
        process.kill(folder)
    if not scheduler.stop(folder):
        _request(folder, process.STOP)


def pause(folder: Path) -> None:
    """Ask a run's process to save and wait, until `unpause`; among visitors its slot goes on."""
    if not scheduler.hold(folder, True):
        _request(folder, process.PAUSE)


def unpause(home: Home, folder: Path) -> None:
    """Let a paused run go on; raise `InputError` while another one is being trained."""
    home.check_open()
    if scheduler.hold(folder, False):
        return
    with _one_at_a_time(home, folder.name):
        process.take_request(folder, process.PAUSE)


def find_place(home: Home, folder: Path) -> scheduler.Place | None:
    """Return where a run stands in the line of visitors' runs; None where it does not wait."""
    place = home.neighbours
    return None if place is None else scheduler.find_place(place, folder, home.turn_seconds)


def request_sample(folder: Path) -> None:
    """Ask a run's process for samples after the step at hand."""
    _request(folder, process.SAMPLE)


def request_save(folder: Path) -> None:
    """Ask a run's process for a checkpoint after the step at hand."""
    _request(folder, process.SAVE)


def _request(folder: Path, what: str) -> None:
    if status(folder).alive:
        process.request(folder, what)
