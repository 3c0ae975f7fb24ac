"""From stored bytes to float32: the three float types in numpy, every quantized one through ggml."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from rolekit.convert.source import Bytes, Float32
from rolekit.convert.tensor_types import TYPE_IDS, row_bytes
from rolekit.errors import RolekitError
from rolekit.text import one_line

_ToFloat = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


class _TypeTraits(ctypes.Structure):
    """ggml.h: struct ggml_type_traits."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("block_size", ctypes.c_int64),
        ("block_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.c_void_p),
        ("from_float_ref", ctypes.c_void_p),
    )


def to_float32(data: Bytes, type_name: str, columns: int) -> Float32:
    """The numbers of stored rows: data is (count, row_bytes) of type_name, the result (count, columns).

    Raises ValueError for a type whose numbers nobody can read back.
    """
    count = len(data)
    if type_name == "F32":
        return data.reshape(-1).view("<f4").astype(np.float32, copy=False).reshape(count, columns)
    if type_name == "F16":
        return data.reshape(-1).view("<f2").astype(np.float32).reshape(count, columns)
    if type_name == "BF16":
        wide = data.reshape(-1).view("<u2").astype(np.uint32)
        np.left_shift(wide, 16, out=wide)
        return wide.view(np.float32).reshape(count, columns)
    rows = np.empty((count, columns), np.float32)
    if data.size != count * row_bytes(type_name, columns):
        raise ValueError(f"{data.size} bytes are not {count} rows of {type_name}")
    source = np.ascontiguousarray(data)
    _to_float(type_name)(source.ctypes.data, rows.ctypes.data, rows.size)
    return rows


def check_stored(name: str, type_name: str, data: Bytes) -> None:
    """Raise RolekitError when stored rows, which are to be copied as they are, hold a NaN or an infinity."""
    flat = data.reshape(-1)
    if type_name == "F32":
        sound = bool(np.isfinite(flat.view("<f4")).all())
    elif type_name in ("F16", "BF16"):
        exponent = np.uint16(0x7C00 if type_name == "F16" else 0x7F80)
        sound = not bool(((flat.view("<u2") & exponent) == exponent).any())
    else:
        library = ggml_base()
        library.ggml_validate_row_data.restype = ctypes.c_bool
        library.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
        source = np.ascontiguousarray(data)
        sound = bool(library.ggml_validate_row_data(TYPE_IDS[type_name], source.ctypes.data, source.nbytes))
    if not sound:
        raise RolekitError(
            f"{one_line(name)} has a weight that is no finite number.",
            "The checkpoint is damaged: fetch it again, or use an earlier one of the training run.",
        )


@cache
def _to_float(type_name: str) -> Any:
    library = ggml_base()
    library.ggml_get_type_traits.restype = ctypes.POINTER(_TypeTraits)
    library.ggml_get_type_traits.argtypes = [ctypes.c_int]
    traits = library.ggml_get_type_traits(TYPE_IDS[type_name]).contents
    if not traits.to_float or traits.type_size != row_bytes(type_name, traits.block_size):
        raise ValueError(f"ggml cannot read {type_name} back")
    return _ToFloat(traits.to_float)


@cache
def ggml_base() -> Any:
    """libggml-base (a ctypes library), as llama-cpp-python brings it: quantization and its inverse.

    Calls release the GIL, so threads use all cores.
    """
    from llama_cpp import _ggml

    library = _ggml.libggml
    if not hasattr(library, "ggml_quantize_chunk"):  # Windows does not look into a library's own libraries
        library = _ggml.ctypes_ext.load_shared_library("ggml-base", _ggml.libggml_base_path)
    return library
