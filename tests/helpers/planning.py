"""Fields, uploads and hostile values: what the tests of the Train tab before the start share."""

import math
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gradio_client.utils import strip_invalid_filename_characters
from PIL import Image

from sd.config import Config
from sd.training.planning import memory
from sd.ui import uploads
from sd.ui.adapter.checks import Upload
from sd.ui.state import shared
from sd.ui.surveys import Surveys
from sd.ui.train.planning import plan_view, settings

ENGLISH: Any = SimpleNamespace(headers={"accept-language": "en-GB,en;q=0.9"})
HOSTILE = [
    math.nan,
    math.inf,
    -1,
    10**400,
    None,
    "7x",
    "../../etc/passwd",
    [math.nan],
    {},
    pytest.param("x" * 10**6, id="a long text"),
]


def fields(preset: str = "tiny", **changes: Any) -> dict[str, Any]:
    """What the fields hold for a preset, some of them changed."""
    return settings.first_values() | settings.widget_values(Config.preset(preset)) | changes


def start(data: Any = "starter", title: str = "", minutes: Any = None, **form: Any) -> str:
    """Start as the page does; return the run's name."""
    values = fields() | form
    asked = plan_view.train(ENGLISH, minutes, data, title, values, Config.preset("tiny"))
    return str(list(asked)[-1]["started"])


def make_zip(path: Path, *names: str, size: tuple[int, int] = (20, 12)) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for number, name in enumerate(names):
            image = path.with_suffix(f".{number}.png")
            Image.new("RGB", size, (number, 0, 99)).save(image)
            packed.write(image, name)
        packed.writestr("<img src=x onerror=alert(1)>.png", b"no picture")
    return path


def dropped(root: Path, *named: tuple[str, bytes]) -> list[Upload]:
    """Files as the page gets them: under names that gradio has changed, told what they were."""
    files = []
    for number, (name, data) in enumerate(named):
        path = root / str(number) / strip_invalid_filename_characters(Path(name).name)
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        files.append(Upload(path))
        files[-1].original_name = name
    return files


def telling(*wanted: str) -> Config:
    return Config.preset("tiny").with_settings(list(wanted))


def as_fields(sent: dict[str, Any]) -> dict[str, Any]:
    """What the fields hold after they were sent this."""
    return settings.first_values() | sent["form"]["patch"]["values"]


@pytest.fixture(autouse=True)
def nothing_is_known() -> None:
    for handle in set(shared(Surveys).handles()) - {uploads.STARTER}:  # same files, same handle
        shared(Surveys).forget(handle)


@pytest.fixture(name="mine")
def my_upload(home: Path, tmp_path: Path) -> str:
    """The handle of an upload of two classes."""
    path = make_zip(tmp_path / "mine.zip", "cats/1.png", "cats/2.png", "dogs/1.png")
    return uploads.inspect([str(path)])[0]


@pytest.fixture(name="roomy")
def roomy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which memory is never short."""
    monkeypatch.setattr(memory, "available", lambda: 2**60)
