"""A setting is used, or refused, or told: which ones come to nothing beside which others."""

from pathlib import Path
from typing import Any

import pytest

from sd import runs
from sd.cli.parser import main
from sd.common.validation import InputError
from sd.config import KEYS, Config, preset_names
from sd.config.conditioning_kind import resolve_conditioning
from sd.config.unused import REASONS, RULES, find_unused
from sd.training.loop import Training
from sd.training.planning.forecast import random_pictures
from sd.training.samples import passes_per_step, sample_denoiser
from sd.ui.texts import TEXTS
from sd.ui.train.planning import form
from tests.helpers.commands import Capture
from tests.training.test_loop import MACHINE

TOLD = {
    "training.steps=77": ("training.minutes=3", "minutes"),
    "training.epochs=9": ("training.steps=5", "steps"),
    "unet.num_heads=2": ("unet.num_head_channels=32", "head_channels"),
    "unet.conv_resample=False": ("unet.resblock_updown=True", "resblocks"),
    "diffusion.beta_range=[0.001,0.5]": ("diffusion.schedule=cosine", "no_betas"),
    "conditioning.sample_prompts=cat,dog": ("conditioning.kind=none", "told_nothing"),
    "conditioning.drop=0.4": ("conditioning.kind=none", "told_nothing"),
    "conditioning.text_length=7": ("conditioning.kind=class_tokens", "no_captions"),
    "conditioning.vocabulary=300": ("conditioning.encoder='x'", "encoder"),
}


@pytest.mark.parametrize("setting", TOLD)
def test_what_another_setting_makes_pointless_is_told_once(setting: str) -> None:
    cause, reason = TOLD[setting]
    kind = "conditioning.kind=captions" if reason == "encoder" else "conditioning.kind=auto"
    usual = ["training.steps=0", "unet.resblock_updown=False"]
    without = Config().with_settings([*usual, kind, setting])
    assert reason not in [each.reason for each in find_unused(without)]
    (told,) = find_unused(without.with_settings([cause]))
    assert (told.key, told.reason) == (setting.partition("=")[0], reason)
    assert told.line.startswith(f"{told.key} = ") and told.line.endswith(REASONS[reason])


@pytest.mark.parametrize(
    ("preset", "setting", "reason"),
    [
        ("tiny", "first_stage.ch=64", "pixels"),
        ("tiny", "first_stage.latent_scale=0.2", "pixels"),
        ("latent128", "first_stage.kl_weight=0.1", "given"),
        ("latent128", "first_stage.latent_scale=0.2", ""),
        ("latent128", "first_stage.tune_steps=9", ""),
        ("latent-own", "first_stage.tune_steps=9", "own"),
        ("latent-own", "first_stage.ch=64", ""),
    ],
)
def test_settings_of_another_first_stage_are_told(preset: str, setting: str, reason: str) -> None:
    found = find_unused(Config.preset(preset).with_settings([setting]))
    assert [each.reason for each in found] == ([reason] if reason else [])


def test_what_nobody_chose_is_not_told() -> None:
    for name in preset_names():
        for kind in ("auto", "none", "class_tokens", "class_embedding", "captions"):
            config = Config.preset(name)
            config = config.with_settings([f"conditioning.kind={kind}", "training.minutes=5"])
            assert find_unused(config) == []


def test_the_rules_name_keys_and_reasons_that_are_there_in_both_languages() -> None:
    assert {rule.reason for rule in RULES} == set(REASONS)
    for rule in RULES:
        assert f"unused_because_{rule.reason}" in TEXTS["en"]
        for key in rule.keys:
            section, _, name = key.partition(".")
            assert name in KEYS[section]


@pytest.mark.parametrize("number", [5, 10, 12])
def test_another_number_of_classes_is_refused(tiny_config: Config, number: int) -> None:
    told = [f"unet.num_classes={number}", "conditioning.kind=class_embedding"]
    line = rf"^unet.num_classes = {number}: must be None, or 11 for these pictures, one more than"
    with pytest.raises(InputError, match=line):
        resolve_conditioning(tiny_config.with_settings(told), 0, 10)
    for right in (None, 11):
        settings = [f"unet.num_classes={right}", told[1]]
        assert (
            resolve_conditioning(tiny_config.with_settings(settings), 0, 10).unet.num_classes == 11
        )


@pytest.mark.parametrize(("drop", "passes"), [(0.0, 1), (0.1, 2)])
def test_a_model_that_never_trained_untold_is_not_guided(
    tiny_config: Config, drop: float, passes: int
) -> None:
    told = ["conditioning.kind=class_tokens", f"conditioning.drop={drop}"]
    config = tiny_config.with_settings(told)
    training = Training(config, random_pictures(config), 0, MACHINE)
    scale = 2.0 if drop else 1.0
    assert sample_denoiser(training, training.model).guidance.scale == (scale,)
    assert passes_per_step(training) == passes


def test_a_run_tells_what_it_does_not_use(
    capsys: Capture, pictures: Path, tiny_config: Config, tmp_path: Path
) -> None:
    ini = tmp_path / "own.ini"
    settings = ["training.dataset_path=/elsewhere", "training.epochs=7", "training.steps=1"]
    ini.write_text(tiny_config.with_settings(settings).to_ini(), encoding="utf-8")
    for picture in sorted(pictures.glob("*.png"))[5:]:
        picture.unlink()
    words = ["train", pictures, "--config", ini, "--run", tmp_path / "run"]
    assert main([*map(str, words), "--set", "training.held_out=0.2"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "not used" in line or "spared" in line] == [
        "training.dataset_path = '/elsewhere': not used; DATA was given",
        "training.held_out = 0.2: none of 5 pictures can be spared",
        "training.epochs = 7: not used; training.steps counts",
    ]


@pytest.mark.parametrize("flag", [("--steps", 2), ("--epochs", 1)])
def test_a_flag_of_length_is_stronger_than_the_inis_minutes(
    pictures: Path, tiny_config: Config, tmp_path: Path, flag: tuple[str, Any]
) -> None:
    ini = tmp_path / "own.ini"
    ini.write_text(tiny_config.with_settings(["training.minutes=0.05"]).to_ini(), encoding="utf-8")
    words = ["train", pictures, "--config", ini, "--run", tmp_path / "run", *flag]
    assert main([str(word) for word in words]) == 0
    assert runs.status(tmp_path / "run").step == (2 if flag[0] == "--steps" else 3)


def test_the_page_tells_what_a_file_holds_that_it_does_not_use(tiny_config: Config) -> None:
    settings = ["conditioning.kind=class_embedding", "unet.num_classes=5", "training.epochs=7"]
    lines = form.list_unused(tiny_config.with_settings(settings), "en")
    assert lines == [
        "Its num_classes (5) is not used here: it follows from the classes of the pictures.",
        "training.epochs = 7 is not used: training.steps counts.",
    ]
