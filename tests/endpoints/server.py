"""A real HTTP server that speaks the chat completions API, and misbehaves as it is told."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Responder = Callable[[dict[str, Any]], str]


@dataclass(frozen=True)
class Step:
    """How one request is treated."""

    kind: str = "answer"
    """answer, status, raw, cut (in the middle of the answer), drip, silent (nothing ever comes)."""
    text: str = "Quite so."
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    content_type: str = "application/json"
    finish: str = "stop"
    usage: bool = True
    seconds: float = 0.0
    """Before the answer; for drip, between its bytes."""
    words: int = 2
    """After how many words a cut comes."""
    choices: int = 1
    """How many times the answer comes, as other choices of it; a client takes the first."""


def status(code: int, body: Any = "", *, content_type: str = "application/json", **headers: str) -> Step:
    text = body if isinstance(body, str) else json.dumps(body)
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Step("status", status=code, body=text, content_type=content_type, headers=named)


def error(number: int, message: str, **fields: str) -> Step:
    return status(number, {"error": {"message": message, **fields}})


def raw(body: str, content_type: str = "application/json") -> Step:
    return Step("raw", body=body, content_type=content_type)


@dataclass
class Seen:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float


@dataclass
class ApiServer:
    """Follows `script` step by step, then answers every request with what `respond` makes of it."""

    script: deque[Step] = field(default_factory=deque)
    respond: Responder = lambda body: "Quite so."
    seen: list[Seen] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    seconds: float = 0.0
    """How long an unscripted answer takes."""
    port: int = 0
    delivered: Counter[str] = field(default_factory=Counter)
    """By the last message of the request: answers that went out whole."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def ref(self) -> str:
        return f"openai:gpt-test@{self.url}"

    def play(self, steps: Iterable[Step]) -> None:
        self.script.extend(steps)

    def start(self) -> None:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()

        def serve() -> None:
            asyncio.set_event_loop(self._loop)
            self._server = self._loop.run_until_complete(
                asyncio.start_server(self._connection, "127.0.0.1", 0)
            )
            self.port = self._server.sockets[0].getsockname()[1]
            ready.set()
            self._loop.run_forever()

        self._thread = threading.Thread(target=serve, daemon=True)
        self._thread.start()
        ready.wait(10)

    def stop(self) -> None:
        async def end() -> None:
            self._server.close()
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await self._read(reader)) is not None:
                self.seen.append(request)
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                try:
                    goes_on = await self._answer(request, writer)
                finally:
                    self.under_way -= 1
                if not goes_on:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> Seen | None:
        line = await reader.readline()
        if not line.strip():
            return None
        headers: dict[str, str] = {}
        while row := (await reader.readline()).decode("latin-1").strip():
            name, _, value = row.partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Seen(line.split()[1].decode(), headers, json.loads(body or b"{}"), time.monotonic())

    async def _answer(self, request: Seen, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False where the connection is closed behind it."""
        step = (
            self.script.popleft()
            if self.script
            else Step(text=self.respond(request.body), seconds=self.seconds)
        )
        if step.kind == "silent":
            await asyncio.sleep(3600)
        if step.kind in ("status", "raw"):
            await self._plain(writer, step.status, step.body.encode(), step.content_type, step.headers)
            return True
        if step.kind != "drip":
            await asyncio.sleep(step.seconds)
        if request.body.get("stream"):
            return await self._stream(step, request, writer)
        data = json.dumps(completion(step, request.body)).encode()
        if step.kind == "cut":
            writer.write(_head(200, len(data), "application/json", step.headers) + data[: len(data) // 2])
            await writer.drain()
            return False
        if step.kind == "drip":
            writer.write(_head(200, len(data), "application/json", step.headers))
            for number in range(len(data)):
                writer.write(data[number : number + 1])
                await writer.drain()
                await asyncio.sleep(step.seconds)
        else:
            await self._plain(writer, 200, data, "application/json", step.headers)
        self._deliver(request)
        return True

    def _deliver(self, request: Seen) -> None:
        self.delivered[request.body["messages"][-1]["content"]] += 1

    async def _stream(self, step: Step, request: Seen, writer: asyncio.StreamWriter) -> bool:
        writer.write(_head(200, None, "text/event-stream; charset=utf-8", step.headers))
        words = [f"{word} " for word in step.text.split(" ")]
        words[-1] = words[-1].rstrip()
        for number, word in enumerate(words):
            if step.kind == "cut" and number == step.words:
                await writer.drain()
                return False
            for index in range(step.choices):
                said = word if not index else word.upper()
                choice = {"index": index, "delta": {"content": said}, "finish_reason": None}
                await self._chunk(writer, {"choices": [choice]})
            if step.kind == "drip":
                await asyncio.sleep(step.seconds)
        await self._chunk(writer, {"choices": [{"index": 0, "delta": {}, "finish_reason": step.finish}]})
        if step.usage:
            await self._chunk(writer, {"choices": [], "usage": _usage(step, request.body)})
        writer.write(_chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()
        self._deliver(request)
        return True

    @staticmethod
    async def _chunk(writer: asyncio.StreamWriter, value: dict[str, Any]) -> None:
        writer.write(_chunked(b"data: " + json.dumps({"model": "gpt-test-0", **value}).encode() + b"\n\n"))
        await writer.drain()

    @staticmethod
    async def _plain(
        writer: asyncio.StreamWriter, code: int, data: bytes, kind: str, headers: tuple[tuple[str, str], ...]
    ) -> None:
        writer.write(_head(code, len(data), kind, headers) + data)
        await writer.drain()


def completion(step: Step, body: dict[str, Any]) -> dict[str, Any]:
    texts = [step.text, *[step.text.upper()] * (step.choices - 1)]
    found: dict[str, Any] = {
        "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-test-0",
        "choices": [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": step.finish}
            for index, text in enumerate(texts)
        ],
    }  # fmt: skip
    return {**found, "usage": _usage(step, body)} if step.usage else found


def _usage(step: Step, body: dict[str, Any]) -> dict[str, int]:
    prompt = sum(len(message["content"].split()) + 4 for message in body["messages"])
    spoken = len(step.text.split())
    return {"prompt_tokens": prompt, "completion_tokens": spoken, "total_tokens": prompt + spoken}


def _head(code: int, length: int | None, kind: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    lines = [f"HTTP/1.1 {code} X", f"Content-Type: {kind}"]
    lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
