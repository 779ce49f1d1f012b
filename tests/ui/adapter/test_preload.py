"""What gradio will ask for is told with the page; of another gradio nothing is told."""

from pathlib import Path

import gradio as gr
import pytest

from sd.ui.adapter import preload

KINDS = ("html", "tabs", "button")


def test_the_files_of_this_gradio_are_found() -> None:
    names = list(preload.list_files(preload.FRONTEND, KINDS))
    assert all((preload.FRONTEND / "assets" / name).is_file() for name in names)
    for start in ("index-", "Index-", "core-", "Blocks-", "HTML-"):
        assert any(name.startswith(start) for name in names), start
    alone = [set(preload.list_files(preload.FRONTEND, [kind])) for kind in KINDS]
    assert set.union(*alone) == set(names) and len(set.intersection(*alone)) < len(names)


def test_a_page_tells_of_what_is_seen_of_it_and_once_of_each() -> None:
    with gr.Blocks() as seen:
        gr.HTML()
    with gr.Blocks() as both:
        gr.HTML()
        gr.Gallery(visible=False)
    tags = preload.preload_tags(seen).decode()
    assert tags == preload.preload_tags(both).decode()
    links = tags.split(">")[:-1]
    assert len(set(links)) == len(links) > 20
    assert all("crossorigin" in link for link in links)  # as gradio asks, else they come twice


@pytest.mark.parametrize("gone", ["index.html", "index-*.js", "Index-*.js", "core-*.js"])
def test_of_another_gradio_nothing_is_told(gone: str, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    for name in ["index.html", *(f"assets/{each}" for each in first_files())]:
        if not Path(name).match(gone):
            (tmp_path / name).write_bytes((preload.FRONTEND / name).read_bytes())
    whole = list(preload.list_files(preload.FRONTEND, KINDS))
    assert len(list(preload.list_files(tmp_path, KINDS))) < len(whole)


def first_files() -> list[str]:
    """Return the scripts that the names of others are read from."""
    names = preload.list_files(preload.FRONTEND, [])
    return [
        name for name in names if name.startswith(("index-", "Index-", "core-")) if ".js" in name
    ]
