"""How a conversation begins, and what changes when it is taken up again."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from rolekit.chat import nodes
from rolekit.chat.casting import Player
from rolekit.chat.nodes import Draft
from rolekit.chat.options import ChatOptions
from rolekit.chat.room import Room, Turns, room_of, room_slug, with_room, with_speaker
from rolekit.chat.staging import greeting_texts
from rolekit.chat.state import ChatState, Persona, with_state
from rolekit.chat.store import Store
from rolekit.chat.tree import ConversationInfo


def begin(
    store: Store, label: str, players: Sequence[Player], options: ChatOptions, turns: Turns, name: str
) -> ConversationInfo:
    """A new conversation in which each player gives its greeting; several make a room. label: the model's."""
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    room = Room(tuple(player.member for player in players), turns) if len(players) > 1 else None
    extra = with_room("", room) if room else ""
    if options.persona != Persona():
        for player in players:
            extra = with_state(extra, ChatState(options.persona), player.slug if room else "")
    with store.database.writing() as connection:
        info = store.create(
            role_slug=room_slug(player.slug for player in players),
            role_name=room.title if room else players[0].role.name,
            user=options.user,
            model_label=label,
            seed=seed,
            name=name,
            extra=extra,
        )
        head: int | None = None
        for player in players:
            whose = with_speaker("", player.slug, player.role.name) if room else ""
            greetings = greeting_texts(player.role, options.user, options.persona, info.id)
            drafts = [Draft("assistant", text, extra=whose) for text in greetings]
            versions = [nodes.insert(connection, info.id, head, draft) for draft in drafts]
            head = versions[0] if versions else head
        if head is not None:
            nodes.set_head(connection, info.id, head)
    return info


def take_up(
    store: Store,
    label: str,
    players: Sequence[Player],
    conversation_id: str,
    options: ChatOptions,
    turns: Turns | None,
) -> ConversationInfo:
    """A conversation with what the options, the model and the players' adapters change in it."""
    info = store.conversation(conversation_id)
    extra = store.row(conversation_id)["extra"]
    if room := room_of(extra):
        changed = Room(tuple(player.member for player in players), turns or room.turns)
        if changed != room:
            store.set_extra(conversation_id, with_room(extra, changed))
    if options.user not in (ChatOptions().user, info.user):
        store.set_user(conversation_id, options.user)
    if options.seed is not None:
        store.set_seed(conversation_id, options.seed)
    if info.model_label != label:
        store.set_model(conversation_id, label)
    return store.conversation(conversation_id)
