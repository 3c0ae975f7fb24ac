"""Whatever is done to a conversation can be undone to the beginning and redone to the end, and nothing is lost."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.errors import RolekitError

OPERATIONS = (
    "say",
    "regenerate",
    "continue",
    "edit",
    "delete",
    "swipe",
    "pin",
    "show",
    "undo",
    "redo",
    "fail",
    "reopen",
)


async def drain(events):
    return [event async for event in events]


def view(session):
    return [(node.id, node.text, node.pinned) for node in session.path]


def act(session, operation, number):
    """Do something to the message that number picks."""
    node = session.path[number % len(session.path)] if session.path else None
    if operation == "say":
        asyncio.run(drain(session.say(f"message {number}")))
    elif operation in ("undo", "redo"):
        getattr(session, operation)()
    elif node is None:
        return
    elif operation == "regenerate":
        asyncio.run(drain(session.regenerate(node.id)))
    elif operation == "continue":
        asyncio.run(drain(session.continue_last()))
    elif operation == "edit":
        session.edit(node.id, f"edit {number}")
    elif operation == "swipe":
        session.swipe(1 if number % 2 else -1, node.id)
    elif operation == "pin":
        session.pin(node.id, not node.pinned)
    elif operation == "delete":
        session.delete(node.id)
    elif operation == "show":
        everything = session.store.all_nodes(session.id)
        session.show(everything[number % len(everything)].id)


def steps(session):
    query = "SELECT count(*) FROM operation WHERE conversation_id=? AND state='done'"
    return session.store.database.read(query, (session.id,))[0][0]


def fail(session, number):
    """A turn that the backend refuses."""
    before = view(session)
    replies, session.backend.replies = session.backend.replies, (RolekitError("No.", "Later."),)
    try:
        asyncio.run(drain(session.say(f"refused {number}")))
    except RolekitError:
        assert view(session) == before
    session.backend.replies = replies


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(work=st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 20)), max_size=14))
def test_every_history_can_be_walked_back_and_forth(begin, store, role, work):
    session = begin()
    texts: set[str] = set()
    for operation, number in work:
        if operation == "fail":
            fail(session, number)
        elif operation == "reopen":
            session = Session.resume(store, session.backend, role, "ada", session.id, options=ChatOptions())
        else:
            act(session, operation, number)
        texts |= {node.text for node in session.path}
        assert view(session) == [(n.id, n.text, n.pinned) for n in store.path(session.id)]
    end = view(session)
    walked = [end]
    for _ in range(steps(session)):
        assert session.undo()
        walked.append(view(session))
    assert session.undo() == ""
    assert [text for _, text, _ in walked[-1]] == ["Good evening, Ann."]
    for expected in reversed(walked[:-1]):
        assert session.redo()
        assert view(session) == expected
    everything = store.all_nodes(session.id)
    assert texts <= {node.text for node in everything}
    for node in everything:
        session.show(node.id)
        assert node.id in [shown.id for shown in session.path]
