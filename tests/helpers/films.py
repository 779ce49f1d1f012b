"""Whole films, and the space of pictures that are sampled as they are."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image

from sd.common.encoding import data_uri
from sd.data.space import Pixels
from sd.diffusion.sampling import SampleStep
from sd.diffusion.schedule import Schedule
from sd.generation.export import draw_frames
from sd.generation.film import Film, Keep

PIXELS = Pixels((3, 16, 16))  # of any size: no film asks for it


def frames_of(steps: Sequence[SampleStep]) -> list[Image.Image]:
    """Return the frames of a moving picture of these steps."""
    return draw_frames(steps, PIXELS)


def film_of(
    steps: Iterable[SampleStep], schedule: Schedule, total: int, keep: Keep = data_uri, **about: Any
) -> dict[str, Any]:
    """Return a finished film of `steps`; `about`: calls, label, start, columns of `Film`."""
    film = Film(PIXELS, schedule, total, **about)
    for step in steps:
        film.add(step)
    film.end()
    film.flush(keep)
    return film.json()


def films_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the films that a player's value was made of."""
    return [
        {
            **lane,
            "frames": [frame for text in lane["frames"] for frame in json.loads(text)],
            "chunks": [{**chunk, "src": chunk["src"]["path"]} for chunk in lane["chunks"]],
        }
        for lane in value["lanes"]
    ]
