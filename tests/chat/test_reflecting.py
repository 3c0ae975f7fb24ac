"""Summaries of what is folded: written by the model beforehand, shown when the turns go, never changed."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.state import ChatState, Summary, state_of, with_state
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.roles.role import Role

ROLE = Role(name="Ada", description="You are Ada.")


class Remembering(ScriptedBackend):
    """Says a summary when asked for one, and something short otherwise."""

    async def stream(self, request):
        summing = "remember of it" in request.messages[-1].text
        self.replies = ("Clara keeps bees." if summing else f"Reply number {len(self.requests)}.",)
        async for event in super().stream(request):
            yield event


@pytest.fixture
def chat(store):
    def start(**options):
        backend = Remembering(["x"], context_tokens=200)
        chosen = ChatOptions(user="Ann", seed=1, guard=False, max_tokens=20, **options)
        return Session.start(store, backend, ROLE, "ada", options=chosen)

    return start


async def talk_on(session: Session, talk, turns: int, start: int = 0) -> None:
    for number in range(start, start + turns):
        await talk(session, f"My sister Clara keeps bees, number {number}")
        if session.reflection_due:
            await session.reflect()


def blocks(session: Session) -> list[list[str]]:
    return [
        [message.text for message in request.messages if message.block == "summary"]
        for request in session.backend.requests
        if "remember of it" not in request.messages[-1].text
    ]


async def test_the_role_sums_up_before_the_fold_and_the_summary_comes_with_it(chat, talk) -> None:
    session = chat()
    await talk_on(session, talk, 40)
    shown = blocks(session)
    assert len(session.state.summaries) >= 2
    assert shown[0] == []
    assert shown[-1]
    assert all(text == "What you remember of earlier: Clara keeps bees." for text in shown[-1])
    oldest = [
        next(message.text for message in request.messages if message.block == "turn")
        for request in session.backend.requests
        if "remember of it" not in request.messages[-1].text
    ]
    both = list(zip(shown, oldest, strict=True))
    assert all(turn != next_turn for (text, turn), (other, next_turn) in pairwise(both) if text != other)
    stretches = [(summary.first_node, summary.last_node) for summary in session.state.summaries]
    assert all(first <= last for first, last in stretches)
    assert all(one[1] < other[0] for one, other in pairwise(stretches))


async def test_the_request_says_who_asks_and_what_was_said(chat, talk) -> None:
    session = chat()
    await talk_on(session, talk, 20)
    asked = next(r for r in session.backend.requests if "remember of it" in r.messages[-1].text)
    assert asked.messages[0].block == "role"
    assert "Ann: My sister Clara keeps bees, number 0\nAda: Reply number 0." in asked.messages[-1].text
    assert asked.conversation == ""


async def test_summaries_are_kept_and_shown_again_after_a_restart(chat, talk, store) -> None:
    session = chat()
    await talk_on(session, talk, 30)
    again = Session.resume(store, session.backend, ROLE, "ada", session.id, options=ChatOptions(guard=False))
    assert again.state == session.state
    await talk(again, "And now?")
    assert blocks(again)[-1] == blocks(again)[-2]


async def test_without_memory_nothing_is_summed_up_or_recalled(chat, talk) -> None:
    session = chat(memory=False)
    await talk_on(session, talk, 30)
    assert session.state.summaries == ()
    await talk(session, "Where does Clara keep her bees?")
    assert not [inset for inset in session.why().insets if inset.kind == "recall"]


async def test_a_stopped_reflection_changes_nothing(chat, talk) -> None:
    session = chat()
    number = 0
    while not session.reflection_due:
        await talk(session, f"Clara keeps bees {number}")
        number += 1

    class Stopping(Remembering):
        async def stream(self, request):
            session.stop()
            async for event in super().stream(request):
                yield event

    backend = Stopping(["x"], context_tokens=200)
    session.set_backend(backend)
    assert await session.reflect() is None
    assert session.state.summaries == ()
    assert session.reflection_due


def test_a_damaged_state_is_read_as_far_as_it_goes() -> None:
    state = ChatState(summaries=(Summary("x", 1, 2, "m"),), shown_to=1)
    assert state_of(with_state('{"foreign": 1}', state)) == state
    for damage in (
        "[",
        "3",
        '{"rolekit": 3}',
        '{"rolekit": {"summaries": [1, {}], "shown_to": "x", "note": 4}}',
    ):
        assert state_of(damage) == ChatState()
