"""Names of files: which are equal, and under which paths files of equal names are packed."""

from pathlib import Path

import pytest

from sd.data.reading.names import comparison_key, name_before_numbering, pack_names
from tests.helpers.sets import folder


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("caf\u00e9.png", "cafe\u0301.png", True),
        ("IMG.JPG", "img.jpg", True),
        ("\u00c9T\u00c9", "e\u0301te\u0301", True),
        ("a.png", "b.png", False),
        ("cafe.png", "caf\u00e9.png", False),
    ],
)
def test_names_that_look_equal_are_equal(one: str, other: str, same: bool) -> None:
    assert (comparison_key(one) == comparison_key(other)) is same


def packed_names(tmp_path: Path, *named: tuple[str, str]) -> list[str]:
    """The paths under which files are packed, each given as its name and its content."""
    root = folder(tmp_path, {str(n): content for n, (_, content) in enumerate(named)})
    files = [root / str(n) for n in range(len(named))]
    found = pack_names(files, [name for name, _ in named])
    assert all(path in files for path in found.values())
    return list(found)


@pytest.mark.parametrize(
    ("named", "names"),
    [
        ([("1.png", "a"), ("1.txt", "b"), ("2.png", "a")], ["1.png", "1.txt", "2.png"]),
        ([("1.png", "a"), ("1.png", "a"), ("1.txt", "b")], ["1.png", "1.txt"]),
        (
            [("1.png", "a"), ("1.png", "b"), ("1.txt", "c"), ("2.png", "d")],
            ["2.png", "1 (1 of 3).png", "1 (2 of 3).png", "1 (3 of 3).txt"],
        ),
        (
            [("1.png", "a"), ("1.txt", "b"), ("1.txt", "c")],
            ["1 (1 of 3).png", "1 (2 of 3).txt", "1 (3 of 3).txt"],
        ),
        ([("1.PNG", "a"), ("1.png", "b")], ["1 (1 of 2).PNG", "1 (2 of 2).png"]),
        (
            [("1.jpg", "a"), ("1.png", "b"), ("1.txt", "c")],
            ["1 (1 of 3).jpg", "1 (2 of 3).png", "1 (3 of 3).txt"],
        ),
        ([("x/1.jpg", "a"), ("x/1.png", "b"), ("x/1.txt", "c")], ["x/1.jpg", "x/1.png", "x/1.txt"]),
        ([("1.png", "a"), ("1.npz", "b"), ("1.txt", "c")], ["1.png", "1.npz", "1.txt"]),
        (
            [("1 (1 of 2).png", "z"), ("1.png", "a"), ("1.png", "b")],
            ["1 (1 of 2).png", "1 (1 of 2)+.png", "1 (2 of 2).png"],
        ),
        ([("a/1.png", "a"), ("b/1.png", "b")], ["a/1.png", "b/1.png"]),
        (
            [("../../1.png", "a"), ("/etc/2.png", "b"), ("C:\\x\\3.png", "c")],
            ["1.png", "etc/2.png", "x/3.png"],
        ),
        (
            [(".DS_Store", "a"), ("..", "b"), ("cafe\u0301.png", "c")],
            [".DS_Store", "file", "caf\u00e9.png"],
        ),
    ],
)
def test_files_are_packed_so_that_no_caption_is_tied_to_the_wrong_picture(
    named: list[tuple[str, str]], names: list[str], tmp_path: Path
) -> None:
    assert packed_names(tmp_path, *named) == names


def test_a_numbered_name_is_known() -> None:
    assert (
        name_before_numbering("x/1 (2 of 3).png") == "x/1.png"
        and name_before_numbering("1 (2).png") is None
    )


def test_many_files_of_one_name_are_packed_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    count = 100_000
    assert list(pack_names([tmp_path / "a"] * count, ["1.png"] * count)) == ["1.png"]
