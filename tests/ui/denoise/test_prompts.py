"""What a model is asked for: classes, prompts, guidance, and the grid of both."""

import json
import math
import os
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import torch

from sd import runs
from sd.checkpoints.model import Model
from sd.cli.parser import parser
from sd.common.validation import InputError
from sd.config import Config
from sd.generation.recipe import Recipe, from_json
from sd.networks import conditioning_metadata as facts
from sd.ui import api, model_metadata, models
from sd.ui.components.fields import read_fields
from sd.ui.denoise import form, grid, prompts
from sd.ui.denoise import tab as denoise
from sd.ui.denoise.form import SamplingForm
from sd.ui.denoise.tools import race
from sd.ui.denoise.tree import Tree, title
from tests.helpers import denoising
from tests.helpers.denoising import (
    CAPTIONS,
    CHINESE,
    CLASSES,
    ENGLISH,
    LABELLED,
    WORDED,
    another_day,
    branch_of,
    branching,
    command_line,
    one_line,
    pressed,
    recipe_of,
    replayed,
    resting,
    set_branch,
    set_fields,
    values,
)
from tests.ui.denoise.tools.test_takeaway import brought, made, taken

pytestmark = pytest.mark.usefixtures("told", "quick")
RED, BLUE, SMALL = CAPTIONS
HOSTILE = [
    *(math.nan, math.inf, -1, 10**9, 10**400, True, "../../etc/passwd\0", 5, {"a": 1}, [[1]]),
    *(["\ud800"], "x" * 5_000_000),
]


def asked(model: str = WORDED, **changes: Any) -> dict[str, Any]:
    """Return what the fields hold: two prompts, or one class, unless changed."""
    usual = {"prompts": ["dog"] if model == LABELLED else [RED, f" {BLUE} ", ""]}
    return values(**{"model": model} | usual | changes)


def recipe(model: str = WORDED, **changes: Any) -> Recipe:
    return recipe_of(**asked(model, **changes))


def end_of(recipe: Recipe) -> torch.Tensor:
    """Return the finished pictures of a recipe, made by the package alone."""
    return replayed(recipe, models.open_model(models.find_recipe_model(recipe)))[-1].x_t


# ---- what a model can be told


def test_what_a_model_can_be_told_is_read_beside_its_weights(told: dict[str, Model]) -> None:
    assert models.read_conditioning(models.find("little")) is None
    assert models.read_conditioning(models.find("ideal:starter")) is None
    labelled = models.read_conditioning(models.find(LABELLED))
    assert labelled is not None and labelled.labels == labelled.examples == CLASSES
    assert (labelled.kind, labelled.vocabulary, labelled.length) == ("class_tokens", None, 8)
    worded = models.read_conditioning(models.find(WORDED))
    assert worded is not None and (worded.labels, worded.examples) == ((), CAPTIONS)
    assert worded.vocabulary is not None
    assert worded.vocabulary.unseen("a blue zebra") == ["zebra"]


def test_what_a_model_can_be_asked_is_read_from_its_newest_checkpoint(home: Path) -> None:
    for number, labels in ((9, ["a", "b"]), (10, ["a", "c"])):
        folder = home / "run" / f"checkpoint-{number}"
        folder.mkdir(parents=True)
        (folder / "checkpoint.json").write_text("{}")
        (folder / model_metadata.CONDITIONING).write_text(
            json.dumps({"kind": "class_tokens", "labels": labels})
        )
    (home / "run" / runs.CONFIG).write_text(Config.preset("tiny").to_ini())
    found = models.read_conditioning(models.find("run"))
    assert found is not None and found.labels == ("a", "c")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ("{", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ([], "not readable as JSON"),
        ({}, "kind = None"),
        ({"kind": "words"}, "kind = 'words'"),
        ({"kind": "class_tokens"}, "labels = None"),
        ({"kind": "class_tokens", "labels": ["a", 5]}, "labels = 5"),
        ({"kind": "class_tokens", "labels": ["a" * 201]}, "at most 200"),
        ({"kind": "captions", "examples": ["a"] * 17}, "at most 16"),
        ({"kind": "captions", "vocabulary": {"tokens": []}}, "vocabulary = "),
    ],
)
def test_facts_that_are_unfit_are_told_in_a_line(tmp_path: Path, facts: Any, words: str) -> None:
    text = facts if isinstance(facts, str) else json.dumps(facts)
    (tmp_path / model_metadata.CONDITIONING).write_text(text)
    with pytest.raises(InputError, match=re.escape(words)) as error:
        model_metadata.read_conditioning_metadata(tmp_path, 8)
    assert str(tmp_path) not in one_line(error.value)


def test_facts_are_read_once_and_again_when_they_change(tmp_path: Path) -> None:
    assert model_metadata.read_conditioning_metadata(tmp_path, 8) is None
    path = tmp_path / model_metadata.CONDITIONING
    path.write_text('{"kind": "class_tokens", "labels": ["a", "b"]}')
    first = model_metadata.read_conditioning_metadata(tmp_path, 8)
    assert (
        first is not None
        and first is model_metadata.read_conditioning_metadata(tmp_path, 8)
        and first.examples == ()
    )
    path.write_text('{"kind": "none", "labels": ["a", "b"]}')
    os.utime(path, ns=(1, 1))
    assert model_metadata.read_conditioning_metadata(tmp_path, 8) is None
    path.write_text('{"kind": "captions"}')  # another encoder reads them
    os.utime(path, ns=(2, 2))
    assert model_metadata.read_conditioning_metadata(
        tmp_path, 8
    ) == model_metadata.ConditioningMetadata("captions", (), (), None, 8)
    os.truncate(path, facts.LARGEST_METADATA + 1)
    with pytest.raises(InputError, match="more than 16,000,000 bytes"):
        model_metadata.read_conditioning_metadata(tmp_path, 8)


# ---- the fields


def test_a_recipe_says_what_the_fields_ask_for() -> None:
    made = recipe(negative=" dog blue", guidance=3.5, rescale=0.7, low=0.2, high=0.8)
    assert (made.prompts, made.negative) == ((RED, BLUE), "dog blue")
    assert (made.guidance, made.rescale, made.interval) == ((3.5,), 0.7, (0.2, 0.8))
    labelled = recipe(LABELLED, prompts=["dog", "cat"], negative="cat")
    assert (labelled.prompts, labelled.negative) == (("dog", "cat"), "cat")
    assert labelled.guidance == (2.0,)


def test_there_is_a_picture_for_each_prompt() -> None:
    assert recipe(prompts=["a", "b", "c"], count=2).count == 3
    assert recipe(prompts=["a"], count=2).count == 2


def test_where_nothing_is_asked_nothing_is_said() -> None:
    plain = denoising.recipe()
    unread = {"prompts": ["a red heart"], "negative": "x"}
    assert recipe_of(**values(**unread, guidance=7)) == plain
    for model in (WORDED, LABELLED):
        empty = recipe(model, prompts=[" "], guidance=7, rescale=0.5)
        assert (empty.prompts, empty.negative, empty.guidance) == ((), "", (1.0,))
        assert (empty.rescale, empty.interval) == (0.0, (0.0, 1.0))
    assert recipe(prompts=[], negative="dog").negative == "dog"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": LABELLED},
        {"model": LABELLED, "prompts": ["cat", "dog"], "negative": "dog", "begin": "seeds"},
        {"negative": "a small dog", "guidance": 4.25, "rescale": 0.5, "low": 0.1, "high": 0.9},
        {"prompts": ["<b>🫀 zebra</b>"], "guidance": 0},
        {"prompts": [], "negative": "dog"},
        {"prompts": [], "guidance": 5},
        {"begin": "picture"},
    ],
    ids=str,
)
def test_every_control_comes_back_from_a_recipe(changes: dict[str, Any]) -> None:
    model = changes.get("model", WORDED)
    made = recipe(**{"model": model} | changes)
    assert SamplingForm.from_recipe(made, "en").to_recipe() == made
    assert recipe_of(**set_fields(form.updates_of(made, "en"))) == made


@pytest.mark.parametrize("model", [LABELLED, WORDED])
@pytest.mark.parametrize("name", ["prompts", "negative", "guidance", "rescale", "low", "high"])
def test_each_field_refuses_what_it_cannot_hold(model: str, name: str) -> None:
    for value in HOSTILE:
        if (name, value) == ("guidance", 5):
            continue
        with pytest.raises(InputError) as error:
            fields = asked(model, **{name: value})
            prompts.read_asked("bar", fields["asked"])
            read_fields(form.FIELDS, "form", fields["held"])
            recipe_of(**fields)
        one_line(error.value)


@pytest.mark.parametrize("value", [None, [], "x", {"patch": 3}, {"prompts": 5}, {"seed": 1.5}])
def test_what_no_bar_sends_is_told_in_a_line(value: Any) -> None:
    with pytest.raises(InputError) as error:
        prompts.read_asked("bar", value)
    one_line(error.value)


def test_a_bar_that_no_browser_has_drawn_yet_is_read() -> None:
    waiting = {"patch": {"prompts": [RED], "seed": 3, "kind": "words"}}
    assert prompts.read_asked("bar", waiting) == {"prompts": [RED], "seed": 3}
    assert prompts.read_asked("bar", {"patch": {"state": "rest"}}) == {"prompts": [], "seed": 0}
    assert 0 <= prompts.read_asked("bar", {"seed": -1})["seed"] < 10**6


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        (WORDED, {"prompts": list("abcdefghijklmnopq")}, "must be at most 16 of them"),
        (WORDED, {"prompts": ["word " * 10_000]}, "prompt: 50000 characters; at most 10000"),
        (WORDED, {"low": 0.6, "high": 0.5}, "guidance interval = (0.6, 0.5): must be two numbers"),
        (WORDED, {"guidance": 10.5}, "guidance = 10.5: must be a number from 0 to 10"),
        (LABELLED, {"prompts": ["cow"]}, "class = 'cow': must be one of cat, dog"),
        (LABELLED, {"prompts": ["dogs"]}, "did you mean 'dog'?"),
        (LABELLED, {"negative": "cow"}, "class = 'cow'"),
    ],
)
def test_what_cannot_be_asked_for_is_told(model: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as error:
        recipe(model, **changes)
    one_line(error.value)


@pytest.mark.parametrize(
    ("model", "kind", "offers"),
    [("little", "none", ()), (LABELLED, "class", CLASSES), (WORDED, "words", CAPTIONS)],
)
def test_what_a_model_knows_is_offered(model: str, kind: str, offers: tuple[str, ...]) -> None:
    shown: Any = prompts.show_words(CHINESE, model)
    assert shown["asked"] == {"patch": {"kind": kind, "offers": list(offers), "names": {}}}
    seen = set(shown["held"]["patch"]["shown"].values())
    assert seen == {kind != "none"}
    assert (
        prompts.show_words(ENGLISH, models.FirstModel(model)) == {}
    )  # while the page is being loaded


def test_captions_of_the_bundled_sets_are_told_and_understood_in_chinese(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sd.runs.home.BUNDLED_RUNS", denoising.BUNDLED)
    shown: Any = prompts.show_words(CHINESE, "emoji32")
    patch = shown["asked"]["patch"]
    assert patch["names"]["panda"] == "熊猫" and "panda" in patch["offers"]
    assert set(patch["offers"]) <= patch["names"].keys()
    assert prompts.show_words(ENGLISH, "emoji32")["asked"]["patch"]["names"] == {}
    entry = models.find("emoji32")
    wish = prompts.PromptForm(prompt="熊猫\neggplant\n熊 猫", negative="红心", guidance=2)
    said = wish.settings(entry)
    assert said["prompts"] == ("panda", "eggplant", "熊 猫") and said["negative"] == "red heart"


def test_a_model_of_ones_own_knows_its_words_as_they_are(told: dict[str, Model]) -> None:
    assert prompts.as_learned(models.find(WORDED), "熊猫") == "熊猫"
    assert models.caption_names(WORDED, "zh") == {}


def test_the_captions_of_a_set_are_offered_too(told: dict[str, Model]) -> None:
    entry = models.find(WORDED)
    assert prompts.set_captions(entry) == ()
    pictures = entry.folder / runs.PICTURES
    pictures.mkdir()
    try:
        for text, found in (('{"captions": ["a", 5]}', ("a",)), ("{", ()), ("[]", ())):
            (pictures / "index.json").write_text(text)
            assert prompts.set_captions(entry) == found
    finally:
        shutil.rmtree(pictures)
    found = {}
    for data in ("starter", "shapes", "shapes128"):
        (entry.folder / runs.SOURCE).write_text(json.dumps({"data": data}))
        found[data] = prompts.set_captions(entry)
    (entry.folder / runs.SOURCE).unlink()
    assert len(found["starter"]) > 1000 and "red heart" in found["starter"]
    assert found["shapes"] == found["shapes128"] and len(found["shapes"]) == 228
    assert "red circle left of blue square" in found["shapes"]  # which no picture has


def note_of(request: Any, model: str, **changes: Any) -> tuple[dict[str, str], str]:
    """Return the unknown prompts, each with its nearest, and the note on the others."""
    fields = asked(model, **{"guidance": 1.0} | changes)
    patched = prompts.describe(request, model, fields["asked"], fields["held"])["asked"]["patch"]
    return patched["unknown"], patched["note"]


def test_a_model_that_never_trained_untold_is_asked_without_guidance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    untold = models.config_of(models.find(WORDED)).with_settings(["conditioning.drop=0"])
    monkeypatch.setattr(models, "config_of", lambda entry: untold)
    assert recipe(prompts=[RED], negative="", guidance=3).guidance == (1.0,)
    assert recipe(prompts=[RED], negative="dog", guidance=3).guidance == (3.0,)
    assert "Guidance 1 is used" in note_of(ENGLISH, WORDED, guidance=3)[1]
    assert note_of(ENGLISH, WORDED, guidance=1) == ({}, "")


def test_what_was_never_seen_is_told_with_its_nearest_and_what_is_cut() -> None:
    unknown, note = note_of(ENGLISH, WORDED, prompts=["a red hart", "xyz", RED], negative="zebra")
    assert unknown == {"a red hart": RED, "xyz": ""}
    assert note == "never seen in training: zebra"
    _, note = note_of(ENGLISH, WORDED, prompts=[f"{RED} {BLUE} {SMALL}"])
    known = models.read_conditioning(models.find(WORDED))
    assert known is not None and known.vocabulary is not None
    tokens = len(known.vocabulary.encode(f"{RED} {BLUE} {SMALL}", 4096))
    assert f"the model reads 8 tokens, {tokens - 8} more are cut off" in note
    assert note_of(CHINESE, WORDED, negative="zebra")[1].count("训练中从未见过：zebra") == 1
    many = " ".join(f"word{k}" for k in range(20))
    assert note_of(ENGLISH, WORDED, negative=many)[1].count("word") == prompts.MOST_NAMED
    assert note_of(ENGLISH, LABELLED, prompts=["dog", "cot"]) == ({"cot": "cat"}, "")
    assert note_of(ENGLISH, "little", prompts=["zebra"]) == ({}, "")


# ---- pictures


@pytest.mark.parametrize("model", [LABELLED, WORDED])
def test_pictures_take_what_is_asked_for_in_turn(model: str) -> None:
    one, two = CLASSES if model == LABELLED else (RED, SMALL)
    both = end_of(recipe(model, count=3, guidance=3, prompts=[one, two]))
    first = end_of(recipe(model, count=3, guidance=3, prompts=[one]))
    other = end_of(recipe(model, count=3, guidance=3, prompts=[two]))
    assert torch.allclose(both[0::2], first[0::2], atol=1e-4)
    assert torch.allclose(both[1], other[1], atol=1e-4)
    assert not torch.allclose(first[1], other[1], atol=1e-2)
    weak = end_of(recipe(model, count=3, guidance=1, prompts=[one]))
    assert not torch.allclose(weak, first, atol=1e-2)


def test_the_page_makes_them_tells_of_them_and_takes_them_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = Tree()
    *_, shown = denoise.run(ENGLISH, tree, **asked(guidance=3, negative="<i>dog</i>"))
    node = tree.current
    assert node.end is not None and torch.equal(node.end, end_of(node.recipe))
    assert shown["player"]["lanes"][0]["captions"] == [RED, BLUE]
    assert title(node, "en") == "DDIM 6, seed 5, a red heart +1, guidance 3"
    path = taken(tree, index=2)
    another_day(monkeypatch)
    page = Tree()
    controls = brought(page, path)
    assert recipe_of(**set_fields(controls)) == node.recipe == page.restored
    list(denoise.run_again(ENGLISH, page))
    assert taken(page, index=2).read_bytes() == path.read_bytes()


def test_without_a_wish_the_pictures_have_no_words() -> None:
    node = made(denoising.recipe()).current
    assert "captions" not in node.film and title(node, "en") == "DDIM 6, seed 5"


def test_memory_and_blur_are_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "set_of", lambda entry: denoising.PICTURED)
    lanes = race.denoiser_lanes(recipe(guidance=3, negative="dog"))
    assert lanes[0].prompts and all(
        lane == replace(lanes[1], model=lane.model) for lane in lanes[1:]
    )
    assert lanes[1] == replace(denoising.recipe(), model="ideal:pictured", step=0, digest="")


def prefilled(model: str, *words: str, negative: str = "") -> tuple[list[str] | None, Any]:
    """Return the prompts that a chosen model is asked for, and what of the form it changes."""
    held = {**form.FIRST, "negative": negative}
    updates: Any = prompts.prefill(model, {"prompts": list(words), "seed": 0}, held)
    if not updates:
        return None, {}
    return updates["asked"]["patch"]["prompts"], updates["held"]["patch"]["values"]


def test_a_chosen_model_is_asked_for_what_its_samples_were_where_nothing_is() -> None:
    assert prefilled(WORDED)[0] == list(CAPTIONS)
    assert prefilled(LABELLED)[0] == list(CLASSES)
    assert prefilled("little", "a zebra") == (None, {})
    assert prefilled(LABELLED, "cow", "dog")[0] == ["dog"]


def test_a_chosen_model_is_not_asked_for_what_only_the_one_before_knew() -> None:
    assert prefilled(WORDED, "a zebra")[0] == list(CAPTIONS)
    kept = prefilled(WORDED, "A small dog", "a zebra", "a RED dog")[0]
    assert kept == ["A small dog", "a RED dog"]
    assert prefilled(WORDED, negative="zebra")[1] == {"negative": ""}
    assert "negative" not in prefilled(WORDED, negative="small")[1]
    assert prefilled(LABELLED, "cow")[0] == list(CLASSES)


def test_what_a_chosen_model_changes_says_what_it_had_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(models, "default_guidance", lambda entry: 4.5)
    asked, held = {"prompts": ["a  zebra"], "seed": 0}, {**form.FIRST, "negative": "zebra"}
    updates: Any = prompts.prefill(WORDED, asked, held)
    assert updates["asked"]["patch"]["seen"] == ["a zebra"]
    seen = {"guidance": form.FIRST["guidance"], "negative": "zebra"}
    assert updates["held"]["patch"]["seen"] == seen


def test_a_chosen_model_that_never_trained_untold_takes_no_guidance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "guidance" not in prefilled(WORDED)[1]
    config = models.config_of(models.find(WORDED)).with_settings(["conditioning.drop=0"])
    monkeypatch.setattr(models, "config_of", lambda entry: config)
    assert prefilled(WORDED)[1]["guidance"] == 1.0


# ---- a branch


def test_a_branch_changes_guidance_or_leaves_it() -> None:
    tree = made(recipe(guidance=3))
    offer = denoise.note_place(ENGLISH, tree, resting(4))
    found = set_branch(offer)
    assert offer["branch_go"] == "Continue from step 4" and found["steps"] == 2
    assert (found["prompt"], found["guidance"]) == (f"{RED}\n{BLUE}", 3.0)
    assert offer["branch_form"]["patch"]["shown"]["guidance"] is True
    node, end = tree.current, end_of(tree.current.recipe)
    as_before = {"prompt": found["prompt"], "steps": 2}
    same = branch_of(node, 4, **as_before)
    assert same.guidance == (3.0,) and same.prompts == (RED, BLUE)
    assert torch.equal(end_of(same), end)
    other = branch_of(node, 4, **as_before, guidance=8.0)
    assert other.guidance == (8.0,) and not torch.allclose(end_of(other), end, atol=1e-3)
    for made_of, expected in ((same, None), (other, 8.0)):
        controls = set_branch(brought(Tree(), taken(made(made_of))))
        assert controls["guidance"] == expected
        assert branch_of(node, 4, **controls) == made_of
    plain = made(denoising.recipe()).current
    assert branch_of(plain, 4, steps=2, guidance=8.0).guidance == (1.0,)


@pytest.mark.parametrize(
    ("changes", "prompts", "negative", "guidance"),
    [
        ({"prompt": "a small dog"}, ("a small dog",), "", (3.0,)),
        ({"prompt": f"{RED}\n{BLUE}", "negative": "dog"}, (RED, BLUE), "dog", (3.0,)),
        ({"prompt": ""}, (), "", (1.0,)),
        ({"prompt": "\n dog \n", "guidance": 5.0}, ("dog",), "", (5.0,)),
    ],
)
def test_a_branch_is_asked_for_something_else(
    changes: dict[str, Any], prompts: tuple[str, ...], negative: str, guidance: tuple[float, ...]
) -> None:
    tree = made(recipe(guidance=3))
    denoise.note_place(ENGLISH, tree, resting(4))
    list(denoise.run_branch(ENGLISH, tree, **branching(steps=2, **changes)))
    found = tree.current.recipe
    assert (found.prompts, found.negative, found.guidance) == (prompts, negative, guidance)
    assert found.branch is not None and found.branch.recipe.prompts == (RED, BLUE)
    assert not torch.equal(end_of(found), end_of(found.branch.recipe))
    assert from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_branch_of_what_was_asked_for_nothing_is_guided_as_usual() -> None:
    tree = made(recipe(prompts=[]))
    assert tree.current.recipe.guidance == (1.0,)
    assert branch_of(tree.current, 4, prompt=RED).guidance == (2.0,)
    with pytest.raises(gr.Error, match="class 'cow': the model knows cat, dog"):
        tree = made(recipe(LABELLED, prompts=["cat"]))
        list(denoise.run_branch(ENGLISH, tree, **branching(prompt="cow", steps=2)))


# ---- a grid in one recipe, as files hold it that were made once


def old_grid(made: Recipe, scales: tuple[float, ...]) -> Recipe:
    """Return a recipe's prompts with every scale, all from one noise."""
    down = tuple(dict.fromkeys(made.prompts))
    prompts = tuple(prompt for prompt in down for _ in scales)
    count, scales = len(prompts), scales * len(down)
    return replace(made, prompts=prompts, guidance=scales, count=count, seed_to=made.seed)


def test_an_old_grid_is_shown_with_its_names_and_a_branch_of_it_stays_one() -> None:
    tree = made(old_grid(recipe(negative="dog"), (0.0, 3.0)))
    node = tree.current
    assert title(node, "en") == "DDIM 6, seed 5, grid 2 x 2"
    assert node.film["columns"] == 2
    assert tree.current.film["captions"][:2] == [f"{RED} · 0", f"{RED} · 3"]
    back = denoise.choose_node(ENGLISH, tree, pressed(1))
    found = set_branch(back)
    assert found["guidance"] is None
    denoise.note_place(ENGLISH, tree, resting(3))
    kept = {"prompt": found["prompt"], "negative": "dog", "steps": 3}
    list(denoise.run_branch(ENGLISH, tree, **branching(**kept)))
    assert tree.current.film["columns"] == 2 and tree.current.recipe.guidance == (0.0, 3.0) * 2
    assert torch.equal(end_of(tree.current.recipe), end_of(node.recipe))


def test_what_is_no_grid_has_no_columns() -> None:
    made = old_grid(recipe(), (1.0, 2.0))
    assert grid.columns_of(made) == 2
    for changes in (
        {"seed_to": None},
        {"seed_to": 9},
        {"count": 3},
        {"guidance": (1.0, 2.0, 2.0, 1.0)},
        {"prompts": (RED, BLUE, RED, BLUE)},
        {"prompts": (RED, RED, RED, BLUE)},
    ):
        assert grid.columns_of(replace(made, **changes)) == 0, changes
    assert grid.columns_of(denoising.recipe()) == 0


# ---- the command line and the endpoint


def test_the_command_says_it_too() -> None:
    told = {"negative": "dog", "guidance": 3.5, "rescale": 0.25, "low": 0.1, "high": 0.9}
    words = shlex.split(command_line(**asked(**told)))
    place = words.index("--prompt")
    assert words[place : place + 13] == [
        *("--prompt", RED, "--prompt", BLUE, "--negative", "dog", "--guidance", "3.5"),
        *("--rescale", "0.25", "--interval", "0.1", "0.9"),
    ]
    labelled = command_line(**asked(LABELLED))
    assert "--label dog --guidance 2 --out" in labelled and "--prompt" not in labelled
    assert "--guidance" not in command_line(**asked(prompts=[]))
    assert "--unconditional" in command_line(**asked(prompts=[]))
    assert "--unconditional" in command_line(**asked(prompts=[], negative="dog"))
    assert "--unconditional" not in command_line(**values())


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (WORDED, {"negative": "-dog", "rescale": 0.25, "low": 0.1, "high": 0.9}),
        (WORDED, {"prompts": ["--prompt 🫀 'a \"b\"'", "-"]}),
        (LABELLED, {"prompts": ["cat", "dog"], "negative": "dog", "guidance": 1}),
    ],
    ids=str,
)
def test_the_command_line_understands_it(model: str, changes: dict[str, Any]) -> None:
    made = recipe(model, **changes)
    for each in (made, old_grid(made, (0.0, 2.5))):
        args = parser().parse_args(shlex.split(models.sample_command(each))[3:])
        told = args.prompt if model == WORDED else args.label
        assert (tuple(told), args.negative or "") == (each.prompts, each.negative)
        assert (tuple(args.guidance), args.count) == (each.guidance, each.count)
        assert (args.rescale or 0, tuple(args.interval or (0, 1))) == (each.rescale, each.interval)
        assert args.seed_to == each.seed_to


def test_the_endpoint_takes_what_is_asked_for_last(monkeypatch: pytest.MonkeyPatch) -> None:
    def asks(model: str, *more: Any) -> Recipe:
        usual = (model, "ddim", 2, 5, 2, 0.0, "fixed_small", "trailing", True)
        list(api.denoise_pictures(*usual, *more))
        return seen[-1]

    seen: list[Recipe] = []
    job = api.Job
    monkeypatch.setattr(
        api, "Job", lambda recipe, **more: seen.append(recipe) or job(recipe, **more)
    )
    assert asks("little").guidance == asks("little", "", "", 3).guidance == (1.0,)
    assert asks(WORDED).prompts == CAPTIONS and asks(WORDED).guidance == (2.0,)
    assert asks(LABELLED).prompts == CLASSES
    assert asks(WORDED, "", "", 3, True).prompts == ()
    found = asks(WORDED, f"{RED}\n{'long ' * 80}", "dog", 3)
    assert (found.prompts[0], found.negative, found.guidance) == (RED, "dog", (3.0,))
    assert asks(LABELLED, "dog\ncat", "cat").prompts == ("dog", "cat")
    for model, words, line in (
        ("little", ("a heart",), "prompt = 'a heart': little was trained without words or classes"),
        ("ideal:starter", ("", "x"), "trained without words"),
        (LABELLED, ("cow",), "class = 'cow': must be one of cat, dog"),
        (WORDED, (RED, "", 11), "guidance = 11"),
        (WORDED, (RED, "", 2, True), "unconditional asks for nothing"),
        (WORDED, (5,), "prompt = 5: must be a text"),
    ):
        with pytest.raises(gr.Error) as error:
            asks(model, *words)
        assert line in one_line(error.value).replace("&#x27;", "'")
    assert runs.default_home().path.is_dir()
