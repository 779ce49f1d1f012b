"""The fields of the Train tab: what they hold and refuse, and what the network of them will be."""

import math
import re
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from sd.common.text import format_count
from sd.common.validation import InputError
from sd.config import KEYS, Config, preset_names
from sd.training.planning import memory
from sd.ui import mistakes
from sd.ui.train.planning import config_view, form, presets_view, settings
from tests.helpers.planning import (
    ENGLISH,
    HOSTILE,
    as_fields,
    fields,
    start,
    telling,
)

# --- fields ---


def test_there_is_one_field_for_every_key() -> None:
    assert len(settings.SECTION_OF) == sum(len(keys) for keys in KEYS.values())
    made = {each.name: each for each in settings.list_fields(Config())}
    others = {"seed", "device", settings.PLAN_MINUTES}
    named = {name for name, each in made.items() if each.kind != "heading"}
    assert named == {*settings.SECTION_OF, *others}
    kinds = {"conv_resample": "flag", "batch_size": "number", "schedule": "choice"}
    for key, kind in {**kinds, "channel_mult": "text", "classes": "words", "fit": "choice"}.items():
        assert made[key].kind == kind
    headings = [name for name, each in made.items() if each.kind == "heading"]
    assert headings == [f"group_{name}" for name in presets_view.FORM_GROUPS]


def test_what_is_sent_of_the_form_is_read_key_by_key() -> None:
    assert settings.read_values("form", {"patch": {}}) is None  # it is not drawn yet
    sent = settings.read_values("form", {"steps": "x"})
    assert sent is not None and sent["steps"] == "x" and sent["seed"] == 0
    for bad in (None, [], 7, {"stepz": 1}):
        with pytest.raises(InputError, match="form"):
            settings.read_values("form", bad)


@pytest.mark.parametrize("key", settings.OPTIONS)
def test_the_words_of_a_list_are_those_of_its_check(key: str) -> None:
    for word in settings.OPTIONS[key]:
        assert settings.from_widget(key, word) == word
    with pytest.raises(InputError) as told:
        settings.from_widget(key, "?")
    assert f"must be one of {', '.join(settings.OPTIONS[key])}" in str(told.value)


def test_every_key_that_is_a_word_is_a_list() -> None:
    words = {
        key
        for name in KEYS
        for key in KEYS[name]
        if isinstance(getattr(getattr(Config(), name), key), str)
    }
    assert words == set(settings.OPTIONS)


@pytest.mark.parametrize("key", settings.RANGES)
def test_a_slider_ends_where_its_check_does(key: str) -> None:
    most = settings.RANGES[key][0]
    assert settings.from_widget(key, most) == most
    with pytest.raises(InputError):
        settings.from_widget(key, most * 1.01)


@pytest.mark.parametrize("preset", preset_names())
def test_what_the_fields_show_is_read_back(preset: str, roomy: None) -> None:
    config = Config.preset(preset)
    assert settings.read_config(settings.widget_values(config)) == (config, {})
    assert settings.find_nearest_preset(config) == preset


def test_odd_settings_are_read_back(roomy: None) -> None:
    odd = [
        'training.classes=["a, b", "=#", "鸟"]',
        "training.save_path=/tmp/a b # c",
        "unet.num_res_blocks=[1, 2, 1]",
        "unet.attention_resolutions=[]",
        "unet.num_classes=7",
        "unet.context_dim=64",
        "training.dataset_path=7",
    ]
    config = Config.preset("tiny").with_settings(odd[:-1])
    assert settings.read_config(settings.widget_values(config)) == (config, {})


def is_meant(key: str, value: Any) -> bool:
    """Tell whether a value that is hostile elsewhere may be meant by a person here."""
    if key in ("num_heads", "num_head_channels") and value == -1:
        return True
    if key == "kind" and value is None:  # as an ini spells none
        return True
    open_ones = ("context_dim", "num_classes", "save_path", "dataset_path", "classes")
    open_ones += ("encoder", "sample_prompts", "autoencoder", "start_from")
    return key in open_ones and (value is None or isinstance(value, str))


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(("key", "section"), settings.SECTION_OF.items())
def test_no_field_takes_hostile_values(key: str, section: str, value: Any) -> None:
    if is_meant(key, value):
        return
    values = fields(**{key: value})
    config, faults = settings.read_config(values)
    assert config is None and list(faults) == [key]
    line = faults[key]
    assert re.match(rf"{section}\.{key}( =|:) ", line)
    assert len(line) <= 300 and "\n" not in line
    with pytest.raises(InputError):
        settings.require_config(values)


@pytest.mark.parametrize(("side", "fits"), [(36, 40), (127, 128), (1, 8)])
def test_a_size_that_latents_do_not_divide_is_told_beside_its_field(
    roomy: None, side: int, fits: int
) -> None:
    latent = settings.widget_values(Config.preset("latent128"))
    config, faults = settings.read_config(settings.first_values() | latent | {"input_width": side})
    assert config is None and set(faults) == {"input_width"}
    assert faults["input_width"].endswith(f"the next that fits is {fits}")
    assert "最近的合适值为" in mistakes.translate(faults["input_width"], "zh")


def test_the_page_opens_no_encoder_that_a_visitor_names(roomy: None) -> None:
    config, faults = settings.read_config(fields(encoder="/etc/somewhere"))
    assert config is not None and list(faults) == ["encoder"]
    assert faults["encoder"].startswith("conditioning.encoder = '/etc/somewhere': the page loads")
    with pytest.raises(gr.Error, match="the page loads no other"):
        start(encoder="/etc/somewhere")


def test_faults_of_several_keys_stand_beside_one(roomy: None) -> None:
    assert list(settings.read_config(fields(n_embed=1))[1]) == ["n_embed"]
    assert list(settings.read_config(fields(num_head_channels=-1))[1]) == ["num_heads"]
    config, faults = settings.read_config(fields(model_channels=40))
    assert config is not None and list(faults) == ["model_channels"]
    assert list(settings.read_config(fields(zero_terminal_snr=True, prediction="eps"))[1]) == [
        "prediction"
    ]


def test_what_the_memory_does_not_hold_is_refused_beside_its_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 2 * 2**30)
    _, faults = settings.read_config(fields(batch_size=60_000))
    assert "fits" in faults["batch_size"]
    with pytest.raises(gr.Error, match="batch_size"):
        start(batch_size=60_000)


# --- fields and pictures together ---


def settled(data: Any, **changes: Any) -> dict[str, Any]:
    """Return what reading the form gives: the faults by key, and the settings if there are."""
    read = form.read_fields(data, fields(**changes), Config.preset("tiny"))
    return {**read, "faults": read["form"]["patch"]["faults"]}


def test_settling_gives_the_settings_or_the_fault(roomy: None, home: Path) -> None:
    read = settled("starter", steps=7)
    assert read["config"].training.steps == 7 and read["faults"] == {}
    read = settled("starter", steps=-7)
    assert "config" not in read and "training.steps = -7" in read["faults"]["steps"]
    tiny = Config.preset("tiny")
    assert form.read_fields("starter", None, tiny)["config"] == tiny


def test_a_class_that_is_not_there_is_a_fault(mine: str, roomy: None) -> None:
    assert settled(mine, classes=["dogs"])["faults"] == {}
    assert "did you mean" in settled(mine, classes=["dog"])["faults"]["classes"]
    with pytest.raises(gr.Error, match=r"training\.classes"):
        start(mine, classes=["dog"])


def test_a_kind_that_the_pictures_cannot_serve_is_a_fault(mine: str, roomy: None) -> None:
    assert settled(mine, kind="class_tokens")["faults"] == {}
    told = settled(mine, kind="captions")["faults"]
    assert "none of these pictures has a caption" in told["kind"]
    with pytest.raises(gr.Error, match=r"conditioning\.kind"):
        start(mine, kind="captions")


def test_a_network_that_nobody_tells_anything_is_a_fault(home: Path, roomy: None) -> None:
    told = settled("starter", kind="none", context_dim="64")["faults"]
    assert "set conditioning.kind" in told["context_dim"]


def test_what_is_told_is_counted_in_the_network(home: Path, roomy: None) -> None:
    lines = [
        form.describe(telling(f"conditioning.kind={kind}"), "starter", None, ENGLISH)["told"]
        for kind in ('"none"', "captions")
    ]
    tables = [line[line.index("<table") : line.index("</table")] for line in lines]
    assert tables[0] != tables[1]
    assert "nothing but the time" in lines[0] and "1,292 of 1,292" in lines[1]


def test_settings_of_a_run_leave_the_kind_free(roomy: None, home: Path) -> None:
    done = telling("conditioning.kind=captions", "unet.context_dim=128")
    config, _ = settings.read_config(as_fields(form.fill_fields(done, "starter")))
    assert config is not None and config.unet.context_dim is None
    now = as_fields(form.fill_fields(done, "starter"))
    assert settled("starter", **now | {"kind": "none"})["faults"] == {}


def test_prompts_of_samples_are_read_as_a_list(roomy: None) -> None:
    config, faults = settings.read_config(fields(sample_prompts=["a red, round heart", "鸟"]))
    assert config is not None and not faults
    assert config.conditioning.sample_prompts == ("a red, round heart", "鸟")
    assert settings.read_config(settings.widget_values(config)) == (config, {})


# --- what the settings will be ---


def test_the_outline_counts_steps() -> None:
    config = Config.preset("tiny")
    assert config_view.count_steps(config, 1292) == 6000
    by_epochs = config.with_settings(["training.steps=0", "training.epochs=2"])
    assert config_view.count_steps(by_epochs, 1292) == math.ceil(2 * (1292 - 65) / 32)
    told = config_view.summary_html(config.with_settings(["training.minutes=5"]), 6000, "en")
    assert "32 × 32 px, 3.4 M parameters, 5 minutes, 32 pictures a step" in told


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_table_of_levels_is_the_blueprint(lang: str) -> None:
    config = Config.preset("tiny")
    told, wanted = config_view.levels_html(config, lang), config_view.network_of(config)
    rows = re.findall(r"<tr>(.*?)</tr>", told)
    assert len(rows) == len(wanted.levels) + 2
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    assert {len(row) for row in cells} == {len(config_view.COLUMNS)}
    assert cells[4][1:4] == ["4 × 4", "96", "3 × 32"]
    assert cells[-1][-2:] == ["3.4 M", format_count(wanted.operations)]
