"""What a generator's answers mean, in the order of the questions; asked again where they cannot be read.

The order is the questions' and not that of arrival, so that a run which is killed and gone on with makes the same rows
as one that was left in peace.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from rolekit.endpoints.calls import Answer, Call
from rolekit.endpoints.failures import Refused, Transient
from rolekit.rolebench.judge_prompts import again_messages
from rolekit.synthesis.generator import Generator

T = TypeVar("T")
Meaning_co = TypeVar("Meaning_co", covariant=True)
MOST_REPAIRS = 2
"""How often a generator is asked again for an answer that can be read."""


@dataclass(frozen=True, slots=True)
class Question(Generic[Meaning_co]):
    """One call, and what its answer means; read gives None for what cannot be read."""

    call: Call
    read: Callable[[Answer], Meaning_co | None]


@dataclass(frozen=True, slots=True)
class Unread:
    """A question without a meaning: its answer cannot be read, was filtered, or never came."""

    reason: str
    """A key of rows.REASONS; empty where no answer came, and the same command will ask again."""
    text: str


async def read_in_order(
    questions: Sequence[Question[T]],
    generator: Generator,
    cancel: threading.Event,
    settled: Callable[[], None],
) -> AsyncGenerator[tuple[int, T | Unread], None]:
    """The meaning of each answer with the place of its question; those that had to be asked again come last.

    settled hears of each call that has its answer. Ends early when cancel is set; what arrived is in the journal.
    Raises Stopped when no more answers will come.
    """
    calls = [question.call for question in questions]
    open_ = list(range(len(questions)))
    for attempt in range(MOST_REPAIRS + 1):
        unreadable: dict[int, Answer] = {}
        ready: dict[int, T | Unread | None] = {}
        following = 0
        asked = (calls[index] for index in open_)
        async with aclosing(generator.ask_all(asked, cancel)) as answers:
            async for place, answer in answers:
                index = open_[place]
                ready[place] = _meaning(answer, questions[index])
                if ready[place] is None and isinstance(answer, Answer):
                    unreadable[index] = answer
                settled()
                while following in ready:
                    value = ready.pop(following)
                    following += 1
                    if value is not None:
                        yield open_[following - 1], value
        if cancel.is_set() or not unreadable:
            return
        open_ = sorted(unreadable)
        if attempt < MOST_REPAIRS:
            for index in open_:
                first = questions[index].call
                messages = again_messages(first.messages, unreadable[index].text)
                calls[index] = replace(first, messages=messages, sample=first.sample + 1000 * (attempt + 1))
    for index in open_:
        yield index, Unread("malformed", unreadable[index].text)


def _meaning(answer: Answer | Refused, question: Question[T]) -> T | Unread | None:
    if isinstance(answer, Refused):
        # A server that failed may do better next time; one that said no will say so again.
        failed = isinstance(answer.__cause__, Transient)
        return Unread("" if failed else "refused", answer.what_happened)
    if answer.finish_reason == "content_filter":
        return Unread("content-filter", answer.text)
    return question.read(answer)
