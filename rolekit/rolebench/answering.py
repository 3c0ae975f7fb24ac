"""Whoever answers a run's questions: the engine in this process, many at once, or a server."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

from rolekit.endpoints.address import Endpoint
from rolekit.endpoints.backend import EndpointBackend, call_of
from rolekit.endpoints.buying import Budget, Buyer
from rolekit.endpoints.failures import Refused
from rolekit.endpoints.journal import Journal
from rolekit.endpoints.prices import FREE, needed_price, price_of
from rolekit.engine.backend import LocalBackend
from rolekit.engine.references import shard_names
from rolekit.engine.stopping import ReplyFilter
from rolekit.messages import Backend, Reply, Request, Stats, StopReason
from rolekit.paths import file_sha256
from rolekit.rolebench.prompting import VERSION

Answered = tuple[int, Reply | Refused]
_CHUNK = 512
"""Requests that are prepared together; the last of a chunk are decoded in emptier batches."""


class Answerer(Protocol):
    """Answers many requests."""

    @property
    def identity(self) -> dict[str, Any]:
        """What the recipe keeps of it: another identity gives other answers."""
        ...

    def answers(self, requests: Sequence[Request]) -> AsyncGenerator[Answered, None]:
        """Each request's place and its reply as it is finished; Refused where this one gets none.

        Raises RolekitError when nothing more will be answered.
        """
        ...

    def release(self) -> None:
        """Let go of what it holds besides the backend; the backend stays open."""
        ...

    async def close(self) -> None:
        """Release what it holds, and close the backend."""
        ...


class LocalAnswerer:
    """The engine in this process: what neighbours share is read once, parallel of them are decoded together."""

    def __init__(self, backend: LocalBackend, *, parallel: int = 16, chat_template: str = "") -> None:
        """chat_template is what the backend was opened with instead of the model's own; it goes into the identity."""
        self.backend = backend
        self._parallel = parallel
        self._identity = {
            "model": backend.label,
            "model_sha256": sha256_of(backend.model_path),
            "context_tokens": backend.context_tokens,
            "chat_template": chat_template,
            "adapters": [
                {"name": path.name, "sha256": sha256_of(path), "scale": scale}
                for path, scale in backend.adapters
            ],
        }

    @property
    def identity(self) -> dict[str, Any]:
        """Label, hashes of model and adapters, context and template."""
        return self._identity

    async def answers(self, requests: Sequence[Request]) -> AsyncGenerator[Answered, None]:
        """As the protocol says. Requests that share a beginning should stand together."""
        for start in range(0, len(requests), _CHUNK):
            chunk = requests[start : start + _CHUNK]
            async with aclosing(self.backend.generate_batch(chunk, parallel=self._parallel)) as replies:
                async for index, reply in replies:
                    yield start + index, reply

    def in_turn(self) -> StreamAnswerer:
        """The same model, one request after another: what a conversation has in the cache is not read again."""
        return StreamAnswerer(self.backend, self._identity)

    def release(self) -> None:
        """Nothing to let go of."""

    async def close(self) -> None:
        """Free the model."""
        await self.backend.close()


class EndpointAnswerer:
    """A model behind a server; every answer is in the journal before it is used."""

    def __init__(
        self, endpoint: Endpoint, buyer: Buyer, *, concurrency: int = 8, prompt_version: str = ""
    ) -> None:
        """concurrency: requests under way; prompt_version: of the wording, part of each call's key."""
        self.endpoint, self.buyer = endpoint, buyer
        self._concurrency, self._prompt_version = concurrency, prompt_version

    @property
    def identity(self) -> dict[str, Any]:
        """Model and address."""
        return {"model": self.endpoint.model, "base_url": self.endpoint.base_url}

    async def answers(self, requests: Sequence[Request]) -> AsyncGenerator[Answered, None]:
        """As the protocol says."""
        calls = (call_of(self.endpoint, request, prompt_version=self._prompt_version) for request in requests)
        async with aclosing(self.buyer.ask_all(calls, concurrency=self._concurrency)) as answers:
            async for index, answer in answers:
                if isinstance(answer, Refused):
                    yield index, answer
                    continue
                visible = ReplyFilter(role_names=requests[index].role_names)
                visible.feed(answer.text.encode("utf-8", "replace"))
                visible.finish()
                usage = answer.usage
                cached = min(usage.cached_tokens, usage.prompt_tokens)
                fresh, spoken = usage.prompt_tokens - cached, usage.completion_tokens
                stats = Stats(usage.prompt_tokens, cached, fresh, spoken, answer.seconds, answer.seconds)
                reason: StopReason = "length" if answer.finish_reason == "length" else "end"
                yield index, Reply(visible.text, (), reason, stats, answer.thinking or visible.thinking)

    def release(self) -> None:
        """Close the journal."""
        self.buyer.journal.close()

    async def close(self) -> None:
        """Close connections and journal."""
        await self.buyer.client.close()
        self.release()


class StreamAnswerer:
    """Any backend, one question after another."""

    def __init__(self, backend: Backend, identity: dict[str, Any] | None = None) -> None:
        """identity: what is known of the backend beyond its label."""
        self.backend = backend
        self._identity = identity or {"model": backend.label}

    @property
    def identity(self) -> dict[str, Any]:
        """The label, and what else is known."""
        return self._identity

    async def answers(self, requests: Sequence[Request]) -> AsyncGenerator[Answered, None]:
        """As the protocol says."""
        for index, request in enumerate(requests):
            async with aclosing(self.backend.stream(request)) as events:
                async for event in events:
                    if isinstance(event, Reply):
                        yield index, event

    def release(self) -> None:
        """Nothing to let go of."""

    async def close(self) -> None:
        """Close the backend."""
        await self.backend.close()


def answerer_for(backend: Backend, folder: Path, max_usd: float | None = None) -> Answerer:
    """Whoever answers best with this backend: batches for the engine, many requests at once for a server.

    The journal of a server's answers lies in folder. Raises RolekitError when max_usd is given and the price of the
    model is not known.
    """
    if isinstance(backend, LocalBackend):
        return LocalAnswerer(backend)
    if isinstance(backend, EndpointBackend):
        price = price_of(backend.endpoint) if max_usd is None else needed_price(backend.endpoint)
        buyer = Buyer(backend.client, Journal(folder / "journal.db"), Budget(price or FREE, max_usd))
        return EndpointAnswerer(backend.endpoint, buyer, prompt_version=f"bench-run {VERSION}")
    return StreamAnswerer(backend)


def sha256_of(path: Path) -> str:
    """The sha256 of a file in hexadecimal; where it is a part of a split model, of all parts' sha256 in order."""
    names = shard_names(path.name)
    digests = [file_sha256(path.with_name(name)) for name in names]
    return digests[0] if len(names) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
