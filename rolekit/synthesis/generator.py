"""Whoever writes the rows: a model behind a server, or the engine in this process held to a grammar.

Both answer the same calls through a journal of the same keys, so a run may be killed at any moment and gone on with.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from rolekit.endpoints.address import Endpoint, is_endpoint
from rolekit.endpoints.buying import Budget, Buyer, open_buyer
from rolekit.endpoints.calls import Answer, Call
from rolekit.endpoints.failures import Refused, Stopped
from rolekit.endpoints.journal import Journal
from rolekit.endpoints.prices import price_of
from rolekit.engine.backend import LocalBackend
from rolekit.engine.schema_grammar import gbnf_of
from rolekit.rolebench.asking import LocalAsker

T = TypeVar("T")
JOURNAL = "journal.db"
_CHUNK = 64
"""Local requests that are prepared together; the last of a chunk are decoded in emptier batches."""
_LEAST_SHARE = 0.05
"""min-p: a token that is less likely than this share of the likeliest one is not drawn."""
NEVER = threading.Event()
"""The cancel of calls that nobody cancels."""

Answered = tuple[int, Answer | Refused]


class Generator(Protocol):
    """Answers calls, none of them twice. Make one with open_generator()."""

    @property
    def endpoint(self) -> Endpoint:
        """Who answers: what calls must carry."""
        ...

    @property
    def journal(self) -> Journal:
        """What has been asked and answered, and what it has cost."""
        ...

    @property
    def budget(self) -> Budget:
        """The caps, and what is used up of them."""
        ...

    @property
    def priced(self) -> bool:
        """Whether what the calls cost is known (a model on this machine costs nothing)."""
        ...

    @property
    def local(self) -> bool:
        """Whether the model runs in this process: then answers take time, and prompts should be short."""
        ...

    @property
    def notices(self) -> Sequence[str]:
        """Sentences for the user that came up on the way, such as a parameter that the server does not take."""
        ...

    def ask_all(
        self, calls: Iterable[Call], cancel: threading.Event = NEVER
    ) -> AsyncGenerator[Answered, None]:
        """The answers, each with the place of its call, as they come; Refused where a call gets none.

        Setting cancel ends it soon and loses nothing: no more is sent, what is under way is waited for (a local model
        stops within a token). Raises Stopped when no more answers will come: a cap, a wrong key, a dead server.
        """
        ...

    async def close(self) -> None:
        """Release the model or the connections, and close the journal."""
        ...


class ServerGenerator:
    """A model behind a server."""

    local = False

    def __init__(self, buyer: Buyer, concurrency: int, *, priced: bool) -> None:
        """concurrency: requests under way; priced: whether somebody has written the model's price down."""
        self.endpoint, self.journal, self.budget = buyer.client.endpoint, buyer.journal, buyer.budget
        self.priced = priced
        self._buyer, self._concurrency = buyer, concurrency

    @property
    def notices(self) -> Sequence[str]:
        """As the protocol says."""
        return self._buyer.client.notices

    async def ask_all(
        self, calls: Iterable[Call], cancel: threading.Event = NEVER
    ) -> AsyncGenerator[Answered, None]:
        """As the protocol says."""
        wanted = _until(cancel, calls)
        async with aclosing(self._buyer.ask_all(wanted, concurrency=self._concurrency)) as answers:
            async for pair in answers:
                yield pair

    async def close(self) -> None:
        """As the protocol says."""
        await self._buyer.client.close()
        self.journal.close()


class LocalGenerator:
    """The engine in this process: many answers decoded together, each held to the grammar of its call's schema."""

    local = True
    priced = True
    notices: Sequence[str] = ()

    def __init__(
        self,
        backend: LocalBackend,
        model_sha256: str,
        journal: Journal,
        budget: Budget,
        *,
        parallel: int = 8,
    ) -> None:
        """model_sha256: of the file, part of every call's key; parallel: answers decoded together."""
        self._asker = LocalAsker(
            backend, model_sha256, journal, gbnf_of, min_p=_LEAST_SHARE, parallel=parallel
        )
        self.endpoint = self._asker.endpoint
        self.journal, self.budget, self._backend = journal, budget, backend
        budget.requests += journal.spending().sent

    async def ask_all(
        self, calls: Iterable[Call], cancel: threading.Event = NEVER
    ) -> AsyncGenerator[Answered, None]:
        """As the protocol says."""
        waiting = _until(cancel, enumerate(calls))
        stopped: Stopped | None = None
        while stopped is None and (taken := list(islice(waiting, _CHUNK))):
            chunk: list[tuple[int, Call]] = []
            for index, call in taken:
                if (kept := self.journal.answer(call.key)) is not None:
                    yield index, kept
                elif (refusal := self._too_long(call)) is not None:
                    yield index, refusal
                elif stopped is None:
                    try:
                        self.budget.reserve(call)
                        self.journal.sending(call, 0.0)
                        chunk.append((index, call))
                    except Stopped as reason:
                        stopped = reason
            own = None if cancel is NEVER else cancel  # closing this early sets it
            async with aclosing(self._asker.decode(chunk, own)) as answers:
                async for pair in answers:
                    yield pair
        if stopped is not None:
            raise stopped

    def _too_long(self, call: Call) -> Refused | None:
        tokens = sum(self._backend.count_tokens(call.messages))
        if tokens < self._backend.context_tokens:
            return None
        return Refused(
            f"A prompt of {tokens} tokens does not fit into the context of {self._backend.context_tokens}.",
            "Give --ctx N with a larger one.",
        )

    async def close(self) -> None:
        """As the protocol says."""
        await self._asker.close()


def open_generator(
    folder: Path,
    ref: str,
    *,
    concurrency: int = 8,
    parallel: int = 8,
    context_tokens: int = 4096,
    threads: int = 0,
    max_usd: float | None = None,
    max_requests: int | None = None,
) -> Generator:
    """The model that ref names, with the journal of folder and a budget; slow where it is loaded into this process.

    Raises RolekitError when ref names none, or max_usd is given and nobody has written its price down.
    """
    if is_endpoint(ref):
        buyer = open_buyer(folder, ref, concurrency=concurrency, max_usd=max_usd, max_requests=max_requests)
        return ServerGenerator(buyer, concurrency, priced=price_of(buyer.client.endpoint) is not None)
    from rolekit.engine.backend import open_local
    from rolekit.engine.references import resolve
    from rolekit.rolebench.answering import sha256_of

    path = resolve(ref or None)
    backend = open_local(path, context_tokens=context_tokens, threads=threads, kv_cache_mib=0)
    budget = Budget(max_usd=max_usd, max_requests=max_requests)
    journal = Journal(folder / JOURNAL)
    return LocalGenerator(backend, sha256_of(path), journal, budget, parallel=parallel)


def _until(cancel: threading.Event, items: Iterable[T]) -> Iterator[T]:
    for item in items:
        if cancel.is_set():
            return
        yield item
