"""CLIP's tokens: those of transformers, on the bundled captions and on 1,000 hostile texts."""

import gzip

import pytest

from sd.networks.clip.config import START
from sd.networks.clip.tokenizer import END_OF_WORD, MERGES, byte_letters, tokenize, tokenizer
from tests.helpers.clip_texts import EXPECTED, HOSTILE, digest, hostile_texts, starter_captions


def ids(text):
    return [token.id for token in tokenize(text)]


def test_it_has_clips_vocabulary():
    vocabulary = tokenizer().get_vocab()
    assert sorted(vocabulary.values()) == list(range(49_408))
    assert len(byte_letters()) == len(set(byte_letters())) == 256
    published = {"!": 0, "a": 64, "!</w>": 256, "a</w>": 320, "in": 512, "cat</w>": 2368}
    assert {token: vocabulary[token] for token in published} == published
    assert ids("A photo of a cat.") == [320, 1125, 539, 320, 2368, 269]


def test_texts_have_the_tokens_that_transformers_gives_them():
    *expected, of_captions = EXPECTED.read_text().split()
    texts, captions = hostile_texts(), starter_captions()
    assert len(expected) == len(texts) == HOSTILE and len(captions) == 1292
    wrong = [text for text, each in zip(texts, expected, strict=True) if digest(ids(text)) != each]
    assert not wrong, wrong[:3]
    assert digest([id for caption in captions for id in ids(caption)]) == of_captions


def test_special_tokens_cannot_be_typed():
    assert max(ids("<|startoftext|> <|endoftext|>")) < START
    assert len(ids("<|endoftext|>")) == 6


def test_a_token_says_where_it_was_typed():
    text = "Don't  ÉTÉ🐈"
    assert [(t.start, t.stop) for t in tokenize("red  cat")] == [(0, 3), (5, 8)]
    assert {text[t.start : t.stop] for t in tokenize(text)} >= {"Don", "'t"}
    assert all(0 <= t.start < t.stop <= len(text) for t in tokenize(text))


@pytest.mark.slow
def test_transformers_says_so_itself():
    """Makes what `EXPECTED` holds: written anew by hand should the texts ever change."""
    transformers = pytest.importorskip("transformers")
    with gzip.open(MERGES, "rt", encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file]
    theirs = transformers.CLIPTokenizer(vocab=tokenizer().get_vocab(), merges=merges)
    texts = [*hostile_texts(), *starter_captions()]
    found = theirs(texts, add_special_tokens=False)["input_ids"]
    assert [ids(text) for text in texts] == found
    of_captions = digest([id for each in found[HOSTILE:] for id in each])
    assert [*map(digest, found[:HOSTILE]), of_captions] == EXPECTED.read_text().split()
    assert theirs.backend_tokenizer.model.end_of_word_suffix == END_OF_WORD
