"""Several roles in one room: chosen in the library, told apart without colours, and let speak."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from rolekit.chat.options import ChatOptions
from rolekit.roles.role import Role
from rolekit.tui.room_line import RULES, RoomLine

SMALL, LARGE = (80, 24), (120, 40)
HOLMES = Role(name="Sherlock Holmes", description="You are Sherlock Holmes.", greeting="The game is afoot.")
WATSON = Role(
    name="John Watson", description="You are Doctor Watson.", greeting="I have brought my revolver."
)
REPLIES = (
    "The mud on your left boot is the red clay of Wigmore Street. What do you say, Watson?",
    "I say that you might have let the poor fellow sit down first.",
    "There is nothing so deceptive as an obvious fact.",
)


@pytest.fixture
def room_app(make_app):
    """An app whose library holds the two."""

    def make(replies: object = REPLIES, **more: object):
        app = make_app(replies, role=None, options=ChatOptions(seed=7, guard=False), **more)
        for slug, role in (("a-holmes", HOLMES), ("a-watson", WATSON)):
            app.library.save(role, slug, overwrite=True)
        return app

    return make


async def enter_room(hand) -> None:
    """Mark both in the list, and open the room."""
    for slug in ("a-holmes", "a-watson"):
        hand.app.screen.list_roles(slug)
        hand.app.screen.query_one("#roles").focus()
        await hand.press("space")
    await hand.press("enter")
    await hand.until(lambda: hand.app.screen is hand.app._chat)
    await hand.settle()


async def test_a_room_is_opened_from_the_list_and_everybody_is_named(room_app, drive, store) -> None:
    async with drive(room_app()) as hand:
        await enter_room(hand)
        assert hand.texts == ["The game is afoot.", "I have brought my revolver."]
        line = hand.chat.query_one(RoomLine)
        assert line.display
        assert "Sherlock Holmes" in hand.screen
        assert "John Watson" in hand.screen
        assert RULES[0] in hand.screen
        assert RULES[1] in hand.screen
        await hand.say("How do you know that, Holmes?")
        assert hand.texts[-2:] == [REPLIES[0], REPLIES[1]]
        assert [turn.has_class("-seat1") for turn in hand.turns[-2:]] == [False, True]
        await hand.press("ctrl+n")
        await hand.settle()
        assert hand.texts[-1] == REPLIES[2]
        assert hand.chat.session.path[-1].slug == "a-holmes"
        await hand.say("/next Holmes")
        assert "has just spoken" in hand.notice
        await hand.say("/room round")
        assert "round-robin" in hand.screen
    async with drive(room_app()) as hand:
        await enter_room(hand)
        assert len(hand.texts) == 6
        assert len(store.conversations()) == 1


async def test_one_role_makes_no_room(room_app, drive) -> None:
    async with drive(room_app()) as hand:
        hand.app.screen.list_roles("a-holmes")
        hand.app.screen.query_one("#roles").focus()
        await hand.press("enter")
        await hand.settle()
        assert not hand.chat.query_one(RoomLine).display
        await hand.say("/next")
        assert "one role here" in hand.notice
        assert hand.texts[0] == hand.chat.session.path[0].text


async def test_a_reply_that_is_stopped_in_a_room_stays(room_app, drive, steady) -> None:
    backend = steady(REPLIES, pause_after=3)
    async with drive(room_app(backend=backend)) as hand:
        await enter_room(hand)
        await hand.send("Watson, are you there?")
        await hand.until(lambda: len(hand.texts[-1].split()) == 3)
        assert hand.turns[-1].has_class("-seat1")
        await hand.press("escape")
        await hand.settle()
        assert len(hand.texts) == 4


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_room(room_app, snap_compare, hand_of, size) -> None:
    """How it looks."""
    app = room_app()

    async def play(pilot: Pilot[None]) -> None:
        hand = hand_of(pilot)
        await hand.settle()
        await enter_room(hand)
        await hand.say("How do you know that, Holmes?")
        await hand.pilot.pause(0.1)

    assert snap_compare(app, run_before=play, terminal_size=size)
