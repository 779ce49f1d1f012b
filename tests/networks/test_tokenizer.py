"""The vocabulary: what it learns, that no text fails, and that a hostile file gets one line."""

import copy
import hashlib
import json
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel

from sd.common.validation import InputError
from sd.networks.tokenizer import (
    END,
    LARGEST,
    LONGEST_READ,
    LONGEST_TOKEN,
    PAD,
    SMALLEST,
    START,
    Vocabulary,
    split,
)

CAPTIONS = (
    "red circle left of blue square",
    "A Blue circle above a red square",
    "café 红色圆形 🐈",
    "don't self-made it",
)
VOCABULARY = Vocabulary.train(CAPTIONS, 2000)
SMALL = Vocabulary.train(["red circle"], SMALLEST)  # bytes alone
ANY_TEXT = st.text(st.characters())  # half characters too


def bytes_of(vocabulary, ids):
    """The UTF-8 that ids spell, by GPT-2's own byte alphabet."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    strange = [byte for byte in range(256) if byte not in plain]
    letters = {chr(byte): byte for byte in plain}
    letters |= {chr(256 + k): byte for k, byte in enumerate(strange)}
    assert set(letters) == set(ByteLevel.alphabet())
    tokens = vocabulary.to_json()["tokens"]
    return bytes(letters[letter] for number in ids for letter in tokens[number])


def test_a_learned_word_is_one_token_between_start_and_end():
    ids = VOCABULARY.encode("Red  CIRCLE\tleft of blue square", 24)
    assert (PAD, START, END) == (0, 1, 2)
    assert ids[0] == START and ids[-1] == END and len(ids) == 8
    assert len(set(ids)) == 8 and all(number >= SMALLEST for number in ids[1:-1])
    assert bytes_of(VOCABULARY, ids[1:-1]) == b" red circle left of blue square"


def test_the_empty_text_is_start_and_end():
    assert VOCABULARY.encode("", 24) == VOCABULARY.encode(" \n\0", 24) == [START, END]
    assert VOCABULARY.spans("", 24) == VOCABULARY.unseen("") == []


def test_the_wanted_size_is_a_limit():
    assert SMALL.size == SMALLEST == 259 and SMALL.to_json()["merges"] == []
    assert Vocabulary.train(CAPTIONS, 280).size == 280
    assert SMALLEST < VOCABULARY.size < 2000
    assert Vocabulary.train([], 300).size == SMALLEST


@pytest.mark.parametrize("size", [SMALLEST - 1, LARGEST + 1, 300.5, "300", None])
def test_an_impossible_size_gets_one_line(size):
    with pytest.raises(InputError, match=r"vocabulary = .* from 259 to 65536"):
        Vocabulary.train(CAPTIONS, size)


@given(ANY_TEXT)
def test_any_text_is_spelt_in_bytes(text):
    ids = SMALL.encode(text, 4096)
    assert ids[0] == START and ids[-1] == END
    assert all(END < number < SMALL.size for number in ids[1:-1])
    spelt = bytes_of(SMALL, ids[1:-1]).decode()  # whole characters: it decodes
    assert len(spelt.split(" ")) - 1 == len(split(text))


@given(ANY_TEXT)
def test_spans_cover_all_places_and_quote_the_text(text):
    ids, spans = VOCABULARY.encode(text, 4096), VOCABULARY.spans(text, 4096)
    assert [place for _, places in spans for place in places] == list(range(1, len(ids) - 1))
    assert [word for word, _ in spans] == split(text)
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert all(word in joined for word, _ in spans)


def test_special_tokens_cannot_be_typed():
    for typed in ("<pad>", "<start> <end>", "[START]", "<start>red<end>"):
        assert not {PAD, START, END} & set(VOCABULARY.encode(typed, 64)[1:-1])
    told = Vocabulary.train(["<pad> <start> <end>"] * 9, 400)
    assert not {PAD, START, END} & set(told.encode("<pad> <start> <end>", 64)[1:-1])


def test_words_are_told_apart_by_their_spaces():
    both = Vocabulary.train(["car pet"], 300)
    assert both.encode("car pet", 9) != both.encode("carpet", 9)


def test_case_and_composition_do_not_matter():
    assert VOCABULARY.encode("CAFE\u0301", 24) == VOCABULARY.encode("café", 24)
    assert VOCABULARY.unseen("Cafe\u0301 CAFÉ") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("red, blue!!", ["red", ",", "blue", "!", "!"]),
        ("don't self-made x2 blue_eyes", ["don't", "self-made", "x2", "blue", "_", "eyes"]),
        ("🐈👍🏽 👨‍👩‍👧❤️ 🇩🇪🇫🇷", ["🐈", "👍🏽", "👨‍👩‍👧", "❤️", "🇩🇪", "🇫🇷"]),
        ("हिन्दी 红色圆形。", ["हिन्दी", "红色圆形", "。"]),
        ("a\0b\x1b\u200bc", ["a", "b", "c"]),
        ("\ud800x \ud83d\udc08", ["\ufffd", "x", "🐈"]),
    ],
)
def test_what_a_word_is(text, words):
    assert split(text) == words


def test_the_spans_of_a_caption():
    assert VOCABULARY.spans("red circle left of Blue square", 24) == [
        ("red", [1]),
        ("circle", [2]),
        ("left", [3]),
        ("of", [4]),
        ("Blue", [5]),
        ("square", [6]),
    ]
    letters = SMALL.spans("red 🐈", 24)  # a space and three letters; a space and four bytes
    assert letters == [("red", [1, 2, 3, 4]), ("🐈", [5, 6, 7, 8, 9])]


def test_a_text_is_cut_and_end_is_kept():
    whole, cut = VOCABULARY.encode(CAPTIONS[0], 24), VOCABULARY.encode(CAPTIONS[0], 5)
    assert cut == [*whole[:4], END]
    assert [word for word, _ in VOCABULARY.spans(CAPTIONS[0], 5)] == ["red", "circle", "left"]
    assert SMALL.spans("red circle", 9) == [("red", [1, 2, 3, 4])]  # half of circle is left out
    assert VOCABULARY.encode(CAPTIONS[0], 2) == [START, END]
    assert VOCABULARY.spans(CAPTIONS[0], 2) == []


def test_a_very_long_text_is_read_quickly():
    start = time.perf_counter()
    assert VOCABULARY.encode("red " * 10_000, 24) == VOCABULARY.encode("red " * 30, 24)
    assert len(VOCABULARY.encode("x" * 10**7, 24)) == 24
    assert VOCABULARY.unseen("red " * LONGEST_READ + "zebra") == []
    assert time.perf_counter() - start < 2


def test_unseen_words_are_told_once_in_order():
    text = "Red ZEBRA beside a zebra, 🐈 and 🦓"
    assert VOCABULARY.unseen(text) == ["ZEBRA", "beside", "and", "🦓"]


@pytest.mark.parametrize(
    "text",
    [
        "red, HEART!",
        "'heart'",
        "nine thirty",
        "“Nine-Thirty”…",
        "red—heart",
        "STRASSE",
        "t-shirt",
        ",",
    ],
)
def test_words_are_compared_without_punctuation_and_case(text):
    known = Vocabulary.train(["red heart, nine-thirty", "straße", "tshirt"], 300)
    assert known.unseen(text) == []
    assert known.unseen(f"{text} zebra-heart ❤ nineteen") == ["zebra-heart", "❤", "nineteen"]
    assert "red" in VOCABULARY.words and "Red" not in VOCABULARY.words


@pytest.mark.parametrize("text", [None, 3, b"red", ["red"]])
def test_what_is_no_text_gets_one_line(text):
    for read in (VOCABULARY.unseen, lambda text: VOCABULARY.encode(text, 24)):
        with pytest.raises(InputError, match="must be a text"):
            read(text)


def test_of_too_many_words_the_commonest_are_known(monkeypatch):
    monkeypatch.setattr("sd.networks.tokenizer.MOST_WORDS", 2)
    made = Vocabulary.train(["fox", "owl fox", "owl fox bee"], SMALLEST)
    assert made.words == {"fox", "owl"}


def test_it_is_the_same_in_any_order_and_in_another_process():
    digest = hashlib.sha256(json.dumps(VOCABULARY.to_json()).encode()).hexdigest()
    backwards = Vocabulary.train(CAPTIONS[::-1], 2000)
    assert backwards.to_json() == VOCABULARY.to_json()
    code = (
        "import hashlib, json, sys; from sd.networks.tokenizer import Vocabulary\n"
        "made = Vocabulary.train(json.loads(sys.argv[1]), 2000).to_json()\n"
        "print(hashlib.sha256(json.dumps(made).encode()).hexdigest())"
    )
    command = [sys.executable, "-c", code, json.dumps(CAPTIONS)]
    assert subprocess.check_output(command, text=True).strip() == digest


@given(ANY_TEXT)
def test_a_file_gives_the_same_ids(text):
    again = Vocabulary.from_json(json.loads(json.dumps(VOCABULARY.to_json())))
    assert again.encode(text, 64) == VOCABULARY.encode(text, 64)
    assert again.unseen(text) == VOCABULARY.unseen(text)
    assert again.to_json() == VOCABULARY.to_json()


def test_long_words_make_a_file_that_can_be_read():
    long = Vocabulary.train(["y" * 300 + " " + "形" * 300], 2000)
    assert max(map(len, long.to_json()["tokens"])) <= LONGEST_TOKEN
    assert Vocabulary.from_json(long.to_json()).to_json() == long.to_json()


def changed(change):
    value = copy.deepcopy(VOCABULARY.to_json())
    change(value)
    return value


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda v: v.pop("words"), "must be an object of tokens, merges and words"),
        (lambda v: v.update(more=1), "must be an object of tokens, merges and words"),
        (lambda v: v.update(tokens="abc"), "tokens = 'abc': must be a list"),
        (lambda v: v.update(tokens=[[]] * (LARGEST + 1)), "tokens = .*at most 65536"),
        (lambda v: v["tokens"].append(7), "tokens hold 7"),
        (lambda v: v["tokens"].append("x" * 65), "tokens hold .*1 to 64 characters"),
        (lambda v: v["tokens"].append(v["tokens"][9]), "more than once"),
        (lambda v: v["tokens"].append("a\nb"), r"token 'a\\nb': must be made of byte tokens"),
        (lambda v: v["tokens"].pop(3), "1 of the 256 byte tokens"),
        (lambda v: v["tokens"].reverse(), "tokens begin with"),
        (lambda v: v.update(merges={}), "merges = {}"),
        (lambda v: v.update(merges=[[]] * (LARGEST + 1)), "merges = .*at most 65536"),
        (lambda v: v["merges"].append(["a"]), "merge .*two tokens that make a token"),
        (lambda v: v["merges"].append([["a"], "b"]), "merge .*two tokens that make a token"),
        (lambda v: v["merges"].append(["q", "z"]), "merge .*two tokens that make a token"),
        (lambda v: v["merges"].append(["<", "pad>"]), "merge .*two tokens that make a token"),
        (lambda v: v["merges"].append(v["merges"][0]), "a merge comes more than once"),
        (lambda v: v["words"].append("\ud800"), "words hold"),
        (lambda v: v["words"].append(""), "words hold"),
        (lambda v: v["words"].extend(map(str, range(200_000))), "words = .*at most 200000"),
    ],
)
def test_a_hostile_file_gets_one_line(change, line):
    with pytest.raises(InputError, match=line) as caught:
        Vocabulary.from_json(changed(change))
    assert "\n" not in str(caught.value) and str(caught.value).startswith("vocabulary")


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_other_data_gets_one_line(value):
    for part in ("tokens", "merges", "words", None):
        hostile = changed(lambda v, part=part: v.update({part: value})) if part else value
        try:
            Vocabulary.from_json(hostile)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert part in ("merges", "words") and isinstance(value, list)
