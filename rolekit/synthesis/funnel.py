"""What a synthesis run shows while it works: from segments to accepted rows, what it has cost, and how long it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rolekit.synthesis.rows import Candidate

_NOT_CONFIDENT = ("malformed", "low-confidence")
_NOT_UNIQUE = ("duplicate",)


@dataclass(frozen=True, slots=True)
class Funnel:
    """A moment of a run. Rows are those of the whole folder's step, earlier lives included."""

    step: str
    """The task: rolegpt, context-instruct or dialogues."""
    segments: int = 0
    candidates: int = 0
    confident: int = 0
    unique: int = 0
    clean: int = 0
    accepted: int = 0
    held: int = 0
    """Clean, but waiting for a person."""
    rejected: dict[str, int] = field(default_factory=dict)
    """How many rows each reason took out."""
    requests: int = 0
    """HTTP requests (or local answers) of the folder's journal so far, all steps and repetitions."""
    tokens: int = 0
    """Prompt and answer tokens of them."""
    usd: float = 0.0
    """What is paid, or may have been."""
    cap_usd: float | None = None
    done: int = 0
    """Calls of this step that are settled, of total: an estimate that grows when more are needed."""
    total: int = 0
    unanswered: int = 0
    """Calls that got no answer; the same command asks for them again."""
    seconds: float = 0.0
    """Since this life of the run began."""
    eta_seconds: float | None = None
    newest: tuple[Candidate, ...] = ()
    """Rows written since the last moment that was shown."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    folder: Path
    funnel: Funnel
    finished: bool
    """Everything that was asked for is there; False after a pause, or where calls got no answer."""
    unanswered: dict[str, int] = field(default_factory=dict)
    """Why calls got no answer, and how many."""


class Counts:
    """The funnel's row counts, kept as rows come."""

    def __init__(self, rows: Iterable[Candidate] = ()) -> None:
        """rows: those that are there already; later ones come through add()."""
        self._verdicts: Counter[tuple[str, str]] = Counter()
        for row in rows:
            self.add(row)

    def add(self, row: Candidate) -> None:
        """Count a row."""
        self._verdicts[row.verdict, row.reason] += 1

    def figures(self) -> dict[str, Any]:
        """candidates, confident, unique, clean, accepted and held, by name."""
        total = self._verdicts.total()
        rejected = self.rejected()
        confident = total - sum(rejected.get(reason, 0) for reason in _NOT_CONFIDENT)
        unique = confident - sum(rejected.get(reason, 0) for reason in _NOT_UNIQUE)
        held = sum(number for (verdict, _), number in self._verdicts.items() if verdict == "held")
        accepted = total - held - sum(rejected.values())
        return {
            "candidates": total, "confident": confident, "unique": unique, "clean": accepted + held,
            "accepted": accepted, "held": held,
        }  # fmt: skip

    def rejected(self) -> dict[str, int]:
        """Rejected rows by reason, the most frequent first."""
        found = Counter(
            {reason: number for (verdict, reason), number in self._verdicts.items() if verdict == "rejected"}
        )
        return dict(found.most_common())
