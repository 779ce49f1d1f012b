"""A person's pictures for training: kept under their digest, read once, reported, previewed."""

import hashlib
import html
import re
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from sd import runs
from sd.gate import InputError, shown
from sd.ui.parts import tiled
from sd.ui.texts import say

if TYPE_CHECKING:
    from sd.data import ImageSet, Report

STARTER = "starter"
HANDLE = re.compile(r"[0-9a-f]{16}\.zip")
PREVIEW_SIDE, PREVIEW_COLUMNS, PREVIEW_ROWS = 64, 8, 2
MOST_NAMED = 20  # left-out files that are told by name


def uploads() -> Path:
    """Return the folder in which uploaded pictures are kept for training."""
    return runs.home() / "uploads"


def source_of(handle: Any) -> str:
    """Return what `read_images` takes: the word starter, or the zip that `handle` names."""
    if handle == STARTER:
        return STARTER
    if not isinstance(handle, str) or not HANDLE.fullmatch(handle):
        raise InputError(
            f"data = {shown(handle)}: must be 'starter' or what /inspect_data returned"
        )
    path = uploads() / handle
    if not path.is_file():
        raise InputError(f"data = {handle!r}: no such upload; upload the pictures again")
    return str(path)


def digest_of(files: Sequence[Path]) -> str:
    """Return 16 hexadecimal digits of names and contents."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]


def keep(files: Sequence[str]) -> Path:
    """Keep uploaded files as one zip under their digest; a single zip is kept as it is."""
    from sd.archive import is_archive, pack_files

    paths = [Path(file) for file in files]
    target = uploads() / f"{digest_of(paths)}.zip"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    if len(paths) == 1 and is_archive(paths[0]):
        shutil.copyfile(paths[0], target)
    else:
        pack_files(paths, [path.name for path in paths], target)
    return target


def take(files: Sequence[str] | None) -> tuple[str, "ImageSet"]:
    """Return the handle and the pictures of an upload, or of the starter set without one.

    What holds no usable picture is not kept. Raises InputError.
    """
    if not files:
        return STARTER, starter_set()
    target = keep(files)
    try:
        return target.name, read(target)
    except InputError as error:
        target.unlink(missing_ok=True)
        name = Path(files[0]).name if len(files) == 1 else "the upload"
        raise InputError(str(error).replace(target.name, name)) from None


def read(source: str | Path) -> "ImageSet":
    """Return the pictures of a source, small, as they are previewed."""
    from sd.data import read_images

    return read_images(source, height=PREVIEW_SIDE, width=PREVIEW_SIDE)


@lru_cache(maxsize=1)
def starter_set() -> "ImageSet":
    """Return the bundled pictures."""
    return read(STARTER)


def preview(images: "ImageSet") -> Image.Image:
    """Return a sheet of pictures, evenly taken from the whole set."""
    from sd.images import to_pil

    count = min(len(images.pixels), PREVIEW_COLUMNS * PREVIEW_ROWS)
    places = [n * len(images.pixels) // count for n in range(count)]
    columns = min(count, PREVIEW_COLUMNS)
    return tiled([to_pil(images.pixels[place]) for place in places], columns, gap=6)


def report_html(report: "Report", lang: str) -> str:
    """Return the report as one line of counts, and the left-out files folded away, by name."""
    widths = [width for width, _ in report.sizes]
    facts = [say("report_count", lang, n=f"{report.used:,}")]
    if len(report.classes) > 1:
        facts.append(say("report_classes", lang, n=len(report.classes)))
    if report.captions:
        facts.append(say("report_captions", lang, n=f"{report.captions:,}"))
    if len(report.sizes) == 1:
        width, height = next(iter(report.sizes))
        facts.append(say("report_size", lang, w=width, h=height))
    else:
        facts.append(say("report_sizes", lang, low=min(widths), high=max(widths)))
    return f'<p class="facts">{", ".join(facts)}</p>{left_out_html(report, lang)}'


def left_out_html(report: "Report", lang: str) -> str:
    """Return the names of what is not used, and why; names come from outside and are escaped."""
    if not report.left_out:
        return ""
    rows = [
        f"<li><b>{html.escape(each.name[:120])}</b> {html.escape(each.reason)}</li>"
        for each in report.left_out[:MOST_NAMED]
    ]
    if len(report.left_out) > MOST_NAMED:
        rows.append(f"<li>{say('report_more', lang, n=len(report.left_out) - MOST_NAMED)}</li>")
    title = say("report_left_out", lang, n=len(report.left_out))
    return f"<details><summary>{title}</summary><ul>{''.join(rows)}</ul></details>"
