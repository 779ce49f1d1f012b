"""Importing is free: what need not wait for torch does not."""

import subprocess
import sys
from pathlib import Path

import pytest

import sd

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "torchvision", "einops", "gradio", "safetensors")
WATCH = (
    "import sys\n{work}\n"
    "found = sorted({{name.split('.')[0] for name in sys.modules}} & set({names!r}))\n"
    "print('loaded:', *found)"
)


def loaded_by(work: str, names: tuple[str, ...] = HEAVY) -> list[str]:
    """Return which of the heavy packages a fresh process holds after `work`."""
    script = WATCH.format(work=work, names=names)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1].split()[1:]


def command(*words: str) -> str:
    return (
        "from sd.cli.parser import main\n"
        f"try:\n    main({list(words)!r})\nexcept SystemExit:\n    pass"
    )


@pytest.mark.parametrize(
    "work",
    [
        "import sd",
        "from sd import Config, Schedule",
        "import sd.config, sd.diffusion.schedule, sd.networks.blueprint, sd.runs",
        command("--help"),
        command("train", "--help"),
        command("plan", "--help"),
        command("info", "sd/config/presets/seed.ini"),
        command("info", "tests/fixtures/config_SD.txt", "--json"),
    ],
)
def test_no_torch_where_none_is_needed(work: str) -> None:
    assert loaded_by(work) == []


def test_building_the_page_imports_no_torch() -> None:
    work = "from app import build_app\nbuild_app()"
    assert loaded_by(work, ("torch", "torchvision", "einops")) == []


def test_the_package_itself_imports_none_of_its_modules() -> None:
    script = "import sys, sd; print(*[name for name in sys.modules if name.startswith('sd.')])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"


def test_the_watch_would_notice() -> None:
    assert "torch" in loaded_by("from sd import UNetModel")


def test_every_public_name_is_found() -> None:
    for name in sd.__all__:
        assert getattr(sd, name).__name__ == name
    assert set(sd.__all__) <= set(dir(sd))
    with pytest.raises(AttributeError, match="no attribute 'Unet'"):
        sd.Unet  # noqa: B018
