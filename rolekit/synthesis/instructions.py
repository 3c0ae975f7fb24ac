"""The general instructions that come with rolekit: what anybody might ask anyone, in English and in Chinese."""

from __future__ import annotations

import tomllib
from collections import Counter
from functools import cache
from importlib.resources import files

from rolekit.messages import Message
from rolekit.rolebench.sources import Instruction

_FILE = "instructions.toml"
LANGUAGES = ("en", "zh")


def bundled_instructions(language: str = "") -> tuple[Instruction, ...]:
    """The set for a BCP 47 tag, its categories in turn, so that any beginning of it is as diverse as the whole.

    Chinese for zh and its variants, English for every other language (the answer is asked for in the role's own), both
    for the empty tag. Each instruction's kind is its category, its origin `instructions.toml:en/advice#1`.
    """
    if not language:
        return tuple(one for tag in LANGUAGES for one in _all()[tag])
    return _all()["zh" if language.partition("-")[0] == "zh" else "en"]


def counts() -> dict[str, dict[str, int]]:
    """How many instructions there are in each language and category."""
    return {tag: dict(Counter(one.kind for one in _all()[tag])) for tag in LANGUAGES}


@cache
def _all() -> dict[str, tuple[Instruction, ...]]:
    table = tomllib.loads((files("rolekit.synthesis") / _FILE).read_text(encoding="utf-8"))
    return {tag: _in_turn(tag, table[tag]) for tag in LANGUAGES}


def _in_turn(tag: str, categories: dict[str, list[str]]) -> tuple[Instruction, ...]:
    longest = max(map(len, categories.values()))
    return tuple(
        _instruction(questions[number], f"{_FILE}:{tag}/{kind}#{number + 1}", kind)
        for number in range(longest)
        for kind, questions in categories.items()
        if number < len(questions)
    )


def _instruction(question: str, origin: str, kind: str) -> Instruction:
    return Instruction(question, (), (Message("user", question),), origin, kind=kind)
