"""The journal: what is added is read once, what is rewritten is read anew, what is cut is gone."""

import json
from pathlib import Path
from typing import Any

import pytest

from sd.runs import journal


def line(**facts: Any) -> str:
    return json.dumps(facts) + "\n"


def test_only_what_was_added_is_parse_lines_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    genuine = journal._parse_lines
    monkeypatch.setattr(
        journal, "_parse_lines", lambda lines: (parsed.append(len(lines)), genuine(lines))[1]
    )
    for number in range(5):
        journal.append(tmp_path, "step", {"step": number})
        assert [event["step"] for event in journal.events(tmp_path)] == list(range(number + 1))
    journal.events(tmp_path)
    size = (tmp_path / journal.EVENTS).stat().st_size
    assert len(parsed) == 5 and sum(parsed) == size


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path, whole = tmp_path / journal.EVENTS, line(event="step", step=1)
    path.write_text(whole + whole[:9])
    assert len(journal.events(tmp_path)) == 1
    with path.open("a") as file:
        file.write(whole[9:])
    assert len(journal.events(tmp_path)) == 2


@pytest.mark.parametrize("in_place", [True, False])
def test_a_rewritten_journal_is_read_anew(tmp_path: Path, in_place: bool) -> None:
    path = tmp_path / journal.EVENTS
    path.write_text(line(event="start", total=3) + line(event="step", step=1))
    assert len(journal.events(tmp_path)) == 2
    other = line(event="start", total=5) + line(event="step", step=1) + line(event="step", step=2)
    if not in_place:
        path.rename(tmp_path / "old")
    path.write_text(other)
    assert [event.get("total") for event in journal.events(tmp_path)] == [5, None, None]


def test_another_file_of_the_same_beginning_is_read_anew(tmp_path: Path) -> None:
    path, beside = tmp_path / journal.EVENTS, tmp_path / "beside"
    start = line(event="start", line="x" * 200)  # longer than what is compared
    for step in (1, 5):
        beside.write_text(start + line(event="step", step=step))
        beside.replace(path)
        assert journal.events(tmp_path)[-1]["step"] == step


def test_a_cut_drops_what_came_later_and_the_end(tmp_path: Path) -> None:
    path = tmp_path / journal.EVENTS
    told = [("start", {}), ("step", {"step": 1}), ("samples", {"step": 2}), ("baseline", {})]
    told += [("step", {"step": 3}), ("stopped", {"step": 2}), ("failed", {"line": "x"})]
    for event, facts in told:
        journal.append(tmp_path, event, facts)
    with path.open("a") as file:
        file.write('{"event": "st')  # a killed writer's
    journal.cut(tmp_path, 2)
    kinds = ["start", "step", "samples", "baseline"]
    assert [event["event"] for event in journal.events(tmp_path)] == kinds
    assert [json.loads(each)["event"] for each in path.read_text().splitlines()] == kinds


def test_a_missing_journal_is_empty_and_keeps_nothing(tmp_path: Path) -> None:
    assert journal.events(tmp_path / "none") == ()
    for number in range(journal.MOST_JOURNALS + 20):
        folder = tmp_path / str(number)
        folder.mkdir()
        journal.append(folder, "start", {})
        assert len(journal.events(folder)) == 1
    assert len(journal._JOURNALS) <= journal.MOST_JOURNALS


def test_a_figure_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append(tmp_path, "step", {"loss": float("nan")})


def test_what_was_measured_comes_in_the_order_of_steps_and_the_newest_counts(
    tmp_path: Path,
) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "a.png").write_bytes(b"")
    for step in (20, 10):
        levels = {"times": [5], "train": [0.1 * step], "held_out": None}
        journal.append(tmp_path, "evaluation", {"step": step, **levels})
        journal.append(tmp_path, "samples", {"step": step, "file": "samples/a.png"})
        journal.append(tmp_path, "baseline", {"low": step})
    assert [each.step for each in journal.evaluations(tmp_path)] == [10, 20]
    assert [each.step for each in journal.samples(tmp_path)] == [10, 20]
    found = journal.baseline(tmp_path)
    assert found is not None and found["low"] == 10


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "config.ini"])
def test_a_sheet_is_looked_for_among_the_samples_alone(tmp_path: Path, name: str) -> None:
    """A journal may be a stranger's: what it names elsewhere is no picture of the run."""
    (tmp_path / "run" / "samples").mkdir(parents=True)
    for path in ("secret.png", "run/config.ini"):
        (tmp_path / path).write_bytes(b"")
    journal.append(tmp_path / "run", "samples", {"step": 1, "file": name})
    assert journal.samples(tmp_path / "run") == []


def test_columns_and_sheets(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    for name in ("step-1.png", "raw-1.png", "step-2.png"):
        (tmp_path / "samples" / name).write_bytes(b"")
    facts = {"loss": 0.5, "lr": 1e-3, "grad_norm": 2.0, "pictures_per_second": 8.0}
    journal.append(tmp_path, "step", {"step": 1, **facts})
    journal.append(tmp_path, "step", {"step": 2, "loss": 0.25})
    measured = {"step": 1, "times": [5, 15], "train": [0.5, 0.1], "held_out": None}
    journal.append(tmp_path, "evaluation", measured | {"train": [0.9, 0.9]})
    journal.append(tmp_path, "evaluation", measured)  # again, after a kill
    names = {"file": "samples/step-1.png", "raw": "samples/raw-1.png"}
    journal.append(tmp_path, "samples", {"step": 1, **names, "nearest": [[3, 0.5]]})
    journal.append(tmp_path, "samples", {"step": 2, "file": "samples/step-2.png"})
    assert journal.history(tmp_path) == journal.History(
        [1, 2], [0.5, 0.25], [1e-3, 0], [2.0, 0], [8.0, 0]
    )
    assert journal.evaluations(tmp_path) == [journal.Evaluation(1, [5, 15], [0.5, 0.1], None)]
    first, second = journal.samples(tmp_path)
    assert (first.step, first.nearest) == (1, [(3, 0.5)])
    assert first.raw == tmp_path / "samples" / "raw-1.png"
    assert (second.step, second.raw, second.nearest) == (2, None, [])
    assert journal.baseline(tmp_path) is None and journal.notices(tmp_path) == []
