"""Why a plan is as it is, in sentences with its numbers. No torch: the page reads it too."""

from dataclasses import dataclass
from typing import Any

from sd.common.text import fill

MESSAGES = {
    "size": "Pictures of {side} x {side} pixels: the largest whose network gets enough steps here, "
    "{steps} where about {enough} are enough for shapes.",
    "short": "{minutes} {minutes:minute gives|minutes give} {steps} {steps:step|steps} of the "
    "smallest network; shapes need about {enough}, that is {needed_minutes} "
    "{needed_minutes:minute|minutes}.",
    "larger": "{side} x {side} pixels, the next size, would need about {needed_minutes} "
    "{needed_minutes:minute|minutes}.",
    "crowded": "Larger pictures or a larger network would not fit into the memory.",
    "small_pictures": "Not larger than {side} x {side} pixels, as the pictures themselves are "
    "{shortest} pixels on their short side.",
    "steps": "About {steps} {steps:step|steps} in {minutes} {minutes:minute|minutes}; each "
    "picture is seen {passes} {passes:time|times}.",
    "few": "{pictures} {pictures:picture is|pictures are} few: fewer steps are enough, and what "
    "it makes may come close to copies.",
    "speed": "Measured on {machine}: {milliseconds} ms a step, {pictures_per_second} "
    "{pictures_per_second:picture|pictures} a second.",
    "network": "A network of {parameters} million parameters, {batch} "
    "{batch:picture|pictures} at once.",
    "started": "It starts from the weights of {model}, with its settings: what both know needs no "
    "learning anew.",
    "started_auto": "It starts from the weights of {model}, which comes along: that saves most "
    "of the first steps, and few pictures are learned by heart the sooner, too.",
    "autoencoder": "Its own autoencoder is trained first: {steps} {steps:step|steps}, about "
    "{seconds} {seconds:second|seconds}.",
    "latents": "It sees each picture as {width} x {height} places of latents, one for "
    "{factor} x {factor} pixels; encoding all once takes about {seconds} "
    "{seconds:second|seconds}.",
    "bfloat16": "It multiplies in bfloat16, measured to be {ratio} times as fast here as float32.",
    "told_captions": "It is told the captions, which {captions} of {pictures} "
    "{pictures:picture|pictures} {captions:has|have}: what they say can be asked for.",
    "told_classes": "It is told the class of each picture, one of {labels}: any can be asked for.",
    "told_nothing": "It is told nothing but the time: the pictures have no captions and no two "
    "classes.",
    "told_not": "It is told nothing but the time, as was chosen.",
    "ema": "The averaged weights look back over about {length} {length:step|steps}, "
    "{percent} % of all.",
    "warmup": "The learning rate rises over the first {warmup:step|{warmup} steps}, "
    "{percent} % of all.",
    "samples": "Samples every {every:step|{every} steps}, about {seconds} {seconds:second|seconds} "
    "apart: {sheets} {sheets:sheet|sheets}.",
    "saves": "A checkpoint every {every:step|{every} steps}: a killed run loses about {seconds} "
    "{seconds:second|seconds}.",
    "held_out": "{count} {count:picture is|pictures are} kept out of training, to see whether it "
    "learns or memorises.",
    "memory": "It takes about {needed} of memory; {available} are there.",
}


@dataclass(frozen=True)
class Reason:
    """Why a plan is as it is: `values` fill the line of this `kind`."""

    kind: str
    values: dict[str, Any]

    @property
    def line(self) -> str:
        """The sentence."""
        return fill(MESSAGES[self.kind], self.values)

    def to_json(self) -> dict[str, Any]:
        """Return it in types that JSON has."""
        return {**self.values, "kind": self.kind, "line": self.line}
