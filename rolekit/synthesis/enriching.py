"""A profile's facts and description by a model: every fact rests on a quote that stands in its segment."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from rolekit.endpoints.calls import Answer, Call
from rolekit.ranking import words_of
from rolekit.rolebench.json_answers import find_object
from rolekit.rolebench.leaks import leaks_in
from rolekit.roles.names import fold
from rolekit.synthesis.findings import Fact, Place, Profile
from rolekit.synthesis.generator import NEVER, Generator
from rolekit.synthesis.grounding import quote_share, unsupported_claims
from rolekit.synthesis.phrases import COMMON
from rolekit.synthesis.profile import Reading
from rolekit.synthesis.profile_wording import (
    DESCRIPTION_SCHEMA,
    FACTS_SCHEMA,
    VERSION,
    description_messages,
    facts_messages,
)
from rolekit.synthesis.reading import Question, Unread, read_in_order
from rolekit.synthesis.segments import Segment

MOST_SEGMENTS = 24
"""So many segments are read for facts, those in which the character has most to do."""
MOST_GENERATED = 30
_FACTS_TOKENS = 500
_DESCRIPTION_TOKENS = 400
_TEMPERATURE = 0.2
_LONGEST_FACT = 300
_LONGEST_DESCRIPTION = 2000
_LEAST_OWN = 0.15
"""The share of a description's telling words that has to stand in what it was made from."""
_WHOLE = 0.9
"""The share of a quote that has to stand in the segment in one piece."""

_YOU = {"en": re.compile(r"\b(?:you|your)\b", re.IGNORECASE), "zh": re.compile("你|您")}
_ME = re.compile(r"\bI\b|\b(?:me|my)\b|我", re.IGNORECASE)
_SENTENCES = re.compile(r"[^.!?。！？]+")

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Enriched:
    """The profile with what the model wrote, and what came of its answers."""

    profile: Profile
    dropped: dict[str, int]
    """How many facts were not taken, by reason."""
    unanswered: int
    """Calls that got no answer that can be used; the same command asks for the unsent ones again."""


def facts_calls(
    reading: Reading, generator: Generator, most: int = MOST_SEGMENTS
) -> list[tuple[Segment, Call]]:
    """The calls for facts, one a segment, in the order of the text."""
    names = [fold(name) for name in (reading.name, *reading.aliases) if fold(name)]
    scored = []
    for number, segment in enumerate(reading.segments):
        plain = fold(segment.text)
        weight = sum(plain.count(name) for name in names) + 5 * (reading.name in segment.speakers)
        if weight:
            scored.append((-weight, number, segment))
    chosen = sorted(sorted(scored, key=lambda item: item[:2])[:most], key=lambda item: item[1])
    return [
        (
            segment,
            _call(
                generator,
                facts_messages(reading.name, reading.language, segment),
                FACTS_SCHEMA,
                _FACTS_TOKENS,
            ),
        )
        for _, _, segment in chosen
    ]


def description_call(profile: Profile, generator: Generator) -> Call:
    """The call for the description, made out of what has been found by then."""
    return _call(generator, description_messages(profile), DESCRIPTION_SCHEMA, _DESCRIPTION_TOKENS)


async def enrich(
    profile: Profile,
    reading: Reading,
    generator: Generator,
    report: Report = lambda what, done, total: None,
    cancel: threading.Event = NEVER,
) -> Enriched:
    """Facts and a description by the generator's model, beside what the rules found; marked as generated.

    A fact is taken where its quote stands in the segment, and where it names nobody and no number that is not there.
    The same command goes on where it stopped. Raises Stopped when no more answers will come.
    """
    calls = facts_calls(reading, generator)
    total, done = len(calls) + 1, 0

    def settled() -> None:
        nonlocal done
        done += 1
        report("facts", done, total)

    made: list[Fact] = []
    dropped: Counter[str] = Counter()
    unanswered = 0
    questions = [Question(call, _facts_in) for _, call in calls]
    async with aclosing(read_in_order(questions, generator, cancel, settled)) as answers:
        async for index, found in answers:
            if isinstance(found, Unread):
                unanswered += 1
                continue
            for row in found:
                fact, reason = _checked(row, calls[index][0], reading)
                if fact is None:
                    dropped[reason] += 1
                else:
                    made.append(fact)
    kept = _unique(made, dropped)
    profile = replace(
        profile, facts=(*kept, *_not_said_again(profile.facts, kept)), generator=generator.endpoint.model
    )
    profile, described = await _described(profile, generator, cancel, settled)
    return Enriched(profile, dict(dropped), unanswered + (not described))


async def _described(
    profile: Profile, generator: Generator, cancel: threading.Event, settled: Callable[[], None]
) -> tuple[Profile, bool]:
    """The profile with a description by the model, and whether that was one."""
    question = Question(description_call(profile, generator), lambda answer: _description_in(answer, profile))
    async with aclosing(read_in_order([question], generator, cancel, settled)) as answers:
        async for _, found in answers:
            if not isinstance(found, Unread):
                return replace(profile, description=found, description_origin="generated"), True
    return profile, False


def _call(generator: Generator, messages: Any, schema: str, tokens: int) -> Call:
    return Call(
        generator.endpoint,
        messages,
        temperature=_TEMPERATURE,
        max_tokens=tokens,
        schema=schema,
        prompt_version=VERSION,
    )


def _facts_in(answer: Answer) -> list[dict[str, Any]] | None:
    """The rows of an answer; None where it holds no such object."""
    found = find_object(answer.text)
    rows = found.get("facts") if found else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else None


def _checked(row: dict[str, Any], segment: Segment, reading: Reading) -> tuple[Fact | None, str]:
    """The fact of a row, or why it is not taken."""
    quote, text = row.get("quote"), row.get("fact")
    if not isinstance(quote, str) or not isinstance(text, str) or not text.strip():
        return None, "malformed"
    text = " ".join(text.split())
    if len(text) > _LONGEST_FACT or leaks_in(text):
        return None, "too long or out of the role"
    if quote_share(quote, segment.text) < _WHOLE:
        return None, "the quote is not in the segment"
    if reason := _beside_the_point(text, quote, segment, reading):
        return None, reason
    if unsupported_claims(text, [segment.text, reading.name, *reading.aliases]):
        return None, "names or numbers that are not in the segment"
    return Fact(text, segment.id, " ".join(quote.split()), _place(quote, segment), "generated"), ""


def _beside_the_point(text: str, quote: str, segment: Segment, reading: Reading) -> str:
    """Why a fact does not follow from its quote: it only repeats it, or the quote is about somebody else."""
    words, quoted = f" {' '.join(words_of(text))} ", f" {' '.join(words_of(quote))} "
    you = _YOU.get(reading.language.split("-")[0])
    if you is not None and not you.match(text):
        return "not said to the role"
    if words in quoted:
        return "only the quote again"
    for turn in reading.turns:
        here = turn.source == segment.source and segment.first_line <= turn.line <= segment.last_line
        if (
            here
            and turn.kind == "speech"
            and turn.speaker != reading.name
            and quoted in f" {' '.join(words_of(turn.text))} "
        ):
            about_role = you is not None and you.search(quote) and not _ME.search(quote)
            return "" if about_role else "somebody else's words"
    return ""


def _place(quote: str, segment: Segment) -> Place:
    """The line of the segment on which the quote begins; the first one where the text was put together from turns."""
    words = quote.split()
    head = " ".join(words[:4]) if len(words) > 3 else quote.strip()[:12]
    lines = segment.text.split("\n")
    for number in range(len(lines)):
        joined = " ".join(" ".join(lines[number : number + 2]).split())
        at = joined.find(head)
        if 0 <= at <= len(lines[number]) and segment.last_line - segment.first_line >= len(lines) - 1:
            return Place(segment.source, segment.first_line + number)
    return Place(segment.source, segment.first_line)


def _unique(facts: Sequence[Fact], dropped: Counter[str]) -> list[Fact]:
    from rapidfuzz import fuzz

    kept: list[Fact] = []
    for fact in facts:
        if any(fuzz.token_set_ratio(fact.fact, other.fact) > 90 for other in kept):
            dropped["said already"] += 1
        elif len(kept) >= MOST_GENERATED:
            dropped["more than are needed"] += 1
        else:
            kept.append(fact)
    return kept


def _not_said_again(quoted: Sequence[Fact], generated: Sequence[Fact]) -> list[Fact]:
    """Quoted facts whose words no generated one rests on."""
    used = [fold(fact.quote) for fact in generated]
    return [
        fact
        for fact in quoted
        if not any(fold(fact.quote) in quote or quote in fold(fact.quote) for quote in used)
    ]


def _description_in(answer: Answer, profile: Profile) -> str | None:
    found = find_object(answer.text)
    text = found.get("description") if found else None
    if not isinstance(text, str):
        return None
    text = " ".join(text.split())
    start = f"你是{profile.name}。" if profile.language.startswith("zh") else f"You are {profile.name}. "
    sentences = [sentence.strip() for sentence in _SENTENCES.findall(text) if sentence.strip()]
    if not 20 <= len(text) <= _LONGEST_DESCRIPTION or leaks_in(text) or len(set(sentences)) < len(sentences):
        return None
    if _own_share(text, profile) < _LEAST_OWN:
        return None
    return text if text.startswith(("You are", "你是", "你叫")) else start + text


def _own_share(text: str, profile: Profile) -> float:
    """Which share of the description's telling words stands in the facts, phrases and lines; 1 in other scripts."""
    if not profile.language.startswith(("en", "zh")):
        return 1.0
    material = [fact.fact for fact in profile.facts] + [phrase.phrase for phrase in profile.catchphrases]
    material += [part for pair in profile.examples for part in (pair.asked, pair.answer)]
    known = {word for one in material for word in words_of(one)}
    telling = {word for word in words_of(text) if word not in COMMON} - set(words_of(profile.name))
    return len(telling & known) / len(telling) if telling else 0.0
