"""`rolekit chat --list`, `--find` and `--import`: the conversations on disk, without a model."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rolekit.chat.archive import import_json
from rolekit.chat.casting import Player, find_players, players_of
from rolekit.chat.room import Room, room_slug
from rolekit.chat.sillytavern import character_of, import_sillytavern
from rolekit.chat.store import Store
from rolekit.errors import RolekitError
from rolekit.roles.library import RoleLibrary
from rolekit.text import one_line


def print_chats(store: Store, slug: str | None) -> None:
    """One line a conversation, newest first: id, day, messages, role, name and title."""
    chats = store.conversations(role_slug=slug)
    for info in chats:
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(info.updated_at))
        name = f"[{one_line(info.name)}] " if info.name else ""
        role = one_line(info.role_name, 24)
        print(
            f"{info.id}  {day}  {info.messages:>5}  {role:<24}  {name}{one_line(info.title or '(no title)')}"
        )
    if not chats:
        print("rolekit: no chats yet; begin one with: rolekit chat --role NAME", file=sys.stderr)


def print_hits(store: Store, words: str) -> None:
    """One line a message that has all the words, newest first: its chat's id, the role, the place."""
    hits = store.search(words)
    for hit in hits:
        print(f"{hit.conversation_id}  {one_line(hit.role_name, 24):<24}  {hit.snippet}")
    if not hits:
        print(f"rolekit: nobody said “{one_line(words)}”", file=sys.stderr)


def import_chat(
    store: Store, library: RoleLibrary, players: Sequence[Player], file: Path
) -> tuple[tuple[Player, ...], str]:
    """The roles and the id of a chat read from SillyTavern's .jsonl or our .json; the counts go to stderr.

    Without players the role is looked up by the character's name in the file; several read a group chat.
    """
    if file.suffix.lower() == ".json":
        return _import_own(store, library, players, file)
    if not players:
        name = character_of(file)
        if not name:
            raise RolekitError(
                f"{file.name} does not say whose chat it is.", "Add --role NAME, for a group one each."
            )
        players = find_players(library, [name])
    room = Room(tuple(player.member for player in players)) if len(players) > 1 else None
    slug, title = room_slug(player.slug for player in players), room.title if room else players[0].role.name
    report = import_sillytavern(store, file, role_slug=slug, role_name=title, room=room)
    print(
        f"rolekit: read {report.messages} messages in {report.versions} versions from {one_line(file.name)}, "
        f"{len(report.bad_lines)} lines set apart",
        file=sys.stderr,
    )
    for line in report.bad_lines[:20]:
        print(f"rolekit: line {line.number}: {one_line(line.reason, 200)}", file=sys.stderr)
    if report.strangers:
        names = ", ".join(one_line(name, 40) for name in report.strangers[:12])
        print(f"rolekit: not in the room: {names}; their lines are kept as notes", file=sys.stderr)
    return tuple(players), report.conversation_id


def _import_own(
    store: Store, library: RoleLibrary, players: Sequence[Player], file: Path
) -> tuple[tuple[Player, ...], str]:
    with store.database.writing():  # nothing stays of a chat whose role is not here
        info = store.conversation(import_json(store, file))
        room = store.room(info.id)
        own = players_of(library, room) if room else find_players(library, [info.role_slug or info.role_name])
        if players and {player.slug for player in players} != {player.slug for player in own}:
            raise RolekitError(f"{file.name} is a chat with {one_line(info.role_name)}.", "Leave out --role.")
    print(f"rolekit: read {info.messages} messages from {one_line(file.name)}", file=sys.stderr)
    return own, info.id
