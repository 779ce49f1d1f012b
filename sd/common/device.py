"""The machine: device, threads, precision path and allocator, decided once and recorded.

What is decided here goes into a run's record, so that resuming and comparing never measure again.
"""

import ctypes
import os
import platform
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sd.common.threads import count_cores
from sd.common.validation import InputError, choice

DEVICES = ("auto", "cpu", "cuda", "mps")
CPU_FACTS = Path("/proc/cpuinfo")
AMD, WIDE = "AuthenticAMD", "AVX512"
SHORTAGE = re.compile(r"out of memory|not enough memory|allocate memory", re.I)  # torch's words
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


def device_memory(device: str) -> int | None:
    """Return the bytes that this process's tensors hold on a device of its own; None on the CPU.

    On CUDA the most that they held at once: between two steps much of it is free again.
    """
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return int(torch.mps.driver_allocated_memory()) if device == "mps" else None


def multiplies_bfloat16(device: str) -> bool:
    """Tell whether a device has instructions for bfloat16; if they are faster, timing must show."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch names no public ones
    found = (getattr(torch.cpu, name, lambda: False) for name in tests)
    return device == "cpu" and any(test() for test in found)


def _usable_cores() -> int:
    """Return the cores that this process may use; OMP_NUM_THREADS lowers it."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(wanted), count_cores()) if wanted.isdigit() and int(wanted) else count_cores()


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
    """Return "onednn" on AMD's processors with AVX-512, where MKL holds back, else "mkl".

    Processor and torch decide, never a clock: the same command gives the same weights. With torch
    2.14 oneDNN was more than 1.3 times as fast there, and elsewhere no such gain; while torch's
    attention kernel, of many small products, takes up to ten times as long on oneDNN.
    """
    if _matmul_switch() is None or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "mkl"
    fast = _vendor() == AMD and torch.backends.cpu.get_cpu_capability() == WIDE
    return "onednn" if fast and _onednn_error() < MATMUL_ERROR_LIMIT else "mkl"


def _vendor() -> str:
    """Return who made the processor, in its own word; "" where the system does not tell."""
    with suppress(OSError):
        for line in CPU_FACTS.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "vendor_id":
                return value.strip()
    return os.environ.get("PROCESSOR_IDENTIFIER", "").rpartition(" ")[2]  # Windows: its last word


def _onednn_error() -> float:
    """Return the greatest error of a 256-long product of N(0, 1) by oneDNN, as it is set here."""
    source = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=source) for _ in range(2))
    switch = _matmul_switch()
    before = switch.fp32_precision
    try:
        _set_matmul("onednn")
        return float((a @ b - (a.double() @ b.double())).abs().max())
    finally:
        switch.fp32_precision = before


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


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that main memory, or a device's, is full."""
    if isinstance(error, RuntimeError):
        return bool(SHORTAGE.search(str(error)))
    return isinstance(error, MemoryError)
