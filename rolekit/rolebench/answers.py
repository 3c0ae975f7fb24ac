"""Saved answers: what a run wrote, or RoleBench's baselines, or any JSON Lines file with one answer a row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError
from rolekit.rolebench.rows import Fault, Row, read_rows

TEXT_KEYS = ("answer", "generated")
"""Where the answer stands: `answer` in our own rows, `generated` (a list) in RoleBench's baselines."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to one question in one role; the text may be empty, which is an answer too."""

    role: str
    question: str
    text: str
    kind: str = ""
    """general or role_specific; empty where the row does not say, and the record it belongs to does."""
    condition: str = ""
    """How the model was asked, in the words of the run's recipe; empty where there is no run."""
    stop_reason: str = ""
    prompt_tokens: int = 0
    generated_tokens: int = 0
    seconds: float = 0.0
    origin: str = ""
    """file:line of the row."""


@dataclass(frozen=True, slots=True)
class AnswerReading:
    """The answers of a file in order, the rows that could not be used, and how many rows held more than one."""

    answers: tuple[Answer, ...]
    faults: tuple[Fault, ...]
    several: int
    """Rows whose `generated` lists more than one answer; the first is taken."""


def read_answers(path: Path) -> AnswerReading:
    """The answers of a JSON Lines file: our rows (`answer`) or RoleBench's (`generated`), also mixed.

    Raises RolekitError when the file cannot be read or holds no row.
    """
    answers: list[Answer] = []
    faults: list[Fault] = []
    several = 0
    for row in read_rows(path):
        item = row if isinstance(row, Fault) else _answer(row)
        if isinstance(item, Fault):
            faults.append(item)
            continue
        answers.append(item)
        assert isinstance(row, Row)
        several += "answer" not in row.value and len(row.value["generated"]) > 1
    if not answers and not faults:
        raise RolekitError(f"{path} holds no answers.", "Give a run folder or a file with one answer a line.")
    return AnswerReading(tuple(answers), tuple(faults), several)


def as_row(answer: Answer) -> dict[str, Any]:
    """The answer as a row of answers.jsonl; what is empty is left out, but for the text itself."""
    row: dict[str, Any] = {"role": answer.role, "question": answer.question, "answer": answer.text}
    for key in ("kind", "condition", "stop_reason", "prompt_tokens", "generated_tokens", "seconds"):
        if value := getattr(answer, key):
            row[key] = value
    return row


def _answer(row: Row) -> Answer | Fault:
    value = row.value
    for key in ("role", "question"):
        if not isinstance(value.get(key), str) or not value[key].strip():
            return Fault(row.origin, f"`{key}` is missing, not a text, or empty", row.raw)
    text = value.get("answer") if "answer" in value else _first(value.get("generated"))
    if not isinstance(text, str):
        return Fault(row.origin, "neither `answer` (a text) nor `generated` (a list of texts)", row.raw)
    words: list[Any] = [value.get(key) or "" for key in ("kind", "condition", "stop_reason")]
    if not all(isinstance(word, str) for word in words):
        return Fault(row.origin, "`kind`, `condition` or `stop_reason` is not a text", row.raw)
    numbers: list[Any] = [value.get(key) or 0 for key in ("prompt_tokens", "generated_tokens", "seconds")]
    if not all(isinstance(number, (int, float)) for number in numbers):
        return Fault(row.origin, "`prompt_tokens`, `generated_tokens` or `seconds` is not a number", row.raw)
    kind, condition, stop_reason = words
    prompt_tokens, generated_tokens, seconds = numbers
    return Answer(
        role=value["role"],
        question=value["question"],
        text=text,
        kind=kind,
        condition=condition,
        stop_reason=stop_reason,
        prompt_tokens=prompt_tokens,
        generated_tokens=generated_tokens,
        seconds=seconds,
        origin=row.origin,
    )


def _first(generated: Any) -> Any:
    return generated[0] if isinstance(generated, list) and generated else generated
