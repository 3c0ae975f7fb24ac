"""Which tokens two texts have in common, in order: the paper's union LCS, computed bit-parallel.

The `rouge` package (pltrdy 1.0.1) fills a table for every pair of sentences and walks back through it. Only one bit
of each cell decides where that walk goes, so a row is one integer here, with one bit for every token of the whole
hypothesis (Hyyro's recurrence; a guard bit after each sentence keeps its carry from reaching the next).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Sentence = Sequence[str]


def union_lcs(reference: Sequence[Sentence], hypothesis: Sequence[Sentence]) -> set[str]:
    """The tokens of the longest common subsequences of all sentence pairs, each once.

    Of several longest ones the walk takes the one that the `rouge` package takes: from the end, a match wherever
    there is one, else a step back in the reference only if the cell there is larger, else one in the hypothesis.
    """
    masks, edges = _positions(hypothesis)
    guards = sum(1 << (end - 1) for end in edges[1:])
    ones = ((1 << edges[-1]) - 1) & ~guards
    spans = [(1 << (end - 1)) - (1 << start) for start, end in pairwise(edges)]
    words = [set(sentence) for sentence in hypothesis]
    union: set[str] = set()
    for sentence in reference:
        common = set(sentence)
        rows = None
        for span, there in zip(spans, words, strict=True):
            # Tokens that are in the union already cannot change it.
            if (common & there) - union:
                if rows is None:
                    rows = _rows(sentence, masks, ones)
                _walk(sentence, rows, span, union)
    return union


def _positions(hypothesis: Sequence[Sentence]) -> tuple[dict[str, int], list[int]]:
    """One bit mask a token over all its places, and where each sentence begins (its guard bit is its last)."""
    masks: dict[str, int] = {}
    edges = [0]
    bit = 1
    for sentence in hypothesis:
        for token in sentence:
            masks[token] = masks.get(token, 0) | bit
            bit <<= 1
        bit <<= 1
        edges.append(edges[-1] + len(sentence) + 1)
    return masks, edges


def _rows(sentence: Sentence, masks: dict[str, int], ones: int) -> list[tuple[int, int]]:
    """For each token of a reference sentence: the places where the walk stops going left, and those that match.

    It stops where the token matches, or where the table is larger than in the cell to the left.
    """
    rows = []
    level = ones  # A zero bit: the table grows by one at this place of the row.
    for token in sentence:
        match = masks.get(token, 0)
        if match:
            hit = level & match
            level = ((level + hit) | (level - hit)) & ones
        rows.append(((ones ^ level) | match, match))
    return rows


def _walk(sentence: Sentence, rows: list[tuple[int, int]], span: int, union: set[str]) -> None:
    """Add to the union the tokens that one walk back through the rows meets within the span of one sentence."""
    for token, (stops, match) in zip(reversed(sentence), reversed(rows), strict=True):
        reachable = stops & span
        if not reachable:
            return
        place = 1 << (reachable.bit_length() - 1)
        if match & place:
            union.add(token)
            span &= place - 1
        else:
            span &= (place << 1) - 1
