"""The machine is chosen once, by name, and recorded."""

import json

import pytest
import torch

from sd import device
from sd.gate import InputError


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
    before = torch.get_num_threads()
    try:
        device.choose("cpu").apply()
        source = torch.Generator().manual_seed(1)
        a, b = torch.randn(2, 512, 512, generator=source)
        error = (a @ b - (a.double() @ b.double())).abs().max()
        assert float(error) < 1e-3
    finally:
        torch.set_num_threads(before)


def test_the_record_is_readable_and_whole() -> None:
    record = json.loads(json.dumps(device.choose("cpu").record()))
    assert record["device"] == "cpu" and record["torch"] == torch.__version__
    assert {"threads", "matmul", "label", "python"} <= set(record)
