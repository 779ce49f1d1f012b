"""What a model is conditioned on: one kind, from conditioning.kind and the counts of a set.

Free of torch: page and plan ask the same as training does before its first step.
"""

from dataclasses import replace

from sd.common.validation import InputError, choice
from sd.config import Config
from sd.config.sections import CONDITIONING_KINDS

CLASS_KINDS = ("class_embedding", "class_tokens")
FEWEST_CLASSES = 2  # of one class, its name tells nothing
AUTO_CLASSES = "class_tokens"  # what auto takes for classes: their tokens' attention can be seen
CONTEXT_WIDTH = 128  # of context tokens, unless unet.context_dim says otherwise


def resolve_conditioning(config: Config, captions: int, labels: int) -> Config:
    """Return the settings with the kind resolved for such pictures, and the U-Net made to fit it.

    unet.num_classes has one more than the labels, the null; the context is CONTEXT_WIDTH wide
    unless set. Raises `InputError` as `resolve_kind` and `check_unet_inputs` do, and for another
    number of classes.
    """
    kind, unet = resolve_kind(config.conditioning.kind, captions, labels), config.unet
    if kind == "class_embedding":
        if unet.num_classes not in (None, labels + 1):
            raise InputError(
                f"unet.num_classes = {unet.num_classes}: must be None, or {labels + 1} for these "
                f"pictures, one more than their {labels} classes"
            )
        unet = replace(unet, num_classes=labels + 1)
    if kind in ("class_tokens", "captions") and unet.context_dim is None:
        unet = replace(unet, context_dim=CONTEXT_WIDTH)
    resolved = replace(config, unet=unet, conditioning=replace(config.conditioning, kind=kind))
    check_unet_inputs(resolved)
    return resolved


def unresolve_conditioning(config: Config) -> Config:
    """Return settings without what of the U-Net follows from the kind, so that it may change."""
    kind, unet = config.conditioning.kind, config.unet
    if kind == "class_embedding":
        unet = replace(unet, num_classes=None)
    if kind in ("class_tokens", "captions") and unet.context_dim == CONTEXT_WIDTH:
        unet = replace(unet, context_dim=None)
    return replace(config, unet=unet)


def check_unet_inputs(config: Config) -> None:
    """Raise `InputError` where the U-Net's inputs are not those of the resolved kind."""
    kind, unet = config.conditioning.kind, config.unet
    if (unet.num_classes is not None) != (kind == "class_embedding"):
        raise InputError(
            f"unet.num_classes = {unet.num_classes}: set conditioning.kind = class_embedding, from "
            "which it follows; no other kind has it"
        )
    if (unet.context_dim is not None) != (kind in ("class_tokens", "captions")):
        raise InputError(
            f"unet.context_dim = {unet.context_dim}: set conditioning.kind = captions or "
            "class_tokens; no other kind has it"
        )


def resolve_kind(kind: str, captions: int, labels: int, unlabelled: bool = False) -> str:
    """Return the kind of conditioning: none, class_embedding, class_tokens or captions.

    kind: a value of conditioning.kind; "auto" becomes captions if any picture has one, else classes
    if there are two, else none. captions: pictures that have one. labels: classes among the
    pictures. unlabelled: whether any picture has no class; then none of them counts. Raises
    `InputError` for a kind that such pictures cannot serve.
    """
    labels = 0 if unlabelled else labels
    if choice("conditioning.kind", kind, ("auto", *CONDITIONING_KINDS)) == "auto":
        classes = AUTO_CLASSES if labels >= FEWEST_CLASSES else "none"
        return "captions" if captions else classes
    if kind == "captions" and not captions:
        raise InputError(
            f"conditioning.kind = {kind!r}: none of these pictures has a caption; "
            f"choose {_possible_kinds(captions, labels)}"
        )
    if kind in CLASS_KINDS and labels < FEWEST_CLASSES:
        found = (
            "all these pictures are of one class"
            if labels
            else "not all these pictures have a class"
        )
        raise InputError(
            f"conditioning.kind = {kind!r}: {found}; choose {_possible_kinds(captions, labels)}"
        )
    return kind


def _possible_kinds(captions: int, labels: int) -> str:
    """Return the kinds that such pictures can serve."""
    fit = (["captions"] if captions else []) + (
        list(CLASS_KINDS) if labels >= FEWEST_CLASSES else []
    )
    return ", ".join([*fit, "none"]) + " or auto"
