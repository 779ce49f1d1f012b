"""What the tabs share: translated labels, the guard around handlers, pictures for the screen."""

import base64
import functools
import inspect
import io
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

import gradio as gr
from PIL import Image

from sd.common import validation
from sd.data.decoding.decoder import as_colour
from sd.ui.adapter import cache, inputs
from sd.ui.texts import PREFIX, language_of

T = TypeVar("T")

LARGEST_SEED = validation.LARGEST_SEED
SCREEN_SIDE = 512  # pixels; pictures are enlarged to about this by repeating pixels

QUIET: dict[str, Any] = {
    "show_progress": "hidden",
    "concurrency_limit": None,
    "api_visibility": "private",
}
END = object()  # of a stream
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
# What may take long, so many at once: gradio has 40 threads for all that anybody asks.
PANEL: dict[str, Any] = {"concurrency_id": "panel", "concurrency_limit": 1}
UPLOAD: dict[str, Any] = {"concurrency_id": "upload", "concurrency_limit": 2}
BUNDLED_QUEUE: dict[str, Any] = {"concurrency_id": "bundled", "concurrency_limit": 4}
BUNDLE: dict[str, Any] = {"concurrency_id": "bundle", "concurrency_limit": 2}
SURVEY: dict[str, Any] = {"concurrency_id": "survey", "concurrency_limit": 12}


SMALL_SIDE = 64  # up to here a picture travels as PNG, larger ones shrunk to it as JPEG


def data_address(image: Image.Image) -> str:
    """Return a picture as an address that holds it whole."""
    form = "PNG" if max(image.size) <= SMALL_SIDE else "JPEG"
    small = as_colour(image)
    small.thumbnail((2 * SMALL_SIDE, 2 * SMALL_SIDE))
    file = io.BytesIO()
    small.save(file, form, quality=85)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def label(key: str) -> Any:
    """Return a static text that the browser shows in its own language."""
    return gr.I18n()(PREFIX + key)


def language(request: gr.Request | None) -> str:
    """Return "en" or "zh" for lines that are made on the server."""
    return language_of(request.headers.get("accept-language") if request else None)


def session(request: gr.Request) -> str:
    """Return what tells one open page from another."""
    return str(getattr(request, "session_hash", None))


def guarded(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Show a person's mistake as its own line, and anything unexpected as one line without detail.

    Works for functions and for generators; the details of the unexpected go to the log. The work is
    done `briefly`.
    """

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return briefly(functools.partial(handler, *args, **kwargs))
        except Exception as error:
            raise _told(error, args) from None

    @functools.wraps(handler)
    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        made = handler(*args, **kwargs)
        try:
            while (each := briefly(lambda: next(made, END))) is not END:
                yield each
        except Exception as error:
            raise _told(error, args) from None
        finally:
            made.close()

    return stream if inspect.isgeneratorfunction(handler) else call


def briefly(task: Callable[[], T]) -> T:
    """Return what a task returns, done on a thread that ends with it.

    OpenMP keeps a team of threads for every living thread that ever computed. With more of them
    than cores they wait passively, and each step of a sampling takes half as long again; gradio's
    own threads live on, so nothing is computed there.
    """
    context = copy_context()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(context.run, task).result()


def _told(error: Exception, args: Sequence[Any]) -> inputs.Refusal:
    return inputs.told(error, next((each for each in args if isinstance(each, gr.Request)), None))


def enlarged(image: Image.Image, side: int = SCREEN_SIDE) -> Image.Image:
    """Return `image` enlarged by a whole factor to about `side` pixels: each pixel a block."""
    factor = max(1, round(side / max(image.size)))
    size = image.width * factor, image.height * factor
    return as_colour(image).resize(size, Image.Resampling.NEAREST)


def tiled(
    pictures: Sequence[Image.Image], columns: int = 0, gap: int = 2, paper: str = "white"
) -> Image.Image:
    """Return pictures of one size on one sheet, row by row; nearly square unless told `columns`."""
    columns = columns or max(1, round(len(pictures) ** 0.5 + 0.49))
    rows = -(-len(pictures) // columns)
    width, height = pictures[0].size
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), paper)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        sheet.paste(as_colour(picture), (column * (width + gap), row * (height + gap)))
    return sheet


def new_seed() -> int:
    """Return a seed that nobody chose."""
    return random.SystemRandom().randrange(1_000_000)


def slider(key: str, low: float, high: float, value: float, **more: Any) -> inputs.Slider:
    """Show a slider over whole numbers, or over `step`s."""
    steps = {"step": 1, "precision": 0} | more
    return inputs.Slider(
        low, high, value=value, buttons=[], label=label(key), info=label(f"{key}_info"), **steps
    )


def number(key: str, value: float, **more: Any) -> inputs.Number:
    """Show a field for a number; its bounds, if any, are told in the gate's words."""
    return inputs.Number(
        value, min_width=120, label=label(key), **({"info": label(f"{key}_info")} | more)
    )


def stage_picture(form: str, elem_id: str) -> cache.Image:
    """Show a picture that keeps its square; `form`: jpeg where it moves, png where it stays."""
    return cache.Image(
        format=form,
        show_label=False,
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_classes="picture square",
        elem_id=elem_id,
    )


def thumbnails(key: str, elem_id: str, **more: Any) -> cache.Gallery:
    """Show a row of small pictures to choose from."""
    return cache.Gallery(
        format="png",
        label=label(key),
        show_label=False,
        columns=8,
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_id=elem_id,
        **more,
    )


def drop(key: str, file_count: Any) -> inputs.File:
    """Show the place where files are dropped."""
    return inputs.File(
        label=label(key), show_label=False, file_count=file_count, height=78, elem_classes="drop"
    )


@guarded
def settled(seed: Any) -> Any:
    """Return a seed that nobody chose in the place of -1, which asks for one."""
    return new_seed() if seed == validation.RANDOM_SEED else gr.skip()


def seed_number(key: str, value: int, **more: Any) -> inputs.Number:
    """Show a field for a seed; whoever types -1 sees which seed it became."""
    seed = number(key, value, **more)
    seed.change(settled, seed, seed, **QUIET)
    return seed


def seed_row(about: str) -> tuple[inputs.Number, gr.Button]:
    """Show a seed and a button that draws another."""
    with gr.Row(elem_classes="with-dice"):
        seed = seed_number("seed", 0, info=label(about))
        dice = gr.Button(label("dice"), size="sm", min_width=96, scale=0, elem_classes="dice")
    return seed, dice


def command_box() -> inputs.Textbox:
    """Show a command line that can be copied."""
    return inputs.Textbox(
        label=label("command"),
        info=label("command_info"),
        lines=2,
        max_lines=6,
        interactive=False,
        buttons=["copy"],
        elem_classes="command",
    )


def heading(key: str) -> gr.HTML:
    """Show the heading of a group of controls."""
    return gr.HTML(label(key), elem_classes="heading")


def note(key: str) -> gr.HTML:
    """Show one quiet sentence."""
    return gr.HTML(label(key), elem_classes="note")
