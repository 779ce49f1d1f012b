"""The commands of the command line, each a function of its arguments.

What imports torch is imported inside the command that needs it, so that `--help` and `info` of an
ini answer at once.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from sd import runs
from sd.common import validation
from sd.common.text import brief, printable
from sd.common.validation import InputError
from sd.config import Config, ini, preset_names
from sd.config.config import LORA_PRESET
from sd.config.sections import AUTO_START, OWN
from sd.config.unused import find_unused
from sd.diffusion.schedule import Schedule
from sd.runs.home import has_run

if TYPE_CHECKING:
    from sd.common.outputs import Output
    from sd.networks.first_stage import Latents
    from sd.runs.recorder import Listener
    from sd.training.loop import TrainStep
    from sd.training.planning.planner import PictureStats, Plan

DEFAULT_PRESET = "tiny"
NOISED, FILM = "noise.png", "film.gif"  # unless --out names another
# Not with --resume or --restart.
ONLY_NEW = (
    "data",
    "preset",
    "config",
    "first_stage",
    "start_from",
    "lora",
    "set",
    "epochs",
    "minutes",
    "seed",
    "only_first_stage",
)
MOST_CHANNELS = 32  # whose moments are told
PEEKED = 16  # pictures that a plan looks at
FIRST_SECONDS = 1.5  # what a run takes to begin beyond a plan's own beginning


def settings_of(args: argparse.Namespace) -> Config:
    """Return the settings that --preset, --config, --set and the flags of length describe."""
    start_from = getattr(args, "start_from", None)
    lora = getattr(args, "lora", None)
    if lora is not None:
        from sd.runs.preparing.start import lora_settings

        base = (
            Config.read(args.config) if args.config else Config.preset(args.preset or LORA_PRESET)
        )
        config = lora_settings(_at(lora), base)
    elif _is_model(start_from) and not args.preset and not args.config:
        from sd.runs.preparing.start import settings_from

        config = settings_from(_at(start_from), Config.preset(DEFAULT_PRESET))
    elif args.config == "-":
        config = _read_standard_input()
    elif args.config:
        config = Config.read(args.config)
    else:
        config = Config.preset(args.preset or DEFAULT_PRESET)
    if start_from is not None:
        start = replace(config.training, start_from=_at(start_from))
        config = replace(config, training=start)
    if args.first_stage is not None:
        config = config.with_first_stage(args.first_stage)
    settings = list(args.set)
    if getattr(args, "epochs", None) is not None:
        settings += [f"training.epochs={args.epochs}", "training.steps=0", "training.minutes=0"]
    if getattr(args, "steps", None) is not None:
        steps = validation.whole("--steps", args.steps, 1, 10**8)
        settings += [f"training.steps={steps}", "training.minutes=0"]
    if getattr(args, "minutes", None) is not None:
        settings += [f"training.minutes={validation.real('--minutes', args.minutes, 0.1, 100_000)}"]
    return config.with_settings(settings)


def _is_model(place: str | None) -> TypeGuard[str]:
    """Tell whether --from names a model: it is there, and not auto."""
    return place not in (None, AUTO_START)


def _at(place: str) -> str:
    """Return a model's name as it is, and its path from the root."""
    path, mark, words = place.rpartition("#") if not os.path.exists(place) else (place, "", "")
    return f"{os.path.abspath(path)}{mark}{words}" if path and os.path.exists(path) else place


def _read_standard_input() -> Config:
    if sys.stdin is None:  # it was closed
        raise InputError("--config -: there is no standard input to read settings from")
    text = ini.decode(sys.stdin.buffer.read(ini.LARGEST_FILE + 1), "standard input")
    return Config.from_ini(text, "standard input")


def train(args: argparse.Namespace) -> None:
    """Train on DATA into a run folder, with progress on a terminal."""
    began = time.time()
    folder = Path(args.run) if args.run else runs.default_home().new_folder()
    from tqdm import tqdm

    from sd.cli.progress import DetachableStream, Progress

    # A terminal that is closed must not end a run before it is saved.
    out = DetachableStream(sys.stderr)
    progress = Progress(lambda line: print(line, file=out, flush=True))
    listener = None if out.isatty() else progress.on_event
    again = args.resume or args.restart
    stream = (_continue_training if again else _start_training)(args, folder, began, listener)
    with tqdm(unit="step", file=out, disable=not out.isatty()) as bar:
        for number, step in enumerate(stream):
            if number == 0:
                print("\n".join(start_lines(folder)), file=out, flush=True)
                bar.update(step.step - 1)  # done before
            bar.total = step.total
            bar.update()
            bar.set_postfix(loss=f"{step.loss:.4f}", refresh=False)
            if listener is not None:
                progress.step(step)
    print(f"{runs.status(folder).line}: {folder}", file=DetachableStream(sys.stdout), flush=True)


def _start_training(
    args: argparse.Namespace, folder: Path, began: float, listener: "Listener | None"
) -> Iterator["TrainStep"]:
    """Return a new training as a stream, planned first where only its minutes are given."""
    config = settings_of(args)
    data = _data_of(args, config)
    if os.path.isdir(data) and os.path.isdir(folder) and os.path.samefile(data, folder):
        raise InputError(
            f"--run = {validation.shown(args.run)}: is the folder of the pictures; name another, "
            "or none"
        )
    seed = _seed(args.seed)
    if _must_plan(args):
        chosen = _plan(args, config, data)
        config = chosen.config
        print("\n".join(reason.line for reason in chosen.reasons), file=sys.stderr)
    from sd.runs.worker import begin

    only = args.only_first_stage
    return begin(config, data, folder, seed, args.device or "auto", began, listener, only)


def _continue_training(
    args: argparse.Namespace, folder: Path, began: float, listener: "Listener | None"
) -> Iterator["TrainStep"]:
    """Return the training of an old run as a stream, gone on with or begun anew, to --steps."""
    flag = "--restart" if args.restart else "--resume"
    if not args.run:
        raise InputError(f"{flag}: tell with --run FOLDER which run is meant")
    given = [name for name in ONLY_NEW if getattr(args, name) not in (None, [], False)]
    if args.resume and given == ["minutes"]:
        given = []
    if given:
        spelled = {"data": "DATA", "start_from": "--from"}
        name = spelled.get(given[0], f"--{given[0].replace('_', '-')}")
        raise InputError(f"{flag}: {name} cannot be given; a run keeps its own")
    steps = None if args.steps is None else validation.whole("--steps", args.steps, 1, 10**8)
    from sd.runs.worker import restart, resume

    if args.restart:
        return restart(folder, steps, args.device, began, listener)
    return resume(folder, steps, args.device, listener, args.minutes)


def start_lines(folder: Path) -> list[str]:
    """Return what to say, once all input has proved good: what is trained on, on what, beware."""
    events = [each for each in runs.events(folder) if each["event"] in ("start", "resumed")]
    config, begun = Config.read(folder / runs.CONFIG), events[-1]
    lines = list(begun["report"]) if begun["event"] == "start" else [begun["line"]]
    machine = begun["machine"]
    by = f", matrix products by {machine['matmul']}" if machine["device"] == "cpu" else ""
    lines.append(f"on {machine['label']}{by}")
    if begun["event"] == "start" and "line" in begun:
        lines.append(begun["line"])
    if begun["event"] == "start" and "started_from" in begun:
        lines.append(f"started from {begun['started_from']}")
    lines += unused_lines(config, begun["pictures"], begun["held_out"], runs.read_source(folder))
    if warning := Schedule.from_config(config.diffusion).warning:
        lines.append(f"warning: {warning}")
    return lines


def unused_lines(config: Config, pictures: int, held_out: int, source: str) -> list[str]:
    """Return what of the settings a run does not use, a line each.

    `pictures`: those that it trains on. `source`: where it has them from.
    """
    training, conditioning, lines = config.training, config.conditioning, []
    named = training.dataset_path
    if named and source not in (named, os.path.abspath(named)):
        lines.append(f"training.dataset_path = {validation.shown(named)}: not used; DATA was given")
    if training.held_out and not held_out:
        share = f"training.held_out = {training.held_out:g}"
        lines.append(f"{share}: none of {pictures} pictures can be spared")
    if conditioning.kind != "none" and not conditioning.drop:
        lines.append("conditioning.drop = 0: samples are made with guidance 1, which adds nothing")
    return lines + [each.line for each in find_unused(config)]


def plan(args: argparse.Namespace) -> None:
    """Say what would be trained here in --minutes and why, or what given settings will take."""
    config = settings_of(args)
    result = _plan(args, config, _data_of(args, config))
    if args.json:
        print(json.dumps(result.to_json()))
    else:
        from sd.training.planning.lora import lora_lines

        reasons = [reason.line for reason in result.reasons]
        print("\n".join(reasons + result.forecast.lines() + lora_lines(result)))


def _must_plan(args: argparse.Namespace) -> bool:
    """Tell whether settings are to be chosen: minutes are given, and neither preset nor ini.

    Those of a run that starts from a model are the model's, but for its length.
    """
    chosen = args.preset or args.config or args.lora
    return args.minutes is not None and not chosen


def _plan(args: argparse.Namespace, config: Config, data: str) -> "Plan":
    """Return settings with a forecast: those chosen for --minutes, as --set changes them, or given.

    `config`: the given ones; of them a choice takes the kind of conditioning alone.
    """
    begun = time.monotonic()
    from sd.common.device import choose
    from sd.config.conditioning_kind import resolve_conditioning
    from sd.runs.preparing.start import choose_base
    from sd.training.planning import memory, planner
    from sd.training.planning.forecast import forecast

    def resolve(config: Config) -> Config:
        return resolve_conditioning(config, pictures.captions, pictures.labels)

    machine = choose(args.device or "auto").apply()
    pictures = look_at(data, getattr(args, "pictures", None))
    must_plan = _must_plan(args)
    if not must_plan:
        memory.check(resolve(config), machine.device)
    if not getattr(args, "json", False):  # nothing is heard for a while
        print("measuring this machine for some seconds", file=sys.stderr, flush=True)
    start = time.monotonic() - begun + FIRST_SECONDS
    if not must_plan:
        measured = forecast(resolve(config), pictures.count, machine, start)
        return planner.Plan(config, (), measured)
    if _is_model(args.start_from):
        chosen = planner.plan_from(config, args.minutes, pictures, machine, start)
    else:
        kind, stage = config.conditioning.kind, _first_stage_asked(args, config)
        flip = config.training.flip
        chosen = planner.plan(args.minutes, pictures, machine, start, kind, stage, flip)
    config = chosen.config.with_settings(args.set)
    if args.start_from == AUTO_START and (base := choose_base(resolve(config), data)):
        chosen = chosen.starting_from(base)
        config = chosen.config.with_settings(args.set)
    if config == chosen.config:
        return chosen
    measured = forecast(resolve(config), pictures.count, machine, start)
    return replace(chosen, config=config, forecast=measured)


def _first_stage_asked(args: argparse.Namespace, config: Config) -> str | None:
    """Return what a plan's network must see, as first_stage.autoencoder; None where it is open.

    Pictures that are changed at random cannot be encoded before.
    """
    if config.is_latent:
        return config.first_stage.autoencoder
    changes = ("shift", "rotation", "brightness")
    told = args.first_stage is not None or any(getattr(config.training, c) for c in changes)
    return "pixels" if told else None


def look_at(data: str, known: int | None = None) -> "PictureStats":
    """Return how many pictures a source has and what a few of them are like.

    known: how many are trained on, where that was found before; else what is damaged may count.
    """
    from sd.data.image_set import inspect_images, some_pictures
    from sd.data.reading.files import MOST_FILES
    from sd.data.reading.source import open_source
    from sd.training.planning.planner import PictureStats

    if known is not None:
        validation.whole("--pictures", known, 1, MOST_FILES)
    with open_source(data) as reading:
        counts = reading.counts()
    samples = some_pictures(data, PEEKED)
    if not samples:
        inspect_images(data)  # says why, where none is usable
        raise InputError(f"{brief(printable(Path(data).name))}: most pictures cannot be read")
    sides = sorted(min(picture.size) for picture in samples)
    channels = 1 if all(each.mode in ("L", "LA") for each in samples) else 3
    side = sides[len(sides) // 2]
    count = known or counts.pictures
    return PictureStats(count, side, channels, min(count, counts.captions), counts.classes)


def _data_of(args: argparse.Namespace, config: Config) -> str:
    data = args.data or config.training.dataset_path
    if not data:
        raise InputError("DATA: give a folder, a zip, starter or shapes (the ini names none)")
    return str(data)


def sample(args: argparse.Namespace) -> None:
    """Sample pictures from a model or a picture set, or make those of a recipe again."""
    from sd.cli.grid import sample_grid
    from sd.cli.sample import sample as run

    if args.grid and args.recipe is None:
        sample_grid(args)
    else:
        run(args)


def film(args: argparse.Namespace) -> None:
    """Make a film of a training: the samples of a run, step by step."""
    from sd.common.outputs import Output, check_free, output_of
    from sd.generation.export import FILM_FORMS
    from sd.generation.training_film import draw_grids, write_training_film

    folder = Path(args.run)
    out = Output(Path()) if args.out is None else output_of("--out", args.out, FILM_FORMS)
    check_free("--out", out, [folder / "samples"], args.overwrite)
    if not has_run(folder):
        raise InputError(f"{brief(printable(folder.absolute().name))}: holds no run")
    frames = draw_grids(folder)
    fill = partial(write_training_film, out.form or Path(FILM).suffix, frames)
    print(f"{len(frames)} steps: {_write(fill, out, FILM)}")


def noise(args: argparse.Namespace) -> None:
    """Noise a picture to one or more t and write them side by side, below them its latents."""
    from sd.cli.noise import noise_picture
    from sd.common.marks import save_png
    from sd.common.outputs import Output, check_free, output_of

    out = None if args.out is None else output_of("--out", args.out, (".png",))
    if out is not None:
        read = [Path(each) for each in (args.picture, args.config) if each is not None]
        check_free("--out", out, read, args.overwrite)
    diffusion, grid = noise_picture(args, settings_of(args), _seed(args.seed))
    place = _write(partial(save_png, grid), out or Output(Path()), NOISED)
    for t in args.t:
        a, b = diffusion.schedule.signal(t), diffusion.schedule.noise(t)
        ratio = f"SNR {diffusion.snr(t):.4g}"
        print(f"t = {t:g}: x_t = {a:.4f} x_0 + {b:.4f} {diffusion.noise_formula}, {ratio}")
    if out is None or not out.is_file:
        print(f"written: {place}")


def reconstruct(args: argparse.Namespace) -> None:
    """Take a picture through an autoencoder and write it beside what comes back and the error."""
    from sd.cli.reconstruct import reconstruct as run

    run(args)


def export(args: argparse.Namespace) -> None:
    """Write a model as one file of safetensors, or as a folder that diffusers loads."""
    from sd.cli.export import export as run

    run(args)


def pull(args: argparse.Namespace) -> None:
    """Tell what a model of the hub is and how large; fetch it where its revision is said."""
    from sd.cli.export import pull as run

    run(args)


def score(args: argparse.Namespace) -> None:
    """Tell how many samples of a model of drawn shapes are as asked, and how many are copies."""
    from sd.cli.score import score as run

    run(args)


def _write(fill: Callable[[Path], None], out: "Output", name: str) -> Path:
    """Let `fill` write a file, or one in a folder under a free name like `name`; return it."""
    from sd.common.outputs import make_place, write_free, write_named

    make_place(out)
    if not out.is_file:
        return write_free(out.path / name, fill)
    write_named(out.path, fill)
    return out.path


def _seed(value: Any) -> int:
    """Return a seed of the command line, 0 if none is given; say which one was drawn for -1."""
    seed = validation.seed("--seed", 0 if value is None else value)
    if value == validation.RANDOM_SEED:
        print(f"seed {seed}", file=sys.stderr)
    return seed


def data(args: argparse.Namespace) -> None:
    """Report which pictures would be used, and which left out and why."""
    from sd.cli.progress import Progress
    from sd.data.image_set import survey_images

    survey = survey_images(args.data)
    progress = Progress(lambda line: print(line, file=sys.stderr, flush=True))
    for done, total in survey:
        progress.read(done, total)
    report = survey.report
    print(json.dumps(report.to_json()) if args.json else "\n".join(report.lines()))


def rename(args: argparse.Namespace) -> None:
    """Call a run, and with it its model, otherwise; recipes find it by its weights."""
    home, folder = runs.default_home(), Path(args.run)
    name = folder.name
    if len(folder.parts) != 1 and folder.resolve() != home.find_own_run(name).resolve():
        raise InputError(
            f"run = {validation.shown(args.run)}: its folder lies elsewhere; rename it"
        )
    print(printable(str(runs.rename(home, name, args.name))))


def host(args: argparse.Namespace) -> None:
    """Look after a page that visitors share: list them, stop or delete, close it or open it."""
    from sd.cli.sharing.host import look_after

    look_after(args)


def info(args: argparse.Namespace) -> None:
    """Describe a configuration, a checkpoint or a published model: network and schedule."""
    from sd.checkpoints.pretrained.choices import is_published
    from sd.networks.blueprint import blueprint, describe

    path = Path(args.path)
    if is_published(args.path):
        _report(args)
        return
    about: dict[str, Any] = {}
    latents = None
    if path.is_dir():
        from sd.checkpoints.checkpoint import load_checkpoint

        model = load_checkpoint(path)
        config, about, latents = model.config, dict(model.about), model.latents
    else:
        config = Config.preset(args.path) if args.path in preset_names() else Config.read(path)
    plan = blueprint(config.unet, *config.latent_shape[1:])
    schedule = Schedule.from_config(config.diffusion)
    first_stage = _describe_first_stage(config, latents)
    description: dict[str, Any] = {
        "parameters": plan.parameters,
        "first_stage": first_stage,
        "picture": config.picture_shape,
        "latent": config.latent_shape,
        "tensors": plan.tensors,
        "operations": plan.operations,
        "activation_bytes": plan.activation_bytes,
        "terminal_snr": schedule.terminal_snr,
        "warning": schedule.warning,
        **{name: about[name] for name in ("step", "seed", "pictures") if name in about},
    }
    if args.json:
        print(json.dumps(description))
        return
    lines = [
        *describe(plan),
        *_first_stage_lines(config, first_stage),
        f"schedule {config.diffusion.schedule}, T = {schedule.timesteps}",
    ]
    lines.append(f"terminal SNR {schedule.terminal_snr:.3g}")
    lines += [f"warning: {schedule.warning}"] if schedule.warning else []
    lines += [f"{name} {about[name]}" for name in ("step", "seed", "pictures") if name in about]
    print("\n".join(lines))


def _report(args: argparse.Namespace) -> None:
    """Print what a file or folder of others holds, told by its header alone."""
    from sd.checkpoints.pretrained.choices import parse_place
    from sd.checkpoints.pretrained.inspection import inspect

    report = inspect(*parse_place(args.path))
    print(json.dumps(report.to_json()) if args.json else "\n".join(report.lines()))


def _describe_first_stage(config: Config, latents: "Latents | None") -> dict[str, Any] | None:
    """Return what `info` tells of the network that makes latents, None where there are none.

    Those of settings have weights only where they are at hand; an own one is told untrained.
    """
    if not config.is_latent:
        return None
    stage = config.first_stage
    told: dict[str, Any] = {"autoencoder": stage.autoencoder, "factor": config.factor}
    network: Any = None if latents is None else latents.autoencoder
    if stage.autoencoder == OWN and network is None:
        import torch

        from sd.networks.first_stage import new_autoencoder

        with torch.device("meta"):
            network = new_autoencoder(stage, config.unet.channel)
    elif network is None:
        from sd.checkpoints.first_stage import open_autoencoder

        with suppress(InputError):
            network = open_autoencoder(config)
    if network is not None:
        for part in ("encoder", "decoder"):
            told[part] = sum(each.numel() for each in getattr(network, part).parameters())
    if latents is not None:
        told |= {"mean": latents.mean.tolist(), "std": latents.std.tolist()}
    return told


def _first_stage_lines(config: Config, told: dict[str, Any] | None) -> list[str]:
    """Return what pictures become before the network sees them, if not themselves."""
    if told is None:
        return []
    (colours, height, width), (channels, h, w) = config.picture_shape, config.latent_shape
    shapes = f"{colours} x {height} x {width} -> {channels} x {h} x {w}"
    line = f"first stage {printable(str(told['autoencoder']))}: {shapes}, f = {config.factor}"
    if "encoder" in told:
        line += f", encoder {told['encoder']:,} and decoder {told['decoder']:,} parameters"
    lines = [line]
    for name in ("mean", "std"):
        if name in told and len(told[name]) <= MOST_CHANNELS:
            lines.append(f"latents' {name} {' '.join(f'{each:.3g}' for each in told[name])}")
    return lines
