"""A request to a server and its answer, as values; and how both look as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from rolekit.endpoints.address import Endpoint
from rolekit.endpoints.failures import Transient
from rolekit.messages import Message


@dataclass(frozen=True)
class Call:
    """One request, complete: calls that are equal in everything that decides the answer have the same key."""

    endpoint: Endpoint
    messages: tuple[Message, ...]
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 512
    """0 leaves the length to the server."""
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    schema: str = ""
    """A JSON schema as text that the answer must follow; `{}` asks for any JSON object, empty for plain text."""
    prompt_version: str = ""
    """Names the wording that the messages were made with, so that another wording is another request."""
    sample: int = 0
    """Which of several answers to the same request this is."""

    @cached_property
    def key(self) -> str:
        """sha256 over model, address, messages, parameters, prompt version and sample, in hexadecimal."""
        parts = {name: getattr(self, name) for name in _PARAMETERS}
        parts["messages"] = [[message.speaker, message.text] for message in self.messages]
        parts["model"], parts["base_url"] = self.endpoint.model, self.endpoint.base_url
        text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


_PARAMETERS = (
    "temperature", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty", "stop", "schema",
    "prompt_version", "sample",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counted them; measured is False where it did not and they are our estimate."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """How many of the prompt's tokens the server had at hand."""
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server gave for one call."""

    text: str
    finish_reason: str
    """`stop`, `length`, `content_filter`, or whatever else the server says."""
    usage: Usage = Usage()
    thinking: str = ""
    model: str = ""
    """What the server calls the model that answered: an alias such as gpt-4o stands for a dated one."""
    seconds: float = 0.0

    def to_json(self) -> str:
        """The answer as one line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Answer:
        """The answer that to_json() wrote."""
        values = json.loads(text)
        return Answer(**{**values, "usage": Usage(**values["usage"])})


def body_of(call: Call, *, stream: bool = False, without: Collection[str] = ()) -> dict[str, Any]:
    """The JSON body of the request.

    without: parameters that this server does not know. `max_tokens` in it means that the server wants
    `max_completion_tokens`; `json_schema` that it knows only the plain JSON mode.
    """
    body: dict[str, Any] = {"model": call.endpoint.model, "messages": _messages(call.messages)}
    body |= {"temperature": call.temperature, "top_p": call.top_p, "seed": call.seed}
    body |= {"frequency_penalty": call.frequency_penalty, "presence_penalty": call.presence_penalty}
    body |= {"max_tokens": call.max_tokens, "stop": list(call.stop[:4])}
    if call.schema:
        body["response_format"] = _response_format(call.schema, plain="json_schema" in without)
    neutral: dict[str, Any] = {
        "top_p": 1.0, "seed": None, "frequency_penalty": 0.0, "presence_penalty": 0.0, "max_tokens": 0, "stop": [],
    }  # fmt: skip
    body = {name: value for name, value in body.items() if name not in neutral or value != neutral[name]}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if "max_tokens" in without and "max_tokens" in body:
        body["max_completion_tokens"] = body["max_tokens"]
    return {name: value for name, value in body.items() if name not in without}


def _messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The messages; those of the system at the beginning as one, for many templates take only one."""
    rows: list[dict[str, str]] = []
    for message in messages:
        if message.speaker == "system" and len(rows) == 1 and rows[0]["role"] == "system":
            rows[0]["content"] += f"\n\n{_whole(message.text)}"
        else:
            rows.append({"role": message.speaker, "content": _whole(message.text)})
    return rows


def _whole(text: str) -> str:
    """Text without halves of characters, which no UTF-8 can carry."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _response_format(schema: str, *, plain: bool) -> dict[str, Any]:
    parsed = json.loads(schema)
    if plain or not parsed:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": parsed, "strict": True}}


def answer_of(reply: Any, seconds: float) -> Answer:
    """The answer in a server's JSON. Raises Transient where it holds none: servers do stumble."""
    try:
        choice = reply["choices"][0]
        message = choice["message"]
        text = message.get("content") or message.get("refusal") or ""
        if isinstance(text, list):
            text = "".join(part.get("text", "") for part in text)
        thinking = message.get("reasoning_content") or message.get("reasoning") or ""
        reason = choice.get("finish_reason") or "stop"
    except (LookupError, TypeError, AttributeError) as error:
        raise Transient("the answer is JSON without a choice in it") from error
    if not isinstance(text, str) or not isinstance(thinking, str):
        raise Transient("the answer's text is no text")
    model = str(reply.get("model") or "")
    return Answer(text, str(reason), usage_of(reply.get("usage")), thinking, model, seconds)


def usage_of(found: Any) -> Usage:
    """The token counts in a server's JSON; zeros, not measured, where there are none."""
    if not isinstance(found, Mapping):
        return Usage()
    details = found.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    prompt, completion = found.get("prompt_tokens"), found.get("completion_tokens")
    if not isinstance(prompt, int) or prompt < 0:
        return Usage()
    completion = completion if isinstance(completion, int) and completion > 0 else 0
    return Usage(prompt, completion, cached if isinstance(cached, int) else 0, True)
