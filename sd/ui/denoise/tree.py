"""What one open page has made: samplings as a small tree, each node a recipe and its steps.

A node is all that is needed to look at a sampling, to go on from one of its steps, to take it away
and to make it again.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sd.common import validation
from sd.common.validation import InputError
from sd.generation.recipe import Recipe
from sd.ui.denoise.grid import prompt_title
from sd.ui.denoise.job import Job
from sd.ui.denoise.samplers import SAMPLER_NAMES
from sd.ui.texts import say

if TYPE_CHECKING:
    from torch import Tensor

MOST_NODES = 24  # of one page; the oldest leaves go first


@dataclass
class Node:
    """One sampling: `film` is what the player shows of it; `parent` the node it branches from.

    done: steps that were made. end: the pictures [B, C, H, W] after the last of them, if at hand.
    """

    number: int
    recipe: Recipe
    parent: int | None = None
    film: dict[str, Any] = field(default_factory=dict)
    done: int = 0
    end: "Tensor | None" = None

    @property
    def filmed(self) -> int:
        """The last of its steps that the film shows; a long film skips some."""
        frames = self.film.get("frames", ())
        return int(frames[-1]["i"]) if frames else 0


@dataclass
class Tree:
    """The nodes of one page by number, and the one that is shown."""

    nodes: dict[int, Node] = field(default_factory=dict)
    shown: int | None = None
    place: int = 0  # the step at which the slider rests
    job: Job | None = None
    picture: int = 1  # which of the pictures, from 1, a PNG takes away
    restored: Recipe | None = None  # that of a PNG which was brought back
    continued: int | None = None  # the node whose settings the fields of a branch began with
    branch_seen: bool = False  # whether a browser has drawn these; before, it holds the last sent
    last: int = 0

    def add(self, recipe: Recipe) -> Node:
        """Return a new node for a recipe, under its parent's if that is here, and show it."""
        parent = self.find(recipe.branch.recipe) if recipe.branch else None
        self.last += 1
        node = Node(self.last, recipe, parent.number if parent else None)
        self.nodes[node.number] = node
        self.shown, self.place = node.number, 0
        while len(self.nodes) > MOST_NODES:
            del self.nodes[self._oldest_leaf()]
        return node

    def forget(self, node: Node) -> None:
        """Take away a node of which nothing was made, and show the newest that is left."""
        self.nodes.pop(node.number, None)
        self.shown, self.place = next(reversed(self.nodes), None), 0

    def find(self, recipe: Recipe) -> Node | None:
        """Return the newest node of a recipe, if it is here."""
        return next((n for n in reversed(self.nodes.values()) if n.recipe == recipe), None)

    @property
    def current(self) -> Node:
        """The node that is shown; `InputError` before there is any."""
        if self.shown is None or self.shown not in self.nodes:
            raise InputError("nothing has been denoised yet: press Denoise first")
        return self.nodes[self.shown]

    def show(self, number: Any) -> Node:
        """Show another node; raise `InputError` for a number that is none."""
        self.shown, self.place = self.check(number), 0
        return self.current

    def check(self, number: Any) -> int:
        """Return the number of a node that is here, or raise `InputError`."""
        whole = validation.whole("sampling", number, 1, max(self.last, 1))
        if whole not in self.nodes:
            raise InputError(f"sampling = {whole}: it is not kept any more")
        return whole

    def films(self) -> list[dict[str, Any]]:
        """Return the film of the current node, if there is one."""
        node = self.nodes.get(self.shown or 0)
        return [node.film] if node and node.film else []

    def others(self) -> list[dict[str, Any]]:
        """Return all nodes as the player lists them; the shown one's film is there already."""
        return [
            {
                "number": node.number,
                "parent": node.parent,
                "shown": node.number == self.shown,
                "film": None if node.number == self.shown else node.film,
            }
            for node in self.nodes.values()
            if node.film
        ]

    def _oldest_leaf(self) -> int:
        parents = {node.parent for node in self.nodes.values()}
        return next(
            number for number in self.nodes if number not in parents and number != self.shown
        )


def title(node: Node, lang: str) -> str:
    """Return a node in few words: sampler and steps, from where, which seed, what was asked for."""
    recipe = node.recipe
    words = [
        f"{SAMPLER_NAMES[recipe.sampler]} {recipe.steps}",
        say("node_seed", lang, seed=recipe.seed),
    ]
    if recipe.branch:
        words.insert(0, say("node_branch", lang, at=recipe.branch.at))
    if recipe.branch and recipe.branch.paint:
        words.append(say("node_paint", lang))
    if recipe.start:
        words.append(say("node_picture", lang, t=f"{recipe.start.t:g}"))
    words += prompt_title(recipe, lang)
    if recipe.seed_to not in (None, recipe.seed):
        words.append(say("node_seed_to", lang, seed=recipe.seed_to))
    return say("between_clauses", lang).join(words)
