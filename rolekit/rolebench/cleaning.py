"""Cleaning that is the same every time and counts what it does: strip, normalise types, merge duplicates, flag leaks.

RoleBench's rows need it (reference/paper.md, 4.2 and 4.3): leading blanks on every question of one file, `type` as a
text or a list, the same question twice with a blank more. Nothing is dropped: a duplicate's references are united.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rolekit.rolebench.leaks import Leak, leaks_in
from rolekit.rolebench.records import Record

COUNTS = (
    "stripped_questions",
    "stripped_references",
    "types_normalised",
    "exact_duplicates",
    "stripped_duplicates",
    "repeated_references",
    "united_references",
    "near_duplicates",
)


@dataclass(frozen=True, slots=True)
class Flag:
    """A reference that falls out of its role: the phrase, and where the row is."""

    origin: str
    leak: Leak
    phrase: str
    reference: str


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Records with stripped texts, each (role, question, kind) once in order of first appearance; and the accounts."""

    records: tuple[Record, ...]
    counts: dict[str, int]
    """By COUNTS. near_duplicates (equal but for case and punctuation) are counted, not merged."""
    flags: tuple[Flag, ...]


def clean(records: Iterable[Record]) -> Cleaned:
    """The records, cleaned; the same ones always give the same result, and cleaning twice changes nothing more."""
    counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
    merged: dict[tuple[str, str, str], Record] = {}
    raw_keys: set[tuple[str, str, str]] = set()
    for record in records:
        tidy = _tidied(record, counts)
        key = (tidy.role, tidy.question, tidy.kind)
        raw_key = (record.role, record.question, record.kind)
        if key in merged:
            counts["exact_duplicates" if raw_key in raw_keys else "stripped_duplicates"] += 1
            merged[key] = _united(merged[key], tidy, counts)
        else:
            merged[key] = tidy
        raw_keys.add(raw_key)
    result = tuple(merged.values())
    counts["near_duplicates"] = len(result) - len({_near_key(record) for record in result})
    return Cleaned(result, dict(counts), tuple(_flags(result)))


def _tidied(record: Record, counts: Counter[str]) -> Record:
    question = record.question.strip()
    references = tuple(text.strip() for text in record.references)
    counts["stripped_questions"] += question != record.question
    counts["stripped_references"] += sum(a != b for a, b in zip(references, record.references, strict=True))
    once = tuple(dict.fromkeys(references))
    counts["repeated_references"] += len(references) - len(once)
    types = tuple(sorted({kind.strip() for kind in record.types if kind.strip()}))
    counts["types_normalised"] += types != record.types
    return replace(
        record,
        role=record.role.strip(),
        question=question,
        references=once,
        raw_references=_once(record.raw_references),
        types=types,
    )


def _united(first: Record, second: Record, counts: Counter[str]) -> Record:
    references = _once([*first.references, *second.references])
    counts["united_references"] += len(references) - len(first.references)
    return replace(
        first,
        references=references,
        raw_references=_once([*first.raw_references, *second.raw_references]),
        types=tuple(sorted({*first.types, *second.types})),
    )


def _once(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.strip() for text in texts))


_NOT_WORDS = re.compile(r"[\W_]+")


def _near_key(record: Record) -> tuple[str, str, str]:
    words = _NOT_WORDS.sub(" ", record.question.casefold()).strip()
    return record.role, words or record.question, record.kind


def _flags(records: Iterable[Record]) -> Iterable[Flag]:
    for record in records:
        for reference in record.references:
            for leak, phrase in leaks_in(reference).items():
                yield Flag(record.origin, leak, phrase, reference)
