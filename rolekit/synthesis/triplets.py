"""Context-Instruct's triplets: the schema they are asked for in, reading them, and judging them by the rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from rolekit.endpoints.calls import Answer
from rolekit.rolebench.abstention import complies, knows
from rolekit.rolebench.json_answers import find_object
from rolekit.roles.role import Role
from rolekit.synthesis.cleaning import (
    Fault,
    allowed_for,
    answer_fault,
    language_fault,
    question_fault,
    tidied,
)
from rolekit.synthesis.duplicates import Asked
from rolekit.synthesis.grounding import SUPPORTED, profile_texts, support
from rolekit.synthesis.rows import Candidate, Step, row_id
from rolekit.synthesis.segments import Segment
from rolekit.text import sanitize

_RULED = {"en", "zh"}
"""Languages in which an answer that the rules do not recognise as not knowing, or not willing, is neither."""
_NONE: frozenset[str] = frozenset()
_TOLD: dict[Step, frozenset[str]] = {"not-knowing": frozenset({"rejection"})}
"""Who does not know may well say that it cannot tell."""
_CHARACTERS = {"question": 240, "quote": 240, "rationale": 200, "answer": 600}
ITEM_TOKENS = 260
"""Room for one triplet; usual ones take half."""


@dataclass(frozen=True, slots=True)
class Item:
    """One row as the model wrote it; what is missing is empty."""

    question: str
    answer: str
    confidence: str = ""
    rationale: str = ""
    quote: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    """The rows of one answer, and why it ended."""

    items: tuple[Item, ...]
    finish_reason: str


@lru_cache(maxsize=64)
def schema_of(fields: tuple[str, ...], number: int, bounded: bool) -> str:
    """The JSON schema of an answer with number rows of these fields.

    bounded: with lengths, for the grammar of a model in this process; servers often know none.
    """
    properties: dict[str, Any] = {}
    for name in fields:
        properties[name] = {"type": "string"} | ({"maxLength": _CHARACTERS.get(name, 200)} if bounded else {})
        if name == "confidence":
            properties[name] = {"type": "string", "enum": ["high", "low"]}
    row = {
        "type": "object",
        "properties": properties,
        "required": list(fields),
        "additionalProperties": False,
    }
    rows: dict[str, Any] = {"type": "array", "items": row}
    if bounded:
        rows |= {"minItems": number, "maxItems": number}
    whole = {
        "type": "object", "properties": {"items": rows}, "required": ["items"], "additionalProperties": False,
    }  # fmt: skip
    return json.dumps(whole)


AGNOSTIC = ("question", "rationale", "confidence", "answer")
BASED = ("question", "quote", "rationale", "confidence", "answer")
PLAIN = ("question", "answer")


def read_items(answer: Answer) -> Items | None:
    """The rows in an answer; None where there are none. Of an answer that was cut off only whole ones are taken.

    A list without the object around it, and a single row, are understood too: servers without JSON schemas give both.
    """
    rows = [] if answer.finish_reason == "length" else _rows_in(answer.text)
    rows = rows or _whole_rows(answer.text)
    return Items(tuple(map(_item, rows)), answer.finish_reason) if rows else None


def _rows_in(text: str) -> list[Any]:
    found = find_object(text) if "{" in text.partition("[")[0] else None
    if found is None:
        return []
    rows = found.get("items")
    if rows is None:
        if isinstance(found.get("question"), str):
            return [found]
        rows = next((value for value in found.values() if isinstance(value, list)), None)
    return rows if isinstance(rows, list) else []


def _whole_rows(text: str) -> list[Any]:
    """The objects of the first list, one by one, up to the first that is broken."""
    decoder = json.JSONDecoder(strict=False)
    rows: list[Any] = []
    place = text.find("{", text.find("[") + 1)
    while place >= 0:
        try:
            row, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            break
        rows.append(row)
        place = text.find("{", end)
    return [row for row in rows if {"question", "answer"} & set(row)]


def _item(row: Any) -> Item:
    values = row if isinstance(row, dict) else {}
    return Item(
        *(_text(values.get(name)) for name in ("question", "answer", "confidence", "rationale", "quote"))
    )


def _text(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return sanitize(value).strip() if isinstance(value, str) else ""


class Judge:
    """Decides about rows in the order in which they come: each is compared with those that were kept before it."""

    def __init__(self, role: Role, kept: Sequence[Candidate] = ()) -> None:
        """kept: rows of earlier lives; new questions must differ from those that were not rejected."""
        self._role = role
        self._names = (role.name, *role.aliases)
        self._asked = Asked(self._names, (row.question for row in kept if row.verdict != "rejected"))
        self._profile, self._allowed = profile_texts(role), allowed_for(role)

    def row(
        self, step: Step, item: Item, key: str, *, segment: Segment | None = None, source: str = ""
    ) -> Candidate:
        """The item as a row with its verdict. key tells it from equal items of other calls."""
        answer = tidied(item.answer, self._names)
        question = tidied(item.question, ())
        row = Candidate(
            row_id(step, self._role.name, question, key), step, self._role.name, self._role.language, question,
            (answer,) if answer else (), "accepted", segment=segment.id if segment else "", quote=item.quote,
            confidence=item.confidence, rationale=item.rationale, source=source,
        )  # fmt: skip
        fault = self._fault(step, row, answer)
        if fault is not None:
            return replace(row, verdict="rejected", reason=fault.reason, detail=fault.detail)
        row = self._supported(row, answer, segment) if segment else self._told(row, answer)
        if row.verdict != "rejected":
            self._asked.keep(question)
        return row

    def _fault(self, step: Step, row: Candidate, answer: str) -> Fault | None:
        if not row.question or not answer:
            return Fault("malformed", "no question" if not row.question else "no answer")
        if step in ("script-agnostic", "script-based") and not sure(row.confidence):
            return Fault("low-confidence", row.rationale or row.confidence or "none was given")
        if twin := self._asked.twin(row.question):
            return Fault("duplicate", twin)
        return (
            (None if step == "refusal" else question_fault(row.question, row.language))
            or answer_fault(
                answer, "length" if full(answer) else "stop", self._allowed | _TOLD.get(step, _NONE)
            )
            or language_fault(self._role, f"{row.question} {answer}")
        )

    def _supported(self, row: Candidate, answer: str, segment: Segment) -> Candidate:
        score, missing = support(answer, row.quote, segment.text, [*self._profile, row.question])
        if score >= SUPPORTED:
            return replace(row, support=score)
        return replace(row, support=score, verdict="held", reason="unsupported", detail=missing)

    def _told(self, row: Candidate, answer: str) -> Candidate:
        """Not-knowing and refusal rows must say no; where no rule can tell, a person does."""
        if row.step not in ("not-knowing", "refusal"):
            return row
        stance = knows(answer) if row.step == "not-knowing" else complies(answer)
        if stance == "abstains":
            return row
        if self._role.language.split("-")[0] not in _RULED:
            return replace(row, verdict="held", reason="unverified")
        return replace(row, verdict="rejected", reason="answers-anyway", detail=answer[:80])


def full(answer: str) -> bool:
    """Whether an answer is as long as the grammar lets it be: cut off, where it ends without a full stop."""
    return len(answer) >= _CHARACTERS["answer"] - 1


def sure(confidence: str) -> bool:
    """Whether the model is sure: `high`, or nearly the whole of a scale to 1, 10 or 100."""
    said = confidence.strip().strip('"').rstrip("%").casefold()
    try:
        number = float(said)
    except ValueError:
        return said in ("high", "very high", "高", "很高")
    return any(0.8 * scale <= number <= scale for scale in (1.0, 10.0, 100.0))
