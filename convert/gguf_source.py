"""A GGUF file as a source of tensors: numbers through ggml's own inverse, metadata kept byte for byte."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from rolekit.convert.dequantize import to_float32
from rolekit.convert.metadata import RawValue
from rolekit.convert.positional import PositionalFile
from rolekit.convert.source import Bytes, Float32, Index, columns_of, contiguous
from rolekit.convert.tensor_types import row_bytes
from rolekit.engine.gguf_header import GgufHeader, TensorInfo, read_header
from rolekit.engine.references import shard_names
from rolekit.errors import RolekitError
from rolekit.text import one_line

_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9


class GgufSource:
    """The tensors of a GGUF file, or of all the files of a split one, by their GGUF names."""

    def __init__(self, path: Path) -> None:
        """Raises RolekitError when a file is missing or not sound."""
        self._files = list[PositionalFile]()
        self._places: dict[str, tuple[PositionalFile, TensorInfo, int]] = {}
        self.headers = list[GgufHeader]()
        try:
            for name in shard_names(path.name):
                self._open(path.with_name(name))
        except BaseException:
            self.close()
            raise
        self.path = path
        self.header = self.headers[0]

    def _open(self, path: Path) -> None:
        header = read_header(path)
        file = PositionalFile(path)
        self._files.append(file)
        self.headers.append(header)
        for tensor in header.tensors:
            if tensor.name in self._places:
                raise RolekitError(
                    f"The tensor {one_line(tensor.name)} is in two files of {path.name}.", "Fetch them again."
                )
            self._places[tensor.name] = (file, tensor, header.data_offset + tensor.offset)

    def metadata(self) -> dict[str, RawValue]:
        """Every metadata entry as the (first) file has it, in its order."""
        return read_raw_metadata(self._files[0], self.header)

    def names(self) -> list[str]:
        """All tensors in the file's order."""
        return list(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape, rows first."""
        return tuple(reversed(self._places[name][1].shape)) or (1,)

    def dtype(self, name: str) -> str:
        """The tensor's ggml type."""
        return self._places[name][1].type_name

    def rows(self, name: str, index: Index) -> Float32:
        """These rows in float32."""
        shape = self.shape(name)
        if len(shape) > 1:
            return self._dequantized(name, self.raw_rows(name, index), columns_of(shape))
        whole = self._dequantized(name, self._read(name, 0, 1, self._row_bytes(name)), shape[0])
        return whole.reshape(-1)[index]

    def _dequantized(self, name: str, data: Bytes, columns: int) -> Float32:
        try:
            return to_float32(data, self.dtype(name), columns)
        except ValueError as error:
            raise RolekitError(
                f"The tensor {one_line(name)} has the type {self.dtype(name)}, which cannot be read back.",
                "Start from the model's unquantized weights.",
            ) from error

    def _row_bytes(self, name: str) -> int:
        shape = self.shape(name)
        return row_bytes(self.dtype(name), columns_of(shape) if len(shape) > 1 else shape[0])

    def raw_rows(self, name: str, index: Index) -> Bytes:
        """These rows as they are stored; of a vector, one number a row."""
        vector = len(self.shape(name)) == 1
        width = row_bytes(self.dtype(name), 1) if vector else self._row_bytes(name)
        start, stop, pick = contiguous(index)
        data = self._read(name, start, stop - start, width)
        return data if pick is None else data[pick]

    def _read(self, name: str, start: int, count: int, width: int) -> Bytes:
        file, _, offset = self._places[name]
        data = np.empty((count, width), np.uint8)
        file.read_into(offset + start * width, data)
        return data

    def fingerprint(self) -> str:
        """Names, sizes and times of the files."""
        return " ".join(f"{file.path.name}:{file.size()}:{file.modified_ns()}" for file in self._files)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


def read_raw_metadata(file: PositionalFile, header: GgufHeader) -> dict[str, RawValue]:
    """Key to value, type and bytes, of a file whose header has been read and found sound."""
    data = memoryview(file.read(0, header.data_offset if header.tensors else file.size()))
    entries: dict[str, RawValue] = {}
    position = 24
    for _ in range(len(header.metadata)):
        key_bytes = _u64(data, position)
        key = bytes(data[position + 8 : position + 8 + key_bytes]).decode("utf-8")
        position += 8 + key_bytes
        kind = _u32(data, position)
        end = _end(data, position + 4, kind)
        entries[key] = RawValue(kind, bytes(data[position + 4 : end]))
        position = end
    return entries


def _end(data: memoryview, position: int, kind: int) -> int:
    if kind == _STRING:
        return position + 8 + _u64(data, position)
    if kind != _ARRAY:
        return position + _WIDTHS[kind]
    kind, length = _u32(data, position), _u64(data, position + 4)
    position += 12
    if kind != _STRING:
        return position + length * _WIDTHS[kind]
    for _ in range(length):
        position += 8 + _u64(data, position)
    return position


def _u32(data: memoryview, position: int) -> int:
    return int(struct.unpack_from("<I", data, position)[0])


def _u64(data: memoryview, position: int) -> int:
    return int(struct.unpack_from("<Q", data, position)[0])
