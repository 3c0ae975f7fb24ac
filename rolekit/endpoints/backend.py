"""A model behind a server as a Backend: chat with it as with a local one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from rolekit.endpoints.address import Endpoint, parse_endpoint
from rolekit.endpoints.calls import Answer, Call
from rolekit.endpoints.chunks import Part
from rolekit.endpoints.client import Client
from rolekit.endpoints.pacing import Retries
from rolekit.endpoints.tokens import estimated_message_tokens
from rolekit.engine.stopping import ReplyFilter
from rolekit.messages import Event, Message, Piece, Progress, Reply, Request, Stats, StopReason

_LOOK_AT_CANCEL_SECONDS = 0.05
_CHAT_RETRIES = Retries(attempts=3, patience_seconds=20.0)
"""Somebody is waiting."""


class EndpointBackend:
    """Answers with a model behind an OpenAI-compatible server. Make it with open_endpoint().

    label, vocabulary and context_tokens are those of the Backend protocol: there are no token ids, and the context is
    known only where the user says it. Token counts before the answer are estimates.
    """

    def __init__(self, endpoint: Endpoint, client: Client, context_tokens: int = 0) -> None:
        """context_tokens: what the user says the server holds, 0: not known. close() closes client."""
        self.endpoint = endpoint
        self.client = client
        self.label = endpoint.label
        self.vocabulary = ""
        self.context_tokens = context_tokens

    def count_tokens(self, messages: Sequence[Message]) -> list[int]:
        """About what each message adds to the prompt."""
        return estimated_message_tokens(messages)

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """Progress, then pieces, then one Reply, also when cancelled: the connection is closed then.

        Raises RolekitError when there is no answer, or the connection breaks in the middle of it.
        """
        start = time.perf_counter()
        visible = ReplyFilter(
            request.stop_names,
            role_names=() if request.continue_last else request.role_names,
            after=request.messages[-1].text if request.continue_last and request.messages else "",
        )
        total = sum(self.count_tokens(request.messages))
        yield Progress(0, total)
        queue: asyncio.Queue[Part | Answer | None] = asyncio.Queue()
        pump = asyncio.create_task(self._pump(call_of(self.endpoint, request), queue))
        answer: Answer | None = None
        first_seconds, spoken, thoughts = 0.0, 0, list[str]()
        reason: StopReason = "end"
        try:
            while not visible.stopped:
                if request.cancel.is_set():
                    reason = "cancelled"
                    break
                try:
                    async with asyncio.timeout(_LOOK_AT_CANCEL_SECONDS):
                        part = await queue.get()
                except TimeoutError:
                    continue
                if part is None:
                    await pump
                    break
                if isinstance(part, Answer):
                    answer = part
                    continue
                first_seconds = first_seconds or time.perf_counter() - start
                spoken += 1
                thoughts.append(part.thinking)
                if text := visible.feed(part.text.encode("utf-8", "replace")):
                    yield Piece(text)
        finally:
            pump.cancel()
            await asyncio.wait([pump])
            if not pump.cancelled():
                pump.exception()
        if reason != "cancelled" and (text := visible.finish()):
            yield Piece(text)
        stats = _stats(answer, total, spoken, first_seconds, time.perf_counter() - start)
        thinking = "".join(thoughts) or visible.thinking
        yield Reply(visible.text, (), visible.stopped or _reason(answer, reason), stats, thinking)

    async def _pump(self, call: Call, queue: asyncio.Queue[Part | Answer | None]) -> None:
        """Bring the stream into the queue: one task of its own, so that timeouts know what to interrupt."""
        try:
            async with aclosing(self.client.stream(call)) as parts:
                async for part in parts:
                    queue.put_nowait(part)
        finally:
            queue.put_nowait(None)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()


def call_of(endpoint: Endpoint, request: Request, *, prompt_version: str = "") -> Call:
    """The request as this API knows it: what it has no parameter for (top-k, DRY, grammars) is left to the server."""
    sampling = request.sampling
    return Call(
        endpoint,
        request.messages,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=request.max_tokens,
        seed=request.seed % 2**31,
        frequency_penalty=sampling.frequency_penalty,
        presence_penalty=sampling.presence_penalty,
        stop=tuple(f"\n{name}:" for name in request.stop_names[:4]),
        prompt_version=prompt_version,
    )


def open_endpoint(ref: str, *, context_tokens: int = 0, concurrency: int = 8) -> EndpointBackend:
    """The model that `openai:MODEL[@BASE_URL]` names; nothing is sent yet.

    Raises RolekitError when ref is no such thing, or the key must not be used.
    """
    endpoint = parse_endpoint(ref)
    client = Client(endpoint, concurrency=concurrency, retries=_CHAT_RETRIES)
    return EndpointBackend(endpoint, client, context_tokens)


def _reason(answer: Answer | None, reason: StopReason) -> StopReason:
    return "length" if answer is not None and answer.finish_reason == "length" else reason


def _stats(answer: Answer | None, total: int, spoken: int, first_seconds: float, seconds: float) -> Stats:
    if answer is None:
        return Stats(total, 0, total, spoken, first_seconds, seconds)
    usage = answer.usage
    reused = min(usage.cached_tokens, usage.prompt_tokens)
    fresh = usage.prompt_tokens - reused
    return Stats(usage.prompt_tokens, reused, fresh, usage.completion_tokens, first_seconds, seconds)
