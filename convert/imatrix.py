"""Importance matrices: how strongly each column of a weight is driven, and the file that llama.cpp keeps them in.

llama.cpp's GGUF form (tools/imatrix, common/imatrix-loader): `general.type` is imatrix, and each weight has
`NAME.in_sum2`, the sum over tokens of the squared input of each column, and `NAME.counts`, the number of tokens. The
older .dat form is read too.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rolekit.convert.gguf_source import GgufSource
from rolekit.convert.metadata import ALIGNMENT, MetaValue, encode_header
from rolekit.convert.source import Float32, span
from rolekit.errors import RolekitError
from rolekit.paths import replacing
from rolekit.text import one_line

_SUMS, _COUNTS = ".in_sum2", ".counts"
_MAX_LEGACY_BYTES = 1 << 30
_MAX_NAME_BYTES = 1 << 12


@dataclass(frozen=True, slots=True)
class Importance:
    """Of one weight: sums of squares of its inputs over tokens."""

    sums: Float32
    """(columns,), or (experts · columns,) of a mixture."""
    counts: Float32
    """Tokens seen, one number an expert."""

    def mean(self) -> Float32:
        """The mean squared input of each column; 1 where an expert has seen nothing, as llama-quantize has it."""
        columns = len(self.sums) // len(self.counts)
        counts = np.repeat(self.counts, columns)
        seen = counts > 0
        return np.where(seen, self.sums / np.where(seen, counts, 1), 1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ImportanceMatrix:
    """The importance of all weights of one model, by GGUF tensor name."""

    entries: Mapping[str, Importance]
    datasets: tuple[str, ...] = ()
    """What it was computed on, for people."""
    chunk_count: int = 0
    chunk_size: int = 512
    """Tokens of a chunk."""

    def means(self) -> dict[str, Float32]:
        """What a quantizer takes: the mean squared input of each column, by tensor name."""
        return {name: entry.mean() for name, entry in self.entries.items()}


def quantize_keys(matrix: ImportanceMatrix, path: Path) -> dict[str, MetaValue]:
    """The metadata that llama-quantize leaves in a file that it made with matrix, which lies at path.

    llama-quantize writes path as it was typed; here it is the name alone, for a file that is given away.
    """
    return {
        "quantize.imatrix.file": path.name,
        **({"quantize.imatrix.dataset": matrix.datasets[0]} if matrix.datasets else {}),
        "quantize.imatrix.entries_count": len(matrix.entries),
        **({"quantize.imatrix.chunks_count": matrix.chunk_count} if matrix.chunk_count > 0 else {}),
    }


def read_imatrix(path: Path) -> ImportanceMatrix:
    """The importance matrix in a file that rolekit or llama-imatrix wrote, in the GGUF or the older .dat form.

    Raises RolekitError when the file is missing, damaged, of another kind, or holds what cannot be a sum of squares.
    """
    try:
        with path.open("rb") as file:
            is_gguf = file.read(4) == b"GGUF"
        matrix = _read_gguf(path) if is_gguf else _read_legacy(path)
    except OSError as error:
        raise RolekitError(
            f"The importance matrix {path} could not be read ({error.strerror or error}).",
            "Check the path, or make one: rolekit convert imatrix.",
        ) from error
    for name, entry in matrix.entries.items():
        if not (np.isfinite(entry.sums).all() and (entry.sums >= 0).all() and (entry.counts >= 0).all()):
            raise _damaged(path, f"{one_line(name)} has sums of squares that are negative or no numbers")
    return matrix


def write_imatrix(
    matrix: ImportanceMatrix, path: Path, metadata: Mapping[str, MetaValue] | None = None
) -> None:
    """Put matrix at path in llama.cpp's GGUF form, in one step; metadata is added to the header.

    Raises RolekitError when the place cannot be written.
    """
    header: dict[str, MetaValue] = {
        **(metadata or {}),
        "general.type": "imatrix",
        "imatrix.datasets": list(matrix.datasets),
        "imatrix.chunk_count": matrix.chunk_count,
        "imatrix.chunk_size": matrix.chunk_size,
    }
    tensors, blobs, offset = [], [], 0
    for name in sorted(matrix.entries, key=str.encode):
        entry = matrix.entries[name]
        experts = len(entry.counts)
        columns = len(entry.sums) // experts
        for suffix, values, width in ((_SUMS, entry.sums, columns), (_COUNTS, entry.counts, 1)):
            shape = (width,) if experts == 1 else (experts, width)
            data = np.ascontiguousarray(values, "<f4").tobytes()
            data += b"\0" * (-len(data) % ALIGNMENT)
            tensors.append((name + suffix, shape, "F32", offset))
            blobs.append(data)
            offset += len(data)
    with replacing(path) as file:
        file.write(encode_header(header, tensors))
        for data in blobs:
            file.write(data)


def _read_gguf(path: Path) -> ImportanceMatrix:
    source = GgufSource(path)
    try:
        if source.header.text("general.type") != "imatrix":
            raise RolekitError(
                f"{path.name} is no importance matrix but of the type "
                f"{one_line(source.header.text('general.type') or 'model', 40)}.",
                "Make one with rolekit convert imatrix, or llama-imatrix.",
            )
        entries = {}
        for stored in source.names():
            name = stored.removesuffix(_SUMS)
            if name == stored:
                continue
            if name + _COUNTS not in source.names():
                raise _damaged(path, f"{one_line(name)} has sums but no counts")
            sums, counts = (_values(source, name + suffix, path) for suffix in (_SUMS, _COUNTS))
            if not len(counts) or len(sums) % len(counts) or not len(sums):
                raise _damaged(path, f"{one_line(name)} has {len(sums)} sums for {len(counts)} counts")
            entries[name] = Importance(sums, counts)
        datasets = source.header.metadata.get("imatrix.datasets")
        chunks, size = (source.header.metadata.get(f"imatrix.chunk_{key}") for key in ("count", "size"))
    finally:
        source.close()
    if not entries:
        raise _damaged(path, "it holds no sums")
    return ImportanceMatrix(
        entries,
        tuple(str(text) for text in datasets) if isinstance(datasets, list) else (),
        chunks if isinstance(chunks, int) else 0,
        size if isinstance(size, int) else 512,
    )


def _values(source: GgufSource, name: str, path: Path) -> Float32:
    if source.dtype(name) != "F32":
        raise _damaged(path, f"{one_line(name)} is stored as {source.dtype(name)}")
    return source.rows(name, span(0, source.shape(name)[0])).reshape(-1)


def _read_legacy(path: Path) -> ImportanceMatrix:
    if path.stat().st_size > _MAX_LEGACY_BYTES:
        raise _damaged(path, "it is far too large")
    reader = _LegacyReader(path, path.read_bytes())
    number = reader.integer()
    if not 0 < number < 1 << 17:
        raise _damaged(path, "it is neither a GGUF nor a .dat file of llama-imatrix")
    entries = {}
    for _ in range(number):
        name = reader.text()
        calls, length = reader.integer(), reader.integer()
        sums = reader.floats(length)
        # The sums are means times calls; a call that never happened counts as one.
        entries[name] = Importance(sums, np.array([max(calls, 1)], np.float32))
    chunks = reader.integer() if reader.left else 0
    dataset = reader.text() if reader.left else ""
    return ImportanceMatrix(entries, (dataset,) if dataset else (), chunks)


class _LegacyReader:
    """Reads forward through a .dat file; every length is checked against what is left."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path, self._data, self._position = path, data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def _take(self, count: int) -> bytes:
        if not 0 <= count <= self.left:
            raise _damaged(self._path, "it is cut off, or no importance matrix")
        start, self._position = self._position, self._position + count
        return self._data[start : self._position]

    def integer(self) -> int:
        return int(struct.unpack("<i", self._take(4))[0])

    def text(self) -> str:
        length = self.integer()
        if length > _MAX_NAME_BYTES:
            raise _damaged(self._path, "it is no importance matrix")
        return self._take(length).decode("utf-8", "replace")

    def floats(self, count: int) -> Float32:
        if count < 1:
            raise _damaged(self._path, "it has an entry without values")
        return np.frombuffer(self._take(4 * count), "<f4").astype(np.float32)


def _damaged(path: Path, reason: str) -> RolekitError:
    return RolekitError(
        f"The importance matrix {path.name} cannot be used: {reason}.",
        "Make it again: rolekit convert imatrix.",
    )
