"""What a report says, before it is written in any form: figures by scorer, by role, by kind, and the accounts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolekit.rolebench.answers import AnswerReading
from rolekit.rolebench.published import PublishedTable, published_for
from rolekit.rolebench.records import Reading, Record
from rolekit.rolebench.scoring import METRICS, Figure, Item, Metric, Scoring, figure
from rolekit.rolebench.summary import summary


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One group of answers (a role, a kind, a type) under one metric, by every scorer."""

    group: str
    metric: Metric
    figures: Mapping[str, Figure]
    """By scorer; one that could score none of the group is missing."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a reader is told. The first scorer leads: standard, unless it was not asked for."""

    label: str
    facts: Mapping[str, str]
    """How the answers came about, in the words of the recipe; empty where there is no run."""
    finished: bool
    scorings: tuple[Scoring, ...]
    summaries: tuple[dict[str, Any], ...]
    """As `bench score --json` prints them; parallel to scorings."""
    by_role: tuple[Breakdown, ...]
    by_kind: tuple[Breakdown, ...]
    published: PublishedTable | None
    """The paper's table of this setting, only where paper is among the scorers."""

    @property
    def lead(self) -> Scoring:
        """The scoring that leads."""
        return self.scorings[0]


def build_report(
    label: str,
    facts: Mapping[str, str],
    finished: bool,
    reading: Reading,
    answers: AnswerReading,
    scorings: Sequence[Scoring],
) -> Report:
    """The report of these scorings of the same answers; they come standard first, whatever order they have."""
    ordered = tuple(sorted(scorings, key=lambda scoring: not scoring.scorer.startswith("standard")))
    has_paper = any(scoring.scorer == "paper" for scoring in ordered)
    return Report(
        label=label,
        facts=facts,
        finished=finished,
        scorings=ordered,
        summaries=tuple(summary(scoring, reading, answers) for scoring in ordered),
        by_role=_breakdowns(ordered, lambda record: [record.role]),
        by_kind=_breakdowns(ordered, _kinds_of),
        published=published_for(reading.records) if has_paper else None,
    )


def most_telling(items: Sequence[Item], number: int = 5) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """The items with the highest and with the lowest value, number of each; of equal ones the earlier."""
    ranked = sorted(items, key=lambda item: item.value.best)
    return tuple(reversed(ranked[-number:])), tuple(ranked[:number])


def facts_of(recipe: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """A recipe's settings as one flat list of name and value, in its own order; nested names are joined by dots."""
    flat: dict[str, str] = {}
    for name, value in recipe.items():
        if isinstance(value, Mapping):
            flat |= facts_of(value, f"{before}{name}.")
        elif value not in ("", None, [], ()):
            flat[f"{before}{name}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return flat


def _kinds_of(record: Record) -> list[str]:
    return [record.kind, *sorted(set(record.types))]


def _breakdowns(
    scorings: Sequence[Scoring], groups_of: Callable[[Record], list[str]]
) -> tuple[Breakdown, ...]:
    found: list[Breakdown] = []
    for metric in METRICS:
        groups: defaultdict[str, defaultdict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
        for scoring in scorings:
            for item in scoring.items_of(metric):
                for group in groups_of(item.record):
                    groups[group][scoring.scorer].append(item)
        found += [
            Breakdown(group, metric, {scorer: figure(items) for scorer, items in by_scorer.items()})
            for group, by_scorer in sorted(groups.items())
        ]
    return tuple(found)
