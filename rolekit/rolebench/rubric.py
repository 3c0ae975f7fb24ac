"""How many flaws an answer has: a judge lists them one by one, each with the words that show it.

A deduction rubric in the manner of CoSER's: every dimension begins at 100 and loses 5 points for each degree of
severity. A flaw whose quote does not stand in the answer was made up and takes nothing off; it is counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rolekit.rolebench.bootstrap import Interval, interval
from rolekit.rolebench.judge_prompts import DIMENSIONS, Dimension, Flaw
from rolekit.rolebench.records import Record

POINTS_PER_DEGREE = 5


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer and its flaws."""

    record: Record
    answer: str
    flaws: tuple[Flaw, ...]

    def score(self, dimension: Dimension) -> float:
        """0 to 100."""
        degrees = sum(flaw.severity for flaw in self.flaws if flaw.dimension == dimension and flaw.found)
        return max(0.0, 100.0 - POINTS_PER_DEGREE * degrees)


@dataclass(frozen=True, slots=True)
class DimensionFigures:
    """What a run's answers are worth in one dimension."""

    dimension: Dimension
    mean: float
    mean_interval: Interval
    flaws: int
    flawless: float
    """Share of answers without a flaw in it."""


@dataclass(frozen=True, slots=True)
class RubricFigures:
    """A run's answers under the rubric."""

    answers: int
    dimensions: tuple[DimensionFigures, ...]
    made_up: int
    """Flaws whose quote is not in the answer."""


def rubric_figures(judged: Sequence[Judged]) -> RubricFigures:
    """The figures over all answers, which are not none."""
    roles = [one.record.role for one in judged]
    counts = Counter(flaw.dimension for one in judged for flaw in one.flaws if flaw.found)
    rows = []
    for dimension in DIMENSIONS:
        scores = [one.score(dimension) for one in judged]
        rows.append(
            DimensionFigures(
                dimension,
                sum(scores) / len(scores),
                interval(scores, roles),
                counts[dimension],
                sum(score == 100 for score in scores) / len(scores),
            )
        )
    made_up = sum(not flaw.found for one in judged for flaw in one.flaws)
    return RubricFigures(len(judged), tuple(rows), made_up)
