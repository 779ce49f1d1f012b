"""Hostile archives are judged by their end record: at once, in little memory, writing nothing."""

import copy
import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sd.common.validation import InputError
from sd.data.reading.archive import Archive
from tests.helpers.sets import GOOD, zipped

CENTRAL = struct.Struct("<4s6H3I5H2I")
MEASURED = """
import json, sys, time
from pathlib import Path
from sd.common.validation import InputError
from sd.data.reading.source import open_source

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

before, start, message = peak(), time.perf_counter(), ""
try:
    with open_source(sys.argv[1]):
        pass
except InputError as error:
    message = str(error)
print(json.dumps([time.perf_counter() - start, peak() - before, message]))
"""


def measured(path: Path) -> tuple[float, float, str]:
    """Seconds, MiB more memory, and the refusal, of opening an archive in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)], capture_output=True, text=True, check=True
    )
    seconds, memory, message = json.loads(done.stdout)
    return seconds, memory, message


def crowded(path: Path, entries: int, told: int | None = None, zip64: bool = True) -> Path:
    """An archive whose directory holds `entries` of no bytes and whose end tells of `told`."""
    zeros = (20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
    head = CENTRAL.pack(b"PK\x01\x02", *zeros)
    directory = b"".join(b"%s%07d" % (head, number) for number in range(entries))
    count = entries if told is None else told
    end = b""
    if zip64:
        sizes = (44, 45, 45, 0, 0, count, count, len(directory), 0)
        end = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", *sizes)
        end += struct.pack("<4sIQI", b"PK\x06\x07", 0, len(directory), 1)
    few = min(count, 0xFFFF)
    end += struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, few, few, len(directory), 0, 0)
    path.write_bytes(directory + end)
    return path


def ten_gigabytes(path: Path) -> Path:
    """10 MB that unpack to 10 GiB, each file no longer than one may be."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.png", bytes(64 * 2**20))
        assert archive.fp is not None
        archive.fp.seek(0)
        local = archive.fp.read()
        for number in range(1, 160):
            twin = copy.copy(archive.filelist[0])
            twin.filename, twin.header_offset = f"{number}.png", number * len(local)
            archive.fp.write(local)
            archive.filelist.append(twin)
        archive.start_dir = archive.fp.tell()
    assert 10**7 < path.stat().st_size < 1.2 * 10**7
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: crowded(path, 1_000_000), "1000000 entries; at most 100000"),
        (
            lambda path: crowded(path, 1_000_000, zip64=False),
            "its list of entries takes 50.5 MiB; at most 16",
        ),
        (lambda path: crowded(path, 1_000_000, told=3), "its list of entries takes 50.5 MiB"),
        (lambda path: crowded(path, 300_000, told=3), "100001 entries; at most 100000"),
        (lambda path: crowded(path, 300_000, told=3, zip64=False), "100001 entries; at most"),
        (ten_gigabytes, "would unpack to 10.0 GiB; at most 4"),
    ],
    ids=["million", "million, old count", "million, lying", "many, lying", "many", "10 GiB"],
)
def test_bombs_take_neither_time_nor_memory(
    make: Callable[[Path], Path], words: str, tmp_path: Path
) -> None:
    seconds, memory, message = measured(make(tmp_path / "x.zip"))
    assert words in message and message.startswith("x.zip: ")
    assert seconds < 2 and memory < 200
    assert os.listdir(tmp_path) == ["x.zip"]


def test_as_many_as_are_allowed_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(70_000):  # more than the old end record can count
            archive.writestr(f"{number}.png", b"")
    _, memory, message = measured(path)
    assert message == "" and memory < 200
    with Archive(path) as opened:
        assert len(opened.names) == 70_000


def test_a_comment_hides_no_end_record(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", dict(GOOD))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"c" * 65_535
    with Archive(path) as opened:
        assert len(opened.names) == len(GOOD)


def test_an_end_record_that_is_cut_is_no_archive(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", dict(GOOD))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError) as caught:
        Archive(path)
    assert str(caught.value) == "x.zip: not a zip archive, or a damaged or cut-off one"
