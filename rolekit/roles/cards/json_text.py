"""JSON and base64 of strangers: bounded in size, depth and number of parts, and every fault one sentence."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from rolekit.errors import RolekitError
from rolekit.roles.cards.card import MAX_CARD_BYTES
from rolekit.text import one_line, size

_MAX_CONTAINERS = 200_000
_MAX_PARTS = 1_000_000
ENCRYPTED_PREFIX = b"rcc||rccv1||"
_ADVICE = "Export the card again from the program that made it."


def parse_card_json(data: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The JSON object in data, and what had to be repaired to read it.

    Raises RolekitError when it is too large, not JSON, or no object.
    """
    if len(data) > MAX_CARD_BYTES:
        raise RolekitError(
            f"The card's text has {size(len(data))}; {size(MAX_CARD_BYTES)} is the limit.", _ADVICE
        )
    text, notices = _decoded(data)
    if data.count(b"{") + data.count(b"[") > _MAX_CONTAINERS or data.count(b",") > _MAX_PARTS:
        raise RolekitError("The card's JSON has far more parts than any character needs.", _ADVICE)
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise RolekitError("The card's JSON is nested too deeply.", _ADVICE) from error
    except ValueError as error:
        raise RolekitError(f"The card is not valid JSON ({one_line(str(error), 100)}).", _ADVICE) from error
    if not isinstance(value, dict):
        raise RolekitError("The card's JSON is not an object.", _ADVICE)
    return value, notices


def _decoded(data: bytes) -> tuple[str, tuple[str, ...]]:
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16", "replace"), ("The text was UTF-16.",)
        return data.decode("cp1252", "replace"), ("The text is not UTF-8; it was read as Windows-1252.",)


def unwrap(text: bytes) -> bytes:
    """The JSON bytes in a text chunk: base64 of any habit (line breaks, no padding, URL-safe), or JSON itself.

    Raises RolekitError for an encrypted card and for bytes that are neither.
    """
    packed = text.strip().strip(b"\0").removeprefix(b"\xef\xbb\xbf")
    if packed.startswith(ENCRYPTED_PREFIX):
        raise RolekitError(
            "This is an encrypted RisuAI card, which only RisuAI can open.",
            "Export it there without encryption.",
        )
    if packed.startswith(b"{"):
        return packed
    letters = re.sub(rb"\s+", b"", packed).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        data = base64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RolekitError("The card in this picture is neither base64 nor JSON.", _ADVICE) from error
    if data.startswith(ENCRYPTED_PREFIX):
        return unwrap(data)
    return data


def card_json(payload: object) -> bytes:
    """A payload as UTF-8 JSON; lone surrogates, which UTF-8 cannot hold, are written as escapes."""
    try:
        return json.dumps(payload, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(payload).encode("ascii")
