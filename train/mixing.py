"""Which dialogues a run sees: weights, shares of the kinds, the held-out questions. All by hash, nothing by chance.

A row's fate depends on the seed and its own text, so rows that are added later move no other row.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rolekit.errors import RolekitError
from rolekit.train.examples import Kind
from rolekit.train.sources import Dialogue


@dataclass(frozen=True, slots=True)
class Weighted:
    """A dialogue, and how often its source wants it seen an epoch."""

    dialogue: Dialogue
    weight: float = 1.0


def fraction_of(seed: int, *texts: str) -> float:
    """A number in [0, 1) that depends on nothing but seed and texts."""
    digest = hashlib.sha256("\0".join([str(seed), *texts]).encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def without_duplicates(rows: Iterable[Weighted]) -> tuple[list[Weighted], int]:
    """The rows without those that say word for word what an earlier one says, and how many those were."""
    seen: set[tuple[str, ...]] = set()
    kept: list[Weighted] = []
    dropped = 0
    for row in rows:
        dialogue = row.dialogue
        key = (dialogue.role, dialogue.system, *(" ".join(turn.text.split()) for turn in dialogue.turns))
        if key in seen:
            dropped += 1
            continue
        seen.add(key)
        kept.append(row)
    return kept, dropped


def split(rows: Sequence[Weighted], fraction: float, seed: int) -> tuple[list[Weighted], list[Weighted]]:
    """Rows to train on and held-out rows: a question is on one side only, for all the roles that answer it.

    With at least two questions and a fraction above 0, neither side is empty.
    """
    places = {_question(row): fraction_of(seed, "split", _question(row)) for row in rows}
    if not fraction or len(places) < 2:
        return list(rows), []
    ordered = sorted(places.values())
    border = min(max(fraction, math.nextafter(ordered[0], 1)), ordered[-1])
    train = [row for row in rows if places[_question(row)] >= border]
    return train, [row for row in rows if places[_question(row)] < border]


def _question(row: Weighted) -> str:
    return " ".join(row.dialogue.question.split()).casefold()


def weighted(rows: Sequence[Weighted], seed: int) -> list[Dialogue]:
    """Each row as often as its weight says: 2.5 is twice, and a third time for a stable half of the rows."""
    seen: list[Dialogue] = []
    for row in rows:
        times, rest = divmod(row.weight, 1)
        seen += [row.dialogue] * (int(times) + (_rank(seed, row.dialogue) < rest))
    return seen


def mixed(rows: Sequence[Dialogue], mix: Mapping[Kind, float], wanted: int, seed: int) -> list[Dialogue]:
    """The rows in the shares of mix, in their order; wanted is how many in all (0: as many as need no repeating).

    Where one kind has too few rows for wanted, its rows are seen again. An empty mix keeps the shares there are.
    Raises RolekitError when mix asks for a kind that has no rows.
    """
    there = Counter(dialogue.kind for dialogue in rows)
    if not mix and (not wanted or wanted == len(rows)):
        return list(rows)
    shares = {kind: share for kind, share in (mix or there).items() if share > 0}
    missing = [kind for kind in shares if not there[kind]]
    if missing:
        raise RolekitError(
            f"The mix asks for {' and '.join(missing)} rows, and the data has none.",
            "Add a source of that kind (kind = … beside its path), or take it out of data.mix.",
        )
    whole = sum(shares.values())
    total = wanted or min(there[kind] * whole / share for kind, share in shares.items())
    times: Counter[int] = Counter()
    for kind, share in shares.items():
        of_kind = [place for place, dialogue in enumerate(rows) if dialogue.kind == kind]
        rounds, rest = divmod(round(total * share / whole), len(of_kind))
        ranked = sorted(of_kind, key=lambda place: (_rank(seed, rows[place]), place))
        times.update(dict.fromkeys(of_kind, rounds))
        times.update(ranked[:rest])
    return [dialogue for place, dialogue in enumerate(rows) for _ in range(times[place])]


def sampled(rows: Sequence[Dialogue], most: int, seed: int) -> list[Dialogue]:
    """At most so many of the rows, chosen by hash, in their order; all for 0."""
    if not most or len(rows) <= most:
        return list(rows)
    ranked = sorted(range(len(rows)), key=lambda place: (_rank(seed, rows[place]), place))
    return [rows[place] for place in sorted(ranked[:most])]


def _rank(seed: int, dialogue: Dialogue) -> float:
    return fraction_of(seed, "pick", dialogue.key, dialogue.turns[-1].text)
