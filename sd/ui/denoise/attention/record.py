"""The attention of a network in one call of a sampling: recorded once, kept for a while.

The call is the first of a step, for one picture of the batch, with the prompt of that one.
"""

import threading
from collections import OrderedDict, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from sd.common.validation import InputError
from sd.generation.recipe import Recipe
from sd.ui import models
from sd.ui.denoise import job
from sd.ui.state import shared

if TYPE_CHECKING:
    from torch import Tensor

    from sd.generation.pipeline import Source
    from sd.networks.attention_maps.hooks import Call

MOST_BYTES_KEPT = 128 * 2**20  # bytes of the attention of the newest calls
CLASS_TOKENS = "class_tokens"


class Spot(NamedTuple):
    """Where attention is looked at: from a pixel, or at the word of a number instead."""

    y: int
    x: int
    word: int | None = None


class AttentionRecord(NamedTuple):
    """One call at time t: its estimate of the picture [C, H, W] and its attention, if conditioned.

    grid: height and width of what the network sees, over which its attention is mapped.
    kind: of the conditioner. words: each with its places among the tokens. missing: the key of the
    text that says why there are none.
    """

    x0: "Tensor"
    grid: tuple[int, int]
    t: float
    calls: "list[Call]"
    kind: str
    words: tuple[tuple[str, tuple[int, ...]], ...]
    missing: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.x0.shape[1], self.x0.shape[2]

    @property
    def layers(self) -> list[str]:
        """The names of its layers of self-attention: every place of the network has one."""
        from sd.networks.attention_maps.heatmaps import layer_names

        return layer_names(self.calls, "self")

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return sum(layer.weights.nbytes for call in self.calls for layer in call.layers.values())

    def heads(self, layer: str | None) -> int:
        """Return how many heads a layer has; without one, how many all have."""
        names = self.layers if layer is None else [layer]
        return min(self.calls[0].layers[name].weights.shape[1] for name in names)

    def word(self, k: int, layer: str | None = None, head: int | None = None) -> "Tensor":
        """Return how much each place looks at word `k`, [h, w]; a layer is named by its "self"."""
        from sd.networks.attention_maps.heatmaps import word_map

        cross = None if layer is None else layer.replace(" self", " cross")
        return word_map(self.calls, self.words[k][1], 0, 1, self.grid, cross, head)

    def place(self, spot: Spot, layer: str | None = None, head: int | None = None) -> "Tensor":
        """Return how much the place of a pixel looks at each place, [h, w]."""
        from sd.networks.attention_maps.heatmaps import pixel_map

        (height, width), (rows, columns) = self.size, self.grid
        y, x = spot.y * rows // height, spot.x * columns // width
        return pixel_map(self.calls, y, x, 0, 1, self.grid, layer, head)


class RecordCache:
    """The newest records, by recipe, step and picture; what has gone is recorded again."""

    def __init__(self, most: int = MOST_BYTES_KEPT) -> None:
        """Keep at most so many bytes."""
        self._most, self._lock = most, threading.Lock()
        self._records: OrderedDict[tuple[Recipe, int, int], AttentionRecord] = OrderedDict()

    def get(self, key: tuple[Recipe, int, int]) -> AttentionRecord | None:
        """Return a record if it is kept."""
        with self._lock:
            return self._records.get(key)

    def keep(self, key: tuple[Recipe, int, int], record: AttentionRecord) -> None:
        """Keep one record more; the oldest make room, even this one if it is too large."""
        with self._lock:
            self._records[key] = record
            while sum(each.nbytes for each in self._records.values()) > self._most:
                self._records.popitem(last=False)


def record_attention(recipe: Recipe, i: int, k: int) -> AttentionRecord | None:
    """Return the attention of picture `k` when step `i` begins; None of a model without a network.

    Raises `InputError` where x before that step is too large to be kept.
    """
    if (kept := shared(RecordCache).get((recipe, i, k))) is not None:
        return kept
    source = open_network(recipe)
    if source is None:
        return None
    record = call_network(recipe, source, i, k)
    shared(RecordCache).keep((recipe, i, k), record)
    return record


def open_network(recipe: Recipe) -> "Source | None":
    """Return the model of a recipe; None if it has no network."""
    source = models.open_recipe_model(recipe)
    return None if getattr(source, "unet", None) is None else source


def call_network(recipe: Recipe, source: Any, i: int, k: int) -> AttentionRecord:
    """Call a network once, as step `i` does for picture `k`, and return its attention."""
    from sd.generation.pipeline import denoiser_of, sampling_of
    from sd.networks.attention_maps.hooks import Recording, halves

    x = x_before(recipe, i)[k : k + 1].to(models.machine().device)
    one, t = single_recipe(recipe, k), sampling_of(recipe, source).times[i - 1]
    with models.turn(), Recording(source.unet, ("self", "cross"), [0], 1) as recording:
        prediction = denoiser_of(one, source)(source.diffusion.to_w(x, t), t)
        x0 = source.space.decode(source.diffusion.to_x(prediction.x0, 0))[0].cpu()
        calls = recording.drain()
    calls = [
        replace(
            call,
            layers={
                name: layer._replace(weights=halves(layer, 1)[0].cpu())
                for name, layer in call.layers.items()
            },
        )
        for call in calls
    ]
    conditioner = getattr(source, "conditioner", None)
    words, missing = prompt_words(one, source, t)
    kind = getattr(conditioner, "kind", "none")
    grid = source.space.latent_shape[1:]
    return AttentionRecord(x0, grid, t, calls, kind, words, missing)


def x_before(recipe: Recipe, i: int) -> "Tensor":
    """Return x [B, c, h, w] before step `i`: kept, else its steps are made again."""
    cache = shared(job.StepCache)
    if cache.before(recipe, i) is None:
        deque(job.steps_of(recipe, max(1, i - 1)), maxlen=0)  # so that they are kept
    x = cache.before(recipe, i)
    if x is None:
        raise InputError(f"step {i} of {recipe.steps}: too large to be kept; take fewer pictures")
    return x


def single_recipe(recipe: Recipe, k: int) -> Recipe:
    """Return a recipe of picture `k` alone, with the prompt and the guidance that are its own."""
    prompts, scales = recipe.prompts or ("",), recipe.guidance
    return replace(
        recipe,
        prompts=(prompts[k % len(prompts)],),
        guidance=(scales[k % len(scales)],),
        count=1,
        seed_to=None,
        start=None,
        branch=None,
    )


def prompt_words(
    one: Recipe, source: "Source", t: float
) -> tuple[tuple[tuple[str, tuple[int, ...]], ...], str]:
    """Return the words that the network reads at time t, or the key of why there are none."""
    conditioner: Any = getattr(source, "conditioner", None)
    if conditioner is None:
        return (), "looked_untold"
    if conditioner.kind not in (CLASS_TOKENS, "captions"):
        return (), "looked_embedding"
    low, high = one.interval
    guided = low <= t / source.diffusion.schedule.timesteps <= high
    if guided and one.guidance == (0.0,):
        return (), "looked_null"
    spans = conditioner.spans(one.prompts[0])
    return tuple((word, tuple(places)) for word, places in spans), "" if spans else "looked_nothing"


def spread_steps(last: int, count: int) -> list[int]:
    """Return at most `count` steps from 1 to `last`, evenly spread, both ends among them."""
    return sorted({1 + round(k * (last - 1) / (count - 1)) for k in range(count)})
