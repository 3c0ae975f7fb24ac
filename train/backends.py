"""Which library trains, and a model opened with it."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from rolekit.errors import RolekitError
from rolekit.train.bases import base_name
from rolekit.train.recipe import Recipe
from rolekit.train.stepping import Stepper

Chosen = Literal["torch", "mlx"]
Generate = Callable[[tuple[int, ...], frozenset[int], int], tuple[int, ...]]


def choose_backend(wanted: str) -> Chosen:
    """auto: MLX on Apple silicon, else torch; whichever is installed where only one is.

    Raises RolekitError when none is installed.
    """
    if wanted in ("torch", "mlx"):
        return "torch" if wanted == "torch" else "mlx"
    there = {name: importlib.util.find_spec(name) is not None for name in ("torch", "mlx_lm")}
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    if there["mlx_lm"] and (apple or not there["torch"]):
        return "mlx"
    if not there["torch"]:
        extra = "mlx" if apple else "train"
        raise RolekitError(
            "Nothing that can train is installed.", f"Install it: pip install 'rolekit[{extra}]'"
        )
    return "torch"


def on_processor(backend: Chosen) -> bool:
    """Whether the backend computes on the processor here, for want of a GPU that it knows."""
    if backend == "mlx":
        import mlx.core as mx

        return bool(mx.default_device().type != mx.DeviceType.gpu)
    import torch

    return not torch.cuda.is_available() and not torch.backends.mps.is_available()


def open_stepper(recipe: Recipe, base: Path, backend: Chosen) -> Stepper:
    """The base with a new adapter, ready to train.

    Raises RolekitError for a base or a recipe that the backend cannot train.
    """
    if backend == "mlx":
        from rolekit.train.gguf_folder import folder_of
        from rolekit.train.mlx_stepper import open_mlx

        return open_mlx(recipe, base if base.is_dir() else folder_of(base), base_name(recipe.base, base))
    from rolekit.train.torch_stepper import open_torch

    return open_torch(base, recipe, base_name(recipe.base, base))


def generator_of(stepper: Stepper) -> Generate | None:
    """How the model answers while it is trained: prompt ids, ids that end, most tokens to a greedy continuation.

    None where the backend cannot, or several processes train.
    """
    generate: Generate | None = getattr(stepper, "generate", None)
    return generate if stepper.processes == 1 else None
