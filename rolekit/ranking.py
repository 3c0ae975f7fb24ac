"""BM25 over short texts: which of them is about the same thing as a question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import regex  # type: ignore[import-untyped, unused-ignore]

_TOKEN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]|[^\W_\p{Han}\p{Hiragana}\p{Katakana}]+")


def words_of(text: str) -> list[str]:
    """The words of a text, case-folded; every Chinese or Japanese character is a word."""
    return list(_TOKEN.findall(text.casefold()))


class Bm25:
    """An index of texts that does not change; small enough to be made anew when they do."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.size = len(texts)
        self._index: Any = None
        words = [words_of(text) for text in texts]
        self._texts_with = Counter(word for text in words for word in set(text))
        if any(words):
            import bm25s

            self._index = bm25s.BM25()
            self._index.index(words, show_progress=False)

    def rank(self, query: str, *, common: float = 1.0) -> list[tuple[int, float]]:
        """(index, score) of the texts that share a word with query, best first; equal scores keep their order.

        Words in more than that part of the texts (and in more than one) do not count.
        """
        if self._index is None:
            return []
        most = max(1.0, common * self.size)
        words = [word for word in words_of(query) if 0 < self._texts_with[word] <= most]
        if not words:
            return []
        scores = [float(score) for score in self._index.get_scores(words)]
        found = [(index, score) for index, score in enumerate(scores) if score > 0]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))
