"""Runs made of files alone, as a training process would have left them: for tests of the page."""

import json
import math
import os
import random
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from sd import runs
from sd.config import Config
from sd.runs import process

SIDE, GAP, ACROSS = 32, 2, 4
STARTER = Path(__file__).parents[2] / "sd" / "data" / "starter" / "emoji64.zip"
MACHINE = {"label": "CPU, 1 thread", "threads": 1}
LEVELS = [50, 150, 250, 350, 450, 550, 650, 750, 850, 950]


def write_events(folder: Path, *events: Mapping[str, Any]) -> Path:
    """Make `folder` look like a run with these events."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / runs.CONFIG).exists():
        (folder / runs.CONFIG).write_text(Config.preset("tiny").to_ini())
    lines = "".join(json.dumps(event) + "\n" for event in events)
    (folder / "events.jsonl").write_text(lines)
    return folder


def add_events(folder: Path, *events: Mapping[str, Any]) -> None:
    """Write events at the end of a run's journal."""
    with (folder / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def emoji(count: int) -> list[Image.Image]:
    """Return pictures of the starter set at 32 pixels."""
    with zipfile.ZipFile(STARTER) as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")][: 40 * count : 40]
        opened = [Image.open(BytesIO(archive.read(name))).convert("RGB") for name in names]
    return [image.resize((SIDE, SIDE)) for image in opened]


def write_sheet(path: Path, pictures: list[Image.Image], noise: float, seed: int = 0) -> None:
    """Write sixteen pictures under some noise as a sheet of samples."""
    path.parent.mkdir(exist_ok=True)
    side = ACROSS * (SIDE + GAP) - GAP
    sheet = Image.new("RGB", (side, side), "white")
    for k, picture in enumerate(pictures[: ACROSS**2]):
        dust = Image.frombytes(
            "RGB", picture.size, random.Random(seed + k).randbytes(3 * SIDE * SIDE)
        )
        corner = (k % ACROSS * (SIDE + GAP), k // ACROSS * (SIDE + GAP))
        sheet.paste(Image.blend(picture, dust, noise), corner)
    sheet.save(path)


def step_event(step: int, total: int) -> dict[str, Any]:
    """Return a logged step of a run whose loss falls."""
    wave = 0.05 * math.sin(step) * math.cos(step * 1.7)
    return {
        "event": "step",
        "step": step,
        "total": total,
        "loss": round(0.03 + 0.3 * math.exp(-step / 60) + 0.1 * abs(wave), 6),
        "lr": min(1.0, step / 100) * 1e-3,
        "grad_norm": 0.1 + 0.5 * math.exp(-step / 50) + abs(wave),
        "pictures_per_second": 60 + 5 * math.sin(step / 9),
        "step_seconds": 0.9,
        "seconds_left": 0.9 * (total - step),
    }


def evaluation_event(step: int, rises: float = 0.0) -> dict[str, Any]:
    """Return the losses per level of a run; `rises`: how far held-out ones lie above."""
    fall = 0.02 + 0.2 * math.exp(-step / 80)
    train = [round(fall * (0.4 + 2.2 * math.exp(-((t / 1000) ** 2) * 6)), 5) for t in LEVELS]
    held = [
        round(value * (1.04 + rises * step / 400 * (1 - t / 1200)), 5)
        for value, t in zip(train, LEVELS, strict=True)
    ]
    return {"event": "evaluation", "step": step, "times": LEVELS, "train": train, "held_out": held}


def made_run(
    home: Path,
    name: str = "made",
    steps: int = 400,
    total: int = 1000,
    end: str | None = "stopped",
    rises: float = 0.5,
    nearest: bool = True,
) -> Path:
    """Make a run of `steps` steps, logged every 4, with samples and evaluations every 50."""
    begun = {"total": total, "seed": 0, "pictures": 120, "held_out": 6, "left_out": 1}
    events: list[dict[str, Any]] = [
        {"event": "start", **begun, "duplicates": 0, "machine": MACHINE, "report": []},
        {"event": "baseline", "kind": "held_out", "count": 6, "low": 0.46, "median": 0.78},
    ]
    folder, pictures = home / name, emoji(16)
    (folder / "samples").mkdir(parents=True)
    for step in range(4, steps + 1, 4):
        events.append(step_event(step, total))
        if step % 100 and step % 52:
            continue
        events.append(evaluation_event(step, rises))
        names = [f"samples/{kind}-{step:09d}.png" for kind in ("step", "raw")]
        for kind, noise in zip(names, (0.75, 0.6), strict=True):
            write_sheet(folder / kind, pictures, noise * math.exp(-step / 200), step)
        pairs = [[k, round(0.21 + 0.07 * k, 3)] for k in range(16)] if nearest else []
        both = {"file": names[0], "raw": names[1], "nearest": pairs, "seconds": 4.0}
        events.append({"event": "samples", "step": step, **both})
    if end:
        events.append({"event": end, "step": steps, "line": f"{end} at step {steps}"})
    return write_events(folder, *events)


def revive(folder: Path) -> Path:
    """Let a run look alive: this test's own process is noted as its trainer."""
    process.record(folder, os.getpid())
    return folder
