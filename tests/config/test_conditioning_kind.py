"""What a model can be told of a picture set, from two counts."""

import pytest

from sd.common.validation import InputError
from sd.config import Config
from sd.config.conditioning_kind import (
    check_unet_inputs,
    resolve_conditioning,
    resolve_kind,
    unresolve_conditioning,
)


@pytest.mark.parametrize(
    ("captions", "labels", "expected"),
    [
        (1, 0, "captions"),
        (5, 9, "captions"),
        (0, 2, "class_tokens"),
        (0, 1, "none"),
        (0, 0, "none"),
    ],
)
def test_auto_takes_the_richest_that_is_there(captions, labels, expected):
    assert resolve_kind("auto", captions, labels) == expected


@pytest.mark.parametrize("kind", ["none", "class_embedding", "class_tokens", "captions"])
def test_a_kind_that_was_chosen_stays(kind):
    assert resolve_kind(kind, captions=3, labels=2) == kind


def test_none_needs_nothing():
    assert resolve_kind("none", captions=0, labels=0) == "none"


@pytest.mark.parametrize("kind", ["class_embedding", "class_tokens"])
@pytest.mark.parametrize(
    ("labels", "found"), [(0, "not all these pictures have a class"), (1, "are of one class")]
)
def test_classes_need_two(kind, labels, found):
    with pytest.raises(InputError, match=f"^conditioning.kind = '{kind}': .*{found}") as caught:
        resolve_kind(kind, captions=3, labels=labels)
    assert str(caught.value).endswith("choose captions, none or auto")


def test_captions_need_one():
    with pytest.raises(InputError, match=r"none of these pictures has a caption") as caught:
        resolve_kind("captions", captions=0, labels=2)
    assert str(caught.value).endswith("choose class_embedding, class_tokens, none or auto")


def test_a_word_that_is_no_kind_is_refused():
    with pytest.raises(InputError, match=r"did you mean 'captions'\?"):
        resolve_kind("caption", captions=1, labels=0)


def test_classes_count_only_where_every_picture_has_one():
    assert resolve_kind("auto", captions=0, labels=3, unlabelled=True) == "none"
    with pytest.raises(InputError, match="not all these pictures have a class"):
        resolve_kind("class_tokens", captions=0, labels=3, unlabelled=True)


@pytest.mark.parametrize(
    ("kind", "num_classes", "context_dim"),
    [
        ("none", None, None),
        ("class_embedding", 4, None),
        ("class_tokens", None, 128),
        ("captions", None, 128),
    ],
)
def test_the_network_is_made_to_fit_the_kind(kind, num_classes, context_dim):
    made = resolve_conditioning(
        Config().with_settings([f'conditioning.kind="{kind}"']), captions=1, labels=3
    )
    assert made.conditioning.kind == kind
    assert (made.unet.num_classes, made.unet.context_dim) == (num_classes, context_dim)
    assert resolve_conditioning(made, captions=1, labels=3) == made
    free = unresolve_conditioning(made)
    assert (free.unet.num_classes, free.unet.context_dim) == (None, None)
    assert resolve_conditioning(free, captions=1, labels=3) == made


def test_a_width_that_was_set_stays():
    wished = Config().with_settings(["conditioning.kind=captions", "unet.context_dim=64"])
    assert resolve_conditioning(wished, captions=1, labels=0).unet.context_dim == 64
    assert unresolve_conditioning(wished) == wished


@pytest.mark.parametrize("setting", ["unet.num_classes=4", "unet.context_dim=64"])
def test_a_network_that_nobody_would_tell_anything_is_refused(setting):
    config = Config().with_settings([setting])
    with pytest.raises(InputError, match=f"^{setting.replace('=', ' = ')}: set conditioning.kind"):
        check_unet_inputs(config)
    with pytest.raises(InputError, match="no other kind has it"):
        resolve_conditioning(config, captions=1, labels=3)
