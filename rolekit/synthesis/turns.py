"""Dialogue as values: who says what to whom, and what is told in between."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

TurnKind = Literal["speech", "narration", "scene"]
Rule = Literal[
    "given", "script", "signed", "named", "pronoun", "action", "continued", "vocative", "alternation", "near",
    "unknown", "",
]  # fmt: skip
"""How a speaker was found. given: the file says so. script: `NAME:`. signed: a letter's signature. named: `said NAME`.
pronoun: `he said`, where only one person can be meant. action: the paragraph tells what one person does. continued: a
quotation goes on from the paragraph before. vocative: the only other person is spoken to by name. alternation: two
people take turns. near: in other languages, a name that stands beside the quotation. unknown: nobody was found."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One speech, or a stretch of narration between two; a scene turn marks where a new scene begins."""

    kind: TurnKind
    text: str
    """The words without quotation marks, names and tags."""
    source: str
    line: int
    """Where it begins, from 1."""
    last_line: int
    speaker: str = ""
    """Empty for narration, and where nobody was found."""
    addressee: str = ""
    """Whom it is said to; empty where that is not known."""
    rule: Rule = ""

    @property
    def place(self) -> str:
        """file:line."""
        return f"{self.source}:{self.line}"


def with_addressees(turns: Iterable[Turn]) -> list[Turn]:
    """Turns whose empty addressees are filled in: whoever spoke last before, else whoever answers, in one scene."""
    made = list(turns)
    previous = ""
    for index, turn in enumerate(made):
        if turn.kind == "scene":
            previous = ""
        if turn.kind != "speech":
            continue
        if not turn.addressee and turn.speaker:
            found = previous if previous != turn.speaker else ""
            made[index] = replace(turn, addressee=found or _answerer(made, index))
        if turn.speaker:
            previous = turn.speaker
    return made


def _answerer(turns: list[Turn], index: int) -> str:
    """Who speaks next in the same scene, where somebody else does."""
    for turn in turns[index + 1 : index + 6]:
        if turn.kind == "scene":
            return ""
        if turn.kind == "speech" and turn.speaker != turns[index].speaker:
            return turn.speaker
    return ""
