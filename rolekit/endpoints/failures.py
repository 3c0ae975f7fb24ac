"""What can go wrong at a server: for now, with one request, or for good. And how its words are read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from rolekit.endpoints.address import Endpoint
from rolekit.endpoints.keys import missing_key_advice
from rolekit.errors import RolekitError
from rolekit.text import one_line

_RETRIED = {408, 409, 423, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}
_NO_CREDIT = {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "insufficient_balance",
}


class Refused(RolekitError):
    """This one request gets no answer; others may."""


class Stopped(RolekitError):
    """No request will get an answer until somebody does something: a wrong key, no credit, a budget used up."""


class Transient(Exception):
    """Worth another try. Never leaves this package."""

    def __init__(
        self,
        reason: str,
        *,
        slow_down: bool = False,
        wait_seconds: float | None = None,
        maybe_paid: bool = True,
    ) -> None:
        """reason: what went wrong, in words that the user's sentence ends with."""
        super().__init__(reason)
        self.reason = reason
        self.maybe_paid = maybe_paid
        """Whether the server may have made an answer, and charged for it, that never arrived."""
        self.slow_down = slow_down
        """Whether the server asks for fewer requests at a time."""
        self.wait_seconds = wait_seconds
        """What the server says about when to come back; None where it says nothing."""


class Unsupported(Exception):
    """The server knows no such parameter. Never leaves this package."""

    def __init__(self, parameter: str, reason: str) -> None:
        """parameter: its name in the request's JSON; reason: the server's words."""
        super().__init__(reason)
        self.parameter = parameter
        self.reason = reason


def looks_like_html(content_type: str, body: str) -> bool:
    """Whether a person's page came instead of the API's JSON."""
    return "html" in content_type.lower() or body.lstrip()[:200].lower().startswith(("<!doctype", "<html"))


def web_page(endpoint: Endpoint) -> Stopped:
    """The error for a page where an answer should be."""
    hint = "" if endpoint.base_url.endswith("/v1") else f" Perhaps {endpoint.base_url}/v1 is meant."
    return Stopped(
        f"{endpoint.base_url} answers with a web page (HTML), not with an OpenAI-compatible API.",
        f"Check the address behind the @.{hint}",
    )


def error_of(body: str) -> Mapping[str, Any]:
    """The API's error object, however the server wraps it; empty where there is none."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    if isinstance(parsed, list) and parsed:  # Google's wrapper
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return {}
    found = parsed.get("error", parsed.get("detail", parsed))
    if isinstance(found, dict):
        return found
    return {"message": found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)}


def failure(
    endpoint: Endpoint, status: int, content_type: str, body: str, wait_seconds: float | None
) -> Exception:
    """The exception for an HTTP status that is no success; body has been scrubbed of the key."""
    error = error_of(body)
    message = one_line(str(error.get("message") or ""), 240)
    code = str(error.get("code") or error.get("type") or "")
    name = f"{status} {_phrase(status)}"
    said = f": {message.rstrip('.')}" if message else ""
    if status == 401 or (status == 403 and not looks_like_html(content_type, body)):
        return Stopped(f"{endpoint.host} rejected the key ({name}{said}).", missing_key_advice(endpoint))
    if code in _NO_CREDIT or status == 402:
        return Stopped(
            f"{endpoint.host} says that there is no credit left ({name}{said}).",
            "Add credit there, then run the same command again; what was answered is kept.",
        )
    if status in _RETRIED:
        busy = status in (429, 503, 529)
        return Transient(f"{name}{said}", slow_down=busy, wait_seconds=wait_seconds, maybe_paid=False)
    if looks_like_html(content_type, body):
        return web_page(endpoint)
    if status in (404, 405):
        return Stopped(
            f"{endpoint.base_url} has no model {one_line(endpoint.model)!r}, or no chat completions ({name}{said}).",
            "Check the model's name and the address behind the @ (most end in /v1).",
        )
    if status in (400, 422) and (parameter := _unsupported(error, message)):
        return Unsupported(parameter, message)
    if code == "context_length_exceeded" or re.search(r"context.{0,20}(length|size|window)", message.lower()):
        return Refused(
            f"The prompt is longer than what {one_line(endpoint.model)} can read ({name}{said}).",
            "Give --ctx N with the model's context length, so that long chats are folded, or send less.",
        )
    if 300 <= status < 400:
        return Stopped(
            f"{endpoint.base_url} sends every request elsewhere ({name}).",
            "Put the server's real address behind the @.",
        )
    return Refused(f"{endpoint.host} refused the request ({name}{said}).", "Change it, or ask another model.")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"


_OPTIONAL = (
    "max_tokens", "temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "stop",
    "response_format", "stream_options", "json_schema",
)  # fmt: skip
"""Parameters without which a request can still be answered."""
_OBJECTIONS = re.compile(
    r"unsupported|not support|unknown|unrecognized|unexpected|not permitted|not allowed|only the default"
    r"|extra inputs|invalid parameter|does not accept|deprecated|must be",
    re.IGNORECASE,
)


def _unsupported(error: Mapping[str, Any], message: str) -> str:
    """The optional parameter that the server objects to; empty where it objects to something else."""
    parameter = str(error.get("param") or "").split(".")[0]
    code = str(error.get("code") or "")
    if parameter in _OPTIONAL and (code.startswith("unsupported") or _OBJECTIONS.search(message)):
        return parameter
    if not _OBJECTIONS.search(message):
        return ""
    return next((name for name in _OPTIONAL if re.search(rf"\b{name}\b", message)), "")
