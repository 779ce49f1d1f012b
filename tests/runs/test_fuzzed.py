"""Runs that nobody wrote: whatever a journal or a bundle holds, every view of it is shown.

Seeded mutations of a good run. A bundle is refused in one line or shown; a journal that lies here
is shown, as far as it can be understood.
"""

import contextlib
import json
import math
import random
import resource
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from sd import runs
from sd.common.validation import InputError
from sd.runs import journal
from sd.runs.bundle import pack
from sd.runs.unbundle import unpack
from sd.ui import head
from sd.ui.train import control, samples, tab, watch
from tests.helpers.made import add_events
from tests.helpers.run_folders import list_runs
from tests.runs.test_bundle import (
    CHECKPOINT,
    members,
)
from tests.runs.test_unbundle import signed
from tests.ui.train.test_watch import CHINESE, ENGLISH

LARGEST_SENT = 2**20  # characters of all that one look sends
MOST_SECONDS, MOST_GROWTH = 1.0, 64 * 1024  # of processor time; kB
ODD: list[Any] = [
    None, True, False, -1, 0, 1, 2**53, 10**400, -0.0, 1e-320, 1e308, math.nan, math.inf, "", "x",
    "x" * 4000, "\ud800", "a\x00b", "<b>&", "猫" * 300, "{step}", "../../x", "1", [], [[]], [0], {},
    [None] * 20, [[0, 0.5]] * 10_000, [["a", "b"]], [[10**9, 0.5]], {"label": 5},
    {"label": "\udcff"}, list(range(10_000)), [math.nan] * 10, [1e308] * 10,
]  # fmt: skip
VIEWS: list[dict[str, Any]] = [
    *({"tool": "samples", "view": view} for view in samples.VIEWS),
    *({"tool": "samples", "step": step} for step in (0, 10)),
    *({"tool": "loss", "curve": curve} for curve in watch.CURVES),
    *({"tool": tool} for tool in watch.TOOLS),
]  # of the panel of a run
KINDS = ("start", "step", "evaluation", "samples", "baseline", "ingest", "notice", "paused",
         "continued", "resumed", "checkpoint", "finished", "stopped", "failed", "new")  # fmt: skip
Event = dict[str, Any]


@pytest.fixture
def good(run: Path) -> list[Event]:
    """The events of a run with steps, evaluations, two samples and pictures."""
    for name in ("step", "raw"):
        Image.effect_noise((38, 38), 80).convert("RGB").save(
            run / "samples" / f"{name}-000000010.png"
        )
    facts = {"lr": 0.1, "grad_norm": 1.0, "pictures_per_second": 9.0, "total": 40}
    more: list[Event] = [
        {"event": "step", "step": step, "loss": 1 / step, **facts} for step in range(21, 33)
    ]
    for step, name in ((10, 10), (24, 20)):
        more.append({"event": "evaluation", "step": step, "times": [5, 15, 45],
                     "train": [0.5, 0.2, 0.1], "held_out": [0.6, 0.3, 0.2]})  # fmt: skip
        more.append({"event": "samples", "step": step, "file": f"samples/step-{name:09d}.png",
                     "raw": f"samples/raw-{name:09d}.png", "prompts": ["cat", "dog"] * 8,
                     "nearest": [[place % 12, 0.1 * place] for place in range(16)]})  # fmt: skip
    add_events(run, *more, {"event": "notice", "step": 30, "kind": "skipped", "line": "left out"})
    return [dict(each) for each in runs.events(run)]


def mutated(events: list[Event], dice: random.Random) -> bytes:
    """Return a journal with one to six faults."""
    found = json.loads(json.dumps(events))
    for _ in range(dice.randint(1, 6)):
        place = dice.randrange(len(found))
        fault = dice.randrange(8)
        keys = sorted(found[place]) if isinstance(found[place], dict) else []
        if fault < 4 and keys:
            found[place][dice.choice(keys)] = dice.choice(ODD)
        elif fault == 4 and keys:
            value = found[place][key := dice.choice(keys)]
            found[place][key] = value[: dice.randrange(3)] if isinstance(value, list) else [value]
        elif fault == 5:
            found.insert(place, {"event": dice.choice(KINDS), "step": dice.choice(ODD)})
        elif fault == 6:
            found.insert(place, dice.choice([*ODD, dice.choice(found)]))
        else:
            dice.shuffle(found)
    lines = "".join(json.dumps(each) + "\n" for each in found).encode()
    if dice.random() < 0.2:  # what a bad disk does
        at = dice.randrange(len(lines))
        lines = lines[:at] + dice.randbytes(dice.randint(0, 40)) + lines[at + dice.randint(0, 40) :]
    return lines


def texts(value: Any) -> Iterator[str]:
    """Yield all texts in what is sent."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from (*texts(key), *texts(each))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts(each)


def look(request: Any, at: dict[str, Any]) -> Any:
    """Return what the page is sent that tells this of itself."""
    return tab.look(request, gr.EventData(None, {"by_page": False, **at}))


def looked_at(folder: Path) -> None:
    """Ask for every view of a run; hold what is sent to what a stream of events can carry."""
    name = folder.name
    request = random.Random(name).choice([ENGLISH, CHINESE])
    first = look(request, {"asked": name})
    patch = first["panel"]["patch"]
    assert patch["run"] == name and {"head", "sheets", "coach", "part"} <= patch.keys()
    known = {"run": name, "pulse": patch["pulse"]}
    known["steps"] = [each["step"] for each in patch["sheets"]["more"]]
    assert look(request, {**known, "drawn": patch["part"]["key"]}) == {}  # it has all of it
    sent = [first, *(look(request, {**known, **view}) for view in VIEWS)]
    assert all("part" in each["panel"]["patch"] for each in sent)
    for do in ("choose", "runs"):
        sent.append(control.press(request, gr.EventData(None, {"do": do, "run": name})))
    sent.append(head.describe(name, "zh"))
    words = list(texts(sent))
    assert sum(map(len, words)) < LARGEST_SENT
    "".join(words).encode("utf-8")
    json.dumps(sent, allow_nan=False)
    assert "nan" not in "".join(each for each in words if "<polyline" in each)
    assert all(each.line.isprintable() for each in list_runs(runs.default_home()))


def every_journal(folder: Path, events: list[Event], seed: int, count: int) -> list[float]:
    """Look at `count` mutated journals; return the seconds that each took the processor."""
    dice, seconds = random.Random(seed), []
    for _ in range(count):
        (folder / runs.CONFIG).touch()
        (folder / journal.EVENTS).write_bytes(mutated(events, dice))
        begun = time.process_time()
        looked_at(folder)
        seconds.append(time.process_time() - begun)
    return seconds


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that numpy or Pillow warns of is passed over; toasts need a page."""
    monkeypatch.setattr(gr, "Warning", lambda *_, **__: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@pytest.mark.parametrize("seed", range(3))
def test_every_view_bears_any_journal(run: Path, good: list[Event], seed: int) -> None:
    every_journal(run, good, seed, 12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_every_view_bears_five_thousand_journals(
    run: Path,
    good: list[Event],
    seed: int,
) -> None:
    every_journal(run, good, seed, 10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert max(every_journal(run, good, seed, 490)) < MOST_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH


# Bundles


def change_number(data: bytes, dice: random.Random) -> bytes:
    """Return bytes with a part of them lost, doubled or turned into others."""
    at, length = dice.randrange(len(data) + 1), dice.randint(1, 30)
    piece = dice.choice([b"", data[at : at + length] * 2, dice.randbytes(length)])
    return data[:at] + piece + data[at + length :]


def change_json(data: bytes, dice: random.Random) -> bytes:
    """Return JSON with one of its values, however deep, turned into an odd one."""
    value = json.loads(data)
    place = value
    while isinstance(place, dict | list) and place:
        key = dice.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], dict | list) or not place[key] or dice.random() < 0.4:
            place[key] = dice.choice(ODD)
            break
        place = place[key]
    return json.dumps(value).encode()


def change_ini(data: bytes, dice: random.Random) -> bytes:
    """Return settings of which one has another value."""
    lines = data.decode().split("\n")
    at = dice.choice([number for number, line in enumerate(lines) if "=" in line])
    word = dice.choice(
        ["-1", "0", "2048", "4096", "10**9", "None", "[1, 2]", "x", "1e308", "/root"]
    )
    lines[at] = f"{lines[at].partition('=')[0]} = {word}"
    return "\n".join(lines).encode()


def spoilt(bundle: Path, events: list[Event], dice: random.Random) -> None:
    """Write a bundle anew with one to three faults, vouched for more often than not."""
    found = members(bundle)
    for _ in range(dice.randint(1, 3)):
        name = dice.choice(sorted(found))
        suffix: Callable[[bytes, random.Random], bytes] = {
            "json": change_json, "ini": change_ini,
        }.get(name.rpartition(".")[2], change_number)  # fmt: skip
        with contextlib.suppress(ValueError, IndexError):
            found[name] = suffix(found[name], dice)
        if dice.random() < 0.4:
            found["events.jsonl"] = mutated(events, dice)
        if dice.random() < 0.1:
            found[dice.choice(["x", f"{CHECKPOINT}/x.pkl", "samples/step-1.png"])] = b"x"
    if dice.random() < 0.7:
        with contextlib.suppress(ValueError, KeyError, AttributeError, TypeError):
            signed(found)
    with zipfile.ZipFile(bundle, "w", dice.choice([0, 8])) as packed:
        for name, content in found.items():
            packed.writestr(name, content)


def every_bundle(run: Path, events: list[Event], seed: int, count: int) -> int:
    """Open `count` spoilt bundles; return how many were shown, the others were told in a line."""
    dice, shown = random.Random(seed), 0
    bundle = pack(run, run.parent.parent / "run.zip")
    whole = bundle.read_bytes()
    for _ in range(count):
        bundle.write_bytes(whole)
        spoilt(bundle, events, dice)
        before = sorted(path.name for path in run.parent.iterdir())
        begun = time.process_time()
        try:
            opened = unpack(bundle, run.parent)
        except InputError as error:
            assert str(error).isprintable() and len(str(error)) <= 300
            assert sorted(path.name for path in run.parent.iterdir()) == before
            continue
        looked_at(opened)
        shown += 1
        assert time.process_time() - begun < 10 * MOST_SECONDS
    return shown


def test_a_spoilt_bundle_is_told_or_shown(run: Path, good: list[Event]) -> None:
    every_bundle(run, good, 0, 16)


@pytest.mark.slow
def test_two_hundred_spoilt_bundles_are_told_or_shown(
    run: Path,
    good: list[Event],
) -> None:
    assert 0 < every_bundle(run, good, 1, 200) < 200
