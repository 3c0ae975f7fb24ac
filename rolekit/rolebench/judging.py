"""Judging a set of answers: ask, read, ask again where it cannot be read, and set aside what stays unreadable."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from rolekit.endpoints.calls import Call
from rolekit.endpoints.failures import Refused
from rolekit.messages import Message
from rolekit.rolebench.asking import Asker
from rolekit.rolebench.casting import Casting
from rolekit.rolebench.judge_prompts import (
    FLAW_SCHEMA,
    PAIR_SCHEMA,
    Choice,
    again_messages,
    flaw_messages,
    pair_messages,
    parse_choice,
    parse_flaws,
)
from rolekit.rolebench.judge_wording import VERSION
from rolekit.rolebench.pairwise import Comparison, Outcome, outcome
from rolekit.rolebench.records import Record
from rolekit.rolebench.rubric import Judged

T = TypeVar("T")
MOST_REPAIRS = 2
"""How often a judge is asked again for an answer that can be read."""
VERDICT_TOKENS, FLAW_TOKENS = 300, 700
"""Room for an answer; usual ones take a third."""
USUAL_VERDICT_TOKENS, USUAL_FLAW_TOKENS = 60, 160
_DESCRIPTION_CHARACTERS = 1500
Show = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """One call to a judge, and what its answer means; read gives None for what cannot be read."""

    call: Call
    read: Callable[[str], T | None]
    language: str = "en"


@dataclass(frozen=True, slots=True)
class SetAside:
    """An answer of a judge that means nothing, or a call that got none."""

    index: int
    reason: str
    text: str


@dataclass
class Readings(Generic[T]):
    """What a judge's answers mean, by the question's place; what could not be read; how many were asked again."""

    values: dict[int, T] = field(default_factory=dict)
    aside: list[SetAside] = field(default_factory=list)
    repaired: int = 0
    asked_again: int = 0


async def read_all(questions: Sequence[Question[T]], asker: Asker, show: Show) -> Readings[T]:
    """The meaning of each answer. show hears how many are settled.

    Raises RolekitError when no more answers will come; the journal keeps those that came.
    """
    readings: Readings[T] = Readings()
    calls = [question.call for question in questions]
    open_ = list(range(len(questions)))
    for attempt in range(MOST_REPAIRS + 1):
        unreadable: dict[int, str] = {}
        async with aclosing(_answers(asker, calls, open_)) as answers:
            async for index, text in answers:
                if isinstance(text, Refused):
                    readings.aside.append(SetAside(index, text.what_happened, ""))
                else:
                    value = questions[index].read(text)
                    if value is None:
                        unreadable[index] = text
                    else:
                        readings.values[index] = value
                        readings.repaired += attempt > 0
                show(len(readings.values) + len(readings.aside), len(questions))
        open_ = sorted(unreadable)
        if not open_ or attempt == MOST_REPAIRS:
            readings.aside += [
                SetAside(index, "no JSON that means a verdict", unreadable[index]) for index in open_
            ]
            break
        readings.asked_again += len(open_)
        for index in open_:
            first, language = questions[index].call, questions[index].language
            again = again_messages(first.messages, unreadable[index], language)
            calls[index] = replace(first, messages=again, sample=attempt + 1)
    return readings


async def _answers(
    asker: Asker, calls: Sequence[Call], wanted: Sequence[int]
) -> AsyncGenerator[tuple[int, str | Refused], None]:
    async with aclosing(asker.ask_all([calls[index] for index in wanted])) as answers:
        async for place, answer in answers:
            yield wanted[place], answer if isinstance(answer, Refused) else answer.text


def pair_questions(
    comparisons: Sequence[Comparison], casting: Casting, asker: Asker
) -> list[Question[Choice]]:
    """Two for each comparison that needs a judge: one's answer first, then the other's first."""
    questions: list[Question[Choice]] = []
    for comparison in comparisons:
        if comparison.decided is not None:
            continue
        record = comparison.record
        about = record.role, _description(record, casting), record.question
        for texts in (
            (comparison.one_text, comparison.other_text),
            (comparison.other_text, comparison.one_text),
        ):
            messages = pair_messages(*about, *texts, record.language)
            call = _call(asker, messages, PAIR_SCHEMA, VERDICT_TOKENS)
            questions.append(Question(call, parse_choice, record.language))
    return questions


def outcomes_of(
    comparisons: Sequence[Comparison], readings: Readings[Choice]
) -> tuple[list[Outcome], list[Comparison]]:
    """The outcome of each comparison that has both its verdicts, and those that lack one."""
    outcomes: list[Outcome] = []
    lacking: list[Comparison] = []
    place = 0
    for comparison in comparisons:
        if comparison.decided is not None:
            outcomes.append(Outcome(comparison, comparison.decided))
            continue
        first, second = readings.values.get(place), readings.values.get(place + 1)
        place += 2
        if first is None or second is None:
            lacking.append(comparison)
        else:
            outcomes.append(outcome(comparison, first, second))
    return outcomes, lacking


def flaw_questions(
    answers: Sequence[tuple[Record, str]], casting: Casting, asker: Asker
) -> list[Question[Judged]]:
    """One for each answer that is not empty."""

    def reader(record: Record, text: str) -> Callable[[str], Judged | None]:
        def read(said: str) -> Judged | None:
            flaws = parse_flaws(said, text)
            return None if flaws is None else Judged(record, text, flaws)

        return read

    questions = []
    for record, text in answers:
        about = record.role, _description(record, casting), record.question
        messages = flaw_messages(*about, text, record.language)
        call = _call(asker, messages, FLAW_SCHEMA, FLAW_TOKENS)
        questions.append(Question(call, reader(record, text), record.language))
    return questions


def quarantine_rows(questions: Sequence[Question[T]], aside: Sequence[SetAside]) -> list[dict[str, str]]:
    """What was set aside, to be looked at: the call's key, the reason, and what the judge wrote."""
    return [{"key": questions[one.index].call.key, "reason": one.reason, "judge": one.text} for one in aside]


def verdict_row(found: Outcome) -> dict[str, object]:
    """An outcome as a row of verdicts.jsonl."""
    pair = found.comparison
    return {
        "role": pair.record.role,
        "question": pair.record.question,
        "one": pair.one,
        "other": pair.other,
        "points": found.points,
        "verdicts": list(found.verdicts),
    }


def flaw_row(judged: Judged) -> dict[str, object]:
    """A judged answer as a row of flaws.jsonl."""
    return {
        "role": judged.record.role,
        "question": judged.record.question,
        "answer": judged.answer,
        "flaws": [
            {
                "dimension": f.dimension,
                "severity": f.severity,
                "quote": f.quote,
                "why": f.why,
                "found": f.found,
            }
            for f in judged.flaws
        ],
    }


def _description(record: Record, casting: Casting) -> str:
    cast = casting.cast(record.role, record.language)
    return "" if cast.source == "name" else cast.role.description[:_DESCRIPTION_CHARACTERS]


def _call(asker: Asker, messages: tuple[Message, ...], schema: str, max_tokens: int) -> Call:
    return Call(
        asker.endpoint,
        messages,
        temperature=0.0,
        seed=0,
        max_tokens=max_tokens,
        schema=schema,
        prompt_version=VERSION,
    )
