"""A grid of pictures: prompts go down, guidance scales go across, all from one noise.

It is one recipe with a picture for each pair, so whatever can be done with a sampling can be done
with it.
"""

from dataclasses import replace
from typing import Any

from markupsafe import Markup

from sd.common import validation
from sd.common.validation import InputError, shown
from sd.generation.recipe import Recipe
from sd.ui import models
from sd.ui.components.html import tags
from sd.ui.texts import say

MOST_SCALES, MOST_GUIDANCE = 6, 10.0
LONGEST_SCALES = 100  # characters


def has_prompt(recipe: Recipe) -> bool:
    """Tell whether a recipe asks its model for anything, or away from anything."""
    return bool(recipe.prompts or recipe.negative)


def grid_recipe(recipe: Recipe, scales: Any) -> Recipe:
    """Return a recipe's prompts (down) with every scale (across), all from one noise."""
    across, down = parse_scales(scales), tuple(dict.fromkeys(recipe.prompts))
    if not down:
        raise InputError("grid: ask for at least one prompt or class, of a model that knows any")
    count = len(down) * len(across)
    if count > models.CAPS.count:
        raise InputError(
            f"grid: {len(down)} prompts x {len(across)} scales are {count} pictures; at most "
            f"{models.CAPS.count} are allowed"
        )
    prompts = tuple(prompt for prompt in down for _ in across)
    guidance, seed = across * len(down), recipe.seed  # between a noise and itself lies itself
    return replace(recipe, prompts=prompts, guidance=guidance, seed_to=seed, count=count)


def parse_scales(value: Any) -> tuple[float, ...]:
    """Return the numbers of a text like "1, 2, 4", each once."""
    text = validation.text("guidance scales", "" if value is None else value, LONGEST_SCALES)
    words = [word for word in text.replace("，", ",").split(",") if word.strip()]
    found = tuple(dict.fromkeys(map(parse_scale, words)))
    if not 1 <= len(found) <= MOST_SCALES:
        raise InputError(f"guidance scales = {shown(text)}: must be 1 to {MOST_SCALES} numbers")
    return found


def parse_scale(word: str) -> float:
    """Return the number that a word says."""
    try:
        scale = float(word)
    except ValueError:
        raise InputError(f"guidance scale = {shown(word.strip())}: must be a number") from None
    return validation.real("guidance scale", scale, 0, MOST_GUIDANCE)


def columns_of(recipe: Recipe) -> int:
    """Return how many scales a grid, or a branch of one, has side by side; 0 for what is none."""
    root = recipe.root
    prompts, scales = root.prompts, root.guidance
    if not len(prompts) == len(scales) == root.count > 1 or root.seed_to != root.seed:
        return 0
    down = tuple(dict.fromkeys(prompts))
    across = len(prompts) // len(down)
    whole = tuple(prompt for prompt in down for _ in range(across))
    return across if (prompts, scales) == (whole, scales[:across] * len(down)) else 0


def legend_html(recipe: Recipe, lang: str) -> Markup:
    """Return what the pictures were prompted with and which is which; "" without a prompt."""
    if not has_prompt(recipe):
        return Markup("")
    prompts, scales = list(recipe.prompts), [f"{scale:g}" for scale in recipe.guidance]
    across = columns_of(recipe) if len(scales) > 1 else 0
    key = "legend_down" if across else "legend_turn" if len(prompts) > 1 else "legend_asked"
    rows = {
        key: list(dict.fromkeys(prompts)) if across else prompts[: recipe.count],
        "legend_against": [recipe.negative] if recipe.negative else [],
        "legend_across" if across else "legend_guidance": scales[:across] if across else scales,
    }
    row = Markup("<dt>{}</dt><dd class='{}'>{}</dd>")
    lines = (
        row.format(say(key, lang), key, tags("span", parts)) for key, parts in rows.items() if parts
    )
    return Markup('<dl class="legend">{}</dl>').format(Markup("").join(lines))


def prompt_title(recipe: Recipe, lang: str) -> list[str]:
    """Return what a node's title says of the prompt."""
    if not has_prompt(recipe):
        return []
    if across := columns_of(recipe):
        down = len(recipe.root.prompts) // across
        return [say("node_grid", lang, down=down, across=across)]
    first = recipe.prompts[0] if recipe.prompts else f"- {recipe.negative}"
    more = f" +{len(recipe.prompts) - 1}" if len(recipe.prompts) > 1 else ""
    scale = say("node_guidance", lang, scale=f"{recipe.guidance[0]:g}")
    return [f"{shorten(first)}{more}", scale]


def shorten(text: str, longest: int = 28) -> str:
    """Return a text that is not too long for a line that says more."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
