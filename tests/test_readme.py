"""The README keeps its word: its example runs, its commands parse, its paths are there."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sd.cli.parser import parser
from sd.config import Config, preset_names
from sd.networks.blueprint import blueprint

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "tests" / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
MOST_LINES = 180
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^python -m sd (.*?)(?:  +#.*)?$", README, re.MULTILINE)
PATHS = re.findall(r"\]\(([\w./-]+)\)", README)


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_a_space_reads_what_it_is_at_the_head() -> None:
    head = dict(line.split(": ", 1) for line in README.split("---\n")[1].splitlines())
    wanted = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert (head["sdk"], head["app_file"]) == ("gradio", "app.py") and len(head) >= 12
    assert f"gradio=={head['sdk_version']}" in wanted or "gradio>=" in wanted
    assert len(head["short_description"]) <= 60
    assert "hardware" not in head and "suggested_storage" not in head  # a Space ignores them


def test_the_python_example_runs(tmp_path: Path) -> None:
    example = next(text for language, text in BLOCKS if language == "python")
    short = example.replace("training.steps=100", "training.steps=1").replace(", 20)", ", 2)")
    short = short.replace("checkpoints/emoji32", (ROOT / "checkpoints" / "emoji32").as_posix())
    assert short.count('steps=1"') == 1 and ", 2)" in short
    done = subprocess.run(
        [sys.executable, "-c", f"{short}\nprint(step.x0.shape)"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SD_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "torch.Size([1, 3, 32, 32])"


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_are_understood(line: str) -> None:
    parser().parse_args(shlex.split(line))  # InputError for an unknown word


def test_there_are_commands_and_paths() -> None:
    assert len(COMMANDS) >= 10 and len(PATHS) >= 15


@pytest.mark.parametrize("path", PATHS)
def test_its_paths_are_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_its_layout_names_the_packages_and_files_that_are_there() -> None:
    layout = next(text for _, text in BLOCKS if text.startswith("app.py"))
    told = set(re.findall(r"^  (\w+)/ ", layout, re.MULTILINE))
    assert told == {path.parent.name for path in (ROOT / "sd").glob("*/__init__.py")}
    for package, line in re.findall(r"^  (\w+)/ +(.*)$", layout, re.MULTILINE):
        for folder in re.findall(r"(\w+)/", line):
            assert (ROOT / "sd" / package / folder).is_dir(), f"{package}/{folder}"


def test_the_checks_are_the_second_command() -> None:
    second = [text for _, text in BLOCKS][1]
    assert second in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("preset", preset_names())
def test_the_parameters_of_a_preset_are_as_told(preset: str) -> None:
    config = Config.preset(preset)
    plan = blueprint(config.unet, *config.latent_shape[1:])
    rows = [line for line in README.splitlines() if line.startswith("|") and f"`{preset}`" in line]
    assert len(rows) == 1 and f"{plan.parameters:,}" in rows[0]


def test_the_benchmarks_that_results_name_are_there() -> None:
    names = set(re.findall(r"`\.(\w+)", RESULTS)) | set(
        re.findall(r"tests\.benchmarks\.(\w+)", RESULTS)
    )
    assert len(names) >= 10
    for name in names:
        assert importlib.util.find_spec(f"tests.benchmarks.{name}"), name
    tests = set(re.findall(r"tests/\S+?\.py", RESULTS))
    assert tests and all((ROOT / path).is_file() for path in tests)
