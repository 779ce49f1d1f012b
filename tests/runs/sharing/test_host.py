"""What a host sees and does, without a name of anybody's."""

import os
from pathlib import Path

import pytest

from sd import runs
from sd.common.validation import InputError
from sd.runs.sharing import host, scheduler
from tests.helpers.run_folders import START, STEP, make_run

ANNA, BERT = "a1b2c3" + "0" * 18, "d4e5f6" + "0" * 18


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two visitors: one with two runs, of which one waits; one with a run that ended."""
    visitors = tmp_path / "visitors"
    make_run(visitors / ANNA, "my secret cats", events=START + STEP)
    waiting = make_run(visitors / ANNA, "waits", events=START + STEP)
    scheduler.ask(waiting, ["--resume"])
    make_run(visitors / BERT, "dogs", events=START + STEP)
    for name, now in ((ANNA, 2000), (BERT, 1000)):
        (visitors / name / host.SEEN).touch()
        os.utime(visitors / name / host.SEEN, (now, now))
    return visitors


def test_visitors_and_runs_are_letters_with_what_they_take(place: Path) -> None:
    anna, bert = host.list_visitors(place)
    assert (anna.id, anna.seen, bert.id, bert.seen) == (ANNA[:6], 2000, BERT[:6], 1000)
    assert {run.state for run in anna.runs} == {"waiting", "lost"}
    assert all(len(run.id) == 6 and run.step == 4 and run.total == 10 for run in anna.runs)
    assert 0 < sum(run.size for run in anna.runs) == anna.size
    assert "cats" not in str(anna) and str(place) not in str(anna)


def test_a_host_stops_one_run_or_all(place: Path) -> None:
    waiting = place / ANNA / "waits"
    (waiting / runs.RUN).touch()
    host.stop(place, "a1b2c3", host.run_id(place / ANNA / "my secret cats"))
    assert runs.status(waiting).state == "waiting"
    host.stop(place, "a1b2c3", host.run_id(waiting))
    assert runs.status(waiting).state != "waiting"
    scheduler.ask(waiting, ["--resume"])
    host.stop(place, ANNA)
    assert runs.status(waiting).state != "waiting"


def test_a_host_deletes_one_run_or_a_visitor(place: Path) -> None:
    (place / ANNA / "waits" / runs.RUN).touch()
    host.delete(place, "a1b2c3", host.run_id(place / ANNA / "waits"))
    assert [each.name for each in runs.Home(place / ANNA).run_folders()] == ["my secret cats"]
    host.delete(place, "a1b2c3")
    assert [home.name for home in runs.list_folders(place)] == [BERT]


@pytest.mark.parametrize("visitor", ["", "a1b2", "ffffff", "../visitors", "A1B2C3", "d4e5f6\0"])
def test_who_is_not_there_is_named(place: Path, visitor: str) -> None:
    for act in (host.stop, host.delete):
        with pytest.raises(InputError, match=r"visitor = .*: there is none"):
            act(place, visitor)
    with pytest.raises(InputError, match="run = '000000': this visitor has none"):
        host.delete(place, "a1b2c3", "000000")
    assert len(host.list_visitors(place)) == 2


def test_where_nobody_came_nothing_is_listed(tmp_path: Path) -> None:
    assert host.list_visitors(tmp_path / "visitors") == []
