"""Faces of what typing offers: of each caption or class a picture of it, out of the set itself.

All of a model's lie in one sheet, which is made and fetched when somebody begins to type.
"""

import csv
import io
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from sd import runs
from sd.common.validation import InputError
from sd.data.reading.source import BUNDLED_SETS, bundled_path
from sd.generation.registry import ModelEntry
from sd.ui import models
from sd.ui.adapter.served_files import file_data, store
from sd.ui.components.events import Updates
from sd.ui.components.handlers import guarded
from sd.ui.denoise.prompts import offered_prompts

if TYPE_CHECKING:
    from sd.data.reading.archive import Archive

SIDE, ACROSS = 32, 40  # pixels of a face; faces side by side
QUALITY = 85
Face = tuple[str, Image.Image]
Found = tuple[str, Callable[[], Image.Image]]  # which is read where it is wanted


@guarded
def show_faces(model: str) -> Updates:
    """Show a face beside each text that typing offers, where the set is at hand."""
    entry = models.find(model)
    path, known = sheet(entry)
    if path is not None and not path.is_file():  # gradio deletes what is older than a day
        sheet.cache_clear()
        path, known = sheet(entry)
    if path is None:
        return {"asked": {"patch": {"faces": {}}}}
    told: dict[str, Any] = {"src": file_data(str(path)), "known": known}
    return {"asked": {"patch": {"faces": {**told, "side": SIDE, "across": ACROSS}}}}


@lru_cache(maxsize=8)
def sheet(entry: ModelEntry) -> tuple[Path | None, list[int]]:
    """Return the sheet of a model's faces and which of `offered_prompts` have one, in its order."""
    places = {text: n for n, text in enumerate(offered_prompts(entry))}
    faces: dict[int, Image.Image] = {}
    with suppress(InputError, OSError, LookupError, ValueError):
        for text, picture in pictures_of(entry, places):
            faces[places[text]] = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    if not faces:
        return None, []
    rows = -(-len(faces) // ACROSS)
    drawn = Image.new("RGB", (ACROSS * SIDE, rows * SIDE), "white")
    known = sorted(faces)
    for n, place in enumerate(known):
        drawn.paste(faces[place], (n % ACROSS * SIDE, n // ACROSS * SIDE))
    file = io.BytesIO()
    drawn.save(file, "JPEG", quality=QUALITY)
    return store(file.getvalue(), "faces.jpg"), known


def pictures_of(entry: ModelEntry, wanted: Container[str]) -> Iterator[Face]:
    """Yield (text, picture) of the first picture of each wanted text, of the set it learned."""
    conditioning = models.read_conditioning(entry)
    by_class = bool(conditioning and conditioning.labels)
    if (entry.folder / runs.PICTURES).is_dir():
        found = _of_run(entry.folder / runs.PICTURES, by_class)
    else:
        found = _of_bundled(str(runs.read_source(entry.folder)), by_class)
    seen: set[str] = set()
    for text, read in found:
        if text in wanted and text not in seen:
            seen.add(text)
            yield text, read()


def _of_run(folder: Path, by_class: bool) -> Iterator[Found]:
    from sd.data.images import to_pil
    from sd.data.ingest import open_images

    images = open_images(folder)
    texts: Sequence[str] = images.captions or ()
    if by_class:
        numbers = [] if images.labels is None else images.labels.tolist()
        texts = [images.label_names[number] for number in numbers]
    for n, text in enumerate(texts):
        yield text, partial(to_pil, images.pixels[n])


def _of_bundled(word: str, by_class: bool) -> Iterator[Found]:
    from sd.data.reading.archive import Archive

    if word not in BUNDLED_SETS:
        return
    with closing(Archive(bundled_path(word))) as packed:
        table = io.StringIO(packed.read("metadata.csv").decode("utf-8"))
        for row in csv.DictReader(table):
            yield row["label" if by_class else "text"], partial(_opened, packed, row["file_name"])


def _opened(packed: "Archive", name: str) -> Image.Image:
    from sd.data.images import read_picture

    return read_picture(io.BytesIO(packed.read(name)), name)
