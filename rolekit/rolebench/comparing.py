"""Two sets of answers to the same questions: is one better, where, and which answers changed most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from rolekit.errors import RolekitError
from rolekit.rolebench.bootstrap import Interval, interval_of, resampled_means
from rolekit.rolebench.scoring import METRICS, Item, Metric, Scoring, length_ratio

MOST_CHANGED = 10


@dataclass(frozen=True, slots=True)
class Pair:
    """The two answers to one question under one metric."""

    before: Item
    after: Item

    @property
    def difference(self) -> float:
        """How much the second is better."""
        return self.after.value.best - self.before.value.best


@dataclass(frozen=True, slots=True)
class Tally:
    """How often the second is better, worse, or the same."""

    better: int
    worse: int
    same: int


@dataclass(frozen=True, slots=True)
class RoleChange:
    """One role's means."""

    role: str
    before: float
    after: float
    n: int


@dataclass(frozen=True, slots=True)
class Change:
    """One metric, paired."""

    metric: Metric
    before: float
    after: float
    ci95: Interval
    """Of the difference: resampled by role, then question, the two answers together; all of −1 to 1 for one pair."""
    better_share: float
    """Share of resamples in which the second is better."""
    answers: Tally
    roles: tuple[RoleChange, ...]
    """By name."""
    role_tally: Tally

    @property
    def difference(self) -> float:
        """How much the second is better."""
        return self.after - self.before

    @property
    def verdict(self) -> str:
        """One of `better`, `worse` and `cannot be told`, of the second."""
        if self.ci95.low > 0:
            return "better"
        return "worse" if self.ci95.high < 0 else "cannot be told"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two scorings by the same scorer, over the questions that both answered."""

    scorer: str
    changes: tuple[Change, ...]
    only_before: int
    """Items that only the first has; they are not compared."""
    only_after: int
    length_ratios: tuple[float, float]
    most_changed: tuple[Pair, ...]
    """The largest differences either way, the largest first; each answer once."""


def compare(before: Scoring, after: Scoring) -> Comparison:
    """What changed from one set of answers to the other, question by question.

    Raises RolekitError when the scorers differ, or no question is answered in both.
    """
    if before.scorer != after.scorer:
        raise RolekitError(
            f"{before.scorer} and {after.scorer} are not comparable.", "Score both by the same one."
        )
    pairs, only_before, only_after = _pairs(before.items, after.items)
    if not pairs:
        raise RolekitError(
            "The two runs have no question in common that both answered.",
            "Compare runs over the same data and subset.",
        )
    changes = tuple(
        _change(metric, [p for p in pairs if p.before.metric == metric])
        for metric in METRICS
        if any(p.before.metric == metric for p in pairs)
    )
    own_voice = [pair for pair in pairs if pair.before.metric != "RAW"]
    return Comparison(
        scorer=before.scorer,
        changes=changes,
        only_before=only_before,
        only_after=only_after,
        length_ratios=(
            length_ratio([p.before for p in own_voice]),
            length_ratio([p.after for p in own_voice]),
        ),
        most_changed=tuple(sorted(own_voice, key=lambda pair: -abs(pair.difference))[:MOST_CHANGED]),
    )


def _pairs(before: Sequence[Item], after: Sequence[Item]) -> tuple[list[Pair], int, int]:
    waiting: defaultdict[tuple[str, str, str], list[Item]] = defaultdict(list)
    for item in after:
        waiting[_key(item)].append(item)
    pairs, only_before = [], 0
    for item in before:
        there = waiting[_key(item)]
        if there:
            pairs.append(Pair(item, there.pop(0)))
        else:
            only_before += 1
    return pairs, only_before, sum(map(len, waiting.values()))


def _key(item: Item) -> tuple[str, str, str]:
    return item.metric, item.record.role.strip(), item.record.question.strip()


def _change(metric: Metric, pairs: Sequence[Pair]) -> Change:
    differences = [pair.difference for pair in pairs]
    roles = [pair.before.record.role.strip() for pair in pairs]
    means = resampled_means(differences, roles, sorted(set(roles)))
    by_role: defaultdict[str, list[Pair]] = defaultdict(list)
    for role, pair in zip(roles, pairs, strict=True):
        by_role[role].append(pair)
    role_changes = tuple(
        RoleChange(role, _mean([p.before for p in found]), _mean([p.after for p in found]), len(found))
        for role, found in sorted(by_role.items())
    )
    return Change(
        metric=metric,
        before=_mean([pair.before for pair in pairs]),
        after=_mean([pair.after for pair in pairs]),
        ci95=interval_of(means) if len(pairs) > 1 else Interval(-1.0, 1.0),
        better_share=float((means > 0).mean()),
        answers=_tally(differences),
        roles=role_changes,
        role_tally=_tally([change.after - change.before for change in role_changes]),
    )


def _mean(items: Sequence[Item]) -> float:
    return sum(item.value.best for item in items) / len(items)


def _tally(differences: Sequence[float]) -> Tally:
    return Tally(
        better=sum(difference > 0 for difference in differences),
        worse=sum(difference < 0 for difference in differences),
        same=sum(difference == 0 for difference in differences),
    )
