"""A recipe: all that makes pictures, as plain data that a PNG can carry and anybody can repeat.

Which model, how it is sampled, and from where: noise, noise between two seeds, a picture at a time
t (SDEdit, Meng et al. 2022), a picture inside a mask, or a branch: another recipe's pictures after
some of its steps, there perhaps with another prompt. `sd.generation.pipeline` makes the pictures.
"""

import base64
import binascii
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sd.common.validation import LARGEST_SEED, InputError, choice, flag, real, shown, text, whole
from sd.diffusion.timesteps import SAMPLERS, SPACINGS, VARIANCES
from sd.networks.conditioning_metadata import MOST_GUIDANCE

FORMAT = 1
MOST_PICTURES, MOST_STEPS = 4096, 100_000
BOUNDS = {
    "step": (0, 10**9),
    "steps": (1, MOST_STEPS),
    "seed": (0, LARGEST_SEED),
    "count": (1, MOST_PICTURES),
}
DEEPEST = 8  # branches of branches
LONGEST_MODEL_NAME = 4096
LONGEST_PROMPT = 10_000  # characters; no model reads more
LARGEST_PICTURE = 2**20  # bytes of an embedded PNG
LONGEST_SIDE = 4096  # pixels of a picture that is drawn


@dataclass(frozen=True)
class Start:
    """A picture to begin from: PNG of the model's size, noised to `t`; mask: white is made anew."""

    picture: bytes
    t: float
    mask: bytes | None = None

    def __post_init__(self) -> None:
        real("t", self.t, 0, 1e9)


@dataclass(frozen=True)
class Branch:
    """Where another recipe is left: after its step `at`, with RGBA `paint` over its estimate."""

    recipe: "Recipe"
    at: int
    paint: bytes | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", whole("branch at", self.at, 1, self.recipe.steps))


@dataclass(frozen=True)
class Recipe:
    """Settings of one sampling. `step` and `digest` say which model of that name it was.

    steps: of this sampling alone, without those of a branch's parent. seed_to: where given, the
    pictures start from noises on the way from `seed` to it. prompts: captions or classes, which the
    pictures take in turn as they do `guidance`; negative: what guidance leads away from; rescale
    and interval as in `sd.diffusion.guidance.Guidance`. size: (height, width) of what is
    drawn, None for the model's own.
    """

    model: str
    step: int = 0
    digest: str = ""
    sampler: str = "ddim"
    steps: int = 50
    eta: float = 0.0
    variance: str = "fixed_small"
    spacing: str = "trailing"
    clip_x0: bool = True
    seed: int = 0
    count: int = 1
    seed_to: int | None = None
    prompts: tuple[str, ...] = ()
    negative: str = ""
    guidance: tuple[float, ...] = (1.0,)
    rescale: float = 0.0
    interval: tuple[float, float] = (0.0, 1.0)
    size: tuple[int, int] | None = None
    start: Start | None = None
    branch: Branch | None = None

    def __post_init__(self) -> None:
        text("model", self.model, LONGEST_MODEL_NAME)
        text("digest", self.digest, 64)
        choice("sampler", self.sampler, SAMPLERS)
        object.__setattr__(self, "eta", real("eta", self.eta, 0, 1))
        choice("variance", self.variance, VARIANCES)
        choice("spacing", self.spacing, SPACINGS)
        flag("clip x0", self.clip_x0)
        for field, (low, high) in BOUNDS.items():
            _check_whole(self, field, low, high)
        if self.seed_to is not None:
            _check_whole(self, "seed_to", *BOUNDS["seed"])
        _check_prompts(self)
        if self.size is not None:
            object.__setattr__(self, "size", _check_size(self.size))
        if self.branch:
            _check_branch(self, self.branch.recipe)

    @property
    def seeds(self) -> list[int]:
        """The seed of each picture: counted up, or between two seeds all the first."""
        if self.seed_to is not None:
            return [self.seed] * self.count
        return list(range(self.seed, self.seed + self.count))

    @property
    def captions(self) -> list[str]:
        """What each picture was asked for, with its guidance where that differs; else nothing."""
        prompts, scales = self.prompts, self.guidance
        if not prompts:
            return []
        named = [prompts[n % len(prompts)] for n in range(self.count)]
        if len(scales) == 1:
            return named
        return [f"{name} · {scales[n % len(scales)]:g}" for n, name in enumerate(named)]

    @property
    def root(self) -> "Recipe":
        """The recipe from which all the branches lead to this one."""
        return self.branch.recipe.root if self.branch else self

    @property
    def first(self) -> int:
        """Steps that were done before these: those of all the recipes it branches from."""
        return self.branch.recipe.first + self.branch.at if self.branch else 0

    @property
    def depth(self) -> int:
        """How many branches lead from the first recipe to this one."""
        return self.branch.recipe.depth + 1 if self.branch else 0

    def of_model(self, name: str) -> "Recipe":
        """Return the recipe with its model under another name, and so all it branches from."""
        branch = self.branch and replace(self.branch, recipe=self.branch.recipe.of_model(name))
        return replace(self, model=name, branch=branch)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON; pictures as base64."""
        fields = {**asdict(self), "format": FORMAT}
        if self.size is None:  # as it was before there were sizes, so that older readers read it
            del fields["size"]
        if self.start:
            fields["start"] = {**asdict(self.start), "picture": _encode(self.start.picture)}
            fields["start"]["mask"] = _encode(self.start.mask)
        if self.branch:
            branch = self.branch
            fields["branch"] = {"at": branch.at, "paint": _encode(branch.paint)}
            fields["branch"]["recipe"] = branch.recipe.to_json()
        return fields


def from_json(value: Any, depth: int = 0) -> Recipe:
    """Return the recipe that JSON describes; raise `InputError` for anything else."""
    if depth > DEEPEST:
        raise InputError(f"recipe: branches of branches, more than {DEEPEST} deep")
    fields = _check_object("recipe", value, (*Recipe.__dataclass_fields__, "format"))
    whole("recipe format", fields.pop("format", None), FORMAT, FORMAT)
    if (start := fields.get("start")) is not None:
        found = _check_object("start", start, ("picture", "t", "mask"))
        picture, mask = _decode("picture", found.get("picture")), found.get("mask")
        if picture is None:
            raise InputError("recipe: a start without its picture")
        fields["start"] = Start(picture, found.get("t", math.nan), _decode("mask", mask))
    if (branch := fields.get("branch")) is not None:
        found = _check_object("branch", branch, ("recipe", "at", "paint"))
        parent = from_json(found.get("recipe"), depth + 1)
        at: Any = found.get("at")
        fields["branch"] = Branch(parent, at, _decode("paint", found.get("paint")))
    if "model" not in fields:
        raise InputError("recipe: it names no model")
    return Recipe(**fields)


def _check_whole(recipe: Recipe, field: str, low: int, high: int) -> None:
    """Check that a field is a whole number; one that came as 3.0 becomes 3."""
    value = whole(field.replace("_", " "), getattr(recipe, field), low, high)
    object.__setattr__(recipe, field, value)


def _check_prompts(recipe: Recipe) -> None:
    """Check prompts and guidance; lists, as JSON has them, become tuples."""
    for each in (*_check_list("prompts", recipe.prompts), recipe.negative):
        text("prompt", each, LONGEST_PROMPT)
    if not _check_list("guidance", recipe.guidance):
        raise InputError("guidance = (): must be at least one number")
    scales = tuple(real("guidance", each, 0, MOST_GUIDANCE) for each in recipe.guidance)
    low, high = _check_interval("guidance interval", recipe.interval)
    object.__setattr__(recipe, "prompts", tuple(recipe.prompts))
    object.__setattr__(recipe, "guidance", scales)
    object.__setattr__(recipe, "rescale", real("guidance rescale", recipe.rescale, 0, 1))
    object.__setattr__(recipe, "interval", (low, high))


def _check_list(name: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list) or len(value) > MOST_PICTURES:
        raise InputError(f"{name} = {shown(value)}: must be a list of at most {MOST_PICTURES}")
    return tuple(value)


def _check_interval(name: str, value: Any) -> tuple[float, float]:
    values = _check_list(name, value)
    if len(values) == 2:
        low, high = (real(name, each, 0, 1) for each in values)
        if low <= high:
            return low, high
    raise InputError(f"{name} = {shown(value)}: must be two numbers, 0 <= first <= last <= 1")


def parse_size(name: str, words: str) -> tuple[int, int]:
    """Return the (height, width) that "64x48" says, or "64" for a square."""
    found = re.fullmatch(r"\s*(\d{1,5})(?:\s*[xX×]\s*(\d{1,5}))?\s*", text(name, words, 100))
    if found is None:
        raise InputError(f"{name} = {shown(words)}: must be HEIGHTxWIDTH, as 64x64")
    return _check_size((int(found[1]), int(found[2] or found[1])), name)


def _check_size(value: Any, name: str = "size") -> tuple[int, int]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InputError(f"{name} = {shown(value)}: must be two whole numbers, height and width")
    height, width = (whole(name, each, 1, LONGEST_SIDE) for each in value)
    return height, width


def _check_branch(recipe: Recipe, parent: Recipe) -> None:
    if recipe.depth > DEEPEST:
        raise InputError(f"recipe: branches of branches, more than {DEEPEST} deep")
    if recipe.start or recipe.seed_to is not None:
        raise InputError("recipe: a branch begins where its parent is left, not anywhere else")
    ours, theirs = ((each.model, each.digest, each.count, each.size) for each in (recipe, parent))
    if ours != theirs:
        raise InputError("recipe: a branch has the model, the count and the size of its parent")


def _check_object(name: str, value: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{name} = {shown(value)}: must be an object")
    for key in value:
        choice(f"{name}: key", key, keys)
    return dict(value)


def _encode(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


def _decode(name: str, value: Any) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > 4 / 3 * LARGEST_PICTURE + 4:
        raise InputError(f"{name} = {shown(value)}: must be base64 of at most 1 MiB")
    try:
        return base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        raise InputError(f"{name} = {shown(value)}: must be base64") from None
