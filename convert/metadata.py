"""GGUF metadata: values, their types on disk, and their bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rolekit.convert.tensor_types import TYPE_IDS

MetaValue: TypeAlias = "str | bool | int | float | Sequence[str] | np.generic[Any] | NDArray[Any] | RawValue"
"""An int is written as uint32 and a float as float32; a numpy scalar or array has its own type."""

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_STRING, _ARRAY = 8, 9
_KINDS = {
    "uint8": 0,
    "int8": 1,
    "uint16": 2,
    "int16": 3,
    "uint32": 4,
    "int32": 5,
    "float32": 6,
    "bool": 7,
    "uint64": 10,
    "int64": 11,
    "float64": 12,
}
MAGIC, VERSION, ALIGNMENT = b"GGUF", 3, 32


@dataclass(frozen=True, slots=True)
class RawValue:
    """A value as another GGUF file has it: the type's id and the bytes behind it."""

    kind: int
    data: bytes


def encode_value(value: MetaValue) -> bytes:
    """The type's id and the value, as they stand behind a key.

    Raises TypeError for a type that GGUF does not have.
    """
    if isinstance(value, RawValue):
        return _U32.pack(value.kind) + value.data
    if isinstance(value, str):
        return _U32.pack(_STRING) + _text(value)
    if isinstance(value, np.ndarray):
        kind = _KINDS[value.dtype.name]
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        return _U32.pack(_ARRAY) + _U32.pack(kind) + _U64.pack(value.size) + little.tobytes()
    if isinstance(value, Sequence):
        texts = b"".join(_text(text) for text in value)
        return _U32.pack(_ARRAY) + _U32.pack(_STRING) + _U64.pack(len(value)) + texts
    return _encode_scalar(value)


def _encode_scalar(value: bool | float | np.generic[Any]) -> bytes:
    if isinstance(value, bool):
        value = np.bool_(value)
    elif isinstance(value, int):
        value = np.uint32(value)
    elif isinstance(value, float):
        value = np.float32(value)
    array = np.asarray(value)
    return _U32.pack(_KINDS[array.dtype.name]) + array.astype(array.dtype.newbyteorder("<")).tobytes()


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return _U64.pack(len(data)) + data


def encode_header(
    metadata: Mapping[str, MetaValue], tensors: Sequence[tuple[str, tuple[int, ...], str, int]]
) -> bytes:
    """Everything before the weights, padded to the alignment (32).

    tensors: (name, shape in numpy's order, type name, offset from the first weight).
    """
    head = [MAGIC, _U32.pack(VERSION), _U64.pack(len(tensors)), _U64.pack(len(metadata))]
    for key, value in metadata.items():
        head += [_text(key), encode_value(value)]
    for name, shape, type_name, offset in tensors:
        sizes = [_U64.pack(length) for length in reversed(shape)]
        head += [
            _text(name),
            _U32.pack(len(shape)),
            *sizes,
            _U32.pack(TYPE_IDS[type_name]),
            _U64.pack(offset),
        ]
    data = b"".join(head)
    return data + b"\0" * (-len(data) % ALIGNMENT)
