"""Whoever answers calls: a server, or the engine in this process with a grammar; both through one journal."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from rolekit.endpoints.address import Endpoint
from rolekit.endpoints.buying import Buyer
from rolekit.endpoints.calls import Answer, Call, Usage
from rolekit.endpoints.failures import Refused
from rolekit.endpoints.journal import Journal
from rolekit.endpoints.prices import Price
from rolekit.endpoints.tokens import estimated_tokens
from rolekit.engine.backend import LocalBackend
from rolekit.messages import Reply, Request, Sampling

_CHUNK = 256


class Asker(Protocol):
    """Answers calls, none of them twice."""

    @property
    def endpoint(self) -> Endpoint:
        """Who answers, as calls name it."""
        ...

    def ask_all(self, calls: Sequence[Call]) -> AsyncGenerator[tuple[int, Answer | Refused], None]:
        """The answers, each with its place, as they come. Raises RolekitError when no more will."""
        ...

    async def close(self) -> None:
        """Release what it holds, the journal too."""
        ...


class ServerAsker:
    """A judge behind a server."""

    def __init__(self, buyer: Buyer, concurrency: int) -> None:
        """buyer: pays and keeps the journal, both closed in close(); concurrency: requests under way."""
        self.buyer = buyer
        self.endpoint = buyer.client.endpoint
        self._concurrency = concurrency

    def ask_all(self, calls: Sequence[Call]) -> AsyncGenerator[tuple[int, Answer | Refused], None]:
        """As the protocol says."""
        return self.buyer.ask_all(calls, concurrency=self._concurrency)

    async def close(self) -> None:
        """Close connections and journal."""
        await self.buyer.client.close()
        self.buyer.journal.close()


class LocalAsker:
    """The engine in this process: its answers follow the grammar of each call's schema, so they can always be read."""

    def __init__(
        self,
        backend: LocalBackend,
        model_sha256: str,
        journal: Journal,
        grammar_of: Callable[[str], str],
        *,
        min_p: float = 0.0,
        parallel: int = 8,
    ) -> None:
        """grammar_of: the GBNF of a schema, for every one that calls may carry."""
        self.endpoint = Endpoint(backend.label, f"local:{model_sha256[:16]}")
        self._backend, self._journal, self._grammar_of = backend, journal, grammar_of
        self._min_p, self._parallel = min_p, parallel

    async def ask_all(self, calls: Sequence[Call]) -> AsyncGenerator[tuple[int, Answer | Refused], None]:
        """As the protocol says."""
        waiting: list[tuple[int, Call]] = []
        for index, call in enumerate(calls):
            kept = self._journal.answer(call.key)
            if kept is None:
                waiting.append((index, call))
            else:
                yield index, kept
        for start in range(0, len(waiting), _CHUNK):
            chunk = waiting[start : start + _CHUNK]
            for _, call in chunk:
                self._journal.sending(call, 0.0)
            async with aclosing(self.decode(chunk)) as answers:
                async for pair in answers:
                    yield pair

    async def decode(
        self, calls: Sequence[tuple[int, Call]], cancel: threading.Event | None = None
    ) -> AsyncGenerator[tuple[int, Answer], None]:
        """The answers to numbered calls that the journal knows as sent, decoded together, as they are finished.

        Setting cancel stops within a token: what was under way is in the journal as interrupted, and not given. Raises
        RolekitError when a prompt does not fit the context.
        """
        own = cancel or threading.Event()  # the engine sets it when this is closed early
        requests = [self._request(call, own) for _, call in calls]
        async with aclosing(self._backend.generate_batch(requests, parallel=self._parallel)) as replies:
            async for place, reply in replies:
                index, call = calls[place]
                if reply.stop_reason == "cancelled":
                    self._journal.failed(call.key, "interrupted")
                    continue
                answer = _answer_of(reply)
                self._journal.arrived(call.key, answer, 0.0)
                yield index, answer

    def _request(self, call: Call, cancel: threading.Event) -> Request:
        sampling = Sampling(
            temperature=call.temperature,
            top_k=0,
            top_p=call.top_p,
            min_p=self._min_p,
            grammar=self._grammar_of(call.schema),
        )
        return Request(
            call.messages, sampling, seed=call.seed or 0, max_tokens=call.max_tokens, cancel=cancel
        )

    async def close(self) -> None:
        """Free the model, close the journal."""
        await self._backend.close()
        self._journal.close()


def _answer_of(reply: Reply) -> Answer:
    """What the engine said, as a server's answer."""
    stats = reply.stats
    usage = Usage(stats.prompt_tokens, stats.generated_tokens, stats.reused_tokens, True)
    reason = "length" if reply.stop_reason == "length" else "stop"
    return Answer(reply.text, reason, usage, reply.thinking, seconds=stats.seconds)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a set of calls will take, about; requests that the journal has answered are left out."""

    requests: int
    prompt_tokens: int
    low_usd: float
    high_usd: float
    """With every answer as long as it may be."""


def estimate(calls: Sequence[Call], price: Price, journal: Journal, usual_tokens: int) -> Estimate:
    """About what the calls cost: answers of usual_tokens each, and at the most."""
    fresh = [call for call in {call.key: call for call in calls}.values() if journal.answer(call.key) is None]
    prompts = [sum(estimated_tokens(message.text) + 4 for message in call.messages) for call in fresh]
    low = sum(price.cost(Usage(tokens, usual_tokens)) for tokens in prompts)
    high = sum(
        price.cost(Usage(tokens, call.max_tokens)) for tokens, call in zip(prompts, fresh, strict=True)
    )
    return Estimate(len(fresh), sum(prompts), low, high)
