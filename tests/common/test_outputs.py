"""Results never destroy: free names in folders, named files only on request, inputs never."""

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.common import outputs
from sd.common.outputs import (
    Output,
    check_apart,
    check_free,
    make_place,
    output_of,
    write_free,
    write_named,
)
from sd.common.validation import InputError
from sd.config import Config
from sd.generation.player import one_file
from tests.checkpoints.test_checkpoint import network_of
from tests.helpers.commands import Capture, files_below, refused, said

FORMS = (".png", ".gif")


@pytest.fixture
def model(home: Path, tiny_config: Config) -> Path:
    network = network_of(tiny_config)
    return save_checkpoint(Model(network, tiny_config), home / "little" / "checkpoint-7", {})


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("x.png", ".png"),
        ("x.PNG", ".png"),
        ("a.b/x.Gif", ".gif"),
        ("new", ""),
        ("new.with.dot/", ""),
        ("new.png/", ""),
        ("there.with.dot", ""),
        ("there.with.dot/", ""),
        (".hidden", ""),
    ],
)
def test_what_an_output_s_name_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.with.dot").mkdir()
    assert output_of("--out", name, FORMS) == Output(Path(name), form)


@pytest.mark.parametrize("name", ["x.bmp", "new.with.dot", ".png", ".GIF", "file", "file/", ""])
def test_what_names_no_output_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(InputError, match="--out = "):
        output_of("--out", name, FORMS)


def spellings(folder: Path) -> list[Path]:
    """Return ways to name `folder`/photo.png: its own, others', and links to it."""
    photo = folder / "photo.png"
    Image.new("L", (8, 8), 90).save(photo)
    os.symlink(photo, folder / "link.png")
    os.link(photo, folder / "hard.png")
    os.symlink(folder, folder / "around")
    return [
        photo,
        folder / ".." / folder.name / "photo.png",
        Path(os.path.relpath(photo)),
        folder / "link.png",
        folder / "hard.png",
        folder / "around" / "photo.png",
    ]


@pytest.mark.parametrize("overwrite", [False, True])
def test_no_spelling_of_an_input_is_written_to(tmp_path: Path, overwrite: bool) -> None:
    for name in spellings(tmp_path):
        for read in (tmp_path / "photo.png", tmp_path):
            with pytest.raises(InputError, match="is what is read here"):
                check_free("--out", Output(name, ".png"), [read], overwrite)
    check_free("--out", Output(tmp_path / "new.png", ".png"), [tmp_path], overwrite)
    check_free("--out", Output(tmp_path), [tmp_path], overwrite)


def test_what_is_there_is_replaced_only_where_that_is_asked(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    os.symlink(tmp_path / "nowhere", tmp_path / "dangling.png")
    for name in ("x.png", "dangling.png"):
        out = Output(tmp_path / name, ".png")
        with pytest.raises(InputError, match="is there already; another name, or --overwrite"):
            check_free("--out", out, [], False)
        check_free("--out", out, [], True)
    with pytest.raises(InputError, match=r"--out and --attention: both are new\.png"):
        new, same = tmp_path / "new.png", tmp_path / "." / "new.png"
        check_apart("--out", Output(new, ".png"), "--attention", Output(same, ".png"))


def full_disk(file: Path) -> None:
    file.write_bytes(b"half of it")
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("write", [write_named, write_free])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, write: Any) -> None:
    (tmp_path / "x.png").write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "x.png", full_disk)
    assert files_below(tmp_path) == {"x.png"} and (tmp_path / "x.png").read_bytes() == b"old"


@pytest.mark.parametrize("write", [write_named, write_free])
def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path, write: Any) -> None:
    with pytest.raises(OSError, match="No space left") as error:
        write(tmp_path / "x.png", full_disk)
    assert error.value.filename == str(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError) as gone:
        write(tmp_path / "no" / "x.png", lambda file: file.write_bytes(b"x"))
    assert gone.value.filename == str(tmp_path / "no" / "x.png")


@pytest.mark.parametrize(("name", "form"), [("file/x.png", ".png"), ("file/new", "")])
def test_where_nothing_can_be_written_is_told_before_anything_is_made(
    tmp_path: Path, name: str, form: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"nothing can be written there \("):
        make_place(Output(tmp_path / name, form))
    make_place(Output(tmp_path / "a" / "x.png", ".png"))
    assert list((tmp_path / "a").iterdir()) == []


def test_a_file_is_on_the_disk_before_it_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.png").write_bytes(b"old")
    seen: list[bytes] = []

    def fill(file: Path) -> None:
        file.write_bytes(b"new")

    def flush(file: Path) -> None:
        seen.extend((file.read_bytes(), (tmp_path / "x.png").read_bytes()))

    monkeypatch.setattr(outputs, "flush", flush)
    write_named(tmp_path / "x.png", fill)
    assert seen == [b"new", b"old"] and (tmp_path / "x.png").read_bytes() == b"new"


def test_names_in_a_folder_are_free(tmp_path: Path) -> None:
    def fill(file: Path) -> None:
        file.write_text(str(len(files_below(tmp_path))))

    made = [write_free(tmp_path / "seed-00007.png", fill).name for _ in range(3)]
    assert made == ["seed-00007.png", "seed-00007-2.png", "seed-00007-3.png"]
    (tmp_path / "seed-00007-2.png").unlink()
    assert write_free(tmp_path / "seed-00007.png", fill).name == "seed-00007-2.png"


# the commands


def test_sample_replaces_nothing_unasked(capsys: Capture, model: Path, tmp_path: Path) -> None:
    words = ["sample", model, "--count", 1, "--steps", 2, "--seed", 7, "--out"]
    for _ in range(2):
        said(capsys, *words, f"{tmp_path}/new.dir/", "--keep-steps")
    found = {"seed-00007.png", "seed-00007-2.png"}
    found |= {f"step-000{k}{again}.png" for k in (1, 2) for again in ("", "-2")}
    assert files_below(tmp_path / "new.dir") == found
    for name in ("x.PNG", "x.GIF", "x.npz", "x.Mp4", "x.html"):
        said(capsys, *words, tmp_path / name)
        before = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"mine")
        assert "is there already" in refused(capsys, *words, tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"mine"
        said(capsys, *words, tmp_path / name, "--overwrite")
        assert len((tmp_path / name).read_bytes()) == len(before)
    with Image.open(tmp_path / "x.PNG") as sheet, Image.open(tmp_path / "x.GIF") as film:
        assert (sheet.format, film.format) == ("PNG", "GIF")


@pytest.mark.parametrize("flag", ["--out", "--attention"])
@pytest.mark.parametrize("of", ["--from", "--mask", "--recipe", "MODEL", "DATA"])
def test_sample_never_writes_over_what_it_reads(
    capsys: Capture, model: Path, tmp_path: Path, flag: str, of: str
) -> None:
    photo, link = tmp_path / "photo.png", tmp_path / "link.png"
    Image.new("L", (8, 8), 90).save(photo)
    os.symlink(photo, link)
    (model / "x.png").write_bytes(photo.read_bytes())
    words: dict[str, list[Any]] = {
        "--from": [model, "--from", photo, "--t", 9],
        "--mask": [model, "--from", model / "x.png", "--t", 9, "--mask", photo],
        "--recipe": ["--recipe", photo],
        "MODEL": [model],
        "DATA": [f"ideal:{tmp_path}"],
    }
    out = model / "x.png" if of == "MODEL" else link
    before = {path: path.read_bytes() for path in (photo, model / "x.png")}
    line = refused(capsys, "sample", *words[of], flag, out, "--overwrite")
    assert f"{flag}: {out.name} is what is read here" in line
    assert before == {path: path.read_bytes() for path in before} and link.is_symlink()


def test_noise_never_writes_over_its_picture_and_takes_a_free_name(
    capsys: Capture, tmp_path: Path, tiny_ini: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in spellings(tmp_path):
        words = ["noise", "photo.png", "--t", 5, "--config", tiny_ini, "--out", name]
        assert "is what is read here" in refused(capsys, *words, "--overwrite")
    plain = ["noise", "photo.png", "--t", 5, "--config", tiny_ini]
    names = [said(capsys, *plain).splitlines()[-1] for _ in range(2)]
    assert names == ["written: noise.png", "written: noise-2.png"]
    assert "is there already" in refused(capsys, *plain, "--out", "noise.png")
    said(capsys, *plain, "--out", "noise.png", "--overwrite")
    said(capsys, *plain, "--out", "n.PNG")
    said(capsys, *plain, "--out", "new.png/")
    assert (tmp_path / "n.PNG").is_file() and files_below(tmp_path / "new.png") == {"noise.png"}


def test_a_film_that_cannot_be_finished_leaves_the_old_one(
    capsys: Capture, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.html").write_text("old")
    monkeypatch.setattr(one_file, "write_html", lambda films, file, *more: full_disk(file))
    words = ["--count", 1, "--steps", 2, "--out", tmp_path / "x.html", "--overwrite"]
    assert "No space left on device" in refused(capsys, "sample", model, *words)
    assert (tmp_path / "x.html").read_text() == "old" and files_below(tmp_path) & {"x.html"}
