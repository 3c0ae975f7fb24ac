"""Confidence intervals that know the questions come in roles: roles are drawn first, then items within each.

Answers of one role are alike (SD between roles .021 where items have .062), so an interval that draws items alone is
too narrow. Every draw is seeded: the same answers always give the same interval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
_CHUNK = 1_000_000
"""Items drawn at a time: bounds the memory."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle 95 % of the resampled means."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of what lies between the two ends."""
        return (self.high - self.low) / 2


def interval(values: Sequence[float], roles: Sequence[str], seed: int = 0) -> Interval:
    """The 95 % interval of the mean of values, resampled by role, then item.

    values and roles are parallel and not empty. With a single role only its items are drawn, so the interval says
    nothing about other roles. One value alone says nothing: its interval is all of 0 to 1.
    """
    if len(values) < 2:
        return Interval(0.0, 1.0)
    return interval_of(resampled_means(values, roles, sorted(set(roles)), seed))


def interval_of(means: NDArray[np.float64]) -> Interval:
    """The interval that a set of resampled means spans; draws that met no item at all are left out."""
    import numpy as np

    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(means, [tail, 100 - tail])
    return Interval(float(low), float(high))


def resampled_means(
    values: Sequence[float], roles: Sequence[str], all_roles: Sequence[str], seed: int = 0
) -> NDArray[np.float64]:
    """RESAMPLES means of values, each over roles drawn from all_roles and then as many items of each as it has.

    Calls with the same all_roles and seed draw the same roles, so that their means can be added or compared draw by
    draw. A draw of roles that have no item at all is NaN.
    """
    import numpy as np

    by_role: defaultdict[str, list[float]] = defaultdict(list)
    for value, role in zip(values, roles, strict=True):
        by_role[role].append(value)
    counts = np.array([len(by_role[role]) for role in all_roles])
    widest = max(int(counts.max()), 1)
    table = np.zeros((len(all_roles), widest))
    for place, role in enumerate(all_roles):
        table[place, : counts[place]] = by_role[role]
    drawn_roles = np.random.default_rng(seed).integers(len(all_roles), size=(RESAMPLES, len(all_roles)))
    rng = np.random.default_rng((seed, 1))
    means = np.empty(RESAMPLES)
    step = max(1, _CHUNK // (len(all_roles) * widest))
    for start in range(0, RESAMPLES, step):
        chosen = drawn_roles[start : start + step]
        there = counts[chosen]
        items = (rng.random((*chosen.shape, widest), dtype=np.float32) * there[..., None]).astype(np.intp)
        items = np.minimum(items, np.maximum(there - 1, 0)[..., None])  # float32 may round up to the end
        inside = np.arange(widest) < there[..., None]
        total = np.where(inside, table[chosen[..., None], items], 0.0).sum(axis=(1, 2))
        number = there.sum(axis=1)
        with np.errstate(invalid="ignore"):
            means[start : start + step] = total / number
    return means
