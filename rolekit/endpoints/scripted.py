"""A backend that says what it was told to say: for tests, demos and screenshots."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

from rolekit.errors import RolekitError
from rolekit.messages import Event, Message, Piece, Progress, Reply, Request, Stats, StopReason


class ScriptedBackend:
    """Answers with the given replies in turn, word by word, and starts again after the last.

    A reply that is a RolekitError is raised instead. Every request is kept in `requests`. A word counts as one
    token; like the engine it counts as reused what the prompt shares with the one before.
    """

    def __init__(
        self,
        replies: Sequence[str | RolekitError],
        *,
        label: str = "scripted",
        context_tokens: int = 4096,
        seconds_per_word: float = 0.0,
    ) -> None:
        """seconds_per_word: how long each word takes to come; context_tokens: told, and not enforced."""
        self.replies = tuple(replies)
        self.label = label
        self.vocabulary = ""
        self.context_tokens = context_tokens
        self.seconds_per_word = seconds_per_word
        self.requests: list[Request] = []
        self.closed = False
        self._seen: list[str] = []

    def count_tokens(self, messages: Sequence[Message]) -> list[int]:
        """Words of each message."""
        return [len(message.text.split()) for message in messages]

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """The next scripted reply."""
        answer = self.replies[len(self.requests) % len(self.replies)]
        self.requests.append(request)
        start = time.perf_counter()
        prompt = [word for message in request.messages for word in message.text.split()]
        reused = _shared_length(prompt, self._seen)
        if isinstance(answer, RolekitError):
            raise answer
        yield Progress(len(prompt), len(prompt))
        said: list[str] = []
        reason: StopReason = "end"
        first_seconds = 0.0
        for piece in _words(answer):
            await asyncio.sleep(self.seconds_per_word)
            if request.cancel.is_set():
                reason = "cancelled"
                break
            if request.max_tokens and len(said) >= request.max_tokens:
                reason = "length"
                break
            first_seconds = first_seconds or time.perf_counter() - start
            said.append(piece)
            yield Piece(piece)
        self._seen = prompt + "".join(said).split()
        stats = Stats(
            len(prompt), reused, len(prompt) - reused, len(said), first_seconds, time.perf_counter() - start
        )
        yield Reply("".join(said), (), reason, stats)

    async def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


def _words(text: str) -> list[str]:
    pieces = text.split(" ")
    return [piece + " " for piece in pieces[:-1]] + pieces[-1:]


def _shared_length(first: list[str], second: list[str]) -> int:
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length
