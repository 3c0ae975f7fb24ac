"""What a role knows of its own life beyond its block: facts and answers, each with where it comes from.

`roles/SLUG.facts.jsonl` beside the user's roles holds one a line, as profiles and Context-Instruct write them
(arXiv 2310.00746 §3.3): {"fact", "segment", "quote"} or {"question", "answer" or "answers" or "generated"}.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError
from rolekit.paths import roles_dir
from rolekit.text import one_line

_MOST_BYTES = 16 << 20
_MOST_FACTS = 20_000
_MOST_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class Fact:
    """Something a role knows."""

    text: str
    source: str = ""
    """Where it comes from, for a person: `ada.facts.jsonl line 3, segment s12`."""

    @property
    def id(self) -> str:
        """The same for the same text, whatever else its file holds."""
        return f"fact {blake2b(self.text.encode('utf-8', 'replace'), digest_size=6).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file holds."""

    facts: tuple[Fact, ...] = ()
    faults: tuple[str, ...] = ()
    """Lines that are no facts: `line 4: not JSON`."""
    of_others: int = 0
    """Rows that name another role."""


def facts_file(slug: str) -> Path:
    """Where a role's facts are looked for."""
    return roles_dir() / f"{slug}.facts.jsonl"


def read_facts(path: Path, names: Iterable[str] = ()) -> Facts:
    """The facts in a file, the same one once; none where there is no file.

    names: rows that name a role count only where it is one of these; none given means all do. Raises RolekitError
    when the file cannot be read or is far too large.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise RolekitError(f"{path} is larger than {_MOST_BYTES >> 20} MiB.", "Keep fewer facts in it.")
        lines = path.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return Facts()
    except OSError as error:
        raise RolekitError(
            f"{path} cannot be read ({error.strerror or error}).", "Check the file."
        ) from error
    from rolekit.roles.names import fold

    own = {fold(name) for name in names}
    found: dict[str, Fact] = {}
    faults: list[str] = []
    others = 0
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        row = _row(raw)
        if row is not None and own and isinstance(row.get("role"), str) and fold(row["role"]) not in own:
            others += 1
        elif row is None or not (text := _text(row)):
            faults.append(f"line {number}: {'not a JSON object' if row is None else 'no fact and no answer'}")
        elif len(found) < _MOST_FACTS:
            found.setdefault(text, Fact(text, _source(row, path, number)))
    return Facts(tuple(found.values()), tuple(faults), others)


def notice_of(facts: Facts, path: Path) -> tuple[str, ...]:
    """What the user should know of the file: lines that could not be used."""
    if not facts.faults:
        return ()
    return (f"{len(facts.faults)} lines of {one_line(path.name)} are no facts ({facts.faults[0]})",)


def _row(raw: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(raw.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _text(row: dict[str, Any]) -> str:
    """The fact, or the question with its answer, on one line; empty where there is neither."""
    if isinstance(fact := row.get("fact"), str):
        return one_line(fact, _MOST_CHARACTERS)
    answers = next((row[key] for key in ("answer", "answers", "generated") if row.get(key)), None)
    answer = answers[0] if isinstance(answers, list) else answers
    question = row.get("question")
    if not isinstance(answer, str) or not isinstance(question, str) or not answer.strip():
        return ""
    return one_line(f"{question.strip()} {answer}", _MOST_CHARACTERS)


def _source(row: dict[str, Any], path: Path, number: int) -> str:
    parts = [row["source"]] if isinstance(row.get("source"), str) and row["source"] else []
    parts = parts or [f"{path.name} line {number}"]
    if isinstance(segment := row.get("segment"), str) and segment and not row.get("source"):
        parts.append(f"segment {segment}")
    return one_line(", ".join(parts), 120)
