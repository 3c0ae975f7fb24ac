"""The chunks of a streamed answer: JSON in server-sent events, and what each adds."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rolekit.endpoints.failures import Transient, error_of
from rolekit.endpoints.sse import EventReader
from rolekit.text import one_line

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True)
class Part:
    """The next part of a streamed answer."""

    text: str
    thinking: str = ""


def parsed(data: str) -> dict[str, Any]:
    """A chunk's object. Raises Transient where it is none."""
    try:
        parsed = json.loads(data)
    except ValueError as error:
        raise Transient(f"a part of the answer is no JSON: {one_line(data, 60)}") from error
    if not isinstance(parsed, dict):
        raise Transient("a part of the answer is no object")
    return parsed


def status_in(parsed: dict[str, Any]) -> int:
    """The status of an error that came with 200 OK, as some gateways send it."""
    code = error_of(json.dumps(parsed)).get("code")
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def delta(chunk: dict[str, Any]) -> tuple[Part, str]:
    """What a streamed chunk adds to the first choice, and the reason why the answer ends with it."""
    choices = chunk.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return Part(""), ""
    if choices[0].get("index"):  # another choice than the first, which nobody asked for
        return Part(""), ""
    delta = choices[0].get("delta")
    delta = delta if isinstance(delta, dict) else {}
    text, thinking = delta.get("content"), delta.get("reasoning_content") or delta.get("reasoning")
    part = Part(text if isinstance(text, str) else "", thinking if isinstance(thinking, str) else "")
    return part, str(choices[0].get("finish_reason") or "")


async def events(response: httpx.Response, reader: EventReader) -> AsyncGenerator[str, None]:
    """The data of each event as it comes. Raises Transient when one has no end."""
    try:
        async for packet in response.aiter_bytes():
            for data in reader.feed(packet):
                yield data
        for data in reader.finish():
            yield data
    except ValueError as error:
        raise Transient(str(error)) from error
