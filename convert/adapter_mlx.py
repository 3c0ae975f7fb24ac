"""mlx-lm's adapters (lora, dora and full), read strictly.

Source: mlx-lm 0.32 (tuner/lora.py, tuner/dora.py, tuner/utils.load_adapters). A linear layer holds lora_a (columns,
rank) and lora_b (rank, rows) and adds scale·((x @ lora_a) @ lora_b); an embedding holds lora_a (tokens, rank) and
lora_b (rank, columns); scale is used as it is, not divided by the rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rolekit.adapter_folder import WEIGHTS_FILES, read_config
from rolekit.convert.adapter import Adapter, LowRank, Matrix
from rolekit.convert.adapter_files import AdapterFile, StoredMatrix, refuse_all
from rolekit.errors import RolekitError
from rolekit.text import one_line

_EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "tok_embeddings")
_AGAIN = "Train it again with mlx-lm, or copy both files from where it was trained."


def read(folder: Path) -> Adapter:
    """The mlx-lm adapter in folder; see read_adapter."""
    config = read_config(folder)
    kind = config.get("fine_tune_type", "lora")
    if kind not in ("lora", "dora", "full"):
        raise RolekitError(
            f"The adapter {one_line(folder.name)} is of the type {one_line(str(kind))}, not lora, dora or full.",
            _AGAIN,
        )
    file = AdapterFile(folder / WEIGHTS_FILES["mlx"])
    low_rank, replaced = (
        ({}, _whole(folder, file)) if kind == "full" else (_low_ranks(folder, config, file, kind), {})
    )
    base = config.get("model")
    return Adapter(
        folder=folder,
        kind="mlx",
        base_model=base if isinstance(base, str) else "",
        low_rank=low_rank,
        replaced=replaced,
        keeps_tied=True,  # mlx-lm's tied output is the changed embedding itself
        digest=file.digest(),
    )


def _low_ranks(folder: Path, config: Mapping[str, Any], file: AdapterFile, kind: str) -> dict[str, LowRank]:
    scale, rank = _parameters(folder, config)
    halves: dict[str, dict[str, StoredMatrix]] = {}
    faults = []
    for key in file.shapes:
        module, _, leaf = key.rpartition(".")
        if leaf in ("lora_a", "lora_b") or (leaf == "m" and kind == "dora"):
            halves.setdefault(module, {})[leaf] = file.matrix(key)
        else:
            faults.append(f"it holds {one_line(key)}, which is no part of a {kind} adapter")
    if not halves:
        faults.append("it holds no weights")
    faults += [fault for module, found in halves.items() for fault in _faults(module, found, rank, kind)]
    refuse_all(folder, faults, _AGAIN)
    return {f"{module}.weight": _low_rank(module, found, scale) for module, found in halves.items()}


def _parameters(folder: Path, config: Mapping[str, Any]) -> tuple[float, int]:
    parameters = config.get("lora_parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    scale, rank = parameters.get("scale"), parameters.get("rank")
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale):
        hint = " (it has alpha, which mlx-lm does not read)" if "alpha" in parameters else ""
        refuse_all(folder, [f"lora_parameters has no scale{hint}"], _AGAIN)
    if type(rank) is not int or rank < 1:
        refuse_all(folder, ["lora_parameters has no rank"], _AGAIN)
    assert isinstance(scale, int | float)
    assert isinstance(rank, int)
    return float(scale), rank


def _faults(module: str, found: Mapping[str, StoredMatrix], rank: int, kind: str) -> list[str]:
    if "lora_a" not in found or "lora_b" not in found:
        return [f"{one_line(module)} has only one half of its low-rank change"]
    a, b = found["lora_a"], found["lora_b"]
    if len(a.shape) != 2 or len(b.shape) != 2:
        return [f"{one_line(module)} changes the experts of a mixture, which rolekit does not merge"]
    if a.shape[1] != rank or b.shape[0] != rank:
        return [f"{one_line(module)} has rank {a.shape[1]} in its tensors and {rank} in its settings"]
    if kind == "dora":
        if _is_embedding(module):
            return [f"{one_line(module)} is an embedding with DoRA, which rolekit does not merge"]
        if "m" not in found or math.prod(found["m"].shape) != b.shape[1]:
            return [f"{one_line(module)} has no DoRA magnitude for each of its {b.shape[1]} rows"]
    return []


def _low_rank(module: str, found: Mapping[str, StoredMatrix], scale: float) -> LowRank:
    a, b = found["lora_a"], found["lora_b"]
    if _is_embedding(module):
        return LowRank(b, a, scale)
    return LowRank(
        a.file.matrix(a.name, transposed=True), b.file.matrix(b.name, transposed=True), scale, found.get("m")
    )


def _is_embedding(module: str) -> bool:
    return module.rpartition(".")[2] in _EMBEDDINGS


def _whole(folder: Path, file: AdapterFile) -> dict[str, Matrix]:
    quantized = [name for name in file.shapes if name.endswith((".scales", ".biases"))]
    refuse_all(folder, [f"{one_line(name)} belongs to a quantized model" for name in quantized], _AGAIN)
    return {name: file.matrix(name) for name in file.shapes}
