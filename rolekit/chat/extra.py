"""The JSON object beside a conversation or a message: what has no column of its own, ours and a foreign file's."""

from __future__ import annotations

import json
from typing import Any


def record_of(extra: str) -> dict[str, Any]:
    """The object in such a text; an empty one for empty text or anything else."""
    try:
        record = json.loads(extra) if extra else {}
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def part_of(record: dict[str, Any], *names: str) -> dict[str, Any]:
    """The object that these names lead to, one inside the other; an empty one where there is none."""
    for name in names:
        inner = record.get(name)
        record = inner if isinstance(inner, dict) else {}
    return record


def extra_of(record: dict[str, Any]) -> str:
    """The reverse of record_of; empty for an empty object."""
    return json.dumps(record, ensure_ascii=False) if record else ""


def text_of(value: object) -> str:
    """The value where it is text, else none."""
    return value if isinstance(value, str) else ""
