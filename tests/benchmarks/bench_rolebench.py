"""95 roles x 4 questions of RoleBench: `bench run`'s engine against a create_chat_completion loop.

python tests/benchmarks/bench_rolebench.py --data test.jsonl --keep FOLDER --part 1 [--parts 4] [--sides ours peer …]
    [--model FILE.gguf]
python tests/benchmarks/bench_rolebench.py --keep FOLDER --report

Each part takes every Nth role, asks the same questions of every side in turn, each side in a process of its own (two
engines in one process make OpenMP count too many threads), and keeps what came in FOLDER; --report adds the parts up.
Loading the model is not counted. Sides: ours (batches of 16), one-lane (the same in one context, which all threads
share), alone (the engine, one question after another), peer (llama-cpp-python with as many threads as we use),
peer-default (its own choice: half of the cores for decoding).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measuring import answer, fresh_home, run, starter

from rolekit.engine import batch
from rolekit.engine.backend import open_local
from rolekit.engine.threads import physical_cores
from rolekit.messages import Request, Sampling
from rolekit.rolebench.planning import Wishes, plan
from rolekit.rolebench.recipe import Recipe
from rolekit.rolebench.running import request_for

PER_ROLE, MAX_TOKENS, PARALLEL, CONTEXT = 4, 64, 16, 2048
SIDES = ("ours", "one-lane", "alone", "peer", "peer-default")
Row = dict[str, Any]


def requests(data: Path, part: int, parts: int) -> list[Request]:
    """The part's requests, in the order in which a run asks them."""
    planned = plan(Wishes(data, PER_ROLE), "zero-shot", "system", lambda text: None)
    sampling = Sampling(temperature=0.0, top_k=0, top_p=1.0, min_p=0.0)
    recipe = Recipe("starter", {}, str(data), {}, "zero-shot", "system", sampling, MAX_TOKENS, 0)
    names = list(dict.fromkeys(record.role for record in planned.records))
    mine = set(names[part - 1 :: parts])
    return [
        request_for(record, recipe, planned.casting, planned.pairs)
        for record in planned.records
        if record.role in mine
    ]


async def ours(asked: list[Request], model: Path) -> tuple[float, list[Row]]:
    """Seconds and answers of the engine's batches."""
    backend = open_local(model, context_tokens=CONTEXT, kv_cache_mib=0)
    rows: list[Row] = [{} for _ in asked]
    start = time.perf_counter()
    async for index, reply in backend.generate_batch(asked, parallel=PARALLEL):
        rows[index] = {"text": reply.text, "tokens": reply.stats.generated_tokens, "ids": reply.token_ids}
    seconds = time.perf_counter() - start
    await backend.close()
    return seconds, rows


async def alone(asked: list[Request], model: Path) -> tuple[float, list[Row]]:
    """Seconds and answers of the engine, one after another."""
    backend = open_local(model, context_tokens=CONTEXT, kv_cache_mib=0)
    rows: list[Row] = []
    start = time.perf_counter()
    for request in asked:
        reply, _ = await answer(backend, request)
        rows.append({"text": reply.text, "tokens": reply.stats.generated_tokens, "ids": reply.token_ids})
    seconds = time.perf_counter() - start
    await backend.close()
    return seconds, rows


def peer(asked: list[Request], path: Path, threads: int | None) -> tuple[float, list[Row]]:
    """Seconds and answers of llama-cpp-python's loop."""
    from llama_cpp import Llama

    model = Llama(str(path), n_ctx=CONTEXT, n_threads=threads, verbose=False)
    rows: list[Row] = []
    start = time.perf_counter()
    for request in asked:
        messages: Any = [{"role": message.speaker, "content": message.text} for message in request.messages]
        made: Any = model.create_chat_completion(messages, temperature=0.0, max_tokens=MAX_TOKENS)
        rows.append(
            {"text": made["choices"][0]["message"]["content"], "tokens": made["usage"]["completion_tokens"]}
        )
    return time.perf_counter() - start, rows


def measure(side: str, asked: list[Request], model: Path) -> tuple[float, list[Row]]:
    """What one side makes of the questions."""
    if side == "one-lane":
        batch.lanes_for = lambda weight_bytes, threads, sequences: [(sequences, threads)]
    if side in ("ours", "one-lane"):
        return run(ours(asked, model))
    if side == "alone":
        return run(alone(asked, model))
    return peer(asked, model, physical_cores() if side == "peer" else None)


def report(keep: Path) -> None:
    """Ratios over all parts that have both sides, and how often the texts are the same."""
    kept = {(file.parent.name, file.stem): json.loads(file.read_text()) for file in keep.glob("*/*.json")}
    parts = {part for part, _ in kept}
    for side in SIDES[1:]:
        both = [part for part in sorted(parts) if {(part, "ours"), (part, side)} <= kept.keys()]
        if not both:
            continue
        mine, theirs = ([kept[part, name] for part in both] for name in ("ours", side))
        seconds = [sum(one["seconds"] for one in ones) for ones in (mine, theirs)]
        tokens = [sum(row["tokens"] for one in ones for row in one["rows"]) for ones in (mine, theirs)]
        texts = [[row["text"].strip() for one in ones for row in one["rows"]] for ones in (mine, theirs)]
        same = sum(a == b for a, b in zip(*texts, strict=True))
        print(
            f"ours vs {side}: {len(both)} parts, {len(texts[0])} questions; {seconds[0]:.1f} s : {seconds[1]:.1f} s,"
            f" ratio {seconds[1] / seconds[0]:.2f}; generated {tokens[0]} : {tokens[1]} tokens; same text {same}"
        )


def main() -> None:
    """Measure a part, or report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--part", type=int, default=1)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["ours", "alone", "peer"])
    parser.add_argument("--model", type=Path, default=starter(), help="the starter without it")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--here", action="store_true", help="measure in this process")
    options = parser.parse_args()
    if options.report:
        report(options.keep)
        return
    for side in options.sides:
        target = options.keep / f"{options.part}-of-{options.parts}" / f"{side}.json"
        if target.is_file():
            continue
        if not options.here:
            command = [sys.executable, __file__, "--here", "--data", options.data, "--keep", options.keep]
            command += [
                "--part",
                options.part,
                "--parts",
                options.parts,
                "--sides",
                side,
                "--model",
                options.model,
            ]
            subprocess.run(list(map(str, command)), check=True)
            continue
        with fresh_home():
            seconds, rows = measure(side, requests(options.data, options.part, options.parts), options.model)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({"seconds": seconds, "rows": rows}))
        print(f"part {options.part}: {side} {seconds:.1f} s for {len(rows)} questions", flush=True)


if __name__ == "__main__":
    main()
