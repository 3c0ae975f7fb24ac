"""The rows of a synthesis run: every candidate that a model gave, with what was decided about it and why.

RUN/rows.jsonl is append-only. A row that was written is never changed: what a person decides later stands in
decisions.jsonl, and rolekit.synthesis.audit brings the two together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal

from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir
from rolekit.rolebench.rows import Fault
from rolekit.rolebench.rows import read_rows as read_json_rows

ROWS = "rows.jsonl"
Step = Literal["rolegpt", "script-agnostic", "script-based", "dialogue", "not-knowing", "refusal"]
STEPS: tuple[Step, ...] = (
    "rolegpt",
    "script-agnostic",
    "script-based",
    "dialogue",
    "not-knowing",
    "refusal",
)
Verdict = Literal["accepted", "rejected", "held"]
VERDICTS: tuple[Verdict, ...] = ("accepted", "rejected", "held")

REASONS: dict[str, str] = {
    "malformed": "The model's row has no question or no answer.",
    "low-confidence": "The model itself was not sure of the question.",
    "duplicate": "The question was asked before in nearly the same words.",
    "incomplete-question": "The question cannot be understood alone.",
    "incomplete-answer": "The answer is empty, cut off, or has a gap to fill in.",
    "ai-identity": "The answer speaks of being a program.",
    "role-identity": "The answer speaks of playing a role.",
    "rejection": "The answer turns the question down as an assistant would.",
    "wrong-language": "The text is not in the role's language.",
    "answers-anyway": "The role should not know this, or not do this, and answers all the same.",
    "repeats": "The words go in circles.",
    "refused": "The model, or its provider, will not answer this request.",
    "content-filter": "The provider's filter cut the answer off.",
    "model-check": "The model that looked over the rows turned it down.",
    "audit": "A person turned it down.",
    "unsupported": "The segment does not bear the answer out.",
    "unverified": "No rule can tell in this language whether the answer is right.",
}
"""What `reason` may be, and what it means. The last two are reasons to hold a row for a person."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row: what may be asked, what the role answers, and what the rules said about it."""

    id: str
    """The same in every run that gets the same row (see row_id)."""
    step: Step
    role: str
    language: str
    """BCP 47."""
    question: str
    answers: tuple[str, ...]
    """In the role's voice; RoleGPT gives several, the others one, a rejected row whatever was there."""
    verdict: Verdict
    reason: str = ""
    """A key of REASONS; empty for accepted rows."""
    detail: str = ""
    """The phrase, the twin or the number behind the reason."""
    segment: str = ""
    """The id of the segment that it was made from (segments.jsonl); empty where it was made from none."""
    quote: str = ""
    """The words of the segment that the answer rests on."""
    confidence: str = ""
    """`high` or `low`, as the model said; empty where it was not asked."""
    rationale: str = ""
    """Why, as the model said."""
    support: float | None = None
    """How far segment and profile bear the answer out, 0 to 1; None where there is nothing to compare with."""
    baseline: str = ""
    """RoleGPT's one further answer, which models are compared with."""
    raw: tuple[str, ...] = ()
    """Plain answers that play no role, where the instructions came with some."""
    dropped: tuple[tuple[str, str], ...] = ()
    """Answers that the rules took out of the row, each with its reason."""
    turns: tuple[str, ...] = ()
    """A whole dialogue: the user's and the role's words in turn, the user's first; empty for single questions."""
    source: str = ""
    """Where the question came from: file:line of an instruction, the theme of a dialogue."""

    def as_row(self) -> dict[str, Any]:
        """The candidate as JSON; what is empty is left out, but for answers and verdict."""
        values = asdict(self)
        return {
            name: value for name, value in values.items() if name in _ALWAYS or value not in ("", (), None)
        }


_ALWAYS = ("id", "step", "role", "language", "question", "answers", "verdict")
_LISTS = ("answers", "raw", "turns")


def row_id(step: Step, role: str, question: str, *more: str) -> str:
    """A short name for a row: what stays the same keeps its name, and its decision."""
    text = "\0".join((step, role, " ".join(question.split()), *more))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def read_rows(run: Path) -> tuple[Candidate, ...]:
    """The candidates of a run in the order in which they came; empty where it has none yet.

    A half-written last line (of a process that runs or was killed) is left out. Raises RolekitError that names the
    lines which are no rows.
    """
    path = run / ROWS
    if not path.is_file():
        return ()
    found: list[Candidate] = []
    faults: list[str] = []
    rows = list(read_json_rows(path))
    torn = not path.read_bytes().endswith(b"\n")
    for place, row in enumerate(rows):
        item = str(row) if isinstance(row, Fault) else _candidate(row.value, row.origin)
        if isinstance(item, Candidate):
            found.append(item)
        elif not (torn and place == len(rows) - 1):
            faults.append(item)
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults[:20])
        raise RolekitError(
            f"{len(faults)} lines of {path} are no rows of a synthesis run:\n{listed}",
            "Restore them, or remove the file: the same command makes it again from the journal, and pays nothing.",
        )
    return tuple(found)


def append_rows(run: Path, rows: Iterable[Candidate]) -> None:
    """Put rows behind those that are there; they are on their way to the disk when this returns."""
    with open_rows(run) as file:
        write_rows(file, rows)


def open_rows(run: Path) -> IO[str]:
    """The run's rows, open for appending; a half-written last line is cut off first."""
    from rolekit.rolebench.rows import cut_torn_line

    path = ensure_dir(run) / ROWS
    if path.is_file():
        cut_torn_line(path)
    return path.open("a", encoding="utf-8", newline="\n")


def write_rows(file: IO[str], rows: Iterable[Candidate]) -> None:
    """Write rows to a file of open_rows(), and flush it."""
    for row in rows:
        text = json.dumps(row.as_row(), ensure_ascii=False)
        file.write(text.encode("utf-8", "replace").decode("utf-8") + "\n")
    file.flush()


def _candidate(value: dict[str, Any], origin: str) -> Candidate | str:
    """The row as a value, or why it is none."""
    unknown = sorted(set(value) - _NAMES)
    if unknown:
        return f"{origin}: unknown keys ({', '.join(unknown)})"
    if missing := [name for name in _ALWAYS if name not in value]:
        return f"{origin}: no {', '.join(missing)}"
    if value["step"] not in STEPS or value["verdict"] not in VERDICTS:
        return f"{origin}: `step` or `verdict` is none that is known"
    lists: dict[str, Any] = {name: value.get(name, []) for name in _LISTS}
    dropped = value.get("dropped", [])
    support = value.get("support")
    if not all(_texts(item) for item in lists.values()) or not isinstance(dropped, list):
        return f"{origin}: `answers`, `raw`, `turns` or `dropped` is no list of texts"
    if not all(_texts(pair) and len(pair) == 2 for pair in dropped):
        return f"{origin}: `dropped` holds something that is no answer with its reason"
    if support is not None and not isinstance(support, int | float):
        return f"{origin}: `support` is no number"
    texts: dict[str, Any] = {
        name: item for name, item in value.items() if name not in (*_LISTS, "dropped", "support")
    }
    if not all(isinstance(item, str) for item in texts.values()):
        return f"{origin}: a value is no text"
    values = texts | {name: tuple(item) for name, item in lists.items()}
    return Candidate(**values, dropped=tuple((answer, reason) for answer, reason in dropped), support=support)


_NAMES = {field.name for field in fields(Candidate)}


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
