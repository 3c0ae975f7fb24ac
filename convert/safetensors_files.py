"""A Hugging Face folder's safetensors files, read row by row; every header and the index are checked first.

The format: 8 bytes of header length (little-endian), a JSON object of name -> dtype, shape, data_offsets, the data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rolekit.convert.dequantize import to_float32
from rolekit.convert.positional import PositionalFile
from rolekit.convert.source import Bytes, Float32, Index, columns_of, contiguous
from rolekit.convert.tensor_types import row_bytes
from rolekit.errors import RolekitError
from rolekit.text import one_line

_TYPES = {"F32": "F32", "F16": "F16", "BF16": "BF16"}
_MAX_HEADER_BYTES = 100 << 20
_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"
_SHARD = re.compile(r"(model|pytorch_model)-\d{5}-of-\d{5}\.safetensors")


@dataclass(frozen=True, slots=True)
class _Place:
    file: PositionalFile
    dtype: str
    shape: tuple[int, ...]
    offset: int


class SafetensorsSource:
    """The tensors of one or several safetensors files, without mapping them."""

    def __init__(self, files: list[Path], index: Mapping[str, str] | None = None) -> None:
        """index: tensor name to file name, as model.safetensors.index.json says.

        Raises RolekitError for a damaged file, or one that lacks what the index promises.
        """
        self._files = list[PositionalFile]()
        self._places: dict[str, _Place] = {}
        try:
            for path in files:
                self._open(path, index)
            if index is not None:
                self._check_index(index)
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path, index: Mapping[str, str] | None) -> None:
        file = PositionalFile(path)
        self._files.append(file)
        for name, place in _read_header(file).items():
            if index is not None and index.get(name) != path.name:
                continue  # a leftover of another checkpoint; the index decides
            if name in self._places:
                raise _damaged(
                    path, f"the tensor {one_line(name)} is also in {self._places[name].file.path.name}"
                )
            self._places[name] = place

    def _check_index(self, index: Mapping[str, str]) -> None:
        missing = [name for name in index if name not in self._places]
        if missing:
            raise RolekitError(
                f"{index[missing[0]]} lacks the tensor {one_line(missing[0])}"
                f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''} that {_INDEX} promises.",
                "Fetch the model's files again.",
            )

    def forget(self, name: str) -> None:
        """Leave a tensor out, if it is there."""
        self._places.pop(name, None)

    def names(self) -> list[str]:
        """All tensors, file by file."""
        return list(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape, rows first."""
        return self._places[name].shape

    def dtype(self, name: str) -> str:
        """F32, F16 or BF16; another safetensors dtype by its own name (I64)."""
        return self._places[name].dtype

    def rows(self, name: str, index: Index) -> Float32:
        """These rows in float32."""
        place = self._places[name]
        raw = self.raw_rows(name, index)
        columns = columns_of(place.shape)
        rows = to_float32(raw, place.dtype, columns)
        return rows if len(place.shape) > 1 else rows.reshape(-1)

    def raw_rows(self, name: str, index: Index) -> Bytes:
        """These rows as they are stored.

        Raises RolekitError for a type that is not one of the three floats (a quantized checkpoint).
        """
        place = self._places[name]
        if place.dtype not in _TYPES:
            raise RolekitError(
                f"The tensor {one_line(name)} is stored as {one_line(place.dtype)}, and only F32, F16 and BF16 can "
                "be converted.",
                "Use the model's unquantized weights.",
            )
        width = row_bytes(place.dtype, columns_of(place.shape))
        start, stop, pick = contiguous(index)
        data = np.empty((stop - start, width), np.uint8)
        place.file.read_into(place.offset + start * width, data)
        return data if pick is None else data[pick]

    def fingerprint(self) -> str:
        """Names, sizes and times of the files."""
        return " ".join(f"{file.path.name}:{file.size()}:{file.modified_ns()}" for file in self._files)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


def open_safetensors(folder: Path) -> SafetensorsSource:
    """The weights of a Hugging Face folder: its index, one file, or shards by their names.

    Raises RolekitError when there are none, one is missing or damaged, or the index leads out of the folder.
    """
    index_file = folder / _INDEX
    if index_file.is_file():
        index = _read_index(index_file)
        names = list(dict.fromkeys(index.values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise RolekitError(
                f"{len(missing)} of {len(names)} weight files {'is' if len(missing) == 1 else 'are'} missing in "
                f"{folder}: {one_line(', '.join(missing), 200)}.",
                "Fetch the model's files again.",
            )
        return SafetensorsSource([folder / name for name in names], index)
    if (folder / _SINGLE).is_file():
        return SafetensorsSource([folder / _SINGLE])
    shards = sorted(file for file in folder.glob("*.safetensors") if _SHARD.fullmatch(file.name))
    if shards:
        return SafetensorsSource(_complete(shards))
    if any(folder.glob("pytorch_model*.bin")):
        raise RolekitError(
            f"{folder} has its weights only as pytorch_model.bin, which can run code when it is read.",
            "Save the model as safetensors: load it with transformers and call save_pretrained.",
        )
    raise RolekitError(f"{folder} has no model.safetensors.", "Name a folder with a model's weights.")


def _complete(shards: list[Path]) -> list[Path]:
    total = int(shards[0].stem.rpartition("-of-")[2])
    if len(shards) != total:
        raise RolekitError(
            f"{shards[0].parent} has {len(shards)} of {total} weight files.", "Fetch the model's files again."
        )
    return shards


def _read_index(path: Path) -> dict[str, str]:
    try:
        data = json.loads(path.read_bytes())
        weights = data["weight_map"]
        sound = (
            isinstance(weights, dict) and weights and all(isinstance(name, str) for name in weights.values())
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, "it has no weight_map that can be read") from error
    except OSError as error:
        raise RolekitError(
            f"{path} could not be read ({error.strerror}).", "Check its permissions."
        ) from error
    if not sound:
        raise _damaged(path, "its weight_map is not a table of tensor and file names")
    for name in weights.values():
        if name in ("", ".", "..") or any(letter in name for letter in "/\\:\0"):
            raise RolekitError(
                f"{path.name} names {one_line(name)!r}, which is not a file of this folder.",
                "Do not use this model: its index tries to read files outside its folder.",
            )
    return dict(weights)


def _read_header(file: PositionalFile) -> dict[str, _Place]:
    size = file.size()
    if size < 8:
        raise _damaged(file.path, "it is cut off")
    length = int.from_bytes(file.read(0, 8), "little")
    if file.read(0, min(size, 40)).startswith(b"version https://git-lfs"):
        raise _damaged(file.path, "it is a Git LFS pointer, the weights themselves were not fetched")
    if not 2 <= length <= _MAX_HEADER_BYTES:
        raise _damaged(file.path, "it does not begin with a safetensors header")
    if 8 + length > size:
        raise _damaged(file.path, "it is cut off in its header")
    try:
        table = json.loads(file.read(8, length))
    except (ValueError, RecursionError) as error:
        raise _damaged(file.path, "its header is no JSON text") from error
    if not isinstance(table, dict):
        raise _damaged(file.path, "its header is no table of tensors")
    table.pop("__metadata__", None)
    places = {name: _place(file, name, entry, 8 + length) for name, entry in table.items()}
    _check_overlaps(file, places)
    return places


def _place(file: PositionalFile, name: str, entry: Any, data_offset: int) -> _Place:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        numbers = (*shape, begin, end)
        sound = isinstance(dtype, str) and all(type(number) is int and number >= 0 for number in numbers)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file.path, f"the entry of the tensor {one_line(name)} is unreadable") from error
    if not sound or begin > end:
        raise _damaged(file.path, f"the entry of the tensor {one_line(name)} is impossible")
    if data_offset + end > file.size():
        raise _damaged(file.path, f"it is cut off: the tensor {one_line(name)} is not all there")
    if dtype in _TYPES:
        elements = 1
        for length in shape:
            elements *= length
        if end - begin != elements * row_bytes(dtype, 1):
            raise _damaged(
                file.path, f"the tensor {one_line(name)} has not the size of its shape {list(shape)}"
            )
    return _Place(file, dtype, shape or (1,), data_offset + begin)


def _check_overlaps(file: PositionalFile, places: Mapping[str, _Place]) -> None:
    end = 0
    known = [(place.offset, name, place) for name, place in places.items() if place.dtype in _TYPES]
    for offset, name, place in sorted(known, key=lambda item: item[:2]):
        if offset < end:
            raise _damaged(file.path, f"the tensor {one_line(name)} overlaps another one")
        end = offset + place.shape[0] * row_bytes(place.dtype, columns_of(place.shape))


def _damaged(path: Path, fault: str) -> RolekitError:
    return RolekitError(f"{path.name} is damaged: {fault}.", "Fetch the model's files again.")
