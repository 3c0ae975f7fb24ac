"""From a base and an adapter to a quantized GGUF: rolekit's one pass against merge, convert, quantize.

python tests/benchmarks/bench_convert.py MODEL TYPE [--rounds N] [--work DIR] [--sdist DIR] [--kl] [--seeds 2 3 4]
                                           [--adapters DIR …]

MODEL is starter (SmolLM2-135M as bf16 safetensors) or 1b (random weights, TinyLlama's shape, made on first use). Both
sides run in turn in processes of their own; peak memory is the largest resident size of a process, mapped pages
included. --kl compares both sides' files with Hugging Face + PEFT instead of timing them, for a random adapter a seed
and for trained ones; what is missing is made first, and what was measured is kept.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from convert_models import adapter_for, random_folder, starter_folder

from rolekit.engine.threads import physical_cores

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Cost:
    """What one side's way took."""

    seconds: float
    peak_bytes: int
    written_bytes: int


def run(command: list[str]) -> tuple[float, int]:
    """Wall time and peak resident size of a command; this process stays small, for a child begins with its size."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(f"{command[1:4]} failed:\n{log.read().decode(errors='replace')[-3000:]}")
    return time.perf_counter() - started, usage.ru_maxrss * 1024


def peer(base: Path, adapter: Path, out: Path, type_name: str, sdist: Path) -> Cost:
    """merge_and_unload, convert_hf_to_gguf.py, llama_model_quantize."""
    script = [sys.executable, str(HERE / "peer_convert.py")]
    merged, wide = out.parent / "merged", out.with_suffix(".bf16.gguf")
    shutil.rmtree(merged, ignore_errors=True)
    steps = [
        run([*script, "merge", str(base), str(adapter), str(merged)]),
        run([*script, "convert", str(sdist), str(merged), str(wide)]),
        run([*script, "quantize", str(wide), str(out), type_name, str(physical_cores())]),
    ]
    for name, (seconds, peak) in zip(("merge", "convert", "quantize"), steps, strict=True):
        print(f"    {name:9}{seconds:7.2f} s  {peak / 2**20:7.0f} MiB", flush=True)
    written = sum(file.stat().st_size for file in (*merged.iterdir(), wide, out))
    shutil.rmtree(merged)
    wide.unlink()
    return Cost(sum(seconds for seconds, _ in steps), max(peak for _, peak in steps), written)


def ours(base: Path, adapter: Path, out: Path, type_name: str) -> Cost:
    """rolekit convert, as one types it."""
    out.unlink(missing_ok=True)
    words = ["convert", str(base), "--adapter", str(adapter), "--out", str(out), "--type", type_name]
    seconds, peak = run([sys.executable, "-m", "rolekit", *words, "--no-verify"])
    return Cost(seconds, peak, out.stat().st_size)


def divergence(chosen: argparse.Namespace, base: Path) -> None:
    """KL of both files to Hugging Face + PEFT on the same conversations, adapter after adapter."""
    from convert_divergence import Pair, conversations, measure, over_adapters, rows, summary

    found = []
    named = {f"seed-{seed}": None for seed in chosen.seeds} | {
        path.parent.name: path for path in chosen.adapters
    }
    for name, trained in named.items():
        folder = chosen.work / chosen.model / name
        folder.mkdir(exist_ok=True)
        adapter = trained or adapter_for(base, folder / "adapter", int(name.removeprefix("seed-")))
        files = {side: folder / f"{side}-{chosen.type_name}.gguf" for side in ("ours", "peer")}
        if not files["peer"].exists():
            peer(base, adapter, files["peer"], chosen.type_name, chosen.sdist)
        if not files["ours"].exists():
            ours(base, adapter, files["ours"], chosen.type_name)
        results = folder / f"kl-{chosen.type_name}.jsonl"
        measure(
            Pair(base, adapter, files), conversations(chosen.conversations), chosen.prompt_tokens, results
        )
        mine = [row for row in rows(results) if row["talk"] < chosen.conversations]
        found.append(mine)
        print(f"{chosen.model} {chosen.type_name} adapter {name}: {summary(mine)}", flush=True)
    print(f"{chosen.model} {chosen.type_name}: {over_adapters(found)}")


def main() -> None:
    """Measure, and print both sides with their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=("starter", "1b"))
    parser.add_argument("type_name", metavar="TYPE")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "rolekit-bench-convert")
    parser.add_argument("--sdist", type=Path, help="the unpacked llama-cpp-python source release")
    parser.add_argument("--kl", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="*", default=[2], help="random adapters for --kl")
    parser.add_argument("--adapters", type=Path, nargs="*", default=[], metavar="TRIAL/adapter",
                        help="trained ones for --kl, rocit_proof.py's for one")  # fmt: skip
    parser.add_argument("--conversations", type=int, default=40)
    parser.add_argument("--prompt-tokens", type=int, default=96, help="of a prompt, its last so many count")
    parser.add_argument("--prepare", action="store_true", help="only make the models")
    chosen = parser.parse_args()
    folder = chosen.work / chosen.model
    folder.mkdir(parents=True, exist_ok=True)
    base = starter_folder(folder / "base") if chosen.model == "starter" else random_folder(folder / "base")
    if chosen.kl:
        divergence(chosen, base)
        return
    adapter = adapter_for(base, folder / "adapter")
    files = {side: folder / f"{side}-{chosen.type_name}.gguf" for side in ("ours", "peer")}
    if chosen.prepare:
        return
    sides: list[tuple[Cost, Cost]] = []
    for _ in range(chosen.rounds):
        theirs = peer(base, adapter, files["peer"], chosen.type_name, chosen.sdist)
        sides.append((ours(base, adapter, files["ours"], chosen.type_name), theirs))
    for unit, name, factor in (
        ("s", "seconds", 1),
        ("MiB", "peak_bytes", 2**20),
        ("MiB", "written_bytes", 2**20),
    ):
        pairs = [(getattr(one, name) / factor, getattr(other, name) / factor) for one, other in sides]
        ratio = statistics.median(one / other for one, other in pairs)
        left, right = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(
            f"{chosen.model} {chosen.type_name} {name:14} {left:9.2f} : {right:9.2f} {unit:4} ratio {ratio:.3f}"
        )


if __name__ == "__main__":
    main()
