"""The player's texts under keys of the page: they live beside the player, which a file embeds."""

from sd.player.words import TEXTS as WORDS

TEXTS: dict[str, tuple[str, str]] = {f"player_{key}": pair for key, pair in WORDS.items()}
