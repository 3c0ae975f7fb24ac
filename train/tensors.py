"""Safetensors files without a framework: exact bytes in, exact bytes out, bfloat16 included."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from rolekit.errors import RolekitError
from rolekit.paths import replacing

_STORED = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Numbers as they lie in a file.

    dtype is safetensors' name (F32, F16, BF16, F64). numpy has no bfloat16, so values then holds its 16 bits.
    """

    dtype: str
    values: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return self.values.shape

    @property
    def transposed(self) -> Tensor:
        """The same numbers with rows and columns exchanged."""
        return Tensor(self.dtype, numpy.ascontiguousarray(self.values.T))

    def padded(self, size: int, axis: int) -> Tensor:
        """The tensor with zeros behind, up to size along axis."""
        widths = [(0, size - length if number == axis else 0) for number, length in enumerate(self.shape)]
        return Tensor(self.dtype, numpy.pad(self.values, widths))

    def float32(self) -> Tensor:
        """The same numbers in float32: exact, except for a float64 tensor."""
        if self.dtype == "F32":
            return self
        if self.dtype == "BF16":
            return Tensor("F32", (self.values.astype("<u4") << 16).view("<f4"))
        return Tensor("F32", self.values.astype("<f4"))

    def bfloat16(self) -> Tensor:
        """The numbers rounded to bfloat16, ties to even."""
        if self.dtype == "BF16":
            return self
        bits = self.float32().values.view("<u4")
        return Tensor("BF16", ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2"))

    def scaled(self, factor: float) -> Tensor:
        """The tensor times factor: untouched for 1, else in float32 with one rounding."""
        if factor == 1.0:
            return self
        product = self.float32().values.astype("<f8") * factor
        return Tensor("F32", product.astype("<f4"))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises RolekitError when it cannot be read, is damaged, or holds a dtype that adapters do not have.
    """
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except OSError as error:
        raise RolekitError(
            f"{path} cannot be read ({error.strerror or error}).", "Name a folder that holds it."
        ) from error
    except SafetensorError as error:
        raise RolekitError(
            f"{path} is damaged ({error}).", "Copy it again, or train again from the last checkpoint."
        ) from error
    strange = sorted({str(entry["dtype"]) for _, entry in entries} - _STORED.keys())
    if strange:
        raise RolekitError(
            f"{path.name} holds numbers of type {', '.join(strange)}, which no LoRA adapter has.",
            "Name an adapter that is not quantized.",
        )
    return {
        str(name): Tensor(
            str(entry["dtype"]),
            numpy.frombuffer(entry["data"], _STORED[str(entry["dtype"])]).reshape(entry["shape"]),
        )
        for name, entry in entries
    }


@dataclass(frozen=True, slots=True)
class Pending:
    """A tensor that is made when its turn to be written comes."""

    dtype: str
    shape: tuple[int, ...]
    make: Callable[[], Tensor]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Put tensors into a safetensors file in one step, names sorted: the same tensors give the same bytes.

    Raises RolekitError when the disk is full.
    """
    pending = {
        name: Pending(tensor.dtype, tensor.shape, partial(_itself, tensor))
        for name, tensor in tensors.items()
    }
    write_pending(path, pending, metadata)


def write_pending(path: Path, tensors: Mapping[str, Pending], metadata: Mapping[str, str]) -> None:
    """The same for tensors that are not there yet: one at a time is in memory.

    Written by hand (https://huggingface.co/docs/safetensors, "Format"), because the package's own function wants a
    framework for bfloat16 and changed its arguments between versions.
    Raises RolekitError when the disk is full.
    """
    names = sorted(tensors)
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for name in names:
        tensor = tensors[name]
        end = position + prod(tensor.shape) * int(_STORED[tensor.dtype][-1])
        header[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)  # the format aligns the numbers to 8 bytes
    with replacing(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(tensors[name].make().values.tobytes())


def _itself(tensor: Tensor) -> Tensor:
    return tensor
