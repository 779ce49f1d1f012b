"""Random generators by key: every draw is a function of what it is for, so no state can be lost."""

import hashlib

import torch


def keyed_generator(*key: int | str) -> torch.Generator:
    """Return the random generator of a key, such as (seed, "noise", step), on the CPU."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
