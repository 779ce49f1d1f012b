"""python -m sd train, sample, film, noise, export, score, plan, data, host, info and others.

A person's mistake is one line on standard error and exit status 2.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from types import FrameType
from typing import NoReturn

from sd.cli import commands
from sd.common import threads, validation
from sd.common.text import brief, printable, system_reason
from sd.common.validation import InputError
from sd.config import preset_about, preset_names
from sd.diffusion.timesteps import SAMPLERS, SPACINGS, VARIANCES

DATA = "a folder, a zip, or a bundled set: starter, shapes or shapes128"

Command = Callable[[argparse.Namespace], None]


def number(text: str) -> float:
    """Return a number typed on the command line; whole ones as int."""
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{validation.shown(text)} is not a number") from None


class Ended(KeyboardInterrupt):
    """A signal asked this process to end: what is open is closed, what is half written goes."""

    number = signal.SIGINT


def end_cleanly() -> None:
    """Let SIGTERM and SIGHUP (a closed terminal) end a command as Ctrl-C does.

    A second SIGTERM ends it at once; SIGHUP often comes twice, from the shell and the system. What
    is ignored, as SIGHUP under nohup, stays so.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    ended = Ended()
    ended.number = signal.Signals(number)
    raise ended


class Parser(argparse.ArgumentParser):
    """argparse's parser, whose complaint is one line like all others."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def parser() -> Parser:
    """Return the parser of all commands."""
    top = Parser(prog="python -m sd", description=(__doc__ or "").partition("\n")[0])
    words = top.add_subparsers(required=True, metavar="COMMAND")

    def add(run: Command) -> argparse.ArgumentParser:
        flags = words.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
        flags.set_defaults(handler=run)
        return flags

    _train_flags(add(commands.train))
    _sample_flags(add(commands.sample))
    _film_flags(add(commands.film))
    _noise_flags(add(commands.noise))
    _reconstruct_flags(add(commands.reconstruct))
    _score_flags(add(commands.score))
    _plan_flags(add(commands.plan))
    _export_flags(add(commands.export))
    flags = add(commands.data)
    flags.add_argument("data", metavar="DATA", help=DATA)
    flags.add_argument("--json", action="store_true", help="for programs")
    flags = add(commands.host)
    about = "list; stop or delete VISITOR [RUN], as list calls them; close [LINE], or open"
    flags.add_argument("what", metavar="WHAT", help=about)
    flags.add_argument("about", nargs="*", metavar="VISITOR|RUN|LINE")
    flags = add(commands.rename)
    flags.add_argument("run", metavar="RUN", help="its name or its folder")
    flags.add_argument("name", metavar="NAME")
    flags = add(commands.pull)
    about = "of the hub, safetensors alone; without a revision nothing is fetched yet"
    flags.add_argument("place", metavar="OWNER/NAME[/FILE][@REVISION]", help=about)
    flags.add_argument("--json", action="store_true", help="for programs")
    flags = add(commands.info)
    about = "or a .ckpt, a folder of diffusers, or the name of a preset"
    flags.add_argument("path", metavar="CHECKPOINT|FILE.ini|FILE.safetensors", help=about)
    flags.add_argument("--json", action="store_true", help="for programs")
    return top


def _train_flags(flags: argparse.ArgumentParser) -> None:
    _data_and_length(flags)
    flags.add_argument(
        "--run", metavar="FOLDER", help="the new run's folder, or with --resume its own"
    )
    again = flags.add_mutually_exclusive_group()
    again.add_argument(
        "--resume", action="store_true", help="go on with --run, to --steps or for --minutes"
    )
    about = "begin --run anew from its source and settings; what it made is set aside in its folder"
    again.add_argument("--restart", action="store_true", help=about)
    about = "with --first-stage own: end when the autoencoder is trained"
    flags.add_argument("--only-first-stage", action="store_true", help=about)
    flags.add_argument("--seed", type=number, help="0 if not told, -1 draws one")
    flags.add_argument("--device", help="auto, cpu, cuda or mps")


def _export_flags(flags: argparse.ArgumentParser) -> None:
    about = "a checkpoint or run folder, or a file or diffusers folder of Stable Diffusion; "
    about += "FILE#lora=LORA@0.8 has a LoRA merged into its weights"
    flags.add_argument("model", metavar="MODEL", help=about)
    about = "a file, or a folder of diffusers; that of an own model brings its code along"
    flags.add_argument("--out", required=True, metavar="FILE.safetensors|FOLDER", help=about)
    flags.add_argument("--dtype", default="float32", help="float32, float16 or bfloat16")
    flags.add_argument("--thumbnail", metavar="PICTURE", help="kept small in the file's header")
    flags.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")


def _reconstruct_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("picture", metavar="PICTURE")
    which = flags.add_mutually_exclusive_group()
    which.add_argument("--model", metavar="MODEL", help="by the first stage of this model")
    about = "by taesd (if nothing is told), taef2, or that of a file, folder or hub id"
    which.add_argument("--first-stage", metavar="NAME", help=about)
    about = "HEIGHTxWIDTH or a side, multiples of f; the model's own, or 128, if not told"
    flags.add_argument("--size", metavar="SIZE", help=about)
    about = "reconstruction.png, under a free name, if not told; a folder gets it so too"
    flags.add_argument("--out", metavar="FILE.png|FOLDER", help=about)
    _overwrite_flag(flags)


def _score_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("run", metavar="RUN", help="a run folder, or a checkpoint in one")
    about = "samples, half of captions in training and half of others; 200 if not told"
    flags.add_argument("--count", type=number, help=about)
    flags.add_argument("--steps", type=number, help="steps of dpmpp_2m; 25 if not told")
    about = "how strongly a caption is followed; 2 if not told"
    flags.add_argument("--guidance", type=number, metavar="SCALE", help=about)
    flags.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    flags.add_argument("--json", action="store_true", help="for programs")


def _plan_flags(flags: argparse.ArgumentParser) -> None:
    _data_and_length(flags)
    about = "how many of DATA are trained on, where that is known; else what looks like one counts"
    flags.add_argument("--pictures", type=number, help=about)
    flags.add_argument("--device", help="auto, cpu, cuda or mps")
    flags.add_argument("--json", action="store_true", help="for programs")


def _data_and_length(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("data", nargs="?", metavar="DATA", help=DATA)
    about = "start from the weights of a model, whatever of them fits: a run, a checkpoint, a "
    about += "bundle, or the name of one; without --preset and --config its settings are taken. "
    about += "auto: a bundled one that fits, if there is one"
    start = flags.add_mutually_exclusive_group()
    start.add_argument("--from", dest="start_from", metavar="MODEL", help=about)
    about = "train a LoRA for this file or diffusers folder of Stable Diffusion, which stays as it "
    about += "is; FILE#dtype=bfloat16 takes half the memory"
    start.add_argument("--lora", metavar="FILE", help=about)
    _settings_flags(flags)
    length = flags.add_mutually_exclusive_group()
    length.add_argument("--steps", type=number, help="optimiser steps")
    length.add_argument("--epochs", type=number, help="passes over the pictures")
    about = "minutes from now; without --preset and --config the settings are chosen for them"
    length.add_argument("--minutes", type=number, help=about)


def _sample_flags(flags: argparse.ArgumentParser) -> None:
    about = "a checkpoint or run folder; a file or diffusers folder of Stable Diffusion, which "
    about += "FILE#prediction=v tells more of; or without training, ideal:DATA or linear:DATA"
    flags.add_argument("checkpoint", nargs="?", metavar="MODEL", help=about)
    about = "a PNG that this command or the page made: makes its picture again"
    flags.add_argument("--recipe", metavar="FILE.png", help=about)
    about = "a PNG of AUTOMATIC1111's interface: takes its prompts and settings, unless told"
    flags.add_argument("--like", metavar="FILE.png", help=about)
    about = "with --recipe: leave it after this step, and go on as the other flags say"
    flags.add_argument("--at", type=number, metavar="STEP", help=about)
    about = "a picture for every value, of two such axes for every pair: prompt, guidance, steps, "
    about += "sampler, seed, eta, size or checkpoint (a step); --out gets a folder or FILE.png"
    flags.add_argument("--grid", action="append", metavar="AXIS=V,V,...", help=about)
    flags.add_argument("--count", type=number, help="pictures; 16 if not told")
    about = "of what is drawn; of other sizes than the model learned from it makes what it can"
    flags.add_argument("--size", metavar="HEIGHTxWIDTH", help=about)
    flags.add_argument("--sampler", help=f"{', '.join(SAMPLERS)}; ddim if not told")
    flags.add_argument("--steps", type=number, help="steps of the sampler; 50 if not told")
    flags.add_argument("--eta", type=number, help="ddim: 0 adds no noise (if not told), 1 is ddpm")
    flags.add_argument("--variance", help=f"ddpm: {' or '.join(VARIANCES)}; the first if not told")
    flags.add_argument("--spacing", help=f"{', '.join(SPACINGS)}; trailing if not told")
    flags.add_argument(
        "--no-clip", action="store_true", help="do not cut x0 to the range of pictures"
    )
    _conditioning_flags(flags)
    _start_flags(flags)
    flags.add_argument("--keep-steps", action="store_true", help="keep every step's picture too")
    about = (
        "a folder (else the ini's) gets a picture each; or a file: a sheet, arrays, or the steps"
    )
    flags.add_argument("--out", metavar="FOLDER|FILE.png|.npz|.gif|.webp|.mp4|.html", help=about)
    _overwrite_flag(flags)
    flags.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def _overwrite_flag(flags: argparse.ArgumentParser) -> None:
    about = "replace a file that is there already; never one that is read here"
    flags.add_argument("--overwrite", action="store_true", help=about)


def _conditioning_flags(flags: argparse.ArgumentParser) -> None:
    about = "a class that the model knows; of several the pictures take one after the other"
    flags.add_argument("--label", action="append", metavar="NAME", help=about)
    about = "what the pictures are asked for; of several they take one after the other"
    flags.add_argument("--prompt", action="append", metavar="TEXT", help=about)
    about = "ask for nothing; else a model that knows some is asked for what its own samples were"
    flags.add_argument("--unconditional", action="store_true", help=about)
    flags.add_argument("--negative", metavar="TEXT", help="what guidance leads away from")
    about = "how strongly a prompt or label is followed; 2 if there is one, 1 adds nothing; "
    about += "of several the pictures take one after the other"
    flags.add_argument("--guidance", type=number, nargs="+", metavar="SCALE", help=about)
    about = "0..1: take back how far strong guidance spreads the values; 0 if not told"
    flags.add_argument("--rescale", type=number, help=about)
    about = "guide only between these shares of T"
    flags.add_argument("--interval", type=number, nargs=2, metavar=("LOW", "HIGH"), help=about)
    about = "where the first picture's words were looked for, at every step"
    flags.add_argument("--attention", metavar="FOLDER|FILE.png|.npz", help=about)


def _start_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("--seed", type=number, help="0 if not told, -1 draws one")
    about = "begin between two seeds: the first picture at --seed, the last one here"
    flags.add_argument("--seed-to", type=number, metavar="SEED", help=about)
    about = "begin from a picture, noised to --t"
    flags.add_argument("--from", dest="picture", metavar="PICTURE", help=about)
    flags.add_argument("--t", type=number, help="with --from: how far, above 0, at most T")
    about = "with --from: a picture, white where the other is made anew; the rest stays"
    flags.add_argument("--mask", metavar="PICTURE", help=about)


def _film_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("run", metavar="RUN", help="a run folder")
    about = "film.gif, under a free name, if not told; a folder gets it under a free name too"
    flags.add_argument("--out", metavar="FILE.gif|.webp|.mp4|FOLDER", help=about)
    _overwrite_flag(flags)


def _noise_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("picture", metavar="PICTURE")
    flags.add_argument("--t", type=number, nargs="+", required=True, help="times, 0..T")
    about = "with the settings of this model, and in its latents if it has any"
    flags.add_argument("--model", metavar="MODEL", help=about)
    _settings_flags(flags)
    about = "noise.png, under a free name, if not told; a folder gets it under a free name too"
    flags.add_argument("--out", metavar="FILE.png|FOLDER", help=about)
    _overwrite_flag(flags)
    flags.add_argument("--seed", type=number, help="same seed, same noise; -1 draws one")


def _settings_flags(flags: argparse.ArgumentParser) -> None:
    chosen = flags.add_mutually_exclusive_group()
    presets = "; ".join(f"{name}: {preset_about(name).rstrip('.')}" for name in preset_names())
    chosen.add_argument("--preset", help=presets.replace("%", "%%"))
    chosen.add_argument("--config", metavar="FILE.ini", help="settings of your own; - reads them")
    about = "train on latents of taesd, taef2, own, a file, folder or hub id; or on pixels"
    flags.add_argument("--first-stage", metavar="NAME", help=about)
    flags.add_argument(
        "--set", action="append", default=[], metavar="section.key=value", help="change one"
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    threads.share_cores()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files can be anything
    try:
        args = parser().parse_args(words)
        args.handler(args)
    except (InputError, OSError) as error:
        with suppress(OSError):  # nobody may be there to read it
            print(one_line(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        return 128 + getattr(error, "number", signal.SIGINT)
    return 0


def one_line(error: InputError | OSError) -> InputError:
    """Return an error as its one line; of the system's, which file and why."""
    if isinstance(error, InputError):
        return error
    names = [brief(printable(str(name))) for name in (error.filename,) if name is not None]
    return InputError(": ".join([*names, system_reason(error)]))
