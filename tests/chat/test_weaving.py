"""Lore, reminders and memories beside the user's messages: decided once, frozen, and never read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rolekit.chat.insets import Inset, Woven, with_woven, woven_of
from rolekit.chat.looking import lore_lines, memory_lines
from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.state import Persona
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.messages import Message
from rolekit.roles.library import RoleLibrary
from rolekit.roles.role import Note, Role

BOOK = {
    "name": "London",
    "entries": [
        {"keys": ["rooms"], "content": "The rooms are in {{random:Baker,Baker}} Street.", "comment": "Rooms"},
        {"keys": ["fog"], "content": "Fog lies on the river.", "comment": "Fog", "insertion_order": 5},
        {"keys": [], "content": "The year is 1889.", "constant": True, "position": "before_char"},
        {"keys": [], "content": "{{user}} is a doctor.", "constant": True},
    ],
}
CARD = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Holmes",
        "description": "You are {{char}}.",
        "first_mes": "Good day, {{user}}.",
        "alternate_greetings": ["You again?", "Come at once, {{user}}."],
        "character_book": BOOK,
        "post_history_instructions": "Deduce.",
        "extensions": {"depth_prompt": {"prompt": "It rains.", "depth": 4, "role": "system"}},
    },
}


@pytest.fixture
def holmes(tmp_path: Path) -> Role:
    path = tmp_path / "holmes.json"
    path.write_text(json.dumps(CARD), encoding="utf-8")
    return RoleLibrary().find(str(path)).loaded()


@pytest.fixture
def chat(store, holmes):
    def start(replies=("Indeed.", "Quite so."), role=holmes, **backend):
        options = ChatOptions(user="Watson", seed=7)
        return Session.start(store, ScriptedBackend(replies, **backend), role, "holmes", options=options)

    return start


def prompt(session: Session) -> list[Message]:
    return list(session.backend.requests[-1].messages)


async def test_constant_lore_stands_in_the_role_block_and_greetings_are_versions(chat, talk):
    session = chat()
    assert [node.version for node in session.path] == [1]
    assert (session.path[0].text, session.path[0].versions) == ("Good day, Watson.", 3)
    assert session.swipe(2)
    assert session.path[0].text == "Come at once, Watson."
    await talk(session, "Hello")
    block = prompt(session)[0].text
    assert block.startswith("The year is 1889.\n\nYou are Holmes.")
    assert "Watson is a doctor." in block


async def test_lore_fires_beside_the_message_that_names_it_and_why_says_so(chat, talk):
    session = chat()
    await talk(session, "Nice rooms. Is there fog?")
    notes = [message.text for message in prompt(session) if message.block == "note"]
    assert notes == ["Fog lies on the river.", "The rooms are in Baker Street.", "It rains.", "Deduce."]
    assert [message.text for message in prompt(session)][-2:] == ["Nice rooms. Is there fog?", "Deduce."]
    woven = session.why()
    assert [(inset.label, inset.why) for inset in woven.insets[:2]] == [
        ("Fog", 'key "fog"'),
        ("Rooms", 'key "rooms"'),
    ]
    await talk(session, "More fog!")
    assert [message.text for message in prompt(session) if message.block == "note"].count(
        "Fog lies on the river."
    ) == 1
    assert ("Fog", "it already stands in the chat") in session.why().cut


async def test_every_prompt_begins_with_the_one_before(chat, talk):
    session = chat(["One.", "Two.", "Three."])
    session.set_note("Whisper.", 2)
    before: list[Message] = []
    for number in range(12):
        await talk(session, f"rooms and fog, number {number}")
        now = prompt(session)
        assert now[: len(before)] == before
        before = [*now, Message("assistant", session.path[-1].text)]
    reread = [request.messages[0] for request in session.backend.requests]
    assert len(set(reread)) == 1


async def test_reminders_never_drift_further_up_than_their_depth(chat, talk):
    role = Role(name="A", description="You are A.", notes=(Note(text="Rain.", depth=4),), post_history="Now!")
    session = chat(role=role)
    for number in range(8):
        await talk(session, f"m{number}")
        shown = prompt(session)
        turns = [m for m in shown if m.block in ("turn", "note", "greeting")]
        last = max(index for index, message in enumerate(turns) if message.text == "Rain.")
        assert sum(message.block == "turn" for message in turns[last + 1 :]) <= 5
        assert turns[-1].text == "Now!"
    copies = sum(message.text == "Rain." for message in prompt(session))
    assert copies == 3


async def test_a_long_reminder_is_repeated_less_often(chat, talk):
    role = Role(name="A", description="You are A.", post_history=" ".join(["obey"] * 48))
    session = chat(role=role)
    for number in range(12):
        await talk(session, f"m{number}")
    assert 3 <= sum("obey" in message.text for message in prompt(session)) <= 5


async def test_another_version_of_a_reply_stands_beside_the_same_lore(chat, talk):
    session = chat()
    await talk(session, "rooms")
    first = prompt(session)
    async for _ in session.regenerate():
        pass
    assert prompt(session) == first
    mine = session.path[1]
    session.edit(mine.id, "fog")
    async for _ in session.regenerate():
        pass
    texts = [message.text for message in prompt(session)]
    assert "Fog lies on the river." in texts
    assert "The rooms are in Baker Street." not in texts


async def test_a_chat_goes_on_with_its_note_and_its_persona(chat, talk, store, holmes):
    session = chat()
    session.set_persona(Persona("Mary", "{{user}} is a widow."))
    session.set_note("Be brief.", 0)
    await talk(session, "Hello")
    again = Session.resume(store, session.backend, holmes, "holmes", session.id, options=ChatOptions())
    await talk(again, "And?")
    assert again.user == "Mary"
    assert "About Mary, whom you talk to: Mary is a widow." in prompt(again)[0].text
    assert prompt(again)[0] == session.backend.requests[0].messages[0]
    assert "Be brief." in [message.text for message in prompt(again)]
    again.set_note("")
    await talk(again, "Well?")
    assert again.state.note.text == ""


async def test_what_was_folded_away_is_remembered_when_it_matters(chat, talk, store):
    role = Role(name="A", description="You are A.")
    session = Session.start(
        store,
        ScriptedBackend(["Yes indeed."], context_tokens=160),
        role,
        "a",
        options=ChatOptions(user="Ann", seed=1),
    )
    await talk(session, "My sister Clara keeps bees in Devon")
    for number in range(30):
        await talk(session, f"filler words number {number} here")
    shown = [message.text for message in prompt(session)]
    assert not any("Clara" in text for text in shown)
    await talk(session, "Where does Clara keep her bees?")
    remembered = [inset for inset in session.why().insets if inset.kind == "recall"]
    assert "Ann: My sister Clara keeps bees in Devon" in remembered[0].text
    assert remembered[0].text in [message.text for message in prompt(session)]
    await talk(session, "Clara and her bees again")
    assert remembered[0].id not in [inset.id for inset in session.why().insets]


async def test_a_card_that_has_gone_is_told_and_keeps_nobody_from_talking(chat, talk, holmes):
    session = chat(role=holmes.model_copy(update={"card": "/nowhere/x.png"}))
    await talk(session, "rooms")
    assert "cannot be read" in session.notices[0]


def test_stored_decisions_survive_and_damage_does_not_spread() -> None:
    class Fake:
        extra = ""

    woven = Woven((Inset("lore", "b/1", "text", "why", "label", 3, True, "user"),), (("x", "y"),), ("n",), 7)
    Fake.extra = with_woven('{"foreign": 1}', woven)
    assert json.loads(Fake.extra)["foreign"] == 1
    assert woven_of(Fake) == woven
    assert with_woven(Fake.extra, None) == '{"foreign": 1}'
    for damage in (
        '{"rolekit": 3}',
        '{"rolekit": {"insets": [1, {"kind": "lore"}], "cut": 4, "count": "x"}}',
        "[",
        "3",
    ):
        Fake.extra = damage
        assert woven_of(Fake) in (None, Woven())


def test_lore_and_memory_are_told_in_words(chat, holmes):
    rows = lore_lines(holmes)
    assert rows[0] == "── London · 4 entries ──"
    assert rows[1].startswith("on  Rooms · rooms · The rooms are in")
    assert "always" in rows[3]
    assert "no lorebook" in lore_lines(Role(name="X", description="You are X."))[0]
    assert memory_lines(chat())[-1] == "nothing has been said yet"
