"""Linter, formatter, types and layers are part of the tests; so are the house's own rules."""

import ast
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = [ROOT / "app.py", *sorted((ROOT / "sd").rglob("*.py"))]
LONGEST_FUNCTION = 50  # lines
LONGEST_FILE = 500  # lines of code; beyond it a review asks whether it is one subject
MOST_FILES, MOST_PACKAGES = 12, 12  # code files of a package; packages of sd
OF_TUPLES = {
    "_replace",
    "_asdict",
    "_fields",
    "_make",
}  # public, though a NamedTuple spells them so
ADAPTER = "sd/ui/adapter/"  # the one place that reaches into gradio
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "shelve", "marshal", "dill", "joblib"}


@pytest.mark.parametrize(
    "words",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["importlinter.cli", "lint"],
    ],
    ids=lambda words: " ".join(words),
)
def test_the_tools_are_content(words: list[str]) -> None:
    command = [sys.executable, "-m", *words]
    if words[0] == "importlinter.cli":
        script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
        command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if len(text.splitlines()) > LONGEST_FILE:
        warnings.warn(f"{path.name}: more than {LONGEST_FILE} lines", stacklevel=1)
    for function in functions(ast.parse(text)):
        assert function.end_lineno is not None
        assert function.end_lineno - function.lineno < LONGEST_FUNCTION, function.name


def test_a_name_is_imported_from_where_it_lives() -> None:
    for path in OURS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                handed_on = [alias.name for alias in node.names if alias.asname == alias.name]
                assert not handed_on, f"{path.relative_to(ROOT)}: {handed_on}"


def test_a_look_at_a_folder_shows_its_parts() -> None:
    packages = [path.parent for path in (ROOT / "sd").rglob("__init__.py")]
    for package in packages:
        files = [path for path in package.glob("*.py") if path.stem != "__init__"]
        assert len(files) <= MOST_FILES, f"{package.relative_to(ROOT)}: {len(files)} files"
    assert sum(package.parent == ROOT / "sd" for package in packages) <= MOST_PACKAGES
    assert {path.name for path in (ROOT / "sd").glob("*.py")} == {"__init__.py", "__main__.py"}


def test_a_package_says_what_lives_there() -> None:
    for path in (ROOT / "sd").glob("*/__init__.py"):
        told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert told and 2 <= len([line for line in told.splitlines() if line]) <= 4, (
            path.parent.name
        )
    assert not list((ROOT / "sd").rglob("README*"))


def private_reaches(tree: ast.AST) -> set[str]:
    """Return where a module reaches into the private parts of what it has not made itself."""
    nodes = list(ast.walk(tree))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if ast.unparse(node.value) in ("self", "cls")
    }
    aliases = [
        alias
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    modules = {(alias.asname or alias.name).split(".")[0] for alias in aliases}
    private = {alias.name for alias in aliases if is_private(alias.name)}
    return private | {ast.unparse(node) for node in nodes if reaches_in(node, own, modules)}


def reaches_in(node: ast.AST, own: set[str], modules: set[str]) -> bool:
    if isinstance(node, ast.Attribute) and is_private(node.attr):
        return node.attr not in own and ast.unparse(node.value) not in ("self", "cls")
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
        return isinstance(node.args[1], ast.Constant) and is_private(str(node.args[1].value))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "vars" and node.args:
        looked_at = node.args[0]
        is_name = isinstance(looked_at, ast.Name | ast.Attribute)
        return is_name and ast.unparse(looked_at).split(".")[0] in modules
    return isinstance(node, ast.ClassDef) and any(word.arg for word in node.keywords)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OF_TUPLES


def test_only_the_adapter_reaches_into_what_is_private() -> None:
    found: dict[str, set[str]] = {}
    for path in OURS:
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(ADAPTER):
            found[name] = private_reaches(ast.parse(path.read_text(encoding="utf-8")))
    assert {name: reaches for name, reaches in found.items() if reaches} == {
        "sd/data/decoding/decoder.py": {"_imaging"},  # the library that libtiff is silenced in
        "sd/training/loop.py": {"torch._foreach_lerp_"},  # one kernel for all averaged weights
    }


@pytest.mark.parametrize(
    "text",
    [
        "demo._queue.max_size = 3",
        "from gradio.blocks import _App",
        "getattr(event, '_data', {})",
        "import gradio.blocks\nvars(gradio.blocks)['App'] = None",
        "class Slider(gr.Slider, metaclass=Plain): pass",
    ],
)
def test_a_reach_into_what_is_private_is_found(text: str) -> None:
    assert private_reaches(ast.parse(text))


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_runs_what_a_person_gave(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not FORBIDDEN_MODULES & {name.split(".")[0] for name in names}
        if isinstance(node, ast.Call):
            words = ast.unparse(node.func)
            assert words not in FORBIDDEN_CALLS and words != "os.system"
            if words == "torch.load":  # pickles, of which it then takes weights alone
                said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert said.get("weights_only") == "True"
            assert not any(
                keyword.arg == "shell"
                or (keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False")
                for keyword in node.keywords
            )
            if words == "np.load":
                assert "allow_pickle" in {keyword.arg for keyword in node.keywords}


def test_no_file_is_larger_than_a_space_takes() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            assert (ROOT / name).stat().st_size <= 10 * 2**20, name
    for name in ("emoji32", "shapes32"):
        files = [path for path in (ROOT / "checkpoints" / name).rglob("*") if path.is_file()]
        assert 0 < sum(path.stat().st_size for path in files) <= 10 * 10**6, name


def test_the_top_level_holds_what_was_agreed() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    top = {name.split("/")[0] for name in listed if not name.startswith(".")}
    folders, files = {"sd", "checkpoints", "tests"}, {"app.py", "requirements.txt", "README.md"}
    assert top <= folders | files | {"pyproject.toml", "LICENSE", "NOTICE"}
