"""What a sampling's pictures were asked for: each of them, and a grid in one recipe.

Such a grid, prompts down and guidance across from one noise, was once what the page made; its
files are still opened.
"""

from sd.generation.recipe import Recipe
from sd.ui import models
from sd.ui.texts import say

MOST_GUIDANCE = 10.0


def has_prompt(recipe: Recipe) -> bool:
    """Tell whether a recipe asks its model for anything, or away from anything."""
    return bool(recipe.prompts or recipe.negative)


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


def prompt_title(recipe: Recipe, lang: str) -> list[str]:
    """Return what a node's title says of the prompt."""
    if not has_prompt(recipe):
        return []
    if across := columns_of(recipe):
        down = len(recipe.root.prompts) // across
        return [say("node_grid", lang, down=down, across=across)]
    names = models.caption_names(recipe.model, lang)
    first = recipe.prompts[0] if recipe.prompts else f"- {recipe.negative}"
    first = names.get(first, first)
    more = f" +{len(recipe.prompts) - 1}" if len(recipe.prompts) > 1 else ""
    scale = say("node_guidance", lang, scale=f"{recipe.guidance[0]:g}")
    return [f"{shorten(first)}{more}", scale]


def shorten(text: str, longest: int = 28) -> str:
    """Return a text that is not too long for a line that says more."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
