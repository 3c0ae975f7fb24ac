"""A training run as its folder shows it: the recipe, the measurements so far, whether it is finished.

The folder is written by another process, so everything is read again and again, and half a line is no line.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rolekit.paths import home

_MOST_BYTES = 64 * 1024 * 1024
_PACE_STEPS = 20


@dataclass(slots=True)
class RunFolder:
    """One run; refresh() reads what has been added since."""

    path: Path
    steps: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What is known of each step, by its number, in order."""
    _read_bytes: int = 0
    _inode: int = 0

    def refresh(self) -> bool:
        """Read on; whether there was anything new."""
        file = self.path / "metrics.jsonl"
        try:
            status = file.stat()
            if status.st_ino != self._inode or status.st_size < self._read_bytes:
                self.steps, self._read_bytes, self._inode = {}, 0, status.st_ino
            if status.st_size == self._read_bytes:
                return False
            with file.open("rb") as stream:
                stream.seek(self._read_bytes)
                data = stream.read(_MOST_BYTES)
        except OSError:
            return False
        whole = data.rpartition(b"\n")[0]
        self._read_bytes += len(whole) + 1 if whole else 0
        for line in whole.split(b"\n"):
            with suppress(ValueError, TypeError, KeyError):
                row = json.loads(line)
                self.steps.setdefault(int(row["step"]), {}).update(row)
        return bool(whole)

    @property
    def name(self) -> str:
        """What the list calls it."""
        return self.path.name

    @property
    def finished(self) -> bool:
        """Whether its report is written."""
        return (self.path / "report.json").is_file()

    @property
    def recipe(self) -> str:
        """The recipe's text; empty where there is none."""
        try:
            return (self.path / "recipe.toml").read_text(encoding="utf-8", errors="replace")[:20_000]
        except OSError:
            return ""

    @property
    def last(self) -> dict[str, Any]:
        """The newest step that is done; empty before the first."""
        rows = [row for row in self.steps.values() if "loss" in row]
        return rows[-1] if rows else {}

    def points(self, key: str) -> tuple[tuple[float, float], ...]:
        """The finite values of a key by step: loss, eval_loss."""
        found = ((step, row.get(key)) for step, row in self.steps.items())
        return tuple((step, float(y)) for step, y in found if isinstance(y, int | float) and math.isfinite(y))

    @property
    def samples(self) -> list[tuple[int, str]]:
        """What the model answered, with the step, oldest first."""
        return [(step, str(row["sample"])) for step, row in self.steps.items() if row.get("sample")]

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the pace of the last steps; None where that is not known."""
        rows = [row for row in self.steps.values() if "seconds" in row][-_PACE_STEPS:]
        total = self.last.get("total_steps") or 0
        if not rows or not total:
            return None
        spent = sum(float(row["seconds"]) + float(row.get("eval_seconds") or 0) for row in rows)
        return spent / len(rows) * max(total - int(self.last["step"]), 0)


def known_runs() -> list[RunFolder]:
    """The runs in the user's own folder, the one that was touched last first."""
    found = [path for path in (home() / "runs").glob("*") if (path / "metrics.jsonl").is_file()]
    return [RunFolder(path) for path in sorted(found, key=_touched, reverse=True)]


def _touched(path: Path) -> float:
    with suppress(OSError):
        return (path / "metrics.jsonl").stat().st_mtime
    return 0.0
