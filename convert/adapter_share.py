"""How much of an adapter's effect on the logits has arrived in a file, and how surely that is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NO_EFFECT = 1e-10
"""An adapter that moves the logits by less (squared, of their squared size) does nothing."""
_SHARED = 0.25
"""How much of the spread over positions every position of a file may have in common. A file is rounded once, so part of
its error points the same way everywhere and no number of positions averages it out. Set by hand so that, with the type's
tolerance on top, sound conversions of the starter pass (tests/benchmarks/convert.md)."""
_DEVIATIONS = 2.0
"""Half the width of an interval in standard errors: about 95 %."""


@dataclass(frozen=True, slots=True)
class Share:
    """An estimate: 1 where the whole effect has arrived, 0 where none has."""

    value: float
    low: float
    high: float

    def outside(self, tolerance: float) -> bool:
        """Whether the whole interval lies farther than tolerance from 1."""
        return self.high < 1 - tolerance or self.low > 1 + tolerance

    def inside(self, tolerance: float) -> bool:
        """Whether the value lies within tolerance of 1, and the interval rules out that nothing has arrived."""
        return abs(self.value - 1) <= tolerance and self.low > 0


@dataclass(slots=True)
class AdapterShare:
    """What add() has seen of the reference with its adapter and without, and of a candidate."""

    _along: list[NDArray[np.float64]] = field(default_factory=list)
    _effect: list[NDArray[np.float64]] = field(default_factory=list)
    _size: float = 0.0

    def add(self, whole: NDArray[np.float32], bare: NDArray[np.float32], ours: NDArray[np.float32]) -> None:
        """Take in one conversation: logits with the adapter, without it, and the candidate's, (positions, vocabulary).

        The candidate's change against the bare base is projected on the adapter's.
        """
        width = min(whole.shape[1], ours.shape[1])
        along, effects = np.empty(len(whole)), np.empty(len(whole))
        for at, (one, without, other) in enumerate(
            zip(whole[:, :width], bare[:, :width], ours[:, :width], strict=True)
        ):
            base = _centred(without)
            effect = _centred(one) - base
            along[at] = np.dot(_centred(other) - base, effect)
            effects[at] = np.dot(effect, effect)
            self._size += float(np.dot(base, base))
        self._along.append(along)
        self._effect.append(effects)

    def estimate(self) -> Share | None:
        """The share over all positions; None where there is no adapter or it has no effect.

        Its standard error has two parts: how the share differs between conversations (between positions where that is
        more), and the error that all positions of a file have in common.
        """
        total = sum(float(effect.sum()) for effect in self._effect)
        if not self._size or total / self._size < _NO_EFFECT:
            return None
        value = sum(float(along.sum()) for along in self._along) / total
        rests = [along - value * effect for along, effect in zip(self._along, self._effect, strict=True)]
        squares = sum(float(np.square(rest).sum()) for rest in rests) / total**2
        spread = squares * sum(map(len, rests))
        talks = len(rests)
        between = sum(float(rest.sum()) ** 2 for rest in rests) / total**2 * talks / max(talks - 1, 1)
        half = _DEVIATIONS * (_SHARED**2 * spread + max(squares, between)) ** 0.5
        return Share(value, value - half, value + half)


def wilson_high(met: int, of: int) -> float:
    """The largest rate that met out of `of` does not speak against: the upper end of Wilson's interval (1927).

    1 where there was nothing to meet.
    """
    if not of:
        return 1.0
    z = _DEVIATIONS
    rate, extra = met / of, z * z / of
    spread = z * (rate * (1 - rate) / of + extra / (4 * of)) ** 0.5
    return float(min((rate + extra / 2 + spread) / (1 + extra), 1.0))


def _centred(row: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = row.astype(np.float64)
    centred: NDArray[np.float64] = wide - wide.mean()
    return centred
