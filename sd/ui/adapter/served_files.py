"""Files on their way to the browser, in the folder that gradio serves them from."""

import hashlib
import io
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from PIL import Image, PngImagePlugin

FILE_DATA = {"_type": "gradio.FileData"}  # what makes a dict with a path a file to gradio
KEY = secrets.token_bytes(32)  # so that no name can be guessed, not even by who has the contents


def folder() -> Path:
    """Return the folder that gradio writes uploads to and serves files from."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def store(data: bytes, name: str) -> Path:
    """Write bytes to `folder()`/their digest/`name`, once and whole; return the file.

    gradio writes a picture anew whenever it is shown, over a file that may be on its way to a
    browser just then, which then gets nothing: a sampling ends by showing its last picture twice.
    """
    path = folder() / hashlib.blake2b(data, key=KEY, digest_size=32).hexdigest() / name
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


def store_picture(image: Image.Image) -> str:
    """Write a picture as PNG, with its text chunks; return the path, which gr.Image shows."""
    texts = PngImagePlugin.PngInfo()
    for key, value in image.info.items():
        if isinstance(key, str) and isinstance(value, str):
            texts.add_text(key, value)
    image.save(data := io.BytesIO(), "PNG", pnginfo=texts)
    return str(store(data.getvalue(), "image.png"))


def file_data(path: Path | str) -> dict[str, object]:
    """Return a file as a part of a value of gr.HTML; the browser finds its address in `url`."""
    return {"path": str(path), "meta": FILE_DATA}
