"""Photographs of one cat, as a telephone would have taken them: cut from the bundled one."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from tests.helpers.serving import ROOT

CAT = ROOT / "sd" / "data" / "starter" / "cat.jpg"
SIDES = (320, 240)  # pixels, lying or upright


def make_photos(folder: Path, count: int = 60, seed: int = 0) -> Path:
    """Fill a new folder with so many JPEGs, each cut, turned and lit in its own way."""
    folder.mkdir(parents=True)
    source = np.random.default_rng(seed)
    with Image.open(CAT) as opened:
        cat = opened.convert("RGB")
    for number in range(count):
        side = int(source.integers(cat.width // 2, cat.width))
        left, top = (int(source.integers(0, cat.width - side + 1)) for _ in range(2))
        photo = cat.rotate(float(source.uniform(-12, 12)), Image.Resampling.BICUBIC)
        photo = photo.crop((left, top, left + side, top + side))
        photo = ImageOps.mirror(photo) if source.random() < 0.5 else photo
        photo = ImageEnhance.Brightness(photo).enhance(float(source.uniform(0.7, 1.3)))
        wide = SIDES if source.random() < 0.5 else SIDES[::-1]
        ImageOps.fit(photo, wide).save(folder / f"IMG_{4000 + number}.jpg", quality=85)
    return folder
