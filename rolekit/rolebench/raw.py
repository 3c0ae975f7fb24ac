"""Plain answers joined to the general questions, so that RAW can be scored where RoleBench brings none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rolekit.errors import RolekitError
from rolekit.rolebench.records import Reading, Record
from rolekit.rolebench.sources import read_instructions
from rolekit.text import count


def with_raw_references(reading: Reading, path: Path, advise: Callable[[str], None]) -> Reading:
    """The reading with the answers of a source of general instructions as raw references, found by question.

    Blanks do not count when questions are compared: sources join instruction and input in their own ways. Raises
    RolekitError when the source answers none of the general questions.
    """
    source = read_instructions(path)
    answers: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for instruction in source.instructions:
        answers[_key(instruction.question)] |= dict.fromkeys(instruction.answers)
    general = [record for record in reading.records if record.kind == "general"]
    records = tuple(_with(record, answers) for record in reading.records)
    found = sum(bool(record.raw_references) for record in records if record.kind == "general")
    if general and not found:
        raise RolekitError(
            f"{path} answers none of the {len(general)} general questions.",
            "RAW needs the plain answers to the very questions that were asked.",
        )
    advise(f"raw answers for {count(found)} of {count(len(general))} general questions")
    return replace(reading, records=records)


def _with(record: Record, answers: dict[str, dict[str, None]]) -> Record:
    if record.kind != "general":
        return record
    found = answers.get(_key(record.question), {})
    return replace(record, raw_references=tuple(dict.fromkeys([*record.raw_references, *found])))


def _key(question: str) -> str:
    return " ".join(question.split())
