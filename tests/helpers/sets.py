"""Small picture sets in folders and zips, and what the tests of reading them share."""

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from sd.common.validation import InputError
from sd.data.image_set import ImageSet, inspect_images, read_images


def picture(value: int = 0, size: tuple[int, int] = (8, 8), form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(file, form)
    return file.getvalue()


def folder(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return root


def zipped(path: Path, files: dict[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def left_out(images: ImageSet) -> dict[str, str]:
    return dict(images.report.left_out)


def refusal(source: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        read_images(source)
    message = str(caught.value)
    assert "\n" not in message and len(message) <= 300
    if isinstance(source, Path):
        assert str(source.parent) not in message
    with pytest.raises(InputError) as again:
        inspect_images(source)
    assert str(again.value) == message
    return message


def values(images: ImageSet) -> list[int]:
    """The grey value of each picture."""
    return images.pixels[:, 0, 0, 0].tolist()


GOOD = {f"good/{n}.png": picture(10 * n) for n in range(1, 6)}
