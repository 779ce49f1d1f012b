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


def printed(script: str) -> list[str]:
    """Return the lines that a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def command(*words: str) -> str:
    return (
        "from sd.cli.parser import main\n"
        f"try:\n    main({list(words)!r})\nexcept SystemExit:\n    pass"
    )


LIGHT = (  # what one process does, one after the other, without a heavy package
    "import sd",
    "from sd import Config, Schedule",
    "import sd.config, sd.diffusion.schedule, sd.networks.blueprint, sd.runs",
    command("--help"),
    command("train", "--help"),
    command("plan", "--help"),
    command("info", "sd/config/presets/seed.ini"),
    command("info", "tests/fixtures/config_SD.txt", "--json"),
)


def test_no_torch_where_none_is_needed_and_the_watch_would_notice_it() -> None:
    works = [*LIGHT, "from sd import UNetModel"]
    script = "\n".join(WATCH.format(work=work, names=HEAVY) for work in works)
    lines = [line for line in printed(script) if line.startswith("loaded:")]
    loaded = {work: line.split()[1:] for work, line in zip(works, lines, strict=True)}
    assert {work: loaded[work] for work in LIGHT} == {work: [] for work in LIGHT}
    assert "torch" in loaded[works[-1]]


FIRST_VIEW = """
from types import SimpleNamespace
from app import build_app
from sd.ui.denoise import tab, tree
from sd.ui.state import use
with use(build_app().shared):
    view = tab.first_view(SimpleNamespace(headers={}), tree.Tree(), "emoji32")
assert view["player"]["lanes"]
"""


def test_building_the_page_and_its_first_view_import_no_torch() -> None:
    work = FIRST_VIEW
    names = ("torch", "torchvision", "einops")
    assert printed(WATCH.format(work=work, names=names))[-1] == "loaded:"


TRAINED = """
import sys, sd.generation.pipeline, sd.training.loop
import torch
from sd.training.optimizers import Optimizer
from sd.config.sections import TrainingConfig
weights = {name: torch.nn.Parameter(torch.ones(2, 2)) for name in ("out.0", "middle")}
for each in weights.values():
    each.grad = torch.ones(2, 2)
Optimizer(weights, TrainingConfig(optimizer="muon"), "cpu").step(0.1)
"""


def test_neither_drawing_nor_training_imports_torchs_compiler() -> None:
    late = {"torch", "torch._dynamo", "torchvision"}
    assert printed(f"{TRAINED}\nprint(*{late} & set(sys.modules))") == ["torch"]


def test_the_package_itself_imports_none_of_its_modules() -> None:
    script = "import sys, sd; print(*[name for name in sys.modules if name.startswith('sd.')])"
    assert printed(script) == [""]


def test_every_public_name_is_found() -> None:
    for name in sd.__all__:
        assert getattr(sd, name).__name__ == name
    assert set(sd.__all__) <= set(dir(sd))
    with pytest.raises(AttributeError, match="no attribute 'Unet'"):
        sd.Unet  # noqa: B018
