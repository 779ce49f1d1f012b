"""What the coach's rules look at: a configuration, and a run's events sorted by kind."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

from sd.common.validation import InputError
from sd.config import Config
from sd.config.conditioning_kind import resolve_kind
from sd.data.reading.report import Report
from sd.training.likeness import Baseline
from sd.training.monitoring import PREPARING

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Summary:
    """A plan or a run; what is not known is 0, empty or None.

    pictures: those trained on, in a run; all of the set, in a plan.
    """

    config: Config
    pictures: int = 0
    held_out: int = 0
    duplicates: int = 0
    modes: frozenset[str] = frozenset()  # Pillow's, of the files
    kind: str = ""  # of conditioning, resolved
    captions: int = 0
    wordings: int = 0  # different captions
    classes: Mapping[str, int] = field(default_factory=dict)  # chosen ones -> pictures
    total: int = 0
    steps: tuple[Event, ...] = ()  # logged ones with a finite loss
    evaluations: tuple[Event, ...] = ()
    samples: Event | None = None  # the newest samples
    baseline: Baseline | None = None
    skipped: tuple[Event, ...] = ()
    first_stage: float | None = None  # PSNR in dB of what the autoencoder gives back
    saved: int = 0  # the step of the newest checkpoint
    end: Event | None = None  # finished, stopped or failed

    @classmethod
    def of_run(cls, config: Config, events: Sequence[Event]) -> "Summary":
        """Sort a run's events by kind."""
        kinds: dict[str, list[Event]] = {}
        for event in events:
            kinds.setdefault(str(event.get("event")), []).append(event)
        start = kinds.get("start", [{}])[-1]
        steps = (event for event in events if event.get("event") not in PREPARING)
        totals = [count(event.get("total")) for event in steps]
        measured = kinds.get("baseline", [])
        last = events[-1] if events else {}
        if last.get("event") == "finished":  # the clock may have ended it before its total
            totals.append(count(last.get("step")))
        return cls(
            config,
            pictures=count(start.get("pictures")),
            held_out=count(start.get("held_out")),
            duplicates=count(start.get("duplicates")),
            modes=modes_of(start.get("report") or ()),
            total=next((each for each in reversed(totals) if each), 0),
            steps=tuple(each for each in kinds.get("step", ()) if is_number(each.get("loss"))),
            evaluations=tuple(each for each in kinds.get("evaluation", ()) if each.get("train")),
            samples=next(iter(kinds.get("samples", [])[-1:]), None),
            baseline=Baseline.from_event(measured[-1]) if measured else None,
            skipped=tuple(e for e in kinds.get("notice", ()) if e.get("kind") == "skipped"),
            first_stage=next(
                (e["psnr"] for e in reversed(events) if is_number(e.get("psnr"))), None
            ),
            saved=count(kinds.get("checkpoint", [{}])[-1].get("step")),
            end=last if last.get("event") in ("finished", "stopped", "failed") else None,
        )

    def with_report(self, report: Report) -> "Summary":
        """Return this summary with what a report knows of the pictures."""
        chosen = self.config.training.classes
        classes = {
            name: count
            for name, count in report.classes.items()
            if chosen is None or name in chosen
        }
        kind = self.config.conditioning.kind
        with suppress(InputError):  # what the pictures lack is shown beside its field
            kind = resolve_kind(kind, report.captions, len(classes))
        return replace(
            self,
            modes=frozenset(report.modes),
            kind=kind,
            captions=report.captions,
            wordings=report.wordings,
            classes=classes,
        )

    @property
    def step(self) -> int:
        """The newest logged step."""
        return count(self.steps[-1].get("step")) if self.steps else 0

    @property
    def losses(self) -> list[float]:
        """The loss of each logged step."""
        return [float(each["loss"]) for each in self.steps]

    @property
    def batch(self) -> int:
        """Pictures of one optimiser step."""
        return self.config.training.batch_size * self.config.training.gradient_accumulation

    @property
    def planned_steps(self) -> int:
        """The steps of the run: its own total, which the clock may cut, or the settings'."""
        return self.total or self.configured_steps

    @property
    def configured_steps(self) -> int:
        """The steps that the settings make of the pictures."""
        training = self.config.training
        return training.steps or -(-training.epochs * self.trained_on // self.batch)

    @property
    def trained_on(self) -> int:
        """Pictures without the held-out ones."""
        if self.steps or self.total:
            return self.pictures
        return self.pictures - round(self.pictures * self.config.training.held_out)


def count(value: Any) -> int:
    """Return a whole number of an event; groups of duplicates count without their first ones."""
    if isinstance(value, list | tuple):
        return sum(len(each) - 1 if isinstance(each, list | tuple) else 1 for each in value)
    return value if isinstance(value, int) else 0


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether a figure of an event is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def modes_of(report: Sequence[Any]) -> frozenset[str]:
    """Return the modes in a report's line "modes: RGB (12), L (3)"."""
    line = next((str(each) for each in report if str(each).startswith("modes: ")), "")
    names = line.removeprefix("modes: ").split(", ")
    return frozenset(name.partition(" ")[0] for name in names if name)
