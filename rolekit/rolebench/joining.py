"""Which answer belongs to which record: by role and question exactly, then stripped, never by order; all counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rolekit.rolebench.answers import Answer
from rolekit.rolebench.records import Record


@dataclass(frozen=True, slots=True)
class Joined:
    """Every record with its answer, or None; and what is left over."""

    pairs: tuple[tuple[Record, Answer | None], ...]
    exact: int
    """Records whose answer has the same role and question, character by character."""
    stripped: int
    """Records whose answer was found once the blanks around role and question were taken off."""
    unmatched: tuple[Answer, ...]
    """Answers that no record asked for."""
    unknown_roles: tuple[str, ...]
    """Their roles, where no record at all has such a role."""

    @property
    def answered(self) -> int:
        """Records that have an answer."""
        return self.exact + self.stripped


def join(records: Sequence[Record], answers: Iterable[Answer]) -> Joined:
    """Give each record its answer.

    An answer that names a kind goes to records of that kind, where its question is asked in that kind. Several answers to the same question go to its
    records one after another, and the last one serves those that are left.
    """
    everything = tuple(answers)
    exact, stripped = _Shelf(records, everything, _key), _Shelf(records, everything, _stripped)
    found: dict[int, Answer] = {}
    used: set[int] = set()
    for shelf in (exact, stripped):
        for place, record in enumerate(records):
            if place not in found and (index := shelf.take(record)) is not None:
                found[place] = everything[index]
                used.add(index)
        if shelf is exact:
            exactly = len(found)
    roles = {record.role.strip() for record in records}
    left = tuple(answer for index, answer in enumerate(everything) if index not in used)
    return Joined(
        pairs=tuple((record, found.get(place)) for place, record in enumerate(records)),
        exact=exactly,
        stripped=len(found) - exactly,
        unmatched=left,
        unknown_roles=tuple(dict.fromkeys(a.role for a in left if a.role.strip() not in roles)),
    )


def _key(item: Record | Answer) -> tuple[str, str]:
    return item.role, item.question


def _stripped(item: Record | Answer) -> tuple[str, str]:
    return item.role.strip(), item.question.strip()


class _Shelf:
    """Answers by key; take gives the next one for a record, and the last one again and again."""

    def __init__(
        self,
        records: Sequence[Record],
        answers: Sequence[Answer],
        key: Callable[[Record | Answer], tuple[str, str]],
    ) -> None:
        self._key = key
        self._answers = answers
        self._asked = {(key(record), record.kind) for record in records}
        self._places: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for index in reversed(range(len(answers))):
            self._places[key(answers[index])].append(index)

    def take(self, record: Record) -> int | None:
        """The index of the record's answer; None where there is none."""
        places = self._places.get(self._key(record), [])
        fitting = [index for index in places if self._fits(self._answers[index], record)]
        if not fitting:
            return None
        if len(fitting) > 1:
            places.remove(fitting[-1])
        return fitting[-1]

    def _fits(self, answer: Answer, record: Record) -> bool:
        # The data may not know the kind that the answer names: then the question alone decides.
        same = answer.kind in ("", record.kind)
        return same or (self._key(answer), answer.kind) not in self._asked
