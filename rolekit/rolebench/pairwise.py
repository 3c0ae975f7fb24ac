"""Which of two runs plays its roles better: every pair in both orders, and what disagrees is a tie.

The paper's GPT evaluation (win rate against RoleGPT, average rank for more than two systems), with what it leaves
open: both orders, the share of verdicts that flip, whether the longer answer wins, intervals by role and question.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from rolekit.rolebench.answers import Answer
from rolekit.rolebench.bootstrap import Interval, interval
from rolekit.rolebench.judge_prompts import Choice
from rolekit.rolebench.records import Record


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems' answers to one question."""

    record: Record
    one: str
    """Name of a system."""
    other: str
    one_text: str
    other_text: str

    @property
    def decided(self) -> float | None:
        """One's points where no judge is needed: equal texts are a tie, an empty one loses. None otherwise."""
        one, other = self.one_text.strip(), self.other_text.strip()
        if one == other:
            return 0.5
        return 1.0 if not other else 0.0 if not one else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What both orders together say. points are one's: 1 won, 0.5 tie, 0 lost."""

    comparison: Comparison
    points: float
    verdicts: tuple[Choice, ...] = ()
    """As the judge gave them: with one's answer first, then with the other's first. Empty where none was needed."""

    @property
    def flipped(self) -> bool:
        """Whether the place decided, not the answer: the same number won both times."""
        return self.verdicts in (("1", "1"), ("2", "2"))


def comparisons(
    records: Sequence[Record], systems: Mapping[str, Iterable[Answer]], reference: str = ""
) -> tuple[list[Comparison], Counter[str]]:
    """Every pair of systems for each question that both have answered, and how many questions each pair lacks.

    With a reference, only pairs with it: the reference is then `other`. Questions are joined as they are, else
    stripped.
    """
    shelves = {name: _shelf(answers) for name, answers in systems.items()}
    pairs = (
        [(name, reference) for name in systems if name != reference]
        if reference
        else [*combinations(systems, 2)]
    )
    found: list[Comparison] = []
    missing: Counter[str] = Counter()
    for record in records:
        key = _key(record.role, record.question)
        for one, other in pairs:
            if key in shelves[one] and key in shelves[other]:
                found.append(Comparison(record, one, other, shelves[one][key], shelves[other][key]))
            else:
                missing[f"{one} / {other}"] += 1
    return found, missing


def outcome(comparison: Comparison, first: Choice, second: Choice) -> Outcome:
    """Two verdicts as one: first is for one's answer in front, second for the other's in front."""
    points = {"1": 1.0, "2": 0.0, "tie": 0.5}[first], {"1": 0.0, "2": 1.0, "tie": 0.5}[second]
    return Outcome(comparison, points[0] if points[0] == points[1] else 0.5, (first, second))


@dataclass(frozen=True, slots=True)
class PairFigures:
    """How one system fared against another."""

    one: str
    other: str
    questions: int
    wins: int
    ties: int
    losses: int
    win_rate: float
    """Share of questions won (the paper's: ties count for nobody)."""
    points: float
    """Won and half of the ties."""
    points_interval: Interval
    flip_rate: float | None
    """Share of judged questions whose verdict changed sides with the order; None where none was judged."""
    first_wins: float | None
    """Share of decisive verdicts for whoever stood first; .5 without a bias."""
    longer_wins: float | None
    """Share of decided questions won by the longer answer; .5 without a bias."""
    length_ratio: float
    """One's characters to the other's, over all questions."""
    unjudged: int
    """Decided without a judge: equal or empty answers."""


def figures(outcomes: Sequence[Outcome]) -> list[PairFigures]:
    """The figures of every pair of systems, in order of appearance."""
    groups: defaultdict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for one in outcomes:
        groups[one.comparison.one, one.comparison.other].append(one)
    return [_figures(names, group) for names, group in groups.items()]


def _figures(names: tuple[str, str], group: Sequence[Outcome]) -> PairFigures:
    points = [one.points for one in group]
    judged = [one for one in group if one.verdicts]
    decisive = [verdict for one in judged for verdict in one.verdicts if verdict != "tie"]
    lengths = [(len(one.comparison.one_text), len(one.comparison.other_text)) for one in group]
    decided = [
        (a > b) == (one.points == 1)
        for one, (a, b) in zip(group, lengths, strict=True)
        if one.verdicts and one.points != 0.5 and a != b
    ]
    wins, losses = points.count(1.0), points.count(0.0)
    return PairFigures(
        *names,
        questions=len(group),
        wins=wins,
        ties=len(group) - wins - losses,
        losses=losses,
        win_rate=wins / len(group),
        points=sum(points) / len(group),
        points_interval=interval(points, [one.comparison.record.role for one in group]),
        flip_rate=sum(one.flipped for one in judged) / len(judged) if judged else None,
        first_wins=decisive.count("1") / len(decisive) if decisive else None,
        longer_wins=sum(decided) / len(decided) if decided else None,
        length_ratio=sum(a for a, _ in lengths) / max(1, sum(b for _, b in lengths)),
        unjudged=len(group) - len(judged),
    )


@dataclass(frozen=True, slots=True)
class Rank:
    """A system's place among several: 1 is best; equal points share a place."""

    system: str
    average: float
    average_interval: Interval
    questions: int


def ranks(outcomes: Sequence[Outcome]) -> list[Rank]:
    """The average rank of each system over the questions where all pairs have a verdict, best first."""
    systems = list(dict.fromkeys(n for one in outcomes for n in (one.comparison.one, one.comparison.other)))
    pairs = len(systems) * (len(systems) - 1) // 2
    questions: defaultdict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for one in outcomes:
        questions[one.comparison.record.role, one.comparison.record.question].append(one)
    places: defaultdict[str, list[float]] = defaultdict(list)
    roles: list[str] = []
    for (role, _), group in questions.items():
        if len(group) != pairs:
            continue
        roles.append(role)
        points = dict.fromkeys(systems, 0.0)
        for one in group:
            points[one.comparison.one] += one.points
            points[one.comparison.other] += 1 - one.points
        for name in systems:
            better = sum(value > points[name] for value in points.values())
            equal = sum(value == points[name] for value in points.values())
            places[name].append(1 + better + (equal - 1) / 2)
    found = [
        Rank(name, sum(values) / len(values), interval(values, roles), len(values))
        for name, values in places.items()
    ]
    return sorted(found, key=lambda rank: rank.average)


def _key(role: str, question: str) -> tuple[str, str]:
    return role.strip(), question.strip()


def _shelf(answers: Iterable[Answer]) -> dict[tuple[str, str], str]:
    shelf: dict[tuple[str, str], str] = {}
    for answer in answers:
        shelf.setdefault(_key(answer.role, answer.question), answer.text)
    return shelf
