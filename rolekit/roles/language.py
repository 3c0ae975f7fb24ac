"""Which language a text is most likely in, by its letters alone."""

from __future__ import annotations

import re

_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]"), 0.08),
    ("ko", re.compile(r"[\uac00-\ud7af]"), 0.2),
    ("zh", re.compile(r"[\u4e00-\u9fff]"), 0.2),
    ("ru", re.compile(r"[\u0400-\u04ff]"), 0.4),
    ("ar", re.compile(r"[\u0600-\u06ff]"), 0.4),
    ("he", re.compile(r"[\u0590-\u05ff]"), 0.4),
    ("el", re.compile(r"[\u0370-\u03ff]"), 0.4),
    ("th", re.compile(r"[\u0e00-\u0e7f]"), 0.4),
    ("hi", re.compile(r"[\u0900-\u097f]"), 0.4),
)


def guess_language(text: str, default: str = "en") -> str:
    """A BCP 47 tag for scripts that only one big language uses; default for the Latin script and for no letters.

    Kana in a text of Han letters means Japanese, so that is asked first.
    """
    letters = sum(letter.isalpha() for letter in text)
    for tag, script, share in _SCRIPTS:
        if letters and len(script.findall(text)) >= share * letters:
            return tag
    return default
