"""The dialogue pairs of a role that are nearest to a question, by BM25, as turns in front of it.

RoleLLM (arXiv 2310.00746) puts the five best pairs of a profile before the question: in RoleGPT's dialogue
engineering, and as its retrieval augmentation, the alternative to a system instruction.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import regex  # type: ignore[import-untyped, unused-ignore]

from rolekit.messages import Message
from rolekit.roles.role import Example

TOP_PAIRS = 5
_K1, _B = 1.5, 0.75
_TERM = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[\p{L}\p{N}]+(?:'[\p{L}]+)?")


class Bm25:
    """Ranks texts by Okapi BM25 (k1 = 1.5, b = 0.75); words are terms, in Chinese and its like characters are."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._counts = [Counter(terms(text)) for text in texts]
        self._lengths = [max(counts.total(), 1) for counts in self._counts]
        self._mean = sum(self._lengths) / max(len(texts), 1)
        self._where: dict[str, list[int]] = {}
        for number, counts in enumerate(self._counts):
            for term in counts:
                self._where.setdefault(term, []).append(number)

    def top(self, query: str, count: int = TOP_PAIRS) -> list[int]:
        """The indices of the texts that fit best, best first; ties in the order of texts; never one without a hit."""
        scores: dict[int, float] = {}
        for term, times in Counter(terms(query)).items():
            found = self._where.get(term, [])
            rarity = math.log(1 + (len(self._counts) - len(found) + 0.5) / (len(found) + 0.5))
            for number in found:
                frequency = self._counts[number][term]
                length = 1 - _B + _B * self._lengths[number] / self._mean
                weight = rarity * frequency * (_K1 + 1) / (frequency + _K1 * length)
                scores[number] = scores.get(number, 0.0) + times * weight
        return sorted(scores, key=lambda number: (-scores[number], number))[:count]


def terms(text: str) -> list[str]:
    """The words of a text, case-folded; each character on its own in scripts without blanks."""
    return [str(term) for term in _TERM.findall(text.casefold())]


def retrieved_turns(pairs: Sequence[Example], ranking: Bm25, question: str) -> tuple[Message, ...]:
    """The pairs that ranking (over their user lines) finds for question, as turns, the best one last.

    None of them asks the question itself: that would put the answer into the prompt.
    """
    asked = " ".join(question.split()).casefold()
    found = ranking.top(question, TOP_PAIRS + 1)
    others = [pairs[n] for n in found if " ".join(pairs[n].user.split()).casefold() != asked][:TOP_PAIRS]
    return tuple(
        message
        for pair in reversed(others)
        for message in (Message("user", pair.user, "note"), Message("assistant", pair.reply, "note"))
    )
