"""`--say`: one reply a message (in a room, perhaps several) on stdout, for scripts."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import asdict, dataclass

from rolekit.chat.events import Finished, Folded, Moderated, Retried, SessionEvent, Speaking
from rolekit.chat.moderation import decisions_of
from rolekit.chat.session import Session
from rolekit.errors import RolekitError
from rolekit.messages import Backend, Piece, Reply
from rolekit.text import sanitize


@dataclass(frozen=True, slots=True)
class Spoken:
    """One finished reply, and whose it is."""

    name: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class Hearing:
    """What becomes of a turn's events as they come; all text is safe to print."""

    write: Callable[[str], None]
    """The next piece of a reply."""
    notice: Callable[[str], None]
    begin: Callable[[str], None] = lambda name: None
    """Somebody begins to speak."""
    end: Callable[[Spoken], None] = lambda spoken: None
    """And has finished."""


async def stream_replies(
    session: Session, turn: AsyncGenerator[SessionEvent, None], hearing: Hearing
) -> list[Spoken]:
    """The finished replies of one turn, heard piece by piece. Ctrl+C stops it and keeps what came."""
    loop = asyncio.get_running_loop()
    wanted = True

    def stop() -> None:
        nonlocal wanted
        wanted = False
        session.stop()

    with suppress(NotImplementedError):  # Windows: Ctrl+C then cancels the task instead
        loop.add_signal_handler(signal.SIGINT, stop)
    spoken: list[Spoken] = []
    name = session.role.name
    if session.room is None:
        hearing.begin(sanitize(name))
    try:
        async with aclosing(turn) as events:
            async for event in events:
                if not wanted:  # again, for a Ctrl+C that came before the turn had begun
                    session.stop()
                match event:
                    case Speaking():
                        name = event.name
                        hearing.begin(sanitize(name))
                    case Finished():
                        spoken.append(Spoken(name, event.reply))
                        hearing.end(spoken[-1])
                    case _:
                        _hear(event, hearing)
    finally:
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)
    if not spoken:
        raise RolekitError("The model gave no reply.", "Try again, or another model.")
    return spoken


def _hear(event: SessionEvent, hearing: Hearing) -> None:
    match event:
        case Piece():
            hearing.write(sanitize(event.text))
        case Folded():
            hearing.notice(f"{event.turns} earlier turns folded, {event.tokens} tokens free")
        case Moderated():
            for decision in event.decisions:
                hearing.notice(f"moderation: {decision.sentence}")
        case Retried():
            hearing.write("\n")
            hearing.notice(f"{event.reason}; once more (the first answer is kept as a version)")


@contextmanager
def closing_in(runner: asyncio.Runner, backend: Callable[[], Backend]) -> Iterator[None]:
    """Close the backend at the end of the block: connections can only be closed in their own loop."""
    try:
        yield
    finally:
        runner.run(backend().close())


def say(session: Session, texts: Sequence[str], *, as_json: bool) -> int:
    """Say each text and print each reply; the exit code: 0, or 130 where Ctrl+C stopped one.

    In a room a reply begins with its speaker's name.
    """
    hearing = _Json(session).hearing() if as_json else _printed(in_room=session.room is not None)
    for line in session.notices:
        _notice(sanitize(line))
    with asyncio.Runner() as runner, closing_in(runner, lambda: session.backend):
        for text in texts:
            spoken = runner.run(stream_replies(session, session.say(text), hearing))
            if spoken[-1].reply.stop_reason == "cancelled":
                return 130
            if text is not texts[-1] and session.reflection_due:
                runner.run(session.reflect())
    return 0


@dataclass(frozen=True, slots=True)
class _Json:
    session: Session

    def hearing(self) -> Hearing:
        return Hearing(lambda text: None, _notice, end=self._print)

    def _print(self, spoken: Spoken) -> None:
        path = self.session.path
        said = [node.text for node in path if node.speaker == "user"]
        row: dict[str, object] = {
            "role": spoken.name,
            "user": said[-1] if said else "",
            "reply": spoken.reply.text,
            "stop_reason": spoken.reply.stop_reason,
            "stats": asdict(spoken.reply.stats),
        }
        if self.session.moderation is not None:
            mine = next((node for node in reversed(path) if node.speaker == "user"), None)
            decided = [
                d
                for node in (mine, path[-1] if path else None)
                if node
                for d in decisions_of(node.extra) or ()
            ]
            row["moderation"] = [asdict(decision) for decision in decided]
        print(json.dumps(row, ensure_ascii=False), flush=True)


def _printed(*, in_room: bool) -> Hearing:
    def write(text: str) -> None:
        print(text, end="", flush=True)

    def begin(name: str) -> None:
        if in_room:
            write(f"{name}: ")

    return Hearing(write, _notice, begin, lambda spoken: print(flush=True))


def _notice(text: str) -> None:
    print(f"rolekit: {text}", file=sys.stderr)
