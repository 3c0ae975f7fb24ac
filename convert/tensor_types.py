"""The types a tensor may have in a GGUF file: names, ids and sizes (ggml.h)."""

from __future__ import annotations

from types import MappingProxyType

from rolekit.engine.gguf_header import TENSOR_TYPES

TYPE_IDS = MappingProxyType({name: type_id for type_id, (name, _, _) in TENSOR_TYPES.items()})
FLOATS = frozenset({"F32", "F16", "BF16"})


def block_size(type_name: str) -> int:
    """How many numbers share one block: a row's length is a multiple of it."""
    return TENSOR_TYPES[TYPE_IDS[type_name]][1]


def row_bytes(type_name: str, columns: int) -> int:
    """How many bytes a row of columns numbers takes.

    Raises ValueError when the row is no whole number of blocks.
    """
    _, block, size = TENSOR_TYPES[TYPE_IDS[type_name]]
    if columns % block:
        raise ValueError(f"{columns} columns are no whole {type_name} blocks of {block}")
    return columns // block * size
