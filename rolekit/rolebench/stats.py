"""What a set of records is made of, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rolekit.rolebench.records import Record


def described(records: Iterable[Record]) -> dict[str, Any]:
    """What `rolekit data stats` prints of some records: roles, questions, references, lengths, types."""
    everything = tuple(records)
    per_role = Counter(record.role for record in everything)
    references = [text for record in everything for text in record.references]
    return {
        "records": len(everything),
        "roles": len(per_role),
        "fewest_per_role": min(per_role.values(), default=0),
        "most_per_role": max(per_role.values(), default=0),
        "distinct_questions": len({record.question.strip() for record in everything}),
        "references": len(references),
        "references_per_record": dict(sorted(Counter(len(r.references) for r in everything).items())),
        "question_characters": _spread([len(record.question) for record in everything]),
        "reference_characters": _spread([len(text) for text in references]),
        "kinds": dict(Counter(record.kind for record in everything)),
        "types": dict(Counter(kind for record in everything for kind in set(record.types))),
        "languages": dict(Counter(record.language for record in everything)),
        "raw_references": sum(len(record.raw_references) for record in everything),
    }


def _spread(lengths: list[int]) -> dict[str, int]:
    """Median, 95th percentile (the value at that rank) and maximum."""
    if not lengths:
        return {"p50": 0, "p95": 0, "max": 0}
    ranked = sorted(lengths)
    return {
        "p50": ranked[len(ranked) // 2],
        "p95": ranked[min(len(ranked) - 1, len(ranked) * 95 // 100)],
        "max": ranked[-1],
    }
