"""What an adapter does to a model's weights: read from PEFT's or mlx-lm's files, applied block by block in float32.

Every change is named by the Hugging Face tensor it is made to ("model.layers.0.self_attn.q_proj.weight"), whichever
program wrote the adapter. Sources: peft 0.21 and mlx-lm 0.32 (their file formats and forward passes), DoRA
(arXiv 2402.09353), rsLoRA (arXiv 2312.03732).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np

from rolekit.adapter_folder import format_of
from rolekit.convert.source import Float32, Index
from rolekit.errors import RolekitError
from rolekit.text import one_line

Shape: TypeAlias = tuple[int, ...]

_MAX_NAMED = 3


class Matrix(Protocol):
    """One stored tensor of an adapter, read when it is asked for, by several threads at once."""

    @property
    def shape(self) -> Shape:
        """Rows first."""

    def read(self, index: Index | None = None) -> Float32:
        """These rows (all by default) in float32.

        Raises RolekitError when the file cannot be read, or a number in it is NaN or infinite.
        """


@dataclass(frozen=True, slots=True)
class LowRank:
    """W + scale·(b @ a); with a magnitude, each row of that sum is brought to this length (DoRA)."""

    a: Matrix
    """(rank, columns)"""
    b: Matrix
    """(rows, rank)"""
    scale: float
    magnitude: Matrix | None = None
    """(rows,)"""

    @property
    def shape(self) -> Shape:
        """The shape of the weight it belongs to."""
        return self.b.shape[0], self.a.shape[1]

    def rows(self, index: Index, base: Float32) -> Float32:
        """The changed rows, base being W[index], which may be written to."""
        base += (self.b.read(index) * np.float32(self.scale)) @ self.a.read()
        if self.magnitude is not None:
            norms = np.sqrt(np.einsum("ij,ij->i", base, base, dtype=np.float64))
            with np.errstate(divide="ignore", invalid="ignore"):
                factors = self.magnitude.read(index).reshape(-1) / norms
            base *= np.where(norms > 0, factors, 0).astype(np.float32)[:, None]
        return base


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Single rows of an embedding that were trained and take the place of the base's."""

    ids: tuple[int, ...]
    values: Matrix
    """(len(ids), columns)"""

    def rows(self, index: Index, base: Float32) -> Float32:
        """base (W[index]) with the trained rows in their places; base may be written to."""
        for position, token in enumerate(self.ids):
            here = np.flatnonzero(index == token)
            if len(here):
                base[here] = self.values.read(np.array([position]))
        return base


@dataclass(frozen=True, slots=True)
class Adapter:
    """All changes of one adapter, by Hugging Face tensor name: a `convert.delta.Delta`; read_adapter makes it.

    A weight's new rows are: the base's or, where the module was trained whole, the adapter's own; then the low-rank
    change; then single token rows.
    """

    folder: Path
    kind: Literal["peft", "mlx"]
    base_model: str
    """What the adapter's config calls its base; empty when it says nothing."""
    low_rank: Mapping[str, LowRank]
    replaced: Mapping[str, Matrix] = field(default_factory=dict)
    """Tensors that take the base's place whole: modules_to_save, trained biases, mlx-lm's full fine-tuning."""
    bias_deltas: Mapping[str, tuple[Matrix, float]] = field(default_factory=dict)
    """What lora_bias adds to a bias, and its factor."""
    token_rows: Mapping[str, TokenRows] = field(default_factory=dict)
    keeps_tied: bool = False
    """Whether a change of the embedding is meant for the tied output too."""
    digest: str = ""
    """Tells this adapter's files from any other's."""
    unchanged: frozenset[str] = field(default=frozenset())
    """Tensors that become their own without a change: the output of a tied model whose embedding alone is changed."""

    # -- convert.delta.Delta ----------------------------------------------------------------------------------------

    def changed(self) -> frozenset[str]:
        """The tensors that `rows` changes."""
        return frozenset([*self.low_rank, *self.bias_deltas, *self.token_rows]) | self.unchanged

    def rows(self, name: str, index: Index, base: Float32) -> Float32:
        """The rows of a changed tensor: base is W[index] in float32 and may be written to.

        Raises RolekitError when the adapter's file cannot be read or holds NaN.
        """
        if name in self.bias_deltas:
            delta, factor = self.bias_deltas[name]
            base += np.float32(factor) * delta.read(index)
        if name in self.low_rank:
            base = self.low_rank[name].rows(index, base)
        if name in self.token_rows:
            base = self.token_rows[name].rows(index, base)
        return base

    def saved(self) -> Mapping[str, Shape]:
        """Shapes of the tensors that the adapter stores whole."""
        return {name: matrix.shape for name, matrix in self.replaced.items()}

    def saved_rows(self, name: str, index: Index) -> Float32:
        """Rows of a saved tensor."""
        return self.replaced[name].read(index)

    def fingerprint(self) -> str:
        """Differs when the adapter's files differ."""
        return self.digest

    # -- against a base ---------------------------------------------------------------------------------------------

    def fitted(self, base: Mapping[str, Shape], base_name: str, tied: Mapping[str, str]) -> Adapter:
        """This adapter, checked against the base it is to change (Hugging Face name to shape).

        tied maps the output's name to the embedding's in a model whose output is its embedding. PEFT changes only the
        one of the two that it wraps, so such an output becomes a tensor of its own (`unchanged`) where the adapter
        changes the embedding alone.
        Raises RolekitError in one sentence when it was trained for another model.
        """
        shapes = {**base, **{head: base[embedding] for head, embedding in tied.items()}}
        targets = self.shapes()
        missing = sorted(name for name in targets if name not in shapes)
        wrong = sorted(
            f"{name} is {_dimensions(shapes[name])} there and {_dimensions(shape)} in the adapter"
            for name, shape in targets.items()
            if name in shapes and not _fits(name, shape, shapes[name], self)
        )
        if missing or wrong:
            reason = f"{one_line(base_name)} has no {listed(missing)}" if missing else listed(wrong)
            meant = f" (it names {one_line(self.base_model)})" if self.base_model else ""
            raise RolekitError(
                f"The adapter {one_line(self.folder.name)} was trained on another model{meant}: {reason}.",
                "Give the base that it was trained on.",
            )
        alone = {
            head
            for head, embedding in tied.items()
            if not self.keeps_tied
            and head not in targets
            and (embedding in self.low_rank or embedding in self.replaced)
        }
        return replace(self, unchanged=frozenset(alone))

    def shapes(self) -> dict[str, Shape]:
        """The shape that each changed tensor has to have; of trained token rows, the least it may have."""
        least = {
            name: (max(tokens.ids) + 1, tokens.values.shape[1]) for name, tokens in self.token_rows.items()
        }
        biases = {name: delta.shape for name, (delta, _) in self.bias_deltas.items()}
        low = {name: low.shape for name, low in self.low_rank.items()}
        return {**least, **biases, **low, **self.saved()}


def read_adapter(folder: Path) -> Adapter:
    """The adapter in a folder that PEFT (adapter_model.safetensors) or mlx-lm (adapters.safetensors) wrote.

    Only headers are read; weights are read when they are asked for. Raises RolekitError for a folder that holds none,
    for damage, and for a kind of adapter whose effect cannot be reproduced exactly, with the reason.
    """
    from rolekit.convert import adapter_mlx, adapter_peft

    if folder.is_file() and folder.suffix.lower() == ".gguf":
        raise RolekitError(
            f"{folder.name} is a GGUF adapter, whose weights are laid out for llama.cpp already.",
            "Put it on a model with --adapter of rolekit chat, or give the folder it was made of.",
        )
    if not folder.is_dir():
        raise RolekitError(f"There is no adapter folder {folder}.", "Give the folder that training wrote.")
    return adapter_peft.read(folder) if format_of(folder) == "peft" else adapter_mlx.read(folder)


def listed(items: list[str], separator: str = ", ") -> str:
    """The first few of many names or sentences, and how many more there are."""
    shown = separator.join(one_line(item, 160) for item in items[:_MAX_NAMED])
    return shown + (f"{separator}and {len(items) - _MAX_NAMED} more" if len(items) > _MAX_NAMED else "")


def _fits(name: str, shape: Shape, there: Shape, adapter: Adapter) -> bool:
    if name in adapter.token_rows and name not in adapter.low_rank and name not in adapter.replaced:
        return there[0] >= shape[0] and there[1:] == shape[1:]
    if name in adapter.replaced and len(there) == 2 and there[1:] == shape[1:]:
        return True  # a vocabulary that was resized for training
    return there == shape


def _dimensions(shape: Shape) -> str:
    return "x".join(map(str, shape))
