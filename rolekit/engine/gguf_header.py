"""A GGUF file's metadata and tensor table, read and checked in Python before llama.cpp maps the file.

llama.cpp trusts a header it can parse; a broken download or a hostile file may crash it. Everything it relies on
is checked here first: counts, string lengths, types, shapes, offsets. The layout is the GGUF specification's
(versions 2 and 3, little-endian).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NoReturn, TypeAlias

from rolekit.engine.soundness import metadata_fault
from rolekit.errors import RolekitError

# In quotes: Python 3.11 cannot subscript array at run time.
Value: TypeAlias = "int | float | bool | str | list[str] | array[int] | array[float]"

MAX_METADATA_BYTES = 256 << 20
MAX_ENTRIES = 1 << 16
MAX_TENSORS = 1 << 17
MAX_STRINGS = 4_000_000
MAX_NAME_BYTES = 63
MAX_KEY_BYTES = 4096

# type id -> (name, elements in a block, bytes of a block); ggml.h and ggml-common.h
TENSOR_TYPES: Mapping[int, tuple[str, int, int]] = MappingProxyType(
    {
        0: ("F32", 1, 4),
        1: ("F16", 1, 2),
        2: ("Q4_0", 32, 18),
        3: ("Q4_1", 32, 20),
        6: ("Q5_0", 32, 22),
        7: ("Q5_1", 32, 24),
        8: ("Q8_0", 32, 34),
        9: ("Q8_1", 32, 36),
        10: ("Q2_K", 256, 84),
        11: ("Q3_K", 256, 110),
        12: ("Q4_K", 256, 144),
        13: ("Q5_K", 256, 176),
        14: ("Q6_K", 256, 210),
        15: ("Q8_K", 256, 292),
        16: ("IQ2_XXS", 256, 66),
        17: ("IQ2_XS", 256, 74),
        18: ("IQ3_XXS", 256, 98),
        19: ("IQ1_S", 256, 50),
        20: ("IQ4_NL", 32, 18),
        21: ("IQ3_S", 256, 110),
        22: ("IQ2_S", 256, 82),
        23: ("IQ4_XS", 256, 136),
        24: ("I8", 1, 1),
        25: ("I16", 1, 2),
        26: ("I32", 1, 4),
        27: ("I64", 1, 8),
        28: ("F64", 1, 8),
        29: ("IQ1_M", 256, 56),
        30: ("BF16", 1, 2),
        34: ("TQ1_0", 256, 54),
        35: ("TQ2_0", 256, 66),
        39: ("MXFP4", 32, 17),
        40: ("NVFP4", 64, 36),
        41: ("Q1_0", 128, 18),
        42: ("Q2_0", 64, 18),
    }
)

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_MAX_INT64 = 2**63 - 1


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor's place in the file; shape is in ggml's order (the row length first)."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    type_name: str
    offset: int
    """Bytes from data_offset."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What stands before the weights: metadata by key, and the tensor table in the file's order."""

    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    alignment: int
    data_offset: int
    file_bytes: int

    def text(self, key: str) -> str:
        """The metadata string under key; empty when it is missing or no string."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""


def read_header(path: Path) -> GgufHeader:
    """The header of a GGUF file, every number in it checked against the file.

    Raises RolekitError with one sentence for anything that is not a whole, sound, little-endian GGUF v2 or v3.
    """
    try:
        size = path.stat().st_size
        if path.exists() and not path.is_file() and not path.is_dir():
            raise RolekitError(f"{path} is not a regular file.", "Choose a .gguf file with --model.")
        with path.open("rb") as file:
            return _Reader(file, size, path).header()
    except IsADirectoryError as error:
        raise RolekitError(f"{path} is a folder, not a GGUF file.", "Name the .gguf file in it.") from error
    except FileNotFoundError as error:
        raise RolekitError(
            f"There is no file {path}.", "Check the path, or see `rolekit models list`."
        ) from error
    except OSError as error:
        raise RolekitError(
            f"{path} could not be read ({error.strerror or error}).",
            "Check the disk and the file's permissions.",
        ) from error


class _Reader:
    """Reads forward through the metadata, in a buffer that grows by whole steps."""

    STEP = 4 << 20

    def __init__(self, file: BinaryIO, file_bytes: int, path: Path) -> None:
        self.file = file
        self.file_bytes = file_bytes
        self.path = path
        self.buffer = bytearray()
        self.position = 0
        self.strings = 0

    def broken(self, fault: str) -> NoReturn:
        raise RolekitError(
            f"{self.path.name} is not a sound GGUF file: {fault}.",
            "Download it again, or choose another model with --model.",
        )

    def truncated(self, where: str) -> NoReturn:
        raise RolekitError(
            f"{self.path.name} is cut off {where}: the download did not finish.",
            "Download it again (`rolekit models pull` goes on where it stopped).",
        )

    def need(self, count: int) -> int:
        """The position of the next count bytes, which are then in the buffer; moves on behind them."""
        start, end = self.position, self.position + count
        if end > len(self.buffer):
            self._fill(end)
        self.position = end
        return start

    def _fill(self, end: int) -> None:
        if end > self.file_bytes:
            self.truncated("in its metadata")
        if end > MAX_METADATA_BYTES:
            self.broken(f"its metadata is larger than {MAX_METADATA_BYTES >> 20} MiB")
        missing = max(end - len(self.buffer), self.STEP)
        self.buffer += self.file.read(missing)
        if len(self.buffer) < end:
            self.truncated("in its metadata")

    def u32(self) -> int:
        return int(_U32.unpack_from(self.buffer, self.need(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack_from(self.buffer, self.need(8))[0])

    def name(self, what: str, limit: int) -> str:
        """A key or a tensor's name: short, not empty, UTF-8."""
        length = self.u64()
        if not 0 < length <= limit:
            self.broken(f"a {what} is {length} bytes long (1 to {limit} are allowed)")
        start = self.need(length)
        try:
            return self.buffer[start : start + length].decode("utf-8")
        except UnicodeDecodeError:
            self.broken(f"a {what} is not UTF-8 text")

    def header(self) -> GgufHeader:
        version = self._version()
        tensor_count, entry_count = self.u64(), self.u64()
        if entry_count > MAX_ENTRIES:
            self.broken(f"it claims {entry_count} metadata entries (at most {MAX_ENTRIES} are sensible)")
        if tensor_count > MAX_TENSORS:
            self.broken(f"it claims {tensor_count} tensors (at most {MAX_TENSORS} are sensible)")
        metadata: dict[str, Value] = {}
        for _ in range(entry_count):
            key = self.name("metadata key", MAX_KEY_BYTES)
            if key in metadata:
                self.broken(f"the metadata key {key!r} occurs twice")
            metadata[key] = self._value(key, self.u32())
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 20:
            self.broken("general.alignment is not a power of two")
        tensors = tuple(self._tensor() for _ in range(tensor_count))
        if fault := metadata_fault(metadata):
            self.broken(fault)
        data_offset = -(-self.position // alignment) * alignment
        self._check_places(tensors, alignment, data_offset)
        return GgufHeader(
            version, MappingProxyType(metadata), tensors, alignment, data_offset, self.file_bytes
        )

    def _version(self) -> int:
        head = self.file.read(64)
        self.buffer += head
        if head[:4] != b"GGUF":
            raise RolekitError(
                f"{self.path.name} is not a GGUF file: {_kind(head)}.", "Choose a .gguf file with --model."
            )
        self.position = 4
        version = self.u32()
        if version & 0xFFFF == 0 and version:
            self.broken("it is big-endian, which this machine cannot read")
        if version not in (2, 3):
            self.broken(f"it has version {version}, and only versions 2 and 3 are known")
        return version

    def _value(self, key: str, kind: int) -> Value:
        if kind == _STRING:
            return self._string()
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind])
        if kind != _ARRAY:
            self.broken(f"the metadata key {key!r} has the unknown type {kind}")
        kind, length = self.u32(), self.u64()
        if kind == _STRING:
            return self._string_array(key, length)
        code = _SCALARS.get(kind)
        if code is None:
            self.broken(f"the metadata key {key!r} is an array of the unknown or nested type {kind}")
        return self._number_array(code, length)

    def _scalar(self, code: str) -> Value:
        reader = struct.Struct("<" + code)
        value: Value = reader.unpack_from(self.buffer, self.need(reader.size))[0]
        return value

    def _string(self) -> str:
        length = self.u64()
        start = self.need(length)
        return self.buffer[start : start + length].decode("utf-8", "replace")

    def _string_array(self, key: str, length: int) -> list[str]:
        self.strings += length
        if self.strings > MAX_STRINGS:
            self.broken(f"its metadata claims more than {MAX_STRINGS} strings (at {key!r})")
        if length * 8 > self.file_bytes - self.position:
            self.truncated("in its metadata")
        # The vocabulary lies here: a plain loop over local names keeps 300,000 strings under a third of a second.
        unpack, buffer, position, texts = _U64.unpack_from, self.buffer, self.position, list[str]()
        for _ in range(length):
            if position + 8 > len(buffer):
                self._fill(position + 8)
            start = position + 8
            position = start + unpack(buffer, position)[0]
            if position > len(buffer):
                self._fill(position)
            texts.append(buffer[start:position].decode("utf-8", "replace"))
        self.position = position
        return texts

    def _number_array(self, code: str, length: int) -> array[int] | array[float]:
        width = struct.calcsize("<" + code)
        start = self.need(length * width)
        values: array[int] | array[float] = array(_native(width, code))
        values.frombytes(self.buffer[start : start + length * width])
        if struct.pack("=H", 1) != b"\x01\x00":
            values.byteswap()
        return values

    def _tensor(self) -> TensorInfo:
        name = self.name("tensor name", MAX_NAME_BYTES)
        dimensions = self.u32()
        if dimensions > 4:
            self.broken(f"tensor {name!r} has {dimensions} dimensions (at most 4 exist)")
        shape = tuple(self.u64() for _ in range(dimensions))
        type_id, offset = self.u32(), self.u64()
        if type_id not in TENSOR_TYPES:
            self.broken(f"tensor {name!r} has the unknown type {type_id}")
        type_name, block, block_bytes = TENSOR_TYPES[type_id]
        elements = 1
        for length in shape:
            elements *= length
        if any(length > _MAX_INT64 for length in shape) or elements // block * block_bytes > _MAX_INT64:
            self.broken(f"tensor {name!r} is impossibly large")
        if (shape[0] if shape else 1) % block:
            self.broken(f"tensor {name!r} has rows that are no whole {type_name} blocks")
        return TensorInfo(name, shape, type_id, type_name, offset, elements // block * block_bytes)

    def _check_places(self, tensors: tuple[TensorInfo, ...], alignment: int, data_offset: int) -> None:
        if len({tensor.name for tensor in tensors}) < len(tensors):
            self.broken("two tensors have the same name")
        end, missing = 0, 0
        for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.size_bytes)):
            if tensor.offset % alignment:
                self.broken(f"tensor {tensor.name!r} is not aligned")
            if tensor.offset < end:
                self.broken(f"tensor {tensor.name!r} overlaps another one")
            end = tensor.offset + tensor.size_bytes
            missing = max(missing, data_offset + end - self.file_bytes)
        if missing:
            self.truncated(f"({missing:,} bytes are missing)")


def _native(width: int, code: str) -> str:
    """The array module's own letter for a number of that width; its `l` differs between systems."""
    if code in "fd":
        return code
    return (
        {1: "B", 2: "H", 4: "I", 8: "Q"}[width]
        if code in "BHIQ?"
        else {1: "b", 2: "h", 4: "i", 8: "q"}[width]
    )


def _kind(head: bytes) -> str:
    """What a file that is no GGUF seems to be, from its first bytes."""
    start = head.lstrip().lower()
    if not head:
        return "it is empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, perhaps an error page saved in its place"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, the model itself was not fetched"
    if head.startswith(b"PK\x03\x04"):
        return "it is a zip archive or a PyTorch checkpoint"
    if head[8:9] == b"{":
        return "it is a safetensors file (`rolekit convert` makes a GGUF of a model folder)"
    if head[:4] in (b"lmgg", b"fmgg", b"tjgg", b"algg", b"ggml", b"ggjt"):
        return "it is in the old GGML format of before August 2023"
    if start.startswith((b"{", b"[")):
        return "it is a JSON text"
    return "it does not begin with GGUF"
