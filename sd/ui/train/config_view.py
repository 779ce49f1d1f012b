"""What settings will be, by arithmetic: one line, the table of levels, how the schedule ends."""

import re

from markupsafe import Markup

from sd.common.text import format_bytes, format_count
from sd.config import Config
from sd.diffusion.schedule import Schedule
from sd.networks.blueprint import Blueprint, Level, blueprint
from sd.training import coach
from sd.ui.components.html import paragraph, tags
from sd.ui.texts import say
from sd.ui.train.advice import plan_remarks_html

COLUMNS = ("part", "size", "channels", "heads", "parameters", "operations")
PICTURE_REMARKS = ("leak", "flip")  # remarks that stand beside the changes of the pictures
SCHEDULE_REMARK = "terminal_snr"


def network_of(config: Config) -> Blueprint:
    """Return what the network of these settings will be."""
    return blueprint(config.unet, *config.latent_shape[1:])


def count_steps(config: Config, pictures: int) -> int:
    """Return the steps that training takes on a set of so many pictures."""
    training = config.training
    kept = pictures - round(pictures * training.held_out)
    at_once = training.batch_size * training.gradient_accumulation
    return training.steps or max(1, -(-training.epochs * kept // at_once))


def summary_html(config: Config, pictures: int, lang: str) -> Markup:
    """Return the settings in one line: size, parameters, steps."""
    training = config.training
    steps = f"{count_steps(config, pictures):,}"
    words = "outline_minutes" if training.minutes else "outline_steps"
    line = say(
        "outline",
        lang,
        w=training.input_width,
        h=training.input_height,
        parameters=format_count(network_of(config).parameters),
        steps=say(words, lang, n=steps, m=f"{training.minutes:g}"),
        batch=f"{training.batch_size * training.gradient_accumulation:,}",
    )
    return paragraph(line, "facts")


def level_name(name: str, lang: str) -> str:
    """Return a level's name in words."""
    word, number = re.fullmatch(r"(\w+)(?: (\d+))?", name).groups()  # type: ignore[union-attr]
    return say(f"level_{word}", lang, n=number)


def level_cells(level: Level, lang: str) -> list[str]:
    """Return one row of the table of levels."""
    heads = f"{level.heads} × {level.head_width}" if level.attention else ""
    size = f"{level.height} × {level.width}" if level.name != "time" else ""
    costs = format_count(level.parameters), format_count(level.operations)
    return [level_name(level.name, lang), size, str(level.channels), heads, *costs]


def levels_html(config: Config, lang: str) -> Markup:
    """Return the table of the network's levels, and what training keeps in memory."""
    network, batch = network_of(config), config.training.batch_size
    heading, row = Markup('<th scope="col">{}</th>'), Markup('<tr><th scope="row">{}</th>{}</tr>')
    head = Markup("").join(heading.format(say(f"level_{name}", lang)) for name in COLUMNS)
    rows = [level_cells(level, lang) for level in network.levels]
    totals = format_count(network.parameters), format_count(network.operations)
    rows.append([say("level_total", lang), "", "", "", *totals])
    body = Markup("").join(row.format(name, tags("td", cells)) for name, *cells in rows)
    table = '<table class="levels"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>'
    kept = format_bytes(network.activation_bytes * batch)
    note = say("level_note", lang, kept=kept, batch=f"{batch:,}")
    return Markup(table).format(head, body) + paragraph(note)


def schedule_check_html(config: Config, lang: str) -> Markup:
    """Return how the noise ends, and the click that fixes it where it does not end as noise."""
    schedule = Schedule.from_config(config.diffusion)
    if not schedule.warning:
        return paragraph(say("doctor_good", lang, snr=f"{schedule.terminal_snr:.2g}"))
    remarks = coach.review_plan(config, 10**6)
    return plan_remarks_html([each for each in remarks if each.kind == SCHEDULE_REMARK], lang)
