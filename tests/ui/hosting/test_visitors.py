"""Keys of visitors, and what belongs to each."""

import base64
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from sd.common.validation import InputError
from sd.runs import Home
from sd.ui.hosting import visitors
from sd.ui.hosting.modes import CLASS, PUBLIC, Mode
from sd.ui.hosting.visitors import CLOSED, HEADER, TOKEN_HEADER, Keys, Visitors, read_secret

KEYS = Keys(b"0123456789abcdef")


def test_a_key_names_its_visitor_and_no_other_is_believed() -> None:
    key, other = KEYS.mint(), KEYS.mint()
    name = KEYS.visitor_of(key)
    assert name is not None and len(name) == 24 and name == KEYS.visitor_of(key)
    assert KEYS.visitor_of(other) not in (None, name)
    assert Keys(b"another secret!!").visitor_of(key) is None
    data = base64.urlsafe_b64decode(key)
    for place in range(len(data)):
        forged = bytes([*data[:place], data[place] ^ 1, *data[place + 1 :]])
        assert KEYS.visitor_of(base64.urlsafe_b64encode(forged).decode()) is None


@pytest.mark.parametrize("key", ["", "x", "é" * 44, "=" * 44, "A" * 44, "A" * 10**6, "a/b+", "\0"])
def test_what_is_no_key_is_nobody(key: str) -> None:
    assert KEYS.visitor_of(key) is None


def test_the_secret_is_made_once_and_is_this_users_alone(tmp_path: Path) -> None:
    secret = read_secret(tmp_path, {})
    assert read_secret(tmp_path, {}) == secret and len(secret) == 64
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert read_secret(tmp_path, {"SD_SECRET": "of the environment"}) == b"of the environment"
    with pytest.raises(InputError, match="SD_SECRET: must have at least 16 characters"):
        read_secret(tmp_path, {"SD_SECRET": "short"})


def test_each_visitor_has_a_home_and_nobody_a_closed_one(tmp_path: Path) -> None:
    crowd = Visitors(tmp_path, PUBLIC, KEYS, together=[together := object.__new__(Keys)])
    one, other = ({HEADER: KEYS.mint()} for _ in range(2))
    shared = crowd.shared_of(one)
    assert shared is crowd.shared_of(one) is not crowd.shared_of(other)
    assert shared.home.path.parent == tmp_path / "visitors" == shared.home.neighbours
    assert shared.part(Keys) is crowd.shared_of(other).part(Keys) is together
    assert crowd.shared_of({HEADER: "forged"}) is crowd.nobody is crowd.shared_of({})
    with pytest.raises(InputError, match=CLOSED):
        crowd.nobody.home.ensure_writable()
    assert not crowd.nobody.home.path.exists()


def test_a_restart_leaves_visitors_the_room_that_they_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they keep is free no more: it must not be taken from them once again."""
    free = 1000
    monkeypatch.setattr(visitors.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert Visitors(tmp_path, CLASS, KEYS).room == 600
    (tmp_path / "visitors" / "one").mkdir(parents=True)
    (tmp_path / "visitors" / "one" / "weights").write_bytes(b"0" * 500)
    free = 500
    assert Visitors(tmp_path, CLASS, KEYS).room == 600


def test_of_many_visitors_the_oldest_are_remembered_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visitors, "MOST_SHARED", 2)
    crowd = Visitors(tmp_path, PUBLIC, KEYS)
    first, *others = ({HEADER: KEYS.mint()} for _ in range(3))
    before = crowd.shared_of(first)
    for each in others:
        crowd.shared_of(each)
    again = crowd.shared_of(first)
    assert again is not before and again.home == before.home


def test_who_comes_again_keeps_the_key(tmp_path: Path) -> None:
    crowd = Visitors(tmp_path, PUBLIC, KEYS)
    key = crowd.welcome({}, "here")
    assert crowd.welcome({HEADER: key}, "here") == key != crowd.welcome({}, "here")
    assert crowd.name_of({HEADER: crowd.welcome({HEADER: "foreign"}, "here")})


def test_newcomers_are_counted_by_address_and_in_all(tmp_path: Path) -> None:
    crowd = Visitors(tmp_path, Mode("few", new_in_hour=2, new_in_day=4), KEYS)
    for now in (0.0, 1.0):
        crowd.welcome({}, "school", now)
    with pytest.raises(InputError, match="too many new visitors"):
        crowd.welcome({}, "school", 3599.0)
    crowd.welcome({}, "school", 3601.0)  # the first was an hour ago
    crowd.welcome({}, "elsewhere", 3602.0)
    with pytest.raises(InputError, match="too many new visitors"):
        crowd.welcome({}, "a third place", 3603.0)
    crowd.welcome({}, "a third place", 86402.0)


def test_a_class_is_for_those_who_were_told(tmp_path: Path) -> None:
    crowd = Visitors(tmp_path, CLASS, KEYS)
    for token in ("", "x", KEYS.token[:-1], "é"):
        with pytest.raises(PermissionError, match="by the address that your teacher gave you"):
            crowd.welcome({TOKEN_HEADER: token}, "here")
    key = crowd.welcome({TOKEN_HEADER: KEYS.token}, "here")
    assert crowd.welcome({HEADER: key}, "here") == key  # later without it
    assert KEYS.token == Keys(b"0123456789abcdef").token != Keys(b"another secret!!").token


def test_a_home_of_a_visitor_has_bounds(tmp_path: Path) -> None:
    home = Home(tmp_path, most_runs=1, most_minutes=10)
    home.check_new_run()
    for minutes in (0, 10.1):
        with pytest.raises(InputError, match="at most 10 minutes"):
            home.check_minutes(minutes)
    home.check_minutes(10)
    (tmp_path / "a").mkdir()
    for name in ("config.ini", "events.jsonl"):
        (tmp_path / "a" / name).touch()
    with pytest.raises(InputError, match="keeps 1 for each; delete one first"):
        home.check_new_run()
    (tmp_path / "a" / "more").write_bytes(bytes(1000))
    full = Home(tmp_path, most_bytes=1500)
    full.check_room(500)
    with pytest.raises(InputError, match="this page keeps 1 KiB for each"):
        full.check_room(501)
    together = Home(tmp_path / "a", neighbours=tmp_path, most_together=1500)
    together.check_room(500)
    with pytest.raises(InputError, match="this page is full: come back when others"):
        together.check_room(501)
    assert Home(tmp_path, kept_days=2).kept_until(1000.0) == 173_800
    assert Home(tmp_path).kept_until() is None
    Home(tmp_path).check_minutes(0)
    Home(tmp_path).check_new_run()
