"""Do words find their places? Captions of two shapes, each also with its colours swapped.

"red circle left of blue square" and "blue circle left of red square" start from the same noise, so
a model that reads only which words there are gets at most one of the two right. Scored exactly, by
geometry (`sd.data.shapes.follows`).
"""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from sd.checkpoints.model import Model
from sd.data import shapes
from sd.data.images import to_array
from tests.benchmarks.conditioning.asked import Way, samples, share, told

# In the order of reading; "binding": colours and shapes are right, but not on the same things.
ERRORS = ("count", "colour", "shape", "binding", "relation")


def caption_of(asked: shapes.Scene) -> str:
    """Return the caption that asks for this; the inverse of `sd.data.shapes.parse`."""
    things = [asked.first, *([asked.second] if asked.second else [])]
    return f" {asked.relation} ".join(" ".join(thing) for thing in things)


def swapped(caption: str) -> str:
    """Return a caption of two shapes with the colours of both exchanged."""
    asked = shapes.parse(caption)
    first, second = asked.first, asked.second
    assert second is not None, "a caption of one shape has nothing to swap"
    turned = first._replace(colour=second.colour), second._replace(colour=first.colour)
    return caption_of(shapes.Scene(turned[0], asked.relation, turned[1]))


def pairs(count: int) -> list[tuple[str, str]]:
    """Return `count` captions of two shapes, in a random order, each with its swapped one."""
    two = [each for each in shapes.captions() if shapes.parse(each).second]
    once = [(each, swapped(each)) for each in two if each < swapped(each)]
    random.Random(0).shuffle(once)
    return [once[k % len(once)] for k in range(count)]


def errors(caption: str, picture: Any) -> list[str]:
    """Return the kinds of what is wrong with a picture, uint8 [H, W, 3]; none if it follows."""
    if shapes.follows(caption, picture):
        return []
    asked, found = shapes.parse(caption), shapes.find_shapes(picture)
    wanted = [asked.first, *([asked.second] if asked.second else [])]
    if len(found) != len(wanted):
        return ["count"]
    seen = [shapes.Thing(each.colour, each.shape) for each in found]
    named = ("colour", "shape")
    wrong = [
        name
        for place, name in enumerate(named)
        if Counter(each[place] for each in seen) != Counter(each[place] for each in wanted)
    ]
    return wrong or ["relation" if Counter(seen) == Counter(wanted) else "binding"]


def measure(model: Model, way: Way, count: int) -> dict[str, Any]:
    """Sample count/2 pairs of captions, each pair from one seed; return the shares that are right.

    errors: of all samples, the share with each kind; one may have a wrong colour and shape.
    """
    asked = pairs(max(1, count // 2))
    prompts = [caption for pair in asked for caption in pair]
    seeds = [number for number in range(len(asked)) for _ in range(2)]
    pictures = to_array(samples(model, prompts, seeds, way))
    wrong = [errors(*each) for each in zip(prompts, pictures, strict=True)]
    right = [not each for each in wrong]
    told_errors = Counter(kind for each in wrong for kind in each)
    both = [a and b for a, b in zip(right[::2], right[1::2], strict=True)]
    return {
        "count": len(prompts),
        "right": share(right),
        "pairs": len(asked),
        "right_pairs": share(both),
        "errors": {kind: told_errors[kind] / len(prompts) for kind in ERRORS},
    }


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Return the result in words."""
    yield f"samples that follow their caption: {told(result['right'], result['count'])}"
    yield (
        "pairs of which both follow, colours swapped: "
        f"{told(result['right_pairs'], result['pairs'])}"
    )
    listed = ", ".join(f"{kind} {part:.1%}" for kind, part in result["errors"].items())
    yield f"errors, of all samples: {listed}"
