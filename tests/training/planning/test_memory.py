"""Memory: the estimate against real processes, what the system leaves, and refusals that help."""

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from sd.common.text import format_bytes
from sd.common.validation import LONGEST_MESSAGE, InputError
from sd.config import Config, preset_names
from sd.training.planning import memory
from tests.benchmarks.memory import peak_of

MIB, GIB = 2**20, 2**30

# Peak resident MiB of real processes (tests/benchmarks/memory.py; torch 2.14 of PyPI, two threads).
FORMER = ["unet.patch_size=2", "unet.attention_resolutions=[4]"]  # of `tiny`, as it was then
MEASURED = [
    ("tiny", ["conditioning.kind=none"], 849),
    ("tiny", ["training.batch_size=256"], 1259),
    ("tiny", ["conditioning.kind=none", *FORMER], 968),
    ("tiny", ["conditioning.kind=none", "training.batch_size=1", *FORMER], 876),
    ("tiny", ["training.batch_size=256", *FORMER], 2064),
    ("tiny", ["training.batch_size=256", "training.recompute=True", *FORMER], 1567),
    ("tiny", ["conditioning.kind=none", FORMER[0], "unet.attention_resolutions=[1,2]"], 1409),
    ("tiny", ["conditioning.kind=none", FORMER[1], "unet.patch_size=1"], 1427),
    ("tiny", ["conditioning.kind=none", "training.precision=bfloat16", *FORMER], 885),
    ("tiny", ["conditioning.kind=none", "training.input_height=256", "training.input_width=256",
              "training.batch_size=1", *FORMER], 1839),
    ("small", ["conditioning.kind=none", "training.batch_size=16"], 883),
    ("small", ["conditioning.kind=none", "unet.model_channels=64"], 1290),
    ("seed", [], 2387),
    ("seed", ["training.batch_size=2"], 2358),
]  # fmt: skip


@pytest.mark.parametrize(("preset", "settings", "measured"), MEASURED)
def test_the_estimate_is_at_most_ten_percent_above_what_was_measured(
    preset: str, settings: list[str], measured: int
) -> None:
    expected = memory.needed(Config.preset(preset).with_settings(settings)) / MIB
    assert measured <= expected <= 1.1 * measured


OF_PHASE_1 = [  # peak MiB of processes that trained a first stage alone, by the same torch
    ("latent-own", [], 818),
    ("latent-own", ["first_stage.autoencoder_batch=32"], 1003),
    ("latent-own", ["first_stage.ch=64"], 972),
    ("latent-own", ["first_stage.ch_mult=[1, 2, 4]", "first_stage.autoencoder_blocks=2"], 978),
    ("latent128", ["first_stage.tune_steps=3", "first_stage.autoencoder_batch=32"], 1038),
]


@pytest.mark.parametrize(("preset", "settings", "measured"), OF_PHASE_1)
def test_phase_1_takes_what_was_measured(preset: str, settings: list[str], measured: int) -> None:
    expected = memory.BASE + memory.of_phase_1(Config.preset(preset).with_settings(settings))
    assert measured <= expected / MIB <= 1.42 * measured
    assert memory.needed(Config.preset(preset).with_settings(settings)) >= expected


def test_a_first_stage_that_does_not_fit_is_refused_with_a_batch_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = refusal(monkeypatch, 2 * GIB, "latent-own", "first_stage.autoencoder_batch=512")
    assert line.startswith("first_stage.autoencoder_batch = 512: needs about ")
    assert line.endswith("2.0 GiB are there; 128 fits")
    memory.check(Config.preset("latent-own").with_settings(["first_stage.autoencoder_batch=128"]))
    assert memory.of_phase_1(Config.preset("latent128")) == memory.of_phase_1(Config()) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", [("tiny",), ("small", "training.batch_size=16"), ("seed", "training.batch_size=10")]
)
def test_the_estimate_holds_for_a_process_that_trains(row: tuple[str, ...]) -> None:
    expected = memory.needed(Config.preset(row[0]).with_settings(row[1:]))
    assert peak_of(*row) == pytest.approx(expected, rel=0.15)


def refusal(
    monkeypatch: pytest.MonkeyPatch, room: int, preset: str = "seed", *settings: str
) -> str:
    monkeypatch.setattr(memory, "available", lambda: room)
    with pytest.raises(InputError) as caught:
        memory.check(Config.preset(preset).with_settings(settings))
    line = str(caught.value)
    assert len(line) <= LONGEST_MESSAGE and line.isprintable()
    return line


def test_an_absurd_batch_is_refused_with_one_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    line = refusal(monkeypatch, 20 * GIB, "seed", "training.batch_size=4096")
    assert line == (
        "training.batch_size = 4096: needs about 242 GiB of memory, 20 GiB are there; 256 fits"
    )
    memory.check(Config.preset("seed").with_settings(["training.batch_size=256"]))
    assert "512" not in line
    refusal(monkeypatch, 20 * GIB, "seed", "training.batch_size=512")


def test_pictures_that_are_too_large_are_refused_with_a_size_that_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = ["training.input_height=2048", "training.input_width=1024"]
    line = refusal(monkeypatch, 4 * GIB, "tiny", *size)
    assert line.startswith("training.input_height = 2048: already at batch_size 1 it needs about ")
    assert line.endswith("4.0 GiB are there; 512 x 256 pixels fit")
    fitting = ["training.input_height=512", "training.input_width=256", "training.batch_size=1"]
    memory.check(Config.preset("tiny").with_settings(fitting))


def test_a_network_that_is_too_wide_is_refused_with_a_width_that_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = refusal(monkeypatch, 4 * GIB, "seed", "unet.model_channels=256")
    assert line.startswith("unet.model_channels = 256: already at batch_size 1 it needs about ")
    assert line.endswith("; 64 fits")
    memory.check(Config.preset("seed"))


def test_what_fits_to_the_byte_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    need = memory.needed(Config.preset("tiny"))
    monkeypatch.setattr(memory, "available", lambda: need)
    memory.check(Config.preset("tiny"))
    refusal(monkeypatch, need - 1, "tiny")


def test_where_nothing_fits_the_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, GIB // 2).endswith("512 MiB are there; that is too little")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_fits_into_its_memory(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(memory, "available", lambda: (8 if name == "gpu" else 4) * GIB)
    memory.check(Config.preset(name))


def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """Let `memory` see a system of these files, 8 GiB free and 1 GiB in this process."""
    status = f"Name:\tpython\nVmSize:\t{2 * GIB // 1024} kB\nVmRSS:\t{GIB // 1024} kB\n"
    meminfo = f"MemTotal: 99 kB\nMemAvailable: {8 * GIB // 1024} kB\nHugePages_Total: 0\n"
    usual = {"proc/self/status": status, "proc/meminfo": meminfo}
    for name, text in {**usual, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")


def test_available_is_what_is_free_and_what_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system(tmp_path, monkeypatch, {})
    assert memory.available() == 9 * GIB


@pytest.mark.parametrize("place", ["", "pod/job/"])
def test_a_control_group_of_version_2_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The limit of any group above counts; file pages that it would drop are free."""
    files = {
        "proc/self/cgroup": "0::/pod/job\n",
        f"cgroup/{place}memory.max": str(4 * GIB),
        f"cgroup/{place}memory.current": str(3 * GIB),
        f"cgroup/{place}memory.stat": f"anon 5\ninactive_file {GIB}\n",
    }
    system(tmp_path, monkeypatch, files)
    assert memory.available() == 3 * GIB
    (tmp_path / f"cgroup/{place}memory.max").write_text("max\n")
    assert memory.available() == 9 * GIB


def test_a_control_group_of_version_1_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "proc/self/cgroup": "5:cpu:/\n4:memory:/job\n0::/\n",
        "cgroup/memory/job/memory.limit_in_bytes": str(2 * GIB),
        "cgroup/memory/job/memory.usage_in_bytes": str(GIB),
        "cgroup/memory/job/memory.stat": "total_inactive_file 0\n",
        "cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "cgroup/memory/memory.usage_in_bytes": "1\n",
    }
    system(tmp_path, monkeypatch, files)
    assert memory.available() == 2 * GIB


def test_a_group_that_is_over_its_limit_leaves_what_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "cgroup/memory.max": str(GIB),
        "cgroup/memory.current": str(2 * GIB),
    }
    system(tmp_path, monkeypatch, files)
    assert memory.available() == GIB


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are Unix's")
def test_a_limit_on_addresses_counts_in_a_real_process() -> None:
    script = (
        "import resource, sys; from sd.training.planning import memory\n"
        "print(memory.available())\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "print(memory.available(), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    free, limited, torch = done.stdout.split()
    assert int(limited) <= 2**30 < int(free) and torch == "False"


def test_sizes_in_words() -> None:
    assert [format_bytes(size) for size in (0, 900, 40 * 2**10)] == [
        "0 bytes",
        "900 bytes",
        "40 KiB",
    ]
    words = [format_bytes(size) for size in (850 * MIB, 1.25 * GIB, 31.4 * GIB, 5000 * GIB)]
    assert words == ["850 MiB", "1.2 GiB", "31 GiB", "5,000 GiB"]


def test_resident_memory_is_what_the_system_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = memory.resident()
    with mmap.mmap(-1, 2**27) as held:  # never of what the allocator has kept
        held.write(b"\1" * len(held))
        after = memory.resident()
    assert before is not None and after is not None
    assert 2**26 < after - before < 2**28 + 2**26
    if sys.platform != "win32":
        monkeypatch.setattr(memory, "PROC", tmp_path)  # a system without /proc tells the peak
        peak = memory.resident()
        assert peak is not None and after * 0.9 < peak < after + 2**34


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_DATA")
def test_a_limited_process_grows_by_half_as_much_again_and_no_more() -> None:
    words = (
        "from sd.config import Config\n"
        "from sd.training.planning import memory\n"
        "config = Config.preset('tiny')\n"
        "memory.limit_growth(config)\n"
        "kept = bytearray(memory.needed(config))\n"
        "del kept\n"
        "bytearray(2 * memory.needed(config))"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, check=False)
    assert done.returncode == 1 and done.stderr.strip().endswith(b"MemoryError")
    assert b"bytearray(2" in done.stderr or b"line 7" in done.stderr
