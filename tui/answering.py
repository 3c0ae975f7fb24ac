"""Asking for replies: one at a time, stopped and kept when something else is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from rolekit.chat.events import SessionEvent
from rolekit.chat.session import Session
from rolekit.chat.tree import Node
from rolekit.errors import RolekitError
from rolekit.tui.model import Model
from rolekit.tui.stage import Stage
from rolekit.tui.status import BUSY, Notice
from rolekit.tui.transcript import Voice
from rolekit.tui.welcome import Welcome

if TYPE_CHECKING:
    from rolekit.tui.chat_screen import ChatScreen

Begin = Callable[[], AsyncGenerator[SessionEvent, None]]


class Answering:
    """The reply that is on its way in a chat screen, if any. Replies run as the screen's workers."""

    def __init__(self, screen: ChatScreen, model: Model, stage: Stage) -> None:
        """stage: where replies are drawn; model: waited for before the first one."""
        self._screen, self._model, self._stage = screen, model, stage
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> bool:
        """Whether a reply is on its way."""
        return not self._idle.is_set()

    def may_change(self) -> bool:
        """Whether nothing is on its way; says so where something is."""
        if self.running:
            self._screen.say(f"{self._screen.role_name} {BUSY}")
        return not self.running

    def send(self, session: Session, text: str, typed: str = "") -> None:
        """Say text to the role; typed is how it stands in the composer."""
        if self.may_change():
            self._begin(session, lambda: session.say(text), typed or text)

    def regenerate(self, session: Session, node: Node | None = None) -> None:
        """Ask for another answer: the last one, or the one in place of node (to it, if the user said it)."""
        if not self.may_change():
            return
        path = session.path
        if not any(part.speaker == "user" for part in path):
            self._screen.say("There is nothing to answer yet.")
            return
        target = node or path[-1]
        index = next((i for i, part in enumerate(path) if part.id == target.id), len(path) - 1)
        shown = path[: index + (target.speaker == "user")]
        self._begin(session, lambda: session.regenerate(target.id), shown=shown)

    def next(self, session: Session, who: str = "") -> None:
        """In a room: let somebody speak, by name or whose turn it is."""
        if self.may_change():
            self._begin(session, lambda: session.next(who), shown=session.path)

    def continue_last(self, session: Session) -> None:
        """Let the last answer go on."""
        if not self.may_change():
            return
        if session.path and session.path[-1].speaker == "assistant":
            self._begin(session, session.continue_last, continuing=True)
        else:
            self.regenerate(session)

    def _begin(
        self,
        session: Session,
        begin: Begin,
        typed: str = "",
        *,
        shown: list[Node] | None = None,
        continuing: bool = False,
    ) -> None:
        self._idle.clear()
        self._stage.stopping = False
        work = self._receive(session, begin, typed, shown, continuing)
        self._screen.run_worker(work, group="reply", exclusive=True)

    async def _receive(
        self, session: Session, begin: Begin, typed: str, shown: list[Node] | None, continuing: bool
    ) -> None:
        screen, transcript = self._screen, self._screen.transcript
        seat = session.seats.index(session.seat)
        voice = Voice(session.role.name, seat if session.room else 0)
        try:
            await self._load_first()
            if shown is not None:
                await transcript.sync(shown)
                if session.room is None:
                    await transcript.begin_reply(voice)
            elif continuing:
                await transcript.continue_reply()
            else:
                await transcript.query(Welcome).remove()
                screen.box.composer.openers = 0
            await self._stage.play(session, begin(), voice=voice, typed=typed)
        except RolekitError as error:
            await transcript.end_reply(None)
            screen.box.give_back(typed)
            screen.show_error(error, "Enter sends it again" if typed else "")
        with screen.reporting():
            await screen.sync()

    async def _load_first(self) -> None:
        if self._model.loading:
            self._screen.say("This goes out as soon as the model is loaded.")
        self._screen.take_backend(await self._model.ready())
        self._screen.say("")

    def ended(self) -> None:
        """The worker has finished, however it did."""
        self._idle.set()
        self._screen.query_one(Notice).answered()

    async def settle(self) -> None:
        """Stop the reply that is on its way, keep what came, and wait until it is saved."""
        self.stop()
        await self._idle.wait()

    def stop(self) -> None:
        """End the reply that is on its way; what came is kept."""
        session = self._screen.session
        if self.running and self._model.loading:
            self._screen.workers.cancel_group(self._screen, "reply")
        elif session is not None and self.running:
            self._stage.stopping = True
            session.stop()
