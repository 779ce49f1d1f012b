"""The pull command: a model of the hub, told with its size, then fetched at one revision."""

import argparse

from sd.checkpoints.pretrained.hub import fetch, is_pinned, look_up
from sd.checkpoints.pretrained.inspection import inspect
from sd.common.validation import InputError


def pull(args: argparse.Namespace) -> None:
    """Tell what a model of the hub is and how large; fetch it where its revision is said."""
    model = look_up(args.place)
    print(model.line, flush=True)
    if not is_pinned(args.place):
        print(f"nothing was fetched; to fetch it: python -m sd pull {model.place}")
        return
    path = fetch(model)
    try:
        print("\n".join(inspect(path).lines()))
    except InputError as error:  # as another text encoder, for conditioning.encoder
        print(error)
    print(f"fetched: {path}")
