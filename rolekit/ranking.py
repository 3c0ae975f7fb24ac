"""BM25 over short texts: which of them is about the same thing as a question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import regex  # type: ignore[import-untyped, unused-ignore]

_STEM = 5
"""Letters by which a longer word is known in its other forms too."""
_TOKEN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]|[^\W_\p{Han}\p{Hiragana}\p{Katakana}]+")


def words_of(text: str) -> list[str]:
    """The words of a text, case-folded; every Chinese or Japanese character is a word."""
    return list(_TOKEN.findall(text.casefold()))


def terms_of(text: str) -> list[str]:
    """The words of a text, each pair of neighbouring Chinese or Japanese characters, and the beginnings of long words.

    The beginnings let `promised` find `promise`; the pairs let 钟楼 find itself and not every 楼.
    """
    words = words_of(text)
    flat = text.casefold()
    pairs = [one + other for one, other in pairwise(words) if _stands_alone(one) and one + other in flat]
    return [*words, *pairs, *(f"{word[:_STEM]}-" for word in words if len(word) > _STEM)]


def _stands_alone(word: str) -> bool:
    """Whether it is a Chinese or Japanese character."""
    return len(word) == 1 and word >= "\u3040"


class Bm25:
    """An index of texts that does not change; small enough to be made anew when they do. split cuts a text into terms."""

    def __init__(self, texts: Sequence[str], split: Callable[[str], list[str]] = words_of) -> None:
        """texts: rank() answers with their places in it; without any words the index finds nothing."""
        self.size = len(texts)
        self._index: Any = None
        self._split = split
        words = [split(text) for text in texts]
        self._texts_with = Counter(word for text in words for word in set(text))
        if any(words):
            import bm25s

            self._index = bm25s.BM25()
            self._index.index(words, show_progress=False)

    def rank(self, query: str, *, common: float = 1.0, once: bool = False) -> list[tuple[int, float]]:
        """(index, score) of the texts that share a term with query, best first; equal scores keep their order.

        Terms in more than that part of the texts (and in more than one) do not count; once: a term of the query counts
        once, however often it is said.
        """
        if self._index is None:
            return []
        most = max(1.0, common * self.size)
        terms = self._split(query)
        words = [
            word for word in (dict.fromkeys(terms) if once else terms) if 0 < self._texts_with[word] <= most
        ]
        if not words:
            return []
        scores = [float(score) for score in self._index.get_scores(words)]
        found = [(index, score) for index, score in enumerate(scores) if score > 0]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))
