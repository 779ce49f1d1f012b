"""CLIP's text encoder: names and numbers of transformers' own, causal, skipped, refused."""

import pytest
import torch

from sd.common.validation import InputError
from sd.networks.clip.config import GELU, QUICK_GELU, CLIPTextConfig
from sd.networks.clip.text import CLIPText

SMALL = CLIPTextConfig(width=32, layers=3, heads=4, vocabulary=50, positions=9, padding=49)


def encoder(config=SMALL):
    torch.manual_seed(0)
    made = CLIPText(config)
    for parameter in made.parameters():  # else biases and norms are those of no training
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made.eval()


def theirs(ours):
    """The same encoder of transformers, with the same weights."""
    transformers = pytest.importorskip("transformers")
    c = ours.config
    config = transformers.CLIPTextConfig(
        vocab_size=c.vocabulary,
        hidden_size=c.width,
        intermediate_size=c.hidden or 4 * c.width,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        max_position_embeddings=c.positions,
        hidden_act=c.activation,
        bos_token_id=c.vocabulary - 2,
        eos_token_id=c.vocabulary - 1,
        pad_token_id=c.padding,
    )
    made = transformers.CLIPTextModel(config).eval()
    missing, unexpected = made.load_state_dict(ours.state_dict(), strict=True)
    assert not missing and not unexpected
    return made


def shapes_of(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def test_the_large_one_has_the_196_tensors_of_the_files():
    with torch.device("meta"):
        large = CLIPText(CLIPTextConfig())
        huge = CLIPText(CLIPTextConfig(1024, 23, 16, activation=GELU, padding=0))
    shapes = shapes_of(large)
    assert len(shapes) == 196
    assert shapes["encoder.layers.11.self_attn.q_proj.weight"] == (768, 768)
    assert shapes["encoder.layers.0.mlp.fc1.weight"] == (3072, 768)
    assert sum(tensor.numel() for tensor in large.parameters()) == 123_060_480
    assert CLIPTextConfig.from_shapes(shapes) == CLIPTextConfig(hidden=3072)
    found = CLIPTextConfig.from_shapes(shapes_of(huge))
    assert (found.layers, found.heads, found.activation, found.padding) == (23, 16, GELU, 0)


@pytest.mark.parametrize("activation", [QUICK_GELU, GELU])
@torch.no_grad()
def test_it_equals_transformers(activation):
    ours = encoder(CLIPTextConfig(32, 3, 4, 40, 50, 9, activation, 49))
    tokens = torch.randint(50, (4, 9), generator=torch.Generator().manual_seed(1))
    out = theirs(ours)(tokens, output_hidden_states=True)
    assert ours(tokens).sub(out.last_hidden_state).abs().max() <= 1e-5
    skipped = ours.final_layer_norm(out.hidden_states[-2])
    assert ours(tokens, skip=1).sub(skipped).abs().max() <= 1e-5
    assert ours(tokens).sub(skipped).abs().max() > 0.1  # so that the two lines above can fail


@pytest.mark.slow
@torch.no_grad()
def test_the_large_one_equals_transformers():
    ours = encoder(CLIPTextConfig())
    tokens = torch.randint(49_408, (2, 77), generator=torch.Generator().manual_seed(1))
    assert ours(tokens).sub(theirs(ours)(tokens).last_hidden_state).abs().max() <= 1e-5


@torch.no_grad()
def test_a_token_sees_what_stands_before_it_alone():
    ours, tokens = encoder(), torch.arange(9)[None]
    changed = tokens.clone()
    changed[0, 5] = 40
    before, after = ours(tokens), ours(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(-1).all()


@torch.no_grad()
def test_learned_vectors_stand_in_for_new_tokens():
    ours, learned = encoder(), torch.randn(2, 32)
    tokens, plain = torch.tensor([[1, 51, 2, 50, 51]]), torch.tensor([[1, 8, 2, 7, 8]])
    ours_of_new = ours(tokens, learned=learned)
    ours.embeddings.token_embedding.weight[7:9] = learned
    torch.testing.assert_close(ours_of_new, ours(plain), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"heads": 5}, "heads = 5: must divide the width 768"),
        ({"activation": "relu"}, "activation = 'relu': must be one of quick_gelu, gelu"),
        ({"layers": 0}, "layers = 0: must be a whole number from 1 to 1000000"),
    ],
)
def test_what_cannot_be_built_is_refused(settings, line):
    with pytest.raises(InputError, match=line):
        CLIPTextConfig(**settings)


def test_other_weights_and_too_many_skipped_layers_are_refused():
    with pytest.raises(InputError, match="not the weights of a text encoder of CLIP"):
        CLIPTextConfig.from_shapes({"embeddings.token_embedding.weight": (5, 4)})
    with pytest.raises(InputError, match="skip = 3: must be a whole number from 0 to 2"):
        encoder()(torch.zeros(1, 9, dtype=torch.int64), skip=3)


def test_nothing_is_drawn_normally_without_storage(monkeypatch):
    """Torch's compiler does that, and its import takes seconds."""
    monkeypatch.setattr(torch.nn.init, "normal_", lambda *_: pytest.fail("drawn normally"))
    with torch.device("meta"):
        CLIPText(SMALL)
