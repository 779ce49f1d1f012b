"""Models on the hub: told with their size and one revision, and fetched only when that is said.

Of a repository safetensors are taken and the settings beside them, nothing else; no code of it is
read. What is fetched lies in huggingface_hub's own cache, whose login and address (HF_ENDPOINT)
hold here too. A whole digest of every file of weights is compared with the hub's. No torch.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi, constants, errors, file_download, hf_hub_download

from sd.checkpoints.pretrained.folder import ENDINGS, FOREIGN, INDEX, STEMS, SUBFOLDERS
from sd.checkpoints.pretrained.header import SUFFIXES
from sd.checkpoints.pretrained.parts import READ
from sd.common.text import brief, format_bytes, printable
from sd.common.validation import InputError, shown

WORD = r"[A-Za-z0-9][\w.-]{0,95}"
PLACE = re.compile(
    rf"(?P<repo>{WORD}/{WORD})(?:/(?P<file>[\w./-]+\.safetensors))?(?:@(?P<revision>[\w./-]+))?",
    re.ASCII,
)
PINNED = re.compile(r"[0-9a-f]{40}")  # a commit, which stays what it is
ENDING = ".safetensors"
SETTINGS = (  # beside the weights of a part
    "config.json",
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("vocab.json", "merges.txt"),
)
SCHEDULER = "scheduler/scheduler_config.json"
SHARD = re.compile(r"-\d{5}-of-\d{5}")
TIMEOUT = 20.0  # seconds without an answer
LARGEST_SETTINGS = 16_000_000  # bytes of a file that is no weights
MOST_LISTED = 5  # files that a refusal names
CHUNK = 2**24


class HubFile(NamedTuple):
    """A file of a repository; sha256 is None where the hub knows none."""

    name: str
    bytes: int
    sha256: str | None = None


class HubModel(NamedTuple):
    """What would be fetched: of one revision the files of a model, and its licence if it has one.

    single: whether it is one file; otherwise a folder of diffusers, or of a part.
    """

    repo: str
    revision: str
    files: tuple[HubFile, ...]
    single: bool = False
    licence: str = ""

    @property
    def place(self) -> str:
        """What is typed to fetch it."""
        file = f"/{self.files[0].name}" if self.single else ""
        return f"{self.repo}{file}@{self.revision}"

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(each.bytes for each in self.files)

    @property
    def line(self) -> str:
        """What is told before anything is fetched."""
        files = "1 file" if len(self.files) == 1 else f"{len(self.files)} files"
        licence = f"licence {self.licence}" if self.licence else "no licence is named"
        return f"{self.repo}: {files}, {format_bytes(self.bytes)}; {licence}"


def is_hub_place(place: str) -> bool:
    """Tell whether a place is like a hub's; a file of weights without its owner is none."""
    match = PLACE.fullmatch(place)
    if match is None or ".." in place:
        return False
    return match["file"] is not None or Path(match["repo"]).suffix.lower() not in SUFFIXES


def parse_hub_place(place: str) -> tuple[str, str | None, str | None]:
    """Return repository, file and revision of OWNER/NAME[/FILE][@REVISION]; or `InputError`."""
    match = PLACE.fullmatch(place)
    if match is None or ".." in place:
        raise InputError(
            f"{shown(place)}: must look like OWNER/NAME, OWNER/NAME/FILE.safetensors or "
            "OWNER/NAME@REVISION"
        )
    return match["repo"], match["file"], match["revision"]


def is_pinned(place: str) -> bool:
    """Tell whether a place names a commit, and so files that will not be others tomorrow."""
    revision = parse_hub_place(place)[2]
    return revision is not None and PINNED.fullmatch(revision) is not None


def look_up(place: str) -> HubModel:
    """Return what the hub has at a place; nothing but its list of files is read.

    Raises `InputError` in one line where there is no model that is read here, or no hub.
    """
    repo, file, revision = parse_hub_place(place)
    api = HfApi(endpoint=_endpoint())
    found: Any = _asked(
        place, lambda: api.model_info(repo, revision=revision, timeout=TIMEOUT, files_metadata=True)
    )
    commit = str(found.sha)
    if not PINNED.fullmatch(commit) or (is_pinned(place) and commit != revision):
        raise InputError(f"{shown(place)}: the hub names another commit for it, or none")
    listed = {each.rfilename: each for each in found.siblings or ()}
    try:
        names = [file] if file else choose(listed)
        if missing := [name for name in names if name not in listed]:
            raise InputError(f"there is no {missing[0]}")
        chosen = tuple(_file(listed[name]) for name in names)
    except InputError as error:
        raise InputError(f"{repo}: {error}") from None
    licence = str((found.card_data or {}).get("license") or "")
    return HubModel(repo, commit, chosen, len(names) == 1, brief(printable(licence)))


def choose(files: Iterable[str]) -> list[str]:
    """Return which files of a repository make a model: of a pipeline, or of one part.

    Raises `InputError` for models of other kinds, and where there is no safetensors of a part.
    """
    names = set(files)
    if INDEX not in names:
        return _of_part("", names) or _alone(names)
    for folder, kind in FOREIGN.items():
        if any(name.startswith(f"{folder}/") for name in names):
            raise InputError(f"this is {kind}; {READ}")
    parts = [_of_part(f"{folder}/", names) for folder in SUBFOLDERS.values()]
    for folder, part in zip(SUBFOLDERS.values(), parts, strict=True):
        if not part and any(name.startswith(f"{folder}/") for name in names):
            raise InputError(f"its {folder} has no safetensors; only these are fetched")
    if not parts[0]:
        raise InputError("its folder unet holds no weights")
    beside = [each for each in (INDEX, SCHEDULER) if each in names]
    return beside + [name for part in parts for name in part]


def _of_part(folder: str, names: set[str]) -> list[str]:
    """Return the files of a part: of its weights the best form, and the settings beside."""
    for ending in (each for each in ENDINGS if each.endswith(ENDING)):
        for stem in STEMS:
            weights = [f"{folder}{stem}{ending}"]
            if weights[0] not in names:
                weights = _shards(folder, stem, ending, names)
            if weights:
                return [*(s for each in SETTINGS if (s := folder + each) in names), *weights]
    return []


def _shards(folder: str, stem: str, ending: str, names: set[str]) -> list[str]:
    """Return the shards of a part with their index; none where either is missing."""
    variant = ending.removesuffix(ENDING)
    index = {f"{folder}{stem}{ending}.index.json", f"{folder}{stem}{ENDING}.index{variant}.json"}
    pattern = re.compile(rf"{re.escape(folder + stem)}{re.escape(variant)}{SHARD.pattern}{ENDING}")
    later = re.compile(rf"{re.escape(folder + stem)}{SHARD.pattern}{re.escape(ending)}")
    shards = sorted(name for name in names if pattern.fullmatch(name) or later.fullmatch(name))
    return [*sorted(index & names), *shards] if shards and index & names else []


def _alone(names: set[str]) -> list[str]:
    """Return the one file of weights that a repository has at its top."""
    found = sorted(name for name in names if name.endswith(ENDING) and "/" not in name)
    if not found:
        raise InputError("it holds no safetensors at its top; only these are fetched")
    if len(found) > 1:
        more = f" and {len(found) - MOST_LISTED} more" if len(found) > MOST_LISTED else ""
        listed = ", ".join(brief(printable(each)) for each in found[:MOST_LISTED])
        raise InputError(f"it holds several files of weights; say one of {listed}{more} after it")
    return found


def fetch(model: HubModel) -> Path:
    """Fetch what was looked up and return its file or folder; what is there already is kept.

    Raises `InputError` where the disk is too full, the hub does not answer, or a file is not what
    it promised; that file is thrown away.
    """
    cache = Path(constants.HF_HUB_CACHE)
    _check_room(model, cache)
    paths: list[Path] = []
    for file in model.files:
        found = _asked(
            model.place,
            lambda file=file: hf_hub_download(  # type: ignore[misc]
                model.repo, file.name, revision=model.revision, endpoint=_endpoint()
            ),
        )
        paths.append(_check_file(Path(found), file))
    if model.single:
        return paths[0]
    return paths[0].parents[model.files[0].name.count("/")]


def fetched_bytes(model: HubModel) -> int:
    """Return how many bytes of a model's weights the cache has, those of unfinished files too."""
    blobs = _folder(model.repo) / "blobs"
    there = 0
    for file in (each for each in model.files if each.sha256):
        for blob in blobs.glob(f"{file.sha256}*"):
            with suppress(FileNotFoundError):  # it was finished meanwhile, and is called otherwise
                there += min(blob.stat().st_size, file.bytes)
    return min(there, model.bytes)


def fetched_file(place: str, name: str) -> Path:
    """Return a file of a model that was fetched before; nobody is asked for it.

    Where no revision is said it is the default one's, or that of the only commit there is. Raises
    `InputError` where it is not there, saying what fetches it.
    """
    repo, _, revision = parse_hub_place(place)
    commits = [] if revision else fetched_commits(repo)
    for each in (revision, *(commits if len(commits) == 1 else ())):
        with suppress(errors.HFValidationError, OSError):
            return Path(hf_hub_download(repo, name, revision=each, local_files_only=True))
    if len(commits) > 1:
        raise InputError(f"{shown(place)}: say which commit; {' and '.join(commits)} are there")
    raise InputError(
        f"{shown(place)}: was not fetched; python -m sd pull {place} tells its size first"
    )


def fetched_commits(repo: str) -> list[str]:
    """Return the commits of which something was fetched."""
    return sorted(each.name for each in (_folder(repo) / "snapshots").glob("?" * 40))


def _folder(repo: str) -> Path:
    """Return where a repository lies in the cache."""
    name = file_download.repo_folder_name(repo_id=repo, repo_type="model")
    return Path(constants.HF_HUB_CACHE) / name


def _check_room(model: HubModel, cache: Path) -> None:
    """Raise `InputError` where the disk of the cache has no room for a model."""
    there = next(each for each in (cache, *cache.parents) if each.exists())
    free = shutil.disk_usage(there).free
    if model.bytes > free:
        raise InputError(
            f"{model.repo}: takes {format_bytes(model.bytes)}; {format_bytes(free)} of the disk "
            "are free"
        )


def _check_file(path: Path, file: HubFile) -> Path:
    """Return a fetched file, if its size and digest are those that the hub named before."""
    size = path.stat().st_size
    fault = "" if size == file.bytes else f"has {size:,} bytes, not {file.bytes:,}; fetch it again"
    if not fault and file.sha256 is not None and _digest(path) != file.sha256:
        fault = "is damaged, its SHA-256 is not the hub's; fetch it again"
    if fault:
        for each in (path.resolve(), path):  # in the cache a name is a link to the file
            each.unlink(missing_ok=True)
        raise InputError(f"{brief(printable(file.name))}: {fault}")
    return path


def _digest(path: Path) -> str:
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            whole.update(part)
    return whole.hexdigest()


def _file(sibling: Any) -> HubFile:
    """Return a file as the hub's list tells of it; `InputError` without a size."""
    lfs: Mapping[str, Any] = sibling.lfs or {}
    size = sibling.size if type(sibling.size) is int and sibling.size >= 0 else None
    name = sibling.rfilename
    if size is None or (size > LARGEST_SETTINGS and not name.endswith(ENDING)):
        told = "no size" if size is None else format_bytes(size)
        raise InputError(f"{brief(printable(name))}: the hub tells {told} of it; it is not fetched")
    return HubFile(name, size, lfs.get("sha256"))


def _endpoint() -> str | None:
    """Return the hub's address where another is set; it is read when it is asked."""
    return os.environ.get("HF_ENDPOINT") or None


def _asked(place: str, ask: Callable[[], Any]) -> Any:
    """Return the hub's answer; raise `InputError` in one line where it gives none."""
    try:
        return ask()
    except InputError:
        raise
    except errors.HFValidationError:
        why = "is no id that the hub allows"
    except errors.GatedRepoError:
        why = "its owner asks for consent first: give it on the hub, then run hf auth login"
    except errors.RevisionNotFoundError:
        why = "there is no such revision"
    except (errors.RepositoryNotFoundError, errors.EntryNotFoundError) as error:
        offline = isinstance(error, errors.LocalEntryNotFoundError)
        why = "the hub cannot be reached" if offline else "the hub has no such model for you"
    except (errors.HTTPError, OSError):  # type: ignore[attr-defined]
        why = "the hub cannot be reached"
    raise InputError(f"{shown(place)}: {why}")
