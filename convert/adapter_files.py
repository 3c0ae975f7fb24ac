"""The tensors of an adapter folder (safetensors), read with care when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from rolekit.adapter_folder import CONFIG_FILE
from rolekit.convert.adapter import Shape, listed
from rolekit.convert.safetensors_files import SafetensorsSource
from rolekit.convert.source import Float32, Index, span
from rolekit.errors import RolekitError
from rolekit.text import one_line

_KEPT = 8
"""Matrices that stay in memory: every block of rows of a tensor needs its A again."""


class AdapterFile:
    """The tensors of one adapter's safetensors file."""

    def __init__(self, path: Path) -> None:
        """Raises RolekitError when the file is missing or damaged."""
        self.path = path
        self._source = SafetensorsSource([path])
        self.shapes: dict[str, Shape] = {name: self._source.shape(name) for name in self._source.names()}
        self._whole = lru_cache(_KEPT)(self._read)

    def matrix(self, name: str, *, transposed: bool = False) -> StoredMatrix:
        """The tensor called name; transposed swaps its axes."""
        shape = self.shapes[name]
        return StoredMatrix(self, name, shape[::-1] if transposed else shape, transposed)

    def rows(self, name: str, index: Index) -> Float32:
        """These rows of a tensor as it is stored, checked for NaN."""
        return self._checked(name, self._source.rows(name, index))

    def whole(self, name: str) -> Float32:
        """A tensor as it is stored; the last few stay in memory. Not to be written to."""
        return self._whole(name)

    def digest(self) -> str:
        """Tells these files from any other: name, size and time of both, and the config's content."""
        config = self.path.with_name(CONFIG_FILE).read_bytes()
        return f"{self._source.fingerprint()}:{hashlib.sha256(config).hexdigest()}"

    def _read(self, name: str) -> Float32:
        values = self._checked(name, self._source.rows(name, span(0, self.shapes[name][0])))
        values.flags.writeable = False
        return values

    def _checked(self, name: str, values: Float32) -> Float32:
        if not np.isfinite(values).all():
            raise RolekitError(
                f"The adapter {one_line(self.path.parent.name)} holds NaN or infinity in {one_line(name, 120)}.",
                "Its training diverged, or the file is damaged: use an earlier checkpoint of the run.",
            )
        return values


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """One tensor of an adapter file: a `convert.adapter.Matrix`."""

    file: AdapterFile = field(repr=False)
    name: str
    shape: Shape
    transposed: bool

    def read(self, index: Index | None = None) -> Float32:
        """These rows (all by default) in float32."""
        if self.transposed:
            values = self.file.whole(self.name).T
            return values if index is None else values[index]
        return self.file.whole(self.name) if index is None else self.file.rows(self.name, index)


def refuse_all(folder: Path, faults: Iterable[str], what_to_do: str) -> None:
    """Raise one RolekitError that names an adapter's faults; nothing happens when there is none."""
    found = list(faults)
    if found:
        raise RolekitError(
            f"The adapter {one_line(folder.name)} cannot be used: {listed(found, '; ')}.", what_to_do
        )
