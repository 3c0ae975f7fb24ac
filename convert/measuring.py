"""A candidate's logits against a reference's, over whole conversations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rolekit.convert.adapter_share import AdapterShare, Share, wilson_high
from rolekit.convert.divergence import Divergence
from rolekit.convert.limits import Limits
from rolekit.convert.logits import Evaluator
from rolekit.convert.proof import Check
from rolekit.convert.reference import PROMPT_ROWS, Prediction, Reference, stacked

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SURE_NATS = 0.5
"""A reference whose first choice leads by this much does not waver by rounding alone."""


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
    adapter: AdapterShare = field(default_factory=AdapterShare)

    def add(self, seen: Prediction, candidate: Evaluator, text: Text) -> None:
        """Take in one conversation."""
        head = stacked(candidate.logits(text.prompt), PROMPT_ROWS)
        reply = stacked(candidate.extend(text.reply))
        self.divergence.add(seen.prompt, head)
        self.divergence.add(seen.reply, reply)
        if seen.bare_reply is not None:
            self.adapter.add(seen.reply, seen.bare_reply, reply)
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
    """The figures as checks against limits.

    A rate or share fails where its whole interval lies outside the limit; what is too uncertain to be told is marked so.
    """
    found = measured.divergence
    checks = [
        _at_most("mean KL", found.mean_kl, limits.mean_kl),
        _at_most("p99 KL", found.p99_kl, limits.p99_kl),
        _greedy(measured, limits.agreement),
    ]
    share = measured.adapter.estimate()
    if share is not None:
        checks.append(_adapter(share, limits.adapter))
    due, met = measured.ends_due, measured.ends_met
    checks.append(
        Check(
            "ends",
            f"{met} of {due} replies end where they should",
            "",
            wilson_high(met, due) >= limits.agreement,
            figure=float(due - met),
            told=due - met <= int((1 - limits.agreement) * due),
        )
    )
    return checks


def _greedy(measured: Measured, limit: float) -> Check:
    sure = measured.sure_agreed / measured.sure if measured.sure else 1.0
    return Check(
        "greedy",
        f"{measured.agreed} of {measured.steps} tokens; {sure:.1%} of the {measured.sure} sure ones",
        f"at least {limit:.1%} of the sure ones",
        wilson_high(measured.sure_agreed, measured.sure) >= limit,
        figure=sure,
        told=sure >= limit,
    )


def _adapter(share: Share, tolerance: float) -> Check:
    passed = not share.outside(tolerance)
    return Check(
        "adapter",
        f"{share.value:.1%} of its effect arrives ({share.low:.0%} to {share.high:.0%})",
        f"{1 - tolerance:.0%} to {1 + tolerance:.0%}",
        passed,
        figure=share.value,
        told=not passed or share.inside(tolerance),
    )


def _at_most(name: str, value: float, limit: float) -> Check:
    return Check(name, f"{value:.3g}", f"at most {limit:g}", value <= limit, figure=value)


def _lead(row: NDArray[np.float32]) -> float:
    """By how many nats the first choice leads the second."""
    second, first = np.partition(row, -2)[-2:]
    return float(first - second)
