"""A pretrained text encoder: read, frozen, masked and refused, on tiny random ones made here."""

import json
import shutil
import socket
import sys

import pytest
import torch
from huggingface_hub import constants
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer

from sd.common.validation import InputError
from sd.config import Config
from sd.networks.conditioning import conditioner_of
from sd.networks.pretrained_text import PADDING, PretrainedText
from tests.helpers.hub import COMMIT

transformers = pytest.importorskip("transformers")

TEXTS = ["red circle left of blue square", "", "🐈 café"]
VOCABULARY = 300
START, END = 0, 1


def tokenizer():
    """Byte-level BPE between <start> and <end>; it pads with <end>, as CLIP's does."""
    made = Tokenizer(BPE())
    made.pre_tokenizer = ByteLevel(add_prefix_space=True)
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<start>", "<end>"],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    made.post_processor = TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", START), ("<end>", END)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<end>", eos_token="<end>", model_max_length=40
    )


def encoder(kind):
    """A random encoder of one layer; every other size is a different one."""
    torch.manual_seed(0)
    if kind == "t5":
        config = transformers.T5Config(
            vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2
        )
        return transformers.T5EncoderModel(config)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    sizes |= {"num_hidden_layers": 1, "vocab_size": VOCABULARY, "max_position_embeddings": 40}
    if kind == "bert":
        return transformers.BertModel(transformers.BertConfig(**sizes), add_pooling_layer=False)
    ends = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
    config = transformers.CLIPTextConfig(**sizes, **ends)
    if kind == "text":
        return transformers.CLIPTextModel(config)
    small = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    vision = {**small, "num_hidden_layers": 1, "image_size": 8, "patch_size": 4}
    both = transformers.CLIPConfig(text_config=config.to_dict(), vision_config=vision)
    return transformers.CLIPModel(both)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder with a tokenizer and an encoder for each kind of encoder."""
    folders = {}
    for kind in ("text", "clip", "t5", "bert"):
        folders[kind] = tmp_path_factory.mktemp(kind)
        encoder(kind).save_pretrained(folders[kind])
        tokenizer().save_pretrained(folders[kind])
    return folders


@pytest.fixture
def copy(places, tmp_path):
    """A copy of the CLIP text encoder's folder, to be spoilt."""
    for file in places["text"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def refused(place, length=24):
    """The one line with which an encoder is refused."""
    with pytest.raises(InputError) as caught:
        PretrainedText(str(place), length)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["text", "clip", "t5", "bert"])
def test_each_kind_gives_a_context_that_padding_does_not_change(places, kind):
    short, long = (PretrainedText(str(places[kind]), length) for length in (16, 32))
    rows = short.read(TEXTS)
    assert rows.dtype == torch.int64 and rows.shape == (3, 16) and short.width == 16
    context, mask = short(rows)
    assert context.shape == (3, 16, 16) and context.dtype == torch.float32
    assert mask.dtype == torch.bool and torch.equal(mask, rows != PADDING)
    more, _ = long(long.read(TEXTS))
    kept = short.read(TEXTS[1:])[:, :16]
    assert torch.allclose(more[1:, :16][kept >= 0], context[1:][kept >= 0], atol=1e-5)
    assert not torch.allclose(context[0, 1], context[2, 1])


def test_the_context_is_that_of_transformers_itself(places):
    model = PretrainedText(str(places["text"]), 24)
    own = transformers.CLIPTextModel.from_pretrained(places["text"]).eval()
    ids = tokenizer()(TEXTS[0], return_tensors="pt")["input_ids"]
    context, mask = model(model.read(TEXTS[:1]))
    assert mask.sum() == ids.shape[1]
    assert torch.allclose(context[mask], own(ids).last_hidden_state[0], atol=1e-5)


def test_rows_are_between_start_and_end_and_cut(places):
    model = PretrainedText(str(places["text"]), 6)
    empty, long = model.read(["", "red circle " * 5000])
    assert empty.tolist() == [START, END] + [PADDING] * 4
    assert long[0] == START and long[-1] == END and (long > END).sum() == 4


@pytest.mark.parametrize("text", ["\0", "\ud800 red", "🐈👩‍🚀", "红色圆形", " \n", "x" * 10**6])
def test_any_text_is_read(places, text):
    model = PretrainedText(str(places["text"]), 24)
    context, mask = model(model.read([text]))
    assert context.isfinite().all() and mask[0, :2].all()
    with pytest.raises(InputError, match="must be a text"):
        model.read([3])


def test_the_spans_of_a_caption(places):
    model = PretrainedText(str(places["text"]), 5)
    assert model.spans("red circle 🐈") == [("red", [1]), ("circle", [2]), ("🐈", [3])]
    assert model.spans("red, Z") == [("red", [1]), (",", [2])]  # the Z after its space is cut
    assert model.spans("red zebra") == [("red", [1])]  # the rest of zebra is cut
    assert model.spans("") == model.spans("\0") == []
    whole = PretrainedText(str(places["text"]), 24)
    assert whole.spans("red, Z") == [("red", [1]), (",", [2]), ("Z", [4])]


def test_it_is_frozen_and_stays_in_evaluation(places):
    model = torch.nn.Sequential(PretrainedText(str(places["bert"]), 16))
    model.train()
    assert not any(part.training for part in model[0].modules())
    assert not any(weight.requires_grad for weight in model.parameters())
    context, _ = model[0](model[0].read(TEXTS))
    assert not context.requires_grad
    again, _ = model[0](model[0].read(TEXTS))
    assert torch.equal(context, again)


def test_half_precision_weights_are_read_as_float32(copy):
    encoder("text").half().save_pretrained(copy)
    model = PretrainedText(str(copy), 16)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_without_transformers_one_line_says_what_to_install(places, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert refused(places["text"]) == "a pretrained encoder needs: pip install transformers"


@pytest.mark.parametrize("place", ["", "/no/such folder", "a/b/c", "..", "x" * 200, "a\0b", None])
def test_what_is_no_place_gets_one_line(place):
    with pytest.raises(InputError, match="encoder = "):
        PretrainedText(place, 24)


@pytest.mark.parametrize("revision", ["", f"@{COMMIT}"])
def test_of_a_hub_only_what_was_fetched_is_opened(places, tmp_path, monkeypatch, revision):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "socket", None)
    line = refused(f"nobody/no-such-model{revision}")
    assert line.startswith("encoder = 'nobody/no-such-model")
    assert "not fetched; python -m sd pull nobody/no-such-model tells its size" in line
    assert line.endswith("called nobody/no-such-model@COMMIT")
    folder = tmp_path / "models--nobody--no-such-model"
    shutil.copytree(places["text"], folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    assert PretrainedText(f"nobody/no-such-model{revision}", 24).width > 0


def test_what_is_missing_or_does_not_fit_gets_one_line(copy, capfd):
    capfd.readouterr()
    assert "text_length = 41: must be a whole number from 2 to 40" in refused(copy, 41)
    assert "text_length = 1" in refused(copy, 1)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    assert "model_type of the encoder = 'gpt2': must be one of clip" in refused(copy)
    (copy / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    assert "of its weights are missing" in refused(copy)
    (copy / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**5}))
    assert "num_hidden_layers of the encoder = 100000: must be" in refused(copy)
    (copy / "config.json").write_text(json.dumps(config | {"hidden_size": 10**9}))
    assert "its weights do not fit its config.json" in refused(copy)
    for hostile in ({"hidden_size": "wide"}, {"hidden_act": "evil"}):
        (copy / "config.json").write_text(json.dumps(config | hostile))
        assert "cannot be read" in refused(copy)
    (copy / "config.json").write_text("no json")
    assert "cannot be read" in refused(copy)
    printed = capfd.readouterr()
    assert not printed.out and not printed.err  # no tables of weights


def test_a_tokenizer_of_another_encoder_gets_one_line(copy):
    larger = tokenizer()
    larger.add_tokens([f"more{k}" for k in range(VOCABULARY)])
    larger.save_pretrained(copy)
    assert f"its tokenizer has ids above the encoder's {VOCABULARY}" in refused(copy)


def test_pickled_weights_are_never_read(copy):
    weights = encoder("text").state_dict()
    (copy / "model.safetensors").unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    assert refused(copy).startswith("encoder = ")


def test_a_config_cannot_name_an_attention_to_be_fetched(copy):
    config = json.loads((copy / "config.json").read_text())
    hostile = config | {"_attn_implementation": "nobody/kernel", "attn_implementation": "no/kernel"}
    (copy / "config.json").write_text(json.dumps(hostile))
    model = PretrainedText(str(copy), 16)
    assert model.encoder.config._attn_implementation == "eager"


def test_code_that_comes_with_a_model_is_never_run(copy):
    (copy / "evil.py").write_text("raise SystemExit('it ran')")
    config = json.loads((copy / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "evil.Evil"}, "model_type": "evil"}
    (copy / "config.json").write_text(json.dumps(config))
    assert refused(copy).startswith("encoder = ")


def test_an_encoder_of_another_width_than_the_model_s_gets_one_line(places):
    told = [f"conditioning.encoder={places['clip']}", "conditioning.kind=captions"]
    config = Config.preset("tiny").with_settings([*told, "unet.context_dim=5"])
    with pytest.raises(InputError, match=r"gives tokens of width \d+; this model takes 5") as error:
        conditioner_of(config, {"kind": "captions", "examples": []})
    assert "\n" not in str(error.value)
