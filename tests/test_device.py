"""The machine is chosen once, by name, and recorded."""

import json
import math
from collections.abc import Iterator

import pytest
import torch

from sd import device
from sd.gate import InputError


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


def test_choosing_measures_and_leaves_the_switch_alone() -> None:
    switch = device._matmul_switch()
    if switch is None:
        pytest.skip("this torch has no switch")
    for setting in ("ieee", "bf16"):
        switch.fp32_precision = setting
        device.choose("cpu")
        assert switch.fp32_precision == setting


def test_a_path_that_loses_precision_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "MATMUL_GAIN", 0.0)  # as if it were faster
    monkeypatch.setattr(device, "MATMUL_ERROR_LIMIT", 0.0)
    assert device.choose("cpu").matmul == "mkl"


def test_a_path_that_is_not_faster_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    if device._matmul_switch() is None:
        pytest.skip("this torch has no switch")
    monkeypatch.setattr(device, "MATMUL_ERROR_LIMIT", math.inf)
    monkeypatch.setattr(device, "MATMUL_GAIN", math.inf)
    assert device.choose("cpu").matmul == "mkl"
    monkeypatch.setattr(device, "MATMUL_GAIN", 0.0)
    assert device.choose("cpu").matmul == "onednn"


@pytest.mark.parametrize(
    ("votes", "wanted"),
    [((True, False, False), "mkl"), ((False, True, True), "onednn"), ((True,) * 3, "onednn")],
)
def test_one_timing_that_was_disturbed_decides_nothing(
    votes: tuple[bool, ...], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device._matmul_switch() is None:
        pytest.skip("this torch has no switch")
    said = iter(votes)
    monkeypatch.setattr(device, "MATMUL_ERROR_LIMIT", math.inf)
    monkeypatch.setattr(device, "_onednn_is_faster", lambda a, b: next(said))
    assert device.choose("cpu").matmul == wanted
    assert next(said, None) is None  # all were asked


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


@pytest.mark.gpu
def test_cuda_is_taken_and_named() -> None:
    machine = device.choose().apply()
    assert machine.device == "cuda" and machine.label == torch.cuda.get_device_name()
