"""Buys answers until it is killed; prints the key of each once it may be used."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx

from rolekit.endpoints.address import parse_endpoint
from rolekit.endpoints.buying import Budget, Buyer
from rolekit.endpoints.calls import Call
from rolekit.endpoints.client import Client
from rolekit.endpoints.journal import Journal
from rolekit.messages import Message

assert httpx  # so that a short life is not spent on importing it


async def main() -> None:
    ref, path, number = sys.argv[1:]
    endpoint = parse_endpoint(ref)
    client = Client(endpoint)
    calls = [Call(endpoint, (Message("user", f"{n}?"),)) for n in range(int(number))]
    with Journal(Path(path)) as journal:
        print("ready", flush=True)
        buyer = Buyer(client, journal, Budget())
        async for index, _ in buyer.ask_all(calls, concurrency=4):
            print(calls[index].key, flush=True)
    await asyncio.sleep(60)


asyncio.run(main())
