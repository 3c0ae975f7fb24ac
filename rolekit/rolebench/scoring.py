"""Scores of saved answers: CUS, RAW, SPE and their average, with what was asked, answered and scored.

    CUS  answers to general questions against RoleGPT's in the role's voice: speaking style
    RAW  the same answers against plain ones that play no role: accuracy
    SPE  answers to role-specific questions: what the role knows
(paper, section on evaluation). No model is needed, and nothing is left out without being counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rolekit.rolebench.answers import Answer
from rolekit.rolebench.bootstrap import Interval, interval, interval_of, resampled_means
from rolekit.rolebench.joining import Joined, join
from rolekit.rolebench.records import Record
from rolekit.rolebench.scorers import Scorer, Value
from rolekit.rolebench.tokens import words

Metric = Literal["CUS", "RAW", "SPE"]
METRICS: tuple[Metric, ...] = ("CUS", "RAW", "SPE")
_REPORT_EVERY = 50


@dataclass(frozen=True, slots=True)
class Item:
    """One answer under one metric."""

    metric: Metric
    record: Record
    answer: Answer
    value: Value
    answer_words: int
    reference_words: float
    """Mean over the references."""

    @property
    def best_reference(self) -> str:
        """The reference that gave the value."""
        references = self.record.raw_references if self.metric == "RAW" else self.record.references
        return references[self.value.reference]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number and everything needed to read it."""

    score: float
    """Mean over items of the best reference's value."""
    ci95: Interval
    mean_over_references: float
    """The same with each item's mean over its references in place of the best."""
    scored: int
    length_ratio: float
    """Words of the answers by words of the references."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """All items of one scorer, and the accounts."""

    scorer: str
    says: str
    items: tuple[Item, ...]
    joined: Joined
    unscored: dict[str, str]
    """Metric (or `avg`): why it has no number."""
    empty: int
    """Answers without a word; they are worth 0, not left out."""
    unreadable: dict[Metric, int] = field(default_factory=dict)
    """Answered records that the scorer could not score: it can read none of their references."""

    @property
    def asked(self) -> int:
        """Records."""
        return len(self.joined.pairs)

    @property
    def scored(self) -> int:
        """Records whose answer has a value under at least one metric."""
        return len({id(item.record) for item in self.items})

    def items_of(self, metric: Metric) -> tuple[Item, ...]:
        """The items under that metric."""
        return tuple(item for item in self.items if item.metric == metric)


def score_answers(
    records: Sequence[Record],
    answers: Iterable[Answer],
    scorer: Scorer,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Scoring:
    """Every answer's value under every metric that its record has references for.

    report is told now and then how many records are done, of how many.
    """
    joined = join(records, answers)
    items: list[Item] = []
    unreadable: Counter[Metric] = Counter()
    empty = 0
    for done, (record, answer) in enumerate(joined.pairs, start=1):
        if answer is not None:
            found, lost = _items(record, answer, scorer)
            items += found
            unreadable.update(lost)
            empty += not answer.text.strip()
        if done % _REPORT_EVERY == 0 or done == len(joined.pairs):
            report(done, len(joined.pairs))
    unscored: dict[str, str] = {
        metric: _why_none(metric, joined, unreadable[metric], scorer)
        for metric in METRICS
        if not any(item.metric == metric for item in items)
    }
    if unscored:
        unscored["avg"] = f"the mean of all three needs {' and '.join(unscored)}"
    return Scoring(
        scorer.name,
        scorer.says,
        tuple(items),
        joined,
        unscored,
        empty,
        {m: n for m, n in unreadable.items() if n},
    )


def references_of(record: Record) -> dict[Metric, tuple[str, ...]]:
    """What the record's answer is compared with, by metric; a metric without references is left out."""
    if record.kind == "role_specific":
        return {"SPE": record.references}
    found: dict[Metric, tuple[str, ...]] = {"CUS": record.references}
    if record.raw_references:
        found["RAW"] = record.raw_references
    return found


def figure(items: Sequence[Item]) -> Figure:
    """The mean of the items (at least one) with its interval and length ratio."""
    values = [item.value.best for item in items]
    return Figure(
        score=sum(values) / len(values),
        ci95=interval(values, [item.record.role for item in items]),
        mean_over_references=sum(item.value.mean for item in items) / len(items),
        scored=len(items),
        length_ratio=length_ratio(items),
    )


def average(scoring: Scoring) -> tuple[float, Interval] | None:
    """The plain mean of CUS, RAW and SPE with its interval (roles drawn for all three at once); None without one."""
    if "avg" in scoring.unscored:
        return None
    all_roles = sorted({item.record.role for item in scoring.items})
    scores, means = [], []
    for metric in METRICS:
        items = scoring.items_of(metric)
        values = [item.value.best for item in items]
        scores.append(sum(values) / len(values))
        means.append(resampled_means(values, [item.record.role for item in items], all_roles))
    return sum(scores) / len(scores), interval_of(sum(means[1:], means[0]) / len(means))


def length_ratio(items: Sequence[Item]) -> float:
    """Words of the answers by words of their references (the mean over each record's references)."""
    references = sum(item.reference_words for item in items)
    return sum(item.answer_words for item in items) / references if references else 0.0


def _items(record: Record, answer: Answer, scorer: Scorer) -> tuple[list[Item], list[Metric]]:
    found: list[Item] = []
    lost: list[Metric] = []
    answer_words = len(words(answer.text))
    for metric, references in references_of(record).items():
        value = scorer.score(answer.text, references, record.language)
        if value is None:
            lost.append(metric)
            continue
        reference_words = sum(len(words(text)) for text in references) / len(references)
        found.append(Item(metric, record, answer, value, answer_words, reference_words))
    return found, lost


def _why_none(metric: Metric, joined: Joined, unreadable: int, scorer: Scorer) -> str:
    if unreadable:
        return f"the scorer {scorer.name} can read none of the references"
    kind = "role-specific" if metric == "SPE" else "general"
    asked = [(r, a) for r, a in joined.pairs if (r.kind == "role_specific") == (metric == "SPE")]
    if not asked:
        return f"the data has no {kind} questions"
    if metric == "RAW" and not any(record.raw_references for record, _ in asked):
        return "the data has no raw (not role-played) answers; give them with --raw FILE"
    return f"none of the {kind} questions has an answer"
