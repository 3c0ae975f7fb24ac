"""A session on the real starter model: what is known is not read again, also after a restart."""

from __future__ import annotations

import pytest

from rolekit.chat.casting import Player
from rolekit.chat.events import Finished
from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.store import Store
from rolekit.engine.backend import open_local
from rolekit.roles.role import Role

FEW = 24
"""A short message with its scaffolding has fewer tokens than this, the role block has more."""


async def stats_of(events):
    finished = [event async for event in events if isinstance(event, Finished)]
    return finished[0].reply.stats


@pytest.mark.model
async def test_only_what_is_new_is_evaluated_and_a_restart_changes_nothing(starter_path, store, role):
    options = ChatOptions(seed=1, max_tokens=12)

    def load():
        return open_local(
            starter_path, adapters=(), context_tokens=512, threads=1, chat_template=None, kv_cache_mib=64
        )

    backend = load()
    session = Session.start(store, backend, role, "ada", options=options)
    first = await stats_of(session.say("Who are you?"))
    second = await stats_of(session.say("What is it?"))
    assert second.evaluated_tokens < FEW < first.evaluated_tokens
    assert session.path[-1].token_ids
    again = await stats_of(session.regenerate())
    assert again.evaluated_tokens <= 2
    assert session.path[-1].version == 2
    longer = await stats_of(session.continue_last())
    assert longer.evaluated_tokens <= 2
    texts = [node.text for node in session.path]
    await backend.close()
    with Store(store.database.path) as reopened:
        backend = load()
        later = Session.resume(reopened, backend, role, "ada", session.id, options=options)
        assert [node.text for node in later.path] == texts
        third = await stats_of(later.say("Go on"))
        assert third.evaluated_tokens < FEW
        await backend.close()


@pytest.mark.model
async def test_in_a_room_every_role_keeps_its_own_kv(starter_path, store, role):
    watson = Role(name="John Watson", description="You are a doctor, home from the war. " * 4, greeting="Hm.")
    players = [Player(role, "ada"), Player(watson, "watson")]
    backend = open_local(starter_path, context_tokens=1024, threads=1, kv_cache_mib=64)
    options = ChatOptions(user="Ann", seed=1, max_tokens=8, guard=False)
    session = Session.start_room(store, backend, players, options=options, turns="round-robin")
    read: list[int] = []
    for text in ("Who are you?", "What is it?", "And now?", "Is it late?", "Go on."):
        read.append((await stats_of(session.say(text))).evaluated_tokens)
    # Two lines of the user and one of the other role, of eight tokens at most, with their scaffolding.
    assert max(read[2:]) < 3 * FEW < min(read[:2])
    await backend.close()
