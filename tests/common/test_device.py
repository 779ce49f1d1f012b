"""The machine is chosen once, by name, and recorded."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sd.common import device
from sd.common.validation import InputError


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Give threads and matmul path back as they were."""
    threads, switch = torch.get_num_threads(), device._matmul_switch()
    precision = switch.fp32_precision if switch is not None else None
    yield
    torch.set_num_threads(threads)
    if switch is not None:
        switch.fp32_precision = precision


def test_auto_takes_what_is_there() -> None:
    machine = device.choose("auto")
    expected = "cuda" if torch.cuda.is_available() else machine.device
    assert machine.device == expected and machine.device in ("cpu", "cuda", "mps")
    assert machine.threads >= 1


@pytest.mark.parametrize("name", ["tpu", "", None, "cuda:0"])
def test_an_unknown_device_is_refused(name: object) -> None:
    with pytest.raises(InputError, match="must be one of auto, cpu, cuda, mps"):
        device.choose(name)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_a_missing_device_is_refused_with_what_there_is() -> None:
    with pytest.raises(InputError, match=r"'cuda'.*no such device; it has .*cpu"):
        device.choose("cuda")


@pytest.mark.parametrize(("wanted", "threads"), [("1", 1), ("x", None), ("0", None)])
def test_threads_follow_the_environment_down(
    monkeypatch: pytest.MonkeyPatch, wanted: str, threads: int | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    usual = device.choose("cpu").threads
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert device.choose("cpu").threads == (threads or usual)


def test_the_chosen_matmul_keeps_the_precision_of_float32() -> None:
    device.choose("cpu").apply()
    source = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 512, 512, generator=source)
    error = (a @ b - (a.double() @ b.double())).abs().max()
    assert float(error) < 1e-3


def test_the_record_is_readable_and_whole() -> None:
    record = json.loads(json.dumps(device.choose("cpu").record()))
    assert record["device"] == "cpu" and record["torch"] == torch.__version__
    assert {"threads", "matmul", "label", "python"} <= set(record)


def test_auto_takes_cuda_then_mps_then_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.choose() == device.choose("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert (device.choose().device, device.choose().label) == ("mps", "Apple GPU")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert (device.choose().device, device.choose().label) == ("cuda", "NVIDIA H200")
    assert device.choose().matmul == "native"


def test_choosing_leaves_the_switch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    switch = device._matmul_switch()
    if switch is None:
        pytest.skip("this torch has no switch")
    monkeypatch.setattr(device, "_vendor", lambda: device.AMD)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: device.WIDE)
    for setting in ("ieee", "bf16"):
        switch.fp32_precision = setting
        device.choose("cpu")
        assert switch.fp32_precision == setting


@pytest.mark.parametrize(
    ("vendor", "capability", "error", "wanted"),
    [
        ("AuthenticAMD", "AVX512", 3e-5, "onednn"),
        ("AuthenticAMD", "AVX512", 0.1, "mkl"),  # it would multiply in bfloat16
        ("AuthenticAMD", "AVX2", 3e-5, "mkl"),
        ("GenuineIntel", "AVX512", 3e-5, "mkl"),
        ("", "DEFAULT", 3e-5, "mkl"),
    ],
)
def test_the_processor_chooses_the_library(
    vendor: str, capability: str, error: float, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device._matmul_switch() is None:
        pytest.skip("this torch has no switch")
    monkeypatch.setattr(device, "_vendor", lambda: vendor)
    monkeypatch.setattr(device, "_onednn_error", lambda: error)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    assert device.choose("cpu").matmul == wanted


def test_no_clock_has_a_say_in_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = device.choose("cpu")
    source = random.Random(0)
    for clock in ("perf_counter", "monotonic", "process_time", "time"):
        monkeypatch.setattr(f"time.{clock}", lambda: source.uniform(0, 1e6))
    assert {device.choose("cpu") for _ in range(40)} == {usual}


@pytest.mark.parametrize(
    ("facts", "vendor"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu\n", "AuthenticAMD"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\n", "GenuineIntel"),
        (None, "GenuineIntel"),
    ],
)
def test_the_maker_is_read_where_the_system_tells_it(
    facts: str | None, vendor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "CPU_FACTS", tmp_path / "cpuinfo")
    monkeypatch.setenv("PROCESSOR_IDENTIFIER", "Intel64 Family 6 Model 207, GenuineIntel")
    if facts is not None:
        device.CPU_FACTS.write_text(facts)
    assert device._vendor() == vendor


@pytest.mark.parametrize(("path", "asked"), [("mkl", False), ("onednn", True)])
def test_what_computes_products_is_known(path: str, asked: bool) -> None:
    device._set_matmul(path)
    assert device.products_by_onednn() == (asked and device._matmul_switch() is not None)


def test_a_torch_without_the_switch_uses_mkl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_matmul_switch", lambda: None)
    assert device.choose("cpu").apply().matmul == "mkl"
    device.Machine("cpu", 1, "onednn", "CPU, from another machine's record").apply()
    assert torch.get_num_threads() == 1


def test_other_systems_keep_their_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> None:
        raise AssertionError("no glibc to be told")

    monkeypatch.setattr("ctypes.CDLL", never)
    for system, libc in (("Darwin", ""), ("Windows", ""), ("Linux", "musl")):
        monkeypatch.setattr("platform.system", lambda system=system: system)
        monkeypatch.setattr("platform.libc_ver", lambda libc=libc: (libc, ""))
        device._keep_freed_memory()


@pytest.mark.slow
def test_fresh_processes_on_a_loaded_machine_give_the_same_weights(
    tmp_path: Path, pictures: Path, tiny_ini: Path
) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    words = ["-m", "sd", "train", str(pictures), "--config", str(tiny_ini), "--steps", "3"]
    threads = {**os.environ, "OMP_NUM_THREADS": "2"}
    folders = [tmp_path / f"run{number:02d}" for number in range(16)]
    try:
        for pair in zip(folders[::2], folders[1::2], strict=True):
            both = [
                subprocess.Popen([sys.executable, *words, "--run", f], env=threads) for f in pair
            ]
            assert [each.wait() for each in both] == [0, 0]
    finally:
        for each in busy:
            each.kill()
            each.wait()
    about = [json.loads((f / "checkpoint-000000003/checkpoint.json").read_text()) for f in folders]
    assert len({each["machine"]["matmul"] for each in about}) == 1
    assert len({(f / "checkpoint-000000003/model.safetensors").read_bytes() for f in folders}) == 1


@pytest.mark.gpu
def test_cuda_is_taken_and_named() -> None:
    machine = device.choose().apply()
    assert machine.device == "cuda" and machine.label == torch.cuda.get_device_name()


def test_a_cpu_has_no_memory_of_its_own() -> None:
    assert device.device_memory("cpu") is None


@pytest.mark.gpu
def test_the_memory_that_tensors_held_on_cuda_is_told() -> None:
    held = torch.zeros(2**25, device="cuda")
    del held
    assert (device.device_memory("cuda") or 0) >= 2**27
