"""What belongs to one chat beside its messages: the user's persona, the author's note, the memory of folded turns."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

_KEY = "rolekit"


@dataclass(frozen=True, slots=True)
class Persona:
    """Who the user is in this chat."""

    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class AuthorsNote:
    """A reminder that the user gave this chat."""

    text: str = ""
    depth: int = 4


@dataclass(frozen=True, slots=True)
class Summary:
    """What the role remembers of a stretch of folded turns, in its own words."""

    text: str
    first_node: int
    last_node: int
    """The stretch: ids of its first and last message."""
    model: str = ""
    """The label of the model that wrote it."""


@dataclass(frozen=True, slots=True)
class ChatState:
    """All of it; kept in the conversation's row."""

    persona: Persona = Persona()
    note: AuthorsNote = AuthorsNote()
    summaries: tuple[Summary, ...] = ()
    """Oldest first; appended to, never changed."""
    shown_from: int = 0
    shown_to: int = 0
    """Which of them stand in the prompt; only a fold changes that."""

    @property
    def shown(self) -> tuple[Summary, ...]:
        """The summaries that stand in the prompt."""
        return self.summaries[self.shown_from : self.shown_to]


def state_of(extra: str) -> ChatState:
    """The state in a conversation's `extra`; damaged parts are left out."""
    record = _record(extra).get(_KEY)
    if not isinstance(record, dict):
        return ChatState()
    persona, note = _part(record.get("persona")), _part(record.get("note"))
    depth = note.get("depth")
    rows = record.get("summaries")
    return ChatState(
        Persona(_text(persona.get("name")), _text(persona.get("description"))),
        AuthorsNote(_text(note.get("text")), depth if isinstance(depth, int) and 0 <= depth <= 1000 else 4),
        tuple(summary for row in (rows if isinstance(rows, list) else []) if (summary := _summary(row))),
        *(
            max(value, 0) if isinstance(value := record.get(key), int) else 0
            for key in ("shown_from", "shown_to")
        ),
    )


def with_state(extra: str, state: ChatState) -> str:
    """A conversation's `extra` with this state; what else was there stays."""
    record = _record(extra)
    record[_KEY] = asdict(state)
    return json.dumps(record, ensure_ascii=False)


def _record(extra: str) -> dict[str, Any]:
    try:
        record = json.loads(extra) if extra else {}
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _part(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _summary(row: object) -> Summary | None:
    part = _part(row)
    first, last = part.get("first_node"), part.get("last_node")
    if not isinstance(first, int) or not isinstance(last, int) or not _text(part.get("text")):
        return None
    return Summary(part["text"], first, last, _text(part.get("model")))
