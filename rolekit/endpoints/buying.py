"""Answers for money: the client, the journal and the budget as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekit.endpoints.address import parse_endpoint
from rolekit.endpoints.calls import Answer, Call
from rolekit.endpoints.client import Client
from rolekit.endpoints.failures import Refused, Stopped, Transient
from rolekit.endpoints.journal import Journal
from rolekit.endpoints.prices import FREE, Price, needed_price, price_of


@dataclass
class Budget:
    """A cap that is never passed: what a request may cost at most is set aside before it is sent.

    None for either cap means none. spent_usd counts what is paid for and what may have been.
    """

    price: Price = FREE
    max_usd: float | None = None
    max_requests: int | None = None
    spent_usd: float = 0.0
    requests: int = 0
    reserved_usd: float = 0.0

    def reserve(self, call: Call) -> float:
        """What the call may cost at most, set aside. Raises Stopped when that would pass a cap."""
        most = self.price.most(call)
        if self.max_requests is not None and self.requests >= self.max_requests:
            raise Stopped(
                f"The limit of {self.max_requests} requests is reached.",
                "Raise --max-requests and run the same command again; what was answered is kept.",
            )
        if self.max_usd is not None and self.spent_usd + self.reserved_usd + most > self.max_usd:
            raise Stopped(
                f"The budget of ${self.max_usd:.2f} is used up: ${self.spent_usd:.4f} is spent, and the next request"
                f" could cost ${most:.4f}.",
                "Raise --max-usd and run the same command again; what was answered is kept.",
            )
        self.requests += 1
        self.reserved_usd += most
        return most

    def settle(self, reserved_usd: float, usd: float) -> None:
        """Give back what was set aside, and count what it did cost."""
        self.reserved_usd -= reserved_usd
        self.spent_usd += usd


class Buyer:
    """Answers to calls, none of which is paid twice: what the journal has is not asked for again.

    A request that may have been paid for without an answer (cut off on the way) counts against the budget with the
    most it can have cost.
    """

    def __init__(self, client: Client, journal: Journal, budget: Budget) -> None:
        """The budget goes on from what the journal has already cost."""
        self.client, self.journal, self.budget = client, journal, budget
        spent = journal.spending()
        budget.spent_usd += spent.usd + spent.lost_usd
        budget.requests += spent.sent
        self._under_way: dict[str, asyncio.Future[None]] = {}

    async def ask(self, call: Call) -> Answer:
        """The answer, from the journal or from the server.

        Raises Refused when this call gets none, Stopped when none will (a cap, a wrong key, a dead server).
        """
        while (other := self._under_way.get(call.key)) is not None:
            await asyncio.wait([other])
        if (kept := self.journal.answer(call.key)) is not None:
            return kept
        done = self._under_way[call.key] = asyncio.get_running_loop().create_future()
        try:
            return await self._buy(call)
        finally:
            del self._under_way[call.key]
            done.set_result(None)

    async def _buy(self, call: Call) -> Answer:
        reserved: float | None = None

        def give_up(reason: str, maybe_paid: bool) -> None:
            nonlocal reserved
            if reserved is not None:
                lost = reserved if maybe_paid else 0.0
                self.budget.settle(reserved, lost)
                self.journal.failed(call.key, reason, lost)
                reserved = None

        def attempt(maybe_paid: bool) -> None:
            nonlocal reserved
            give_up("tried again", maybe_paid)
            reserved = self.budget.reserve(call)
            self.journal.sending(call, reserved)

        try:
            answer = await self.client.complete(call, attempt)
        except (Refused, Stopped) as error:
            # A refusal in words costs nothing; a connection that broke may have been paid for.
            cause = error.__cause__
            give_up(error.what_happened, isinstance(cause, Transient) and cause.maybe_paid)
            raise
        except BaseException:
            give_up("interrupted", maybe_paid=True)
            raise
        usd = self.budget.price.cost(answer.usage)
        self.journal.arrived(call.key, answer, usd)
        self.budget.settle(reserved or 0.0, usd)
        return answer

    async def ask_all(
        self, calls: Iterable[Call], *, concurrency: int
    ) -> AsyncGenerator[tuple[int, Answer | Refused], None]:
        """The answers to many calls, each with its place among them, as they arrive.

        A call that gets none comes as its Refused. When none will any more, those under way are waited for and
        handed on, then Stopped is raised. Calls are taken as they are needed, concurrency at a time.
        """
        waiting: Iterator[tuple[int, Call]] = enumerate(calls)
        results: asyncio.Queue[tuple[int, Answer | Refused]] = asyncio.Queue()
        stopped: list[Stopped] = []

        async def work() -> None:
            for index, call in waiting:
                if stopped:
                    return
                try:
                    await results.put((index, await self.ask(call)))
                except Refused as refusal:
                    await results.put((index, refusal))
                except Stopped as reason:
                    stopped.append(reason)
                    return

        workers = [asyncio.create_task(work()) for _ in range(max(1, concurrency))]
        finished = asyncio.create_task(asyncio.wait(workers))
        try:
            while True:
                coming = asyncio.ensure_future(results.get())
                either: set[asyncio.Future[Any]] = {coming, finished}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    break
                yield coming.result()
            while not results.empty():
                yield results.get_nowait()
        finally:
            for worker in workers:
                worker.cancel()
            ended = await asyncio.gather(*workers, return_exceptions=True)
            await finished
        for fault in ended:
            if isinstance(fault, BaseException):
                raise fault
        if stopped:
            raise stopped[0]


def open_buyer(
    folder: Path,
    ref: str,
    *,
    concurrency: int = 8,
    max_usd: float | None = None,
    max_requests: int | None = None,
) -> Buyer:
    """Whoever buys answers of the model that ref names, with the journal of folder and a budget.

    Raises RolekitError when ref names none, or a budget is wanted and nobody has written the price down.
    """
    endpoint = parse_endpoint(ref)
    price = needed_price(endpoint) if max_usd is not None else price_of(endpoint)
    client = Client(endpoint, concurrency=concurrency)
    return Buyer(client, Journal(folder / "journal.db"), Budget(price or FREE, max_usd, max_requests))
