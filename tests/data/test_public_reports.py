"""Picture sets as people report them: each right from a folder, a zip and both ways of the page.

One row a kind of report; the sets are made here. What the plan is told is asked as well.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sd.common.text import printable
from sd.common.validation import InputError
from sd.data.image_set import read_images
from sd.data.reading.encodings import OF_NAMES, OF_TEXTS, UNMARKED, guess
from sd.data.reading.matching import Match, Places
from sd.data.reading.metadata import METADATA
from sd.data.reading.report import Report
from sd.data.reading.source import open_source
from sd.data.reading.tables import read_table
from sd.ui import uploads
from tests.helpers.planning import dropped
from tests.helpers.sets import folder, picture, zipped

RED, BLUE, GREEN = "a red cat", "a blue dog", "a green bird"
LONG = "00012-1234567-" + "a photo of a small red cat, best quality, " * 5
ACUTE, ACCENT = "\u00e9", "e\u0301"  # composed, and as a Mac writes it


@dataclass
class Case:
    """A set, and what is right for it."""

    files: dict[str, str | bytes]  # beside the pictures
    captions: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    pictures: tuple[str, ...] = ("p0.png", "p1.png")
    told: tuple[str, ...] = ()  # words of its remarks, each in one of them
    left_out: tuple[str, ...] = ()
    loose: dict[str, str] | None = None  # captions where the folders are lost


def table(text: str | bytes, **more: Any) -> Case:
    return Case({"metadata.csv": text}, {"p0.png": RED, "p1.png": BLUE}, **more)


def lines(*records: dict[str, Any], name: str = "metadata.jsonl", **more: Any) -> Case:
    text = "\n".join(map(json.dumps, records))
    captions = more.pop("captions", {"p0.png": RED, "p1.png": BLUE})
    return Case({name: text}, captions, **more)


def both(key: str, file: str = "file_name", **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {file: "p0.png", key: RED, **more}, {file: "p1.png", key: BLUE, **more}


TWO = {"p0.png": RED, "p1.png": BLUE}
CASES = {
    # captions beside the pictures
    ".caption": Case({"p0.caption": RED, "p1.caption": BLUE}, TWO),
    "capital suffixes": Case(
        {"IMG_0.TXT": RED, "img_1.txt": BLUE, "IMG_2.Caption": GREEN},
        {"IMG_0.PNG": RED, "IMG_1.PNG": BLUE, "IMG_2.PNG": GREEN},
        pictures=("IMG_0.PNG", "IMG_1.PNG", "IMG_2.PNG"),
    ),
    "after the whole name": Case({"p0.png.txt": RED, "p1.png.caption": BLUE}, TWO),
    ".txt before .caption": Case(
        {"p0.txt": RED, "p0.caption": GREEN, "p1.txt": BLUE},
        TWO,
        told=("not used: 1 caption file of pictures with another caption",),
    ),
    "a table before .txt": Case(
        {"metadata.csv": f"file_name,text\np0.png,{RED}\n", "p0.txt": GREEN, "p1.txt": BLUE},
        TWO,
        told=("not used: 1 caption file of",),
    ),
    "boxes": Case(
        {"p0.txt": "0 0.5 0.5 0.25 0.25\n1 0.1 0.2 0.3 0.4\n", "p1.txt": BLUE},
        {"p1.png": BLUE},
        told=("1 text file of numbers alone",),
    ),
    # columns
    "caption": lines(*both("caption")),
    "prompt": lines(*both("prompt")),
    "tags": lines(*both("tags", "filename")),
    "image and Text": lines(*both("Text", "image")),
    "lists": lines(
        {"file_name": "p0.png", "captions": [RED, GREEN]},
        {"file_name": "p1.png", "captions": [BLUE]},
        told=("all but the first caption of 2 lists",),
    ),
    "text before caption": lines(
        *both("text", caption=GREEN, width=8),
        told=("not used: of metadata.jsonl caption, width",),
    ),
    "class": Case(
        {"metadata.csv": "image,class\np0.png,cat\np1.png,dog\n"},
        labels={"p0.png": "cat", "p1.png": "dog"},
    ),
    # separators, quotes, ends of lines
    "caption column": table(f"file_name,caption\np0.png,{RED}\np1.png,{BLUE}\n"),
    "capital header": table(f"File_Name,Text\np0.png,{RED}\np1.png,{BLUE}\n"),
    "padded header": table(f" file name , TEXT \np0.png,{RED}\np1.png,{BLUE}\n"),
    "space after comma": table(f"file_name, text\np0.png, {RED}\np1.png, {BLUE}\n"),
    "space, quoted": Case(
        {"metadata.csv": 'file_name, text\np0.png, "a red cat, sitting"\np1.png, "a blue dog" \n'},
        {"p0.png": "a red cat, sitting", "p1.png": BLUE},
    ),
    "escaped quote": Case(
        {"metadata.csv": 'file_name,text\np0.png,"a 12\\" ruler, red"\np1.png,"say ""hi"""\n'},
        {"p0.png": 'a 12" ruler, red', "p1.png": 'say "hi"'},
    ),
    "tab": table(f"file_name\ttext\np0.png\t{RED}\np1.png\t{BLUE}\n"),
    "semicolon": table(f"file_name;text\np0.png;{RED}\np1.png;{BLUE}\n"),
    "sep=,": table(f"sep=,\nfile_name,text\np0.png,{RED}\np1.png,{BLUE}\n"),
    "sep=;": table(f"sep=;\r\nfile_name;text\r\np0.png;{RED}\r\np1.png;{BLUE}\r\n"),
    "only CR": table(f"file_name,text\rp0.png,{RED}\rp1.png,{BLUE}\r"),
    "comma at the end": table(f"file_name,text,\np0.png,{RED},\np1.png,{BLUE},\n"),
    "comma in the rows": table(f"file_name,text\np0.png,{RED},\np1.png,{BLUE},\n"),
    "UTF-16": table(f"file_name,text\np0.png,{RED}\np1.png,{BLUE}\n".encode("utf-16")),
    "UTF-8 with a mark": table(f"\ufefffile_name,text\np0.png,{RED}\np1.png,{BLUE}\n"),
    "quotes in tabs": Case(
        {"metadata.csv": f'file_name\ttext\np0.png\t"a" cat\np1.png\t{BLUE}\n'},
        {"p0.png": '"a" cat', "p1.png": BLUE},
    ),
    "numbered rows": table(f",file_name,text\n0,p0.png,{RED}\n1,p1.png,{BLUE}\n"),
    "UTF-16 without a mark": table(
        f"file_name,text\np0.png,{RED}\np1.png,{BLUE}\n".encode("utf-16-be"),
        told=("guessed: 1 text file in UTF-16",),
    ),
    ".tsv": Case({"metadata.tsv": f"file_name\ttext\np0.png\t{RED}\np1.png\t{BLUE}\n"}, TWO),
    # labels
    "labels 0.0": Case(
        {"metadata.csv": "file_name,label\np0.png,0.0\np1.png,1.0\n"},
        labels={"p0.png": "0", "p1.png": "1"},
    ),
    "labels 0.0, NaN": Case(
        {
            "metadata.jsonl": '{"file_name": "p0.png", "label": 0.0, "text": "a"}\n'
            '{"file_name": "p1.png", "label": 1.0, "text": NaN}\n'
        },
        {"p0.png": "a"},
        {"p0.png": "0", "p1.png": "1"},
    ),
    # forms of JSON
    "lines in .json": lines(*both("text"), name="metadata.json"),
    "list": Case({"metadata.json": json.dumps(both("text"))}, TWO),
    "list in .jsonl": Case({"metadata.jsonl": json.dumps(both("text"), indent=1)}, TWO),
    "kohya's": Case(
        {
            "metadata.json": json.dumps(
                {
                    "/home/me/set/p0.png": {"caption": RED, "train_resolution": [8, 8]},
                    "p1": {"tags": BLUE},
                }
            )
        },
        TWO,
        told=("not used: of metadata.json train_resolution",),
    ),
    "captions by file": Case({"metadata.json": json.dumps({"p0.png": RED, "p1.png": BLUE})}, TWO),
    "another metadata.json": Case(
        {"metadata.json": '{"title": "cats", "version": 3}', "p0.txt": RED, "p1.txt": BLUE},
        TWO,
        left_out=("metadata.json",),
    ),
    # files by other names
    "no suffix": table(f"file_name,text\np0,{RED}\np1,{BLUE}\n"),
    "case of the name": table(f"file_name,text\nP0.PNG,{RED}\nP1.PNG,{BLUE}\n"),
    "prefix": Case(
        {
            "train/metadata.jsonl": "\n".join(
                json.dumps(each)
                for each in (
                    {"file_name": "train/p0.png", "text": RED},
                    {"file_name": "C:\\data\\set\\train\\p1.png", "text": BLUE},
                )
            )
        },
        {"train/p0.png": RED, "train/p1.png": BLUE},
        pictures=("train/p0.png", "train/p1.png", "val/p2.png"),
        loose=TWO,
    ),
    "only a name": Case(
        {"metadata.csv": f"file_name,text\np0.png,{RED}\np1.png,{BLUE}\np2.png,{GREEN}\n"},
        {"a/p0.png": RED},
        {"a/p0.png": "a", "a/p1.png": "a", "b/p1.png": "b"},
        pictures=("a/p0.png", "a/p1.png", "b/p1.png"),
        told=("2 rows name no picture of this set, first 'p1.png' in line 3",),
        loose={"p0.png": RED},
    ),
    "of another folder": Case(
        {"metadata.csv": f"file_name,text\ndogs/p0.png,{RED}\ncats/p1.png,{BLUE}\n"},
        {"cats/p1.png": BLUE},
        {"cats/p0.png": "cats", "cats/p1.png": "cats", "birds/p2.png": "birds"},
        pictures=("cats/p0.png", "cats/p1.png", "birds/p2.png"),
        told=("1 rows name no picture of this set, first 'dogs/p0.png' in line 2",),
        loose={"p0.png": RED, "p1.png": BLUE},
    ),
    "two rows for one": Case(
        {"metadata.csv": f"file_name,text\nx/p0.png,{RED}\ny/p0.png,{BLUE}\np1.png,{BLUE}\n"},
        {"p1.png": BLUE},
        told=("of 1 pictures several rows tell; none is used",),
    ),
    # names that look equal
    "composed": Case(
        {"metadata.csv": f"file_name,text\ncaf{ACUTE}.png,{RED}\n", f"na{ACUTE}.txt": BLUE},
        {f"caf{ACUTE}.png": RED, f"na{ACUTE}.png": BLUE},
        pictures=(f"caf{ACCENT}.png", f"na{ACCENT}.png"),
    ),
    "odd spaces": Case(
        {"metadata.csv": f"file_name,text\nat 1.00 PM.png,{RED}\n", "at 2.00\u202fPM.txt": BLUE},
        {"at 1.00 PM.png": RED, "at 2.00 PM.png": BLUE},
        pictures=("at 1.00\u202fPM.png", "at 2.00 PM.png"),
    ),
    "composed classes": Case(
        {},
        labels={f"{ACUTE}t/p0.png": f"{ACUTE}t", f"{ACUTE}t/p1.png": f"{ACUTE}t", "h/p2.png": "h"},
        pictures=(f"{ACUTE}t/p0.png", f"{ACCENT}t/p1.png", "h/p2.png"),
    ),
    # encodings
    "encodings": Case(
        {
            "p0.txt": "一只红色的猫",
            "p1.txt": "一只蓝色的狗".encode("gb18030"),
            "p2.txt": GREEN.encode("utf-16"),
        },
        {"p0.png": "一只红色的猫", "p1.png": "一只蓝色的狗", "p2.png": GREEN},
        pictures=("p0.png", "p1.png", "p2.png"),
        told=("guessed: 1 text file in GB18030",),
    ),
    "one guess for all": Case(
        {"p0.txt": "赤い猫です".encode("cp932"), "p1.txt": "猫".encode("cp932")},
        {"p0.png": "赤い猫です", "p1.png": "猫"},
        told=("guessed: 2 text files in Shift-JIS",),
    ),
    "table in Windows-1252": Case(
        {"metadata.csv": "file_name,text\np0.png,a café\np1.png,crème brûlée\n".encode("cp1252")},
        {"p0.png": "a café", "p1.png": "crème brûlée"},
        told=("guessed: 1 text file in Windows-1252",),
    ),
    "in Thai": Case(
        {"p0.txt": "แมวสีแดง".encode("cp874"), "p1.txt": "สุนัขสีน้ำเงิน".encode("cp874")},
        {"p0.png": "แมวสีแดง", "p1.png": "สุนัขสีน้ำเงิน"},
        told=("guessed: 2 text files in Windows-874",),
    ),
    "RTF": Case(
        {"p0.txt": "{\\rtf1\\ansi a red cat}", "p1.txt": BLUE},
        {"p1.png": BLUE},
        left_out=("p0.txt",),
    ),
    # clutter and stray files
    "a Mac's": Case(
        {
            ".DS_Store": b"\0",
            "._p0.png": b"\0",
            "._p0.txt": b"\0",
            "__MACOSX/._p1.png": b"\0",
            "p0.txt": RED,
            "p1.txt": BLUE,
        },
        TWO,
    ),
    "stray files": Case(
        {"_annotations.coco.json": '{"images": [], "annotations": []}', "notes.docx": b"PK\3\4"},
        labels={"cat/p0.png": "cat", "dog/p1.png": "dog"},
        pictures=("cat/p0.png", "dog/p1.png"),
        told=("not used: files .json (1)",),
        left_out=("notes.docx",),
    ),
    "what programs leave": Case(
        {"p0.xmp": "<x/>", "p1.aae": "<x/>", "p1.docx": b"PK\3\4", "captions.txt": "p0.png: a cat"},
        left_out=("captions.txt", "p1.docx"),
        told=("not used: files .aae (1), .xmp (1)",),
    ),
    "tables of other names": Case(
        {"captions.json": '{"p0.png": "a"}', "metadata.csv.txt": "file_name,text\n", "a.txt": "b"},
        left_out=("a.txt", "captions.json", "metadata.csv.txt"),
    ),
    "a stray class": Case(
        {"old/film.mp4": b"x" * 99, "broken.png": b"x", "train-0.parquet": b"PAR1", "x.csv": "a,b"},
        labels={"cat/p0.png": "cat", "dog/p1.png": "dog"},
        pictures=("cat/p0.png", "dog/p1.png"),
        left_out=("broken.png", "old/film.mp4", "train-0.parquet", "x.csv"),
    ),
    # long, odd and repeated names
    "no suffix at all": Case(
        {"p0.txt": RED, "1.txt": BLUE}, {"p0": RED, "1": BLUE}, pictures=("p0", "1")
    ),
    "joined letters": Case(
        {"\u06af\u200c\u0647/p0.txt": RED},
        {"\u06af\u200c\u0647/p0.png": RED},
        {"\u06af\u200c\u0647/p0.png": "\u06af\u200c\u0647", "s/p1.png": "s"},
        pictures=("\u06af\u200c\u0647/p0.png", "s/p1.png"),
        loose={"p0.png": RED},
    ),
    "long names": Case(
        {f"{LONG}-{n}.txt": f"number {n}" for n in range(3)},
        {f"{LONG}-{n}.{kind}": f"number {n}" for n, kind in enumerate(("png", "webp", "jpeg"))},
        pictures=tuple(f"{LONG}-{n}.{kind}" for n, kind in enumerate(("png", "webp", "jpeg"))),
    ),
    "odd characters": Case(
        {
            "what!.txt": "a question",
            "price $5.txt": "a price",
            "a{b}.txt": "braces",
            "metadata.csv": f"file_name,text\nwhat!.png,{RED}\nprice $5.png,{BLUE}\n",
        },
        {"what!.png": RED, "price $5.png": BLUE, "a{b}.png": "braces"},
        pictures=("what.png", "what!.png", "price $5.png", "a{b}.png"),
        told=("2 caption files of pictures with another caption",),
    ),
    "same names": Case(
        {"apples/1.txt": "an apple", "cherries/1.txt": "a cherry"},
        {"apples/1.png": "an apple", "cherries/1.png": "a cherry"},
        {name: name.split("/")[0] for name in ("apples/1.png", "bananas/1.png", "cherries/1.png")},
        pictures=("apples/1.png", "bananas/1.png", "cherries/1.png"),
        loose={},
    ),
}


def source_of(way: str, case: Case, place: Path) -> Path | str:
    """Return the set as somebody gives it."""
    suffixes = {".jpeg": "JPEG", ".webp": "WEBP"}
    shown = {
        name: picture(20 * n, form=suffixes.get(Path(name).suffix, "PNG"))
        for n, name in enumerate(case.pictures, start=1)
    }
    files = {**shown, **case.files}
    if way == "folder":
        return folder(place / "set", files)
    if way == "zip":
        return zipped(place / "set.zip", files)
    data = {
        name: text if isinstance(text, bytes) else text.encode() for name, text in files.items()
    }
    top = "set/" if way == "page's folder" else ""
    named = [(top + name if top else Path(name).name, text) for name, text in data.items()]
    handle, report = uploads.inspect(dropped(place / "sent", *named))
    source = uploads.source_of(handle)
    assert report == read_images(source).report
    return source


@pytest.mark.parametrize("way", ["folder", "zip", "page's folder", "page's files"])
@pytest.mark.parametrize("name", CASES)
def test_a_set_is_read_right_whichever_way_it_comes(
    name: str, way: str, home: Path, tmp_path: Path
) -> None:
    case = CASES[name]
    source = source_of(way, case, tmp_path)
    images = read_images(source)
    loose = way == "page's files" and any("/" in each for each in case.pictures)
    captions = case.captions if not loose else case.loose or {}
    found = dict(zip(images.names, images.captions or ("",) * len(images.names), strict=True))
    assert {name: caption for name, caption in found.items() if caption} == captions
    assert images.report.used == len(case.pictures)
    labels = {} if loose else case.labels
    numbers = [] if images.labels is None else images.labels.tolist()
    told = zip(images.names, (images.label_names[n] for n in numbers), strict=bool(numbers))
    assert dict(told) == labels
    with open_source(source) as reading:
        assert reading.counts() == (images.report.used, len(captions), len(set(labels.values())))
    if not loose:
        check_told(case, images.report)


def check_told(case: Case, report: Report) -> None:
    """Nothing is told but what the case wants, each in one line."""
    for words in case.told:
        assert len([line for line in report.remarks if words in line]) == 1, report.remarks
    assert len(report.remarks) == len(case.told)
    assert tuple(sorted(left.name for left in report.left_out)) == tuple(sorted(case.left_out))
    assert all(len(line) <= 300 for line in report.lines())


def test_files_of_equal_names_say_why_no_caption_is_used(home: Path, tmp_path: Path) -> None:
    report = read_images(source_of("page's files", CASES["same names"], tmp_path)).report
    assert report.remarks == (
        "names that several files have: 1; no caption of theirs is used, since nobody can tell "
        "which is whose (choose their folder, or a zip)",
    )
    assert {left.reason for left in report.left_out} == {"several files have its name"}


@pytest.mark.parametrize("way", ["folder", "zip", "page's folder", "page's files"])
def test_archives_among_the_files_are_told_alike(way: str, home: Path, tmp_path: Path) -> None:
    case = Case({"a.zip": b"PK\3\4", "b.tar.gz": b"\x1f\x8b"}, pictures=("p0.png",))
    report = read_images(source_of(way, case, tmp_path)).report
    assert {left.reason for left in report.left_out} == {"an archive: unpack it first"}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_caption_is_of_the_picture_of_its_very_name_first(kind: str, tmp_path: Path) -> None:
    files = {
        "A.png": picture(1),
        "a.png": picture(2),
        "a.txt": RED,
        "B.txt": BLUE,
        "b.png": picture(),
    }
    source = folder(tmp_path, files) if kind == "folder" else zipped(tmp_path / "x.zip", files)
    images = read_images(source)
    assert dict(zip(images.names, images.captions or (), strict=True)) == {
        "A.png": "",
        "a.png": RED,
        "b.png": BLUE,
    }


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_name_that_appears_twice_takes_no_caption(kind: str, tmp_path: Path) -> None:
    files = {f"{ACUTE}.png": picture(1), f"{ACCENT}.png": picture(2), f"{ACCENT}.txt": RED}
    source = folder(tmp_path, files) if kind == "folder" else zipped(tmp_path / "x.zip", files)
    images = read_images(source)
    assert images.names == (f"{ACUTE}.png",) and images.captions is None
    assert images.report.remarks[0].startswith("names that several files have: 1; no caption")
    assert images.report.left_out == ((f"{ACUTE}.png", "its name appears twice"),)


def test_classes_are_asked_for_by_names_that_look_equal(tmp_path: Path) -> None:
    source = source_of("zip", CASES["composed classes"], tmp_path)
    assert read_images(source, classes=[f"{ACCENT}t"]).names == (
        f"{ACUTE}t/p0.png",
        f"{ACUTE}t/p1.png",
    )


TEXTS = st.text(st.sampled_from('file_name,text;\t"\\\n{}[]:p0. sep=1'), max_size=80)


@given(st.sampled_from(METADATA), st.one_of(TEXTS, TEXTS.map("file_name,text\n{}".format)))
@settings(max_examples=400, deadline=None)
def test_any_table_is_read_or_refused_in_one_line(name: str, content: str) -> None:
    try:
        rows = read_table(name, content).rows
    except InputError as error:
        assert "\n" not in str(error)
    else:
        places = Places(["p0.png", "t/p0.png", "t/p1.jpg", ".png"])
        for row in rows:
            found = places.find(row.file, "t")
            assert found is None or found.name in ("p0.png", "t/p0.png", "t/p1.jpg", ".png")


def test_a_name_that_two_pictures_have_in_common_means_neither() -> None:
    places = Places(["Cat.png", "cat.PNG", "a/dog.png", "b/dog.png", "hen.png"])
    assert places.find("CAT.png", "") is None and places.find("dog", "") is None
    assert places.find("HEN.png", "") == Match("hen.png", 2)


def test_however_deep_a_row_s_path_is_its_end_is_looked_at_alone() -> None:
    places = Places(["p0.png", "a/p1.png"])
    found = places.find("x/" * 10_000 + "p0.png", "")
    assert found is not None and found.name == "p0.png"
    assert places.find("x/" * 10_000 + "p1.png", "") is None


@given(st.lists(st.binary(max_size=30), max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_guessed_or_not(data: list[bytes]) -> None:
    for encodings in (OF_TEXTS, OF_NAMES):
        assert guess(data, encodings) in (None, *encodings, *UNMARKED)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\u06af\u200c\u0647", "\u06af\u200c\u0647"),
        ("\U0001f469\u200d\U0001f467", "\U0001f469\u200d\U0001f467"),
        ("a\u200db", "a\ufffdb"),
        ("\u06af\u200c\u200c", "\u06af\u200c\ufffd"),
        ("\u202egpj.a", "\ufffdgpj.a"),
    ],
)
def test_a_name_keeps_what_joins_letters_and_nothing_else_unseen(name: str, shown: str) -> None:
    assert printable(name) == shown
