"""What settings will be, by arithmetic: one line, the table of levels, how the schedule ends."""

import re
from urllib.parse import quote

from markupsafe import Markup

from sd.common.text import format_bytes, format_count
from sd.common.validation import InputError
from sd.config import Config
from sd.diffusion.schedule import Schedule
from sd.networks.blueprint import Blueprint, Level, blueprint
from sd.training import coach
from sd.ui.components.html import paragraph, tags
from sd.ui.texts import say
from sd.ui.train.advice import plan_remarks_html
from sd.ui.train.planning import settings

COLUMNS = ("part", "size", "channels", "heads", "parameters", "operations")
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


def summary_html(config: Config, steps: int, lang: str) -> Markup:
    """Return the settings in one line: size, parameters, steps."""
    training = config.training
    words = "outline_minutes" if training.minutes else "outline_steps"
    line = say(
        "outline",
        lang,
        w=training.input_width,
        h=training.input_height,
        parameters=format_count(network_of(config).parameters),
        steps=say(words, lang, n=f"{steps:,}", m=f"{training.minutes:g}"),
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


def told_html(
    config: Config, pictures: int, learns: Markup, remarks: Markup, answer: Markup, lang: str
) -> Markup:
    """Return what follows from the settings, below their fields.

    learns: what of the pictures the model is conditioned on. answer: what was measured. The tables
    of the network and of the schedule come into sight with the fields that they follow from.
    """
    beside = Markup('<div class="for-{}">{}</div>')
    try:
        facts = summary_html(config, count_steps(config, pictures), lang)
        levels = levels_html(config, lang)
    except InputError:  # they cannot be; it is told beside a field
        facts = levels = Markup()
    ask = Markup('<button type="button" class="quiet" data-ask="{}">{}</button>')
    buttons = [ask.format(each, say(f"ask_{each}", lang)) for each in ("plan", "measure")]
    parts = [
        facts,
        beside.format("pictures", learns),
        beside.format("unet", levels),
        beside.format("diffusion", schedule_check_html(config, lang)),
        Markup('<div class="advice">{}</div>').format(remarks),
        Markup('<div class="told">{}</div>').format(answer),
        Markup('<p class="ask-row">{}{}</p>').format(
            Markup("").join(buttons), save_html(config, lang)
        ),
    ]
    return Markup("").join(parts)


def save_html(config: Config, lang: str) -> Markup:
    """Return a link that keeps the settings as an ini file."""
    address = f"data:text/plain;charset=utf-8,{quote(config.to_ini())}"
    link = Markup('<a class="save" id="plan-save" download="settings.ini" href="{}">{}</a>')
    return link.format(address, say("settings_save", lang))


def own_line(config: Config, lang: str) -> str:
    """Return what the button says where the settings are trained as they stand."""
    training = config.training
    if training.minutes:
        return say("train_set_minutes", lang, n=f"{training.minutes:g}")
    if training.steps:
        return say("train_set_steps", lang, n=f"{training.steps:,}")
    return say("train_set_epochs", lang, n=f"{training.epochs:,}")


def run_html(config: Config, steps: int, lang: str) -> Markup:
    """Return the settings of a run, to be read: one line, and behind a fold what is its own."""
    nearest = settings.read_preset(settings.find_nearest_preset(config))
    changes = [each.replace("=", " = ", 1) for each in config.settings_from(nearest)]
    fold = Markup("<details><summary>{}</summary><ul>{}</ul></details>")
    facts = summary_html(config, steps, lang)
    if not changes:
        return titled("", lang) + facts
    return titled("", lang) + facts + fold.format(say("run_changed", lang), tags("li", changes))


def titled(line: str, lang: str) -> Markup:
    """Return the heading of a run's settings, and a line below it if there is one."""
    title = Markup("<h2>{}</h2>").format(say("run_settings", lang))
    return title + paragraph(line, "facts") if line else title
