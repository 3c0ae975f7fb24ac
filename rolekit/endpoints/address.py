"""REF of a model behind a server: `openai:MODEL[@BASE_URL]`."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from rolekit.errors import RolekitError
from rolekit.text import one_line

PREFIX = "openai:"
OPENAI_URL = "https://api.openai.com/v1"
_REF = re.compile(r"openai:(?!@https?://)(?P<model>[^\s].*?)(?:@(?P<url>https?://\S+))?\s*", re.IGNORECASE)
_FORGOTTEN_SCHEME = re.compile(r".@(localhost|[\w-]+(\.[\w-]+)+|\[[0-9a-fA-F:]+\])(:\d+)?(/\S*)?\s*$")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model, and the server that speaks OpenAI's API for it."""

    model: str
    base_url: str
    """Without a slash at the end; `/chat/completions` is put behind it."""

    def __str__(self) -> str:
        """As parse_endpoint() reads it: openai:MODEL@BASE_URL."""
        return f"{PREFIX}{self.model}@{self.base_url}"

    @property
    def host(self) -> str:
        """The server's name, lower case, without a port."""
        return (urlsplit(self.base_url).hostname or "").lower()

    @property
    def label(self) -> str:
        """A short name for status lines."""
        port = urlsplit(self.base_url).port
        return f"{self.model} @ {self.host}{f':{port}' if port else ''}"

    @property
    def on_this_machine(self) -> bool:
        """Whether the server runs here: nobody is paid for it, and no key leaves the machine."""
        return self.host == "localhost" or _is(self.host, "is_loopback")

    @property
    def keeps_secrets(self) -> bool:
        """Whether what is sent cannot be read on the way: https, this machine, or the network at home."""
        return self.base_url.startswith("https:") or self.on_this_machine or _is(self.host, "is_private")


def _is(host: str, attribute: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), attribute))
    except ValueError:
        return False


def is_endpoint(ref: str) -> bool:
    """Whether ref names a model behind a server."""
    return ref.strip().lower().startswith(PREFIX)


def parse_endpoint(ref: str) -> Endpoint:
    """The model and the server of `openai:MODEL[@BASE_URL]`.

    Without BASE_URL it is $OPENAI_BASE_URL, else OpenAI itself. Raises RolekitError for anything else, and for an
    address with a password in it, for addresses are written into run folders.
    """
    found = _REF.fullmatch(ref.strip())
    if found is None or not found["model"].strip():
        raise RolekitError(
            f"{one_line(ref)!r} does not name a model behind a server.",
            "Write openai:MODEL@BASE_URL, as in openai:llama3.2@http://localhost:11434/v1.",
        )
    if not found["url"] and _FORGOTTEN_SCHEME.search(ref):
        raise RolekitError(
            f"The address in {one_line(ref)!r} has no beginning.",
            "Write http:// or https:// in front of the server's name.",
        )
    return Endpoint(found["model"].strip(), _checked(found["url"] or os.environ.get("OPENAI_BASE_URL", "")))


def _checked(url: str) -> str:
    url = (url.strip() or OPENAI_URL).rstrip("/").removesuffix("/chat/completions").rstrip("/")
    if any(sign in url for sign in "@?#"):
        raise RolekitError(
            "The address of the server carries more than a place.",
            "Leave out user, password and everything from ? on; the key belongs into ROLEKIT_API_KEY.",
        )
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise RolekitError(
            f"{one_line(url)!r} is no address of a server.", "Write it as in http://localhost:8080/v1."
        )
    return url
