"""Which test questions a model may have been trained on: the same pair of role and question, or the same question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rolekit.rolebench.records import Record


@dataclass(frozen=True, slots=True)
class Overlap:
    """One test file against the train rows of the same kind and language, wherever they lie."""

    file: str
    rows: int
    pairs_in_train: int
    """Rows whose role and question (stripped) are a train row too."""
    questions: int
    """Distinct questions (stripped)."""
    questions_in_train: int
    """Of them, those that train asks of any role."""


def overlaps(by_file: Mapping[str, Sequence[Record]]) -> tuple[Overlap, ...]:
    """Every test file's overlap with train, in order; empty where there is no train file or no test file.

    A file's name (train.jsonl, test.jsonl) says which split it is.
    """
    train: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
    for file, rows in by_file.items():
        for record in rows if Path(file).stem == "train" else ():
            train[record.kind, record.language].append(record)
    tests = {file: rows for file, rows in by_file.items() if Path(file).stem == "test" and rows}
    found = []
    for file, rows in tests.items():
        seen = train.get((rows[0].kind, rows[0].language), [])
        if seen:
            pairs = {(record.role.strip(), record.question.strip()) for record in seen}
            questions = {question for _, question in pairs}
            asked = {record.question.strip() for record in rows}
            found.append(
                Overlap(
                    file=file,
                    rows=len(rows),
                    pairs_in_train=sum((r.role.strip(), r.question.strip()) in pairs for r in rows),
                    questions=len(asked),
                    questions_in_train=len(asked & questions),
                )
            )
    return tuple(found)
