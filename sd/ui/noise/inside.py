"""Inside an autoencoder: the picture, its latents, what comes back of it, and what is lost."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr
import numpy as np
from gradio.components import Component
from markupsafe import Markup

from sd.common import validation
from sd.generation.registry import ModelEntry
from sd.ui import models
from sd.ui.components import curves, images
from sd.ui.components.events import Updates, by_name
from sd.ui.components.handlers import ALWAYS, event_value, guarded, language, progress_on
from sd.ui.components.html import paragraph
from sd.ui.noise import latents, stage
from sd.ui.noise.latents import Encoded
from sd.ui.noise.model_view import progress_html, told
from sd.ui.noise.pictures import Picture, draw_noise
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

    from sd.diffusion.reconstruction import Channel, Reconstruction

ENLARGED = 4  # times the error is shown
MOST_NOISE = 1.0  # standard deviations of the latents
SHOWN_STD = 3.0  # standard deviations of a channel that fill the range from black to white
MOST_LARGE = 8  # channels that are shown large
BELL = 0.4  # density at the middle of N(0, 1), about: half of a histogram's height


class Look(NamedTuple):
    """One autoencoder at one picture: what came back of it, and how that compares."""

    name: str
    found: Encoded
    back: "Tensor"
    told: "Reconstruction"


def look(name: str, entry: ModelEntry, picture: Picture, seed: int, noise: float) -> Look:
    """Look into an autoencoder; noise: standard deviations that are added to its latents."""
    from sd.diffusion.reconstruction import compare_reconstruction

    found = latents.encode(name, entry, picture)
    z = found.z + noise * draw_noise(tuple(found.z.shape), seed) if noise else found.z
    back = latents.decode(found, z)
    return Look(name, found, back, compare_reconstruction(found.x, back, z))


@guarded
@stage.telling_its_end
def look_inside(
    form: Any, model: str, request: gr.Request, event: gr.EventData
) -> Iterator[Updates]:
    """Show one autoencoder from within, and what the others make of the same picture."""
    lang, asked, entry = language(request), stage.read_form(form), models.find(model)
    names = latents.list_autoencoders(entry)
    pressed, strength = event_value(event, "autoencoder"), event_value(event, "noise")
    chosen = names[0] if pressed is None else validation.choice("autoencoder", pressed, names)
    noise = validation.real("noise", 0 if strength is None else strength, 0, MOST_NOISE)
    looks: dict[str, Look] = {}
    for name in [chosen, *(each for each in names if each != chosen)]:
        looks[name] = look(name, entry, asked.picture, asked.seed, noise)
        shown = [looks[each] for each in names if each in looks]
        html = row_html(shown, chosen, entry, lang) + detail_html(looks[chosen], noise, lang)
        left = len(looks) < len(names)
        yield told(html, progress_html(len(looks), len(names), lang) if left else "")


def row_html(looks: list[Look], chosen: str, entry: ModelEntry, lang: str) -> Markup:
    """Return what each autoencoder makes of the picture, as buttons that look into it."""
    button = Markup(
        '<button type="button" data-autoencoder="{}" aria-pressed="{}"><img src="{}" alt="">'
        "<span><b>{}</b><br>{}<br>{}</span></button>"
    )
    each = Markup("").join(
        button.format(
            one.name,
            "true" if one.name == chosen else "false",
            address(one.back),
            latents.title_of(one.name, entry, lang),
            say("inside_figures", lang, psnr=f"{one.told.psnr:.1f}", ssim=f"{one.told.ssim:.3f}"),
            say("inside_shape", lang, shape=shape_of(one.found), times=saving(one.found)),
        )
        for one in looks
    )
    return Markup('<div class="stages" role="group" aria-label="{}">{}</div>').format(
        say("inside", lang), each
    )


def shape_of(found: Encoded) -> str:
    """Return the shape of latents in words."""
    return " × ".join(str(side) for side in found.z.shape)


def saving(found: Encoded) -> str:
    """Return how many times fewer values the latents have than the picture."""
    return f"{found.x.numel() / found.z.numel():.3g}"


def detail_html(one: Look, noise: float, lang: str) -> Markup:
    """Return the picture, what came back and what is lost; the latents; the detail that is kept."""
    came = "inside_noisy" if noise else "inside_back"
    error = one.told.error[None] * ENLARGED - 1
    tiles = [
        tile(address(one.found.x), say("inside_picture", lang)),
        tile(address(one.back), say(came, lang, n=f"{100 * noise:.0f}")),
        tile(address(error), say("inside_error", lang, n=ENLARGED)),
    ]
    triple = Markup('<div class="triple">{}</div>').format(Markup("").join(tiles))
    channels = channels_html(one, lang)
    return triple + channels + detail_curve(one, lang)


def tile(source: str, caption: str) -> Markup:
    """Return one picture with its caption."""
    figure = Markup('<figure><img src="{}" alt="{}"><figcaption>{}</figcaption></figure>')
    return figure.format(source, caption, caption)


def address(pixels: "Tensor") -> str:
    """Return a picture [C, H, W] at its own size."""
    from sd.data.images import to_pil

    return images.data_address(to_pil(pixels), images.SCREEN_SIDE)


def channels_html(one: Look, lang: str) -> Markup:
    """Return each channel of the latents as a grey picture over how its values are spread."""
    from sd.data.images import to_pil

    figure = Markup(
        '<figure><img src="{}" alt="{}"><svg viewBox="0 0 100 32" preserveAspectRatio="none"'
        ' aria-hidden="true"><path class="bars" d="{}"/><path class="bell" d="{}"/></svg>'
        "<figcaption>{}</figcaption></figure>"
    )
    std, mean = (each[:, None, None] for each in (one.found.space.std, one.found.space.mean))
    bell, figures = bell_path(), []
    for k, (values, each) in enumerate(zip(one.found.z, one.told.channels, strict=True)):
        grey = ((values - each.mean) / max(each.std, 1e-9) / SHOWN_STD)[None]
        numbers = {"mean": f"{float(mean[k] + std[k] * each.mean):.2f}"}
        numbers["std"] = f"{float(std[k]) * each.std:.2f}"
        name = say("inside_channel", lang, k=k + 1, n=len(one.told.channels))
        title = say("inside_spread", lang, **numbers)
        source = images.data_address(to_pil(grey))
        figures.append(figure.format(source, name, bars_path(each), bell, title))
    small = " many" if len(figures) > MOST_LARGE else ""
    grid = Markup('<div class="channels{}">{}</div>').format(small, Markup("").join(figures))
    return paragraph(say("inside_channels", lang, shape=shape_of(one.found))) + grid


def bars_path(channel: "Channel") -> str:
    """Return a histogram as a path in a box of 100 x 32."""
    width, path = 100 / len(channel.density), "M0 32"
    for k, density in enumerate(channel.density):
        path += f"V{32 - min(32.0, 16 * density / BELL):.1f}H{(k + 1) * width:.1f}"
    return f"{path}V32Z"


def bell_path() -> str:
    """Return N(0, 1) as a path in the same box."""
    from sd.diffusion.reconstruction import REACH

    places = np.linspace(-REACH, REACH, 61)
    heights = 16 * np.exp(-(places**2) / 2) / np.sqrt(2 * np.pi) / BELL
    points = zip(np.linspace(0, 100, 61), 32 - heights, strict=True)
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def detail_curve(one: Look, lang: str) -> Markup:
    """Return the power of the picture and of what came back by frequency, and how rough z is."""
    power, back = one.told.power, one.told.power_back
    place = np.log(np.arange(1, len(power) + 1)) / np.log(max(len(power), 2))
    lines = [
        curves.Line(place, np.maximum(power, 1e-9), "raw", say("inside_picture", lang)),
        curves.Line(place, np.maximum(back, 1e-9), "accent", say("inside_came", lang)),
    ]
    feet = [(0.0, "1"), (1.0, say("noise_cycles", lang, n=len(power)))]
    plot = curves.plot(lines, say("inside_detail_alt", lang), feet)
    shares = {"z": f"{one.told.rough:.0%}", "x": f"{one.told.rough_picture:.0%}"}
    told_line = paragraph(say("inside_rough", lang, **shares), "told")
    heading = paragraph(say("inside_detail", lang))
    return heading + Markup('<div class="trip">{}</div>').format(plot) + told_line


def build(form: gr.HTML, model: Component) -> None:
    """Lay out the look inside, and wire it."""
    tool = stage.tool("inside", "look")
    asked = by_name(look_inside, {"form": form, "model": model}, {"tool": tool})
    shown = tool.look(**asked, **progress_on(tool), **ALWAYS)
    tool.stop(None, None, None, cancels=[shown], api_visibility="private")
