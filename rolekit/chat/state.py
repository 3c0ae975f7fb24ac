"""What belongs to one chat beside its messages: the user's persona, the author's note, the memory of folded turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rolekit.chat.extra import extra_of, part_of, record_of, text_of

_KEY, _SEATS = "rolekit", "seats"


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


def state_of(extra: str, seat: str = "") -> ChatState:
    """The state in a conversation's `extra`; damaged parts are left out. seat: of that role of a room."""
    record = _own(record_of(extra), seat)
    persona, note = part_of(record, "persona"), part_of(record, "note")
    depth = note.get("depth")
    rows = record.get("summaries")
    return ChatState(
        Persona(text_of(persona.get("name")), text_of(persona.get("description"))),
        AuthorsNote(text_of(note.get("text")), depth if isinstance(depth, int) and 0 <= depth <= 1000 else 4),
        tuple(summary for row in (rows if isinstance(rows, list) else []) if (summary := _summary(row))),
        *(
            max(value, 0) if isinstance(value := record.get(key), int) else 0
            for key in ("shown_from", "shown_to")
        ),
    )


def with_state(extra: str, state: ChatState, seat: str = "") -> str:
    """A conversation's `extra` with this state; what else was there stays."""
    return _with_own(extra, seat, asdict(state))


def fold_of(extra: str, seat: str) -> tuple[int | None, int, bool]:
    """Up to where one role of a room has folded the talk: node, context tokens, examples (see FoldPoint)."""
    row = _own(record_of(extra), seat).get("fold")
    node, context, examples = row if isinstance(row, list) and len(row) == 3 else (None, 0, False)
    return node if isinstance(node, int) else None, context if isinstance(context, int) else 0, bool(examples)


def with_fold(extra: str, fold: tuple[int | None, int, bool], seat: str) -> str:
    """A conversation's `extra` with that role's fold point."""
    return _with_own(extra, seat, {"fold": list(fold)})


def renumbered(extra: str, numbers: Mapping[int | None, int | None]) -> str:
    """A conversation's `extra` after its messages got other ids, for a copy of it."""
    record = record_of(extra)
    for own in (part_of(record, _KEY), *(part_of(record, _SEATS, seat) for seat in part_of(record, _SEATS))):
        rows = own.get("summaries")
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict):
                row |= {key: numbers.get(row.get(key)) for key in ("first_node", "last_node")}
        fold = own.get("fold")
        if isinstance(fold, list) and fold and isinstance(fold[0], int):
            fold[0] = numbers.get(fold[0])
    return extra_of(record)


def _own(record: dict[str, Any], seat: str) -> dict[str, Any]:
    return part_of(record, _SEATS, seat) if seat else part_of(record, _KEY)


def _with_own(extra: str, seat: str, changes: dict[str, Any]) -> str:
    record = record_of(extra)
    own = {**_own(record, seat), **changes}
    if seat:
        record[_SEATS] = {**part_of(record, _SEATS), seat: own}
    else:
        record[_KEY] = own
    return extra_of(record)


def _summary(row: object) -> Summary | None:
    part = row if isinstance(row, dict) else {}
    first, last = part.get("first_node"), part.get("last_node")
    if not isinstance(first, int) or not isinstance(last, int) or not text_of(part.get("text")):
        return None
    return Summary(part["text"], first, last, text_of(part.get("model")))
