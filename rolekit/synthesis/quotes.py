"""Quotations in a paragraph, under whatever marks a text uses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_PAIRS = {"“": "”", "„": "“”", "«": "»", "»": "«", "「": "」", "『": "』", "‘": "’", '"': '"', "'": "'"}
_ORDER = ("“", "「", "«", "„", "»", '"', "『", "‘")
_DASH = re.compile(r"^[—–―]\s*|^-\s+(?=\S)")
_SENTENCE = re.compile(r"[.!?…。！？～]")


@dataclass(frozen=True, slots=True)
class Quote:
    """One quotation: text[start:end] with its marks."""

    start: int
    end: int
    words: str
    open: bool = False
    """Not closed in this paragraph: it may go on in the next."""


def quote_style(texts: Iterable[str]) -> str:
    """The opening mark that a text uses for speech; — where lines begin with dashes, empty where there is none."""
    counts = dict.fromkeys((*_ORDER, "—"), 0)
    for text in texts:
        for mark in _ORDER:
            counts[mark] += text.count(mark)
        counts["—"] += 2 * bool(_DASH.match(text))
    counts['"'] //= 2
    if counts["„"]:
        counts["“"] = 0  # it closes there
    if counts["«"] and counts["»"]:
        less = "»" if _opens_with(texts, "«") >= _opens_with(texts, "»") else "«"
        counts[less] = 0
    counts["‘"] = counts["‘"] if counts["‘"] > 2 * max(counts["“"], counts['"']) else 0
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ""


def _opens_with(texts: Iterable[str], mark: str) -> int:
    return sum(text.lstrip("—– ").startswith(mark) for text in texts)


def quotes_in(text: str, style: str) -> list[Quote]:
    """The quotations of a paragraph in order, those within others left inside them."""
    if style == "—":
        return _dashed(text)
    if not style:
        return []
    styles = (
        style
        if style in "‘—"
        else style + ("“" if style == '"' else '"' if style == "“" else "『" if style == "「" else "")
    )
    found: list[Quote] = []
    at = 0
    while (start := _next_open(text, styles, at)) >= 0:
        closers = _PAIRS[text[start]]
        end = _close(text, start, closers)
        if end < 0:
            found.append(Quote(start, len(text), text[start + 1 :].strip(), open=True))
            break
        found.append(Quote(start, end + 1, text[start + 1 : end].strip()))
        at = end + 1
    return [quote for quote in found if quote.words]


def _next_open(text: str, styles: str, at: int) -> int:
    places = [place for mark in styles if (place := text.find(mark, at)) >= 0]
    return min(places, default=-1)


def _close(text: str, start: int, closers: str) -> int:
    """Where the quotation ends; an apostrophe, which a letter follows, does not end it. -1 where nothing does."""
    depth, opener = 0, text[start]
    for at in range(start + 1, len(text)):
        char = text[at]
        if char in closers:
            if char == "’" and at + 1 < len(text) and text[at + 1].isalnum():
                continue
            if depth == 0:
                return at
            depth -= 1
        elif char == opener and opener not in closers:
            depth += 1
    return -1


def _dashed(text: str) -> list[Quote]:
    """Speech after a dash at the beginning, with the tag between two more dashes: — Ja, — sagte er, — morgen."""
    opening = _DASH.match(text)
    if not opening:
        return []
    spans = list(re.finditer(r"\s[—–―]\s?|\Z", text[opening.end() :]))
    found: list[Quote] = []
    start = opening.end()
    for number, span in enumerate(spans):
        end = opening.end() + span.start()
        if number % 2 == 0 and text[start:end].strip(" ,"):
            found.append(Quote(start, end, text[start:end].strip()))
        start = opening.end() + span.end()
    return found


def is_speech(text: str, quote: Quote) -> bool:
    """Whether somebody says it: a title or a word in quotation marks in the middle of a sentence is no speech."""
    before, after = text[: quote.start].rstrip(), text[quote.end :].lstrip()
    if not before or before[-1:] in ",:;.!?…—–，：。！？；”」" or _SENTENCE.search(quote.words):
        return True
    return len(quote.words.split()) > 6 or len(quote.words) > 60 or not (after or before)
