"""One reply, from the first event to the last: what each means for the widgets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from rolekit.chat.events import Finished, Folded, Moderated, Retried, SessionEvent, Speaking, UserSaved
from rolekit.chat.memory import turns_of
from rolekit.chat.session import Session
from rolekit.messages import Piece, Progress
from rolekit.text import count, one_line
from rolekit.tui.compose_box import ComposeBox
from rolekit.tui.status import StatusLine
from rolekit.tui.transcript import Transcript, Voice


class Stage:
    """Where a reply is drawn: it grows in the transcript, its progress stands in the status line."""

    def __init__(
        self, transcript: Transcript, status: StatusLine, box: ComposeBox, say: Callable[[str], None]
    ) -> None:
        """say: shows a sentence above the composer."""
        self.stopping = False
        """Set it to end the reply, even before its first event."""
        self._transcript = transcript
        self._status = status
        self._box = box
        self._say = say
        self._voice = Voice("")

    async def play(
        self, session: Session, events: AsyncGenerator[SessionEvent, None], *, voice: Voice, typed: str
    ) -> None:
        """Draw a session's events until they end; typed is what the composer sent, empty where nothing was said.

        voice is who answers; in a room the events say so themselves.
        """
        self._voice = voice
        self._status.doing = "reading …"
        try:
            async with aclosing(events):
                async for event in events:
                    if self.stopping:
                        session.stop()
                    await self._take(event, session, typed)
            if session.reflection_due and not self.stopping:
                self._status.doing = f"{one_line(self._voice.name, 40)} is remembering · Esc stops"
                await session.reflect()
                await self.show_fold(session)
        finally:
            self._status.doing, self._status.progress = "", None

    async def _take(self, event: SessionEvent, session: Session, typed: str) -> None:
        match event:
            case UserSaved():
                self._box.sent(typed)
                await self._transcript.sync(session.path)
                if session.room is None:
                    await self._transcript.begin_reply(self._voice)
            case Speaking():
                slugs = [seat.slug for seat in session.seats]
                self._voice = Voice(event.name, slugs.index(event.slug) if event.slug in slugs else 0)
                await self._transcript.begin_reply(self._voice)
                self._status.doing = "reading …"
            case Folded():
                await self._folded(session, event.turns)
            case Progress():
                self._status.progress = event
            case Piece():
                follow = "" if self._transcript.following else " · End shows it"
                self._status.progress = None
                self._status.doing = f"{one_line(self._voice.name, 40)} is writing · Esc stops{follow}"
                self._transcript.hear(event.text)
            case Retried():
                await self._transcript.end_reply(event.node)
                await self._transcript.sync([node for node in session.path if node.id != event.node.id])
                await self._transcript.begin_reply(self._voice)
                self._say(f"{event.reason.capitalize()}: once more. ← shows the first answer.")
            case Moderated():
                self._say(f"Moderation: {'; '.join(decision.sentence for decision in event.decisions)}. /why")
            case Finished():
                await self._transcript.end_reply(event.node)
                self._status.stats = event.reply.stats

    async def _folded(self, session: Session, turns: int) -> None:
        noun = "turn was" if turns == 1 else "turns were"
        what = f"{count(turns)} earlier {noun} folded into memory" if turns else "the examples were left out"
        self._say(f"The context was full: {what}; /context shows it.")
        await self.show_fold(session)

    async def show_fold(self, session: Session) -> None:
        """Draw the line between the turns that are folded and those the model reads word for word."""
        path, last = session.path, session.store.row(session.id)["fold_node"]
        index = next((i for i, node in enumerate(path) if node.id == last), -1)
        folded = [turn for turn in turns_of(path[: index + 1], "") if not turn.pinned]
        if index + 1 < len(path):
            await self._transcript.set_fold(len(folded), path[index + 1].id)
