"""A LoRA as a GGUF adapter that llama.cpp adds at run time, exact for every rank and scale.

llama.cpp computes user_scale·(B·(A·x)), times alpha/rank only where alpha is not 0 (llama-adapter.h, get_scale). So
alpha is written as 0 and each tensor's true scale is folded into its B: rsLoRA, rank and alpha patterns and mixed ranks
come out as they were trained. B's rows follow the base tensor's: they are permuted, split or stacked by the same plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rolekit.convert.adapter import Adapter, LowRank, listed
from rolekit.convert.metadata import MetaValue, encode_header
from rolekit.convert.plan import ModelPlan, OutputTensor
from rolekit.convert.source import Float32
from rolekit.errors import RolekitError
from rolekit.paths import replacing
from rolekit.text import one_line


@dataclass(frozen=True, slots=True)
class _Pair:
    """The change of one GGUF tensor: which low-rank changes it is made of, stacked."""

    tensor: OutputTensor
    sources: tuple[str, ...]
    rank: int


def needs_merge(adapter: Adapter, plan: ModelPlan) -> list[str]:
    """Why this adapter cannot be added at run time, a clause each; empty when it can be.

    plan is that of the base without the adapter.
    """
    dora = sum(low.magnitude is not None for low in adapter.low_rank.values())
    reasons = [f"it rescales the rows of {dora} weights (DoRA)"] if dora else []
    if adapter.replaced:
        reasons.append(f"it brings whole tensors ({listed(sorted(adapter.replaced))})")
    if adapter.bias_deltas:
        reasons.append(f"it changes biases ({listed(sorted(adapter.bias_deltas))})")
    if adapter.token_rows:
        reasons.append(f"it trained rows of {listed(sorted(adapter.token_rows))}")
    places = _places(plan)
    for name in sorted(adapter.low_rank):
        tensors = places.get(name, [])
        if any(tensor.name == "token_embd.weight" for tensor in tensors):
            reasons.append("it changes the embedding, which in llama.cpp is no matrix that adapters reach")
        elif not tensors:
            reasons.append(f"the base has no tensor of its own for {one_line(name)}")
    return reasons


def write_gguf_adapter(
    adapter: Adapter, plan: ModelPlan, out: Path, metadata: Mapping[str, MetaValue] | None = None
) -> int:
    """Write adapter for the base that plan describes to out, in one step; gives the number of tensors it changes.

    metadata is added to the header. The matrices are float32. Raises RolekitError when the adapter has to be merged
    instead (needs_merge), or a file cannot be read or written.
    """
    if reasons := needs_merge(adapter, plan):
        raise RolekitError(
            f"The adapter {one_line(adapter.folder.name)} cannot be added at run time: {listed(reasons, '; ')}.",
            "Merge it: rolekit convert BASE --adapter DIR --out MODEL.gguf.",
        )
    pairs = list(_pairs(adapter, plan))
    tensors, offset = [], 0
    for pair in pairs:
        for half, shape in (("a", (pair.rank, pair.tensor.columns)), ("b", (pair.tensor.rows, pair.rank))):
            tensors.append((f"{pair.tensor.name}.lora_{half}", shape, "F32", offset))
            offset += _padded(4 * shape[0] * shape[1])
    header: dict[str, MetaValue] = {
        "general.type": "adapter",
        "general.architecture": plan.arch,
        "adapter.type": "lora",
        "adapter.lora.alpha": 0.0,
        **(metadata or {}),
    }
    with replacing(out) as file:
        file.write(encode_header(header, tensors))
        for pair in pairs:
            for matrix in _matrices(pair, adapter.low_rank):
                data = np.ascontiguousarray(matrix, "<f4").tobytes()
                file.write(data + b"\0" * (_padded(len(data)) - len(data)))
    return len(pairs)


def _places(plan: ModelPlan) -> dict[str, list[OutputTensor]]:
    """Hugging Face tensor name to the GGUF tensors that hold rows of it."""
    places: dict[str, list[OutputTensor]] = {}
    for tensor in plan.tensors:
        for part in tensor.parts:
            places.setdefault(part.source, []).append(tensor)
    return places


def _pairs(adapter: Adapter, plan: ModelPlan) -> Iterator[_Pair]:
    for tensor in plan.tensors:
        sources = tuple(
            dict.fromkeys(part.source for part in tensor.parts if part.source in adapter.low_rank)
        )
        if sources:
            yield _Pair(tensor, sources, sum(adapter.low_rank[source].a.shape[0] for source in sources))


def _matrices(pair: _Pair, changes: Mapping[str, LowRank]) -> tuple[Float32, Float32]:
    """A (rank, columns) and B (rows, rank): of several sources, A one below the other and B in a block for each."""
    a = np.concatenate([changes[source].a.read() for source in pair.sources])
    b = np.zeros((pair.tensor.rows, pair.rank), np.float32)
    starts = dict(
        zip(pair.sources, np.cumsum([0, *(changes[s].a.shape[0] for s in pair.sources)]), strict=False)
    )
    top = 0
    for part in pair.tensor.parts:
        height = part.stop - part.start
        change = changes.get(part.source)
        if change is not None:
            left = int(starts[part.source])
            rows = change.b.read(part.index(0, height)) * np.float32(change.scale)
            b[top : top + height, left : left + rows.shape[1]] = rows
        top += height
    return a, b


def _padded(size: int) -> int:
    return -(-size // 32) * 32
