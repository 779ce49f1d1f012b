"""The command line: python -m sd train | sample | noise | data | info.

A person's mistake is one line on standard error and exit status 2. What bears torch is imported
inside the command that needs it, so that `--help` and `info` of an ini answer at once.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sd import gate, runs
from sd.config import Config, preset_about, preset_names
from sd.files import brief, printable
from sd.gate import InputError
from sd.schedule import Schedule

if TYPE_CHECKING:
    from sd.checkpoints import Model
    from sd.sampling import SampleStep

Command = Callable[[argparse.Namespace], None]


def number(text: str) -> float:
    """Return a number typed on the command line; whole ones as int."""
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{gate.shown(text)} is not a number") from None


def settings_of(args: argparse.Namespace) -> Config:
    """Return the configuration that --preset, --config, --set, --steps and --epochs describe."""
    config = Config.read(args.config) if args.config else Config.preset(args.preset)
    settings = list(getattr(args, "set", []))
    if getattr(args, "epochs", None) is not None:
        settings += [f"training.epochs={args.epochs}", "training.steps=0"]
    if getattr(args, "steps", None) is not None:
        settings += [f"training.steps={gate.whole('--steps', args.steps, 1, 10**8)}"]
    return config.with_settings(settings)


def train(args: argparse.Namespace) -> None:
    """Train on DATA into a run folder, with progress on a terminal."""
    config = settings_of(args)
    data = args.data or config.training.dataset_path
    if not data:
        raise InputError("DATA: give a folder, a zip or the word starter (the ini names none)")
    seed = gate.whole("--seed", args.seed, 0, 2**53)
    from tqdm import tqdm

    from sd.worker import work

    folder = Path(args.run) if args.run else runs.new_folder()
    with tqdm(unit="step", disable=not sys.stderr.isatty()) as bar:
        for step in work(config, data, folder, seed, args.device):
            if step.step == 1:
                tell_start(config, folder)
                bar.reset(step.total)
            bar.update()
            bar.set_postfix(loss=f"{step.loss:.4f}", refresh=False)
    print(f"{runs.status(folder).line}: {folder}")


def tell_start(config: Config, folder: Path) -> None:
    """Say, once all input has proved good, what is trained on and what to beware of."""
    start = next(event for event in runs.events(folder) if event["event"] == "start")
    warning = Schedule.from_settings(config.diffusion).warning
    lines = [*start["report"], *([f"warning: {warning}"] if warning else [])]
    print("\n".join(lines), file=sys.stderr)


def sample(args: argparse.Namespace) -> None:
    """Sample pictures from a checkpoint."""
    from tqdm import tqdm

    from sd.checkpoints import load_checkpoint
    from sd.device import choose

    count = gate.whole("--count", args.count, 1, 4096)
    seed = gate.whole("--seed", args.seed, 0, 2**53)
    machine = choose(args.device).apply()
    model = load_checkpoint(args.checkpoint, machine.device)
    sampling = model.sampling(
        args.sampler,
        args.steps,
        eta=args.eta,
        variance=args.variance,
        spacing=args.spacing,
        clip_x0=not args.no_clip,
    )
    out = samples_target(args.out, model.config.training.save_path)
    seeds = range(seed, seed + count)
    stream = sampling.steps(model.denoiser, model.shape, seeds, machine.device)
    bar = tqdm(stream, total=len(sampling.times), unit="step", disable=not sys.stderr.isatty())
    kept = [step for step in bar if args.keep_steps or step.t == 0]
    write_samples(out, kept, list(seeds), args.keep_steps)
    print(f"{count} pictures on {machine.label}: {out}")


def samples_target(out: str | None, save_path: str | None) -> Path:
    """Return where samples go, a folder that is there or a file's name, before any is made.

    An ini's save_path is always a folder; only --out may name a file.
    """
    target = Path(out or save_path or "samples")
    is_file = out is not None and target.suffix != "" and not target.is_dir()
    if is_file and target.suffix not in (".png", ".npz"):
        raise InputError(f"--out = {gate.shown(out)}: must be a folder, FILE.png or FILE.npz")
    (target.parent if is_file else target).mkdir(parents=True, exist_ok=True)
    return target


def write_samples(
    out: Path, kept: Sequence["SampleStep"], seeds: Sequence[int], every: bool
) -> None:
    """Write the pictures of the last step in `kept`, and all steps if `every`, as `out` names it.

    A folder gets a PNG per picture, FILE.png a sheet, FILE.npz uint8 `samples` [N, H, W, C] with
    their `seeds`, and of every step `steps` and `x0` [S, N, H, W, C] and `times` [S].
    """
    import numpy as np

    from sd.images import grid, to_array, to_pil

    if out.is_dir():
        for seed, picture in zip(seeds, kept[-1].x_t, strict=True):
            to_pil(picture).save(out / f"seed-{seed:05d}.png")
        for step in kept if every else []:
            grid(step.x_t).save(out / f"step-{step.i:04d}.png")
    elif out.suffix == ".png":
        grid(kept[-1].x_t).save(out)
    else:
        arrays: dict[str, Any] = {"samples": to_array(kept[-1].x_t), "seeds": np.asarray(seeds)}
        if every:
            arrays["steps"] = np.stack([to_array(step.x_t) for step in kept])
            arrays["x0"] = np.stack([to_array(step.x0) for step in kept])
            arrays["times"] = np.asarray([step.t for step in kept])
        np.savez_compressed(out, **arrays)


def noise(args: argparse.Namespace) -> None:
    """Noise a picture to one or more t and write them side by side."""
    import torch

    from sd.diffusion import Diffusion
    from sd.images import fit_picture, grid, read_picture, to_float
    from sd.sampling import draw, generators

    out = Path(args.out)
    if out.suffix != ".png":
        raise InputError(f"--out = {gate.shown(args.out)}: must be FILE.png")
    config = settings_of(args)
    diffusion = Diffusion.from_config(config.diffusion)
    training, channels = config.training, config.unet.channel
    picture = read_picture(Path(args.picture), Path(args.picture).name)
    pixels = fit_picture(
        picture, training.input_height, training.input_width, channels, training.fit
    )
    x0 = to_float(pixels)[None]
    eps = draw(x0.shape[1:], generators([gate.whole("--seed", args.seed, 0, 2**53)]))
    times = [diffusion.schedule.check_time(t, "--t") for t in args.t]
    noised = torch.cat([diffusion.q_sample(x0, t, eps) for t in times])
    out.parent.mkdir(parents=True, exist_ok=True)
    grid(noised, columns=len(noised)).save(out)
    for t in times:
        a, b = diffusion.schedule.signal(t), diffusion.schedule.noise(t)
        print(f"t = {t:g}: x_t = {a:.4f} x_0 + {b:.4f} eps, SNR {diffusion.schedule.snr(t):.4g}")


def data(args: argparse.Namespace) -> None:
    """Report which pictures would be used, and which left out and why."""
    from sd.data import inspect_images

    report = inspect_images(args.data)
    print(json.dumps(report.to_json()) if args.json else "\n".join(report.lines()))


def info(args: argparse.Namespace) -> None:
    """Describe a configuration or a checkpoint: network and schedule."""
    from sd.blueprint import blueprint, describe

    path = Path(args.path)
    about: dict[str, Any] = {}
    if path.is_dir():
        model = _load(path)
        config, about = model.config, dict(model.about)
    else:
        config = Config.preset(args.path) if args.path in preset_names() else Config.read(path)
    plan = blueprint(config.unet, config.training.input_height, config.training.input_width)
    schedule = Schedule.from_settings(config.diffusion)
    facts: dict[str, Any] = {
        "parameters": plan.parameters,
        "tensors": plan.tensors,
        "operations": plan.operations,
        "activation_bytes": plan.activation_bytes,
        "terminal_snr": schedule.terminal_snr,
        "warning": schedule.warning,
        **{name: about[name] for name in ("step", "seed", "pictures") if name in about},
    }
    if args.json:
        print(json.dumps(facts))
        return
    lines = [*describe(plan), f"schedule {config.diffusion.schedule}, T = {schedule.timesteps}"]
    lines.append(f"terminal SNR {schedule.terminal_snr:.3g}")
    lines += [f"warning: {schedule.warning}"] if schedule.warning else []
    lines += [f"{name} {about[name]}" for name in ("step", "seed", "pictures") if name in about]
    print("\n".join(lines))


def _load(path: Path) -> "Model":
    from sd.checkpoints import load_checkpoint

    return load_checkpoint(path)


class Parser(argparse.ArgumentParser):
    """argparse's parser, whose complaint is one line like all others."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def parser() -> Parser:
    """Return the parser of all commands."""
    top = Parser(prog="python -m sd", description=(__doc__ or "").partition("\n")[0])
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Command) -> argparse.ArgumentParser:
        made = commands.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
        made.set_defaults(handler=run)
        return made

    _train_flags(command(train))
    _sample_flags(command(sample))
    _noise_flags(command(noise))
    made = command(data)
    made.add_argument("data", metavar="DATA", help="a folder, a zip or the word starter")
    made.add_argument("--json", action="store_true", help="for programs")
    made = command(info)
    made.add_argument("path", metavar="CHECKPOINT|FILE.ini", help="or the name of a preset")
    made.add_argument("--json", action="store_true", help="for programs")
    return top


def _train_flags(made: argparse.ArgumentParser) -> None:
    made.add_argument("data", nargs="?", metavar="DATA", help="a folder, a zip or the word starter")
    _settings_flags(made)
    length = made.add_mutually_exclusive_group()
    length.add_argument("--steps", type=number, help="optimiser steps")
    length.add_argument("--epochs", type=number, help="passes over the pictures")
    made.add_argument("--run", metavar="FOLDER", help="the new run's folder")
    _seed_and_device(made)


def _sample_flags(made: argparse.ArgumentParser) -> None:
    made.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint or run folder")
    made.add_argument("--count", type=number, default=16, help="pictures")
    made.add_argument("--sampler", default="ddim", help="ddim or ddpm")
    made.add_argument("--steps", type=number, default=50, help="network calls")
    made.add_argument("--eta", type=number, default=0.0, help="ddim: 0 adds no noise, 1 is ddpm")
    made.add_argument("--variance", default="fixed_small", help="ddpm: fixed_small or fixed_large")
    made.add_argument("--spacing", default="trailing", help="trailing, leading or linspace")
    made.add_argument(
        "--no-clip", action="store_true", help="do not cut x0 to the range of pictures"
    )
    made.add_argument("--keep-steps", action="store_true", help="keep every step's picture too")
    made.add_argument(
        "--out", metavar="FOLDER|FILE", help="a folder (else the ini's), FILE.png or FILE.npz"
    )
    _seed_and_device(made)


def _noise_flags(made: argparse.ArgumentParser) -> None:
    made.add_argument("picture", metavar="PICTURE")
    made.add_argument("--t", type=number, nargs="+", required=True, help="times, 0..T")
    _settings_flags(made)
    made.add_argument("--out", default="noise.png", metavar="FILE.png")
    made.add_argument("--seed", type=number, default=0, help="same seed, same noise")


def _settings_flags(made: argparse.ArgumentParser) -> None:
    chosen = made.add_mutually_exclusive_group()
    presets = "; ".join(f"{name}: {preset_about(name).rstrip('.')}" for name in preset_names())
    chosen.add_argument("--preset", default="tiny", help=presets.replace("%", "%%"))
    chosen.add_argument("--config", metavar="FILE.ini", help="settings of your own")
    made.add_argument(
        "--set", action="append", default=[], metavar="section.key=value", help="change one"
    )


def _seed_and_device(made: argparse.ArgumentParser) -> None:
    made.add_argument("--seed", type=number, default=0, help="same seed, same result")
    made.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files can be anything
    try:
        args = parser().parse_args(words)
        args.handler(args)
    except (InputError, OSError) as error:
        with suppress(BrokenPipeError):
            print(told(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def told(error: InputError | OSError) -> InputError:
    """Return what is said of an error, one line; of the system's, which file and why."""
    if isinstance(error, InputError):
        return error
    names = [brief(printable(str(name))) for name in (error.filename,) if name is not None]
    return InputError(": ".join([*names, error.strerror or str(error)]))


if __name__ == "__main__":
    sys.exit(main())
