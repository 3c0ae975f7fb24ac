"""The audit: what a person decides about candidates, kept beside them and never inside them.

    RUN/decisions.jsonl     append-only: {"id", "decision": accept | edit | reject, "answer" (of an edit), "time"}

The last decision about a row wins; `undo` takes a row back to what the rules said. A line that was cut off (a killed
process, a full disk) is counted and skipped; the next decision begins a line of its own.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from rolekit.errors import RolekitError
from rolekit.synthesis.rows import Candidate, read_rows

DECISIONS = "decisions.jsonl"
Verb = Literal["accept", "edit", "reject", "undo"]
VERBS: tuple[Verb, ...] = get_args(Verb)
MOST_LETTERS = 20_000
"""Of an edited answer."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person said about one candidate."""

    id: str
    decision: Verb
    answer: str = ""
    """The answer as the person wrote it, of an edit; empty otherwise."""
    time: float = 0.0
    """Seconds since 1970, UTC."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decisions of a run that hold, one a row, and how many lines could not be read."""

    by_id: dict[str, Decision]
    faults: int = 0


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the rules and a person agree about the rows that the person looked at."""

    both_accept: int = 0
    both_reject: int = 0
    only_rules_accept: int = 0
    """The person rejected what the rules let through."""
    only_person_accepts: int = 0
    """The person took in, as it is or edited, what the rules rejected."""
    held_accepted: int = 0
    """Rows that the rules left to the audit; they count for neither side."""
    held_rejected: int = 0
    edited: int = 0
    """Of all rows that were taken in: those whose answer the person changed."""
    unknown: int = 0
    """Decisions about rows that the run does not have."""

    @property
    def decided(self) -> int:
        """Rows that a person decided about."""
        return self.compared + self.held_accepted + self.held_rejected

    @property
    def compared(self) -> int:
        """Of these, the rows that the rules had decided about too."""
        return self.both_accept + self.both_reject + self.only_rules_accept + self.only_person_accepts

    @property
    def share(self) -> float | None:
        """The share of compared rows that both sides judged alike; None without one."""
        return (self.both_accept + self.both_reject) / self.compared if self.compared else None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa: agreement beyond chance; None where it is undefined (one side said the same of all)."""
        total = self.compared
        if not total:
            return None
        rules_yes = (self.both_accept + self.only_rules_accept) / total
        person_yes = (self.both_accept + self.only_person_accepts) / total
        chance = rules_yes * person_yes + (1 - rules_yes) * (1 - person_yes)
        share = (self.both_accept + self.both_reject) / total
        return (share - chance) / (1 - chance) if chance < 1 else None

    def as_json(self) -> dict[str, Any]:
        """The counters for the data card."""
        names = (
            "decided", "both_accept", "both_reject", "only_rules_accept", "only_person_accepts", "held_accepted",
            "held_rejected", "edited", "unknown",
        )  # fmt: skip
        shares = {"agreement": self.share, "kappa": self.kappa}
        return {name: getattr(self, name) for name in names} | {
            name: None if value is None else round(value, 4) for name, value in shares.items()
        }


def decide(run: Path, row_id: str, decision: Verb, answer: str = "") -> Decision:
    """Write a decision down and keep it, whatever happens next; it is on the disk when this returns.

    Raises RolekitError for an edit without an answer (or with one too long), and when it cannot be written.
    """
    answer = answer.strip() if decision == "edit" else ""
    if decision == "edit" and not answer:
        raise RolekitError("An edited answer cannot be empty.", "Reject the row instead.")
    if len(answer) > MOST_LETTERS:
        raise RolekitError(f"The answer has more than {MOST_LETTERS} letters.", "Shorten it.")
    made = Decision(row_id, decision, answer.encode("utf-8", "replace").decode(), round(time.time(), 3))
    row = {"id": made.id, "decision": made.decision, "time": made.time}
    if made.answer:
        row["answer"] = made.answer
    path = run / DECISIONS
    try:
        with path.open("a+b") as file:
            if file.tell() and not _ends_line(file):
                file.write(b"\n")
            file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RolekitError(
            f"The decision could not be written to {path} ({error.strerror or error}).",
            "Make room or check the folder's permissions, then decide again.",
        ) from error
    return made


def _ends_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def read_decisions(run: Path) -> Decisions:
    """The decisions that hold in a run's folder; none where nobody has audited it.

    Raises RolekitError when the file is there and cannot be read.
    """
    try:
        content = (run / DECISIONS).read_bytes()
    except FileNotFoundError:
        return Decisions({})
    except OSError as error:
        raise RolekitError(
            f"{run / DECISIONS} cannot be read ({error.strerror or error}).", "Check its permissions."
        ) from error
    found: dict[str, Decision] = {}
    faults = 0
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        made = _parsed(line)
        if made is None:
            faults += 1
        elif made.decision == "undo":
            found.pop(made.id, None)
        else:
            found[made.id] = made
    return Decisions(found, faults)


def _parsed(line: bytes) -> Decision | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or row.get("decision") not in VERBS or not isinstance(row.get("id"), str):
        return None
    answer, when = row.get("answer", ""), row.get("time", 0.0)
    if not isinstance(answer, str) or not isinstance(when, (int, float)):
        return None
    if row["decision"] == "edit" and not answer.strip():
        return None
    return Decision(row["id"], row["decision"], answer, float(when))


def after(rows: Iterable[Candidate], decisions: Decisions) -> list[Candidate]:
    """The candidates as the decisions leave them: verdict and reason are the person's where one decided.

    An edit replaces the answers by the one that was written; in a dialogue it is the role's last turn.
    """
    return [_decided(row, decisions.by_id.get(row.id)) for row in rows]


def _decided(row: Candidate, made: Decision | None) -> Candidate:
    if made is None:
        return row
    if made.decision == "reject":
        return replace(row, verdict="rejected", reason="audit")
    if made.decision == "edit":
        turns = (*row.turns[:-1], made.answer) if row.turns else ()
        return replace(row, verdict="accepted", reason="", answers=(made.answer,), turns=turns)
    return replace(row, verdict="accepted", reason="")


def effective(run: Path) -> list[Candidate]:
    """The rows of a run that are accepted in the end: by the rules or by a person, never against a person."""
    return [row for row in after(read_rows(run), read_decisions(run)) if row.verdict == "accepted"]


def agreement(rows: Sequence[Candidate], decisions: Decisions) -> Agreement:
    """How far the rules and the person agree. rows are the run's own, before any decision."""
    verdicts = {row.id: row.verdict for row in rows}
    counts: Counter[str] = Counter()
    for made in decisions.by_id.values():
        taken = made.decision != "reject"
        verdict = verdicts.get(made.id)
        if verdict is None:
            counts["unknown"] += 1
            continue
        counts["edited"] += made.decision == "edit"
        if verdict == "accepted":
            counts["both_accept" if taken else "only_rules_accept"] += 1
        elif verdict == "rejected":
            counts["only_person_accepts" if taken else "both_reject"] += 1
        else:
            counts["held_accepted" if taken else "held_rejected"] += 1
    return Agreement(**counts)
