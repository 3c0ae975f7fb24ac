"""Single-stream decoding against llama-cpp-python's Llama and llama.cpp's llama-bench, and over a reply's length.

python tests/benchmarks/bench_decode.py [--llama-bench PATH] [--rounds N] [--threads N]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from measuring import answer, decode_rate, in_turn, report, run, starter

from rolekit.engine.backend import LocalBackend, open_local
from rolekit.engine.presets import load_preset
from rolekit.engine.threads import physical_cores
from rolekit.messages import Message, Request, Sampling

TOKENS = 200
CONTEXT = 2048
USER = "Write a very long story about a detective, a violin and the sea. Do not stop before it is finished."
PROMPT = f"<|im_start|>user\n{USER}<|im_end|>\n<|im_start|>assistant\n"
PLAIN = Sampling(repeat_penalty=1.05, penalty_tokens=64)
"""What both sides can do: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, repeat penalty over 64 tokens."""


def ours(backend: LocalBackend, sampling: Sampling, seed: int = 1, tokens: int = TOKENS) -> float:
    """Tokens a second of one streamed reply."""
    request = Request((Message("user", USER),), sampling, seed=seed, max_tokens=tokens)
    return decode_rate(run(answer(backend, request))[0])


class Peer:
    """llama-cpp-python's high-level class, same threads and sampling."""

    def __init__(self, threads: int) -> None:
        from llama_cpp import Llama

        self.llama = Llama(
            str(starter()), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, verbose=False
        )
        self.prompt = self.llama.tokenize(PROMPT.encode(), add_bos=False, special=True)

    def rate(self) -> float:
        """Tokens a second of one streamed completion."""
        times = []
        chunks = self.llama.create_completion(
            self.prompt,
            max_tokens=TOKENS,
            stream=True,
            seed=1,
            temperature=PLAIN.temperature,
            top_k=PLAIN.top_k,
            top_p=PLAIN.top_p,
            min_p=PLAIN.min_p,
            repeat_penalty=PLAIN.repeat_penalty,
        )
        for _ in chunks:
            times.append(time.perf_counter())
        tokens = self.llama.n_tokens - len(self.prompt)
        return (tokens - 1) / (times[-1] - times[0])


def llama_bench(program: Path, threads: int) -> float:
    """llama-bench's tg128, tokens a second."""
    command = [
        str(program),
        "-m",
        str(starter()),
        "-p",
        "0",
        "-n",
        "128",
        "-t",
        str(threads),
        "-r",
        "2",
        "-o",
        "json",
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rate: float = json.loads(done.stdout)[0]["avg_ts"]
    return rate


def flatness(backend: LocalBackend) -> None:
    """Milliseconds a token at the beginning and the end of a 500-token reply."""
    endless = Sampling(temperature=0, grammar="")
    request = Request((Message("user", USER),), replace(endless, presence_penalty=0.5), max_tokens=500)
    _, times = run(answer(backend, request))
    steps = [1000 * (b - a) for a, b in itertools.pairwise(times)]
    first, last = statistics.median(steps[:100]), statistics.median(steps[-100:])
    print(f"ms a piece: first 100 {first:.2f}, last 100 of {len(steps)} {last:.2f}, ratio {last / first:.2f}")


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-bench", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    threads = options.threads or physical_cores()
    backend = open_local(starter(), context_tokens=CONTEXT, threads=threads, kv_cache_mib=0)
    peer = Peer(threads)
    ours(backend, PLAIN)
    peer.rate()
    default = load_preset("default")
    mine, mine_default, theirs = in_turn(
        options.rounds, lambda: ours(backend, PLAIN), lambda: ours(backend, default), peer.rate
    )
    report("decode, same sampling, vs Llama (streamed)", mine, theirs, "tok/s", ">= 1.3")
    report("decode, preset default (DRY), vs Llama (streamed)", mine_default, theirs, "tok/s")
    if options.llama_bench:
        mine, mine_default, theirs = in_turn(
            options.rounds,
            lambda: ours(backend, PLAIN, tokens=128),
            lambda: ours(backend, default, tokens=128),
            lambda: llama_bench(options.llama_bench, threads),
        )
        report("decode, same sampling, vs llama-bench tg128", mine, theirs, "tok/s", ">= 0.95")
        report("decode, preset default (DRY), vs llama-bench tg128", mine_default, theirs, "tok/s")
    flatness(backend)
    run(backend.close())


if __name__ == "__main__":
    main()
