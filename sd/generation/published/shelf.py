"""The files of others that a home has opened, each by a name that a page and a recipe may say.

Models, and what is added to them: LoRA, embeddings, autoencoders. A file stays where it lies; the
home keeps its path alone. A model's name may say more, "v1.safetensors#lora=ink.safetensors@0.8",
in which files are called by their names here, so that no recipe holds a path.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sd.checkpoints.pretrained.choices import MARK, Choices, format_place, parse_choices
from sd.common.disk import read_object, write_text
from sd.common.text import printable
from sd.common.validation import InputError, choice, shown
from sd.config.fields import LONGEST_PATH
from sd.config.sections import TINY_AUTOENCODERS
from sd.runs.home import Home

FILE = "published.json"
KINDS = MODEL, LORA, EMBEDDING, VAE = ("model", "lora", "embedding", "vae")
MOST_FILES = 200
TAKEN = (MARK, ",", "=", "@")  # what the names of models say more with
ONE_PAGE = "files of this machine are opened on a page of one's own alone"


# A folder of a hub's cache is called by its commit.
SNAPSHOT = re.compile(r".*/models--(?:.+--)?(?P<name>[^/]+)/snapshots/[0-9a-f]{40}")


class OpenedFile(NamedTuple):
    """A file or folder that was opened, its name here, and which of `KINDS` it is."""

    name: str
    kind: str
    path: Path


def check_own(home: Home) -> None:
    """Raise `InputError` where others reach a home's page: paths of the machine are not theirs."""
    if home.neighbours is not None:
        raise InputError(ONE_PAGE)


def list_opened(home: Home, *kinds: str) -> list[OpenedFile]:
    """Return what was opened and is still there, the newest first; of some kinds alone."""
    return [each for each in _read(home) if each.path.exists() and each.kind in (kinds or KINDS)]


def open_file(home: Home, path: Path, kind: str) -> OpenedFile:
    """Note a file of a kind, and return it with its name; one that is known keeps its own."""
    check_own(home)
    where = path.expanduser().absolute()
    if "," in str(where) or MARK in str(where):
        raise InputError(f"{shown(str(where))}: must not hold a comma or {MARK}; rename it")
    known = _read(home)
    found = next((each for each in known if (each.path, each.kind) == (where, kind)), None)
    found = found or OpenedFile(_free_name(where, known), choice("kind", kind, KINDS), where)
    _write(home, [found, *(each for each in known if each != found)])
    return found


def close_file(home: Home, name: str) -> None:
    """Forget a file; it stays where it lies. Raises `InputError` for a name that is not known."""
    found = find_file(home, name, *KINDS)
    _write(home, [each for each in _read(home) if each != found])


def find_file(home: Home, name: str, *kinds: str) -> OpenedFile:
    """Return what was opened under a name, of some kinds; or raise `InputError`."""
    for each in list_opened(home, *kinds):
        if each.name == name:
            return each
    raise InputError(f"{kinds[0]} = {shown(name)}: no such file was opened here")


def has_model(home: Home, name: Any) -> bool:
    """Tell whether a name, whatever was sent as one, is that of a published model opened here."""
    stem = name.partition(MARK)[0] if isinstance(name, str) else None
    return any(each.name == stem for each in list_opened(home, MODEL))


def place_of(home: Home, name: str) -> str:
    """Return the place of the model of a name, with the paths of what the name says to add.

    Raises `InputError` for a file that was not opened, naming it.
    """
    stem, _, words = name.partition(MARK)
    choices = parse_choices(words)
    vae = choices.vae
    if vae is not None and vae not in TINY_AUTOENCODERS:
        vae = str(find_file(home, vae, VAE).path)
    paths = replace(
        choices,
        vae=vae,
        lora=tuple((str(find_file(home, each, LORA).path), scale) for each, scale in choices.lora),
        embedding=tuple(str(find_file(home, each, EMBEDDING).path) for each in choices.embedding),
    )
    return format_place(str(find_file(home, stem, MODEL).path), paths)


def choices_of(name: str) -> Choices:
    """Return what a model's name says, by the names of files."""
    return parse_choices(name.partition(MARK)[2])


def with_choices(name: str, choices: Choices) -> str:
    """Return the name of the same file with other choices."""
    return format_place(name.partition(MARK)[0], choices)


def label_of(path: Path) -> str:
    """Return what people know a file or folder by: its name, or its model's on a hub."""
    of_hub = SNAPSHOT.fullmatch(path.as_posix())
    return printable(of_hub["name"] if of_hub else path.name)


def _free_name(path: Path, known: list[OpenedFile]) -> str:
    """Return a name for a file, its own as far as names can be."""
    name = label_of(path)
    for mark in TAKEN:
        name = name.replace(mark, "-")
    taken = {each.name for each in known}
    names = (name, *(f"{name} {n}" for n in range(2, MOST_FILES + 2)))
    return next(each for each in names if each not in taken)


def _read(home: Home) -> list[OpenedFile]:
    """Return what a home's list says, as far as it makes sense."""
    try:
        listed = read_object(home.path / FILE, "files")["files"]
    except InputError:
        return []
    found = []
    for each in listed[:MOST_FILES] if isinstance(listed, list) else ():
        fields = each if isinstance(each, dict) else {}
        words = [str(fields.get(key, "")) for key in OpenedFile._fields]
        if fields.get("kind") in KINDS and all(0 < len(word) <= LONGEST_PATH for word in words):
            found.append(OpenedFile(words[0], words[1], Path(words[2])))
    return found


def _write(home: Home, files: list[OpenedFile]) -> None:
    listed = [{**each._asdict(), "path": str(each.path)} for each in files[:MOST_FILES]]
    write_text(home.ensure_writable() / FILE, json.dumps({"files": listed}, ensure_ascii=False))
