"""The one gate: what passes, what does not, and that the answer is one line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd.common import validation
from sd.common.validation import InputError

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.integers()),
)


@given(ANYTHING)
def test_a_whole_number_in_range_or_one_line(value):
    try:
        number = validation.whole("x", value, -5, 5)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) <= 300 and str(error).startswith("x = ")
    else:
        assert type(number) is int and -5 <= number <= 5 and number == value
        assert not isinstance(value, bool)


@given(ANYTHING)
def test_a_finite_number_in_range_or_one_line(value):
    try:
        number = validation.real("x", value, -1.5, 1e6)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) <= 300
    else:
        assert type(number) is float and math.isfinite(number) and -1.5 <= number <= 1e6


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, True, None, "7", [1], {}, 10**400]
)
def test_what_only_looks_like_a_number_is_refused(value):
    for reader in (validation.whole, validation.real):
        with pytest.raises(InputError, match="from 0 to 9"):
            reader("x", value, 0, 9)


def test_whole_floats_count_as_whole():
    assert validation.whole("x", 4.0, 0, 9) == 4
    with pytest.raises(InputError, match=r"4\.7"):
        validation.whole("x", 4.7, 0, 9)


@pytest.mark.parametrize("value", [0, 1, "True", None])
def test_a_flag_is_true_or_false(value):
    with pytest.raises(InputError, match="True or False"):
        validation.flag("x", value)
    assert validation.flag("x", True) is True


def test_a_misspelt_word_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="one of ddim, ddpm; did you mean 'ddim'"):
        validation.choice("sampler", "dimd", ("ddim", "ddpm"))
    with pytest.raises(InputError) as refused:
        validation.choice("sampler", ["ddim"], ("ddim", "ddpm"))
    assert "did you mean" not in str(refused.value)


@pytest.mark.parametrize("value", ["a\x00b", "a\x1bb", "\ud800", 5, None, "x" * 11])
def test_texts_that_no_file_should_hold(value):
    with pytest.raises(InputError):
        validation.text("caption", value, 10)


@pytest.mark.parametrize(
    "value",
    ["../x", "a/b", "", ".hidden", "-flag", "a ", " a", "a.", "x" * 65, "a\n", None, "é" * 101],
)
def test_names_are_plain(value):
    with pytest.raises(InputError, match="must be 1 to 64"):
        validation.file_name("run", value)


def test_good_names_and_texts_pass():
    for name in ("20261123-091500-ab12.x", "My cats 2", "é", "我的猫"):
        assert validation.file_name("run", name) == name
    assert validation.text("caption", "两行\n字", 10) == "两行\n字"


def test_a_long_message_is_cut_to_one_line():
    error = InputError("a\nb " + "x" * 1000)
    assert len(str(error)) == 300 and "\n" not in str(error)


def test_a_message_is_printable_whatever_it_quotes():
    line = str(InputError("name a\x1b[31mb\u202ec\ud800 <猫>\u3000is wrong"))
    assert line == "name a\\x1b[31mb\\u202ec\\ud800 <猫> is wrong" and line.isprintable()
    assert len(str(InputError("\ud800" * 10**6))) == 300


def test_a_long_text_is_shown_by_its_beginning():
    assert validation.shown("x" * 10**7) == "'" + "x" * 58 + "…"


def test_minus_one_draws_a_seed_and_no_other_number_below_0_is_one():
    drawn = {validation.seed("seed", value) for value in (-1, -1.0, -1, -1)}
    assert len(drawn) > 1 and all(0 <= each < 10**6 for each in drawn)
    assert validation.seed("seed", validation.LARGEST_SEED) == validation.LARGEST_SEED
    for wrong in (-2, True, None, "-1", 0.5, validation.LARGEST_SEED + 1, float("nan")):
        with pytest.raises(InputError, match="from 0 to 9007199254740992; -1 draws one"):
            validation.seed("seed", wrong)
