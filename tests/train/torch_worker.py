"""Training runs in processes of their own, which are killed (`lives`), or are several (`pair`), or neither (`run`).

Usage: torch_worker.py MODE BASE OUT [PORT SHARDED]. The heavy imports are paid once: lives are forked from one process.
Also what `torchrun` starts, with the mode `run`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

import peft  # noqa: F401  (before the forks)
import torch
import transformers.models.llama.modeling_llama  # noqa: F401
from toy_rows import toy_rows

from rolekit.train.loop import Loop, LoopOptions
from rolekit.train.packing import Batching
from rolekit.train.recipe import Lora, Recipe
from rolekit.train.stepping import LoopEvent, StepDone
from rolekit.train.torch_stepper import open_torch

OPTIONS = LoopOptions(
    Batching(rows_per_step=4, pack_tokens=40), epochs=2, learning_rate=0.01, eval_every=4, save_every=1
)

LORA = Lora(r=4, layers_to_transform=(1, 2))


def run(base: Path, out: Path) -> None:
    """One run; each step is a line on stdout."""
    recipe = Recipe(lora=LORA, dtype="float32")
    stepper = open_torch(base, recipe, "tiny")

    def watch(event: LoopEvent) -> None:
        if isinstance(event, StepDone) and stepper.rank == 0:
            line = json.dumps([event.step, event.loss, event.gradient_norm]) + "\n"
            os.write(1, line.encode())

    Loop(stepper, toy_rows(16), toy_rows(4, seed=5), OPTIONS, out, "same", watch).run()


def lives(base: Path, out: Path) -> None:
    """Kill the run after a few steps, again and again, until it gets through; print how often."""
    chance, kills = random.Random(7), 0
    while not (out / "adapter").exists():
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(writing, 1)
            run(base, out)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as lines:
            for _ in range(chance.randrange(1, 4)):
                if not lines.readline():
                    break
            else:
                os.kill(child, signal.SIGKILL)
                kills += 1
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL)
    print(kills)


def pair(base: Path, out: Path, port: str, sharded: str) -> None:
    """Two processes that see the environment that torchrun (or accelerate launch with FSDP) gives them."""
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            os.environ |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_FSDP": sharded,
            }  # fmt: skip
            run(base, out)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"run": run, "lives": lives, "pair": pair}[sys.argv[1]](*map(Path, sys.argv[2:4]), *sys.argv[4:])
