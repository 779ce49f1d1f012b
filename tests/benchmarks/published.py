"""A model of Stable Diffusion v1's full size: reported, loaded and asked, with time and memory.

    python -m tests.benchmarks.published [FOLDER]     # 4.27 GB are written there, random weights

Each row is a process of its own; memory is the anonymous kind, the file's mapped pages not counted.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sd.checkpoints.pretrained.building import open_pretrained
from sd.checkpoints.pretrained.inspection import inspect
from sd.checkpoints.pretrained.names import autoencoder_tensors, text_tensors, unet_tensors
from sd.checkpoints.pretrained.writing import write_tensors
from sd.config.sections import UNetConfig

V1 = UNetConfig(
    channel=4,
    n_embed=4,
    model_channels=320,
    num_res_blocks=2,
    attention_resolutions=(1, 2, 4),
    channel_mult=(1, 2, 4, 4),
    resblock_updown=False,
    context_dim=768,
)
FULL = {"ch": 128, "ch_mult": (1, 2, 4, 4), "num_res_blocks": 2, "z_channels": 4, "attended": ()}
TEXT_PREFIX = "cond_stage_model.transformer.text_model."
ROWS = ("report", "float32", "bfloat16", "unet")


class Random(Mapping[str, Tensor]):
    """Tensors that are made when they are asked for, so that the file needs no memory."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, name: str) -> Tensor:
        shape = self.shapes[name]
        return torch.randn(shape) * (1.0 if len(shape) == 1 else shape[-1] ** -0.5)


def write_full(path: Path) -> None:
    shapes = {f"model.diffusion_model.{each.ours}": each.shape for each in unet_tensors(V1)}
    parts = autoencoder_tensors(FULL, 4)
    shapes |= {f"first_stage_model.{each.ours}": each.shape for each in parts}
    text = text_tensors(768, 12, 49408, 77, 3072)
    shapes |= {TEXT_PREFIX + name: shape for name, shape in text.items()}
    write_tensors(path, Random(shapes), {})


def anonymous() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


def measured(work: Callable[[], Any]) -> dict[str, float]:
    """Return seconds, CPU seconds and the anonymous memory that was added at the highest."""
    before, peak, over = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    done = time.perf_counter() - wall, time.process_time() - cpu
    over.set()
    watcher.join()
    return {"wall": done[0], "cpu": done[1], "GiB": (peak[0] - before) / 2**30}


def row(name: str, path: Path) -> dict[str, float]:
    """Return what one row measures, in this process."""
    if name == "report":
        return measured(lambda: inspect(path).lines())
    if name != "unet":
        return measured(lambda: open_pretrained(f"{path}#dtype={name}"))
    model = open_pretrained(f"{path}#dtype=bfloat16")
    x, context = torch.randn(1, 4, 32, 32), torch.randn(1, 77, 768)
    model.unet(x, torch.tensor([500]), context)
    return measured(lambda: model.unet(x, torch.tensor([500]), context))


def main() -> None:
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir())
    path = place / "full.safetensors"
    if not path.is_file():
        write_full(path)
    for name in ROWS:
        command = [sys.executable, "-m", "tests.benchmarks.published", "--row", name, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(name, done.stdout.strip(), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--row"]:
        print(json.dumps(row(sys.argv[2], Path(sys.argv[3]))))
    else:
        main()
