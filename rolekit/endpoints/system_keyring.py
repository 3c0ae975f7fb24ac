"""Keys in the system's keyring: one for each server, put there with `keyring set rolekit HOST`."""

from __future__ import annotations

from rolekit.endpoints.address import Endpoint
from rolekit.errors import RolekitError

SERVICE = "rolekit"


def key_in_keyring(endpoint: Endpoint) -> str:
    """The key that the keyring holds for this server's host; empty where it has none or there is no keyring.

    Raises RolekitError where the keyring is there and will not be read (locked, say) and the server is not on this
    machine: one at home seldom needs a key.
    """
    try:
        import keyring
        from keyring.errors import KeyringError, NoKeyringError
    except ModuleNotFoundError:  # the extra `keyring` is not installed
        return ""
    try:
        return (keyring.get_password(SERVICE, endpoint.host) or "").strip()
    except NoKeyringError:
        return ""
    except KeyringError as error:
        if endpoint.on_this_machine:
            return ""
        raise RolekitError(
            f"The system's keyring cannot be read ({type(error).__name__}).",
            "Unlock it, or put the key into ROLEKIT_API_KEY.",
        ) from None  # what a keyring says of its trouble may hold what it keeps


def advice_for(endpoint: Endpoint) -> str:
    """The command that puts a key there; empty where keyring is not installed."""
    from importlib.util import find_spec

    return f", or run: keyring set {SERVICE} {endpoint.host}" if find_spec("keyring") else ""
