"""The tolerant reader: the original's text, Chinese punctuation, hostile texts."""

import ast
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd.common.validation import LONGEST_MESSAGE, InputError
from sd.config.ini import LARGEST_FILE, parse_value, read_entries, read_file, spell


def read(text):
    return {entry.key: entry.value for entry in read_entries(text, "test.ini")}


def error(text):
    with pytest.raises(InputError) as caught:
        read_entries(text, "test.ini")
    return str(caught.value)


def test_inline_comments_wrap_over_lines_even_where_they_hold_an_equals_sign():
    text = (
        "conv_resample = True # 是一个bool类型的数值，例如True。如果是True，\n"
        "                       残差结构，即resblock_updown=False时，就会使用\n"
        "                       卷积结构\n"
        "dims = 2 # 例如dims=2时\n"
    )
    assert read(text) == {"conv_resample": True, "dims": 2}


def test_an_indented_key_is_a_key_also_below_a_comment():
    assert read("epochs = 3 # passes\n  steps = 5\n") == {"epochs": 3, "steps": 5}


def test_line_numbers_and_sections_are_kept():
    entries = read_entries("\nepochs = 3\n\n[unet]  # the network\nchannel = 1\n", "test.ini")
    assert [(e.section, e.key, e.line) for e in entries] == [
        (None, "epochs", 2),
        ("unet", "channel", 5),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_byte_order_mark_and_line_ends(end):
    assert read(f"\ufeff[training]{end}epochs = 3{end}steps = 4{end}") == {"epochs": 3, "steps": 4}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.", 0.0),
        ("-1", -1),
        ("1e-4", 1e-4),
        ("None", None),
        ("True", True),
        ("false", False),
        ("[1,2,4,8]", [1, 2, 4, 8]),
        ("(1, 2, 3, 8)", (1, 2, 3, 8)),
        ("{1, 2}", {1, 2}),
        ("", ""),
        ("/mnt/Unet/pic", "/mnt/Unet/pic"),
        ("crop", "crop"),
        ('"/a b # c"', "/a b # c"),
        (r'"C:\new\pics"', r"C:\new\pics"),
        ("'it''s'", "it's"),
        ("“/图（１）”", "/图（１）"),
        ("/图（１）", "/图（１）"),
        ("（１，２，４）", (1, 2, 4)),
        ("【１、２】", [1, 2]),
        ("－１", -1),
        ("０．５", 0.5),
        ("Ｎｏｎｅ", None),
    ],
)
def test_values(text, value):
    result = parse_value(text)
    assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("x = 3 # three", 3),
        ("x = 3# three", 3),
        ("x=3＃三", 3),
        ("x ＝ ３　＃ 三", 3),
        ("x = [1, 2]# two", [1, 2]),
        ("x = # nothing", ""),
        ("x = /a#b", "/a#b"),
        ("x = /a #b", "/a"),
        ('x = "/a #b" # a path', "/a #b"),
    ],
)
def test_where_the_comment_begins(line, value):
    assert read(line) == {"x": value}


HOSTILE = [
    "__import__('os').system('true')",
    "().__class__",
    "[].append(1)",
    "9**9**9",
    "[1]*999999999",
    "lambda: 0",
    "1 if True else 2",
    "0x10or 1",
    "(" * 499,
    "[" * 240 + "]" * 240,
    "-" * 499 + "1",
    "{[1]}",
    "nan",
    "inf",
    "1j",
    "b'x'",
    "f'{1}'",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_is_evaluated(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_value(text) == text


def test_a_literal_that_is_too_long_stays_a_text():
    long = f"[{'1, ' * 400}]"
    assert parse_value(long) == long
    assert ast.literal_eval(long) == [1] * 400


def test_errors_name_the_line():
    assert error("epochs = 3\nepochs = 4") == (
        "test.ini, line 2: epochs was already given in line 1"
    )
    assert error("epochs = 3\n\n  what is this").startswith("test.ini, line 3: 'what is this'")
    assert error("[training\nepochs = 3").startswith("test.ini, line 1")
    assert error("残差结构，即resblock_updown=False时").startswith("test.ini, line 1")


def test_a_text_that_no_comment_opened_is_not_swallowed():
    assert "line 2" in error("save_path = /mnt/a\n   and b")
    assert "line 4" in error("x = 1 # one\n  and more of it\n\n  lost")


def test_files(tmp_path):
    path = tmp_path / "a.ini"
    path.write_bytes("\ufeffepochs = 3 # 中文".encode())
    assert read_file(path) == "epochs = 3 # 中文"
    path.write_bytes("# 中文".encode("gbk"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_file(path)
    path.write_bytes(b"#" * (LARGEST_FILE + 1))
    with pytest.raises(InputError, match="100,000 bytes"):
        read_file(path)
    for missing in (tmp_path / "none.ini", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(InputError, match="cannot be read"):
            read_file(missing)
    assert "100,000 characters" in error("#" * (LARGEST_FILE + 1))


@given(st.text(st.characters(exclude_characters="\r\n"), max_size=80))
def test_every_text_on_one_line_comes_back(text):
    assert read(f"x = {spell(text)}  # a comment, x = 1") == {"x": text}


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.none() | st.booleans() | numbers | st.lists(numbers, max_size=5))
def test_every_value_comes_back(value):
    assert read(f"x = {spell(value)}  # a comment") == {"x": value}


punctuation = st.text("[]()（）【】\"'“”# ＃=＝,、\n\tabNone12.e-", max_size=60)
latin = st.binary(max_size=200).map(lambda data: data.decode("latin-1"))


@given(st.text(max_size=200) | latin | punctuation)
def test_any_text_is_read_or_refused_in_one_line(text):
    try:
        read_entries(text, "test.ini")
    except InputError as refused:
        assert len(str(refused)) <= LONGEST_MESSAGE and "\n" not in str(refused)


def test_no_two_threads_build_a_syntax_tree_at_once(monkeypatch):
    """Python 3.11 fails with a SystemError now and then where they do."""
    genuine, inside, most = ast.literal_eval, [], []

    def literal_eval(text):
        inside.append(text)
        most.append(len(inside))
        time.sleep(0.005)
        inside.remove(text)
        return genuine(text)

    monkeypatch.setattr(ast, "literal_eval", literal_eval)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(parse_value, map(str, range(12)))) == list(range(12))
    assert len(most) == 12 and max(most) == 1
