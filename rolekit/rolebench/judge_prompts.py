"""What judges are asked, as messages, schemas and grammars, and what their answers mean."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from rolekit.messages import Message
from rolekit.rolebench.json_answers import find_object
from rolekit.rolebench.judge_wording import MOST_FLAWS, wording_of

Choice = Literal["1", "2", "tie"]
Dimension = Literal["style", "knowledge", "consistency"]
DIMENSIONS: tuple[Dimension, ...] = ("style", "knowledge", "consistency")

PAIR_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "winner": {"type": "string", "enum": ["1", "2", "tie"]}},
        "required": ["reason", "winner"],
        "additionalProperties": False,
    }
)
FLAW_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "flaws": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "dimension": {"type": "string", "enum": list(DIMENSIONS)},
                        "severity": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
                        "quote": {"type": "string"},
                        "why": {"type": "string"},
                    },
                    "required": ["dimension", "severity", "quote", "why"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["flaws"],
        "additionalProperties": False,
    }
)
_TEXT = r"""
text ::= "\"" char{0,240} "\""
char ::= [^"\\\x00-\x1f] | "\\" ["\\/bfnrt]
"""
GRAMMARS = {
    PAIR_SCHEMA: r"""
root ::= "{\"reason\": " text ", \"winner\": " winner "}"
winner ::= "\"1\"" | "\"2\"" | "\"tie\""
"""
    + _TEXT,
    FLAW_SCHEMA: r"""
root ::= "{\"flaws\": [" (flaw (", " flaw){0,3})? "]}"
flaw ::= "{\"dimension\": " dimension ", \"severity\": " [1-5] ", \"quote\": " text ", \"why\": " text "}"
dimension ::= "\"style\"" | "\"knowledge\"" | "\"consistency\""
"""
    + _TEXT,
}
"""The same as GBNF, for the model in this process: it cannot write anything else."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One flaw of an answer, as a judge listed it."""

    dimension: Dimension
    severity: int
    quote: str
    why: str
    found: bool
    """Whether the quote stands in the answer: a flaw whose evidence was made up does not count."""


def pair_messages(
    role: str, description: str, question: str, first: str, second: str, language: str = "en"
) -> tuple[Message, ...]:
    """Which of two answers plays the role better; language is that of the record."""
    parts = [
        _role(role, description),
        _tag("question", question),
        _tag("answer_1", first),
        _tag("answer_2", second),
    ]
    return (Message("system", wording_of(language).pair), Message("user", "\n\n".join(parts)))


def flaw_messages(
    role: str, description: str, question: str, answer: str, language: str = "en"
) -> tuple[Message, ...]:
    """Which flaws an answer has; language is that of the record."""
    parts = [_role(role, description), _tag("question", question), _tag("answer", answer)]
    return (Message("system", wording_of(language).flaws), Message("user", "\n\n".join(parts)))


def again_messages(asked: tuple[Message, ...], said: str, language: str = "en") -> tuple[Message, ...]:
    """The same once more, for a judge whose answer could not be read."""
    return (
        *asked,
        Message("assistant", said[:2000] or "…"),
        Message("user", wording_of(language).again),
    )


_CHOICES: dict[str, Choice] = {
    "1": "1", "2": "2", "tie": "tie", "draw": "tie", "both": "tie", "平局": "tie", "平手": "tie", "不分高下": "tie",
}  # fmt: skip


def parse_choice(text: str) -> Choice | None:
    """The winner that a judge named; None where it cannot be read."""
    found = find_object(text)
    winner = str(found.get("winner", "")).strip().lower() if found else ""
    winner = winner.removeprefix("answer").removeprefix("回答").removeprefix("答案").strip(" _.#。")
    return _CHOICES.get(winner)


def parse_flaws(text: str, answer: str) -> tuple[Flaw, ...] | None:
    """The flaws that a judge listed for this answer; None where they cannot be read."""
    found = find_object(text)
    rows = found.get("flaws") if found else None
    if not isinstance(rows, list):
        return None
    flaws = [_flaw(row, answer) for row in rows[:MOST_FLAWS]]
    return None if None in flaws else tuple(flaw for flaw in flaws if flaw is not None)


def _flaw(row: Any, answer: str) -> Flaw | None:
    if not isinstance(row, dict):
        return None
    dimension, severity = row.get("dimension"), row.get("severity")
    if isinstance(severity, str) and severity.strip().isdigit():
        severity = int(severity)
    if dimension not in DIMENSIONS or not isinstance(severity, int) or not 1 <= severity <= 5:
        return None
    quote, why = str(row.get("quote", "")), str(row.get("why", ""))
    bare = _bare(quote)
    return Flaw(dimension, severity, quote, why, bool(bare) and bare in _bare(answer))


def _bare(text: str) -> str:
    """Letters and digits alone, lower case: a quote may differ in blanks, quotation marks and dots."""
    return re.sub(r"[\W_]+", "", text.casefold())


def _role(name: str, description: str) -> str:
    return _tag("role", f"{name}\n{description}".strip())


def _tag(name: str, text: str) -> str:
    """Text between tags that it cannot close itself."""
    inside = re.sub(
        rf"</?\s*{name}\s*>", lambda found: found[0].replace("<", "‹").replace(">", "›"), text.strip()
    )
    return f"<{name}>\n{inside}\n</{name}>"
