"""A room: two to six roles in one conversation, kept with it, and whose line each message is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from rolekit.chat.extra import extra_of, part_of, record_of, text_of

Turns = Literal["named", "round-robin", "talkative"]
"""Who answers: those who are called by name, the next one in order, or whoever is talkative enough."""
POLICIES: tuple[Turns, ...] = get_args(Turns)
MOST_MEMBERS = 6
_KEY = "room"


@dataclass(frozen=True, slots=True)
class Member:
    """One role of a room, as the conversation keeps it."""

    slug: str
    name: str
    source: str = ""
    """What the library finds it by, a card's path say; empty means the slug."""
    adapters: tuple[tuple[str, float], ...] = ()
    """The adapters that speak for it: path and scale."""


@dataclass(frozen=True, slots=True)
class Room:
    """Who is in it, in the order of round-robin, and how turns are taken."""

    members: tuple[Member, ...]
    turns: Turns = "named"

    @property
    def title(self) -> str:
        """The names, as a list of conversations shows them."""
        return ", ".join(member.name for member in self.members)


def room_slug(slugs: Iterable[str]) -> str:
    """What a room is found by in place of a role's slug: the same members in any order give the same."""
    return "+".join(sorted(slugs))


def room_of(extra: str) -> Room | None:
    """The room in a conversation's `extra`; None where one role is talked to."""
    record = part_of(record_of(extra), _KEY)
    rows = record.get("members")
    members = tuple(
        Member(text_of(row.get("slug")), text_of(row.get("name")), text_of(row.get("source")), _adapters(row))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and text_of(row.get("slug"))
    )
    if len(members) < 2:
        return None
    turns = record.get("turns")
    return Room(members, turns if turns in POLICIES else "named")


def with_room(extra: str, room: Room) -> str:
    """A conversation's `extra` with this room; what else was there stays."""
    record = record_of(extra)
    record[_KEY] = asdict(room)
    return extra_of(record)


def speaker_of(extra: str) -> tuple[str, str]:
    """Slug and name of the role whose line a message of a room is; both empty elsewhere, and for the user's."""
    if f'"{_KEY}"' not in extra:  # almost every message there is: not worth reading
        return "", ""
    record = part_of(record_of(extra), _KEY)
    return text_of(record.get("slug")), text_of(record.get("name"))


def with_speaker(extra: str, slug: str, name: str) -> str:
    """A message's `extra` that says whose line it is."""
    record = record_of(extra)
    record[_KEY] = {**part_of(record, _KEY), "slug": slug, "name": name}
    return extra_of(record)


def _adapters(row: dict[str, object]) -> tuple[tuple[str, float], ...]:
    pairs = row.get("adapters")
    return tuple(
        (pair[0], float(pair[1]))
        for pair in (pairs if isinstance(pairs, list) else [])
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)
        and isinstance(pair[1], int | float)
    )  # fmt: skip
