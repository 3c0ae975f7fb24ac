"""From a training run's adapter folder to a GGUF adapter, beginning to end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rolekit.convert.adapter import Adapter, Matrix, Shape, read_adapter
from rolekit.convert.adapter_gguf import needs_merge, write_gguf_adapter
from rolekit.convert.base import Base, open_base
from rolekit.convert.metadata import MetaValue
from rolekit.convert.source import TensorSource, columns_of, span

_BLOCK_NUMBERS = 1 << 22


@dataclass(frozen=True, slots=True)
class GgufAdapter:
    """A GGUF adapter that was written."""

    path: Path
    arch: str
    tensors: int
    """Weights of the model that it changes."""
    ranks: tuple[int, ...]
    """The ranks that occur, ascending."""
    size_bytes: int


def convert_adapter(
    folder: Path, base_path: Path, out: Path, metadata: Mapping[str, MetaValue] | None = None
) -> GgufAdapter:
    """Write the PEFT or MLX adapter in folder to out, for models that are converted from (or are) base_path.

    metadata is added to the file's header. Raises RolekitError when the adapter is damaged, was trained on another
    model, or can only be merged (`needs_merge` says why).
    """
    with closing(open_base(base_path)) as base:
        adapter = fitted(folder, base)
        plan = base.plan(base.source)
        tensors = write_gguf_adapter(adapter, plan, out, metadata)
    ranks = sorted({low.a.shape[0] for low in adapter.low_rank.values()})
    return GgufAdapter(out, plan.arch, tensors, tuple(ranks), out.stat().st_size)


def merge_reasons(folder: Path, base_path: Path) -> list[str]:
    """Why the adapter in folder can only be merged into base_path, a clause each; empty when it can be swapped."""
    with closing(open_base(base_path)) as base:
        return needs_merge(fitted(folder, base), base.plan(base.source))


def fitted(folder: Path, base: Base) -> Adapter:
    """The adapter in folder, checked against a base.

    Raises RolekitError when it was trained on another model.
    """
    shapes = {name: base.source.shape(name) for name in base.source.names()}
    adapter = read_adapter(folder)
    # PEFT saves the base's own head beside a change of it: such a copy changes nothing.
    own = {
        name: rows for name, rows in adapter.replaced.items() if not _is_copy(rows, name, base.source, shapes)
    }
    return replace(adapter, replaced=own).fitted(shapes, base.name, base.tied())


def _is_copy(rows: Matrix, name: str, source: TensorSource, shapes: Mapping[str, Shape]) -> bool:
    if shapes.get(name) != rows.shape:
        return False
    step = max(1, _BLOCK_NUMBERS // columns_of(rows.shape))
    for start in range(0, rows.shape[0], step):
        index = span(start, min(start + step, rows.shape[0]))
        if not np.array_equal(rows.read(index), source.rows(name, index)):
            return False
    return True
