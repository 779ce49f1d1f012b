"""The picture in an autoencoder's latents, and noise that comes there instead of on its pixels."""

import base64
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr
from gradio.components import Component

from sd.config.sections import TINY_AUTOENCODERS
from sd.generation.registry import ModelEntry
from sd.ui import models
from sd.ui.components import images
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import guarded, language, progress_on
from sd.ui.noise import exact, stage
from sd.ui.noise.pictures import (
    Picture,
    draw_noise,
    keep_newest,
    read_image,
    read_pixels,
)
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

    from sd.networks.first_stage import Autoencoder, Latents

OF_MODEL = "model"  # the autoencoder of the page's model
SIDES = (128, 256)  # the least and the most pixels of a side, where no model has a size of its own
MULTIPLE = 8  # of which sides are: the bundled autoencoders' factor


class Encoded(NamedTuple):
    """A picture x [3, H, W] with its latents z [c, h, w] in the space of an autoencoder."""

    space: "Latents"
    x: "Tensor"
    z: "Tensor"


def list_autoencoders(entry: ModelEntry) -> list[str]:
    """Return the names of those to look into: the model's own first, if it samples in latents."""
    own = [OF_MODEL] if models.config_of(entry).is_latent else []
    return own + [name for name in TINY_AUTOENCODERS if name != bundled_name(entry)]


def bundled_name(entry: ModelEntry) -> str:
    """Return the name of the bundled autoencoder that a model has as it is, "" if it has none."""
    stage = models.config_of(entry).first_stage
    place = str(stage.autoencoder)
    return place if place in TINY_AUTOENCODERS and not stage.tune_steps else ""


def title_of(name: str, entry: ModelEntry, lang: str) -> str:
    """Return how an autoencoder is called."""
    known = bundled_name(entry) if name == OF_MODEL else name
    return known.upper() or say("inside_own", lang, model=entry.name)


@lru_cache(maxsize=2)
def bundled_autoencoder(name: str) -> "Autoencoder":
    """Return one that comes with the project."""
    from sd.checkpoints.first_stage import BUNDLED, read_autoencoder

    return read_autoencoder(BUNDLED / f"{name}.safetensors")


@keep_newest(8)
def encode(name: str, entry: ModelEntry, picture: Picture) -> Encoded:
    """Return a picture in the latents of one of `list_autoencoders`."""
    from sd.data.images import to_uint8
    from sd.training.latents import space_of_picture

    with models.turn():
        if name == OF_MODEL:
            space: Latents = models.open_model(entry).space  # type: ignore[assignment]
            x = read_pixels(picture, space.picture_shape)
        else:
            x = read_pixels(picture, shape_for(entry, picture))
            space = space_of_picture(bundled_autoencoder(name), to_uint8(x))
        return Encoded(space, x, space.encode(x[None])[0])


def shape_for(entry: ModelEntry, picture: Picture) -> tuple[int, int, int]:
    """Return the shape in which a bundled autoencoder gets a picture: the model's, if it can be.

    So that it can be compared with the model's own; else as large as the picture is, within bounds.
    """
    config = models.config_of(entry)
    if config.is_latent and not any(side % MULTIPLE for side in config.picture_shape[1:]):
        return config.picture_shape
    side = max(SIDES[0], min(SIDES[1], *read_image(picture).size))
    return 3, side - side % MULTIPLE, side - side % MULTIPLE


def decode(found: Encoded, z: "Tensor") -> "Tensor":
    """Return the picture [3, H, W] of z [c, h, w]."""
    with models.turn():
        return found.space.decode(z[None])[0]


@guarded
@stage.telling_its_end
def show_latents(form: Any, model: str, request: gr.Request) -> Iterator[Updates]:
    """Show the latents with which the browser draws z_t at any t, and z_t decoded where t rests."""
    from sd.data.images import to_pil

    lang, asked = language(request), stage.read_form(form)
    entry = models.find(model)
    name = list_autoencoders(entry)[0]
    found = encode(name, entry, asked.picture)
    process = exact.process_of(asked.schedule, asked.mean, asked.std)
    eps = draw_noise(tuple(found.z.shape), asked.seed)
    z_t = process.q_sample(found.z, asked.time, eps)
    data = {
        "shape": list(found.z.shape),
        "z": pack(found.z),
        "eps": pack(eps),
        "rgb": found.space.rgb.flatten().tolist(),
        "t": asked.time,
        "decoded": images.data_address(to_pil(decode(found, z_t)), images.SCREEN_SIDE),
        "name": title_of(name, entry, lang),
    }
    yield {"tool": {"shown": "", "progress": "", "data": data}}


def pack(values: "Tensor") -> str:
    """Return values as base64 of little-endian float16."""
    return base64.b64encode(values.cpu().numpy().astype("<f2").tobytes()).decode()


def build(form: gr.HTML, model: Component) -> None:
    """Lay out noise on pixels beside noise on latents, and wire it."""
    tool = stage.tool("latents", "ask")
    asked = by_name(show_latents, {"form": form, "model": model}, {"tool": tool})
    shown = tool.ask(**asked, **progress_on(tool), trigger_mode="always_last")
    tool.stop(None, None, None, cancels=[shown], api_visibility="private")
