"""A run's figures while it runs: good enough to watch, the same as `bench score` once it is done."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from rolekit.rolebench.bootstrap import Interval, interval
from rolekit.rolebench.records import Record
from rolekit.rolebench.scorers import Scorer, open_scorer

METRICS = {"general": "CUS", "role_specific": "SPE"}


@dataclass(frozen=True, slots=True)
class Running:
    """A metric so far."""

    metric: str
    mean: float
    interval: Interval
    scored: int


@dataclass
class LiveFigures:
    """Takes answers as they come."""

    scorer: Scorer = field(default_factory=lambda: open_scorer("standard"))
    _values: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _roles: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _by_role: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, record: Record, text: str) -> float | None:
        """The value of one answer, which counts from now on; None where the scorer cannot read the references."""
        value = self.scorer.score(text, record.references, record.language)
        if value is None:
            return None
        metric = METRICS[record.kind]
        self._values[metric].append(value.best)
        self._roles[metric].append(record.role)
        self._by_role[record.role].append(value.best)
        return value.best

    def running(self) -> list[Running]:
        """CUS and SPE so far, each with its interval; those without an answer are left out."""
        return [
            Running(metric, sum(values) / len(values), interval(values, self._roles[metric]), len(values))
            for metric in METRICS.values()
            if (values := self._values[metric])
        ]

    def by_role(self) -> list[tuple[str, float, int]]:
        """Role, mean and number of answers, the newest role first."""
        rows = [(role, sum(values) / len(values), len(values)) for role, values in self._by_role.items()]
        return list(reversed(rows))
