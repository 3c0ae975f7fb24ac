"""When to ask again, how many at a time, and when to stop asking."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from rolekit.endpoints.failures import Stopped

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Retries:
    """How stubborn a client is. Waits grow as base·2^n up to most, half of it random, so that nobody marches in step."""

    attempts: int = 6
    base_seconds: float = 0.5
    most_seconds: float = 30.0
    patience_seconds: float = 180.0
    """A server that asks for a longer wait than this ends the run instead."""

    def delay(self, attempt: int, asked_seconds: float | None = None) -> float:
        """Seconds to wait after the attempt of this number (from 1); never less than the server asked for."""
        if asked_seconds is not None:
            return asked_seconds + random.uniform(0.0, min(1.0, 0.1 * asked_seconds + self.base_seconds / 4))
        wait = min(self.most_seconds, self.base_seconds * 2.0 ** (attempt - 1))
        return wait * random.uniform(0.5, 1.0)


PATIENT = Retries()
"""For work that may take all night."""


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds until the server wants to hear from us again (Retry-After: seconds or a date, and its relatives)."""
    milliseconds = headers.get("retry-after-ms", "")
    if re.fullmatch(r"\d+(\.\d+)?", milliseconds):
        return float(milliseconds) / 1000
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    if value:
        try:
            then = parsedate_to_datetime(value)
        except ValueError:
            return None
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        return max(0.0, (then - datetime.now(UTC)).total_seconds())
    return None


def exhausted_for(headers: Mapping[str, str]) -> float:
    """Seconds until the quota that this answer used up comes back (x-ratelimit-*); 0 where some is left."""
    waits = [0.0]
    for what in ("requests", "tokens"):
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() == "0":
            waits.append(duration(headers.get(f"x-ratelimit-reset-{what}", "")))
    return max(waits)


def duration(text: str) -> float:
    """Seconds of `6m0s`, `120ms` or `1.5`; 0 where it is none of these."""
    if re.fullmatch(r"\d+(\.\d+)?", text.strip()):
        return float(text)
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


class Gate:
    """Lets a bounded number of requests through at a time.

    Half as many after a server complains of too many, then slowly more again (AIMD: additive increase,
    multiplicative decrease). Belongs to one event loop.
    """

    def __init__(self, most: int) -> None:
        """most: requests that are ever under way together, at least 1; the gate starts wide open."""
        self.most = max(1, most)
        self._limit = float(self.most)
        self._inside = 0
        self._closed_until = 0.0
        self._changed = asyncio.Condition()

    @property
    def limit(self) -> int:
        """How many may be under way now."""
        return max(1, int(self._limit))

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Within the block one request may be under way."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._inside < self.limit)
            self._inside += 1
        try:
            while (wait := self._closed_until - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            yield
        finally:
            async with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def worked(self) -> None:
        """After a success: room for one more, once a whole round of them has worked."""
        self._limit = min(float(self.most), self._limit + 1.0 / self._limit)

    def slow_down(self, pause_seconds: float = 0.0) -> None:
        """After a complaint: half as many, and nobody for a while."""
        self._limit = max(1.0, self._limit / 2)
        self.pause(pause_seconds)

    def pause(self, seconds: float) -> None:
        """Let nobody through for so long."""
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)


class Breaker:
    """Opens after many failures in a row with no success between: a dead server is not asked ten thousand times."""

    def __init__(
        self, host: str, *, failures: int = 12, seconds: float = 20.0, cool_down_seconds: float = 60.0
    ) -> None:
        """It takes both: that many failures, and that many seconds since the first of them."""
        self._host = host
        self._failures, self._seconds, self._cool_down = failures, seconds, cool_down_seconds
        self._count = 0
        self._since = 0.0
        self._opened_at = 0.0
        self._reason = ""

    def check(self) -> None:
        """Raise Stopped while it is open; after the cool-down one request may try again."""
        if not self._opened_at:
            return
        if time.monotonic() - self._opened_at >= self._cool_down:
            self._opened_at = 0.0
            self._count = self._failures - 1
            return
        raise self._stopped()

    def worked(self) -> None:
        """A request was answered: all is well."""
        self._count = 0

    def failed(self, reason: str) -> None:
        """A request failed. Raises Stopped when that was one too many."""
        now = time.monotonic()
        self._since = self._since if self._count else now
        self._count += 1
        self._reason = reason
        if self._count >= self._failures and now - self._since >= self._seconds:
            self._opened_at = now
            raise self._stopped()

    def _stopped(self) -> Stopped:
        return Stopped(
            f"{self._host} has not answered {self._count} requests in a row ({self._reason}).",
            "Look at the server or lower --concurrency, then run the same command again; what was answered is kept.",
        )
