"""The tools of the Denoise tab, in the order in which their bar shows them."""

from sd.ui.components.tools import Tool

BRANCH = Tool("denoise-branch", "branch", "branch")
LOOKED = Tool("denoise-looked", "eye", "looked")
NUMBERS = Tool("algorithm2", "lines", "numbers")
RACE = Tool("denoise-race", "bars", "race")
GRID = Tool("denoise-grid", "grid", "grid")
SAVE = Tool("denoise-take", "save", "take", is_last=True)
TOOLS = (BRANCH, LOOKED, NUMBERS, RACE, GRID, SAVE)
