"""What a run left behind: its journal, a grid of samples, and a path that must not travel."""

import io
from typing import Any

from PIL import Image

SECRET = "/home/somebody/private/pictures"


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (38, 38), "grey").save(file, "PNG")  # sixteen of 8 x 8, 2 pixels apart
    return file.getvalue()


def event(name: str, /, **facts: Any) -> dict[str, Any]:
    return {"event": name, "time": 1.5, **facts}


JOURNAL = [
    event("start", total=40, seed=0, pictures=11, held_out=1, report=["pictures used: 12"],
          machine={"label": "CPU, 1 thread", "threads": 1}, command="python -m sd train x"),
    event("step", step=20, loss=0.5, lr=0.001, grad_norm=None, pictures_per_second=9.5,
          step_seconds=0.1, seconds_left=2.0, total=40),
    event("evaluation", step=20, times=[10, 20], train=[0.5, 0.4], held_out=[0.6, 0.5]),
    event("samples", step=20, file="samples/step-000000020.png",
          raw="samples/raw-000000020.png", nearest=[[3, 0.8]] * 16),
    event("baseline", kind="held_out", count=8, low=0.4, median=0.8),
    event("checkpoint", step=20, folder="checkpoint-000000020"),
    event("stopped", step=20, line=f"stopped beside {SECRET}/cat.png at step 20"),
]  # fmt: skip
