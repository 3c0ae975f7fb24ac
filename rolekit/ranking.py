"""BM25 over short texts: which of them is about the same thing as a question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+"
)


def words_of(text: str) -> list[str]:
    """The words of a text, case-folded; every Chinese or Japanese character is a word."""
    return _TOKEN.findall(text.casefold())


class Bm25:
    """An index of texts that does not change; small enough to be made anew when they do."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.size = len(texts)
        self._index: Any = None
        words = [words_of(text) for text in texts]
        if any(words):
            import bm25s

            self._index = bm25s.BM25()
            self._index.index(words, show_progress=False)

    def rank(self, query: str) -> list[tuple[int, float]]:
        """(index, score) of the texts that share a word with query, best first; equal scores keep their order."""
        if self._index is None:
            return []
        words = [word for word in dict.fromkeys(words_of(query)) if word in self._index.vocab_dict]
        if not words:
            return []
        scores = [float(score) for score in self._index.get_scores(words)]
        found = [(index, score) for index, score in enumerate(scores) if score > 0]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))
