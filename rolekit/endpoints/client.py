"""The client of OpenAI-compatible servers: a few connection pools, patient with servers, careful with money."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rolekit.endpoints.address import Endpoint
from rolekit.endpoints.calls import Answer, Call, Usage, answer_of, body_of, usage_of
from rolekit.endpoints.chunks import Part, delta, events, parsed, status_in
from rolekit.endpoints.failures import (
    Refused,
    Stopped,
    Transient,
    Unsupported,
    failure,
    looks_like_html,
    web_page,
)
from rolekit.endpoints.keys import Secret, find_key
from rolekit.endpoints.pacing import PATIENT, Breaker, Gate, Retries, asked_wait, exhausted_for
from rolekit.endpoints.sse import EventReader
from rolekit.endpoints.tokens import estimated_message_tokens, estimated_tokens
from rolekit.endpoints.trust import tls_for
from rolekit.text import one_line

if TYPE_CHECKING:
    import httpx

_MOST_BYTES = 32 << 20
_LANE_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that each phase of a request may take."""

    connect: float = 10.0
    write: float = 30.0
    read: float = 180.0
    """Without a single byte: a laptop reads a long prompt for minutes before it says the first word."""
    whole: float = 900.0
    """For one attempt altogether: a server that drips is given up at last."""


@dataclass(slots=True)
class _Lane:
    """Some of the connections. httpx looks at all connections of a pool, for all of them, whenever a request begins."""

    http: httpx.AsyncClient
    under_way: int = 0

    @asynccontextmanager
    async def stream(self, url: str, body: dict[str, Any]) -> AsyncGenerator[httpx.Response, None]:
        self.under_way += 1
        try:
            async with self.http.stream("POST", url, json=body) as response:
                yield response
        finally:
            self.under_way -= 1


class Client:
    """Asks one server. Up to concurrency requests at a time; every answer comes once, errors are RolekitErrors.

    `notices` collects sentences for the user (a parameter that the server does not take). Close it at the end.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        concurrency: int = 8,
        retries: Retries = PATIENT,
        timeouts: Timeouts = Timeouts(),
        breaker: Breaker | None = None,
    ) -> None:
        """Raises RolekitError when there is a key that must not be used (see find_key)."""
        self.endpoint = endpoint
        self.notices: list[str] = []
        self.attempts = 0
        """HTTP requests sent so far."""
        self._key: Secret | None = find_key(endpoint)
        self._concurrency = max(1, concurrency)
        self._retries, self._timeouts = retries, timeouts
        self._breaker = breaker or Breaker(endpoint.host)
        self._without: set[str] = set()
        self._lanes: list[_Lane] = []
        self._gate = Gate(self._concurrency)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def complete(self, call: Call, on_attempt: Callable[[bool], None] | None = None) -> Answer:
        """The whole answer; tries again where that may help.

        on_attempt hears of each HTTP request before it is sent, and whether the one before it may have been paid for.
        Raises Refused when this call gets no answer, Stopped when none will.
        """
        self._connect()
        attempt, maybe_paid = 0, False
        while True:
            self._breaker.check()
            attempt += 1
            try:
                async with self._gate.turn():
                    self._breaker.check()
                    if on_attempt:
                        on_attempt(maybe_paid)
                    answer = await self._send(call)
            except Unsupported as objection:
                self._do_without(objection)
                attempt, maybe_paid = attempt - 1, False
            except Transient as trouble:
                maybe_paid = trouble.maybe_paid
                await self._wait(trouble, attempt)
            else:
                self._breaker.worked()
                self._gate.worked()
                return answer

    async def stream(self, call: Call) -> AsyncGenerator[Part | Answer, None]:
        """The answer as it is written, then the whole of it. Tries again only until the first word has come.

        Raises Refused or Stopped; when the connection breaks in the middle too.
        """
        self._connect()
        attempt, begun = 0, False
        while True:
            self._breaker.check()
            attempt += 1
            try:
                async with self._gate.turn(), aclosing(self._stream(call)) as parts:
                    async for part in parts:
                        begun = True
                        yield part
                self._breaker.worked()
                return
            except Unsupported as objection:
                self._do_without(objection)
                attempt -= 1
            except Transient as trouble:
                if begun:
                    raise Refused(
                        f"{self.endpoint.host} broke off in the middle of the answer ({trouble.reason}).",
                        "Ask again.",
                    ) from trouble
                await self._wait(trouble, attempt)

    async def close(self) -> None:
        """Close the connections; closing twice is fine."""
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            await lane.http.aclose()

    def _connect(self) -> None:
        """Open the lanes of this event loop. They share the TLS settings; the gate bounds all of them together."""
        import httpx

        loop = asyncio.get_running_loop()
        if self._lanes and self._loop is loop:
            return
        limits = httpx.Limits(max_connections=_LANE_CONNECTIONS, max_keepalive_connections=_LANE_CONNECTIONS)
        times, verify = self._timeouts, tls_for(self.endpoint)
        timeout = httpx.Timeout(None, connect=times.connect, read=times.read, write=times.write)
        number = -(-self._concurrency // _LANE_CONNECTIONS)
        self._lanes = [
            _Lane(
                httpx.AsyncClient(
                    limits=limits, timeout=timeout, auth=self._signed, headers=_HEADERS, verify=verify
                )
            )
            for _ in range(number)
        ]
        self._gate, self._loop = Gate(self._concurrency), loop

    def _signed(self, request: httpx.Request) -> httpx.Request:
        """The request with the key, which no variable holds: tracebacks may show those.

        Without a key too: httpx would look into ~/.netrc for one.
        """
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return request

    async def _send(self, call: Call) -> Answer:
        start = time.perf_counter()
        async with self._response(call, stream=False) as response:
            text = await self._read(response)
            if looks_like_html(response.headers.get("content-type", ""), text):
                raise web_page(self.endpoint)
            try:
                parsed = json.loads(text)
            except ValueError as error:
                raise Transient(f"it is no JSON: {one_line(text, 60)}") from error
            if isinstance(parsed, dict) and "choices" not in parsed and parsed.get("error"):
                raise failure(self.endpoint, status_in(parsed), "", text, asked_wait(response.headers))
            answer = answer_of(parsed, time.perf_counter() - start)
        return _with_usage(answer, call)

    async def _stream(self, call: Call) -> AsyncGenerator[Part | Answer, None]:
        start = time.perf_counter()
        reader, words, thoughts = EventReader(), list[str](), list[str]()
        reason, model, usage = "", "", Usage()
        async with self._response(call, stream=True) as response:
            kind = response.headers.get("content-type", "").lower()
            if "json" in kind:  # a server that does not stream
                answer = answer_of(parsed(await self._read(response)), time.perf_counter() - start)
                yield Part(answer.text, answer.thinking)
                yield _with_usage(answer, call)
                return
            if "html" in kind:
                raise web_page(self.endpoint)
            async for data in events(response, reader):
                if data == "[DONE]":
                    reason = reason or "stop"
                    break
                chunk = parsed(data)
                if chunk.get("error"):
                    text = self._scrubbed(json.dumps(chunk))
                    raise failure(self.endpoint, status_in(chunk), "", text, asked_wait(response.headers))
                model = str(chunk.get("model") or model)
                usage = usage_of(chunk["usage"]) if chunk.get("usage") else usage
                part, ended = delta(chunk)
                reason = ended or reason
                if part.text or part.thinking:
                    words.append(part.text)
                    thoughts.append(part.thinking)
                    yield part
        if not reason:
            raise Transient("the connection was cut")
        seconds = time.perf_counter() - start
        yield _with_usage(Answer("".join(words), reason, usage, "".join(thoughts), model, seconds), call)

    @asynccontextmanager
    async def _response(self, call: Call, *, stream: bool) -> AsyncGenerator[httpx.Response, None]:
        """An open response with a good status; every way that a connection fails becomes Transient or Stopped."""
        import httpx

        body = body_of(call, stream=stream, without=self._without)
        url = f"{self.endpoint.base_url}/chat/completions"
        self.attempts += 1
        try:
            async with (
                asyncio.timeout(self._timeouts.whole),
                min(self._lanes, key=lambda lane: lane.under_way).stream(url, body) as response,
            ):
                if response.status_code != 200:
                    await self._raise_for(response)
                self._gate.pause(exhausted_for(response.headers))
                yield response
        except TimeoutError as error:
            raise Transient(f"no whole answer within {self._timeouts.whole:.0f} s") from error
        except httpx.ConnectError as error:
            reason = f"it cannot be reached at {self.endpoint.base_url}: {_why(error)}"
            raise Transient(reason, maybe_paid=False) from error
        except httpx.TimeoutException as error:
            phase = {"ConnectTimeout": "no connection", "ReadTimeout": "not a word"}.get(type(error).__name__)
            raise Transient(f"{phase or 'no progress'} in time") from error
        except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
            raise Transient(f"the connection was cut: {_why(error)}") from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise Stopped(
                f"{one_line(self.endpoint.base_url)} is no address that can be reached.", "Check it."
            ) from error

    async def _raise_for(self, response: httpx.Response) -> None:
        text = await self._read(response)
        kind, wait = response.headers.get("content-type", ""), asked_wait(response.headers)
        if wait is None and response.status_code == 429:
            wait = exhausted_for(response.headers) or None
        raise failure(self.endpoint, response.status_code, kind, text, wait)

    async def _read(self, response: httpx.Response) -> str:
        data = bytearray()
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > _MOST_BYTES:
                raise Refused(f"{self.endpoint.host} sends an answer without an end.", "Ask another server.")
        return self._scrubbed(data.decode("utf-8", "replace"))

    def _scrubbed(self, text: str) -> str:
        return self._key.scrubbed(text) if self._key else text

    def _do_without(self, objection: Unsupported) -> None:
        """Remember that the server does not take a parameter. Raises Refused when leaving it out did not help."""
        name = objection.parameter
        if name == "response_format" and "json_schema" not in self._without:
            name = "json_schema"
        if name in self._without:
            raise Refused(
                f"{self.endpoint.host} refused the request ({objection.reason}).", "Ask another model."
            )
        self._without.add(name)
        if name not in ("max_tokens", "stream_options"):
            self.notices.append(f"{self.endpoint.label} does not take {name}; it was left out.")

    async def _wait(self, trouble: Transient, attempt: int) -> None:
        """Wait before the next attempt. Raises Refused after the last one, Stopped when it would take too long."""
        asked = trouble.wait_seconds
        if asked is not None and asked > self._retries.patience_seconds:
            raise Stopped(
                f"{self.endpoint.host} wants no request for {asked:.0f} s ({trouble.reason}).",
                "Run the same command again then; what was answered is kept.",
            ) from trouble
        delay = self._retries.delay(attempt, asked)
        if trouble.slow_down:
            self._gate.slow_down(delay)
        self._breaker.failed(trouble.reason)
        if attempt >= self._retries.attempts:
            times = f"{attempt} times" if attempt > 1 else "once"
            raise Refused(
                f"{self.endpoint.host} failed {times} on one request ({trouble.reason}).",
                "Look at the server, then run the same command again; what was answered is kept.",
            ) from trouble
        await asyncio.sleep(delay)


_HEADERS = {"User-Agent": "rolekit", "Accept": "application/json, text/event-stream"}


def _why(error: Exception) -> str:
    return one_line(str(error), 120) or type(error).__name__


def _with_usage(answer: Answer, call: Call) -> Answer:
    """The answer with token counts: ours where the server sends none."""
    if answer.usage.measured:
        return answer
    prompt = sum(estimated_message_tokens(call.messages))
    spoken = estimated_tokens(answer.text) + estimated_tokens(answer.thinking)
    return replace(answer, usage=Usage(prompt, spoken))
