"""Whether a role stays itself over twenty turns: scripted users, and figures for every turn.

Everything is counted by rules over the saved dialogues: how much a reply sounds like the role's own lines (cosine of
character trigrams), whether it uses a catchphrase, how much of it was said before, whether a fact that is asked twice
gets two answers, and whether the model falls out of its role.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekit.ranking import words_of
from rolekit.rolebench.leaks import leaks_in
from rolekit.roles.role import Role

TURNS = 20
_KEY = re.compile(r"\[(\w+)\]\s*")
_GRAM = 4
"""Words in a row that count as a repetition when they come again."""
_CATCHPHRASE_LIKENESS = 85.0


@dataclass(frozen=True, slots=True)
class UserTurn:
    """What a scripted user says, and which fact it asks for (empty: none)."""

    text: str
    fact: str = ""


def scripts(language: str, name: str) -> dict[str, tuple[UserTurn, ...]]:
    """The scripted users of a language (English where there are none), for a role of that name."""
    with Path(__file__).with_name("user_scripts.toml").open("rb") as file:
        table: dict[str, dict[str, dict[str, list[str]]]] = tomllib.load(file)
    found = table.get(language.split("-")[0], table["en"])
    return {key: tuple(_user_turn(text, name) for text in script["turns"]) for key, script in found.items()}


def _user_turn(text: str, name: str) -> UserTurn:
    key = _KEY.match(text)
    return UserTurn(_KEY.sub("", text, count=1).replace("{name}", name), key[1] if key else "")


@dataclass(frozen=True, slots=True)
class TurnFigures:
    """One place in the dialogues, over all of them."""

    turn: int
    """From 1."""
    style: float
    """Likeness to the role's own lines, 0 to 1."""
    catchphrases: float
    """Share of the replies with one."""
    repeated: float
    """Share of the replies' word 4-grams that the role has said before."""


@dataclass(frozen=True, slots=True)
class ContinuityFigures:
    """Whether the roles stayed themselves."""

    dialogues: int
    replies: int
    empty: int
    turns: tuple[TurnFigures, ...]
    style_drift: float
    """Style of the last five turns less that of the first five: negative where the voice fades."""
    facts_asked_twice: int
    contradictions: int
    """Of these, how many got two answers that exclude each other (other numbers, other names, yes and no)."""
    same_replies: int
    """Replies that were given word for word before in the same dialogue."""
    fell_out: int
    """Replies that speak of being a program or of playing a role."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One role with one scripted user, so far."""

    role: Role
    script: str
    turns: tuple[UserTurn, ...]
    replies: tuple[str, ...]


def continuity_figures(
    dialogues: Sequence[Dialogue], lines: Iterable[tuple[str, str]] = ()
) -> ContinuityFigures:
    """What the dialogues show. lines are more of the roles' own words, (role's name, text) each."""
    rows = _by_turn(dialogues, lines)
    pairs = [pair for dialogue in dialogues for pair in _asked_twice(dialogue)]
    replies = [reply for dialogue in dialogues for reply in dialogue.replies]
    return ContinuityFigures(
        dialogues=len(dialogues),
        replies=len(replies),
        empty=sum(not reply.strip() for reply in replies),
        turns=rows,
        style_drift=_mean([row.style for row in rows[-5:]]) - _mean([row.style for row in rows[:5]]),
        facts_asked_twice=len(pairs),
        contradictions=sum(contradict(*pair) for pair in pairs),
        same_replies=sum(_said_before(dialogue.replies) for dialogue in dialogues),
        fell_out=sum(bool({"ai_identity", "role_identity"} & leaks_in(reply).keys()) for reply in replies),
    )


def _by_turn(dialogues: Sequence[Dialogue], lines: Iterable[tuple[str, str]]) -> tuple[TurnFigures, ...]:
    own: defaultdict[str, list[str]] = defaultdict(list)
    for name, text in lines:
        own[name].append(text)
    style: defaultdict[int, list[float]] = defaultdict(list)
    phrases: defaultdict[int, list[float]] = defaultdict(list)
    repeated: defaultdict[int, list[float]] = defaultdict(list)
    for dialogue in dialogues:
        voice = _trigrams(" ".join([*_words_of(dialogue.role), *own[dialogue.role.name]]))
        said: set[tuple[str, ...]] = set()
        for number, reply in enumerate(dialogue.replies, start=1):
            style[number].append(_cosine(_trigrams(reply), voice))
            phrases[number].append(float(_has_catchphrase(reply, dialogue.role.catchphrases)))
            grams = _grams(reply)
            repeated[number].append(sum(gram in said for gram in grams) / len(grams) if grams else 0.0)
            said.update(grams)
    return tuple(
        TurnFigures(n, _mean(style[n]), _mean(phrases[n]), _mean(repeated[n])) for n in sorted(style)
    )


def _said_before(replies: Sequence[str]) -> int:
    """How many of them are word for word one before them."""
    counts = Counter(" ".join(words_of(reply)) for reply in replies if reply.strip())
    return sum(number - 1 for number in counts.values())


def contradict(first: str, second: str) -> bool:
    """Whether two answers to the same question exclude each other, by the plainest signs only."""
    for signs in (_numbers, _names):
        one, other = signs(first), signs(second)
        if one and other and not one & other:
            return True
    polarity = _polarity(first), _polarity(second)
    return None not in polarity and polarity[0] != polarity[1]


def dialogue_rows(dialogue: Dialogue) -> list[dict[str, Any]]:
    """The rows of dialogues.jsonl for what has been said so far."""
    return [turn_row(dialogue, number) for number in range(len(dialogue.replies))]


def turn_row(dialogue: Dialogue, number: int) -> dict[str, Any]:
    """One exchange as a row; number from 0."""
    return {
        "role": dialogue.role.name,
        "script": dialogue.script,
        "turn": number + 1,
        "user": dialogue.turns[number].text,
        "reply": dialogue.replies[number],
    }


def _asked_twice(dialogue: Dialogue) -> list[tuple[str, str]]:
    answers: defaultdict[str, list[str]] = defaultdict(list)
    for turn, reply in zip(dialogue.turns, dialogue.replies, strict=False):
        if turn.fact:
            answers[turn.fact].append(reply)
    return [(said[0], again) for said in answers.values() for again in said[1:]]


def _words_of(role: Role) -> list[str]:
    return [*role.catchphrases, *(example.reply for example in role.examples), role.greeting]


def _trigrams(text: str) -> Counter[str]:
    flat = " ".join(text.casefold().split())
    return Counter(flat[place : place + 3] for place in range(len(flat) - 2))


def _cosine(one: Counter[str], other: Counter[str]) -> float:
    lengths = math.sqrt(sum(n * n for n in one.values())) * math.sqrt(sum(n * n for n in other.values()))
    return sum(number * other[gram] for gram, number in one.items()) / lengths if lengths else 0.0


def _has_catchphrase(reply: str, catchphrases: Sequence[str]) -> bool:
    from rapidfuzz import fuzz

    text = reply.casefold()
    return any(
        len(phrase) <= len(text) + 3
        and fuzz.partial_ratio(phrase.casefold().strip(" .!?…"), text) >= _CATCHPHRASE_LIKENESS
        for phrase in catchphrases
    )


def _grams(text: str) -> list[tuple[str, ...]]:
    words = words_of(text)
    return [tuple(words[place : place + _GRAM]) for place in range(len(words) - _GRAM + 1)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+", text))


def _names(text: str) -> set[str]:
    """Capitalised words inside sentences."""
    found = re.findall(r"(?<=[a-zà-ÿ,;] )[A-ZÀ-Þ][a-zà-ÿ]+(?:[ -][A-ZÀ-Þ][a-zà-ÿ]+)*", text)
    return {word for name in found for word in re.split(r"[ -]", name)}


_YES = re.compile(r"^\W*(?:yes|aye|indeed|certainly|of course|oui|ja|sí|是的?|当然)\b", re.IGNORECASE)
_NO = re.compile(r"^\W*(?:no|nay|never|not at all|nothing|non|nein|nunca|不是?|没有?)\b", re.IGNORECASE)


def _polarity(text: str) -> bool | None:
    return True if _YES.search(text) else False if _NO.search(text) else None
