"""peft's adapter folders: read with every setting that changes the result honoured or refused, and written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rolekit.adapter_folder import (
    CONFIG_FILE,
    WEIGHTS_FILES,
    lora_scale,
    matching,
    pattern_table,
    read_config,
)
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

_TENSOR = re.compile(
    r"base_model\.model\.(?P<path>.+?)\."
    r"(?:lora_(?P<half>[AB])(?:\.[^.]+)?\.weight|(?P<magnitude>lora_magnitude_vector)(?:\.[^.]+){0,2})"
)
_MUST_BE_UNSET = {
    "modules_to_save": "it replaces whole layers (modules_to_save)",
    "trainable_token_indices": "it trains single tokens of the embedding",
    "alora_invocation_tokens": "it acts from an invocation token on only (aLoRA)",
    "target_parameters": "it adapts parameters that are no linear layers",
    "layer_replication": "it repeats layers of the base",
    "lora_bias": "it trains biases",
    "fan_in_fan_out": "its base keeps weights transposed (fan_in_fan_out)",
    "use_qalora": "it uses QA-LoRA",
    "use_bdlora": "it uses BD-LoRA",
    "velora_config": "it uses VeLoRA",
    "arrow_config": "it uses Arrow",
    "kasa_config": "it uses KaSA",
    "monteclora_config": "it uses MonteCLoRA",
}
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")
"""Initializations that also change the base's weights: the adapter is right over that changed base only."""
_LAYER = re.compile(r"(.*?\.[^.]*\.)(\d+)\.(.+)")


def read_peft(folder: Path) -> LoraAdapter:
    """The peft adapter in folder, with each module's own rank and scale.

    The scale is alpha / rank, or alpha / sqrt(rank) with rsLoRA, after rank_pattern and alpha_pattern.
    Raises RolekitError when a setting or a tensor has no counterpart in a plain LoRA or DoRA adapter.
    """
    config = read_config(folder)
    tensors = read_tensors(folder / WEIGHTS_FILES["peft"])
    refuse(folder, [*_refused_settings(config), *_refused_tensors(tensors)], "another package")
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if match := _TENSOR.fullmatch(name):
            halves.setdefault(match["path"], {})[match["half"] or "magnitude"] = tensor
    if not halves:
        raise RolekitError(
            f"{folder} holds an adapter without a single module.", "Train it, or name another."
        )
    modules = tuple(_module(config, path, halves[path]) for path in sorted(halves, key=in_order))
    base = config.get("base_model_name_or_path")
    dropout = number(config, "lora_dropout", CONFIG_FILE) if "lora_dropout" in config else 0.0
    return LoraAdapter(modules, base if isinstance(base, str) else "", dropout)


def to_peft(adapter: LoraAdapter) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """peft's adapter_config.json and tensors for an adapter of one rank and one scale."""
    rank, scale = adapter.modules[0].rank, adapter.modules[0].scale
    alpha, factor = _alpha(rank, scale)
    tensors = {}
    for module in adapter.modules:
        prefix = f"base_model.model.{module.path}"
        tensors[f"{prefix}.lora_A.weight"] = module.a
        tensors[f"{prefix}.lora_B.weight"] = module.b.scaled(factor)
        if module.magnitude is not None:
            tensors[f"{prefix}.lora_magnitude_vector"] = module.magnitude
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": adapter.base or None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": adapter.dropout,
        "use_dora": adapter.dora,
        "bias": "none",
        **target_settings(module.path for module in adapter.modules),
    }
    return config, tensors


def target_settings(paths: Iterable[str]) -> dict[str, Any]:
    """peft's target_modules and layers_to_transform for exactly these module paths.

    Leaf names and layer numbers where every named layer has the same leaves, else the full paths.
    """
    paths = sorted(paths, key=in_order)
    leaves: dict[int, set[str]] = {}
    for path in paths:
        match = _LAYER.fullmatch(path)
        if match is None or not path.startswith("model.layers."):
            return {"target_modules": paths}
        leaves.setdefault(int(match[2]), set()).add(match[3].split(".")[-1])
    names = set().union(*leaves.values())
    if any(found != names for found in leaves.values()) or len(paths) != len(names) * len(leaves):
        return {"target_modules": paths}
    return {"target_modules": sorted(names), "layers_to_transform": sorted(leaves)}


def _module(config: Mapping[str, Any], path: str, halves: Mapping[str, Tensor]) -> LoraModule:
    if not {"A", "B"} <= halves.keys():
        missing = min({"A", "B"} - halves.keys())
        raise RolekitError(
            f"The adapter has no lora_{missing} for {one_line(path)}.",
            "Copy the adapter again: it is not whole.",
        )
    a, b = halves["A"], halves["B"]
    rank = int(_of_pattern(config, "rank_pattern", path, number(config, "r", CONFIG_FILE)))
    alpha = _of_pattern(config, "alpha_pattern", path, number(config, "lora_alpha", CONFIG_FILE))
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != rank or b.shape[1] != rank or rank < 1:
        raise RolekitError(
            f"{CONFIG_FILE} gives {one_line(path)} the rank {rank}, and its tensors have the shapes "
            f"{a.shape} and {b.shape}.",
            "Use the settings that the adapter was saved with.",
        )
    scale = lora_scale(config, rank, alpha)
    magnitude = halves.get("magnitude")
    if (magnitude is not None) != bool(config.get("use_dora")):
        raise RolekitError(
            f"{CONFIG_FILE} says use_dora = {bool(config.get('use_dora'))}, and the tensors of {one_line(path)} "
            "say otherwise.",
            "Use the settings that the adapter was saved with.",
        )
    return LoraModule(path, a, b, scale, magnitude)


def _of_pattern(config: Mapping[str, Any], key: str, path: str, otherwise: float) -> float:
    """What a rank or alpha pattern says for path; peft lets the first key win that matches the path's end."""
    patterns = pattern_table(config, key)
    values = {pattern: number(patterns, pattern, f"{key} of {CONFIG_FILE}") for pattern in patterns}
    return matching(values, path, otherwise)


def _alpha(rank: int, scale: float) -> tuple[float, float]:
    """alpha with alpha / rank == scale, and what b must be multiplied by where no number does that."""
    for alpha in (scale * rank, math.nextafter(scale * rank, math.inf), math.nextafter(scale * rank, 0.0)):
        if alpha / rank == scale:
            return alpha, 1.0
    return float(rank), scale


def _refused_settings(config: Mapping[str, Any]) -> list[str]:
    reasons = [reason for key, reason in _MUST_BE_UNSET.items() if config.get(key)]
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        reasons.append(f"it is of the kind {one_line(str(kind))}, not LORA")
    if config.get("bias", "none") != "none":
        reasons.append("it trains biases")
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(_CHANGES_BASE):
        reasons.append(f"its initialization ({one_line(start)}) changed the base's own weights")
    return reasons


def _refused_tensors(tensors: Mapping[str, Tensor]) -> list[str]:
    strange = [name for name in sorted(tensors) if not _TENSOR.fullmatch(name)]
    if any("lora_embedding" in name for name in strange):
        return [
            "it adapts the embedding, which mlx-lm and peft compute differently where the head is tied to it"
        ]
    if any(name.endswith(".base_layer.weight") for name in strange):
        return ["it brings whole weights of the base along (save it with save_embedding_layers=False)"]
    return [f"it holds {one_line(strange[0])}, which is no part of a LoRA"] if strange else []
