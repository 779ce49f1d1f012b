"""The machine: device, threads, precision path and allocator, decided once and recorded.

What is decided here goes into a run's record, so that resuming and comparing never measure again.
"""

import ctypes
import math
import os
import platform
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from sd.gate import InputError, choice

DEVICES = ("auto", "cpu", "cuda", "mps")
MATMUL_TRIES, MATMUL_GAIN = 20, 1.3  # timed; oneDNN is taken where it is so many times as fast
MATMUL_VOTES = 3  # such timings, of which most decide: the same machine must answer the same
MATMUL_ERROR_LIMIT = 1e-3  # of a 256-long product of N(0, 1); float32 gives 3e-5, bfloat16 0.1


@dataclass(frozen=True)
class Machine:
    """What work runs on: `threads` of the CPU, `matmul` "mkl" or "onednn", a readable label."""

    device: str
    threads: int
    matmul: str
    label: str

    def apply(self) -> "Machine":
        """Set this process up as recorded: threads, matmul path, and an allocator that keeps.

        On CUDA float32 products are computed in TF32.
        """
        torch.set_num_threads(self.threads)
        if self.device == "cpu":
            _set_matmul(self.matmul)
            _keep_freed_memory()
        elif self.device == "cuda":
            torch.set_float32_matmul_precision("high")
        return self

    def record(self) -> dict[str, str | int]:
        """Return what a run's record holds: all of this, and the versions byte-equality needs."""
        return {**asdict(self), "torch": torch.__version__, "python": platform.python_version()}


def choose(name: str = "auto") -> Machine:
    """Return the machine for a device name; `auto` takes CUDA, then MPS, then the CPU.

    Raises `InputError` when the named device is not there.
    """
    choice("device", name, DEVICES)
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, found in there.items() if found)
    if not there[name]:
        found = ", ".join(device for device in there if there[device])
        raise InputError(f"device = {name!r}: this machine has no such device; it has {found}")
    threads = _usable_cores()
    return Machine(
        name, threads, _best_matmul() if name == "cpu" else "native", _label(name, threads)
    )


def multiplies_bfloat16(device: str) -> bool:
    """Tell whether a device has instructions for bfloat16; if they are faster, timing must show."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch names no public ones
    found = (getattr(torch.cpu, name, lambda: False) for name in tests)
    return device == "cpu" and any(test() for test in found)


def _usable_cores() -> int:
    """Return the cores that this process may use; OMP_NUM_THREADS lowers it."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(wanted), count or 1) if wanted.isdigit() and int(wanted) else count or 1


def _label(device: str, threads: int) -> str:
    if device == "cuda":
        return str(torch.cuda.get_device_name())
    return "Apple GPU" if device == "mps" else f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def _set_matmul(path: str) -> None:
    """Send float32 matrix products to oneDNN or leave them with MKL.

    torch calls the switch "bf16", for what it allows a CPU with bfloat16 matrix units to do; on
    the others oneDNN computes in float32, on AMD faster than MKL (`_best_matmul` makes sure).
    """
    switch = _matmul_switch()
    if switch is not None:
        switch.fp32_precision = "bf16" if path == "onednn" else "ieee"


def _matmul_switch() -> Any:
    """Return the object that holds torch's switch, or None where this torch has none."""
    switch = getattr(torch.backends.mkldnn, "matmul", None)
    return switch if hasattr(switch, "fp32_precision") else None


def _best_matmul() -> str:
    """Return "onednn" where that keeps float32's precision on this CPU and is faster, else "mkl".

    A product is faster there on AMD, where MKL holds back, and as fast on Intel: then MKL stays,
    for torch's attention kernel, of many small products, takes up to ten times as long on oneDNN.
    """
    switch = _matmul_switch()
    if switch is None or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "mkl"
    source = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=source) for _ in range(2))
    before = switch.fp32_precision
    try:
        votes = sum(_onednn_is_faster(a, b) for _ in range(MATMUL_VOTES))
        _set_matmul("onednn")
        error = (a @ b - (a.double() @ b.double())).abs().max()
    finally:
        switch.fp32_precision = before
    faster = votes > MATMUL_VOTES / 2
    return "onednn" if faster and float(error) < MATMUL_ERROR_LIMIT else "mkl"


def _onednn_is_faster(a: Tensor, b: Tensor) -> bool:
    """Time a product both ways; other work on the machine can turn one such answer round."""
    times = {path: math.inf for path in ("mkl", "onednn")}
    for path in MATMUL_TRIES * tuple(times):
        _set_matmul(path)
        began = time.perf_counter()
        torch.mm(a, b)
        times[path] = min(times[path], time.perf_counter() - began)
    return times["onednn"] * MATMUL_GAIN < times["mkl"]


def products_by_onednn() -> bool:
    """Tell whether this process computes its float32 products with oneDNN."""
    switch = _matmul_switch()
    return switch is not None and switch.fp32_precision == "bf16"


def _keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks: giving them back costs a page fault at every next use."""
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for parameter, value in ((-4, 0), (-1, 2**31 - 1), (-2, 64 * 2**20)):  # mmap, trim, top pad
        libc.mallopt(parameter, value)
