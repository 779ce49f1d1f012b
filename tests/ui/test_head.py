"""The head: the page's one model, its list, what may be done to them."""

import time
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from sd import runs
from sd.checkpoints.model import Model
from sd.common.validation import InputError
from sd.generation.registry import ModelEntry
from sd.runs.sample_grid import grid_size
from sd.ui import head, models, state, texts
from sd.ui.adapter import checks
from sd.ui.adapter.errors import PageError
from sd.ui.adapter.page import Page
from tests.helpers.denoising import CHINESE, ENGLISH, NAME
from tests.helpers.run_folders import DEAD, START, STEP, alive, make_run

pytestmark = pytest.mark.usefixtures("little")


def pressed(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def cards(shown: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in shown["model"]["content"]["models"]}


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        *(("linear:starter", "linear:starter"), ("gone", "little"), ("", "little")),
        *(("../little", "little"), ("ideal:../x", "little"), ("x" * 10**6, "little")),
        *((None, "little"), ({"name": "little"}, "little"), (5, "little")),  # of an address
    ],
    ids=lambda word: str(word)[:20],
)
def test_the_list_keeps_what_is_chosen(chosen: Any, kept: str) -> None:
    shown = head.show_models(chosen, ENGLISH)["model"]
    assert shown.get("value", chosen) == kept and ("value" in shown) == (kept != chosen)
    assert head.first_models(chosen, ENGLISH)["model"]["value"] == kept
    assert shown["content"]["models"][0]["name"] == "little"
    assert shown["content"]["words"]["model"] == "Model"


def test_before_the_page_is_told_a_model_it_is_asked_for_the_first_one() -> None:
    with Page(state.Shared(state.home())) as page:
        head.build(page)
    model = next(each for each in page.blocks.values() if each.elem_id == "head")
    expected, chosen = (checks.read_value(model, name) for name in ("", "linear:starter"))
    assert expected == "little" and isinstance(expected, models.FirstModel)
    assert chosen == "linear:starter" and not isinstance(chosen, models.FirstModel)
    for wrong in ("x" * 1001, 5, None):
        with pytest.raises(InputError):
            checks.read_value(model, wrong)


def test_a_closed_form_is_shown_and_stands_in_no_list() -> None:
    memory = cards(head.show_models("ideal:starter", ENGLISH))["ideal:starter"]
    assert (memory["title"], memory["about"]) == ("Emoji", "memory of the pictures")
    assert memory["listed"] is False
    assert "ideal:starter" not in cards(head.show_models("little", ENGLISH))


def test_a_model_shows_its_newest_sample_steps_age_and_size(little: Model) -> None:
    folder = state.home().path / NAME
    (folder / "samples").mkdir()
    for step, colour in ((1, "red"), (2, "lime")):
        grid = Image.new("RGB", grid_size(little.config), colour)
        grid.save(folder / "samples" / f"step-{step:09d}.png")
    card = cards(head.show_models(NAME, ENGLISH))[NAME]
    assert card["about"].startswith("4 steps · ") and card["state"] == "8 px" and card["own"]
    assert card["picture"] == head.thumbnail(models.find(NAME))
    first = head.cut_thumbnail(folder / "samples" / "step-000000001.png", 0)
    assert card["picture"] != first and card["picture"].startswith("data:image/png;base64,")
    (folder / "samples" / "step-000000003.png").write_bytes(b"\x89PNG")
    assert cards(head.show_models(NAME, ENGLISH))[NAME]["picture"] is None


@pytest.mark.parametrize(
    ("past", "words"),
    [(0, "just now"), (61, "1 min ago"), (7200, "2 h ago"), (86400 * 3.5, "3 d ago")],
)
def test_an_age_is_one_number(past: float, words: str) -> None:
    assert head.age_text(time.time() - past, "en") == words


def test_a_page_opens_with_a_run_that_is_being_trained(tmp_path: Path) -> None:
    home = runs.Home(tmp_path / "home", tmp_path / "bundled")
    page = Page(state.Shared(home=home))
    make_run(home.path, "over", events=START, noted=DEAD)
    assert not page.is_training()
    make_run(home.path, "busy", events=START, noted=alive())
    assert page.is_training()


def test_the_state_of_a_run_that_trains_is_how_long_it_takes(tmp_path: Path) -> None:
    left = STEP.replace("}", ', "seconds_left": 70.0}')
    folder = make_run(tmp_path, "busy", events=START + left, noted=alive())
    shown = head.state_of(ModelEntry("busy", str(folder)), "en")
    assert shown == {"state": "training · 1 min 10 s left", "live": True}


@pytest.mark.parametrize("lang", texts.TEXTS)
def test_each_state_of_a_run_that_is_not_over_has_words(lang: str) -> None:
    for word in ("starting", "waiting", "running", "pausing", "paused", "stopping"):
        assert texts.TEXTS[lang][f"model_{word}"]


def test_the_machine_is_told_when_it_is_asked_for() -> None:
    assert "machine" not in head.show_models(NAME, CHINESE)["model"]["content"]
    assert head.show_machine(NAME, CHINESE)["model"]["content"]["machine"]


def test_a_model_is_renamed_and_deleted(little: Model) -> None:
    home = state.home()
    (home.path / "other").mkdir()
    (home.path / "other" / runs.CONFIG).write_text(little.config.to_ini())
    with pytest.raises(PageError, match="there is something of that name"):
        head.change_model(NAME, ENGLISH, pressed(rename="other", title=NAME))
    head.change_model(NAME, ENGLISH, pressed(rename="other", title="My cats"))
    assert home.find_run("My cats") and not (home.path / "other").exists()
    shown = head.change_model(NAME, ENGLISH, pressed(delete="My cats"))
    assert shown["model"]["value"] == NAME and not (home.path / "My cats").exists()


@pytest.mark.parametrize("sent", [{}, {"delete": "../x"}, {"delete": 5}, {"rename": NAME}])
def test_what_is_no_request_is_told_in_a_line(sent: dict[str, Any]) -> None:
    with pytest.raises(PageError):
        head.change_model(NAME, ENGLISH, pressed(**sent))
    assert state.home().find_run(NAME)
