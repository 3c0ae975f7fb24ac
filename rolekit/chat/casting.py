"""Who plays in a conversation: roles found in the library, and the adapters that speak for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rolekit.chat.room import MOST_MEMBERS, Member, Room
from rolekit.errors import RolekitError
from rolekit.roles.library import Entry, RoleLibrary
from rolekit.roles.names import fold
from rolekit.roles.role import Role
from rolekit.text import one_line

Adapters = tuple[tuple[Path, float], ...]


@dataclass(frozen=True, slots=True)
class Player:
    """One role of a conversation."""

    role: Role
    slug: str
    source: str = ""
    """What the library finds the role by, where that is not its slug."""
    adapters: Adapters = ()
    """GGUF adapters (path, scale) that are in force while this role speaks; used in rooms."""

    @property
    def member(self) -> Member:
        """The player as a room keeps it."""
        adapters = tuple((str(path), scale) for path, scale in self.adapters)
        return Member(self.slug, self.role.name, self.source, adapters)


def find_players(library: RoleLibrary, names: Sequence[str]) -> tuple[Player, ...]:
    """The roles of these names, in this order. Raises RolekitError for too many, and for the same one twice."""
    entries = [library.find(name) for name in names]
    if len(entries) > MOST_MEMBERS:
        raise RolekitError(
            f"A room holds {MOST_MEMBERS} roles, and {len(entries)} were named.", "Leave some out."
        )
    for number, entry in enumerate(entries):
        if any(entry.slug == other.slug or _same_name(entry, other) for other in entries[:number]):
            raise RolekitError(
                f"{entry.title} cannot be in a room twice.", "Name each role once; two need two names."
            )
    return tuple(player_of(library, entry) for entry in entries)


def player_of(library: RoleLibrary, entry: Entry, adapters: Adapters = ()) -> Player:
    """The role of an entry. Raises RolekitError with the faults of a broken file."""
    known = any(other.path == entry.path for other in library.all())
    return Player(entry.loaded(), entry.slug, "" if known else str(entry.path), adapters)


def players_of(library: RoleLibrary, room: Room) -> tuple[Player, ...]:
    """The roles of a stored room. Raises RolekitError where one is no longer there, or broken."""
    return tuple(
        replace(
            player_of(library, library.find(member.source or member.slug)),
            slug=member.slug,
            adapters=tuple((Path(path), scale) for path, scale in member.adapters),
        )
        for member in room.members
    )


def with_adapters(players: Sequence[Player], given: Sequence[tuple[str, Path, float]]) -> tuple[Player, ...]:
    """The players with adapters of their own; (name, path, scale) each, an empty name meaning every role without.

    Raises RolekitError for a name that is nobody's here.
    """
    own: dict[str, Adapters] = {}
    common: Adapters = ()
    for name, path, scale in given:
        path = path.resolve()  # a room may be gone on with from another folder
        if not name:
            common += ((path, scale),)
            continue
        slug = _whose(players, name)
        own[slug] = (*own.get(slug, ()), (path, scale))
    if not given:
        return tuple(players)
    return tuple(replace(player, adapters=own.get(player.slug, common)) for player in players)


def _whose(players: Sequence[Player], name: str) -> str:
    wanted = fold(name)
    for same in (True, False):
        for player in players:
            names = [fold(text) for text in (player.slug, player.role.name, *player.role.aliases)]
            if any(wanted == known if same else wanted in known.split() for known in names):
                return player.slug
    known = ", ".join(one_line(player.role.name, 40) for player in players)
    raise RolekitError(
        f"Nobody here is called {one_line(name, 60)}.", f"There are: {known}; name one of them."
    )


def _same_name(one: Entry, other: Entry) -> bool:
    return bool(one.role and other.role and fold(one.role.name) == fold(other.role.name))
