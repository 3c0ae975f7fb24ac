"""Subsets that stay the same: by role and kind, chosen by hash, with the width of the interval to expect.

A row is in or out by a hash of its own texts, so adding rows moves only the rows they displace, never the rest.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from rolekit.rolebench.records import KINDS, Record

ITEM_SD = 0.062
ROLE_SD = 0.021
"""Spread of standard F1 between items and between roles, measured on RoleGPT's 4,750 English role-specific answers."""


def sample(records: Iterable[Record], per_role: int, salt: str = "") -> tuple[Record, ...]:
    """per_role records of every role (all of them where it has fewer), half of each kind where it has both.

    Another salt chooses other rows. They come in the order of the records given.
    """
    by_role: defaultdict[str, defaultdict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    everything = tuple(records)
    for record in everything:
        by_role[record.role.strip()][record.kind].append(record)
    chosen: set[int] = set()
    for kinds in by_role.values():
        for kind, number in _shares({kind: len(kinds[kind]) for kind in KINDS}, per_role).items():
            ranked = sorted(kinds[kind], key=lambda record: _rank(record, salt))
            chosen |= {id(record) for record in ranked[:number]}
    return tuple(record for record in everything if id(record) in chosen)


def expected_half_width(records: Sequence[Record]) -> float:
    """Half the width of the 95 % interval of standard F1 to expect from these records, roles drawn, then items.

    From the spread measured on RoleGPT's answers; a single role's interval speaks of its own questions only.
    """
    counts = Counter(record.role.strip() for record in records)
    total = counts.total()
    if not total:
        return math.inf
    between = 0.0 if len(counts) == 1 else ROLE_SD**2 * sum((n / total) ** 2 for n in counts.values())
    return 1.96 * math.sqrt(between + ITEM_SD**2 / total)


def _shares(there: dict[str, int], wanted: int) -> dict[str, int]:
    """How many of each kind: equal shares, and what one kind lacks comes from the other; role_specific first."""
    shares = dict.fromkeys(there, 0)
    for _ in range(min(wanted, sum(there.values()))):
        open_kinds = [kind for kind in reversed(KINDS) if shares[kind] < there[kind]]
        shares[min(open_kinds, key=lambda kind: shares[kind])] += 1
    return shares


def _rank(record: Record, salt: str) -> bytes:
    return stable_rank(salt, record.role.strip(), record.kind, record.question.strip())


def stable_rank(*parts: str) -> bytes:
    """A place in an order that is the same everywhere, and does not change when other things join it."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
