"""Where a model looked, as pictures and words: the estimate under the heat of what was chosen."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from sd.common import validation
from sd.common.encoding import data_uri, png_bytes
from sd.ui.components.images import enlarge
from sd.ui.denoise.attention.record import CLASS_TOKENS, AttentionRecord, Spot
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

AVERAGED, ALL = "averaged", "all"
TILE, LARGE = 128, 320  # pixels of a picture among others, and alone, about
MOST_WORDS = 40  # that are shown
NAMES = {"(rest)": "looked_rest", "(any)": "looked_any"}  # of class tokens


def part_of(look: AttentionRecord, layer: Any, head: Any) -> tuple[str | None, int | None]:
    """Return the layer and the head, from 0, that are wanted; None is the mean of all."""
    name = validation.choice("layer", layer, [AVERAGED, *look.layers])
    wanted = None if name == AVERAGED else name
    heads = [ALL, *map(str, range(1, look.heads(wanted) + 1))]
    chosen = validation.choice("head", head, heads)
    return wanted, None if chosen == ALL else int(chosen) - 1


def layers_of(look: AttentionRecord, lang: str) -> list[tuple[str, str]]:
    """Return the layers that can be chosen, by place; by full name where places have two."""
    twice = any(name.endswith(" 2") for name in look.layers)
    return [(say("looked_averaged", lang), AVERAGED)] + [
        (name if twice else name.replace(" self", ""), name) for name in look.layers
    ]


def heads_of(look: AttentionRecord, layer: str, head: Any, lang: str) -> dict[str, Any]:
    """Return the heads that can be chosen, and the one that still can."""
    count = look.heads(None if layer == AVERAGED else layer)
    names = [str(k) for k in range(1, count + 1)]
    choices = [(say("looked_all", lang), ALL), *((name, name) for name in names)]
    return gr.update(choices=choices, value=head if head in names else ALL)


def heat_of(look: AttentionRecord, at: Spot, layer: Any, head: Any) -> "Tensor | None":
    """Return the heat of what was chosen; None of a word that this call did not read."""
    part = part_of(look, layer, head)
    if at.word is None:
        return look.place(at, *part)
    return look.word(at.word, *part) if at.word < len(look.words) else None


def drawn(
    look: AttentionRecord, heat: "Tensor | None", side: int, peak: float | None = None
) -> str:
    """Return the estimate under a heat as a data address of a PNG of about `side` pixels."""
    from sd.data.decoding.decoder import as_colour
    from sd.data.images import to_pil
    from sd.networks.inside.heatmaps import overlay

    image = as_colour(to_pil(look.x0))
    if max(image.size) > side:
        image.thumbnail((side, side))
    image = enlarge(image, side)
    return data_uri(png_bytes(image if heat is None else overlay(image, heat, peak)), "image/png")


def nothing(line: str) -> str:
    """Return the line that says why there is nothing."""
    return f'<p class="note looked-none">{line}</p>'


def place_html(look: AttentionRecord, at: Spot, lang: str) -> str:
    """Return the estimate, on which a place can be pressed or moved by the arrow keys."""
    (height, width), where = look.size, say("painter_place", lang, row=at.y + 1, column=at.x + 1)
    left, top = 100 * (at.x + 0.5) / width, 100 * (at.y + 0.5) / height
    words = html.escape(say("painter_place", lang))
    return (
        f'<figure><div class="looked-spot" role="application" tabindex="0"'
        f' aria-label="{html.escape(say("looked_spot", lang))}" data-width="{width}"'
        f' data-height="{height}" data-x="{at.x}" data-y="{at.y}" data-words="{words}">'
        f'<img src="{drawn(look, None, LARGE)}" alt="" draggable="false">'
        f'<i style="left:{left:.3f}%;top:{top:.3f}%"></i></div>'
        f"<figcaption>{say('looked_place', lang, t=f'{look.t:.4g}')}"
        f'<output aria-live="polite">{where}</output></figcaption></figure>'
    )


def where_html(look: AttentionRecord, at: Spot, layer: Any, head: Any, lang: str) -> str:
    """Return where the place looks."""
    heat = look.place(at, *part_of(look, layer, head))
    words = say("looked_where", lang, row=at.y + 1, column=at.x + 1)
    return (
        f'<figure><img src="{drawn(look, heat, LARGE)}" alt="{html.escape(words)}">'
        f"<figcaption>{words}</figcaption></figure>"
    )


def words_html(look: AttentionRecord, at: Spot, layer: Any, head: Any, lang: str) -> str:
    """Return every word as a button under its heat; without words, why there are none."""
    if look.missing:
        return nothing(say(look.missing, lang))
    part, buttons = part_of(look, layer, head), []
    for k, (word, _) in enumerate(look.words[:MOST_WORDS]):
        heat = look.word(k, *part)
        pressed = "true" if k == at.word else "false"
        percent = 100 * float(heat.mean())
        share = say("looked_share", lang, n=f"{percent:.{0 if percent >= 1 else 1}f}")
        buttons.append(
            f'<button type="button" data-word="{k}" aria-pressed="{pressed}">'
            f'<img src="{drawn(look, heat, TILE)}" alt="">'
            f"<span>{html.escape(named(look, word, lang))}</span><small>{share}</small></button>"
        )
    about = say("looked_tokens" if look.kind == CLASS_TOKENS else "looked_words", lang)
    if len(look.words) > MOST_WORDS:
        about += " " + say("looked_first", lang, n=MOST_WORDS, all=len(look.words))
    return f'<p class="note">{about}</p><div class="looked-words">{"".join(buttons)}</div>'


def strip_html(
    steps: Sequence[int],
    records: Sequence[AttentionRecord],
    at: Spot,
    layer: Any,
    head: Any,
    lang: str,
) -> str:
    """Return the heat of one word or place at all steps; its hottest colour is that of them all."""
    heats = [heat_of(look, at, layer, head) for look in records]
    peak = max((float(heat.max()) for heat in heats if heat is not None), default=0.0)
    columns = "".join(
        f'<div class="column"><b>t = {look.t:.4g}</b><img src="{drawn(look, heat, TILE, peak)}"'
        f' alt="t = {look.t:.4g}"><span>{say("looked_step", lang, i=i)}</span></div>'
        for i, look, heat in zip(steps, records, heats, strict=True)
    )
    of = of_html(records[0], at, lang)
    about = f'<p class="note">{say("looked_strip", lang, of=of)}</p>'
    return f'{about}<div class="sights">{columns}</div>'


def of_html(look: AttentionRecord, at: Spot, lang: str) -> str:
    """Return the chosen word, or the place, in words."""
    if at.word is not None and at.word < len(look.words):
        return html.escape(f"“{named(look, look.words[at.word][0], lang)}”")
    return say("painter_place", lang, row=at.y + 1, column=at.x + 1)


def subject_html(look: AttentionRecord, at: Spot, lang: str) -> str:
    """Return what the way through the sampling will be shown for."""
    return f'<p class="note">{say("looked_subject", lang, of=of_html(look, at, lang))}</p>'


def named(look: AttentionRecord, word: str, lang: str) -> str:
    """Return how a word is called; the tokens of classes that are none have names of their own."""
    if look.kind == CLASS_TOKENS and word in NAMES:
        return say(NAMES[word], lang)
    return word
