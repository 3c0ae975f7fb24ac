"""The optional model check: a generator looks over what the rules have let through, some rows in each call."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from rolekit.endpoints.calls import Answer
from rolekit.rolebench.json_answers import find_object
from rolekit.synthesis import prompts
from rolekit.synthesis.desk import Desk
from rolekit.synthesis.reading import Question, Unread
from rolekit.synthesis.rows import Candidate
from rolekit.text import one_line

ROWS_EACH = 6
_TOKENS_EACH = 80
_POINTS = ("complete", "factual", "in_role")


@dataclass(frozen=True, slots=True)
class _Opinion:
    """What the check found wrong with one row; empty where nothing is."""

    faults: tuple[str, ...]
    why: str


async def checked(desk: Desk, rows: Sequence[Candidate]) -> AsyncGenerator[Candidate, None]:
    """The rows in order, those that the check turns down as rejected. What cannot be checked is held."""
    groups = [tuple(rows[start : start + ROWS_EACH]) for start in range(0, len(rows), ROWS_EACH)]
    texts = {segment.id: segment.text for segment in desk.segments}
    questions = []
    for group in groups:
        shown = [(row.question, row.answers[0], texts.get(row.segment, "")) for row in group]
        call = desk.call(
            prompts.check_messages(desk.role, shown), len(group) * _TOKENS_EACH + 40,
            schema=_schema(len(group), desk.generator.local),
        )  # fmt: skip
        questions.append(Question(call, _reader(len(group))))
    async with aclosing(desk.read(questions)) as meanings:
        async for index, value in meanings:
            for place, row in enumerate(groups[index]):
                if isinstance(value, Unread):
                    yield replace(row, verdict="held", reason="unverified", detail="the check gave no answer")
                else:
                    yield _judged(row, value[place])


def _judged(row: Candidate, opinion: _Opinion) -> Candidate:
    if not opinion.faults:
        return row
    detail = one_line(f"not {', not '.join(opinion.faults)}: {opinion.why}", 200)
    return replace(row, verdict="rejected", reason="model-check", detail=detail)


def _reader(number: int) -> Callable[[Answer], tuple[_Opinion, ...] | None]:
    """Reads an answer about so many rows; an answer that leaves one out cannot be read."""

    def read(answer: Answer) -> tuple[_Opinion, ...] | None:
        found = find_object(answer.text)
        items = found.get("items") if found else None
        if not isinstance(items, list):
            return None
        by_number = {item.get("number"): item for item in items if isinstance(item, dict)}
        if not all(place in by_number for place in range(1, number + 1)):
            return None
        return tuple(_opinion(by_number[place]) for place in range(1, number + 1))

    return read


def _opinion(item: dict[str, Any]) -> _Opinion:
    faults = tuple(point.replace("_", " ") for point in _POINTS if item.get(point) is not True)
    return _Opinion(faults, str(item.get("why", "")))


def _schema(number: int, bounded: bool) -> str:
    properties: dict[str, Any] = {"number": {"type": "integer"}}
    properties |= {point: {"type": "boolean"} for point in _POINTS}
    properties["why"] = {"type": "string"} | ({"maxLength": 120} if bounded else {})
    if bounded:
        properties["number"] = {"type": "integer", "enum": list(range(1, number + 1))}
    row = {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip
    rows: dict[str, Any] = {"type": "array", "items": row}
    if bounded:
        rows |= {"minItems": number, "maxItems": number}
    return json.dumps(
        {
            "type": "object",
            "properties": {"items": rows},
            "required": ["items"],
            "additionalProperties": False,
        }
    )
