"""What the endpoint tests share: clients that lose patience quickly."""

from __future__ import annotations

import pytest

from rolekit.endpoints.address import parse_endpoint
from rolekit.endpoints.client import Client, Timeouts
from rolekit.endpoints.pacing import Retries

QUICK = Retries(attempts=4, base_seconds=0.01, most_seconds=0.05, patience_seconds=3.0)


@pytest.fixture
async def client(api):
    """A client of the scripted server."""
    opened = Client(
        parse_endpoint(api.ref), retries=QUICK, timeouts=Timeouts(connect=2, write=2, read=0.5, whole=1.5)
    )
    yield opened
    await opened.close()
