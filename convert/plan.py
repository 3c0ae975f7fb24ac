"""What the output will hold: for each tensor its name, shape and the source rows it is made of.

Architectures write plans, type choosers read them, the pipeline carries them out:

    for each output tensor, for each block of rows:
        read the source rows (a MergedSource adds the adapter) -> add -> quantize -> write
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from rolekit.convert.metadata import MetaValue
from rolekit.convert.source import Bytes, Float32, Index, TensorSource, columns_of, span


class RowOrder(Protocol):
    """A new order of a tensor's rows."""

    def __call__(self, rows: Index) -> Index:
        """The source rows that stand at these output rows."""

    def places(self, rows: Index) -> Index:
        """The output rows at which these source rows stand: the inverse."""


@dataclass(frozen=True, slots=True)
class InterleavedPairs:
    """Hugging Face keeps a head's rotary pairs as (j, j + size/2); ggml's "norm" rope wants them side by side.

    Applies to query and key rows, weights and biases. size is the number of rows of one head.
    """

    size: int

    def __call__(self, rows: Index) -> Index:
        """Output row 2j + k of a head comes from its row k·size/2 + j."""
        head, row = np.divmod(rows, self.size)
        return np.asarray(head * self.size + row // 2 + row % 2 * (self.size // 2), dtype=np.intp)

    def places(self, rows: Index) -> Index:
        """Source row k·size/2 + j of a head goes to its row 2j + k."""
        head, row = np.divmod(rows, self.size)
        half = self.size // 2
        return np.asarray(head * self.size + row % half * 2 + row // half, dtype=np.intp)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows start to stop of one source tensor, in another order if one is given."""

    source: str
    start: int
    stop: int
    order: RowOrder | None = None
    """Counted from start: order(0) = 5 takes row start + 5 first."""

    def index(self, start: int, stop: int) -> Index:
        """The source rows of this part's rows start to stop (counted from its own beginning)."""
        rows = span(start, stop)
        return (self.order(rows) if self.order else rows) + self.start


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of the GGUF file, its parts one below the other."""

    name: str
    shape: tuple[int, ...]
    """numpy's order: rows first. ggml's ne is the reverse."""
    parts: tuple[Part, ...] = ()
    add: float = 0.0
    """Added to every number: Gemma's norms are stored as weight + 1."""
    constant: tuple[float, ...] = ()
    """The numbers of a tensor that is computed from the configuration (rope factors); it has no parts."""
    keep_type: str = ""
    """The type it has whatever is asked for: F32 for vectors and norms, the base's own for a passed GGUF tensor."""

    @property
    def rows(self) -> int:
        """How many rows: all numbers of a vector."""
        return self.shape[0]

    @property
    def columns(self) -> int:
        """The length of a row as the source has it: 1 for a vector."""
        return columns_of(self.shape)

    @property
    def elements(self) -> int:
        """How many numbers."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """A whole model: its architecture's name in GGUF, the hyperparameters' metadata and the tensors in order."""

    arch: str
    metadata: Mapping[str, MetaValue]
    tensors: tuple[OutputTensor, ...]
    notes: tuple[str, ...] = field(default=())
    """What the user should know, a sentence each: skipped tensors, an unusual setting."""

    def tensor(self, name: str) -> OutputTensor | None:
        """The tensor of that GGUF name."""
        return next((tensor for tensor in self.tensors if tensor.name == name), None)


class TypeChooser(Protocol):
    """Decides every tensor's type before the first is written."""

    def choose(self, plan: ModelPlan) -> Mapping[str, str]:
        """GGUF tensor name to type name (Q4_K) for every tensor of plan; `keep_type` is to be respected."""


class Quantizer(Protocol):
    """Turns rows of numbers into a type's bytes; called by several threads at once."""

    def quantize(self, name: str, type_name: str, rows: Float32) -> Bytes:
        """The bytes of rows (count, columns): uint8 of shape (count, row_bytes). name is the GGUF tensor's."""


def read_rows(source: TensorSource, tensor: OutputTensor, start: int, stop: int) -> Float32:
    """Rows start to stop of an output tensor in float32: gathered, merged, permuted, added to.

    Shape (stop - start, columns); (stop - start,) for a vector.
    """
    if tensor.constant:
        return np.asarray(tensor.constant, dtype=np.float32).reshape(tensor.shape)[start:stop]
    blocks = [source.rows(name, index) for name, index in row_pieces(tensor, start, stop)]
    rows = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    if tensor.add:
        rows += np.float32(tensor.add)
    return rows


def read_raw_rows(source: TensorSource, tensor: OutputTensor, start: int, stop: int) -> Bytes | None:
    """The stored bytes of rows start to stop where they may be copied, else None. The source types must agree."""
    if tensor.constant or tensor.add:
        return None
    blocks = [source.raw_rows(name, index) for name, index in row_pieces(tensor, start, stop)]
    whole = [block for block in blocks if block is not None]
    if len(whole) < len(blocks):
        return None
    return whole[0] if len(whole) == 1 else np.concatenate(whole)


def row_pieces(tensor: OutputTensor, start: int, stop: int) -> list[tuple[str, Index]]:
    """(source tensor, its rows) whose concatenation is rows start to stop of an output tensor."""
    pieces, top = [], 0
    for part in tensor.parts:
        height = part.stop - part.start
        low, high = max(start - top, 0), min(stop - top, height)
        if low < high:
            pieces.append((part.source, part.index(low, high)))
        top += height
    return pieces
