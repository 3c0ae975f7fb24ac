"""`--say`: one reply a message on stdout, for scripts."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import asdict

from rolekit.chat.events import Finished, Folded, Retried, SessionEvent
from rolekit.chat.session import Session
from rolekit.errors import RolekitError
from rolekit.messages import Backend, Piece, Reply
from rolekit.text import sanitize


async def stream_reply(
    session: Session,
    turn: AsyncGenerator[SessionEvent, None],
    write: Callable[[str], None],
    notice: Callable[[str], None],
) -> Reply:
    """The finished reply of one turn, written piece by piece as it comes. Ctrl+C stops it and keeps what came."""
    loop = asyncio.get_running_loop()
    wanted = True

    def stop() -> None:
        nonlocal wanted
        wanted = False
        session.stop()

    with suppress(NotImplementedError):  # Windows: Ctrl+C then cancels the task instead
        loop.add_signal_handler(signal.SIGINT, stop)
    reply: Reply | None = None
    try:
        async with aclosing(turn) as events:
            async for event in events:
                if not wanted:  # again, for a Ctrl+C that came before the turn had begun
                    session.stop()
                if isinstance(event, Piece):
                    write(sanitize(event.text))
                elif isinstance(event, Folded):
                    notice(f"{event.turns} earlier turns folded, {event.tokens} tokens free")
                elif isinstance(event, Retried):
                    write("\n")
                    notice(f"{event.reason}; once more (the first answer is kept as a version)")
                elif isinstance(event, Finished):
                    reply = event.reply
    finally:
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)
    if reply is None:
        raise RolekitError("The model gave no reply.", "Try again, or another model.")
    return reply


@contextmanager
def closing_in(runner: asyncio.Runner, backend: Callable[[], Backend]) -> Iterator[None]:
    """Close the backend at the end of the block: connections can only be closed in their own loop."""
    try:
        yield
    finally:
        runner.run(backend().close())


def say(session: Session, texts: Sequence[str], *, as_json: bool) -> int:
    """Say each text and print each reply; the exit code: 0, or 130 where Ctrl+C stopped one."""

    def write(text: str) -> None:
        if not as_json:
            print(text, end="", flush=True)

    def notice(text: str) -> None:
        print(f"rolekit: {text}", file=sys.stderr)

    for line in session.notices:
        notice(sanitize(line))
    with asyncio.Runner() as runner, closing_in(runner, lambda: session.backend):
        for text in texts:
            reply = runner.run(stream_reply(session, session.say(text), write, notice))
            if as_json:
                row = {
                    "role": session.role.name,
                    "user": text,
                    "reply": reply.text,
                    "stop_reason": reply.stop_reason,
                    "stats": asdict(reply.stats),
                }
                print(json.dumps(row, ensure_ascii=False), flush=True)
            else:
                print(flush=True)
            if reply.stop_reason == "cancelled":
                return 130
            if text is not texts[-1] and session.reflection_due:
                runner.run(session.reflect())
    return 0
