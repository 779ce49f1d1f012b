"""What is said to add to a model: LoRA at their scales, learned words, clip skip."""

import pytest
import torch
from safetensors.torch import save_file

from sd.checkpoints.pretrained.building import open_pretrained
from sd.checkpoints.pretrained.choices import parse_place
from sd.checkpoints.pretrained.export import write_single
from sd.common.validation import InputError
from tests.helpers import published

TO_Q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, a LoRA and a word."""
    path = tmp_path_factory.mktemp("model")
    published.write_single(path / "model.safetensors")
    factors = {"down": torch.ones(2, 32), "up": torch.ones(32, 2)}
    save_file({f"{TO_Q}.lora_{n}.weight": each for n, each in factors.items()}, path / "lora.st")
    save_file({"emb_params": torch.ones(2, 32)}, path / "my-cat.safetensors")
    return path


def test_a_place_says_what_to_add():
    path, said = parse_place(
        "a/b.safetensors#lora=x.st@-0.5,lora=y@z.st,embedding=e.pt,clip_skip=2"
    )
    assert str(path) == "a/b.safetensors" and said.embedding == ("e.pt",) and said.clip_skip == 2
    assert said.lora == (("x.st", -0.5), ("y@z.st", 1.0))


@torch.no_grad()
def test_it_is_added_and_told(folder):
    place = f"{folder}/model.safetensors"
    plain = open_pretrained(place)
    more = f"lora={folder}/lora.st@0.5,embedding={folder}/my-cat.safetensors,clip_skip=2"
    model = open_pretrained(f"{place}#{more}")
    assert "added" not in plain.about
    assert model.about["added"] == [
        "my-cat.safetensors: prompts may say my-cat",
        "lora.st: 1 of 1 used, 1 in the U-Net, 0 in the text encoder; at 0.5",
    ]
    assert [word for word, _ in model.conditioner.spans("a my-cat")] == ["a", "my-cat"]
    x, t = torch.ones(1, 4, 8, 8), torch.tensor([500])
    contexts = [each.conditioner(each.conditioner.read(["a"])).context for each in (plain, model)]
    assert not torch.equal(*contexts)
    assert not torch.equal(*(each.unet(x, t, contexts[0]) for each in (plain, model)))


@torch.no_grad()
def test_what_is_written_has_a_lora_merged_and_no_word(folder, tmp_path):
    place = f"{folder}/model.safetensors#lora={folder}/lora.st@0.5"
    model = open_pretrained(place, merge=True)
    assert not model.about["added"] and len(model.about["merged"]) == 1
    write_single(model, tmp_path / "merged.safetensors")
    again, branched = open_pretrained(f"{tmp_path}/merged.safetensors"), open_pretrained(place)
    x, t = torch.ones(1, 4, 8, 8), torch.tensor([500])
    context = again.conditioner(again.conditioner.read(["a"])).context
    answers = [each.unet(x, t, context) for each in (again, branched)]
    torch.testing.assert_close(*answers, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="a LoRA only where it is merged"):
        write_single(branched, tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("lora={0}/none.st", "none.st: cannot be read"),
        ("lora={0}/my-cat.safetensors", "my-cat.safetensors: holds no LoRA"),
        ("embedding={0}/none.pt", "none.pt: cannot be read"),
        ("clip_skip=3", "clip_skip = 3: must be a whole number from 1 to 2"),
        ("lora={0}/lora.st@900", "scale = 900.0: must be a number from -100 to 100"),
    ],
)
def test_what_cannot_be_added_is_refused(folder, more, line):
    with pytest.raises(InputError) as caught:
        open_pretrained(f"{folder}/model.safetensors#{more.format(folder)}")
    assert line in str(caught.value)
