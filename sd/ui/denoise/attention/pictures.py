"""Attention as pictures and words: the estimate under the heat of a place or a word."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from sd.common import validation
from sd.common.encoding import data_uri, png_bytes
from sd.ui.components.html import paragraph
from sd.ui.components.images import enlarge
from sd.ui.denoise.attention.record import CLASS_TOKENS, AttentionRecord, Spot
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

AVERAGED, ALL = "averaged", "all"
TILE, LARGE = 128, 320  # pixels of a picture among others, and alone, about
MOST_WORDS = 40  # that are shown
NAMES = {"(rest)": "looked_rest", "(any)": "looked_any"}  # of class tokens


def layer_and_head(record: AttentionRecord, layer: str, head: str) -> tuple[str | None, int | None]:
    """Return the layer and the head, from 0, that are wanted; None is the mean of all."""
    name = validation.choice("layer", layer, [AVERAGED, *record.layers])
    wanted = None if name == AVERAGED else name
    heads = [ALL, *map(str, range(1, record.heads(wanted) + 1))]
    chosen = validation.choice("head", head, heads)
    return wanted, None if chosen == ALL else int(chosen) - 1


def layer_choices(record: AttentionRecord, lang: str) -> list[tuple[str, str]]:
    """Return the layers that can be chosen, by place; by full name where places have two."""
    twice = any(name.endswith(" 2") for name in record.layers)
    return [(say("looked_averaged", lang), AVERAGED)] + [
        (name if twice else name.replace(" self", ""), name) for name in record.layers
    ]


def head_choices(record: AttentionRecord, layer: str, lang: str) -> list[tuple[str, str]]:
    """Return the heads that can be chosen of a layer."""
    count = record.heads(None if layer == AVERAGED else layer)
    names = [str(k) for k in range(1, count + 1)]
    return [(say("looked_all", lang), ALL), *((name, name) for name in names)]


def chosen_head(choices: Sequence[tuple[str, str]], head: str) -> str:
    """Return a head if it can be chosen, else all."""
    return head if any(head == name for _, name in choices) else ALL


def heat_of(record: AttentionRecord, spot: Spot, layer: str, head: str) -> "Tensor | None":
    """Return the heat of what was chosen; None of a word that this call did not read."""
    part = layer_and_head(record, layer, head)
    if spot.word is None:
        return record.place(spot, *part)
    return record.word(spot.word, *part) if spot.word < len(record.words) else None


def draw(
    record: AttentionRecord, heat: "Tensor | None", side: int, peak: float | None = None
) -> str:
    """Return the estimate under a heat as a data address of a PNG of about `side` pixels."""
    from sd.data.decoding.decoder import as_colour
    from sd.data.images import to_pil
    from sd.networks.attention_maps.heatmaps import overlay

    image = as_colour(to_pil(record.x0))
    if max(image.size) > side:
        image.thumbnail((side, side))
    image = enlarge(image, side)
    return data_uri(png_bytes(image if heat is None else overlay(image, heat, peak)), "image/png")


def empty_html(line: str) -> Markup:
    """Return the line that says why there is nothing."""
    return paragraph(line, "note looked-none")


def place_html(record: AttentionRecord, spot: Spot, lang: str) -> Markup:
    """Return the estimate, on which a place can be pressed or moved by the arrow keys."""
    height, width = record.size
    return Markup(
        '<figure><div class="looked-spot" role="application" tabindex="0"'
        ' aria-label="{label}" data-width="{width}"'
        ' data-height="{height}" data-x="{x}" data-y="{y}" data-words="{words}">'
        '<img src="{source}" alt="" draggable="false">'
        '<i style="left:{left:.3f}%;top:{top:.3f}%"></i></div>'
        '<figcaption>{caption}<output aria-live="polite">{where}</output></figcaption></figure>'
    ).format(
        label=say("looked_spot", lang),
        width=width,
        height=height,
        x=spot.x,
        y=spot.y,
        words=say("painter_place", lang),
        source=draw(record, None, LARGE),
        left=100 * (spot.x + 0.5) / width,
        top=100 * (spot.y + 0.5) / height,
        caption=say("looked_place", lang, t=f"{record.t:.4g}"),
        where=say("painter_place", lang, row=spot.y + 1, column=spot.x + 1),
    )


def where_html(record: AttentionRecord, spot: Spot, layer: str, head: str, lang: str) -> Markup:
    """Return where the place looks."""
    heat = record.place(spot, *layer_and_head(record, layer, head))
    words = say("looked_where", lang, row=spot.y + 1, column=spot.x + 1)
    figure = Markup('<figure><img src="{}" alt="{}"><figcaption>{}</figcaption></figure>')
    return figure.format(draw(record, heat, LARGE), words, words)


def words_html(record: AttentionRecord, spot: Spot, layer: str, head: str, lang: str) -> Markup:
    """Return every word as a button under its heat; without words, why there are none."""
    if record.missing:
        return empty_html(say(record.missing, lang))
    part, buttons = layer_and_head(record, layer, head), []
    button = Markup(
        '<button type="button" data-word="{}" aria-pressed="{}"><img src="{}" alt="">'
        "<span>{}</span><small>{}</small></button>"
    )
    for k, (word, _) in enumerate(record.words[:MOST_WORDS]):
        heat = record.word(k, *part)
        percent = 100 * float(heat.mean())
        share = say("looked_share", lang, n=f"{percent:.{0 if percent >= 1 else 1}f}")
        pressed = "true" if k == spot.word else "false"
        name = word_name(record, word, lang)
        buttons.append(button.format(k, pressed, draw(record, heat, TILE), name, share))
    about = say("looked_tokens" if record.kind == CLASS_TOKENS else "looked_words", lang)
    if len(record.words) > MOST_WORDS:
        about += " " + say("looked_first", lang, n=MOST_WORDS, all=len(record.words))
    row = Markup('<div class="looked-words">{}</div>').format(Markup("").join(buttons))
    return paragraph(about) + row


def strip_html(
    steps: Sequence[int],
    records: Sequence[AttentionRecord],
    spot: Spot,
    layer: str,
    head: str,
    lang: str,
) -> Markup:
    """Return the heat of one word or place at all steps; its hottest colour is that of them all."""
    heats = [heat_of(record, spot, layer, head) for record in records]
    peak = max((float(heat.max()) for heat in heats if heat is not None), default=0.0)
    column = Markup(
        '<div class="column"><b>t = {t:.4g}</b><img src="{source}" alt="t = {t:.4g}">'
        "<span>{step}</span></div>"
    )
    columns = Markup("").join(
        column.format(
            t=record.t,
            source=draw(record, heat, TILE, peak),
            step=say("looked_step", lang, i=i),
        )
        for i, record, heat in zip(steps, records, heats, strict=True)
    )
    about = paragraph(say("looked_strip", lang, of=subject_name(records[0], spot, lang)))
    return about + Markup('<div class="sights">{}</div>').format(columns)


def subject_name(record: AttentionRecord, spot: Spot, lang: str) -> str:
    """Return the chosen word, or the place, in words."""
    if spot.word is not None and spot.word < len(record.words):
        return f"“{word_name(record, record.words[spot.word][0], lang)}”"
    return say("painter_place", lang, row=spot.y + 1, column=spot.x + 1)


def subject_html(record: AttentionRecord, spot: Spot, lang: str) -> Markup:
    """Return what the strip will be shown for."""
    return paragraph(say("looked_subject", lang, of=subject_name(record, spot, lang)))


def word_name(record: AttentionRecord, word: str, lang: str) -> str:
    """Return how a word is called; the tokens of classes that are none have names of their own."""
    if record.kind == CLASS_TOKENS and word in NAMES:
        return say(NAMES[word], lang)
    return word
