"""Pictures as PNG bytes, and bytes as an address that a page needs not fetch. No torch."""

import base64
import io

from PIL import Image


def png_bytes(image: Image.Image) -> bytes:
    """Return a picture as PNG, without a mark: recipes and pages embed it."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def data_uri(data: bytes, media_type: str = "application/octet-stream") -> str:
    """Return bytes as an address that carries them."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
