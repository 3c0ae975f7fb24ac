"""Rows of float32 weights to the bytes of a GGUF tensor: the search for scales is ggml's own.

`ggml_quantize_chunk` quantizes row by row, so the bytes are those of llama_model_quantize however the rows are cut
into blocks. Calls release the GIL: the threads that call it share nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from rolekit.convert.dequantize import ggml_base
from rolekit.convert.source import Bytes, Float32
from rolekit.convert.tensor_types import TYPE_IDS, row_bytes
from rolekit.errors import RolekitError
from rolekit.text import one_line

WRITABLE = (
    *("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    *("IQ4_NL", "IQ4_XS", "IQ3_S", "IQ3_XXS"),
)
"""The types that weights can be stored in."""


class GgmlQuantizer:
    """The pipeline's Quantizer: any of WRITABLE, with or without an importance matrix."""

    def __init__(self, imatrix: Mapping[str, Float32] | None = None) -> None:
        """imatrix: GGUF tensor name to the mean squared activation of each column; what it lacks goes without."""
        self._imatrix = MappingProxyType(dict(imatrix or {}))
        self._base = _prototyped(ggml_base())

    def quantize(self, name: str, type_name: str, rows: Float32) -> Bytes:
        """The bytes of rows (count, columns): uint8 of shape (count, row_bytes). name is the GGUF tensor's.

        Raises RolekitError for a weight that is NaN or infinite, for one too large for the type, and where the
        importance matrix is of another model.
        """
        rows = np.ascontiguousarray(rows.reshape(len(rows), -1), dtype=np.float32)
        count, columns = rows.shape
        out = np.empty((count, row_bytes(type_name, columns)), np.uint8)
        if not count:
            return out
        if not _finite(rows):
            raise _not_finite(name, rows)
        importance = self._importance(name, type_name, columns)
        address = None if importance is None else importance.ctypes.data
        type_id = TYPE_IDS[type_name]
        self._base.ggml_quantize_chunk(type_id, rows.ctypes.data, out.ctypes.data, 0, count, columns, address)
        if not self._base.ggml_validate_row_data(type_id, out.ctypes.data, out.nbytes):
            raise RolekitError(
                f"{one_line(name)} has weights too large for {type_name} (up to {np.abs(rows).max():.3g}).",
                "Choose a type with a wider range: BF16, F32 or a quantized one.",
            )
        return out

    def _importance(self, name: str, type_name: str, columns: int) -> Float32 | None:
        importance = self._imatrix.get(name)
        if importance is None:
            return None
        if importance.size != columns:
            raise RolekitError(
                f"The importance matrix has {importance.size} columns for {one_line(name)}, which has {columns}.",
                "Make it from this very model: rolekit convert imatrix.",
            )
        return np.ascontiguousarray(importance.reshape(-1), dtype=np.float32)


def _prototyped(base: Any) -> Any:
    import ctypes

    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64
    base.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]
    base.ggml_quantize_chunk.restype = size
    base.ggml_validate_row_data.argtypes = [ctypes.c_int, pointer, size]
    base.ggml_validate_row_data.restype = ctypes.c_bool
    return base


def _finite(rows: Float32) -> bool:
    """Whether every weight is a finite number; one pass of a sum tells nearly always."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(rows.sum())) or bool(np.isfinite(rows).all())


def _not_finite(name: str, rows: Float32) -> RolekitError:
    row, column = np.argwhere(~np.isfinite(rows))[0]
    return RolekitError(
        f"{one_line(name)} has a weight that is no finite number ({rows[row, column]}).",
        "The checkpoint or the adapter is damaged: fetch it again, or use an earlier one of the training run.",
    )
