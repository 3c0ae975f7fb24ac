"""A session: saying, regenerating, editing, deleting, swiping, undoing, stopping."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest

from rolekit.chat.asking import stop_names
from rolekit.chat.events import Finished, UserSaved
from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.store import Store
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.errors import RolekitError
from rolekit.messages import Piece


def texts(session):
    return [node.text for node in session.path]


def shown(session):
    return [(node.text, node.version, node.versions) for node in session.path]


async def drain(events):
    return [event async for event in events]


async def test_a_turn_is_saved_before_the_reply_and_the_reply_after(begin, talk, store):
    session = begin()
    events = await talk(session, "Who are you?")
    assert isinstance(events[0], UserSaved)
    assert "".join(event.text for event in events if isinstance(event, Piece)) == "Indeed."
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.node == session.path[-1]
    assert (finished.node.state, finished.node.stop_reason) == ("complete", "end")
    assert texts(session) == ["Good evening, Ann.", "Who are you?", "Indeed."]
    assert store.path(session.id) == session.path
    assert session.conversation.title == "Who are you?"
    assert session.last_stats == finished.reply.stats


async def test_the_user_s_turn_is_on_disk_when_the_backend_is_asked(begin, store):
    session = begin()
    async with aclosing(session.say("Hello")) as events:
        await anext(events)
        with Store(store.database.path) as other:
            assert [node.text for node in other.path(session.id)][-1] == "Hello"


async def test_the_request_carries_role_examples_greeting_history_and_names(begin, talk):
    session = begin(options=ChatOptions(user="Ann", seed=7, max_tokens=9))
    await talk(session, "One")
    await talk(session, "Two")
    request = session.backend.requests[-1]
    assert [message.block for message in request.messages] == [
        "role", "example", "example", "greeting", "turn", "turn", "turn",
    ]  # fmt: skip
    assert request.messages[-1].text == "Two"
    assert request.stop_names == ("Ann", "You", "User")
    assert (request.conversation, request.max_tokens) == (session.id, 9)


async def test_regenerate_makes_versions_and_swiping_goes_between_them(begin, talk):
    session = begin()
    await talk(session, "Hello")
    await drain(session.regenerate())
    assert shown(session)[-1] == ("Quite so.", 2, 2)
    assert session.swipe(-1)
    assert shown(session)[-1] == ("Indeed.", 1, 2)
    assert not session.swipe(-1)
    assert session.swipe(1)
    assert not session.swipe(1)
    assert texts(session)[-1] == "Quite so."


async def test_swiping_at_depth_returns_to_where_the_branch_was_left(begin, talk):
    session = begin(["a", "b", "c", "d", "e"])
    for text in ("1", "2", "3"):
        await talk(session, text)
    first_reply = session.path[2]
    await drain(session.regenerate(first_reply.id))
    await talk(session, "4")
    assert texts(session)[1:] == ["1", "d", "4", "e"]
    fork = session.path[2].id
    assert session.swipe(-1, fork)
    assert texts(session)[1:] == ["1", "a", "2", "b", "3", "c"]
    assert session.swipe(1, first_reply.id)
    assert texts(session)[1:] == ["1", "d", "4", "e"]


async def test_an_edit_in_the_middle_is_a_branch_and_the_old_one_keeps_its_children(begin, talk):
    session = begin(["a", "b", "c"])
    await talk(session, "1")
    await talk(session, "2")
    mine = session.path[1]
    edited = session.edit(mine.id, "one")
    assert (edited.edited, edited.version, edited.versions, edited.token_ids) == (True, 2, 2, ())
    assert texts(session)[1:] == ["one"]
    await drain(session.regenerate())
    assert texts(session)[1:] == ["one", "c"]
    assert session.swipe(-1, edited.id)
    assert texts(session)[1:] == ["1", "a", "2", "b"]


async def test_editing_the_greeting_sends_the_edited_words(begin, talk):
    session = begin()
    session.edit(session.path[0].id, "Who goes there?")
    await talk(session, "It is me")
    greetings = [m.text for m in session.backend.requests[-1].messages if m.block == "greeting"]
    assert greetings == ["Who goes there?"]


async def test_the_greeting_can_be_regenerated(begin):
    session = begin(["Another greeting."])
    await drain(session.regenerate())
    assert shown(session) == [("Another greeting.", 2, 2)]


async def test_continue_makes_a_longer_version(begin, talk):
    session = begin(["Once upon", " a time."])
    await talk(session, "Tell me")
    events = await drain(session.continue_last())
    assert session.backend.requests[-1].continue_last
    assert session.backend.requests[-1].messages[-1].text == "Once upon"
    assert shown(session)[-1] == ("Once upon a time.", 2, 2)
    assert "".join(event.text for event in events if isinstance(event, Piece)) == " a time."
    session.undo()
    assert texts(session)[-1] == "Once upon"


async def test_undo_and_redo_survive_a_restart(begin, talk, store, role):
    session = begin(["a", "b"])
    await talk(session, "1")
    await talk(session, "2")
    session.delete(session.path[1].id)
    assert texts(session)[1:] == ["a", "2", "b"]
    again = Session.resume(store, session.backend, role, "ada", session.id, options=ChatOptions())
    assert again.undo() == "Took back the deletion."
    assert texts(again)[1:] == ["1", "a", "2", "b"]
    assert again.undo() == "Took back your message."
    assert again.undo() == "Took back your message."
    assert again.undo() == ""
    assert texts(again) == ["Good evening, Ann."]
    third = Session.resume(store, session.backend, role, "ada", session.id, options=ChatOptions())
    while third.redo():
        pass
    assert texts(third)[1:] == ["a", "2", "b"]


async def test_a_new_step_after_undo_drops_what_could_be_redone_but_not_its_text(begin, talk, store):
    session = begin()
    await talk(session, "forgotten words")
    session.undo()
    await talk(session, "other words")
    assert session.redo() == ""
    hits = store.search("forgotten")
    assert [(hit.deleted, hit.conversation_id) for hit in hits] == [(True, session.id)]
    session.show(hits[0].node_id)
    assert texts(session)[1:] == ["forgotten words", "Indeed."]


async def test_deleting_the_last_message_moves_the_head_back(begin, talk):
    session = begin()
    await talk(session, "Hello")
    session.delete(session.path[-1].id)
    assert texts(session)[1:] == ["Hello"]
    await drain(session.regenerate())
    assert shown(session)[-1] == ("Quite so.", 1, 1)


async def test_stop_keeps_what_came(begin):
    session = begin(["one two three four five six"], seconds_per_word=0.01)
    pieces = 0
    async for event in session.say("Count"):
        pieces += isinstance(event, Piece)
        if pieces == 2:
            session.stop()
    assert isinstance(event, Finished)
    assert (event.reply.stop_reason, event.node.state) == ("cancelled", "stopped")
    assert session.path[-1].text.startswith("one two")
    assert "six" not in session.path[-1].text


async def test_a_stop_before_the_first_word_leaves_the_history_as_it_was(begin, talk):
    session = begin(["a", "b"])
    await talk(session, "1")
    before = session.path
    events = []
    async for event in session.regenerate():
        session.stop()
        events.append(event)
    assert isinstance(events[-1], Finished)
    assert events[-1].node is None
    assert session.path == before


async def test_closing_the_generator_early_keeps_what_came(begin, store):
    session = begin(["one two three four"])
    async with aclosing(session.say("Count")) as events:
        async for event in events:
            if isinstance(event, Piece) and event.text == "two ":
                break
    assert (session.path[-1].text, session.path[-1].state) == ("one two ", "stopped")
    assert store.path(session.id)[-1].text == "one two "
    await drain(session.say("And then?"))
    assert len(session.path) == 5


async def test_a_cancelled_task_keeps_what_came(begin, store):
    session = begin(["word " * 50], seconds_per_word=0.01)
    task = asyncio.create_task(drain(session.say("Talk")))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    last = store.path(session.id)[-1]
    assert (last.speaker, last.state) == ("assistant", "stopped")
    assert last.text.startswith("word word")
    await drain(session.continue_last())


async def test_stop_from_another_thread(begin):
    session = begin(["word " * 500], seconds_per_word=0.005)
    threading.Timer(0.1, session.stop).start()
    events = await drain(session.say("Talk"))
    assert events[-1].reply.stop_reason == "cancelled"
    assert 1 <= len(session.path[-1].text.split()) < 400


async def test_an_error_in_the_middle_of_a_reply_keeps_what_came(begin, store, role):
    class Breaking(ScriptedBackend):
        async def stream(self, request):
            yield Piece("So far")
            raise RolekitError("The connection broke.", "Try again.")

    session = Session.start(store, Breaking(["x"]), role, "ada", options=ChatOptions())
    with pytest.raises(RolekitError, match="broke"):
        await drain(session.say("Go on"))
    assert [(node.text, node.state) for node in session.path][1:] == [
        ("Go on", "complete"),
        ("So far", "stopped"),
    ]


async def test_a_reply_without_words_is_a_version_so_that_the_next_try_differs(begin, talk):
    session = begin(["", "Words."])
    await talk(session, "Hello")
    assert shown(session)[-1] == ("", 1, 1)
    await drain(session.regenerate())
    assert shown(session)[-1] == ("Words.", 2, 2)
    assert session.backend.requests[0].seed != session.backend.requests[1].seed


async def test_a_pin_that_changes_nothing_is_no_step(begin, talk):
    session = begin()
    await talk(session, "Hello")
    session.pin(session.path[1].id, True)
    session.pin(session.path[1].id, True)
    assert session.path[1].pinned
    assert session.undo() == "Took back the pin."
    assert not session.path[1].pinned


async def test_names_and_titles_can_be_changed(begin, talk, store):
    session = begin()
    await talk(session, "word " * 30)
    assert len(session.conversation.title) == 40
    session.rename("A title")
    session.save_as("evening")
    await talk(session, "more")
    assert session.conversation.title == "A title"
    assert store.find("evening") == session.conversation


def test_a_role_never_stops_at_its_own_name(role):
    assert stop_names(role, "Ada") == ("You", "User")
    assert stop_names(role.model_copy(update={"language": "zh-Hans"}), "小明") == (
        "小明",
        "You",
        "User",
        "你",
        "用户",
    )


async def test_an_error_takes_the_turn_back_and_loses_no_word(begin, talk, store):
    session = begin([RolekitError("The server is away.", "Start it."), "Here again."])
    with pytest.raises(RolekitError, match="away"):
        await talk(session, "Do you hear me?")
    assert texts(session) == ["Good evening, Ann."]
    assert [hit.snippet for hit in store.search("hear")] == ["Do you hear me?"]
    assert session.redo() == "Brought back your message."
    assert texts(session)[1:] == ["Do you hear me?"]
    await drain(session.regenerate())
    assert texts(session)[-1] == "Here again."


async def test_an_error_while_regenerating_keeps_the_old_reply(begin, talk):
    session = begin(["a", RolekitError("The server is away.", "Start it.")])
    await talk(session, "1")
    before = session.path
    with pytest.raises(RolekitError):
        await drain(session.regenerate())
    assert session.path == before


async def test_swipes_have_other_seeds_and_everything_repeats(begin, talk):
    seeds = []
    for _ in range(2):
        session = begin()
        await talk(session, "1")
        await drain(session.regenerate())
        await talk(session, "2")
        seeds.append([request.seed for request in session.backend.requests])
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 3


async def test_nothing_else_changes_while_a_reply_streams(begin):
    session = begin(["one two"])
    async with aclosing(session.say("Hi")) as events:
        await anext(events)
        with pytest.raises(RolekitError, match="being written"):
            session.undo()
        with pytest.raises(RolekitError, match="being written"):
            await drain(session.regenerate())


async def test_a_blank_message_is_refused(begin, talk):
    session = begin()
    with pytest.raises(RolekitError, match="nothing to send"):
        await talk(session, " \n")
    assert len(session.path) == 1


async def test_resume_keeps_name_and_seed_unless_told_otherwise(begin, talk, store, role):
    session = begin()
    await talk(session, "Hello")
    backend = ScriptedBackend(["x"], label="another")
    again = Session.resume(store, backend, role, "ada", session.id, options=ChatOptions())
    assert (again.user, again.seed, again.conversation.model_label) == ("Ann", 7, "another")
    assert again.last_stats == session.last_stats
    third = Session.resume(store, backend, role, "ada", session.id, options=ChatOptions(user="Bo", seed=8))
    assert (third.user, third.seed, third.conversation.user) == ("Bo", 8, "Bo")


async def test_a_message_of_another_conversation_is_refused(begin):
    one, other = begin(), begin()
    with pytest.raises(RolekitError, match="another conversation"):
        one.delete(other.path[0].id)
