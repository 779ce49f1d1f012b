"""A picture that the command line names: read, with a line where its file leaves a doubt."""

import sys
from pathlib import Path

from PIL import Image

from sd.common.text import brief, printable
from sd.data.images import read_with_remarks


def read_and_remark(file: str) -> Image.Image:
    """Return the picture in `file`, its transparency kept; say how its values were understood.

    Raises InputError where it is none.
    """
    name = Path(file).name
    image, remarks = read_with_remarks(Path(file), name)
    for line in remarks:
        print(f"{brief(printable(name))}: {line}", file=sys.stderr)
    return image
