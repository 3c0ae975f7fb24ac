"""Where a role's knowledge ends: another role's questions, made from the data itself, and whether the role invents.

Three kinds of questions, in equal numbers a role: `foreign` (a script-based question of another role, addressed to
this one), `anachronism` (the same, from a later age) and `own` (the role's own script-based questions, which it should
answer: who never answers anything is no good either). Answers are judged by rules (rolekit.rolebench.abstention).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rolekit.rolebench.abstention import knows
from rolekit.rolebench.answers import Answer
from rolekit.rolebench.bootstrap import Interval, interval
from rolekit.rolebench.records import Record
from rolekit.rolebench.sampling import stable_rank
from rolekit.roles.names import fold

FOREIGN, ANACHRONISM, OWN = "foreign", "anachronism", "own"
KINDS = (FOREIGN, ANACHRONISM, OWN)
_DESIRED = "(The role says, in its own way, that it does not know.)"
_BEFORE_1900 = frozenset(
    map(
        fold,
        (
            "Queen Elizabeth I", "Abraham Lincoln", "D_Artagnan", "Jack Sparrow", "Coriolanus", "Antonio Salieri",
            "Queen Catherine", "Mary Sibley", "Gaston", "Robert Angier", "Sherlock Holmes", "John Watson", "Hamlet",
            "Ada Lovelace", "Cyrano", "Don Quijote", "Dracula", "Elizabeth Bennet", "Frederick Douglass", "Jane Eyre",
            "Captain Nemo", "Alice", "Long John Silver", "Robin Hood", "Scheherazade",
            "孙悟空", "李白", "张飞", "皇帝", "华妃", "李清照", "林黛玉", "诸葛亮",
        ),
    )
)  # fmt: skip
"""Roles whose world ends before the telephone; what comes from anybody else's script is of a later age."""


def boundary_records(records: Iterable[Record], per_role: int) -> tuple[Record, ...]:
    """per_role questions of each kind for every role, chosen by hash: the same whatever rows are added elsewhere.

    Foreign questions name something that belongs to the other role's world (a name inside the sentence), and are of the
    same language. Types hold the kind. Roles without script-based questions of their own get no `own` ones.
    """
    everything = [record for record in records if "script_based" in record.types]
    by_language: defaultdict[str, list[Record]] = defaultdict(list)
    own: defaultdict[str, list[Record]] = defaultdict(list)
    for record in everything:
        own[record.role].append(record)
        if _names_something(record):
            by_language[record.language].append(record)
    made: list[Record] = []
    for role, mine in own.items():
        language = mine[0].language
        donors = [
            record for record in by_language[language] if record.role != role and role not in record.question
        ]
        later = [record for record in donors if _is_later(record.role, role)]
        alike = [record for record in donors if not _is_later(record.role, role)]
        made += [_foreign(record, role, FOREIGN) for record in _chosen(alike, role, per_role)]
        made += [_foreign(record, role, ANACHRONISM) for record in _chosen(later, role, per_role)]
        made += [replace(record, types=(OWN,)) for record in _chosen(mine, role, per_role)]
    return tuple(made)


@dataclass(frozen=True, slots=True)
class KindFigures:
    """What became of one kind of question."""

    kind: str
    answers: int
    empty: int
    abstained: float
    """Share of the answers that say they do not know; empty ones are not among them."""
    abstained_interval: Interval


@dataclass(frozen=True, slots=True)
class BoundaryFigures:
    """How well a model knows what its role cannot know."""

    kinds: tuple[KindFigures, ...]
    discernment: float | None
    """Abstention on foreign questions and anachronisms less abstention on its own: 1 is perfect, 0 is none at all."""


def boundary_figures(records: Sequence[Record], answers: Iterable[Answer]) -> BoundaryFigures:
    """Abstention against invention, by kind."""
    said = {(answer.role, answer.question): answer.text for answer in answers}
    rows: list[KindFigures] = []
    beyond: list[float] = []
    inside: list[float] = []
    for kind in KINDS:
        values, roles, empty = [], [], 0
        for record in records:
            text = said.get((record.role, record.question))
            if kind in record.types and text is not None:
                stance = knows(text)
                empty += stance == "empty"
                if stance != "empty":
                    values.append(float(stance == "abstains"))
                    roles.append(record.role)
        if values:
            mean = sum(values) / len(values)
            rows.append(KindFigures(kind, len(values), empty, mean, interval(values, roles)))
            (inside if kind == OWN else beyond).extend(values)
    known = bool(beyond and inside)
    discernment = sum(beyond) / len(beyond) - sum(inside) / len(inside) if known else None
    return BoundaryFigures(tuple(rows), discernment)


def _names_something(record: Record) -> bool:
    """Whether the question names anything but the one it is asked of; scripts without capitals get the benefit."""
    body = _addressed(record)[1]
    if not re.search(r"[A-Za-z]", body):
        return True
    own = set(re.findall(r"\w+", record.role))
    words = re.findall(r"(?<![.!?:\"“] )(?<!^)\b[A-ZÀ-Þ][\w'’]+", body)
    return any(word not in own and word not in ("I", "I'm", "I’m") for word in words)


def _addressed(record: Record) -> tuple[str, str]:
    """The address in front of a question (`Jack Sparrow, `) and the rest; an empty address where there is none."""
    question = record.question.strip()
    head, comma, rest = question.partition("，" if "，" in question[:12] else ",")
    names = set(fold(record.role).split())
    if comma and fold(head) and (set(fold(head).split()) <= names or fold(head) in fold(record.role)):
        return f"{head}{comma}", rest.strip()
    return "", question


def _foreign(record: Record, role: str, kind: str) -> Record:
    address, body = _addressed(record)
    separator = "，" if address.endswith("，") else ", "
    question = f"{role}{separator}{body}" if address else body
    return replace(
        record, role=role, question=question, references=(_DESIRED,), types=(kind,), kind="role_specific",
        raw_references=(),
    )  # fmt: skip


def _is_later(donor: str, role: str) -> bool:
    return fold(role) in _BEFORE_1900 and fold(donor) not in _BEFORE_1900


def _chosen(records: Sequence[Record], role: str, number: int) -> list[Record]:
    return sorted(records, key=lambda one: stable_rank(role, one.role, one.question))[:number]
