"""What settings will be, by arithmetic: one line, the table of levels, the schedule, and advice."""

import html
import re
from collections.abc import Sequence

from sd.common.text import format_count
from sd.config import Config
from sd.diffusion.schedule import Schedule
from sd.networks.blueprint import Blueprint, Level, blueprint
from sd.training import coach
from sd.ui.texts import say
from sd.ui.train import advice

COLUMNS = ("part", "size", "channels", "heads", "parameters", "operations")
PICTURE_REMARKS = ("leak", "flip")  # remarks that stand beside the changes of the pictures
SCHEDULE_REMARK = "terminal_snr"


def network_of(config: Config) -> Blueprint:
    """Return what the network of these settings will be."""
    return blueprint(config.unet, config.training.input_height, config.training.input_width)


def count_steps(config: Config, pictures: int) -> int:
    """Return the steps that training takes on a set of so many pictures."""
    training = config.training
    kept = pictures - round(pictures * training.held_out)
    at_once = training.batch_size * training.gradient_accumulation
    return training.steps or max(1, -(-training.epochs * kept // at_once))


def summary_html(config: Config, pictures: int, lang: str) -> str:
    """Return the settings in one line: size, parameters, steps."""
    training = config.training
    steps = f"{count_steps(config, pictures):,}"
    minutes = f"{training.minutes:g}"
    words = "outline_minutes" if training.minutes else "outline_steps"
    line = say(
        "outline",
        lang,
        w=training.input_width,
        h=training.input_height,
        parameters=format_count(network_of(config).parameters),
        steps=say(words, lang).format(n=steps, m=minutes),
        batch=f"{training.batch_size * training.gradient_accumulation:,}",
    )
    return f'<p class="facts">{line}</p>'


def level_name(name: str, lang: str) -> str:
    """Return a level's name in words."""
    word, number = re.fullmatch(r"(\w+)(?: (\d+))?", name).groups()  # type: ignore[union-attr]
    return say(f"level_{word}", lang).format(n=number)


def level_cells(level: Level, lang: str) -> list[str]:
    """Return one row of the table of levels."""
    heads = f"{level.heads} × {level.head_width}" if level.attention else ""
    size = f"{level.height} × {level.width}" if level.name != "time" else ""
    costs = format_count(level.parameters), format_count(level.operations)
    return [level_name(level.name, lang), size, str(level.channels), heads, *costs]


def levels_html(config: Config, lang: str) -> str:
    """Return the table of the network's levels, and what training keeps in memory."""
    plan, batch = network_of(config), config.training.batch_size
    head = "".join(f'<th scope="col">{say(f"level_{name}", lang)}</th>' for name in COLUMNS)
    rows = [level_cells(level, lang) for level in plan.levels]
    rows.append(
        [
            say("level_total", lang),
            "",
            "",
            "",
            format_count(plan.parameters),
            format_count(plan.operations),
        ]
    )
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    kept = format_count(plan.activation_bytes * batch, "B")
    note = say("level_note", lang, kept=kept, batch=f"{batch:,}")
    return (
        f'<table class="levels"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f'<p class="note">{note}</p>'
    )


def schedule_check_html(config: Config, lang: str) -> str:
    """Return how the noise ends, and the click that mends it where it does not end as noise."""
    schedule = Schedule.from_settings(config.diffusion)
    if not schedule.warning:
        return f'<p class="note">{say("doctor_good", lang, snr=f"{schedule.terminal_snr:.2g}")}</p>'
    told = [each for each in coach.review_plan(config, 10**6) if each.kind == SCHEDULE_REMARK]
    return remarks_html(told, lang)


def remarks_html(remarks: Sequence[coach.Remark], lang: str) -> str:
    """Return remarks with a button for what one click mends."""
    items = [
        f"<li>{html.escape(say(each.key, lang, **each.values), quote=False)}"
        f"{fix_button(each, lang)}</li>"
        for each in remarks
    ]
    return f"<ul>{''.join(items)}</ul>" if items else ""


def fix_button(remark: coach.Remark, lang: str) -> str:
    """Return the button that sets what mends a plan, if anything does."""
    if not remark.fix:
        return ""
    words = html.escape(say("plan_mend", lang, settings=advice.format_settings(remark.fix)))
    kind = html.escape(remark.kind)
    return f' <button class="fix" type="button" data-fix="{kind}">{words}</button>'
