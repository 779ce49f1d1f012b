"""For whom the page is there, and how much each visitor may have of it at a time."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from sd.common import validation
from sd.ui.adapter.hosts import is_local
from sd.ui.hosting.space import is_space

MODE_NAME = "SD_MODE"


@dataclass(frozen=True)
class Mode:
    """For whom a page is there.

    name: as it is chosen. has_visitors: whether each visitor has a home of their own. has_token:
    whether only those who were told a token become visitors. heavy: samplings, uploads and the like
    of one visitor, at work or waiting, of each kind; heavy_in_all: of all visitors. minutes: the
    longest training, runs and disk: the most runs and bytes that a visitor keeps; None is any.
    kept_days: how long all that stays after the last visit. turn_seconds: how long a run trains
    where others wait. sent_in_hour: bytes of pictures that a visitor uploads. new_in_hour,
    new_in_day: visitors that become known, from one address and in all.
    """

    name: str
    has_visitors: bool = True
    has_token: bool = False
    heavy: int = 2
    heavy_in_all: int = 24
    minutes: float | None = None
    runs: int | None = None
    disk: int | None = None
    kept_days: int = 1
    turn_seconds: float = 60.0
    sent_in_hour: int = 3 * 10**9
    new_in_hour: int | None = None
    new_in_day: int = 2000


OWN = Mode("own", has_visitors=False)
CLASS = Mode(
    "class", has_token=True, minutes=30, runs=10, disk=3 * 10**9, kept_days=30, turn_seconds=120
)
PUBLIC = Mode(
    "public", minutes=10, runs=3, disk=600 * 10**6, sent_in_hour=400 * 10**6, new_in_hour=60
)
MODES = {mode.name: mode for mode in (OWN, CLASS, PUBLIC)}


def choose_mode(asked: str | None, host: str, environment: Mapping[str, str] = os.environ) -> Mode:
    """Return the mode that is asked for, else named by SD_MODE, else that which fits a host.

    That is `own` where only this machine reaches the page, and `public` anywhere else. Raises
    `InputError` for a mode that there is not.
    """
    label = "--mode" if asked is not None else MODE_NAME
    name = environment.get(MODE_NAME, "") if asked is None else asked
    if name:
        return MODES[validation.choice(label, name, list(MODES))]
    return OWN if is_local(host) and not is_space(environment) else PUBLIC
