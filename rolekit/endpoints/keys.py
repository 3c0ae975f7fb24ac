"""The key of an endpoint: where it may come from, where it may go, and that nobody sees it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from urllib.parse import urlsplit

from rolekit.endpoints.address import OPENAI_URL, Endpoint
from rolekit.endpoints.system_keyring import advice_for, key_in_keyring
from rolekit.errors import RolekitError
from rolekit.paths import home


class Secret:
    """A key that does not show itself: not in tracebacks, logs, pickles or f-strings."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        """Raises TypeError: neither pickle nor copy takes a key along."""
        raise TypeError("a key is never pickled")

    def reveal(self) -> str:
        """The key itself, for the header alone."""
        return self._value

    def scrubbed(self, text: str) -> str:
        """Text of a server, should it repeat the key."""
        return text.replace(self._value, "…")


def key_file() -> Path:
    """The file that may hold the key: one line, readable by its owner only."""
    return home() / "api_key"


def find_key(endpoint: Endpoint) -> Secret | None:
    """The key for this server, or None where there is none: a server at home often needs none.

    $ROLEKIT_API_KEY, else $OPENAI_API_KEY (sent only to OpenAI, to $OPENAI_BASE_URL and to this machine, never to
    a stranger), else what the system's keyring has for this host (extra `keyring`), else the file key_file().
    Raises RolekitError when others can read the file, the keyring is locked, the key is no key, or it would travel in
    the open.
    """
    source, value = _found(endpoint)
    if not value:
        return None
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise RolekitError(
            f"The key in {source} has signs in it that no key has.", "Copy it again, as one line."
        )
    if not endpoint.keeps_secrets:
        raise RolekitError(
            f"The key would travel to {endpoint.host} unencrypted.",
            f"Use https:// in the address, or take the key out of {source} if this server needs none.",
        )
    return Secret(value)


def _found(endpoint: Endpoint) -> tuple[str, str]:
    """Where the key was found, and the key."""
    if value := os.environ.get("ROLEKIT_API_KEY", "").strip():
        return "ROLEKIT_API_KEY", value
    value = os.environ.get("OPENAI_API_KEY", "").strip()
    if value and (endpoint.on_this_machine or endpoint.host in _openai_hosts()):
        return "OPENAI_API_KEY", value
    if value := key_in_keyring(endpoint):
        return f"the system's keyring (rolekit, {endpoint.host})", value
    path = key_file()
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if sys.platform != "win32" and stat.S_IMODE(mode) & 0o077:
                raise RolekitError(
                    f"The key in {path} can be read by others on this machine.", f"Run: chmod 600 {path}"
                )
            return str(path), file.read(10_000).strip()
    except (FileNotFoundError, NotADirectoryError):
        return "", ""
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise RolekitError(
            f"The key in {path} cannot be read ({reason}).", "Correct or remove the file."
        ) from error


def _openai_hosts() -> set[str]:
    urls = (OPENAI_URL, os.environ.get("OPENAI_BASE_URL", ""))
    return {(urlsplit(url).hostname or "").lower() for url in urls} - {""}


def missing_key_advice(endpoint: Endpoint) -> str:
    """What to do about a server that wants a key, or another one."""
    names = "OPENAI_API_KEY or ROLEKIT_API_KEY" if endpoint.host in _openai_hosts() else "ROLEKIT_API_KEY"
    return f"Put a valid key into {names}, or into {key_file()} (chmod 600){advice_for(endpoint)}."
