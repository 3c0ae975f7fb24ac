"""What stands beside a message in the prompt: lore that fired there, reminders, memories. Decided once, then frozen.

A message's insets are stored with it and never change, so what the model has read stays read: a turn evaluates its
own words and its insets, nothing older.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from rolekit.chat.extra import extra_of, part_of, record_of
from rolekit.chat.tree import Node
from rolekit.messages import Message, Speaker

InsetKind = Literal["lore", "note", "recall"]
_KEY, _ROOM = "rolekit", "room"
_KINDS = ("lore", "note", "recall")
_SPEAKERS = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Inset:
    """One text beside a message."""

    kind: InsetKind
    id: str
    """Where it comes from: `book/uid` of lore, `note 0`, `turn 41`, `fact 3`."""
    text: str
    """Macros are filled in."""
    why: str = ""
    """For a person: which key, or how it was recalled."""
    label: str = ""
    """What a person calls it."""
    tokens: int = 0
    behind: bool = False
    """Stands behind the message's own words instead of in front."""
    speaker: Speaker = "system"


@dataclass(frozen=True, slots=True)
class Woven:
    """Everything that was decided when a message was said."""

    insets: tuple[Inset, ...] = ()
    cut: tuple[tuple[str, str], ...] = ()
    """What would have been told but for a limit: its label, and the reason."""
    notices: tuple[str, ...] = ()
    count: int = 0
    """Messages on the branch at that moment, this one included."""


def woven_of(node: Node) -> Woven | None:
    """What was decided for a message; None where nothing has been yet."""
    record = record_of(node.extra).get(_KEY)
    if not isinstance(record, dict):
        return None
    rows = record.get("insets")
    insets = [inset for row in (rows if isinstance(rows, list) else []) if (inset := _inset(row))]
    return Woven(
        tuple(insets),
        tuple((str(pair[0]), str(pair[1])) for pair in _pairs(record.get("cut"))),
        tuple(str(text) for text in record.get("notices") or [] if isinstance(text, str)),
        record["count"] if isinstance(record.get("count"), int) else 0,
    )


def woven_for(seen: Sequence[Node], *, in_room: bool) -> Woven | None:
    """What was decided for the newest message said to a role (as it sees them); None: nothing was said yet.

    In a room that is the newest line that the role has answered.
    """
    said = [node for node in seen if node.speaker == "user"]
    if in_room:
        said = [node for node in said if woven_of(node)] or said[:1]
    return (woven_of(said[-1]) or Woven()) if said else None


def with_woven(extra: str, woven: Woven | None, seat: str = "") -> str:
    """A node's `extra` with that decision in it, or (None) without any; what else was there stays.

    seat is the slug of the role of a room whose decision it is: each role has its own.
    """
    record = record_of(extra)
    room = part_of(record, _ROOM)
    if woven is None:
        record.pop(_KEY, None)
        room.pop(_KEY, None)
        return extra_of(record)
    row = {
        "insets": [asdict(inset) for inset in woven.insets],
        "cut": list(woven.cut),
        "notices": list(woven.notices),
        "count": woven.count,
    }
    if seat:
        record[_ROOM] = {**room, _KEY: {**part_of(room, _KEY), seat: row}}
    else:
        record[_KEY] = row
    return extra_of(record)


def seen_from(extra: str, seat: str) -> str:
    """A node's `extra` as one role of a room knows it: what was decided for this role, nobody else's."""
    row = part_of(record_of(extra), _ROOM, _KEY, seat) if f'"{_KEY}"' in extra else {}
    return extra_of({_KEY: row} if row else {})


def messages_around(node: Node, own: Message) -> list[Message]:
    """A message with its insets around it, in the order the prompt has them."""
    woven = woven_of(node)
    if woven is None or not woven.insets:
        return [own]
    return [
        *(_message(inset) for inset in woven.insets if not inset.behind),
        own,
        *(_message(inset) for inset in woven.insets if inset.behind),
    ]


def fired_on(path: Iterable[Node]) -> list[tuple[str, int]]:
    """Which lore fired on a branch, and at which message count."""
    found: list[tuple[str, int]] = []
    for node in path:
        woven = woven_of(node)
        if woven:
            found += [
                (inset.id, woven.count)
                for inset in woven.insets
                if inset.kind == "lore" and inset.why != STILL
            ]
    return found


STILL = "still active"
"""Why of lore that a sticky effect keeps up; it does not fire again by that."""


def _message(inset: Inset) -> Message:
    return Message("system", inset.text, "note")


def _pairs(value: object) -> list[Sequence[object]]:
    rows = value if isinstance(value, list) else []
    return [row for row in rows if isinstance(row, list) and len(row) == 2]


def _inset(row: object) -> Inset | None:
    """The inset in a stored row; None for a damaged one."""
    if not isinstance(row, dict) or row.get("kind") not in _KINDS or not isinstance(row.get("text"), str):
        return None
    speaker = row.get("speaker")
    tokens = row.get("tokens")
    return Inset(
        row["kind"],
        str(row.get("id", "")),
        row["text"],
        str(row.get("why", "")),
        str(row.get("label", "")),
        tokens if isinstance(tokens, int) else 0,
        row.get("behind") is True,
        speaker if speaker in _SPEAKERS else "system",
    )
