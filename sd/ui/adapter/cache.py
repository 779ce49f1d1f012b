"""Files on their way to the browser, in the folder that gradio serves them from."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
import PIL.Image
from gradio.processing_utils import encode_pil_to_bytes, hash_bytes

from sd.ui.adapter.inputs import Plain


def kept(data: bytes, name: str, folder: Path) -> Path:
    """Keep bytes as `folder`/their digest/`name`, once and whole; return the file.

    gradio writes such a file anew whenever it is shown, over one that may be on its way to a
    browser just then, which then gets nothing: a sampling ends by showing its last picture twice.
    """
    path = folder / str(hash_bytes(data)) / name
    with suppress(FileNotFoundError):
        os.utime(path)  # gradio deletes the oldest
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return path


def filed(field: Any, value: Any) -> Any:
    """Return the file of a picture that a field is to show; anything else as it is."""
    if not isinstance(value, PIL.Image.Image):
        return value
    data = encode_pil_to_bytes(value, field.format)  # type: ignore[no-untyped-call]
    return kept(data, f"image.{field.format}", Path(field.GRADIO_CACHE))


class Image(gr.Image, metaclass=Plain):
    """A picture that is shown: gradio's own, but for its file, which is `kept`."""

    def postprocess(self, value: Any) -> Any:
        """Return what the browser is told of a picture; None is none."""
        return super().postprocess(filed(self, value))


class Gallery(gr.Gallery, metaclass=Plain):
    """Pictures with their captions: gradio's own, but for their files, which are `kept`."""

    def postprocess(self, value: Any) -> Any:
        """Return what the browser is told of (picture, caption) pairs; None is none."""
        pairs: list[Any] = [(filed(self, picture), caption) for picture, caption in value or ()]
        return super().postprocess(pairs)
