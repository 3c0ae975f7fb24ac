"""RoCIT training against TRL's SFTTrainer (+ peft) on the same rows, on the starter model and this machine's CPU.

    pip install trl
    python tests/benchmarks/bench_rocit_speed.py --data RECORDS.jsonl [--role NAME] [--keep DIR] [--steps N]
        [--sides rolekit trl trl-no-checkpointing]

Both sides start from the same adapter and see the same rows in the same order, 16 a step, with the same constant
learning rate. TRL runs with its own defaults (micro-batches of 8, gradient checkpointing, fused head), but in fp32:
its default bfloat16 is emulated on processors without it, and far slower. Each side is a process of its own; peak
memory is what the system says of it; processor time is that of all threads, which other programs disturb less. With
--keep the sides can be run one by one; the report covers what is there.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import fresh_home, starter

ROWS_PER_STEP = 16
LEARNING_RATE = 2e-4
SIDES = ("rolekit", "trl", "trl-no-checkpointing")


def peak_bytes() -> int:
    """The most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def make_rows(data: list[Path], role: str, steps: int, keep: Path) -> None:
    """The rows of `steps` steps in training order, and the starter as a Hugging Face folder in fp32."""
    from rolekit.train.base_text import open_base_text
    from rolekit.train.dataset import build_dataset
    from rolekit.train.packing import Batching, order_epoch
    from rolekit.train.recipe import Data, Recipe, Source

    sources = tuple(Source(path=str(path)) for path in data)
    recipe = Recipe(roles=(role,), data=Data(sources=sources, eval_fraction=0.0, references="all"))
    with fresh_home() as home, open_base_text(starter()) as text:
        shutil.copytree(Path(__file__).with_name("rocit_roles"), home / "roles")
        rows = build_dataset(recipe, text.maker).train
    order = [index for step in order_epoch(rows, Batching(ROWS_PER_STEP), 0, 0) for index in step]
    chosen = [rows[index] for index in order[: steps * ROWS_PER_STEP]]
    if len(chosen) < steps * ROWS_PER_STEP:
        raise SystemExit(f"{role} has only {len(order)} rows")
    fields = ("ids", "supervised", "prefix_tokens", "role")
    body = [{name: getattr(row, name) for name in fields} for row in chosen]
    (keep / "rows.json").write_text(json.dumps(body), encoding="utf-8")


def make_folder(keep: Path) -> None:
    """The starter's weights in fp32, the way TRL loads them."""
    import torch

    from rolekit.train.torch_base import load_base

    load_base(starter(), torch.float32).save_pretrained(keep / "base")


def ours(keep: Path) -> dict[str, Any]:
    """Train with rolekit's torch backend."""
    import torch

    from rolekit.engine.threads import physical_cores
    from rolekit.train.bases import shape_of
    from rolekit.train.examples import Example
    from rolekit.train.packing import Batching, packs_of, plan_step
    from rolekit.train.peak import step_flops
    from rolekit.train.preflight import PROCESSOR_PACK_TOKENS
    from rolekit.train.recipe import Recipe
    from rolekit.train.torch_stepper import open_torch

    torch.set_num_threads(physical_cores())
    rows = [
        Example(tuple(r["ids"]), tuple(r["supervised"]), r["prefix_tokens"], r["role"]) for r in _rows(keep)
    ]
    began = time.perf_counter()
    stepper = open_torch(starter(), Recipe(), "starter")
    opened = time.perf_counter() - began
    shape, losses, seconds, tokens, flops = shape_of(starter()), [], [], [], []
    busy = time.process_time()
    for number in range(len(rows) // ROWS_PER_STEP):
        began = time.perf_counter()
        indices = range(number * ROWS_PER_STEP, (number + 1) * ROWS_PER_STEP)
        plan = plan_step(rows, indices, Batching(pack_tokens=PROCESSOR_PACK_TOKENS))
        loss, computed = 0.0, 0
        for part, pack in enumerate(packs_of(rows, plan)):
            loss += stepper.forward_backward(pack, plan.supervised, (0, number, part))
            computed += pack.tokens
        stepper.step(LEARNING_RATE, 1.0)
        seconds.append(time.perf_counter() - began)
        losses.append(loss / plan.supervised)
        tokens.append(computed)
        flops.append(step_flops(shape, computed, plan.supervised))
    return {
        "losses": losses, "seconds": seconds, "cpu_seconds": time.process_time() - busy, "tokens": tokens, "flops": flops, "open_seconds": opened,
        "peak_bytes": peak_bytes(), "gemm": gemm_rates(),
    }  # fmt: skip


def gemm_rates() -> dict[str, float]:
    """Floating-point operations a second of torch's own linear layer at the model's shapes, weighted by use."""
    import torch

    shapes = [(576, 576), (576, 192), (576, 192), (576, 576), (576, 1536), (576, 1536), (1536, 576)]
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        seconds = work = 0.0
        for inside, outside in shapes:
            x = torch.randn(1024, inside).to(dtype)
            weight = torch.randn(outside, inside).to(dtype)
            torch.nn.functional.linear(x, weight)
            began = time.perf_counter()
            for _ in range(5):
                torch.nn.functional.linear(x, weight)
            seconds += time.perf_counter() - began
            work += 5 * 2.0 * 1024 * inside * outside
        found[name] = work / seconds
    return found


def theirs(keep: Path, checkpointing: bool) -> dict[str, Any]:
    """Train with TRL's SFTTrainer and peft."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from rolekit.engine.threads import physical_cores
    from rolekit.train.torch_lora import _initialize

    torch.set_num_threads(physical_cores())
    rows = _rows(keep)
    data = [
        {
            "input_ids": row["ids"],
            "labels": [t if flag else -100 for t, flag in zip(row["ids"], row["supervised"], strict=True)],
        }
        for row in rows
    ]
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<end>": 2}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<pad>")
    model = AutoModelForCausalLM.from_pretrained(keep / "base", dtype=torch.float32)
    seconds: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        began = 0.0

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            seconds.append(time.perf_counter() - self.began)

    with tempfile.TemporaryDirectory() as out:
        config = SFTConfig(
            output_dir=out, max_steps=len(rows) // ROWS_PER_STEP, per_device_train_batch_size=8,
            gradient_accumulation_steps=2, bf16=False, use_cpu=True, gradient_checkpointing=checkpointing,
            learning_rate=LEARNING_RATE, lr_scheduler_type="constant", logging_steps=1, report_to=[],
            save_strategy="no", train_sampling_strategy="sequential", disable_tqdm=True,
        )  # fmt: skip
        lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
        trainer = SFTTrainer(
            model=model, args=config, train_dataset=Dataset.from_list(data), processing_class=tokenizer,
            peft_config=lora, callbacks=[Clock()],
        )  # fmt: skip
        _initialize(trainer.model, 0)
        busy = time.process_time()
        trainer.train()
        busy = time.process_time() - busy
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"losses": losses, "seconds": seconds, "cpu_seconds": busy, "peak_bytes": peak_bytes()}


def _rows(keep: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((keep / "rows.json").read_text(encoding="utf-8"))
    return rows


def one_side(side: str, keep: Path) -> None:
    """Run one side in this process and write what it measured."""
    found = ours(keep) if side == "rolekit" else theirs(keep, side == "trl")
    (keep / f"{side}.json").write_text(json.dumps(found), encoding="utf-8")


def summary(keep: Path) -> None:
    """Print what the sides that are there have measured."""
    rows = _rows(keep)
    taught = sum(sum(row["supervised"]) for row in rows)
    everything = sum(len(row["ids"]) for row in rows)
    print(f"{len(rows)} rows, {everything} tokens, {taught} of them supervised")
    found = {
        side: json.loads((keep / f"{side}.json").read_text(encoding="utf-8"))
        for side in SIDES
        if (keep / f"{side}.json").is_file()
    }
    for side, numbers in found.items():
        rate = taught / sum(numbers["seconds"])
        losses = " ".join(f"{loss:.4f}" for loss in numbers["losses"])
        print(
            f"{side:22} {rate:7.1f} supervised tokens/s  {sum(numbers['seconds']):6.1f} s "
            f"({numbers['cpu_seconds']:.0f} of processors)  "
            f"{numbers['peak_bytes'] / 2**30:5.2f} GiB  loss {losses}"
        )
    mine = found.get("rolekit")
    if mine:
        rate = sum(mine["flops"]) / sum(mine["seconds"])
        print(
            f"rolekit computes {sum(mine['tokens'])} tokens at {rate / 1e9:.1f} GFLOP/s, which is "
            f"{rate / mine['gemm']['fp32']:.2f} of torch's fp32 linear ({mine['gemm']['fp32'] / 1e9:.0f}) and "
            f"{rate / mine['gemm']['bf16']:.2f} of its bf16 linear ({mine['gemm']['bf16'] / 1e9:.0f}); "
            f"the model was open after {mine['open_seconds']:.1f} s"
        )
        for side in SIDES[1:]:
            if side in found:
                _compare(side, mine, found[side])


def _compare(side: str, mine: dict[str, Any], other: dict[str, Any]) -> None:
    apart = max(abs(a / b - 1) for a, b in zip(mine["losses"], other["losses"], strict=True))
    print(
        f"against {side}: {sum(other['seconds']) / sum(mine['seconds']):.1f} times the supervised tokens/s "
        f"({other['cpu_seconds'] / mine['cpu_seconds']:.1f} by processor time), "
        f"{mine['peak_bytes'] / other['peak_bytes']:.2f} of the peak memory, losses at most {apart:.2%} apart"
    )


def main() -> None:
    """Make the rows, run the sides one after the other, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--role", default="Jack Sparrow")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--sides", nargs="*", choices=SIDES, default=["rolekit", "trl"])
    parser.add_argument("--one", choices=(*SIDES, "folder"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        keep = given.keep or Path(scratch)
        if given.one == "folder":
            make_folder(keep)
            return
        if given.one:
            one_side(given.one, keep)
            return
        keep.mkdir(parents=True, exist_ok=True)
        if not (keep / "rows.json").is_file():
            make_rows(given.data, given.role, given.steps, keep)
        steps = ["folder"] if not (keep / "base" / "config.json").is_file() else []
        for side in [*steps, *given.sides]:
            command = [sys.executable, "-W", "ignore", __file__, "--keep", str(keep), "--one", side]
            subprocess.run(command, check=True, stdout=sys.stderr)
        summary(keep)


if __name__ == "__main__":
    main()
