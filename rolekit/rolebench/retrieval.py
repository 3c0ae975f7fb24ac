"""What a role said before, found by BM25: the pairs that RoleGPT puts in front of a question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rolekit.ranking import Bm25
from rolekit.rolebench.records import Record
from rolekit.roles.names import fold
from rolekit.roles.role import Role

MOST_PAIRS = 5
"""The paper's top-5."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Something said to a role, and what it answered."""

    user: str
    reply: str


class Pairs:
    """The pairs of every role: its own examples, and rows of the data that are not asked in this run."""

    def __init__(self, examples: Iterable[Record], asked: Iterable[Record]) -> None:
        """examples: rows to learn from (the train split). A row whose question is asked of the same role is left out."""
        held_out = {(record.role, fold(record.question)) for record in asked}
        self.left_out = 0
        """Example rows that are questions of this run."""
        self._rows: dict[str, list[Pair]] = defaultdict(list)
        for record in examples:
            if (record.role, fold(record.question)) in held_out:
                self.left_out += 1
            else:
                self._rows[record.role].append(Pair(record.question.strip(), record.references[0].strip()))
        self._indexes: dict[str, _Index] = {}

    def nearest(self, name: str, role: Role, question: str, most: int = MOST_PAIRS) -> tuple[Pair, ...]:
        """The role's pairs that are nearest to the question, the nearest last: next to the question itself.

        name is what the data calls the role. Empty where the role has no pairs.
        """
        if name not in self._indexes:
            own = [Pair(example.user, example.reply) for example in role.examples]
            self._indexes[name] = _Index([*own, *self._rows.get(name, ())])
        return self._indexes[name].nearest(question, most)

    def roles_without(self, casts: Iterable[tuple[str, Role]]) -> list[str]:
        """The names that have no pair at all."""
        return [name for name, role in casts if not role.examples and not self._rows.get(name)]


class _Index:
    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        self._bm25 = Bm25([f"{pair.user} {pair.reply}" for pair in pairs])

    def nearest(self, question: str, most: int) -> tuple[Pair, ...]:
        """The best pairs, the best last; where too few share a word with the question, the first others fill up."""
        ranked = [index for index, _ in self._bm25.rank(question)]
        others = [index for index in range(len(self._pairs)) if index not in set(ranked)]
        return tuple(self._pairs[index] for index in reversed([*ranked, *others][:most]))
