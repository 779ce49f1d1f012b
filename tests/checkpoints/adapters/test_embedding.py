"""Textual inversions: every form of file gives its vectors, and a word that prompts may hold."""

import pytest
import torch
from safetensors.torch import save_file

from sd.checkpoints.adapters.embedding import learn_embedding, read_embedding
from sd.checkpoints.pretrained.building import open_pretrained
from sd.common.validation import InputError
from tests.helpers import published

VECTORS = torch.arange(64.0).reshape(2, 32) / 64


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    return open_pretrained(str(published.write_single(path)))


def saved(path, value):
    if path.suffix == ".safetensors":
        save_file({name: each.clone() for name, each in value.items()}, path)
    else:
        torch.save(value, path)
    return path


@pytest.mark.parametrize(
    ("suffix", "value"),
    [
        (".safetensors", {"emb_params": VECTORS}),
        (".safetensors", {"<cat-toy>": VECTORS.half()}),
        (".bin", {"<cat-toy>": VECTORS}),
        (".pt", {"string_to_token": {"*": 265}, "string_to_param": {"*": VECTORS}, "name": "a"}),
        (".pt", {"string_to_param": {"*": torch.nn.Parameter(VECTORS)}, "step": 500}),
        (".pt", VECTORS),
    ],
    ids=["A1111", "diffusers", "diffusers' bin", "A1111's pt", "a parameter", "bare"],
)
def test_every_form_gives_its_vectors(suffix, value, tmp_path):
    word, vectors = read_embedding(saved(tmp_path / f"easy-cat{suffix}", value))
    assert word == "easy-cat" and vectors.dtype == torch.float32 and not vectors.requires_grad
    torch.testing.assert_close(vectors, VECTORS, rtol=0, atol=1e-3)


def test_one_vector_may_be_flat(tmp_path):
    path = saved(tmp_path / "one.pt", {"<one>": VECTORS[0]})
    assert read_embedding(path).vectors.shape == (1, 32)


@torch.no_grad()
def test_a_model_learns_the_word(model, tmp_path):
    assert learn_embedding(saved(tmp_path / "Easy.pt", VECTORS), model.conditioner) == "Easy"
    conditioner = model.conditioner
    plain, taught = (conditioner(conditioner.read([text])).context for text in ("a", "a easy"))
    assert conditioner.spans("a (EASY:1.2)") == [("a", [1]), ("EASY", [2, 3])]
    assert not torch.equal(plain, taught)
    with pytest.raises(InputError, match="Easy: another embedding has this name"):
        learn_embedding(tmp_path / "Easy.pt", model.conditioner)
    with pytest.raises(InputError, match="vectors of width 5; this text encoder has 32"):
        learn_embedding(saved(tmp_path / "wide.pt", torch.ones(1, 5)), model.conditioner)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("x.pt", {"a": 1}, "x.pt: holds no embedding"),
        ("x.safetensors", {"a": VECTORS, "b": VECTORS}, "holds 2 tensors; an embedding is one"),
        (
            "x.safetensors",
            {"clip_l": VECTORS, "clip_g": VECTORS},
            "is an embedding for SDXL, which reads with two encoders",
        ),
        ("x.pt", torch.ones(76, 4), r"emb_params is [76, 4]; an embedding is 1 to 75 vectors"),
        (
            "x.pt",
            torch.full((1, 4), torch.nan),
            "x.pt: emb_params holds values that are not finite",
        ),
        ("a (b).pt", VECTORS, "without spaces, commas, colons and brackets, not 'a (b)'"),
    ],
)
def test_what_is_none_is_refused_in_one_line(name, value, line, tmp_path):
    with pytest.raises(InputError) as caught:
        read_embedding(saved(tmp_path / name, value))
    assert line in str(caught.value)


class Canary:
    """What unpickling would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_no_code_in_a_file_is_run(tmp_path):
    path = tmp_path / "evil.pt"
    torch.save({"string_to_param": {"*": Canary(str(tmp_path / "ran"))}}, path)
    with pytest.raises(InputError, match="which is code and could do anything; it is not read"):
        read_embedding(path)
    assert not (tmp_path / "ran").exists()
