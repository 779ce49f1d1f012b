"""The report on a picture set: counts, what is left out, copies, classes, what cropping cuts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from sd.common.validation import InputError
from sd.config import Config
from sd.config.conditioning_kind import resolve_conditioning
from sd.config.sections import TrainingConfig
from sd.ui.components.html import paragraph, tags
from sd.ui.mistakes import translate
from sd.ui.texts import say

if TYPE_CHECKING:
    from sd.data.reading.report import Report

MOST_FILES_NAMED = 20  # files that are listed by name
MOST_COUNTED = 60  # classes or sizes that are listed
LONGEST_FILE_NAME = 120


def facts_of(report: "Report", lang: str) -> str:
    """Return a set in one line: how many pictures, what is left out, what is there twice."""
    counts = [say("report_count", lang, n=f"{report.used:,}")]
    if len(report.classes) > 1:
        counts.append(say("report_classes", lang, n=f"{len(report.classes):,}"))
    if report.left_out:
        counts.append(say("report_left_out", lang, n=f"{len(report.left_out):,}"))
    if twice := count_copies(report):
        counts.append(say("report_twice", lang, n=f"{twice:,}"))
    return " · ".join(counts)


def count_copies(report: "Report") -> int:
    """Return how many pictures are exact copies of another."""
    return sum(len(group) - 1 for group in report.duplicates)


def caption_of(report: "Report", training: TrainingConfig, lang: str) -> str:
    """Return in one sentence how the pictures are brought to size, and to which."""
    cut = report.cut(training.input_height, training.input_width, training.fit)
    how = training.fit if training.fit != "crop" or cut.pictures else "whole"
    return say(f"seen_{how}", lang, w=training.input_width, h=training.input_height)


def learns_line(report: "Report", config: Config, lang: str) -> str:
    """Return in a few words what the model will learn to be asked for; "" where it is nothing."""
    try:
        kind = decide_conditioning(report, config).conditioning.kind
    except InputError:
        return ""
    if kind == "captions":
        return say("learns_captions", lang)
    named = len(config.training.classes or report.classes)
    return "" if kind == "none" else say("learns_classes", lang, n=f"{named:,}")


def details_html(
    report: "Report", training: TrainingConfig, names: Mapping[str, str], lang: str
) -> Markup:
    """Return what of a set waits behind a fold: what is left out, alike, in it, and cut off.

    names: class -> what it is called in the language; else as it stands.
    """
    parts = [
        *(paragraph(translate(each, lang)) for each in report.remarks),
        left_out_html(report, lang),
        alike_html(report, lang),
        tables_html(report, names, lang),
        cut_html(report, training, lang),
    ]
    return Markup("").join(parts)


def left_out_html(report: "Report", lang: str) -> Markup:
    """Return the names of what is not used, and why."""
    if not report.left_out:
        return Markup()
    rows = [
        Markup("<b>{}</b> {}").format(each.name[:LONGEST_FILE_NAME], translate(each.reason, lang))
        for each in report.left_out[:MOST_FILES_NAMED]
    ]
    title = say("report_left_out", lang, n=f"{len(report.left_out):,}")
    return titled(title, list_html(rows, len(report.left_out), lang))


def alike_html(report: "Report", lang: str) -> Markup:
    """Return the groups of pictures that are exact copies of each other."""
    if not report.duplicates:
        return Markup()
    line = escape(say("report_alike", lang))
    rows = [
        line.format(
            names=Markup(", ").join(tags("b", [name[:LONGEST_FILE_NAME]]) for name in group[:6])
        )
        for group in report.duplicates[:MOST_FILES_NAMED]
    ]
    title = say("report_duplicates", lang, n=f"{count_copies(report):,}")
    return titled(title, list_html(rows, len(report.duplicates), lang))


def tables_html(report: "Report", names: Mapping[str, str], lang: str) -> Markup:
    """Return how many pictures there are of each size, kind and class."""
    sizes = {f"{width} × {height}": count for (width, height), count in report.sizes.items()}
    modes = {mode_name(mode, lang): count for mode, count in report.modes.items()}
    tables = [("report_sizes_row", sizes), ("report_modes_row", modes)]
    if len(report.classes) > 1:
        classes = {names.get(name, name): count for name, count in report.classes.items()}
        tables.append(("report_classes_row", classes))
    row = Markup("<b>{}</b> {}")
    rows = [row.format(say(key, lang), format_counts(counts, lang)) for key, counts in tables]
    return tags("p", rows)


def mode_name(mode: str, lang: str) -> str:
    """Return Pillow's mode of a file in words: grey or colour."""
    grey = mode in ("1", "L", "LA", "La", "I", "F") or mode.startswith("I;16")
    return say("mode_grey" if grey else "mode_colour", lang, mode=mode)


def format_counts(counts: dict[str, int], lang: str) -> str:
    """Return names with their counts, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    words = [f"{name[:LONGEST_FILE_NAME]} ({count:,})" for name, count in ordered[:MOST_COUNTED]]
    if len(ordered) > MOST_COUNTED:
        words.append(say("report_more", lang, n=f"{len(ordered) - MOST_COUNTED:,}"))
    return say("between_words", lang).join(words)


def list_html(rows: Sequence[str], count: int, lang: str) -> Markup:
    """Return rows as a list, and how many more there are."""
    more = [say("report_more", lang, n=f"{count - len(rows):,}")] if count > len(rows) else []
    return tags("ul", [tags("li", [*rows, *more])])


def titled(title: str, inside: Markup) -> Markup:
    """Return a part under its title."""
    return Markup("<h4>{}</h4>{}").format(title, inside)


def cut_html(report: "Report", training: TrainingConfig, lang: str) -> Markup:
    """Return what bringing the pictures to the wanted shape does to them, and what is held out."""
    cut = report.cut(training.input_height, training.input_width, training.fit)
    if training.fit == "crop" and cut.pictures:
        counts = {"n": f"{cut.pictures:,}", "total": f"{report.used:,}"}
        shares = {"mean": f"{cut.mean_share:.0%}", "worst": f"{cut.worst_share:.0%}"}
        line = say("cut", lang, **counts, **shares)
    else:
        line = say("cut_none" if training.fit == "crop" else f"cut_{training.fit}", lang)
    lines = [line]
    if training.held_out:
        chosen = count_chosen(report, training)
        held = f"{max(1, round(chosen * training.held_out)):,}"
        lines.append(say("held_pictures", lang, held=held, total=f"{chosen:,}"))
    return paragraph(" ".join(lines))


def decide_conditioning(report: "Report", config: Config) -> Config:
    """Return the settings with the kind of conditioning decided for these pictures.

    Raises `InputError` where they lack what the model is to be conditioned on.
    """
    classes, chosen = config.training.classes, count_chosen(report, config.training)
    labels = len(report.classes if classes is None else classes)
    return resolve_conditioning(
        config, min(report.captions, chosen), labels if report.classes else 0
    )


def conditioning_html(report: "Report", config: Config, lang: str) -> Markup:
    """Return in one line what of the pictures the model is conditioned on."""
    try:
        kind = decide_conditioning(report, config).conditioning.kind
    except InputError as error:
        return paragraph(translate(str(error), lang), "warning")
    chosen = count_chosen(report, config.training)
    counts = {"n": f"{report.captions:,}", "total": f"{report.used:,}"}
    if kind == "captions" and report.captions == report.used:
        line = say("told_captions", lang, n=f"{chosen:,}", total=f"{chosen:,}")
    elif kind == "captions":
        line = say("told_some_captions", lang, **counts)
    elif kind != "none":
        line = say(f"told_{kind}", lang, n=f"{len(config.training.classes or report.classes):,}")
    else:
        lacks = not report.captions and len(report.classes) < 2
        line = say("told_nothing" if lacks else "told_not", lang)
    return paragraph(line)


def count_chosen(report: "Report", training: TrainingConfig) -> int:
    """Return how many pictures the chosen classes hold."""
    if training.classes is None or not report.classes:
        return report.used
    return sum(report.classes.get(name, 0) for name in training.classes)
