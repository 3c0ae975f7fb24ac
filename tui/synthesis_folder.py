"""A synthesis run as its folder shows it: rows, decisions, what it has cost. Another process may be writing there."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rolekit.endpoints.journal import Spending, spending_in
from rolekit.errors import RolekitError
from rolekit.paths import expanded, home, write_text
from rolekit.synthesis.audit import DECISIONS, Agreement, Decisions, after, agreement, read_decisions
from rolekit.synthesis.funnel import Counts
from rolekit.synthesis.recipe import RECIPE, read_recipes
from rolekit.synthesis.rows import ROWS, Candidate, read_rows

_SEGMENTS = "segments.jsonl"
_JOURNAL = "journal.db"
_ORDER = "order.json"
"""The screen's note in a run's folder: the command that goes on with it."""
_WATCHED = (ROWS, DECISIONS, _JOURNAL, f"{_JOURNAL}-wal", RECIPE, _SEGMENTS)
_WINDOW_SECONDS = 60.0
_SHARE = 20
"""Reading may take a twentieth of the time."""
STAGES = ("segments", "candidates", "confident", "unique", "clean", "accepted")


@dataclass(slots=True)
class SynthesisFolder:
    """One run; refresh() reads what has changed since."""

    path: Path
    rows: tuple[Candidate, ...] = ()
    """As the rules left them, oldest first."""
    decided: tuple[Candidate, ...] = ()
    """As a person left them, in the same order."""
    decisions: Decisions = field(default_factory=lambda: Decisions({}))
    spending: Spending | None = None
    segments: int = 0
    fault: str = ""
    """Why the rows cannot be read; empty where they can."""
    _stamps: tuple[Any, ...] = ()
    _not_before: float = 0.0
    _pace: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=240))
    """Time, requests, candidates: what the rate is taken from."""

    def refresh(self, *, now: bool = False) -> bool:
        """Read on; whether there was anything new. now: even if that was done a moment ago."""
        start = time.monotonic()
        if not now and start < self._not_before:
            return False
        stamps = tuple(_stamp(self.path / name) for name in _WATCHED)
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        try:
            self.rows, self.fault = read_rows(self.path), ""
            self.decisions = read_decisions(self.path)
        except RolekitError as error:
            self.fault = str(error)
        self.decided = tuple(after(self.rows, self.decisions))
        self.spending = spending_in(self.path / _JOURNAL)
        self.segments = _lines_in(self.path / _SEGMENTS)
        self._pace.append((start, self.requests, len(self.rows)))
        self._not_before = start + _SHARE * (time.monotonic() - start)
        return True

    @property
    def name(self) -> str:
        """What the list calls it; a step of `rolekit make` is called after its folder."""
        return self.path.parent.name if self.path.name == "synthesis" else self.path.name

    @property
    def requests(self) -> int:
        """Sent so far, repetitions included."""
        return self.spending.sent if self.spending else 0

    @property
    def usd(self) -> float:
        """Paid so far, or perhaps paid."""
        return self.spending.usd + self.spending.lost_usd if self.spending else 0.0

    @property
    def stages(self) -> dict[str, int]:
        """The funnel: how many of each of STAGES, a person's decisions counted in the last one."""
        figures = Counts(self.rows).figures()
        accepted = sum(row.verdict == "accepted" for row in self.decided)
        return {
            "segments": self.segments,
            **{name: figures[name] for name in STAGES[1:-1]},
            "accepted": accepted,
        }

    @property
    def held(self) -> int:
        """Rows that wait for a person."""
        return sum(row.verdict == "held" for row in self.decided)

    @property
    def reasons(self) -> dict[str, int]:
        """Why rows are out, or held, the most frequent reason first."""
        return dict(Counter(row.reason for row in self.decided if row.reason).most_common())

    @property
    def agreement(self) -> Agreement:
        """How far rules and person agree so far."""
        return agreement(self.rows, self.decisions)

    @property
    def recipes(self) -> dict[str, dict[str, Any]]:
        """What recipe.json says of each step; empty where there is none that can be read."""
        with suppress(RolekitError):
            return read_recipes(self.path)
        return {}

    @property
    def finished(self) -> bool:
        """Whether every step that was begun is done."""
        names = list(self.recipes)
        return bool(names) and all((self.path / f"done-{name}.json").is_file() for name in names)

    @property
    def state(self) -> str:
        """How far it is, in a word or two."""
        if not self.recipes and not self.rows:
            return "profile only" if self.segments else "nothing yet"
        return "finished" if self.finished else "paused"

    @property
    def per_minute(self) -> float | None:
        """Requests a minute lately; None before there is a pace."""
        return self._rate(1, 60.0)

    @property
    def seconds_left(self) -> float | None:
        """How long the rows that were asked for take at this pace; None where that is not known."""
        rate = self._rate(2, 1.0)
        missing = _wanted(self.recipes) - len(self.rows)
        return missing / rate if rate and missing > 0 else None

    def _rate(self, place: int, unit: float) -> float | None:
        recent = [mark for mark in self._pace if mark[0] >= time.monotonic() - _WINDOW_SECONDS]
        if len(recent) < 2 or recent[-1][0] - recent[0][0] < 1.0:
            return None
        more = recent[-1][place] - recent[0][place]
        return unit * more / (recent[-1][0] - recent[0][0]) if more > 0 else None


def known_syntheses() -> list[SynthesisFolder]:
    """The runs in the user's own folder, those within a make too, the one that was touched last first."""
    runs = home() / "runs"
    places = [f"{folder}/{name}" for folder in ("*", "*/synthesis") for name in (ROWS, _SEGMENTS)]
    found = {path.parent for place in places for path in runs.glob(place)}
    return [SynthesisFolder(path) for path in sorted(found, key=_touched, reverse=True)]


def _touched(folder: Path) -> float:
    return max(_stamp(folder / ROWS)[1], _stamp(folder / _SEGMENTS)[1])


def _wanted(recipes: dict[str, dict[str, Any]]) -> int:
    """About how many rows the steps ask for together."""
    names = ("candidates", "not_knowing", "refusal", "most_instructions", "dialogues")
    numbers = [entry.get(name) for entry in recipes.values() for name in names]
    return sum(number for number in numbers if isinstance(number, int))


def _lines_in(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def _stamp(path: Path) -> tuple[int, float]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0.0
    return status.st_size, status.st_mtime


def keep_order(path: Path, arguments: Sequence[str]) -> None:
    """Note an order beside its run, so that the screen goes on with it another day; nothing where it cannot."""
    if path.is_dir():
        with suppress(RolekitError):  # without the note one types the order again
            write_text(path / _ORDER, json.dumps(list(arguments), ensure_ascii=False) + "\n")


def order_of(path: Path) -> list[str]:
    """What was ordered when the run was begun from the screen; empty where it was begun elsewhere."""
    try:
        words = json.loads((path / _ORDER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else []


def folder_in(arguments: Sequence[str]) -> Path | None:
    """The folder that an order names, absolute; None where it names none."""
    for place, word in enumerate(arguments):
        if word == "--out" and place + 1 < len(arguments):
            return expanded(arguments[place + 1]).absolute()
        if word.startswith("--out="):
            return expanded(word.removeprefix("--out=")).absolute()
    return None


def cap_in(arguments: Sequence[str]) -> float | None:
    """The budget that an order names, in US dollars; None where it names none."""
    with suppress(ValueError, IndexError):
        return float(arguments[arguments.index("--max-usd") + 1])
    return None
