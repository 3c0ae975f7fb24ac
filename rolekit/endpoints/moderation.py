"""A moderation endpoint: asks an OpenAI-compatible server whether a text falls under one of its categories."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from rolekit.endpoints.address import Endpoint
from rolekit.endpoints.keys import find_key
from rolekit.endpoints.trust import tls_for
from rolekit.errors import RolekitError
from rolekit.text import one_line

_SECONDS = 15.0
_ATTEMPTS = 2
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Flags:
    """What the server says of one text."""

    flagged: bool
    categories: tuple[str, ...]
    """Those that it falls under, safe to print."""


async def flags_of(endpoint: Endpoint, text: str) -> Flags:
    """POST {base}/moderations with {"model", "input"} (OpenAI's API), tried twice.

    The key is found as for any other endpoint (see find_key). Raises RolekitError when there is no usable answer.
    """
    import httpx

    key = find_key(endpoint)

    def signed(request: httpx.Request) -> httpx.Request:
        # Without a key too: httpx would look into ~/.netrc for one. No variable holds the header, tracebacks show those.
        if key:
            request.headers["Authorization"] = f"Bearer {key.reveal()}"
        return request

    reason = ""
    async with httpx.AsyncClient(timeout=_SECONDS, auth=signed, verify=tls_for(endpoint)) as client:
        for attempt in range(_ATTEMPTS):
            await asyncio.sleep(0.2 * attempt)
            try:
                async with asyncio.timeout(_SECONDS):
                    response = await client.post(
                        f"{endpoint.base_url}/moderations", json={"model": endpoint.model, "input": text}
                    )
            except (TimeoutError, httpx.HTTPError) as error:
                reason = one_line(str(error), 100) or "no answer in time"
                continue
            if response.status_code == 200 and len(response.content) <= _MOST_BYTES:
                return _read(response.text, endpoint)
            said = response.text[:200]
            reason = (
                f"it answered {response.status_code}: {one_line(key.scrubbed(said) if key else said, 100)}"
            )
            if response.status_code < 500 and response.status_code != 429:
                break
    raise RolekitError(f"{endpoint.label} did not check the text ({reason}).", "See that the server runs.")


def _read(body: str, endpoint: Endpoint) -> Flags:
    try:
        results = json.loads(body)["results"]
        found = {
            name: True for result in results for name, value in result.get("categories", {}).items() if value
        }
        flagged = any(result["flagged"] is True for result in results)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RolekitError(
            f"{endpoint.label} gave no moderation result.", "Name a server that has /moderations."
        ) from error
    return Flags(flagged, tuple(one_line(name, 60) for name in found))
