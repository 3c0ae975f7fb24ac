"""A whole MLX run in a process that can be killed: python mlx_worker.py BASE RUN."""

from __future__ import annotations

import sys
from pathlib import Path

from toy_rows import toy_rows

from rolekit.train.loop import Loop, LoopOptions
from rolekit.train.mlx_stepper import open_mlx
from rolekit.train.packing import Batching
from rolekit.train.recipe import Lora, Recipe


def train(base: Path, folder: Path) -> None:
    """Train with dropout; a line on stdout for every event."""
    recipe = Recipe(lora=Lora(r=2, alpha=4, dropout=0.2))
    batching = Batching(rows_per_step=4, pack_tokens=60)
    options = LoopOptions(batching, epochs=2, learning_rate=0.01, eval_every=3, save_every=1)
    stepper = open_mlx(recipe, base)
    loop = Loop(
        stepper, toy_rows(14), toy_rows(4, seed=9), options, folder, "same",
        watch=lambda event: print(type(event).__name__, flush=True),
    )  # fmt: skip
    loop.run()


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]))
