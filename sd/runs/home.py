"""A home: the runs, models and uploads of one visitor under one path. No torch.

Every function that reads or writes a visitor's files is handed a `Home`; nothing below it knows
where that is. `default_home` is the one of this machine, from SD_HOME.
"""

import itertools
import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock

from sd.common.paths import PROJECT
from sd.common.text import brief, format_bytes, printable, system_reason
from sd.common.validation import InputError, bare, file_name
from sd.runs.journal import EVENTS
from sd.runs.process import PROCESS, START_LOCK, STARTING
from sd.runs.run import CONFIG, GOING, LOG, SOURCE, Status, may_live, status
from sd.runs.sharing.closing import closed_line
from sd.runs.sharing.turn import TURN, read_turn

BUNDLED_RUNS = PROJECT / "checkpoints"  # the runs that come with the project
DEVICES = re.compile(r"(con|prn|aux|nul|(com|lpt)\d)(\..*)?", re.IGNORECASE)  # on Windows
LONGEST_TITLE, MOST_BYTES = 48, 180  # of a new run's name, before its number
DAY = 86400.0  # seconds
FULL = "this page is full: come back when others have taken theirs away"
PROBE = 4096  # bytes, which a full disk does not take


@dataclass(frozen=True)
class Home:
    """Where one visitor's runs and uploads lie; everybody's bundled runs can be read beside them.

    path: the folder of runs. bundled: the folder of the runs that come with the project.

    Among strangers, neighbours: the folder in which all visitors' homes lie, who train in turns of
    turn_seconds; closed: why nothing may be written here; most_runs, most_bytes, most_minutes: how
    many runs and bytes may be kept, and how long each run trains; most_together: the bytes of all
    neighbours; kept_days: how long all stays after the last visit; spare: bytes of the disk that
    what is made to be taken away leaves free.
    """

    path: Path
    bundled: Path = BUNDLED_RUNS
    neighbours: Path | None = None
    turn_seconds: float = 60.0
    closed: str = ""
    most_runs: int | None = None
    most_bytes: int | None = None
    most_minutes: float | None = None
    most_together: int | None = None
    kept_days: int | None = None
    spare: int = 0

    @property
    def uploads(self) -> Path:
        """The folder of uploaded pictures."""
        return self.path / "uploads"

    @property
    def measured(self) -> Path:
        """The folder of what was measured of the machine, which tells nothing of a visitor."""
        return self.neighbours.parent if self.neighbours else self.path

    def ensure_writable(self) -> Path:
        """Return the folder of runs, made if need be.

        Raises `InputError` with the system's own reason where nothing can be written there.
        """
        if self.closed:
            raise InputError(self.closed)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.path) as probe:
                probe.write(bytes(PROBE))
        except OSError as error:
            reason = "it is a file" if isinstance(error, FileExistsError) else system_reason(error)
            name = brief(printable(self.path.name))
            raise InputError(
                f"the folder of runs, {name}, cannot be written ({reason}); SD_HOME names another"
            ) from None
        return self.path

    def new_folder(self, title: str = "") -> Path:
        """Return the path of a new run, named as near to a title as a folder can be.

        Without one: the time, and letters that nobody guesses.
        """
        name = plain_name(title)
        if not name:
            return self.path / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
        names = (name if number == 1 else f"{name} {number}" for number in itertools.count(1))
        return self.path / next(each for each in names if not self._is_taken(each))

    def _is_taken(self, name: str) -> bool:
        """Tell whether a run cannot be called so."""
        there = (self.path / name, self.bundled / name)
        is_kept = name.casefold() == self.uploads.name or DEVICES.fullmatch(name)
        return bool(is_kept) or any(map(os.path.lexists, there))

    def find_run(self, name: str | None) -> Path:
        """Return the folder of the run called `name`, own or bundled; raise `InputError` if none.

        A name is a plain file name, so no path leads out of the home.
        """
        for place in (self.path, self.bundled):
            folder = place / file_name("run", name)
            if has_run(folder):
                return folder
        raise InputError(f"run = {name!r}: there is no run of that name")

    def is_bundled(self, folder: Path) -> bool:
        """Tell whether a run came with the project; one's own may lie beside it."""
        notes = (folder / name for name in (PROCESS, STARTING, TURN))
        return folder.parent == self.bundled and not any(note.exists() for note in notes)

    def find_own_run(self, name: str | None) -> Path:
        """Return the folder of an own run, which may be changed; raise `InputError` for others."""
        folder = self.find_run(name)
        if folder.parent != self.path or self.is_bundled(folder):
            raise InputError(f"run = {name!r}: it comes with the project and stays as it is")
        return folder

    def free_folder(self, name: str) -> Path:
        """Return where a run of exactly that name would lie; raise `InputError` where it cannot."""
        if self._is_taken(file_name("name", name)):
            raise InputError(f"name = {name!r}: there is something of that name already")
        return self.path / name

    def run_folders(self) -> list[Path]:
        """Return the folders of the own runs, newest first, without asking what they are doing."""
        return [folder for folder in list_folders(self.path) if _is_listed(folder)]

    def live_runs(self) -> list[Status]:
        """Return those of the own runs that train or wait; of others no journal is read."""
        found = [each for each in self.run_folders() if may_live(each) or read_turn(each)]
        return [now for now in map(status, found) if now.alive]

    def start_lock(self) -> FileLock:
        """Return the lock under which a process is started: one for all neighbours."""
        self.ensure_writable()
        return FileLock((self.neighbours or self.path) / START_LOCK)

    @property
    def closed_line(self) -> str:
        """Why no upload, training or sampling may begin here; "" where they may."""
        return self.closed or (closed_line(self.neighbours.parent) if self.neighbours else "")

    def check_open(self) -> None:
        """Raise `InputError` where nothing new may begin."""
        if line := self.closed_line:
            raise InputError(line)

    def check_room(self, more: int = 0) -> None:
        """Raise `InputError` where `more` bytes are more than may be kept."""
        if self.most_bytes is not None and self.size() + more > self.most_bytes:
            raise InputError(
                f"this page keeps {format_bytes(self.most_bytes)} for each; delete a run first"
            )
        around = Home(self.neighbours).size() if self.neighbours and self.most_together else 0
        if self.most_together is not None and around + more > self.most_together:
            raise InputError(FULL)

    def kept_until(self, now: float | None = None) -> float | None:
        """Return until when (Unix) all here stays if nobody comes again; None is for good."""
        moment = time.time() if now is None else now
        return None if self.kept_days is None else moment + DAY * self.kept_days

    def size(self) -> int:
        """Return the bytes of all that is kept; what goes meanwhile counts nothing."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(f"{folder}/{name}").st_size
        return total

    def check_new_run(self) -> None:
        """Raise `InputError` where no more runs may be kept."""
        self.check_room()
        if self.most_runs is not None and len(self.run_folders()) >= self.most_runs:
            raise InputError(f"runs: this page keeps {self.most_runs} for each; delete one first")

    def check_minutes(self, minutes: float) -> None:
        """Raise `InputError` for a training that is longer than here; 0 minutes have no end."""
        if self.most_minutes is not None and not 0 < minutes <= self.most_minutes:
            raise InputError(
                f"training.minutes = {minutes:g}: this page trains by the clock, at most "
                f"{self.most_minutes:g} minutes"
            )


def default_home() -> Home:
    """Return the home of this machine: SD_HOME, or `checkpoints/` beside the package."""
    place = os.environ.get("SD_HOME") or BUNDLED_RUNS
    return Home(Path(place).expanduser().resolve(), BUNDLED_RUNS)


def plain_name(title: str) -> str:
    """Return a title as a run can be called: what no folder's name should hold is a space."""
    shown = "".join(
        each if each in ".-" or bare(each).isalnum() or bare(each) == "_" else " "
        for each in printable(title)
    )
    name = " ".join(shown.split())[:LONGEST_TITLE].strip(" .-_")
    while len(name.encode()) > MOST_BYTES:
        name = name[:-1].rstrip(" .-_")
    return name if not name or is_plain(name) else ""


def is_plain(name: str) -> bool:
    """Tell whether a name is one by which a run is found."""
    with suppress(InputError):
        return bool(file_name("run", name))
    return False


def list_folders(place: Path) -> list[Path]:
    """Return the folders in a place, the newest run first; none where there is no such place."""
    with suppress(OSError), os.scandir(place) as found:
        named = ((_began(each.path), each.name) for each in found if _is_shown(each))
        return [place / name for _, name in sorted(named, reverse=True)]
    return []


def _is_shown(entry: "os.DirEntry[str]") -> bool:
    """Tell whether a folder is there to be seen: one that is being deleted is not."""
    return entry.is_dir() and not entry.name.startswith(GOING)


def _began(folder: str) -> int:
    """Return when a run began, in nanoseconds: when it was written where its pictures come from."""
    for name in (SOURCE, CONFIG, LOG):
        with suppress(OSError):
            return os.stat(f"{folder}/{name}").st_mtime_ns
    return 0


def has_run(folder: Path) -> bool:
    """Tell whether a folder is a run's: of its settings or of a process that will write them."""
    place = str(folder)  # a page asks this of every run: no paths are made for it
    return any(os.path.isfile(f"{place}/{name}") for name in (CONFIG, STARTING, PROCESS, TURN))


def _is_listed(folder: Path) -> bool:
    """Tell whether a folder holds a run with something to tell, under a name that finds it."""
    found = is_plain(folder.name) and has_run(folder)
    return found and any(os.path.exists(f"{folder}/{each}") for each in (EVENTS, LOG, TURN))
