"""The reconstruct command: what an autoencoder keeps of a picture, and what it loses."""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch

from sd.checkpoints.first_stage import open_autoencoder
from sd.cli.pictures import read_and_remark
from sd.common.device import choose
from sd.common.marks import save_png
from sd.common.outputs import Output, check_free, make_place, output_of, write_free, write_named
from sd.common.validation import InputError
from sd.config import Config
from sd.data.images import fit_picture, make_grid, to_float
from sd.data.space import Shape
from sd.diffusion.reconstruction import psnr, rough_share, ssim
from sd.generation.recipe import parse_size
from sd.generation.registry import load_model, model_at
from sd.networks.first_stage import Autoencoder, Latents, encode_mode
from sd.runs import default_home

NAME, DEFAULT, SIDE = "reconstruction.png", "taesd", 128
ENLARGED = 4  # times the error is shown


def reconstruct(args: argparse.Namespace) -> None:
    """Write picture, reconstruction and four times the error side by side; print the figures."""
    out = Output(Path()) if args.out is None else output_of("--out", args.out, (".png",))
    check_free("--out", out, [Path(args.picture)], args.overwrite)
    machine = choose("auto").apply()
    autoencoder, shape = _autoencoder(args)
    _, height, width = shape
    picture = read_and_remark(args.picture)
    x = to_float(fit_picture(picture, height, width, 3, "crop"))[None].to(machine.device)
    autoencoder.to(machine.device)
    with torch.no_grad():
        z = encode_mode(autoencoder, x)
        found = autoencoder.decode(z).clamp(-1, 1)
    error = ((x - found).abs().mean(1, keepdim=True) * ENLARGED - 1).expand_as(x)
    grid = make_grid(torch.cat([x, found, error]), columns=3)
    make_place(out)
    fill = partial(save_png, grid)
    if out.is_file:
        write_named(out.path, fill)
    place = out.path if out.is_file else write_free(out.path / NAME, fill)
    channels, h, w = z.shape[1:]
    rms = float((x - found).square().mean().sqrt())
    print(f"3 x {height} x {width} -> {channels} x {h} x {w}, f = {autoencoder.factor}")
    print(f"{float(psnr(x, found)):.1f} dB, SSIM {float(ssim(x, found)):.3f}, RMS error {rms:.4f}")
    print(f"{rough_share(z[0].cpu()):.0%} of the latents' power above half of Nyquist")
    print(f"written: {place}", file=sys.stderr)


def _autoencoder(args: argparse.Namespace) -> tuple[Autoencoder, Shape]:
    """Return the autoencoder that the flags name, and the shape of the picture."""
    if args.model is not None:
        space = load_model(model_at(default_home(), args.model), "cpu").space
        if not isinstance(space, Latents):
            raise InputError(f"--model: {args.model} samples pixels; it has no first stage")
        autoencoder, shape = space.autoencoder, space.picture_shape
    else:
        config = Config.preset("latent128").with_first_stage(args.first_stage or DEFAULT)
        if not config.is_latent:
            raise InputError("--first-stage: pixels have none")
        autoencoder, shape = open_autoencoder(config), (3, SIDE, SIDE)
    if args.size is not None:
        shape = (3, *parse_size("--size", args.size))
    return autoencoder, shape
