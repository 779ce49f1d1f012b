"""A run as training leaves it, and its bundle."""

import json
from pathlib import Path

import pytest
import torch

from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.config import Config
from sd.data.ingest import ingest_images
from sd.networks.unet import UNetModel
from sd.runs.bundle import pack
from tests.helpers.networks import with_weights
from tests.helpers.runs import JOURNAL, SECRET, png


@pytest.fixture
def run(tiny_config: Config, home: Path, pictures: Path) -> Path:
    """A run as training leaves it: stopped at step 20, two checkpoints, its pictures kept."""
    folder = home / "20260101-000000-abcdef01"
    (folder / "samples").mkdir(parents=True)
    config = tiny_config.with_settings([f"training.dataset_path={SECRET}"])
    (folder / "config.ini").write_text(config.to_ini())
    (folder / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in JOURNAL))
    note = {"seed": 3, "device": "cpu", "data": "pictures"}
    (folder / "run.json").write_text(json.dumps(note))
    for name in ("source.json", "process.json", "train.log", "lock", "starting.json"):
        (folder / name).write_text(SECRET)
    for name in ("step", "raw"):
        (folder / "samples" / f"{name}-000000020.png").write_bytes(png())
    model = Model(with_weights(UNetModel.from_config(config.unet)), config)
    state = {"network.x": torch.ones(3), "average.x": torch.zeros(3)}
    about = {"seed": 3, "machine": {"device": "cpu", "threads": 1}}
    for step in (10, 20):
        counts = {"step": step, "updates": step, "skipped": 0}
        told = {"step": step, **about, "state": counts}
        save_checkpoint(model, folder / f"checkpoint-{step:09d}", told, state)
    source = ingest_images(pictures, folder / "pictures", height=8, width=8, channels=1, fit="crop")
    assert list(source)[-1] == (12, 12)
    return folder


@pytest.fixture
def bundle(run: Path, tmp_path: Path) -> Path:
    return pack(run, tmp_path / "run.zip")
