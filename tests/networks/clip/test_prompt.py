"""The grammar of prompts: weights, escapes, BREAK, chunks, learned words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sd.common.validation import InputError
from sd.networks.clip.prompt import COMMA, MOST_CHUNKS, ROOM, parse_prompt
from sd.networks.clip.tokenizer import tokenize


def weighted(prompt):
    """Each token as typed with its weight, rounded as people write weights."""
    parsed = parse_prompt(prompt)
    return [(parsed.typed(t), round(t.weight, 4)) for chunk in parsed.chunks for t in chunk]


def sizes(prompt, words=None):
    return [len(chunk) for chunk in parse_prompt(prompt, words).chunks]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("normal text", [("normal", 1), ("text", 1)]),
        ("an (important) word", [("an", 1), ("important", 1.1), ("word", 1)]),
        ("a [dull] (cat:1.3)", [("a", 1), ("dull", 0.9091), ("cat", 1.3)]),
        ("(cat: .5 ) (dog:-1)", [("cat", 0.5), ("dog", -1)]),
        ("((a) b:2)", [("a", 2.2), ("b", 2)]),
        (r"\(a\] \\", [("(", 1), ("a", 1), ("]", 1), ("\\", 1)]),
        ("(red [cat", [("red", 1.1), ("cat", 1)]),  # reaches to the end, 1.1 / 1.1
        ("a) b] c:2)", [(t, 1) for t in ("a", ")", "b", "]", "c", ":", "2", ")")]),
        ("[a:b:2]", [(t, 0.9091) for t in ("a", ":", "b", ":", "2")]),  # scheduling stays text
        ("(a:1.2.3)", [(t, 1.1) for t in ("a", ":", "1", ".", "2", ".", "3")]),
        ("[[a:b] (c", [("a", 0.8264), (":", 0.8264), ("b", 0.8264), ("c", 1)]),
        ("(un)happy", [("un", 1.1), ("happy", 1)]),
        ("", []),
    ],
)
def test_brackets_weigh_what_they_hold(prompt, expected):
    assert weighted(prompt) == expected


def test_what_nests_multiplies():
    found = dict(weighted("a (((house:1.3)) [on] a (hill:0.5), sun, (((sky)))."))
    assert found == {
        **{"house": 1.573, "on": 1, "a": 1.1, "hill": 0.55, ",": 1.1, "sun": 1.1},
        **{"sky": 1.4641, ".": 1.1},
    }


def test_parts_of_one_weight_are_read_as_one_text():
    """`(un)(happy)` is the word unhappy, `(un:1.1)happy` two words."""
    ids = [token.id for token in tokenize("unhappy")]
    assert [token.id for token in parse_prompt("(un)(happy)").chunks[0]] == ids


def test_break_begins_a_chunk_within_brackets_too():
    assert sizes("a BREAK b c") == [1, 2] == sizes("a BREAK b c BREAK")
    assert sizes("a BREAK BREAK b") == [1, 0, 1]
    assert sizes("breaks BREAKS") == [2]
    parsed = parse_prompt("(a BREAK b:1.2)")
    assert [[t.weight for t in chunk] for chunk in parsed.chunks] == [[1.2], [1.2]]
    assert parsed.taken == ROOM + 1


def test_a_chunk_holds_75_tokens_and_may_end_at_a_late_comma():
    assert sizes("a " * 75) == [75]
    assert sizes("a " * 76) == [75, 1]
    assert parse_prompt("a " * 63).taken == 63
    assert sizes("a " * 55 + ", " + "b " * 30) == [56, 30]
    assert sizes("a " * 54 + ", " + "b " * 30) == [75, 10]  # 21 tokens before the end: too early
    assert sizes("a " * 75 + ", b") == [75, 2]
    assert sizes("") == [0]


def test_words_know_the_places_of_their_tokens_in_the_context():
    parsed = parse_prompt("a (xyzzyqwfp:1.2), BREAK\tcafé")
    assert parsed.text == "a xyzzyqwfp, BREAK\tcafé"
    (a, first), (word, places), (comma, _), *_, (last, after) = parsed.spans()
    assert (a, first, word, comma, last) == ("a", [1], "xyzzyqwfp", ",", "café")
    assert len(places) > 1 and places == list(range(2, 2 + len(places)))
    assert after == [ROOM + 2 + 1]


def test_a_learned_word_is_found_whole_whatever_its_case_and_stays_in_one_chunk():
    words = {"cat-toy": (50_000, 50_001), "cat": (50_002,), "<big>": range(60_000, 60_030)}
    parsed = parse_prompt("A (CAT-toy:1.2), cat catalog <big>", words)
    ids = [t.id for t in parsed.chunks[0]]
    assert ids[:5] == [320, 50_000, 50_001, COMMA, 50_002] and ids[-30:] == [*range(60_000, 60_030)]
    assert ids[5:-30] == [t.id for t in tokenize("catalog")]
    assert [parsed.chunks[0][k].weight for k in (0, 1, 2, 3)] == [1, 1.2, 1.2, 1]
    assert parsed.typed(parsed.chunks[0][2]) == "CAT-toy"
    assert sizes("a " * 50 + "<big> b", words) == [50, 31]
    assert sizes("a " * 60 + "," + "b " * 14 + "<big> " * 2, words) == [61, 74]
    with pytest.raises(InputError, match="word 'long': 76 vectors; at most 75 fit in a chunk"):
        parse_prompt("a", {"long": range(76)})


@pytest.mark.parametrize(
    ("prompt", "line"),
    [
        ("(a:101)", "weight in the prompt = 101.0: must be a number from -100 to 100"),
        ("((a:50):50)", "its brackets multiply to a weight of more than 100"),
        ("(" * 9000 + "a", "its brackets multiply to a weight of more than 100"),
        ("BREAK " * 33, f"33 chunks of 75 tokens; at most {MOST_CHUNKS} are read"),
    ],
)
def test_too_much_is_refused(prompt, line):
    with pytest.raises(InputError) as caught:
        parse_prompt(prompt)
    assert line in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("ab ,()[]:\\1.-é🐈\ud800BREAK\n"), max_size=60))
def test_any_text_is_read_or_refused_in_one_line(prompt):
    try:
        parsed = parse_prompt(prompt)
    except InputError as error:
        assert "\n" not in str(error)
        return
    for _, token in parsed.places():
        assert 0 <= token.start < token.stop <= len(parsed.text) and abs(token.weight) <= 100
    assert all(len(chunk) <= ROOM for chunk in parsed.chunks)
