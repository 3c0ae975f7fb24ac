"""Single-stream decoding against llama-cpp-python's Llama and llama.cpp's llama-bench, and over a reply's length.

python tests/benchmarks/bench_decode.py [--llama-bench PATH] [--rounds N] [--threads N]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from measuring import answer, decode_rate, in_turn, report, run, starter

from rolekit.engine.backend import open_local
from rolekit.engine.presets import load_preset
from rolekit.engine.threads import physical_cores
from rolekit.messages import Message, Request, Sampling

TOKENS = 200
CONTEXT = 2048
USER = "Write a very long story about a detective, a violin and the sea. Do not stop before it is finished."
PROMPT = f"<|im_start|>user\n{USER}<|im_end|>\n<|im_start|>assistant\n"
PLAIN = Sampling(repeat_penalty=1.05, penalty_tokens=64)
"""What both sides can do: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, repeat penalty over 64 tokens."""


def ours(sampling: Sampling, threads: int) -> float:
    """Tokens a second of one streamed reply, the better of two."""
    backend = open_local(starter(), context_tokens=CONTEXT, threads=threads, kv_cache_mib=0)
    request = Request((Message("user", USER),), sampling, seed=1, max_tokens=TOKENS)
    rate = max(decode_rate(run(answer(backend, request))[0]) for _ in range(2))
    run(backend.close())
    return rate


def peer(threads: int) -> float:
    """The same with llama-cpp-python's high-level class: same threads, same sampling, streamed."""
    from llama_cpp import Llama

    llama = Llama(str(starter()), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, verbose=False)
    prompt = llama.tokenize(PROMPT.encode(), add_bos=False, special=True)
    return max(_peer_rate(llama, prompt) for _ in range(2))


def _peer_rate(llama: Any, prompt: list[int]) -> float:
    times = []
    chunks = llama.create_completion(
        prompt,
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
    return (llama.n_tokens - len(prompt) - 1) / (times[-1] - times[0])


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


def flatness(threads: int) -> None:
    """Milliseconds a token at the beginning and the end of a 500-token reply."""
    backend = open_local(starter(), context_tokens=CONTEXT, threads=threads, kv_cache_mib=0)
    request = Request((Message("user", USER),), Sampling(temperature=0, presence_penalty=0.5), max_tokens=500)
    _, times = run(answer(backend, request))
    run(backend.close())
    first, last = (1000 * (part[-1] - part[0]) / (len(part) - 1) for part in (times[:101], times[-101:]))
    print(f"ms a token: first 100 {first:.2f}, last 100 of {len(times)} {last:.2f}, ratio {last / first:.2f}")


MEASURES: dict[str, Callable[[int], float]] = {
    "same sampling": lambda threads: ours(PLAIN, threads),
    "preset default": lambda threads: ours(load_preset("default"), threads),
    "Llama": peer,
}


def apart(name: str, threads: int) -> float:
    """A measure in a process of its own: OpenMP threads of two engines in one process slow each other down."""
    command = [sys.executable, __file__, "--only", name, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-bench", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--only", choices=MEASURES, help="one measure, here, once")
    options = parser.parse_args()
    threads = options.threads or physical_cores()
    if options.only:
        print(MEASURES[options.only](threads))
        return
    measures = [partial(apart, name, threads) for name in MEASURES]
    if options.llama_bench:
        measures.append(partial(llama_bench, options.llama_bench, threads))
    plain, default, llama, *bench = in_turn(options.rounds, *measures)
    report("decode, same sampling, vs Llama", plain, llama, "tok/s", ">= 1.3")
    report("decode, preset default (DRY), vs Llama", default, llama, "tok/s")
    for rates in bench:
        report("decode, same sampling, vs llama-bench tg128", plain, rates, "tok/s", ">= 0.95")
        report("decode, preset default (DRY), vs llama-bench tg128", default, rates, "tok/s")
    flatness(threads)


if __name__ == "__main__":
    main()
