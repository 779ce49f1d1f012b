"""Are classes obeyed? Samples of each, judged by a classifier trained on real pictures."""

import time
from collections.abc import Iterator
from typing import Any

from sd.checkpoints.model import Model
from sd.data.image_set import ImageSet, read_images
from tests.benchmarks.conditioning.asked import Way, device_of, samples, share, told
from tests.benchmarks.digits import Judge, train_judge


def pictures_of(model: Model, data: str) -> ImageSet:
    """Return a picture set as the model sees it: at its size, in its channels."""
    channels, height, width = model.shape
    fit = model.config.training.fit
    return read_images(data, height=height, width=width, channels=channels, fit=fit)


def measure(model: Model, way: Way, data: str, count: int) -> dict[str, Any]:
    """Train the judge, sample every class equally often, and return what was recognised."""
    began = time.perf_counter()
    judge = train_judge(pictures_of(model, data), str(device_of(model)))
    seconds = time.perf_counter() - began
    each = max(1, count // len(judge.classes))
    right = recognised(model, way, judge, each)
    return {
        "accuracy": judge.accuracy,
        "unseen": judge.unseen,
        "seconds": seconds,
        "count": sum(map(len, right.values())),
        "recognised": share([each for of_class in right.values() for each in of_class]),
        "classes": {name: share(of_class) for name, of_class in right.items()},
    }


def recognised(model: Model, way: Way, judge: Judge, each: int) -> dict[str, list[bool]]:
    """Return for each class which of its `each` samples are seen as it; seeds are counted up."""
    asked = [number for number in range(len(judge.classes)) for _ in range(each)]
    prompts = [judge.classes[number] for number in asked]
    seen = judge.classifier.classes_of(samples(model, prompts, range(len(prompts)), way)).tolist()
    right: dict[str, list[bool]] = {name: [] for name in judge.classes}
    for wanted, found in zip(asked, seen, strict=True):
        right[judge.classes[wanted]].append(wanted == found)
    return right


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Return the result in words."""
    yield (
        f"classifier: {result['accuracy']:.2%} of {result['unseen']} unseen real pictures right, "
        f"trained in {result['seconds']:.0f} s"
    )
    yield f"samples recognised as asked: {told(result['recognised'], result['count'])}"
    yield ", ".join(f"{name}: {part:.0%}" for name, part in result["classes"].items())
