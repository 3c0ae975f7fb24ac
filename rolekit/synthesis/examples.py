"""Example pairs: what was said to the character, and the answer, word for word."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rolekit.roles.names import fold
from rolekit.synthesis.findings import ExamplePair, Place
from rolekit.synthesis.segmenting import words_in
from rolekit.synthesis.turns import Turn

MOST = 12
_FEWEST_WORDS = 4
_MOST_WORDS = 90
_APART = 2
"""So many stretches of narration may stand between what was said and the answer."""


def example_pairs(
    turns: Sequence[Turn], role: str, segment_of: Callable[[Turn], str], most: int = MOST
) -> tuple[ExamplePair, ...]:
    """The best pairs of a text's turns in their order: questions first, answers of a few words up to a paragraph.

    Whoever asked may be unknown; whoever answers is the role for certain.
    """
    found: list[tuple[float, int, ExamplePair]] = []
    asked: set[str] = set()
    before: Turn | None = None
    gap = 0
    for number, turn in enumerate(turns):
        if turn.kind == "scene":
            before = None
        elif turn.kind == "narration":
            gap += 1
        else:
            if before is not None and turn.speaker == role and before.speaker != role and gap <= _APART:
                pair = ExamplePair(
                    before.text, before.speaker, turn.text, Place(turn.source, turn.line), segment_of(turn)
                )
                key = fold(pair.asked)
                if (score := _score(before, turn)) > 0 and key and key not in asked:
                    asked.add(key)
                    found.append((score, number, pair))
            before, gap = turn, 0
    best = sorted(found, key=lambda item: (-item[0], item[1]))[:most]
    return tuple(pair for _, _, pair in sorted(best, key=lambda item: item[1]))


def _score(asked: Turn, answer: Turn) -> float:
    """How well a pair shows the voice; 0 for one that shows nothing."""
    question, reply = words_in(asked.text), words_in(answer.text)
    if question < 2 or not _FEWEST_WORDS <= reply <= _MOST_WORDS or question > _MOST_WORDS:
        return 0.0
    score = 1.0 + (asked.text.rstrip(" ”」\"'").endswith(("?", "？"))) + min(reply, 30) / 30
    return score + 0.3 * bool(asked.speaker) - 0.4 * (answer.rule in ("alternation", "near"))
