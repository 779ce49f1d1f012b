"""Helper processes: the same results in the same order, whatever happens to a helper."""

import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sd.common.validation import InputError
from sd.data.decoding import pool
from sd.data.decoding.pool import CRASHED, Fit, Fitted, decode_and_fit, decode_and_fit_all

WANTED = Fit(8, 8, 3, "crop")
COUNT = 300


def file_of(number: int) -> bytes:
    if number % 50 == 7:
        return b"no picture"
    file = io.BytesIO()
    Image.new("RGB", (9 + number % 5, 9), (number % 256, number // 256, 0)).save(file, "PNG")
    return file.getvalue()


FILES = {f"{number}.png": file_of(number) for number in range(COUNT)}


def read(name: str) -> bytes:
    if name == "66.png":
        raise InputError("cannot be read")
    return FILES[name]


@pytest.fixture(scope="module")
def expected() -> list[Fitted]:
    bad = Fitted("cannot be read")
    return [bad if name == "66.png" else decode_and_fit(FILES[name], WANTED) for name in FILES]


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "count_cores", lambda: 2)
    monkeypatch.setattr(pool, "HELPED_FROM", 2)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False


def gone(pids: Sequence[int], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The process ids of all helpers that were started."""
    pids: list[int] = []
    begin = pool._Helper.__init__

    def noted(self: pool._Helper) -> None:
        begin(self)
        pids.append(self._process.pid)

    monkeypatch.setattr(pool._Helper, "__init__", noted)
    return pids


def test_two_helpers_work_and_all_is_in_order(
    expected: list[Fitted], helped: None, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = []
    call = pool._Helper.__call__

    def noted(self: pool._Helper, files: Sequence[bytes], wanted: Fit) -> list[Fitted]:
        busy.append(self._process.pid)
        return call(self, files, wanted)

    monkeypatch.setattr(pool._Helper, "__call__", noted)
    assert list(decode_and_fit_all(list(FILES), read, WANTED)) == expected
    assert set(busy) == set(started) and len(started) == 2
    assert gone(started)


def test_few_pictures_need_no_helper(expected: list[Fitted], started: list[int]) -> None:
    names = list(FILES)[:10]
    assert list(decode_and_fit_all(names, read, WANTED)) == expected[:10] and not started


@pytest.mark.parametrize("at_once", [1, 16])
def test_a_helper_that_is_killed_loses_nothing(
    at_once: int,
    expected: list[Fitted],
    helped: None,
    started: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "AT_ONCE", at_once)
    results = decode_and_fit_all(list(FILES), read, WANTED)
    found = [next(results) for _ in range(20)]
    for pid in list(started):
        os.kill(pid, 9)
    assert found + list(results) == expected and len(started) > 2


class Fragile:
    """A helper that dies of one picture."""

    def __call__(self, files: Sequence[bytes], wanted: Fit) -> list[Fitted]:
        if FILES["25.png"] in files:
            raise BrokenPipeError
        return [decode_and_fit(data, wanted) for data in files]

    def close(self) -> None:
        pass


def test_a_picture_that_stops_its_decoder_is_left_out(
    expected: list[Fitted], helped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_Helper", Fragile)
    results = list(decode_and_fit_all(list(FILES), read, WANTED))
    assert results[25] == Fitted(CRASHED)
    assert results[:25] + results[26:] == expected[:25] + expected[26:]


def no_program(*words: object, **options: object) -> None:
    raise OSError("no more processes")


def silent(*words: object, **options: object) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    return REAL([sys.executable, "-c", "print('x')"], stdin=pipe, stdout=pipe)


REAL = subprocess.Popen


@pytest.mark.parametrize("popen", [no_program, silent])
def test_without_helpers_it_works_as_well(
    popen: Callable[..., object],
    expected: list[Fitted],
    helped: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subprocess, "Popen", popen)
    assert list(decode_and_fit_all(list(FILES), read, WANTED)) == expected


def test_leaving_early_ends_the_helpers(helped: None, started: list[int]) -> None:
    reads = []
    results = decode_and_fit_all(
        list(FILES), lambda name: reads.append(name) or FILES[name], WANTED
    )
    next(results)
    results.close()
    assert started and gone(started) and len(reads) < COUNT


def test_only_a_few_pictures_are_held(helped: None) -> None:
    reads = []
    results = decode_and_fit_all(
        list(FILES), lambda name: reads.append(name) or FILES[name], WANTED
    )
    next(results)
    time.sleep(0.3)
    assert len(reads) <= 16 * 6  # one piece each, in hand or waiting
    results.close()


def test_helpers_end_with_their_parent() -> None:
    script = (
        "import os; from sd.data.decoding.pool import _Helper; one = _Helper(); "
        "print(one._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == -9 and gone([int(done.stdout)])


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_helper_can_write_no_file(helped: None, started: list[int]) -> None:
    found = decode_and_fit_all(list(FILES)[:20], read, WANTED)
    next(found)
    limits = Path(f"/proc/{started[0]}/limits").read_text()
    assert re.search(r"Max file size +0 +0 ", limits)
    found.close()


def test_helpers_import_no_torch() -> None:
    script = "import sys, sd.data.decoding.pool; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.strip() == b"False"


def photograph(width: int, height: int) -> bytes:
    """A JPEG of noise at many scales, the coarser the stronger, as photographs have it."""
    source, total = np.random.default_rng(0), np.zeros((height, width, 3))
    for scale in (4, 8, 16, 32, 64, 128):
        coarse = source.integers(0, 256, (height // scale, width // scale, 3), dtype=np.uint8)
        fine = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(fine, float) * scale**0.7
    file = io.BytesIO()
    pixels = 255 * (total - total.min()) / np.ptp(total)
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.mark.parametrize("size", [(640, 480), (1000, 750), (1600, 1200)])
def test_a_photograph_decoded_in_part_looks_as_decoded_whole(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    data, wanted = photograph(*size), Fit(64, 64, 3, "crop")
    partly = np.frombuffer(decode_and_fit(data, wanted).pixels, np.uint8)
    monkeypatch.setattr(pool, "KEPT_DETAIL", 1000)
    whole = np.frombuffer(decode_and_fit(data, wanted).pixels, np.uint8)
    apart = np.abs(partly.astype(int) - whole)
    assert 0 < np.sqrt(np.mean(apart**2)) < 2 and apart.max() < 8
    assert whole.std() > 30
