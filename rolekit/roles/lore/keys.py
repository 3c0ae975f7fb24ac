"""Finding an entry's keys in a text: plain words, whole words in any script, and patterns that cannot hang."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import regex  # type: ignore[import-untyped, unused-ignore]

REGEX_SECONDS = 0.05
"""A pattern that needs longer on one text is switched off for the chat."""
MAX_PATTERNS = 200
_MAX_PATTERN_CHARACTERS = 2000
_PATTERN = re.compile(r"\s*/(.*)/([gimsuy]*)\s*", re.DOTALL)
_NO_BLANKS = r"\u0e00-\u0e7f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
"""Thai, Khmer, Japanese, Chinese: words stand beside each other without a blank."""
_FLAGS = {"i": regex.IGNORECASE, "m": regex.MULTILINE, "s": regex.DOTALL}


class PatternTooSlow(Exception):
    """A key's pattern ran out of time."""


def is_pattern(key: str) -> bool:
    """Whether a key is written as a pattern: /…/flags. Programs set `use_regex` on plain words too."""
    return _PATTERN.fullmatch(key) is not None


def find_key(key: str, text: str, folded: str, *, case_sensitive: bool, whole_words: bool) -> bool:
    """Whether key is in text; folded is the text case-folded.

    A plain key of several words is looked for as it stands; a single word, where whole_words, only as a word of
    its own. Where its edge is a letter of a script without blanks (Chinese, Japanese, Thai) any neighbour will do.
    Raises PatternTooSlow for a pattern that takes too long. A pattern that is no pattern matches nothing.
    """
    if found := _PATTERN.fullmatch(key):
        return _find_pattern(found[1], found[2], text)
    wanted = key.strip()
    if not wanted:
        return False
    if not case_sensitive:
        wanted, text = wanted.casefold(), folded
    if not whole_words or len(wanted.split()) > 1:
        return wanted in text
    return bool(_whole_word(wanted).search(text))


def _find_pattern(source: str, flags: str, text: str) -> bool:
    pattern = _compiled(source, flags)
    if pattern is None:
        return False
    try:
        return pattern.search(text, timeout=REGEX_SECONDS) is not None
    except TimeoutError as error:
        raise PatternTooSlow(source) from error


@lru_cache(maxsize=1024)
def _compiled(source: str, flags: str) -> Any:
    """The pattern, read as JavaScript's nearly always is; None where it is none."""
    if len(source) > _MAX_PATTERN_CHARACTERS:
        return None
    options = regex.VERSION0
    for flag in flags:
        options |= _FLAGS.get(flag, 0)
    try:
        return regex.compile(source.replace(r"\/", "/"), options)
    except (regex.error, OverflowError, RecursionError, ValueError):
        return None


@lru_cache(maxsize=4096)
def _whole_word(word: str) -> re.Pattern[str]:
    """The word with no letter or digit beside it; one of a script without blanks is no part of a Latin word."""
    edge = f"[^\\W_{_NO_BLANKS}]"
    before = f"(?<!{edge})" if _needs_edge(word[0]) else ""
    after = f"(?!{edge})" if _needs_edge(word[-1]) else ""
    return re.compile(before + re.escape(word) + after)


def _needs_edge(letter: str) -> bool:
    return letter.isalnum() and not re.match(f"[{_NO_BLANKS}]", letter)
