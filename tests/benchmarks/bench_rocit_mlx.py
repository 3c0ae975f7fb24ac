"""RoCIT with MLX against mlx-lm's own trainer: the same rows, the same model and LoRA, each side in its own process.

    python tests/benchmarks/bench_rocit_mlx.py [--rows 16] [--steps 2] [--data ../shared/data/rolebench]

Both take so many optimizer steps over the same rows (one batch), after one that is not counted. mlx-lm's side is its
trainer as `mlx_lm.lora --mask-prompt` runs it. On Linux MLX's wheel brings the reference BLAS, 30 to 50 times slower
than OpenBLAS: give it a good one by LD_PRELOAD, or be patient.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from measuring import fresh_home, starter

from rolekit.paths import roles_dir, write_text
from rolekit.train.base_text import open_base_text
from rolekit.train.dataset import build_dataset
from rolekit.train.examples import Example
from rolekit.train.gguf_folder import folder_of
from rolekit.train.packing import build_pack
from rolekit.train.recipe import Data, Lora, Recipe, Source

HERE = Path(__file__).parent
ROLE = "Jack Sparrow"
LORA = Lora(r=16, alpha=32)
FILES = (
    "rolebench-eng/instruction-generalization/role_specific/test.jsonl",
    "rolebench-eng/role-generalization/general/test.jsonl",
)


def rows(data: Path, count: int) -> list[Example]:
    """The first rows of one role, half role-specific, half general, as rolekit trains on them."""
    sources = tuple(Source(path=str(data / file)) for file in FILES)
    recipe = Recipe(
        roles=(ROLE,),
        data=Data(sources=sources, mix={"role_specific": 1, "general": 1}, rows=count, eval_fraction=0),
    )
    with open_base_text(starter()) as text:
        profile = (HERE / "rocit_roles" / "jack-sparrow.toml").read_text(encoding="utf-8")
        write_text(roles_dir() / "jack-sparrow.toml", profile)
        return list(build_dataset(recipe, text.maker).train)


def ours(examples: list[Example], steps: int) -> dict[str, Any]:
    """Our stepper: one pack a step."""
    import mlx.core as mx

    from rolekit.train.mlx_stepper import open_mlx

    stepper = open_mlx(Recipe(lora=LORA), folder_of(starter()))
    pack = build_pack(examples, range(len(examples)))
    losses, times = [], []
    for step in range(steps + 1):
        began = time.perf_counter()
        losses.append(stepper.forward_backward(pack, pack.supervised, (0, step, 0)) / pack.supervised)
        stepper.step(1e-4, 0)
        times.append(time.perf_counter() - began)
    return {
        "losses": losses, "seconds": times[1:], "tokens": pack.tokens, "supervised": pack.supervised,
        "peak_bytes": mx.get_peak_memory(),
    }  # fmt: skip


def theirs(examples: list[Example], steps: int) -> dict[str, Any]:
    """mlx-lm's trainer: the same rows as one batch, prompts masked."""
    import mlx.core as mx
    from mlx import optimizers
    from mlx_lm.tuner.callbacks import TrainingCallback
    from mlx_lm.tuner.trainer import TrainingArgs, train
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm.utils import load_model

    class Recorder(TrainingCallback):  # type: ignore[misc]
        def on_train_loss_report(self, info: dict[str, Any]) -> None:
            ends.append(time.perf_counter())
            losses.append(info["train_loss"])
            tokens.append(info["trained_tokens"])

    model, _ = load_model(folder_of(starter()))
    model.freeze()
    linear_to_lora_layers(model, -1, {"rank": LORA.r, "scale": LORA.alpha / LORA.r, "dropout": 0.0})
    dataset = [(list(row.ids), row.supervised.index(True)) for row in examples]
    ends, losses, tokens = [time.perf_counter()], [], [0]
    arguments = TrainingArgs(
        batch_size=len(dataset), iters=steps + 1, steps_per_report=1, steps_per_save=10**9,
        adapter_file=os.devnull, max_seq_length=4096,
    )  # fmt: skip
    train(model, optimizers.Adam(1e-4), dataset, args=arguments, training_callback=Recorder())
    longest = 1 + 32 * -(-max(len(row.ids) for row in examples) // 32)
    return {
        "losses": losses, "seconds": [b - a for a, b in pairwise(ends)][1:],
        "tokens": longest * len(dataset), "supervised": tokens[1], "peak_bytes": mx.get_peak_memory(),
    }  # fmt: skip


def measured(side: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One side's figures, from a process of its own."""
    command = [
        sys.executable, __file__, "--side", side, "--rows", str(arguments.rows),
        "--steps", str(arguments.steps), "--data", str(arguments.data),
    ]  # fmt: skip
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared" / "data" / "rolebench")
    parser.add_argument("--side", choices=["ours", "theirs"])
    arguments = parser.parse_args()
    if arguments.side:
        examples = rows(arguments.data, arguments.rows)
        found = (ours if arguments.side == "ours" else theirs)(examples, arguments.steps)
        print(json.dumps({**found, "taught": sum(row.supervised_tokens for row in examples)}))
        return
    with fresh_home():
        sides = {side: measured(side, arguments) for side in ("ours", "theirs")}
    rates = {}
    for side, found in sides.items():
        seconds = sum(found["seconds"]) / len(found["seconds"])
        rates[side] = found["taught"] / seconds
        print(
            f"{side:7} {found['tokens']:6} tokens a step, {found['taught']} supervised (its own count: "
            f"{found['supervised']}), {seconds:7.2f} s, {rates[side]:7.1f} supervised tokens/s, "
            f"peak {found['peak_bytes'] / 2**30:.2f} GiB, losses {[round(x, 4) for x in found['losses']]}"
        )
    memory = sides["ours"]["peak_bytes"] / sides["theirs"]["peak_bytes"]
    print(f"ratio {rates['ours'] / rates['theirs']:.2f} (target 2), memory {memory:.2f}")


if __name__ == "__main__":
    main()
