"""Questions that were asked before in nearly the same words, found with rapidfuzz; CJK as well as alphabets."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rapidfuzz import fuzz, process

from rolekit.ranking import words_of

_NEAR = 85.0
"""Likeness in per cent from which two questions are looked at word by word."""
_SAME_WORD = 75.0
"""Likeness of two words from which they are forms of one."""
_SMALL_WORD = 2
"""Words of so few letters carry no matter, nor do those of _FUNCTION_WORDS; in Chinese and Japanese pairs count."""
_FUNCTION_WORDS = frozenset(
    [
        "the",
        "you",
        "and",
        "for",
        "was",
        "did",
        "has",
        "had",
        "are",
        "not",
        "but",
        "how",
        "who",
        "why",
        "can",
        "any",
        "all",
        "his",
        "her",
        "its",
        "our",
        "your",
        "their",
        "that",
        "this",
        "what",
        "with",
        "der",
        "die",
        "das",
        "den",
        "dem",
        "ein",
        "und",
        "ist",
        "war",
        "wie",
        "wer",
        "les",
        "des",
        "une",
        "que",
        "qui",
        "est",
        "los",
        "las",
        "una",
        "por",
        "con",
    ]
)
_LOOKED_AT = 5
"""So many of the most alike questions."""
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")


class Asked:
    """The questions of one role that were kept so far."""

    def __init__(self, names: Iterable[str], questions: Iterable[str] = ()) -> None:
        """names: the role's; whether a question begins with one makes no difference."""
        names = sorted(names, key=len, reverse=True)
        self._whole_names = [name for name in names if _CJK.search(name)]
        self._names = {word for name in names for word in words_of(name) if not _CJK.match(word)}
        self._kept: list[str] = []
        self._bare: list[str] = []
        self._exact: dict[str, str] = {}
        for question in questions:
            self.keep(question)

    def twin(self, question: str) -> str:
        """The kept question that this one repeats; empty where it is new."""
        bare = self._stripped(question)
        if bare in self._exact:
            return self._exact[bare]
        scorer = fuzz.ratio if _CJK.search(bare) else fuzz.token_sort_ratio
        near = process.extract(bare, self._bare, scorer=scorer, score_cutoff=_NEAR, limit=_LOOKED_AT)
        twin = next((place for other, _, place in near if not _differ(bare, other)), None)
        return "" if twin is None else self._kept[twin]

    def keep(self, question: str) -> None:
        """Later questions are compared with this one too."""
        bare = self._stripped(question)
        self._exact.setdefault(bare, question)
        self._kept.append(question)
        self._bare.append(bare)

    def _stripped(self, question: str) -> str:
        """Its words without the role's name; Chinese and Japanese without blanks between."""
        words = words_of(question)
        for name in self._whole_names:
            question = question.replace(name, " ")
        kept = [word for word in words_of(question) if word not in self._names] or words
        return ("" if _CJK.search(question) else " ").join(kept)


def _differ(one: str, other: str) -> bool:
    """Whether each question names a thing that the other does not: fear of water is not fear of fire."""
    first, second = _matter(one), _matter(other)
    return bool(_left(first, second) and _left(second, first))


def _matter(bare: str) -> list[str]:
    if _CJK.search(bare):
        return [bare[place : place + 2] for place in range(len(bare) - 1)]
    return [word for word in bare.split() if len(word) > _SMALL_WORD and word not in _FUNCTION_WORDS]


def _left(words: list[str], others: list[str]) -> list[str]:
    """The words that are no form of any other."""
    return [
        word
        for word in words
        if not process.extractOne(word, others, scorer=fuzz.ratio, score_cutoff=_SAME_WORD)
    ]
