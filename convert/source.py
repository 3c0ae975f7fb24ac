"""Where weights are read from, a block of rows at a time: the first seam of the conversion.

A tensor is a matrix of rows in numpy's order: `(rows, columns)`; a vector of n numbers is n rows of one. Nothing is
mapped and nothing is kept: `rows` reads what was asked for, so memory is bounded by what the caller asks for.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Float32: TypeAlias = NDArray[np.float32]
Bytes: TypeAlias = NDArray[np.uint8]
Index: TypeAlias = NDArray[np.intp]
"""Row numbers, in the order in which the rows are wanted."""


class TensorSource(Protocol):
    """Named tensors that can be read row by row, by several threads at once."""

    def names(self) -> Collection[str]:
        """Every tensor there is, in the files' order."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape in numpy's order (rows first). KeyError when there is no such tensor."""

    def dtype(self, name: str) -> str:
        """The tensor's type as ggml writes it: F32, F16, BF16, or a quantized one (Q4_K)."""

    def rows(self, name: str, index: Index) -> Float32:
        """These rows in float32, a new array of shape (len(index), columns), or (len(index),) for a vector.

        Raises RolekitError when the file cannot be read.
        """

    def raw_rows(self, name: str, index: Index) -> Bytes | None:
        """The same rows as they are stored (uint8, one line a row), to be copied when no number changes.

        None where the stored bytes are not what `rows` gives: an adapter has changed them.
        """

    def fingerprint(self) -> str:
        """A text that differs when the tensors may differ: what a resumed conversion compares."""

    def close(self) -> None:
        """Let go of the files; nothing can be read any more."""


def span(start: int, stop: int) -> Index:
    """The rows start to stop, in order."""
    return np.arange(start, stop, dtype=np.intp)


def columns_of(shape: tuple[int, ...]) -> int:
    """How many numbers a row has: one for a vector."""
    return int(np.prod(shape[1:], dtype=np.int64)) if len(shape) > 1 else 1


def contiguous(index: Index) -> tuple[int, int, NDArray[Any] | None]:
    """The shortest run of rows that holds index, (start, stop), and how to pick index out of it (None: as it is)."""
    if not len(index):
        return 0, 0, None
    start, stop = int(index.min()), int(index.max()) + 1
    if len(index) == stop - start and bool((index == np.arange(start, stop)).all()):
        return start, stop, None
    return start, stop, index - start
