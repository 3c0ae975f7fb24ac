"""A model file's distance to a reference on a few replies, measured again and again while types are searched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rolekit.convert.conversations import Conversation
from rolekit.convert.divergence import log_softmax
from rolekit.convert.logits import Evaluator
from rolekit.convert.source import Float32
from rolekit.engine.prompt import Prompter
from rolekit.engine.templates import load_template
from rolekit.errors import RolekitError

Float64: TypeAlias = NDArray[np.float64]

CONTEXT_TOKENS = 2048
_MOST_BYTES = 512 << 20
"""Of the reference's log probabilities, which stay in memory."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is evaluated of one conversation."""

    ids: tuple[int, ...]
    reply: int
    """Where the reply begins: its tokens, and the end behind it, are what counts."""


class KlMeter:
    """Holds what a reference file says about some replies; measures other files of the same vocabulary against it."""

    def __init__(self, reference: Path, readings: Sequence[Reading], *, threads: int = 0) -> None:
        """Evaluate the reference once. Raises RolekitError when there is nothing to read or too much to remember."""
        self._readings, self._threads = tuple(readings), threads
        if not self._readings:
            raise RolekitError(
                f"No conversation fits {CONTEXT_TOKENS} tokens, so there is nothing to measure with.",
                "Give shorter ones with --data.",
            )
        self._expected = [log_probabilities(rows) for rows in self._rows(reference)]

    def measure(self, candidate: Path) -> float:
        """Mean KL(reference || candidate) over all reply positions, in nats."""
        return float(np.concatenate(self.divergences(candidate)).mean())

    def divergences(self, candidate: Path) -> list[Float64]:
        """KL(reference || candidate) at every reply position, conversation by conversation."""
        found = []
        for expected, rows in zip(self._expected, self._rows(candidate), strict=True):
            exact = expected.astype(np.float64)
            found.append((np.exp(exact) * (exact - log_probabilities(rows))).sum(1).clip(0))
        return found

    @property
    def positions(self) -> int:
        """Reply tokens that are compared."""
        return sum(len(expected) for expected in self._expected)

    def _rows(self, path: Path) -> Iterator[Float32]:
        """Logits in front of every reply token, conversation by conversation."""
        with Evaluator(path, context_tokens=CONTEXT_TOKENS, threads=self._threads) as evaluator:
            kept = 4 * evaluator.vocabulary.size * sum(len(one.ids) - one.reply for one in self._readings)
            if kept > _MOST_BYTES:
                raise RolekitError(
                    "The replies are too long to search with.", "Give shorter ones with --data."
                )
            held: tuple[int, ...] = ()
            for one in self._readings:
                read = one.ids[:-1]
                # A role block is read once for all its replies.
                known = min(common_length(held, read), one.reply - 1)
                evaluator.cut(known)
                held, position, rows = read, known, list[Float32]()
                for block in evaluator.extend(read[known:]):
                    rows.append(block[max(one.reply - 1 - position, 0) :].copy())
                    position += len(block)
                yield np.concatenate(rows)


def log_probabilities(logits: Float32) -> Float32:
    """log softmax of each row."""
    rows: NDArray[np.float32] = np.stack([log_softmax(row.astype(np.float64)) for row in logits]).astype(
        np.float32
    )
    return rows


def readings_of(model: Path, talks: Sequence[Conversation], most_tokens: int) -> list[Reading]:
    """The conversations in the model's tokens, as many as can be read in most_tokens (at least one), those that begin
    alike one behind the other.

    Raises RolekitError when the model has no chat template.
    """
    with Evaluator(model, context_tokens=64, threads=1) as evaluator:
        prompter = Prompter(load_template(None, evaluator.model.header), evaluator.vocabulary)
        found = []
        for talk in talks:
            prompt = prompter.build(talk.prompt)
            reply = (*prompter.reply_ids(talk.reply, prompt), *prompter.end_ids)
            if len(prompt.ids) + len(reply) <= CONTEXT_TOKENS and len(reply) > 1 and prompt.ids:
                found.append(Reading((*prompt.ids, *reply), len(prompt.ids)))
    return sorted(_cheapest(found, most_tokens), key=lambda one: one.ids)


def _cheapest(found: Sequence[Reading], most_tokens: int) -> list[Reading]:
    """Readings of no more than most_tokens together, a beginning that several share counted once."""
    left = {number: len(one.ids) for number, one in enumerate(found)}
    chosen, used = list[Reading](), 0
    while left:
        number = min(left, key=lambda number: (left[number], number))
        if chosen and used + left[number] > most_tokens:
            break
        used += left.pop(number)
        chosen.append(found[number])
        left = {
            other: min(tokens, len(found[other].ids) - common_length(found[number].ids, found[other].ids))
            for other, tokens in left.items()
        }
    return chosen


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first tokens are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))
