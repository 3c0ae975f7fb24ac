"""Talks to itself in a process that a test kills. It imports once and then forks a fresh worker for each life.

A line on stdin starts a life: it opens chats.db anew, and reports what is on disk by then, a line each:
`P pid`, `U text` for a message of the user, `R text` for a finished reply, `E text` for an edit.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from rolekit.chat.events import Finished, UserSaved
from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.store import Store
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.roles.role import Role

ROLE = Role(name="Ada", description="You are Ada.", greeting="Good evening.")


def tell(kind: str, text: str) -> None:
    os.write(1, f"{kind} {text}\n".encode())


async def live(life: int) -> None:
    words = " ".join(f"reply{life}" for _ in range(12))
    backend = ScriptedBackend([f"{words} {number}" for number in range(50)], seconds_per_word=0.0005)
    with Store() as store:
        if store.notice:
            tell("N", store.notice)
        known = store.conversations("ada")
        if known and life % 5:
            session = Session.resume(store, backend, ROLE, "ada", known[0].id, options=ChatOptions())
        else:
            session = Session.start(store, backend, ROLE, "ada", options=ChatOptions())
        for number in range(10_000):
            await talk(session, f"life {life} message {number}")


async def talk(session: Session, text: str) -> None:
    async for event in session.say(text):
        if isinstance(event, UserSaved):
            tell("U", event.node.text)
        elif isinstance(event, Finished):
            tell("R", event.reply.text)
    step = random.randrange(5)
    if step == 0:
        tell("E", session.edit(session.path[-2].id, f"{text} edited").text)
    elif step == 1:
        async for _ in session.regenerate():
            pass
    elif step == 2:
        session.undo()
    elif step == 3:
        session.swipe(-1)


def main() -> None:
    for life, _ in enumerate(sys.stdin):
        if child := os.fork():
            os.waitpid(child, 0)
            tell("X", str(life))
        else:
            tell("P", str(os.getpid()))
            asyncio.run(live(life))
            os._exit(0)


if __name__ == "__main__":
    main()
