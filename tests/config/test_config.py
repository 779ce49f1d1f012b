"""Settings: the original's text, presets, round trips, and every kind of wrong value."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sd.common.validation import LONGEST_MESSAGE, InputError
from sd.config import KEYS, SECTIONS, Config, about, preset_about, preset_names
from sd.config.config import LORA_PRESET
from sd.config.fields import UNWRITABLE
from sd.config.sections import DiffusionConfig, TrainingConfig, UNetConfig

ORIGINAL = Path(__file__).parents[1] / "fixtures" / "config_SD.txt"
PRESETS = Path(__file__).parents[2] / "sd" / "config" / "presets"
NAMES = [(section, key) for section, keys in KEYS.items() for key in keys]


def error(make, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        make(*args, **kwargs)
    line = str(caught.value)
    assert "\n" not in line and len(line) <= LONGEST_MESSAGE
    return line


def test_the_original_text_gives_every_value_that_its_author_set():
    config = Config.read(ORIGINAL)
    t, u, d = config.training, config.unet, config.diffusion
    assert (t.epochs, t.batch_size, t.learning_rate) == (3, 10, 0.0001)
    assert (t.save_path, t.dataset_path) == ("/mnt/Unet/pic/test_pic", "/mnt/Unet/pic")
    assert (t.input_height, t.input_width) == (32, 32)
    assert (u.channel, u.model_channels, u.num_res_blocks) == (1, 64, 1)
    assert (u.attention_resolutions, u.channel_mult) == ((1,), (1, 2, 4, 8))
    assert (u.dropout, u.conv_resample, u.dims, u.num_classes) == (0.0, True, 2, None)
    assert (u.num_heads, u.num_head_channels) == (8, -1)
    assert (u.use_scale_shift_norm, u.resblock_updown) == (False, True)
    assert (u.transformer_depth, u.context_dim, u.n_embed) == (1, None, 1)
    assert (d.timesteps, d.beta_range, d.noise_info) == (200, (0.0001, 0.02), (0.0, 1.0))


def test_the_seed_preset_is_the_original():
    assert Config.preset("seed") == Config.read(ORIGINAL)


def test_the_defaults_are_the_original_without_its_paths():
    paths = ["training.save_path=", "training.dataset_path=None"]
    assert Config.read(ORIGINAL).with_settings(paths) == Config()


def test_seed_fixed_differs_in_the_schedule_and_in_the_paths_only():
    seed, fixed = Config.preset("seed"), Config.preset("seed-fixed")
    assert fixed.unet == seed.unet
    assert fixed.diffusion == replace(seed.diffusion, rescale_betas=True)
    assert fixed.training == replace(seed.training, save_path=None, dataset_path=None)


def test_terminal_signal_to_noise_ratios_of_the_presets():
    schedule = pytest.importorskip("sd.diffusion.schedule")
    snr = {
        name: schedule.Schedule.from_config(Config.preset(name).diffusion).terminal_snr
        for name in preset_names()
    }
    assert snr["seed"] == pytest.approx(0.152, abs=5e-4)
    assert snr["seed-fixed"] == pytest.approx(3.0e-5, abs=5e-7)
    assert snr["gpu"] < 1e-8
    assert snr["tiny"] == snr["small"] == pytest.approx(4.0e-5, abs=5e-7)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_names_every_key_and_says_first_what_it_is_for(name):
    first, empty, body = (PRESETS / f"{name}.ini").read_text(encoding="utf-8").split("\n", 2)
    assert first == f"# {preset_about(name)}" and empty == ""
    assert body == Config.preset(name).to_ini(), "write the preset again with to_ini()"


def test_every_preset_file_is_listed():
    assert {path.stem for path in PRESETS.iterdir()} == {*preset_names(), LORA_PRESET}


@pytest.mark.parametrize("name", ["Tiny", "../seed", "", None, "seed.ini"])
def test_an_unknown_preset(name):
    assert "must be one of tiny, small" in error(Config.preset, name)


def test_keys_are_unique_over_the_sections_and_each_has_a_sentence():
    assert len({key for _, key in NAMES}) == len(NAMES)
    for section, key in NAMES:
        sentence = about(section, key)
        assert sentence[0].isupper() or sentence[0].isdigit()
        assert sentence.endswith(".") and '"' not in sentence


def test_to_ini_has_one_comment_per_key():
    lines = Config().to_ini().splitlines()
    assert [line for line in lines if line.startswith("[")] == [f"[{name}]" for name in SECTIONS]
    assert sum("  # " in line for line in lines) == len(NAMES)


def test_configurations_do_not_change():
    with pytest.raises(FrozenInstanceError):
        Config().unet.model_channels = 3


# Errors: section, key, value, and what is allowed.


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("epochs = 0", "training.epochs = 0: must be a whole number from 1 to 1000000"),
        ("epochs = three", "training.epochs = 'three': must be a whole number from 1 to 1000000"),
        ("fit = zoom", "training.fit = 'zoom': must be one of crop, pad, stretch"),
        ("fit = strech", "training.fit = 'strech': must be one of crop, pad, stretch; "
                         "did you mean 'stretch'?"),
        ("resblock_updown = 1", "unet.resblock_updown = 1: must be True or False"),
        ("num_heads = 0", "unet.num_heads = 0: must be a whole number from 1 to 1024, or -1"),
        ("context_dim = 0", "unet.context_dim = 0: must be a whole number from 1 to 65536, "
                            "or None"),
        ("channel_mult = 4", "unet.channel_mult = 4: must be a list of 1 to 10 whole numbers "
                             "from 1 to 64"),
        ("attention_resolutions = [3]", "unet.attention_resolutions = (3,): 3 is no downsample "
         "factor; every level halves the picture, so the factors are 1, 2, 4, 8, …"),
        ("model_chanels = 3", "model_chanels: no such key; did you mean 'model_channels'?"),
        ("[unet]\nmodel_chanels = 3", "unet.model_chanels: no such key; did you mean "
                                      "'model_channels'?"),
        ("[unett]\nchannel = 3", "[unett]: no such section; must be one of training, unet, "
                                 "diffusion, conditioning, first_stage; did you mean 'unet'?"),
        ("[unet]\nepochs = 3", "unet.epochs: this key belongs to the section [training]"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named(line, message):
    where = f"my.ini, line {len(line.splitlines())}: "
    assert error(Config.from_ini, line, "my.ini") == where + message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["unet.num_heads=-1"], ["unet.num_heads = -1", "num_head_channels", "set one"]),
        (["unet.num_res_blocks=[1, 2]"], ["unet.num_res_blocks = (1, 2)", "4 levels"]),
        (["unet.channel=0"], ["unet.channel = 0: must be 1 (grey), 3 (colour) or 4"]),
        (["unet.channel=-1"], ["unet.channel = -1: must be 1 (grey), 3 (colour) or 4"]),
        (["unet.n_embed=257"], ["unet.n_embed = 257: must be 1 (grey), 3 (colour) or 4"]),
        (["unet.channel=3"], ["unet.n_embed = 1", "unet.channel = 3"]),
        (["unet.dims=3", "unet.patch_size=2"], ["unet.patch_size = 2", "dims"]),
        (["diffusion.beta_range=[0.02, 0.01]"], ["diffusion.beta_range", "0 < first <= last < 1"]),
        (["diffusion.beta_range=[0, 0.01]"], ["diffusion.beta_range", "0 < first <= last < 1"]),
        (["diffusion.beta_range=[0.5, 1]"], ["diffusion.beta_range", "0 < first <= last < 1"]),
        (["diffusion.beta_range=[0.1]"], ["diffusion.beta_range = [0.1]", "two numbers"]),
        (["diffusion.noise_info=[0, 0]"], ["diffusion.noise_info", "above 0"]),
        (["diffusion.noise_info=[0, -1]"], ["diffusion.noise_info", "above 0"]),
        (["diffusion.zero_terminal_snr=True"], ["diffusion.prediction = 'eps'", "v or x0"]),
        (["diffusion.min_snr_floor=1"], ["min_snr_floor = 1", "at most min_snr_gamma = 0"]),
        (["training.input_height=4096", "training.input_width=4096"], ["4,194,304 pixels"]),
        (["epochs"], ["setting 'epochs'", "section.key=value"]),
        (["=3"], ["no such key"]),
        ([".=3"], ["[]: no such section"]),
        ([3], ["must be a text"]),
        (["training.save_path=" + "a" * 5000], ["training.save_path", "4096"]),
    ],
)
def test_settings_that_cannot_go_together(settings, words):
    line = error(Config().with_settings, settings)
    assert all(word in line for word in words), line


def test_settings_change_what_they_name_and_the_last_wins():
    config = Config().with_settings(
        ["unet.channel=3", "n_embed = 3", "unet.num_res_blocks=[1,2,1,2]", "epochs=4", "epochs=5"]
    )
    assert (config.unet.channel, config.unet.n_embed, config.training.epochs) == (3, 3, 5)
    assert config.unet.res_blocks == (1, 2, 1, 2)
    assert Config().unet.res_blocks == (1, 1, 1, 1)


def test_settings_are_checked_together_after_all_are_known():
    both = ["unet.num_heads=-1", "unet.num_head_channels=32"]
    assert Config().with_settings(both).unet.num_heads == -1


@pytest.mark.parametrize("nothing", ["0", "None", '""', ""])
def test_no_labels_has_four_spellings(nothing):
    assert Config.from_ini(f"num_classes = {nothing}").unet.num_classes is None


def test_full_width_punctuation_and_digits():
    text = "【unet】\nchannel_mult ＝ （１，２，４） ＃ 层\nnum_heads＝４\ndropout = ０．\n"
    unet = Config.from_ini("\ufeff" + text).unet
    assert (unet.channel_mult, unet.num_heads, unet.dropout) == ((1, 2, 4), 4, 0.0)


def test_the_original_survives_other_line_ends_tabs_and_headers():
    text = ORIGINAL.read_text(encoding="utf-8")
    expected = Config.read(ORIGINAL)
    assert Config.from_ini(text.replace("\n", "\r\n")) == expected
    assert Config.from_ini(text.replace(" " * 8, "\t")) == expected
    headed = text.replace("epochs", "[training]\nepochs", 1)
    headed = headed.replace("\nchannel =", "\n[unet]\nchannel =")
    assert Config.from_ini(headed.replace("\ntimesteps", "\n[diffusion]\ntimesteps")) == expected


def test_a_key_given_twice_is_refused():
    assert error(Config.from_ini, "epochs = 3\n[training]\nepochs = 3", "my.ini") == (
        "my.ini, line 3: epochs was already given in line 1"
    )


def test_a_file_that_is_not_there(tmp_path):
    assert error(Config.read, tmp_path / "no.ini").startswith("'no.ini': cannot be read")


def test_no_torch_is_imported():
    code = "import sys, sd.config.config, sd.networks.blueprint; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Properties.

printable = st.characters(exclude_categories=UNWRITABLE)
paths = st.none() | st.text(printable, min_size=1, max_size=60)


@settings(deadline=None)
@given(
    save_path=paths,
    dataset_path=paths,
    learning_rate=st.floats(1e-12, 10),
    mults=st.lists(st.integers(1, 64), min_size=1, max_size=10),
    factors=st.lists(st.sampled_from([1, 2, 4, 8, 512]), max_size=6),
    mean=st.floats(-1000, 1000),
    std=st.floats(1e-6, 1000),
    betas=st.tuples(st.floats(1e-9, 0.5), st.floats(0.5, 0.999)),
)
def test_every_configuration_comes_back_exactly(
    save_path, dataset_path, learning_rate, mults, factors, mean, std, betas
):
    config = Config(
        TrainingConfig(save_path=save_path, dataset_path=dataset_path, learning_rate=learning_rate),
        UNetConfig(channel_mult=mults, attention_resolutions=factors),
        DiffusionConfig(noise_info=[mean, std], beta_range=betas, schedule="sigmoid"),
    )
    again = Config.from_ini(config.to_ini())
    assert again == config
    assert again.to_ini() == config.to_ini()


HUGE = [10**9, 10**400, -(10**400), 1e308, float("nan"), float("inf"), -float("inf")]
ODD = [None, True, False, "", "x", b"x", 1j, [], {}, set(), (), [[]], object(), print, "\ud800"]
LONG = [list(range(100_000)), [1] * 17, "a" * 100_000, "a\nb", "a\0b", [10**9] * 3, [True, 1]]


@pytest.mark.parametrize(("section", "key"), NAMES)
def test_no_hostile_value_gets_in_unchanged(section, key):
    make = SECTIONS[section]
    for value in [*HUGE, *ODD, *LONG]:
        try:
            kept = getattr(make(**{key: value}), key)
        except InputError as refused:
            line = str(refused)
            assert line.startswith(f"{section}.") and len(line) <= LONGEST_MESSAGE
            continue
        numbers = kept if isinstance(kept, tuple) else (kept,)
        assert len(numbers) <= 16
        assert all(type(number) in (int, float, str, bool, type(None)) for number in numbers)
        assert all(abs(n) <= 1e9 for n in numbers if isinstance(n, int | float))


def test_a_truth_value_is_no_number_and_a_number_no_truth_value():
    for make in SECTIONS.values():
        for each in fields(make):
            is_flag = isinstance(each.default, bool)
            for value in (0, 1) if is_flag else (True, False):
                assert each.name in error(make, **{each.name: value})


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_in_one_line(text):
    try:
        Config.from_ini(text)
    except InputError as refused:
        assert len(str(refused)) <= LONGEST_MESSAGE and "\n" not in str(refused)


@given(st.sampled_from(NAMES), st.text(max_size=60) | st.integers().map(str))
def test_any_setting_is_taken_or_refused_in_one_line(name, value):
    try:
        config = Config().with_settings([f"{'.'.join(name)}={value}"])
        assert Config.from_ini(config.to_ini()) == config
    except InputError as refused:
        assert len(str(refused)) <= LONGEST_MESSAGE and "\n" not in str(refused)


LATENT = ["first_stage.autoencoder=taesd", "unet.channel=4", "unet.n_embed=4"]


def test_with_a_first_stage_pictures_are_colour_and_the_network_sees_latents():
    config = Config.preset("tiny").with_settings(
        [*LATENT, "training.input_height=64", "training.input_width=128"]
    )
    assert config.is_latent
    assert (config.picture_shape, config.latent_shape) == ((3, 64, 128), (4, 8, 16))
    plain = Config.preset("tiny")
    assert not plain.is_latent and plain.latent_shape == plain.picture_shape == (3, 32, 32)
    for word in ("None", "pixels", "none"):
        assert config.with_settings(
            [f"first_stage.autoencoder={word}", "unet.channel=3", "unet.n_embed=3"]
        ).picture_shape == (3, 64, 128)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["unet.channel=3", "unet.n_embed=3"], "unet.channel = 3: must be 4, as many as the"),
        (["unet.n_embed=3"], "unet.n_embed = 3: must equal unet.channel = 4"),
        (
            ["training.input_width=100"],
            "training.input_width = 100: must be a multiple of 8, the pixels that a place of the "
            "latents covers; the next that fits is 104",
        ),
        (["first_stage.factor=4"], "first_stage.factor = 4: must be 8, that of taesd"),
        (["first_stage.factor=6"], "first_stage.factor = 6: must be a power of 2"),
        (["training.shift=0.1"], "training.shift = 0.1: must be 0 where a first stage is set"),
        (["training.brightness=0.1"], "training.brightness = 0.1: must be 0"),
        (["first_stage.ch=48"], "first_stage.ch = 48: must be a multiple of 32"),
        (
            [
                "first_stage.autoencoder=own",
                "first_stage.factor=2",
                "first_stage.ch_mult=[1, 2, 2]",
            ],
            "first_stage.ch_mult = (1, 2, 2): its 3 levels make a side 4 times smaller; "
            "factor = 2 allows fewer",
        ),
    ],
)
def test_what_does_not_fit_a_first_stage(settings, message):
    assert error(Config.preset("tiny").with_settings, [*LATENT, *settings]).startswith(message)
