"""16 replies over one shared role, together and one after another; and what switching adapters costs.

python tests/benchmarks/bench_batch.py [--rounds N] [--parallel N]
"""

from __future__ import annotations

import argparse
import time

from measuring import QUESTIONS, answer, report, role, run, starter

from rolekit.engine.backend import LocalBackend, open_local
from rolekit.messages import Message, Request, Sampling

REPLY_TOKENS = 64


def requests(count: int) -> list[Request]:
    """One question each to the same role."""
    sampling = Sampling(temperature=0.8, grammar="", presence_penalty=0.2)
    return [
        Request((role(300), Message("user", question)), sampling, seed=number, max_tokens=REPLY_TOKENS)
        for number, question in enumerate(QUESTIONS[:count])
    ]


async def alone(backend: LocalBackend, count: int) -> tuple[int, float]:
    """Generated tokens and seconds, one reply after another; the role is already in the cache."""
    await answer(backend, requests(1)[0])
    start, tokens = time.perf_counter(), 0
    for request in requests(count):
        tokens += (await answer(backend, request))[0].stats.generated_tokens
    return tokens, time.perf_counter() - start


async def together(backend: LocalBackend, count: int) -> tuple[int, float, float]:
    """Generated tokens, seconds with everything, and seconds of decoding only."""
    start, tokens, reading = time.perf_counter(), 0, 0.0
    async for _, reply in backend.generate_batch(requests(count), parallel=count):
        tokens += reply.stats.generated_tokens
        reading = max(reading, reply.stats.ttft_seconds)
    seconds = time.perf_counter() - start
    return tokens, seconds, seconds - reading


async def measure(rounds: int, count: int) -> None:
    """Print the ratios."""
    backend = open_local(starter(), context_tokens=2048, kv_cache_mib=0)
    single, whole, decoding = [], [], []
    for _ in range(rounds):
        tokens, seconds = await alone(backend, count)
        single.append(tokens / seconds)
        tokens, seconds, decode_seconds = await together(backend, count)
        whole.append(tokens / seconds)
        decoding.append(tokens / decode_seconds)
    report(f"{count} sequences, everything included, vs one by one", whole, single, "tok/s")
    report(f"{count} sequences, decoding, vs one by one", decoding, single, "tok/s", ">= 1.5")
    await backend.close()


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parallel", type=int, default=16)
    options = parser.parse_args()
    run(measure(options.rounds, options.parallel))


if __name__ == "__main__":
    main()
