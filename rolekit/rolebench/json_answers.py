"""The JSON object in what a judge wrote, mended where the damage is small and plain."""

from __future__ import annotations

import json
import re
from typing import Any

_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL | re.IGNORECASE)
_TRAILING_COMMA = re.compile(r",\s*([}\]])")


def find_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in text: bare, in a code fence, or between other words.

    Mends trailing commas, raw line breaks inside strings, and brackets that a cut-off answer never closed. None where
    there is no object; nothing is guessed beyond that.
    """
    fenced = _FENCE.search(text)
    for candidate in (text, fenced[1] if fenced else "", *_braced(text)):
        for attempt in (candidate, _TRAILING_COMMA.sub(r"\1", candidate)):
            try:
                value = json.loads(attempt, strict=False)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                return value
    return None


def _braced(text: str) -> list[str]:
    """What begins with the first brace and ends where it is closed; closed by us where the text ends before."""
    start = text.find("{")
    if start < 0:
        return []
    closing: list[str] = []
    quoted = escaped = False
    for place in range(start, len(text)):
        sign = text[place]
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = sign == "\\", sign != '"'
        elif sign == '"':
            quoted = True
        elif sign in "{[":
            closing.append("}" if sign == "{" else "]")
        elif sign in "}]" and closing:
            closing.pop()
            if not closing:
                return [text[start : place + 1]]
    return [text[start:] + ('"' if quoted else "") + "".join(reversed(closing))]
