"""mlx-lm's adapter folders: read and written as its own load_adapters expects them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rolekit.adapter_folder import CONFIG_FILE, WEIGHTS_FILES, read_config
from rolekit.errors import RolekitError
from rolekit.text import one_line
from rolekit.train.lora_adapter import (
    LoraAdapter,
    LoraModule,
    in_order,
    number,
    refuse,
)
from rolekit.train.tensors import Tensor, read_tensors

_PARTS = ("lora_a", "lora_b", "m")


def read_mlx(folder: Path) -> LoraAdapter:
    """The mlx-lm adapter in folder. mlx-lm's scale is the factor itself, not an alpha.

    Raises RolekitError for full fine-tuning, experts, embeddings, and files that are not whole.
    """
    config = read_config(folder)
    kind = config.get("fine_tune_type", "lora")
    if kind not in ("lora", "dora"):
        raise RolekitError(
            f"{folder} holds {one_line(str(kind))} fine-tuned weights, which are no adapter.",
            "Convert the fused model instead.",
        )
    parameters = config.get("lora_parameters")
    if not isinstance(parameters, dict):
        raise RolekitError(f"{CONFIG_FILE} has no lora_parameters.", "Copy the adapter again.")
    scale = number(parameters, "scale", f"lora_parameters of {CONFIG_FILE}")
    tensors = read_tensors(folder / WEIGHTS_FILES["mlx"])
    parts: dict[str, dict[str, Tensor]] = {}
    reasons = []
    for name, tensor in tensors.items():
        path, _, part = name.rpartition(".")
        if part not in _PARTS or not path:
            reasons.append(f"it holds {one_line(name)}, which is no part of a LoRA")
        elif len(tensor.shape) != (1 if part == "m" else 2):
            reasons.append(f"it adapts experts ({one_line(path)})")
        elif "embed" in path.split(".")[-1]:
            reasons.append("it adapts the embedding, which mlx-lm and peft compute differently")
        parts.setdefault(path, {})[part] = tensor
    refuse(folder, list(dict.fromkeys(reasons)), "peft")
    if not parts:
        raise RolekitError(
            f"{folder} holds an adapter without a single module.", "Train it, or name another."
        )
    modules = tuple(_module(path, parts[path], scale, kind == "dora") for path in sorted(parts, key=in_order))
    base = config.get("model")
    dropout = number(parameters, "dropout", CONFIG_FILE) if "dropout" in parameters else 0.0
    return LoraAdapter(modules, base if isinstance(base, str) else "", dropout)


def to_mlx(adapter: LoraAdapter) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """mlx-lm's adapter_config.json and tensors (float32, as mlx-lm has them) for one rank and one scale.

    keys are absolute module paths, which mlx-lm matches in the whole model; num_layers -1 means all.
    """
    tensors = {}
    for module in adapter.modules:
        tensors[f"{module.path}.lora_a"] = module.a.transposed.float32()
        tensors[f"{module.path}.lora_b"] = module.b.transposed.float32()
        if module.magnitude is not None:
            tensors[f"{module.path}.m"] = module.magnitude.float32()
    config = {
        "fine_tune_type": "dora" if adapter.dora else "lora",
        "model": adapter.base,
        "num_layers": -1,
        "lora_parameters": {
            "rank": adapter.modules[0].rank,
            "scale": adapter.modules[0].scale,
            "dropout": adapter.dropout,
            "keys": [module.path for module in adapter.modules],
        },
    }
    return config, tensors


def _module(path: str, parts: Mapping[str, Tensor], scale: float, dora: bool) -> LoraModule:
    missing = [part for part in _PARTS[: 3 if dora else 2] if part not in parts]
    if missing:
        raise RolekitError(
            f"The adapter has no {missing[0]} for {one_line(path)}.",
            "Copy the adapter again: it is not whole.",
        )
    a, b = parts["lora_a"].transposed, parts["lora_b"].transposed
    if a.shape[0] != b.shape[1]:
        raise RolekitError(
            f"The two halves of {one_line(path)} have the ranks {a.shape[0]} and {b.shape[1]}.",
            "Copy the adapter again.",
        )
    return LoraModule(path, a, b, scale, parts.get("m"))
