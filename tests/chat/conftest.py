"""What the chat tests share: a role, a store, and sessions whose replies are scripted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest

from rolekit.chat.events import SessionEvent
from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.store import Store
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.errors import RolekitError
from rolekit.roles.role import Example, Role

Talk = Callable[[Session, str], Awaitable[list[SessionEvent]]]


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty chats.db in the test's own home."""
    with Store() as opened:
        yield opened


@pytest.fixture
def role() -> Role:
    """A role with a greeting and one example."""
    return Role(
        name="Ada Lovelace",
        aliases=("Ada",),
        description="You are Ada Lovelace.",
        greeting="Good evening, {{user}}.",
        examples=(Example(user="What is it?", reply="An engine."),),
    )


@pytest.fixture
def begin(store: Store, role: Role) -> Callable[..., Session]:
    """Start a session whose backend says the given replies; they are scripted, so no guard minds them."""

    def start(
        replies: Sequence[str | RolekitError] = ("Indeed.", "Quite so.", "Perhaps."),
        *,
        options: ChatOptions | None = None,
        **backend: object,
    ) -> Session:
        scripted = ScriptedBackend(replies, **backend)  # type: ignore[arg-type]
        return Session.start(
            store, scripted, role, "ada", options=options or ChatOptions(user="Ann", seed=7, guard=False)
        )

    return start


@pytest.fixture
def talk() -> Talk:
    """Say something and collect the events."""

    async def say(session: Session, text: str) -> list[SessionEvent]:
        return [event async for event in session.say(text)]

    return say
