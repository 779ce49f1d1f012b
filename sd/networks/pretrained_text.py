"""A frozen text encoder that others have trained, in place of one trained with the U-Net.

Stable Diffusion v1 reads its prompts with CLIP's text encoder (Rombach et al. 2022), Imagen with
T5's (Saharia et al. 2022). The package `transformers` reads them and is not among the requirements.
Nothing that comes with a model is ever run: weights are safetensors, and code is refused.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from torch import Tensor, nn

from sd.common.validation import InputError, choice, shown, text, whole
from sd.networks.tokenizer import extents, readable

ENCODERS = {  # a config's model_type: the class of transformers that holds the text encoder alone
    "clip": "CLIPTextModel",
    "clip_text_model": "CLIPTextModel",
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "bert": "BertModel",
    "distilbert": "DistilBertModel",
    "roberta": "RobertaModel",
    "xlm-roberta": "XLMRobertaModel",
}
PADDING = -1  # in rows: no token's id, for CLIP pads with the token that also ends a text
LONGEST_PLACE, LONGEST = 4096, 4096  # characters, tokens
MOST_LAYERS = 100


class PretrainedText(nn.Module):
    """The encoder and tokenizer at `place`; `width` is that of a token's context.

    Its weights never learn and it stays in evaluation, whatever the model around it does.
    """

    def __init__(self, place: str, length: int) -> None:
        """Load them from a folder, or what was fetched of the hub; texts get `length` tokens.

        place: a folder, or OWNER/NAME[@REVISION]; nothing is fetched here. `InputError` where
        transformers, the files or a part of the weights is missing.
        """
        super().__init__()
        where = _checked_place(place)
        self.length = whole("text_length", length, 2, LONGEST)
        try:
            self._tokenizer, self.encoder, missing = _load(where)
        except InputError:
            raise
        except Exception as error:  # transformers raises almost anything on what it cannot read
            raise InputError(f"encoder = {shown(place)}: {_fault(where, error)}") from error
        self._check(place, missing)
        self.width: int = self.encoder.config.hidden_size
        self.encoder.float().requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "PretrainedText":
        """Stay in evaluation: a frozen encoder has no use for dropout."""
        return super().train(False)

    def read(self, texts: Sequence[str]) -> Tensor:
        """Return the tokens of texts, int64 [B, L]: cut to L = `length` or filled up with -1."""
        rows = torch.full((len(texts), self.length), PADDING)
        for row, words in zip(rows, texts, strict=True):
            ids = self._tokens(readable(words), cut=True)["input_ids"] or [self._filler]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    @torch.no_grad()
    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the context [B, L, width] of rows [B, L] and where their tokens are, bool."""
        mask = rows != PADDING
        ids = rows.masked_fill(~mask, self._filler)
        states = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return states, mask

    def spans(self, text: str) -> list[tuple[str, list[int]]]:
        """Return each word as typed with the places of its tokens along L.

        A word of which a token was cut off, or that has none, is left out.
        """
        read = readable(text)
        cut = self._tokens(read, cut=True)["offset_mapping"]
        uncut = self._tokens(read, cut=False)["offset_mapping"]
        found = []
        for start, stop in extents(read):
            places = _overlaps(cut, start, stop)
            if places and len(places) == len(_overlaps(uncut, start, stop)):
                found.append((read[start:stop], places))
        return found

    @property
    def _filler(self) -> int:
        """A token for the places that the mask hides."""
        return self._tokenizer.pad_token_id or 0

    def _tokens(self, read: str, cut: bool) -> Any:
        """Return input_ids and offset_mapping of one text, special tokens included."""
        longest = self.length if cut else None
        return self._tokenizer(
            read, truncation=cut, max_length=longest, return_offsets_mapping=True, verbose=False
        )

    def _check(self, place: str, missing: Sequence[str]) -> None:
        """Raise InputError where encoder, weights, tokenizer and length do not fit together."""
        name = f"encoder = {shown(place)}"
        needed = [key for key in missing if "pooler" not in key]  # a pooled text is not used
        if needed:
            raise InputError(f"{name}: {len(needed)} of its weights are missing, as {needed[0]}")
        if not self._tokenizer.is_fast:
            raise InputError(f"{name}: must have a tokenizer.json")
        known = self.encoder.get_input_embeddings().num_embeddings
        if max(self._tokenizer.get_vocab().values(), default=known) >= known:
            raise InputError(f"{name}: its tokenizer has ids above the encoder's {known}")
        room = getattr(self.encoder.config, "max_position_embeddings", LONGEST)
        whole("text_length", self.length, 2, min(room, self._tokenizer.model_max_length))


def _checked_place(value: Any) -> str:
    """Return a folder that is there, or a name that the hub allows."""
    place = text("encoder", value, LONGEST_PLACE)
    if Path(place).is_dir():
        return place
    try:
        validate_repo_id(place.partition("@")[0])
    except HFValidationError as error:
        raise InputError(
            f"encoder = {shown(place)}: must be a folder or a model of the hub, as "
            "openai/clip-vit-large-patch14"
        ) from error
    return place


def _fault(place: str, error: Exception) -> str:
    """Return why an encoder was not loaded."""
    if isinstance(error, OSError) and not Path(place).is_dir():
        repo = place.partition("@")[0]
        return (
            f"no such folder, and not fetched; python -m sd pull {repo} tells its size first; what "
            f"was fetched is called {repo}@COMMIT"
        )
    misfit = "ignore_mismatched_sizes" in str(error)
    return f"cannot be read: {'its weights do not fit its config.json' if misfit else error}"


def _load(place: str) -> tuple[Any, Any, list[str]]:
    """Return tokenizer, encoder and the names of the weights that the files lack."""
    try:
        transformers = import_module("transformers")
    except ImportError as error:
        raise InputError("a pretrained encoder needs: pip install transformers") from error
    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if not Path(place).is_dir() and "@" in place:
        place, _, here["revision"] = place.partition("@")
    with _quiet(transformers.utils.logging):
        config = transformers.AutoConfig.from_pretrained(place, **here)
        kind = choice("model_type of the encoder", config.model_type, list(ENCODERS))
        layers = getattr(config, "text_config", config).num_hidden_layers
        whole("num_hidden_layers of the encoder", layers, 1, MOST_LAYERS)
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, **here)
        tokenizer.truncation_side = "right"
        encoder, info = getattr(transformers, ENCODERS[kind]).from_pretrained(
            place,
            use_safetensors=True,
            attn_implementation="eager",  # else a config could name one to be fetched from the hub
            output_loading_info=True,
            **here,
        )
    return tokenizer, encoder, sorted(info["missing_keys"])


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Keep transformers from printing tables of weights; what is wrong is said in one line."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _overlaps(offsets: Sequence[tuple[int, int]], start: int, stop: int) -> list[int]:
    """Return the places of the tokens that share a character with start..stop."""
    return [k for k, (first, last) in enumerate(offsets) if max(first, start) < min(last, stop)]
