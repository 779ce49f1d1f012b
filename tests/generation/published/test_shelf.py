"""Files that were opened: their names, what a model's name says, and recipes without a path."""

import json
from pathlib import Path

import pytest
import torch

from sd.common.validation import InputError
from sd.config import Config
from sd.generation import registry
from sd.generation.pipeline import denoiser_of, stream
from sd.generation.published import facts, shelf
from sd.generation.recipe import Recipe
from sd.generation.registry import OpenModels
from sd.runs import Home
from tests.helpers import published


@pytest.fixture
def own(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", tmp_path / "bundled")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    published.write_single(folder / "v1.safetensors")
    published.write_lora(folder / "ink.safetensors")
    return folder


def test_a_file_keeps_its_name_and_its_place(own: Home, files: Path, tmp_path: Path) -> None:
    for folder in ("one, two", "three"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "v1.safetensors").write_bytes(b"")
    first = shelf.open_file(own, files / "v1.safetensors", shelf.MODEL)
    other = shelf.open_file(own, tmp_path / "three" / "v1.safetensors", shelf.MODEL)
    assert shelf.open_file(own, files / "v1.safetensors", shelf.MODEL) == first
    assert [first.name, other.name] == ["v1.safetensors", "v1.safetensors 2"]
    assert [each.name for each in registry.list_models(own)] == [first.name, other.name]
    with pytest.raises(InputError, match="must not hold a comma"):
        shelf.open_file(own, tmp_path / "one, two" / "v1.safetensors", shelf.MODEL)
    other.path.unlink()  # a disk that is not there now
    assert [each.name for each in shelf.list_opened(own)] == [first.name]
    shelf.close_file(own, first.name)
    assert registry.list_models(own) == [] and first.path.exists()


def test_a_name_says_what_is_added_without_a_path(own: Home, files: Path) -> None:
    model = shelf.open_file(own, files / "v1.safetensors", shelf.MODEL)
    ink = shelf.open_file(own, files / "ink.safetensors", shelf.LORA)
    choices = shelf.choices_of(f"{model.name}#prediction=v,zero_snr=no,lora={ink.name}@0.5")
    name = shelf.with_choices(model.name, choices)
    assert name == "v1.safetensors#prediction=v,zero_snr=no,lora=ink.safetensors@0.5"
    entry = registry.find_model(own, name)
    assert entry.published and entry.place == (
        f"{files}/v1.safetensors#prediction=v,zero_snr=no,lora={files}/ink.safetensors@0.5"
    )
    assert facts.config_of_place(entry.place, entry.written).diffusion.prediction == "v"
    with pytest.raises(InputError, match="lora = 'pen': no such file was opened here"):
        registry.find_model(own, f"{model.name}#lora=pen@1")


def test_visitors_open_no_files_of_the_machine(files: Path, tmp_path: Path) -> None:
    visitor = Home(tmp_path / "a", tmp_path, neighbours=tmp_path)
    with pytest.raises(InputError, match=shelf.ONE_PAGE):
        shelf.open_file(visitor, files / "v1.safetensors", shelf.MODEL)


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', '{"files": [3, {"name": "a"}]}'])
def test_a_list_that_makes_no_sense_is_an_empty_one(own: Home, text: str) -> None:
    own.path.mkdir()
    (own.path / shelf.FILE).write_text(text)
    assert shelf.list_opened(own) == []


def test_a_recipe_finds_its_file_under_another_name(own: Home, files: Path) -> None:
    model = shelf.open_file(own, files / "v1.safetensors", shelf.MODEL)
    entry = registry.find_model(own, f"{model.name}#prediction=v")
    recipe = Recipe("before.safetensors#prediction=v", 0, registry.digest(entry))
    found = registry.find_renamed(own, recipe, lambda each: registry.find_model(own, each.model))
    assert found.model == entry.name
    json.dumps(found.to_json())


def test_settings_are_those_with_which_it_is_opened(files: Path) -> None:
    place = str(files / "v1.safetensors")
    told: Config = facts.config_of_place(place, 1)
    model = OpenModels().load(registry.ModelEntry("v1", place, published=True), "cpu", lambda: None)
    assert told == model.config


@torch.no_grad()
def test_loras_share_weights_and_each_counts_as_its_name_says(own: Home, files: Path) -> None:
    model = shelf.open_file(own, files / "v1.safetensors", shelf.MODEL)
    ink = shelf.open_file(own, files / "ink.safetensors", shelf.LORA)
    opened = OpenModels()
    names = [model.name, *(f"{model.name}#lora={ink.name}@{scale}" for scale in ("0.5", "-1"))]
    sources = [opened.load(registry.find_model(own, name), "cpu", lambda: None) for name in names]
    assert len({id(each.unet) for each in sources}) == 1
    recipes = [Recipe(name, prompts=("a cat",), steps=2, size=(16, 16)) for name in names]
    alone = [list(stream(*each, "cpu"))[-1].x_t for each in zip(recipes, sources, strict=True)]
    assert not any(torch.equal(alone[0], each) for each in alone[1:])
    steps = [stream(*each, "cpu") for each in zip(recipes, sources, strict=True)]
    for _ in range(2):  # one after the other
        last = [next(each).x_t for each in steps]
    assert all(map(torch.equal, alone, last))
    whole = registry.load_model(registry.find_model(own, names[1]), "cpu")
    assert torch.equal(list(stream(recipes[1], whole, "cpu"))[-1].x_t, alone[1])
    texts = [denoiser_of(*each).cond.context for each in zip(recipes, sources, strict=True)]
    assert not torch.equal(texts[0], texts[1])
