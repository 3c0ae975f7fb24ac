"""Human blind A/B: two anonymous answers, one choice each, saved at once; a Bradley-Terry summary at the end.

The paper's human evaluation, for one person at a desk. Which answer stands first is drawn by a hash, so that it is the
same when the session goes on, and half of the time either way.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir
from rolekit.rolebench.bootstrap import CONFIDENCE
from rolekit.rolebench.pairwise import Comparison
from rolekit.rolebench.rows import Fault, read_rows
from rolekit.rolebench.sampling import stable_rank

_RESAMPLES = 1000
_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Blind:
    """A comparison as a person sees it."""

    comparison: Comparison
    swapped: bool
    """Whether `other` stands first."""

    @property
    def texts(self) -> tuple[str, str]:
        """The first and the second answer, nobody's names in sight."""
        pair = (self.comparison.one_text, self.comparison.other_text)
        return (pair[1], pair[0]) if self.swapped else pair

    def points(self, choice: int) -> float:
        """One's points for a choice: 1 the first answer, 2 the second, 0 neither."""
        return 0.5 if choice == 0 else float((choice == 1) != self.swapped)


class BlindSession:
    """The comparisons of a file of choices, in an order of their own; goes on where it stopped.

    Equal answers are not shown: there is nothing to choose.
    """

    def __init__(self, path: Path, comparisons: Sequence[Comparison], seed: int = 0) -> None:
        """Raises RolekitError when the file cannot be read."""
        self.path = path
        shown = [one for one in comparisons if one.one_text.strip() != one.other_text.strip()]
        self.blinds = [
            Blind(one, _hash(one, seed, "side")[0] % 2 == 1)
            for one in sorted(shown, key=lambda one: _hash(one, seed, "order"))
        ]
        self._choices = self._read()

    @property
    def place(self) -> int:
        """How many have been decided."""
        return sum(_key(blind.comparison) in self._choices for blind in self.blinds)

    @property
    def current(self) -> Blind | None:
        """The next one to decide; None at the end."""
        return next((blind for blind in self.blinds if _key(blind.comparison) not in self._choices), None)

    def choose(self, choice: int) -> None:
        """Decide about the current one: 1, 2, or 0 for neither; it is on disk when this returns."""
        blind = self.current
        if blind is None or choice not in (0, 1, 2):
            return
        self._append({**_names(blind.comparison), "points": blind.points(choice)})
        self._choices[_key(blind.comparison)] = blind.points(choice)

    def undo(self) -> bool:
        """Take the last choice back; whether there was one."""
        decided = [blind for blind in self.blinds if _key(blind.comparison) in self._choices]
        if not decided:
            return False
        last = decided[-1].comparison
        self._append({**_names(last), "points": None})
        del self._choices[_key(last)]
        return True

    def outcomes(self) -> list[tuple[Comparison, float]]:
        """What has been decided so far: the comparison and one's points."""
        return [
            (blind.comparison, self._choices[key])
            for blind in self.blinds
            if (key := _key(blind.comparison)) in self._choices
        ]

    def _append(self, row: dict[str, object]) -> None:
        ensure_dir(self.path.parent)
        try:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        except OSError as error:
            raise RolekitError(
                f"The choice cannot be written to {self.path} ({error.strerror}).",
                "Free some space, then choose again.",
            ) from error

    def _read(self) -> dict[tuple[str, ...], float]:
        if not self.path.is_file():
            return {}
        data = self.path.read_bytes()
        if not data.endswith(b"\n"):
            self.path.write_bytes(data[: data.rfind(b"\n") + 1])
        choices: dict[tuple[str, ...], float] = {}
        for row in read_rows(self.path):
            if isinstance(row, Fault):
                raise RolekitError(f"A choice cannot be read: {row}.", f"Correct or remove {self.path}.")
            key = tuple(str(row.value.get(name, "")) for name in ("one", "other", "role", "question"))
            points = row.value.get("points")
            if isinstance(points, (int, float)):
                choices[key] = float(points)
            else:
                choices.pop(key, None)
        return choices


@dataclass(frozen=True, slots=True)
class Strength:
    """A system in the Bradley-Terry model."""

    system: str
    share: float
    """The chance that it is preferred to an average opponent of this session."""
    low: float
    high: float
    """95 % interval of share, resampled by role, then comparison."""
    wins: int
    ties: int
    losses: int


def bradley_terry(outcomes: Sequence[tuple[Comparison, float]], seed: int = 0) -> list[Strength]:
    """The systems' strengths, strongest first; a tie is half a win for each (Hunter 2004, MM algorithm).

    Empty where nothing was decided.
    """
    rows = [(one.one, one.other, points, one.record.role) for one, points in outcomes]
    systems = sorted({name for row in rows for name in row[:2]})
    if not systems:
        return []
    shares = _shares(systems, [row[:3] for row in rows])
    by_role: defaultdict[str, list[tuple[str, str, float]]] = defaultdict(list)
    for one, other, points, role in rows:
        by_role[role].append((one, other, points))
    draws: defaultdict[str, list[float]] = defaultdict(list)
    dice, roles = random.Random(seed), sorted(by_role)
    for _ in range(_RESAMPLES):
        drawn = [
            row
            for role in dice.choices(roles, k=len(roles))
            for row in dice.choices(by_role[role], k=len(by_role[role]))
        ]
        for system, share in _shares(systems, drawn).items():
            draws[system].append(share)
    found = []
    for system in systems:
        values = sorted(draws[system])
        tail = int((1 - CONFIDENCE) / 2 * len(values))
        counts = Counter(
            points if one == system else 1 - points
            for one, other, points, _ in rows
            if system in (one, other)
        )
        found.append(
            Strength(
                system, shares[system], values[tail], values[-1 - tail], counts[1.0], counts[0.5], counts[0.0]
            )
        )
    return sorted(found, key=lambda strength: -strength.share)


def _shares(systems: Sequence[str], rows: Iterable[tuple[str, str, float]]) -> dict[str, float]:
    """Each system's chance against an opponent of strength 1, the geometric mean of all strengths."""
    met: Counter[tuple[str, str]] = Counter()
    points: dict[str, float] = dict.fromkeys(
        systems, 0.1
    )  # a tenth of a game with everybody: nobody is at infinity
    for one, other, value in rows:
        points[one] += value
        points[other] += 1 - value
        met[one, other] += 1
    strengths = dict.fromkeys(systems, 1.0)
    for _ in range(_ROUNDS):
        before = strengths
        strengths = {}
        for system in systems:
            weight = 0.2 / (before[system] + 1.0)
            for (one, other), number in met.items():
                if system in (one, other):
                    weight += number / (before[one] + before[other])
            strengths[system] = points[system] / weight
        middle = math.exp(sum(math.log(value) for value in strengths.values()) / len(strengths))
        strengths = {system: value / middle for system, value in strengths.items()}
        if max(abs(strengths[system] - before[system]) for system in systems) < 1e-6:
            break
    return {system: value / (value + 1.0) for system, value in strengths.items()}


def _names(one: Comparison) -> dict[str, object]:
    return {"one": one.one, "other": one.other, "role": one.record.role, "question": one.record.question}


def _key(one: Comparison) -> tuple[str, ...]:
    return (one.one, one.other, one.record.role, one.record.question)


def _hash(one: Comparison, seed: int, purpose: str) -> bytes:
    return stable_rank(str(seed), purpose, *_key(one))
