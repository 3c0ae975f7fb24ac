"""2,000 requests at concurrency 64 to a local server: overhead a request and memory, beside openai's async client.

    python tests/benchmarks/bench_endpoints.py [--requests N] [--concurrency N] [--rounds N] [--latency SECONDS]

The server (tests/endpoints/server.py, a process of its own) answers each request after `latency` seconds. Every side is
a process of its own in every round, in turn: `client` is rolekit's client, `journal` the client with journal and budget
(each request on the disk before it is sent, its answer before it is used), `openai` the openai package's AsyncOpenAI
behind a semaphore. A warm-up of one request a connection is not counted. Printed: CPU time and wall time a request, the
largest memory, and how memory grows from the first quarter of the requests to the last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from importlib import metadata, util
from pathlib import Path
from typing import Any

SERVER = Path(__file__).parents[1] / "endpoints" / "server.py"
SIDES = ("client", "journal", "openai")
QUESTION = "What do you keep in the third drawer of the desk, and who else knows of it?"
Ask = Callable[[int], Awaitable[str]]


def serve(latency: float) -> None:
    """The server process: says its port, then answers until it is ended."""
    spec = util.spec_from_file_location("bench_server", SERVER)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    server = module.ApiServer(seconds=latency)
    server.start()
    print(server.port, flush=True)
    while True:
        time.sleep(1)
        server.seen.clear()
        server.delivered.clear()


def cpu_seconds() -> float:
    """User and system time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def memory_bytes() -> int:
    """What this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def measured(ask: Ask, requests: int, concurrency: int) -> dict[str, float]:
    """Ask so many times, so many at once; what it took."""

    async def many(numbers: range) -> None:
        waiting = iter(numbers)

        async def work() -> None:
            for number in waiting:
                assert await ask(number) == "Quite so."

        await asyncio.gather(*(work() for _ in range(concurrency)))

    await many(range(-concurrency, 0))
    marks, start, cpu = [memory_bytes()], time.perf_counter(), cpu_seconds()
    for quarter in range(4):
        await many(range(quarter * requests // 4, (quarter + 1) * requests // 4))
        marks.append(memory_bytes())
    return {
        "cpu_ms": 1000 * (cpu_seconds() - cpu) / requests,
        "wall_ms": 1000 * (time.perf_counter() - start) / requests,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "growth_kib": (marks[4] - marks[1]) / 1024,
    }


async def rolekit_side(port: int, options: argparse.Namespace, *, journal: bool) -> dict[str, float]:
    """rolekit's client, alone or behind journal and budget."""
    from rolekit.endpoints.address import parse_endpoint
    from rolekit.endpoints.buying import Budget, Buyer
    from rolekit.endpoints.calls import Call
    from rolekit.endpoints.client import Client
    from rolekit.endpoints.journal import Journal
    from rolekit.messages import Message

    endpoint = parse_endpoint(f"openai:gpt-test@http://127.0.0.1:{port}/v1")
    client = Client(endpoint, concurrency=options.concurrency)

    def call(number: int) -> Call:
        return Call(endpoint, (Message("user", f"{QUESTION} ({number})"),), 0.7, max_tokens=200)

    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal.db") as kept:
        buyer = Buyer(client, kept, Budget())

        async def ask(number: int) -> str:
            answer = await (buyer.ask(call(number)) if journal else client.complete(call(number)))
            return answer.text

        found = await measured(ask, options.requests, options.concurrency)
        await client.close()
        return found


async def openai_side(port: int, options: argparse.Namespace) -> dict[str, float]:
    """The openai package's async client, one shared by all."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{port}/v1") as client:
        turns = asyncio.Semaphore(options.concurrency)

        async def ask(number: int) -> str:
            async with turns:
                reply = await client.chat.completions.create(
                    model="gpt-test",
                    messages=[{"role": "user", "content": f"{QUESTION} ({number})"}],
                    temperature=0.7,
                    max_tokens=200,
                )
            return reply.choices[0].message.content or ""

        return await measured(ask, options.requests, options.concurrency)


def side(name: str, port: int, options: argparse.Namespace) -> None:
    """One side's process: prints its figures."""
    os.environ.setdefault("ROLEKIT_HOME", tempfile.gettempdir())
    if name == "openai":
        found = asyncio.run(openai_side(port, options))
    else:
        found = asyncio.run(rolekit_side(port, options, journal=name == "journal"))
    print(json.dumps(found))


def main() -> None:
    """Start the server, then every side in turn, round by round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--part", nargs=2, metavar=("SIDE", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        name, port = options.part
        serve(options.latency) if name == "server" else side(name, int(port), options)
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SIDES}
    command = [sys.executable, __file__, "--requests", str(options.requests), "--concurrency",
               str(options.concurrency), "--latency", str(options.latency), "--part"]  # fmt: skip
    with subprocess.Popen([*command, "server", "0"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        port = server.stdout.readline().strip()
        try:
            for _ in range(options.rounds):
                for name in SIDES:
                    done = subprocess.run([*command, name, port], check=True, capture_output=True, text=True)
                    found[name].append(json.loads(done.stdout))
        finally:
            server.terminate()
    _print(found, options)


def _print(found: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    ideal = 1000 * options.latency / options.concurrency
    print(f"openai {metadata.version('openai')}, httpx {metadata.version('httpx')}; {options.requests} requests,"
          f" {options.concurrency} at a time, the server takes {1000 * options.latency:.0f} ms: at best"
          f" {ideal:.2f} ms a request; medians of {options.rounds} rounds")  # fmt: skip
    for key, unit in (("cpu_ms", "ms CPU a request"), ("wall_ms", "ms wall a request"), ("peak_mib", "MiB at most"),
                      ("growth_kib", "KiB more after the last quarter than after the first")):  # fmt: skip
        values: dict[str, Any] = {name: [row[key] for row in rows] for name, rows in found.items()}
        line = "   ".join(f"{name} {statistics.median(taken):9.2f}" for name, taken in values.items())
        ratios = ""
        if key != "growth_kib":
            pairs = {name: zip(values[name], values["openai"], strict=True) for name in ("client", "journal")}
            ratios = "   ".join(
                f"{name}/openai {statistics.median(a / b for a, b in pair):.2f}"
                for name, pair in pairs.items()
            )
        print(f"{line}   {unit}   {ratios}")


if __name__ == "__main__":
    main()
