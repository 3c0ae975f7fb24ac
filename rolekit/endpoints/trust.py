"""Whom a connection to a server trusts."""

from __future__ import annotations

import ssl

from rolekit.endpoints.address import Endpoint


def tls_for(endpoint: Endpoint) -> ssl.SSLContext:
    """Whom to trust. Reading all authorities takes a while, and nobody vouches for a server on this machine."""
    import httpx

    bare = endpoint.on_this_machine and endpoint.base_url.startswith("http:")
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if bare else httpx.create_ssl_context()
