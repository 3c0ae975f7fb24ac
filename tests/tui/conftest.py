"""What the TUI tests share: an app over scripted replies, and ways to look at what is on the screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import replace

import pytest
from textual import events
from textual.app import App
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widgets import Input, TextArea

from rolekit.chat.options import ChatOptions
from rolekit.chat.store import Store
from rolekit.config import Config
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.errors import RolekitError
from rolekit.messages import Event, Piece, Reply, Request, Stats
from rolekit.roles.library import RoleLibrary
from rolekit.roles.role import Example, Role
from rolekit.tui.app import RolekitApp
from rolekit.tui.chat_screen import ChatScreen
from rolekit.tui.status import Notice
from rolekit.tui.turn import Turn

MakeApp = Callable[..., RolekitApp]

STEADY = Stats(1253, 1212, 41, 57, 0.38, 1.3)


class SteadyBackend(ScriptedBackend):
    """Scripted, with the same figures every time; `pause_after` pieces it waits until it is stopped or released."""

    def __init__(self, replies: Sequence[str | RolekitError], *, pause_after: int = 0) -> None:
        super().__init__(replies, label="smollm2-135m Q4_1")
        self.pause_after = pause_after
        self.released = asyncio.Event()

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """The scripted reply with steady figures."""
        pieces = 0
        async with aclosing(super().stream(request)) as events:
            async for event in events:
                yield replace(event, stats=STEADY) if isinstance(event, Reply) else event
                pieces += isinstance(event, Piece)
                if pieces == self.pause_after and isinstance(event, Piece):
                    while not (self.released.is_set() or request.cancel.is_set()):
                        await asyncio.sleep(0.01)


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty chats.db in the test's own home."""
    with Store() as opened:
        yield opened


@pytest.fixture
def ada() -> Role:
    """A small role of the user's own."""
    return Role(
        name="Ada Lovelace",
        aliases=("Ada",),
        tags=("mathematics",),
        description="You are Ada Lovelace, and you think in engines.",
        greeting="Good evening. Mind the punched cards.",
        openers=("What is the engine for?", "Who taught you?", "Do you gamble?"),
        examples=(Example(user="What is it?", reply="An engine, dear."),),
    )


@pytest.fixture
def make_app(store: Store, ada: Role) -> MakeApp:
    """An app with one role of the user's own beside the bundled ones. `backend` beats `replies`."""
    library = RoleLibrary()
    library.save(ada, "ada")

    def make(
        replies: Sequence[str | RolekitError] = ("Indeed.", "Quite so.", "Perhaps."),
        *,
        backend: ScriptedBackend | None = None,
        role: str | None = "ada",
        **more: object,
    ) -> RolekitApp:
        scripted = backend or SteadyBackend(replies)
        arguments = {
            "store": store,
            "library": library,
            "open_backend": lambda: scripted,
            "config": Config(),
            "options": ChatOptions(seed=7),
            "role": role,
        }
        return RolekitApp(**{**arguments, **more})  # type: ignore[arg-type]

    return make


class Hand:
    """A person at the keyboard: types, waits, and reads the screen."""

    def __init__(self, pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app, RolekitApp)
        self.app = pilot.app
        self.pilot = pilot
        self.press = pilot.press

    @property
    def chat(self) -> ChatScreen:
        """The chat, which must be what is seen."""
        assert isinstance(self.app.screen, ChatScreen)
        return self.app.screen

    @property
    def turns(self) -> list[Turn]:
        """The live messages."""
        return self.chat.transcript.turns

    @property
    def texts(self) -> list[str]:
        """What the live messages say."""
        return [turn.text for turn in self.turns]

    @property
    def typed(self) -> str:
        """What stands in the composer."""
        return self.chat.box.composer.text

    @property
    def notice(self) -> str:
        """The sentence above the composer."""
        return self.chat.query_one(Notice).text

    @property
    def screen(self) -> str:
        """What a person reads, row by row."""
        return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips(self.app))

    async def say(self, text: str) -> None:
        """Send a message or a command, and wait for what comes of it."""
        await self.send(text)
        await self.settle()

    async def send(self, text: str) -> None:
        """Send a message or a command."""
        self.chat.box.composer.put(text)
        await self.press("enter")

    async def paste(self, text: str) -> None:
        """Paste into whatever has the focus."""
        self.app.post_message(events.Paste(text))
        await self.pilot.pause()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something is so."""
        for _ in range(1000):
            await self.pilot.pause(0.005)
            if reached():
                return
        raise AssertionError("it never came to that:\n" + self.screen)

    async def settle(self) -> None:
        """Wait until nothing is on its way any more and all is drawn; cursors stop blinking."""
        await self.pilot.pause()
        await self.until(lambda: all(one.is_finished for one in self.app.workers if one.group != "ask"))
        for area in self.app.screen.query(TextArea).results(TextArea):
            area.cursor_blink = False
        for line in self.app.screen.query(Input).results(Input):
            line.cursor_blink = False
        await self.pilot.pause()


def strips(app: App[None]) -> list[Strip]:
    """The rows of the screen as they go to the terminal."""
    return app.screen._compositor.render_strips(app.size)


@pytest.fixture
def drive() -> Callable[..., AbstractAsyncContextManager[Hand]]:
    """Run an app without a terminal, 80x24 unless told."""

    @asynccontextmanager
    async def run(app: RolekitApp, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Hand]:
        async with app.run_test(size=size, notifications=True) as pilot:
            hand = Hand(pilot)
            await hand.settle()
            yield hand

    return run


@pytest.fixture
def steady() -> type[SteadyBackend]:
    """The backend that can be held in the middle of a reply."""
    return SteadyBackend


@pytest.fixture
def hand_of() -> Callable[[Pilot[None]], Hand]:
    """A person at the keyboard of an app that something else runs (the snapshot tool)."""
    return Hand
