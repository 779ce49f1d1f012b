"""Who looks at the page: a key that the server signs and the browser keeps, and what is theirs.

A key is no account and no cookie: it comes with each request in a header of its own, so that no
page elsewhere can send it along, and it works in a frame and without third-party cookies.
"""

import base64
import hashlib
import hmac
import math
import os
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from sd.common import disk
from sd.common.validation import InputError
from sd.runs import Home
from sd.runs.sharing.closing import closed_line
from sd.runs.sharing.host import SEEN, VISITORS
from sd.ui.hosting.modes import Mode
from sd.ui.hosting.rates import Rates
from sd.ui.state import Shared

HEADER, TOKEN_HEADER = "x-sd-visitor", "x-sd-class"
SECRET_NAME, SECRET_FILE = "SD_SECRET", "secret"
HALF = 16  # bytes of a key that are drawn, and as many that sign them
LONGEST_KEY = 64  # characters
NOBODY = "nobody"  # the folder of who is none, which is never made
SEEN_SECONDS = 60.0  # between two notes of that
DISK_SHARE = 0.6  # of what the disk has free beside what visitors keep, for all of them together
SPARE = 2**29  # bytes of the disk for uploads and trainings, which bundles and films leave free
MOST_SHARED = 64  # visitors whose samplings are remembered, those who came last
HOUR, DAY = 3600.0, 86400.0  # seconds
LEAST_SECRET = 16  # characters
CLOSED = "this page does not know you yet: reload it"


class Keys:
    """Keys of visitors, and the token of a class, under one secret."""

    def __init__(self, secret: bytes) -> None:
        """Sign with a secret; with another one all keys are foreign."""
        self._secret = secret

    def mint(self) -> str:
        """Return a new key."""
        drawn = secrets.token_bytes(HALF)
        return base64.urlsafe_b64encode(drawn + self._sign(drawn)).decode()

    def visitor_of(self, key: str) -> str | None:
        """Return the name of a key's visitor, 24 hexadecimal digits; None for a forged one."""
        if not key.isascii() or len(key) > LONGEST_KEY:
            return None
        with suppress(ValueError):
            data = base64.b64decode(key, altchars=b"-_", validate=True)
            if hmac.compare_digest(data[HALF:], self._sign(data[:HALF])):
                return hashlib.sha256(data).hexdigest()[:24]
        return None

    @property
    def token(self) -> str:
        """What members of a class are told: it stays the same as long as the secret."""
        return self._sign(b"class").hex()[:HALF]

    @property
    def admin(self) -> str:
        """What the host is told, unless SD_ADMIN is set."""
        return self._sign(b"admin").hex()

    def _sign(self, data: bytes) -> bytes:
        return hmac.digest(self._secret, data, "sha256")[:HALF]


def read_secret(place: Path, environment: Mapping[str, str] = os.environ) -> bytes:
    """Return SD_SECRET, else what the file `secret` in a place holds, which is made if need be.

    Raises `InputError` for a secret that is too short, and `OSError` where none can be written.
    """
    if given := environment.get(SECRET_NAME, ""):
        if len(given) < LEAST_SECRET:
            raise InputError(f"{SECRET_NAME}: must have at least {LEAST_SECRET} characters")
        return given.encode()
    file = place / SECRET_FILE
    with suppress(FileNotFoundError):
        if len(kept := file.read_bytes()) >= LEAST_SECRET:
            return kept
    made = secrets.token_hex(32).encode()
    disk.write_file(file, lambda temporary: temporary.write_bytes(made))  # for this user alone
    return made


class Visitors:
    """The visitors of a page: each has a home, and what its samplings and pages share."""

    def __init__(
        self,
        place: Path,
        mode: Mode,
        keys: Keys,
        parts: Callable[[], Iterable[object]] = tuple,
        together: Iterable[object] = (),
    ) -> None:
        """Let the visitors' homes lie in a place; see `Mode` for how many come.

        parts: makes what a visitor has alone; together: what all of them share. The rest is made
        for each when it is needed.
        """
        self.place, self.mode, self.keys = place / VISITORS, mode, keys
        self._parts, self._together = parts, tuple(together)
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Shared] = OrderedDict()
        self._seen: dict[str, float] = {}
        self._rates = Rates(mode.sent_in_hour)
        kept = Home(self.place).size()  # before a restart: it counts as theirs, not as lost
        self.room = int(DISK_SHARE * (shutil.disk_usage(place).free + kept))  # bytes of all
        self._minted: list[tuple[float, str]] = []  # when, and for which address
        self.nobody = self._new_shared(NOBODY)
        self.heavy, self.stranger = (mode.heavy, mode.heavy_in_all), CLOSED

    def check_rate(self, visitor: str | None, page: str) -> None:
        """Count an event of a visitor's page; raise `InputError` where there were too many."""
        self._rates.check(visitor, page)

    def check_upload(self, visitor: str, size: int) -> None:
        """Count a visitor's upload of so many bytes; raise `InputError` where it is too much."""
        self._rates.check_upload(visitor, size)

    def closed_line(self) -> str:
        """Return why the host has closed the page; "" where it is open."""
        return closed_line(self.place.parent)

    def name_of(self, headers: Mapping[str, str]) -> str | None:
        """Return whose a request is by its headers, or None for nobody's."""
        return self.keys.visitor_of(headers.get(HEADER, ""))

    def shared_of(self, headers: Mapping[str, str]) -> Shared:
        """Return what the events of a request's visitor share; `nobody` where it has none."""
        name = self.name_of(headers)
        if name is None:
            return self.nobody
        with self._lock:
            shared = self._known.pop(name, None) or self._new_shared(name)
            self._known[name] = shared
            while len(self._known) > MOST_SHARED:
                self._seen.pop(self._known.popitem(last=False)[0], None)
            self._note(name, shared.home.path)
            return shared

    def drop(self, name: str) -> None:
        """Forget what a visitor's samplings and pages share."""
        with self._lock:
            self._known.pop(name, None)
            self._seen.pop(name, None)

    def _note(self, name: str, home: Path) -> None:
        """Note that a visitor is here, where the visitor has anything; rarely, on the disk."""
        now = time.monotonic()
        if now - self._seen.get(name, -math.inf) > SEEN_SECONDS and home.is_dir():
            self._seen[name] = now
            with suppress(OSError):
                (home / SEEN).touch()

    def welcome(self, headers: Mapping[str, str], address: str, now: float | None = None) -> str:
        """Return the key with which a visitor goes on: the one that came, or a new one.

        address: where the request came from, which counts newcomers. Raises `InputError` where
        too many came, and `PermissionError` without a class's token.
        """
        if self.name_of(headers) is not None:
            return headers[HEADER]
        if self.mode.has_token and not hmac.compare_digest(
            headers.get(TOKEN_HEADER, "").encode(), self.keys.token.encode()
        ):
            raise PermissionError("class: open the page by the address that your teacher gave you")
        moment = time.monotonic() if now is None else now
        with self._lock:
            self._minted = [each for each in self._minted if each[0] > moment - DAY]
            lately = sum(at > moment - HOUR and who == address for at, who in self._minted)
            full = len(self._minted) >= self.mode.new_in_day
            if full or (self.mode.new_in_hour is not None and lately >= self.mode.new_in_hour):
                raise InputError("too many new visitors: come back in an hour")
            self._minted.append((moment, address))
        return self.keys.mint()

    def _new_shared(self, name: str) -> Shared:
        home = Home(
            self.place / name,
            neighbours=self.place,
            turn_seconds=self.mode.turn_seconds,
            closed=CLOSED if name == NOBODY else "",
            most_runs=self.mode.runs,
            most_minutes=self.mode.minutes,
            most_bytes=self.mode.disk,
            most_together=self.room,
            kept_days=self.mode.kept_days,
            spare=SPARE,
        )
        return Shared(*self._parts(), *self._together, home=home)
