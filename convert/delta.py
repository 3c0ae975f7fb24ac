"""What an adapter changes, and a base with these changes applied: merging is a source that reads another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from rolekit.convert.source import Bytes, Float32, Index, TensorSource


class Delta(Protocol):
    """A trained change of a model's tensors, in Hugging Face's names and layout (before any permutation)."""

    def changed(self) -> frozenset[str]:
        """The tensors that `rows` changes."""

    def rows(self, name: str, index: Index, base: Float32) -> Float32:
        """The rows of a changed tensor: base is W[index] in float32 and may be written to.

        LoRA returns base + scale·(B[index] @ A), DoRA also rescales each row. Called by several threads.
        """

    def saved(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the tensors that the adapter stores whole (modules_to_save, an untied head): they replace
        the base's or come on top of them."""

    def saved_rows(self, name: str, index: Index) -> Float32:
        """Rows of a saved tensor."""

    def fingerprint(self) -> str:
        """Differs when the change may differ."""


class MergedSource:
    """A base with a delta on top: every row is merged in float32 when it is read, and rounded once by the writer."""

    def __init__(self, base: TensorSource, delta: Delta, tied: Mapping[str, str] | None = None) -> None:
        """tied: names that the base has not, and whose numbers they share (lm_head.weight: the embedding's);
        one of them becomes a tensor of its own when the delta changes it."""
        self._base, self._delta = base, delta
        self.saved = dict(delta.saved())
        self._changed = delta.changed()
        self._names = list(base.names())
        known = set(self._names)
        untied = [name for name in tied or {} if name in self._changed]
        self._shared = {name: (tied or {})[name] for name in untied if name not in known}
        self._names += [name for name in (*self.saved, *self._shared) if name not in known]

    def names(self) -> list[str]:
        """The base's tensors, then those that only the adapter has."""
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape."""
        if name in self.saved:
            return self.saved[name]
        return self._base.shape(self._shared.get(name, name))

    def dtype(self, name: str) -> str:
        """F32 for what the adapter touches, else the base's."""
        return "F32" if name in self.saved or name in self._changed else self._base.dtype(name)

    def rows(self, name: str, index: Index) -> Float32:
        """The merged rows."""
        if name in self.saved:
            base = self._delta.saved_rows(name, index)
        else:
            base = self._base.rows(self._shared.get(name, name), index)
        return self._delta.rows(name, index, base) if name in self._changed else base

    def raw_rows(self, name: str, index: Index) -> Bytes | None:
        """The base's bytes where the adapter leaves them alone."""
        if name in self.saved or name in self._changed:
            return None
        return self._base.raw_rows(name, index)

    def fingerprint(self) -> str:
        """Both fingerprints."""
        return f"{self._base.fingerprint()}+{self._delta.fingerprint()}"

    def close(self) -> None:
        """Close the base."""
        self._base.close()
