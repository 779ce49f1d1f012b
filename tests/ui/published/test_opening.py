"""The dialog that opens a file: folders, what a file is, what may be said of it, additions."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from huggingface_hub import constants

from sd.common.validation import InputError
from sd.generation.published import shelf
from sd.runs import Home
from sd.training.planning import memory
from sd.ui import head, models, state
from sd.ui.adapter.errors import PageError
from sd.ui.denoise import form, prompts
from sd.ui.denoise.published import last_settings
from sd.ui.denoise.tools import takeaway
from sd.ui.published import added, opening
from tests.helpers import published
from tests.helpers.denoising import CHINESE, ENGLISH
from tests.helpers.hub import COMMIT, Hub, serving

MODEL, INK = "tiny-v1.safetensors", "ink.safetensors"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    published.write_single(folder / MODEL)
    published.write_lora(folder / INK)
    (folder / "page.safetensors").write_text("<!DOCTYPE html><html></html>")
    (folder / "notes.txt").write_text("no weights")
    published.write_folder(folder / "of diffusers")
    return folder


@pytest.fixture(autouse=True)
def own(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home", tmp_path / "bundled")
    with state.use(state.Shared(home=home)):
        yield home


def pressed(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def shown(path: Path, model: str = "", said: Any = None, request: Any = ENGLISH) -> dict[str, Any]:
    event = pressed(place=str(path), said=said or {})
    answer: dict[str, Any] = opening.look(model, request, event)["opening"]["content"]
    return answer


def opened(path: Path, model: str = "", said: Any = None) -> dict[str, Any]:
    updates = opening.open_chosen(model, ENGLISH, pressed(place=str(path), said=said or {}))
    return dict(updates["opening"]["content"]["done"])


def changed(model: str, **data: Any) -> dict[str, Any]:
    updates: Any = added.change(model, ENGLISH, pressed(**data))
    return dict(updates["added"]["content"])


def test_a_folder_shows_what_can_be_opened(files: Path) -> None:
    folder = shown(files)["folder"]
    assert [(row["name"], row["kind"]) for row in folder["rows"]] == [
        *((INK, "file"), ("of diffusers", "model"), ("page.safetensors", "file"), (MODEL, "file")),
    ]
    assert folder["parent"] == str(files.parent)
    assert "no such file" in shown(files / "none")["fault"]


def test_a_report_is_told_before_anything_is_opened(files: Path, own: Home) -> None:
    file = shown(files / MODEL)["file"]
    assert [each["title"] for each in file["tree"]][:3] == ["U-Net", "autoencoder", "text encoder"]
    assert file["tree"][0]["about"] == "324 of 324 tensors · 1,466,500 parameters · float32"
    assert {each["name"]: each["value"] for each in file["guesses"]} == {
        **{"heads": "8", "zero_snr": "no", "prediction": "eps", "dtype": "float32"},
    }
    assert "memory" in file["memory"] and not file["licence"] and file["go"] == "Open"
    assert not shelf.list_opened(own)
    overruled = shown(files / MODEL, said={"prediction": "v"})["file"]["guesses"]
    assert {each["name"]: each["value"] for each in overruled}["prediction"] == "v"
    chinese = shown(files / MODEL, request=CHINESE)["file"]
    assert chinese["tree"][1]["title"] == "自编码器"
    assert chinese["guesses"][1]["labels"] == {"yes": "是", "no": "否"}


def test_v1_names_its_licence(files: Path) -> None:
    report = opening.facts.report_of(str(files / MODEL), 1)
    unet = report.parts[0]
    wide = replace(unet, config=replace(unet.config, context_dim=768))
    v1 = replace(report, parts=[wide, *report.parts[1:]])
    told = opening.report_content(v1, opening.Choices(), "", "en")
    assert told["licence"] and "RAIL-M" in opening.say("open_licence", "en")


@pytest.fixture
def hub(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving({"somebody/tiny": files / "of diffusers"}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))  # of the process that fetches
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield running


def test_a_model_of_a_hub_is_told_and_fetched_by_a_press(hub: Hub, own: Home) -> None:
    told = shown(Path("somebody/tiny"))["hub"]
    assert told["place"] == f"somebody/tiny@{COMMIT}" and told["go"].startswith("Download ")
    lines = [each["title"] for each in told["tree"]]
    assert lines == ["licence: creativeml-openrail-m", f"commit {COMMIT[:12]}"]
    assert hub.asked == ["GET /api/models/somebody/tiny"]  # nothing is fetched yet
    answers = list(opening.fetch_model("", ENGLISH, pressed(place=told["place"])))
    contents = [each["opening"]["content"] for each in answers]  # type: ignore[index]
    assert {each["of"] for each in contents} == {told["place"]}
    assert all("downloaded" in each["fetching"]["told"] for each in contents[:-1])
    file = contents[-1]["file"]
    assert file["name"] == "tiny" and file["tree"][0]["title"] == "U-Net" and file["go"] == "Open"
    assert opened(Path(file["place"]))["choose"] == "tiny"
    assert not list(own.path.glob("**/*.safetensors"))


def test_a_hub_that_does_not_answer_is_one_line_in_both_languages(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(Path("somebody/else"))["fault"] == (
        "'somebody/else': the hub has no such model for you"
    )
    assert "没有" in shown(Path("somebody/else"), request=CHINESE)["fault"]
    (answer,) = opening.fetch_model("", ENGLISH, pressed(place="somebody/tiny"))
    assert "must name a commit" in answer["opening"]["content"]["fault"]
    assert len(hub.asked) == 2


def test_no_hub_is_asked_for_visitors(hub: Hub, tmp_path: Path) -> None:
    visitor = Home(tmp_path / "a", tmp_path, neighbours=tmp_path)
    with state.use(state.Shared(home=visitor)):
        for ask in (opening.look, lambda *given: list(opening.fetch_model(*given))):
            with pytest.raises(PageError, match="a page of one's own"):
                ask("", ENGLISH, pressed(place=f"somebody/tiny@{COMMIT}"))
    assert not hub.asked


def test_a_lora_of_other_widths_is_refused_when_it_is_chosen(files: Path, tmp_path: Path) -> None:
    model = opened(files / MODEL)["choose"]
    wide = published.write_lora(tmp_path / "wide.safetensors", width=48)
    fault = "attn1.to_q: down is [2, 48], which does not fit [32, 32]"
    assert fault in shown(wide, model)["fault"]
    with pytest.raises(PageError, match="does not fit"):
        opened(wide, model)
    assert "不符" in shown(wide, model, request=CHINESE)["fault"]


def test_too_little_memory_is_one_line(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = models.find(opened(files / MODEL)["choose"])
    monkeypatch.setattr(memory, "left", lambda: 10**6)
    assert "only 977 KiB are free" in shown(files / MODEL)["file"]["memory"]
    with pytest.raises(InputError, match="977 KiB are there") as refused:
        models.open_model(entry)
    assert len(str(refused.value).splitlines()) == 1


def test_what_is_no_model_is_told_in_a_line(files: Path) -> None:
    assert shown(files / "page.safetensors")["fault"].startswith("page.safetensors: it is a web")
    with pytest.raises(PageError, match="it is a web page"):
        opened(files / "page.safetensors")


@pytest.mark.parametrize(
    "said", [{"vae": "/etc"}, {"prediction": "w"}, {"lora": "x"}, {"dtype": 5}]
)
def test_what_a_dialog_does_not_offer_is_refused(files: Path, said: dict[str, Any]) -> None:
    assert "fault" in shown(files / MODEL, said=said)
    with pytest.raises(PageError):
        opened(files / MODEL, said=said)


def test_it_becomes_the_pages_model(files: Path) -> None:
    name = opened(files / MODEL, said={"prediction": "v"})["choose"]
    assert name == f"{MODEL}#prediction=v"
    entry = models.find(name)
    assert models.config_of(entry).diffusion.prediction == "v"
    content = head.show_models(name, ENGLISH)["model"]["content"]
    (card,) = (each for each in content["models"] if each["name"] == name)
    assert card["title"] == MODEL and card["state"] == f"{models.shape_of(entry)[1]} px"
    assert not card["own"] and content["words"]["open_file"]
    assert card["license"] == "CreativeML Open RAIL-M" and "restricts" in card["license_about"]
    made = takeaway.png_record(models.make_recipe(model=name, seed=0, sampler="ddim", steps=1), 0)
    assert made["license"] == "CreativeML Open RAIL-M"
    bar = prompts.show_words(ENGLISH, name)["asked"]["patch"]
    assert bar["kind"] == "text"
    first = prompts.prefill(name, {"prompts": ["a cat", "a dog"], "seed": 3}, form.FIRST)
    assert first["asked"]["patch"]["prompts"] == ["a cat"]
    values = first["held"]["patch"]["values"]
    assert values == {"guidance": 7.5, "steps": 20, "count": 1}
    assert last_settings(form.FIRST | {"guidance": 7.5}) == {}  # somebody's own
    back = last_settings(form.FIRST | values | {"size": "512x512"})
    assert back == {name: form.FIRST[name] for name in ("guidance", "steps", "count", "size")}
    assert first["asked"]["patch"]["seen"] == ["a cat", "a dog"]
    assert first["held"]["patch"]["seen"] == {name: form.FIRST[name] for name in values}


def test_a_lora_is_added_weighed_and_taken_away(files: Path) -> None:
    assert "go" not in shown(files / INK)["file"]
    model = opened(files / MODEL)["choose"]
    file = shown(files / INK, model)["file"]
    assert file["tree"][0]["title"] == "2 of 2 used" and file["go"] == f"Add to {MODEL}"
    done = opened(files / INK, model)
    name = done["choose"]
    assert done["of"] == model
    assert name == f"{MODEL}#lora={INK}@1"
    assert opened(files / INK, name)["choose"] == name
    (row,) = added.show(name, ENGLISH)["added"]["content"]["rows"]
    assert row == {"name": INK, "kind": "lora", "scale": 1.0, "about": "2 of 2 used"}
    told = changed(name, scales={INK: -0.5})
    weighed = told["choose"]
    assert weighed == f"{MODEL}#lora={INK}@-0.5" and told["of"] == name
    assert told["rows"][0]["scale"] == -0.5
    assert changed(weighed, remove=INK)["choose"] == MODEL
    assert added.show("ideal:starter", ENGLISH)["added"]["content"] == {}
    for scales in ({INK: 90}, {"../x": 1}, {INK: "1"}):
        with pytest.raises(PageError):
            changed(name, scales=scales)


def test_all_scales_that_are_not_answered_yet_are_given_at_once(
    files: Path, tmp_path: Path
) -> None:
    name = opened(files / INK, opened(files / MODEL)["choose"])["choose"]
    other = published.write_lora(tmp_path / "other.safetensors")
    name = opened(other, name)["choose"]
    told = changed(name, scales={INK: 0.5, "other.safetensors": -1})
    assert [row["scale"] for row in told["rows"]] == [0.5, -1.0]


def test_visitors_see_no_file_of_the_machine(files: Path, tmp_path: Path) -> None:
    visitor = Home(tmp_path / "a", tmp_path, neighbours=tmp_path)
    with state.use(state.Shared(home=visitor)):
        assert "open_file" not in head.show_models("", ENGLISH)["model"]["content"]["words"]
        for handler in (opening.look, opening.open_chosen):
            with pytest.raises(PageError, match="a page of one's own alone"):
                handler("", ENGLISH, pressed(place=str(files / MODEL)))


def test_tokens_are_told_with_their_weights_and_the_time(files: Path) -> None:
    name = opened(files / MODEL)["choose"]
    asked = {"prompts": ["a (red:1.3) cat"], "seed": 0}
    held = {**form.FIRST, "steps": 2, "count": 1}
    fields: Any = {"model": name, "asked": asked, "held": held, "picture": "cat", "mask": None}
    told: Any = form.tell(ENGLISH, **fields)
    shown_of = told["asked"]["patch"]["told"]
    assert shown_of["count"] == "3 of 75 tokens"
    assert shown_of["chunks"] == [[("a", 1.0), ("red", 1.3), ("cat", 1.0)]]
    assert shown_of["price"] is None  # tokens do not wait until the machine is measured
    priced: Any = form.tell_price(ENGLISH, **fields)
    price = priced["asked"]["price"]
    assert price.startswith("2 steps at ")
    again: Any = form.tell(ENGLISH, **fields)
    assert again["asked"]["patch"]["told"]["price"] == price
    assert str(files / MODEL) in told["command"]
    wrong = prompts.describe(ENGLISH, name, {**asked, "prompts": ["(a:900)"]}, form.FIRST)
    assert "must be a number" in wrong["asked"]["patch"]["note"]
