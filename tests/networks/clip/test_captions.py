"""Prompts as a context: chunks, padding, weights at the mean they had, learned words."""

import pytest
import torch

from sd.common.validation import InputError
from sd.networks.clip.captions import ClipCaptions, encode_prompt
from sd.networks.clip.config import END, GELU, START, CLIPTextConfig
from sd.networks.clip.text import CLIPText
from sd.networks.clip.tokenizer import tokenize


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    made = CLIPText(CLIPTextConfig(width=8, layers=2, heads=2)).eval()
    torch.nn.init.constant_(made.final_layer_norm.bias, 0.5)  # else the mean of its output is 0
    return made


def ids_of(rows):
    return rows[..., 0].reshape(len(rows), -1, 77)


@torch.no_grad()
def test_a_prompt_is_what_the_encoder_makes_of_its_tokens_between_start_and_end(encoder):
    ids = [START, *(t.id for t in tokenize("a red cat")), END]
    padded = torch.tensor([ids + [END] * (77 - len(ids))])
    assert torch.equal(encode_prompt(encoder, ["a red cat"]), encoder(padded))
    assert torch.equal(encode_prompt(encoder, ["a red cat"], skip=1), encoder(padded, skip=1))


@torch.no_grad()
def test_chunks_follow_each_other_and_the_shorter_gets_empty_ones(encoder):
    long, short = "a BREAK b", "a"
    both = encode_prompt(encoder, [long, short])
    assert both.shape == (2, 154, 8)
    parts = [encode_prompt(encoder, [text])[0] for text in ("a", "b", "a", "")]
    expected = torch.stack([torch.cat(parts[:2]), torch.cat(parts[2:])])
    torch.testing.assert_close(both, expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_weights_multiply_the_states_and_the_mean_stays(encoder):
    plain = encode_prompt(encoder, ["a red cat"])[0].double()
    found = encode_prompt(encoder, ["a (red:1.5) cat"])[0].double()
    expected = plain.clone()
    expected[2] *= 1.5
    expected *= plain.mean() / expected.mean()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found - plain).abs().max() > 0.1


@torch.no_grad()
def test_a_weight_of_1_changes_no_bit(encoder):
    plain = encode_prompt(encoder, ["red cat"])
    assert torch.equal(encode_prompt(encoder, ["(red cat:1)"]), plain)


def test_rows_carry_tokens_and_weights_of_every_chunk(encoder):
    rows = ClipCaptions(encoder).read(["(a:1.25) BREAK b", ""])
    assert rows.dtype == torch.int64 and rows.shape == (2, 154, 2)
    first, second = ids_of(rows)[0].tolist()
    assert first[:4] == [START, 320, END, END] and second[:3] == [START, 321, END]
    assert ids_of(rows)[1, :, 1:].eq(END).all()
    weights = rows[..., 1].int().view(torch.float32)
    assert weights[0, 1] == 1.25 and weights.ne(1).sum() == 1


def test_version_2_pads_with_0_after_the_end():
    config = CLIPTextConfig(width=8, layers=1, heads=1, activation=GELU, padding=0)
    (chunk,) = ids_of(ClipCaptions(CLIPText(config)).read(["a"]))[0].tolist()
    assert chunk == [START, 320, END, *[0] * 74]


@torch.no_grad()
def test_a_learned_word_is_read_as_its_vectors(encoder):
    captions = ClipCaptions(encoder)
    captions.learn("other", torch.zeros(1, 8))
    captions.learn("my-cat", encoder.embeddings.token_embedding.weight[[736, 2368]])
    found = captions(captions.read(["a My-Cat"])).context
    torch.testing.assert_close(found, encode_prompt(encoder, ["a red cat"]), rtol=0, atol=1e-6)
    assert captions.spans("a my-cat") == [("a", [1]), ("my-cat", [2, 3])]
    assert captions.unseen("a xyzzy") == []
    with pytest.raises(InputError, match="vectors of width 4; this text encoder has 8"):
        captions.learn("wide", torch.zeros(1, 4))
    with pytest.raises(InputError, match="MY-CAT: another embedding has this name"):
        captions.learn("MY-CAT", torch.zeros(1, 8))


def test_an_encoder_of_other_tokens_is_refused():
    with pytest.raises(InputError, match="vocabulary = 40: CLIP's has 49408 tokens"):
        ClipCaptions(CLIPText(CLIPTextConfig(8, 1, 1, vocabulary=40, padding=0)))
