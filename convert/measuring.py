"""A candidate's logits against a reference's, over whole conversations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rolekit.convert.divergence import Divergence
from rolekit.convert.limits import Limits
from rolekit.convert.logits import Evaluator
from rolekit.convert.proof import Check
from rolekit.convert.reference import PROMPT_ROWS, Prediction, Reference, stacked

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SURE_NATS = 0.5
"""A reference whose first choice leads by this much does not waver by rounding alone."""
_NO_EFFECT = 1e-10
"""An adapter that moves the logits by less (squared, of their squared size) does nothing."""


@dataclass(frozen=True, slots=True)
class Text:
    """One conversation in token ids."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    """With the end token where the template has one."""


@dataclass(slots=True)
class Measured:
    """What add() has found so far."""

    ends: frozenset[int]
    divergence: Divergence = field(default_factory=Divergence)
    steps: int = 0
    """Tokens of the reference's own continuation, its end included."""
    agreed: int = 0
    """Of these, how many the candidate would have said too."""
    sure: int = 0
    sure_agreed: int = 0
    ends_due: int = 0
    ends_met: int = 0
    _along: float = 0.0
    _effect: float = 0.0
    _size: float = 0.0

    def add(self, seen: Prediction, candidate: Evaluator, text: Text) -> None:
        """Take in one conversation."""
        head = stacked(candidate.logits(text.prompt), PROMPT_ROWS)
        reply = stacked(candidate.extend(text.reply))
        self.divergence.add(seen.prompt, head)
        self.divergence.add(seen.reply, reply)
        if seen.bare_reply is not None:
            self._project(seen.reply, seen.bare_reply, reply)
        # What was predicted for the reply's tokens stands one row earlier.
        self._look_for_ends(np.concatenate([seen.prompt[-1:], seen.reply[:-1]]), [*head[-1:], *reply[:-1]])
        candidate.cut(len(text.prompt))
        said = stacked(candidate.extend(seen.continuation)) if seen.continuation else reply[:0]
        self.divergence.add(seen.continued, said)
        theirs, ours = np.concatenate([seen.prompt[-1:], seen.continued]), [*head[-1:], *said]
        self._follow(theirs, ours)
        self._look_for_ends(theirs[1:], ours[1:])

    def _follow(self, theirs: NDArray[np.float32], ours: Sequence[NDArray[np.float32]]) -> None:
        for one, other in zip(theirs, ours, strict=True):
            same = int(one.argmax()) == int(other[: len(one)].argmax())
            self.steps += 1
            self.agreed += same
            if _lead(one) >= _SURE_NATS:
                self.sure += 1
                self.sure_agreed += same

    def _look_for_ends(self, theirs: NDArray[np.float32], ours: Sequence[NDArray[np.float32]]) -> None:
        for one, other in zip(theirs, ours, strict=True):
            if int(one.argmax()) in self.ends and _lead(one) >= _SURE_NATS:
                self.ends_due += 1
                self.ends_met += int(other.argmax()) in self.ends

    def _project(
        self, whole: NDArray[np.float32], bare: NDArray[np.float32], ours: NDArray[np.float32]
    ) -> None:
        width = min(whole.shape[1], ours.shape[1])
        for one, without, other in zip(whole[:, :width], bare[:, :width], ours[:, :width], strict=True):
            base = _centred(without)
            effect = _centred(one) - base
            self._along += float(np.dot(_centred(other) - base, effect))
            self._effect += float(np.dot(effect, effect))
            self._size += float(np.dot(base, base))

    @property
    def adapter_share(self) -> float | None:
        """How much of the adapter's effect on the logits has arrived: 1 all, 0 none; None where it has no effect.

        The candidate's change (against the bare base) projected on the adapter's: quantization noise, which points
        anywhere, cancels out.
        """
        if not self._size or self._effect / self._size < _NO_EFFECT:
            return None
        return self._along / self._effect


def measure(
    reference: Reference,
    candidate: Evaluator,
    texts: Sequence[Text],
    *,
    tokens: int,
    ends: frozenset[int],
    progress: Callable[[str, int, int], None],
) -> Measured:
    """All figures over texts; tokens is the length of the greedy continuation after each prompt."""
    measured = Measured(ends)
    for number, text in enumerate(texts):
        progress("comparing conversations", number, len(texts))
        measured.add(reference.predict(text.prompt, text.reply, tokens, ends), candidate, text)
    progress("comparing conversations", len(texts), len(texts))
    return measured


def checks_of(measured: Measured, limits: Limits) -> list[Check]:
    """The figures as checks against limits."""
    found, sure = measured.divergence, measured.sure_agreed / measured.sure if measured.sure else 1.0
    checks = [
        _at_most("mean KL", found.mean_kl, limits.mean_kl),
        _at_most("p99 KL", found.p99_kl, limits.p99_kl),
        Check(
            "greedy",
            f"{measured.agreed} of {measured.steps} tokens; {sure:.1%} of the {measured.sure} sure ones",
            f"at least {limits.agreement:.1%} of the sure ones",
            sure >= limits.agreement,
            figure=sure,
        ),
    ]
    share = measured.adapter_share
    if share is not None:
        passed = abs(share - 1) <= limits.adapter
        allowed = f"{1 - limits.adapter:.0%} to {1 + limits.adapter:.0%}"
        checks.append(Check("adapter", f"{share:.1%} of its effect arrives", allowed, passed, figure=share))
    due, met = measured.ends_due, measured.ends_met
    missed_allowed = int((1 - limits.agreement) * due)
    checks.append(
        Check(
            "ends",
            f"{met} of {due} replies end where they should",
            "",
            due - met <= missed_allowed,
            figure=float(due - met),
        )
    )
    return checks


def _at_most(name: str, value: float, limit: float) -> Check:
    return Check(name, f"{value:.3g}", f"at most {limit:g}", value <= limit, figure=value)


def _lead(row: NDArray[np.float32]) -> float:
    """By how many nats the first choice leads the second."""
    second, first = np.partition(row, -2)[-2:]
    return float(first - second)


def _centred(row: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = row.astype(np.float64)
    centred: NDArray[np.float64] = wide - wide.mean()
    return centred
