"""Where every tensor will lie: offsets, headers and, for a split model, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rolekit.convert.metadata import ALIGNMENT, MetaValue, encode_header
from rolekit.convert.output import Region
from rolekit.convert.plan import OutputTensor
from rolekit.convert.tensor_types import row_bytes
from rolekit.errors import RolekitError


@dataclass(frozen=True, slots=True)
class FileLayout:
    """One output file before a weight is written."""

    part: Path
    target: Path
    header: bytes
    tensors: tuple[OutputTensor, ...]
    regions: tuple[Region, ...]

    @property
    def size_bytes(self) -> int:
        """How large the file will be."""
        end = max((region.offset + region.size_bytes for region in self.regions), default=0)
        return max(end, len(self.header))


def tensor_bytes(tensor: OutputTensor, type_name: str) -> int:
    """How many bytes a tensor takes as type_name."""
    if len(tensor.shape) == 1:
        return row_bytes(type_name, tensor.rows)
    return tensor.rows * row_bytes(type_name, tensor.columns)


def lay_out(
    out: Path,
    metadata: Mapping[str, MetaValue],
    tensors: Sequence[OutputTensor],
    types: Mapping[str, str],
    split_bytes: int = 0,
) -> tuple[FileLayout, ...]:
    """The output files: one at out, or several beside it, named as llama.cpp names a split model's.

    types: every tensor's type by its name. split_bytes: the most weights that one file holds (0: all); a tensor
    larger than that has a file of its own. Raises RolekitError where the other kind of run, one file or several, has
    left its half-made files.
    """
    groups, part = _grouped(tensors, types, split_bytes), out.with_name(f"{out.name}.part")
    _check_place(part, several=len(groups) > 1)
    if len(groups) == 1:
        return (_file(part, out, metadata, tensors, types),)
    files, stem = [], out.name.removesuffix(".gguf")
    for number, group in enumerate(groups):
        name = f"{stem}-{number + 1:05d}-of-{len(groups):05d}.gguf"
        split: dict[str, MetaValue] = {
            "split.no": np.uint16(number),
            "split.count": np.uint16(len(groups)),
            "split.tensors.count": np.int32(len(tensors)),
        }
        keys = {**metadata, **split} if number == 0 else split
        files.append(_file(part / name, out.with_name(name), keys, group, types))
    return tuple(files)


def _check_place(part: Path, *, several: bool) -> None:
    if part.is_dir() and not several:
        raise RolekitError(
            f"{part.name} is a folder: an unfinished split model of the same name.",
            "Go on with it by the same --split-max-size, or remove the folder to write one file.",
        )
    if part.is_file() and several:
        raise RolekitError(
            f"{part.name} is an unfinished file, and a split model of the same name needs a folder there.",
            "Go on with it without --split-max-size, or remove it to write several files.",
        )


def _grouped(
    tensors: Sequence[OutputTensor], types: Mapping[str, str], split_bytes: int
) -> list[list[OutputTensor]]:
    groups, filled = [list[OutputTensor]()], 0
    for tensor in tensors:
        size = tensor_bytes(tensor, types[tensor.name])
        if split_bytes and groups[-1] and filled + size > split_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(tensor)
        filled += size
    return groups


def _file(
    part: Path,
    target: Path,
    metadata: Mapping[str, MetaValue],
    tensors: Sequence[OutputTensor],
    types: Mapping[str, str],
) -> FileLayout:
    entries, sizes, offset = [], [], 0
    for tensor in tensors:
        size = tensor_bytes(tensor, types[tensor.name])
        entries.append((tensor.name, tensor.shape, types[tensor.name], offset))
        sizes.append(size)
        offset += size + -size % ALIGNMENT
    header = encode_header(metadata, entries)
    regions = [
        Region(entry[0], len(header) + entry[3], size) for entry, size in zip(entries, sizes, strict=True)
    ]
    return FileLayout(part, target, header, tuple(tensors), tuple(regions))
