"""The coach: plain sentences about a plan or a run, with its own figures, each saying what to do.

It reads a configuration and a run's events, never a picture or a weight. A rule speaks only when
the figures show its case; where all is well the coach says that. No torch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sd.config import Config
from sd.data.reading.report import Report
from sd.training.coach import plan, run
from sd.training.coach.messages import GOOD, MESSAGES, Remark
from sd.training.coach.summary import Summary

__all__ = ["MESSAGES", "Remark", "review_plan", "review_run", "tell_run"]

MOST_REMARKS = 4
LOST_SAYS_ALL = {"skipped", "skipped_often", "explodes", "stuck_high", "few_steps", "rate_high"}
SILENCES = {  # what a louder remark makes pointless
    "not_finite": LOST_SAYS_ALL,
    "not_finite_unsaved": LOST_SAYS_ALL,
    "explodes": {"stuck_high", "few_steps", "skipped", "noise_yet", "still_falling", "levelled"},
    "stuck_high": {"noise_yet", "ema_young", "levelled", "few_steps"},
    "stuck_low": {"noise_yet", "ema_young", "levelled", "few_steps"},
    "copies": {"few_pictures", "still_falling", "levelled"},
    "memorises": {"few_pictures", "still_falling", "levelled"},
    "few_steps": {"noise_yet", "still_falling", "levelled", "ema_long", "only_end"},
    "few_minutes": {"noise_yet", "still_falling"},
    "first_stage_limits": {"untuned_run"},
}
BAD = {"not_finite", "not_finite_unsaved", "explodes", "stuck_high", "stuck_low"}
Rule = Callable[[Summary], Iterator[Remark]]


def review_plan(config: Config, pictures: int, report: Report | None = None) -> list[Remark]:
    """Return the remarks about a plan, most important first.

    `pictures`: how many are chosen, held-out ones included. `report`: the set's, where known.
    """
    summary = Summary(config, pictures=pictures)
    return _select(summary if report is None else summary.with_report(report), plan.RULES)


def review_run(config: Config, events: Sequence[Mapping[str, Any]]) -> list[Remark]:
    """Return the remarks about a run, most important first; it may be running or over."""
    summary = Summary.of_run(config, events)
    return _select(summary, run.RULES) or list(run.well(summary))


def tell_run(config: Config, events: Sequence[Mapping[str, Any]]) -> list[Remark]:
    """Return what is told of a run one line after another: good news first, then what to do."""
    remarks = review_run(config, events)
    good = [each for each in remarks if each.kind in GOOD]
    if not good and not {each.kind for each in remarks} & BAD:
        good = list(run.well(Summary.of_run(config, events), "falls"))
    return good + [each for each in remarks if each.kind not in GOOD]


def _select(summary: Summary, rules: Sequence[Rule]) -> list[Remark]:
    found = [remark for rule in rules for remark in rule(summary)]
    kinds = {remark.kind for remark in found}
    hidden = {kind for louder, quiet in SILENCES.items() if louder in kinds for kind in quiet}
    return [remark for remark in found if remark.kind not in hidden][:MOST_REMARKS]
