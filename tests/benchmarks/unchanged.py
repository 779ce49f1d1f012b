"""Whether another version of this package makes the same bytes: pictures, films, a run, a bundle.

    python -m tests.benchmarks.unchanged OTHER_TREE

Both trees get the same command lines, each in a process of its own on one thread: a run of 50
steps, one of 25 that is resumed to 50, a run on captions, samplings of these and of the models that
need no run, and recipes that begin from a picture, in a mask and from painted branches. What has to
be equal is compared by SHA-256; journals, notes and what holds a time are not.
"""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

import sd
from sd.__main__ import main

TINY = [  # settings of the smallest network, 8 x 8 grey pictures of two classes
    *("training.batch_size=4", "training.learning_rate=0.002", "training.save_every=25"),
    *("training.sample_every=25", "training.input_height=8", "training.input_width=8"),
    *("unet.channel=1", "unet.n_embed=1", "unet.model_channels=32", "unet.channel_mult=[1]"),
    *("unet.attention_resolutions=[]", "unet.num_heads=1", "unet.resblock_updown=False"),
    *("unet.patch_size=2", "diffusion.timesteps=50", "diffusion.prediction=v"),
]
CLASSES = [*TINY, "conditioning.kind=class_tokens", "unet.context_dim=16"]
CAPTIONS = [*TINY, "conditioning.kind=captions", "unet.context_dim=16"]
WIDE_NOISE = ["diffusion.noise_info=[0.3, 1.5]", "diffusion.prediction=x0"]
RUNS = {
    "straight": (CLASSES, 50, []),
    "halves": (CLASSES, 25, ["--resume", "--steps", "50"]),
    "captions": (CAPTIONS, 4, []),
    "noise": ([*TINY, *WIDE_NOISE], 4, []),
}
SAMPLINGS = {  # by the name of what is made: what follows `sample`; A, M: a picture and its mask
    "emoji.png": "checkpoints/emoji32 --prompt cat --prompt dog --guidance 2 --steps 5 --count 2",
    "emoji-between.png": "checkpoints/emoji32 --unconditional --seed-to 9 --steps 4 --count 3",
    "emoji.html": "checkpoints/emoji32 --prompt cat --steps 3 --count 2 --seed 4",
    "emoji.gif": "checkpoints/emoji32 --prompt cat --steps 3 --count 2 --seed 5",
    "emoji.mp4": "checkpoints/emoji32 --prompt cat --steps 3 --count 2 --seed 6",
    "emoji.npz": "checkpoints/emoji32 --prompt cat --steps 3 --count 2 --keep-steps",
    "emoji-start.png": "checkpoints/emoji32 --prompt cat --steps 4 --count 2 --from A --t 500",
    "emoji-mask.png": "checkpoints/emoji32 --steps 4 --count 2 --from A --t 700 --mask M",
    "emoji-folder": "checkpoints/emoji32 --prompt sun --steps 3 --count 2 --keep-steps",
    "ideal.png": "ideal:HOME/straight --steps 5 --count 4",
    "linear.png": "linear:HOME/straight --steps 5 --count 4 --sampler dpmpp_2m",
    "noise.png": "HOME/noise --steps 5 --count 2 --sampler ddpm --no-clip",
    "noise-start.png": "HOME/noise --steps 5 --count 2 --from A --t 30 --mask M",
    "captions.png": "HOME/captions --prompt blue --negative red --rescale 0.5 --steps 5 --count 2",
    "captions.npz": "HOME/captions --prompt blue --interval 0.2 0.8 --steps 5 --count 2",
    **{
        f"{sampler.split()[0]}.png": f"HOME/straight --label cat --steps 6 --sampler {sampler}"
        for sampler in (
            *("ddim --eta 0.5", "ddpm --variance fixed_large", "euler_ancestral --spacing leading"),
            *("euler", "heun", "unipc", "dpmpp_2m --spacing karras --guidance 4"),
        )
    },
}


# ---- in a process of one tree: the command lines are all that is known of it


def make(out: Path) -> None:
    """Make everything below `out`, which is the same path for both trees."""

    def run(*words: str) -> None:
        status = main([*words])
        assert status == 0, (status, words)

    data, home = out / "data", out / "home"
    os.environ["SD_HOME"] = str(home)
    draw_pictures(data)
    for name, (settings, steps, again) in RUNS.items():
        sets = [word for each in settings for word in ("--set", each)]
        source = str(data / ("captions" if name == "captions" else "classes"))
        folder = ["--run", str(home / name)]
        length = ["--steps", str(steps), "--seed", "3", "--device", "cpu", *sets]
        run("train", source, *folder, *length)
        if again:
            run("train", *folder, *again)
    places = {"A": data / "start.png", "M": data / "mask.png"}
    for name, line in SAMPLINGS.items():
        words = line.replace("HOME", str(home)).split()
        run("sample", *(str(places.get(word, word)) for word in words), "--out", str(out / name))
    for name, recipe in recipes(data).items():
        write_recipe(recipe, data / f"recipe-{name}.png")
        run("sample", "--recipe", str(data / f"recipe-{name}.png"), "--out", str(out / name))
    times = ["--t", "0", "10", "900"]
    run("noise", str(places["A"]), *times, "--preset", "tiny", "--out", str(out / "x_t.png"))
    pack(home / "straight", out / "bundle.zip")


def draw_pictures(data: Path) -> None:
    """Draw twelve pictures of two classes, with captions too, and a start picture with its mask."""
    for k in range(12):
        picture = Image.linear_gradient("L").rotate(30 * k).resize((16, 16)).convert("RGB")
        kind, caption = ("cat", "a red cat") if k % 2 else ("dog", "a blue dog, sitting")
        for folder in (data / "classes" / kind, data / "captions"):
            folder.mkdir(parents=True, exist_ok=True)
            picture.save(folder / f"{k}.png")
        (data / "captions" / f"{k}.txt").write_text(caption)
    Image.radial_gradient("L").resize((32, 32)).convert("RGB").save(data / "start.png")
    shade = Image.linear_gradient("L").resize((32, 32))
    shade.point(lambda level: 255 * (level > 99)).save(data / "mask.png")


def recipes(data: Path) -> dict[str, dict[str, Any]]:
    """Return recipes that only the page makes: branches, with and without paint."""
    root = {"format": 1, "model": "straight", "steps": 6, "count": 2, "prompts": ["cat"]}
    picture = Image.open(data / "start.png").convert("L").resize((8, 8))
    start = {"picture": embedded(picture), "t": 30, "mask": None}
    paint = Image.new("RGBA", (8, 8))
    for place in range(3):
        paint.putpixel((place, place), (200, 90, 40, 255))
    painted = {"recipe": root, "at": 2, "paint": embedded(paint)}
    return {
        "start.png": root | {"start": start, "sampler": "heun", "guidance": [3]},
        "branch.png": root | {"branch": {"recipe": root, "at": 3, "paint": None}, "steps": 3},
        "paint.png": root | {"branch": painted, "steps": 5, "sampler": "ddpm", "seed": 7},
        "paint.gif": root | {"branch": painted, "steps": 4},
    }


def embedded(picture: Image.Image) -> str:
    """Return a picture as recipes carry it."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def write_recipe(recipe: dict[str, Any], path: Path) -> None:
    """Write a PNG that carries a recipe."""
    info = PngInfo()
    info.add_itxt("sd", json.dumps({"recipe": recipe, "index": 0, "sheet": True}))
    Image.new("L", (8, 8)).save(path, pnginfo=info)


def pack(folder: Path, target: Path) -> None:
    """Make a bundle of a run: no command does it, so its module is looked for in the tree."""
    flat = Path(sd.__file__).with_name("bundle.py").exists()
    import_module("sd.bundle" if flat else "sd.runs.bundle").pack(folder, target)


# ---- in this process: both trees, and what they made


def digests(out: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and SHA-256 of every file that has to be equal, and of a bundle's members."""
    for path in sorted(each for each in out.rglob("*") if each.is_file()):
        name = path.relative_to(out).as_posix()
        if name.startswith("data/") or not is_timeless(name):
            continue
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as packed:
                for member in filter(is_timeless, packed.namelist()):
                    yield f"{name}/{member}", hashlib.sha256(packed.read(member)).hexdigest()
        else:
            data = path.read_bytes()
            if (
                path.suffix == ".html"
            ):  # its film, whose id is drawn anew; the player may be another
                data = data.partition(b'id="value"')[2].partition(b"</script>")[0]
                data = re.sub(rb'"id": "\w+"', b"", data)
            yield name, hashlib.sha256(data).hexdigest()


def is_timeless(name: str) -> bool:
    """Tell whether a file holds no time, no seconds and no number of a process."""
    last = name.rpartition("/")[2]
    kinds = (".png", ".gif", ".mp4", ".npz", ".html", ".zip", ".ini", ".md", ".safetensors", ".bin")
    return last.endswith((*kinds, "index.json", "conditioning.json"))


def made_by(tree: Path, out: Path) -> dict[str, str]:
    """Return the digests of what a tree makes in `out`; raise `SystemExit` where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-P", __file__, "--make", str(out)]
    made = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True)
    if made.returncode:
        sys.exit(f"{tree}:\n{made.stderr[-3000:]}")
    return dict(digests(out))


def compare(other: Path) -> bool:
    """Print which files are not equal, and how many are; return whether all are."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        ours = made_by(Path(__file__).parents[2], out)
        shutil.rmtree(out)
        theirs = made_by(other, out)
    unequal = {name for name in ours.keys() | theirs if ours.get(name) != theirs.get(name)}
    end, half = (
        {k: v for k, v in ours.items() if k.startswith(f"home/{run}/checkpoint-000000050")}
        for run in ("straight", "halves")
    )
    if list(end.values()) != list(half.values()):
        unequal.add(
            "home/halves: going on from step 25 came to other weights than 50 steps at once"
        )
    print(*sorted(unequal), f"{len(ours.keys() & theirs) - len(unequal)} files are equal", sep="\n")
    return not unequal


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(Path(sys.argv[2]))
    elif len(sys.argv) == 2:
        sys.exit(not compare(Path(sys.argv[1]).resolve()))
    else:
        sys.exit(__doc__)
