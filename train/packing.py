"""Packs: what rows begin with in common is computed once, then each row's own part, exact to the token.

RoCIT rows of one role differ only behind the role block, so a pack is a tree: [block | row | row | …]. Positions
and attention are those that each row would have alone; rows never see each other. A row that shares nothing is a
tree of its own, so ordinary exact packing is the same thing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rolekit.train.examples import Example

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tree:
    """A stretch of a pack: a shared prefix, then segments that each continue it (lengths in tokens)."""

    start: int
    prefix: int
    segments: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Length of the stretch."""
        return self.prefix + sum(self.segments)


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """Rows laid out for one forward pass; all arrays are int64.

    ids, positions, trees and segments have one entry a token [n]; segment 0 is a tree's shared prefix. sources,
    labels and owners have one entry a supervised token [m]: the hidden state at sources[k] predicts labels[k],
    which belongs to the example with the index owners[k].
    """

    ids: IntArray
    positions: IntArray
    trees: IntArray
    segments: IntArray
    sources: IntArray
    labels: IntArray
    owners: IntArray
    layout: tuple[Tree, ...]
    rows: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens that are computed."""
        return len(self.ids)

    @property
    def supervised(self) -> int:
        """Tokens that are taught."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The packs of one optimizer step, each as example indices, and the supervised tokens of all of them."""

    packs: tuple[tuple[int, ...], ...]
    supervised: int
    shared_prefix: bool = True

    @property
    def rows(self) -> int:
        """How many examples the step sees."""
        return sum(len(pack) for pack in self.packs)


def input_tokens(row: Example) -> int:
    """How many ids are worth computing: those in front of the last supervised one.

    Raises ValueError for a row without a supervised token.
    """
    return max(index for index, taught in enumerate(row.supervised) if taught)


def build_pack(examples: Sequence[Example], indices: Sequence[int], *, shared_prefix: bool = True) -> Pack:
    """The pack of these examples; without shared_prefix each row is a tree of its own. Within a tree rows keep the given order; trees come in order of appearance."""
    parts = _Parts()
    for group in _groups(examples, indices, shared_prefix).values():
        parts.add_tree(examples, group)
    return parts.pack()


def attention_mask(pack: Pack, window: int = 0) -> BoolArray:
    """[n, n], true where query row i may look at key row j: its own past, the tree's prefix included.

    window > 0 is a sliding window in positions: only the last `window` positions, its own among them.
    """
    same = pack.trees[:, None] == pack.trees[None, :]
    related = (pack.segments[None, :] == 0) | (pack.segments[:, None] == pack.segments[None, :])
    distance = pack.positions[:, None] - pack.positions[None, :]
    mask: BoolArray = same & related & (distance >= 0)
    if window > 0:
        mask &= distance < window
    return mask


@dataclass(frozen=True, slots=True)
class Batching:
    """How an epoch's rows become steps, and a step's rows packs."""

    rows_per_step: int = 16
    tokens_per_step: int = 0
    """Fill a step up to this many row tokens (at least one row) instead of counting rows; 0 counts rows."""
    pack_tokens: int = 2048
    """Most tokens of a pack; a longer single row goes alone. Never changes a gradient, only time and memory."""
    run_rows: int = 1
    """Shuffle runs of so many rows of one role, not single rows: a step sees fewer roles and shares more."""
    shared_prefix: bool = True
    """False computes every row's block anew, for comparisons."""


def order_epoch(examples: Sequence[Example], batching: Batching, seed: int, epoch: int) -> list[list[int]]:
    """The rows of each step of an epoch: every example exactly once, in an order of seed and epoch alone."""
    steps: list[list[int]] = []
    filled = batching.rows_per_step
    limit = batching.tokens_per_step
    for index in _order(examples, seed, epoch, batching.run_rows):
        cost = len(examples[index].ids) if limit else 1
        if not steps or filled + cost > (limit or batching.rows_per_step):
            steps.append([])
            filled = 0
        steps[-1].append(index)
        filled += cost
    return steps


def plan_step(examples: Sequence[Example], indices: Sequence[int], batching: Batching) -> StepPlan:
    """Cut one step's rows into packs: first fit, longest row first, beside rows it shares its prefix with.

    The packs are as few as first fit finds for pack_tokens, and then as even as first fit makes so many: the longest
    one decides how much memory the step takes.
    """
    groups = list(_groups(examples, indices, batching.shared_prefix).values())
    pieces: list[_Piece] = []
    for tree, group in enumerate(groups):
        shared = _shared_tokens([examples[index] for index in group]) if len(group) > 1 else 0
        for index in sorted(group, key=lambda index: (-input_tokens(examples[index]), index)):
            pieces.append(_Piece(index, tree, input_tokens(examples[index]) - shared, shared))
    packs = tuple(tuple(bin_.rows) for bin_ in _even(pieces, batching.pack_tokens))
    return StepPlan(
        packs, sum(examples[index].supervised_tokens for index in indices), batching.shared_prefix
    )


def plan_evaluation(examples: Sequence[Example], batching: Batching) -> StepPlan:
    """All examples in packs, always the same ones."""
    return plan_step(examples, range(len(examples)), batching)


def packs_of(examples: Sequence[Example], plan: StepPlan) -> Iterator[Pack]:
    """The packs of a plan, built one by one."""
    for indices in plan.packs:
        yield build_pack(examples, indices, shared_prefix=plan.shared_prefix)


def packed_tokens(examples: Sequence[Example], plan: StepPlan) -> int:
    """How many tokens the plan computes."""
    return sum(pack.tokens for pack in packs_of(examples, plan))


class _Parts:
    """Collects the arrays of a pack tree by tree."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._positions: list[int] = []
        self._segments: list[int] = []
        self._trees: list[int] = []
        self._sources: list[int] = []
        self._labels: list[int] = []
        self._owners: list[int] = []
        self._layout: list[Tree] = []
        self._rows: list[int] = []

    def add_tree(self, examples: Sequence[Example], indices: Sequence[int]) -> None:
        rows = [examples[index] for index in indices]
        shared = _shared_tokens(rows) if len(rows) > 1 else 0
        start, number = len(self._ids), len(self._layout)
        self._extend(rows[0].ids[:shared], 0, 0, number)
        lengths = []
        for segment, (index, row) in enumerate(zip(indices, rows, strict=True), start=1):
            end = input_tokens(row)
            offset = len(self._ids) - shared
            self._extend(row.ids[shared:end], shared, segment, number)
            taught = [at for at, flag in enumerate(row.supervised) if flag]
            if taught[0] == 0:
                raise ValueError("the first id of a row has nothing that could predict it")
            self._sources += [offset + at - 1 for at in taught]
            self._labels += [row.ids[at] for at in taught]
            self._owners += [index] * len(taught)
            lengths.append(end - shared)
        self._layout.append(Tree(start, shared, tuple(lengths)))
        self._rows += indices

    def _extend(self, ids: Sequence[int], position: int, segment: int, tree: int) -> None:
        self._ids += ids
        self._positions += range(position, position + len(ids))
        self._segments += [segment] * len(ids)
        self._trees += [tree] * len(ids)

    def pack(self) -> Pack:
        return Pack(
            ids=_array(self._ids),
            positions=_array(self._positions),
            trees=_array(self._trees),
            segments=_array(self._segments),
            sources=_array(self._sources),
            labels=_array(self._labels),
            owners=_array(self._owners),
            layout=tuple(self._layout),
            rows=tuple(self._rows),
        )


def _array(values: list[int]) -> IntArray:
    return np.asarray(values, dtype=np.int64)


def _groups(
    examples: Sequence[Example], indices: Sequence[int], shared_prefix: bool
) -> dict[tuple[object, ...], list[int]]:
    """Which rows share a tree: those whose role tokens are the same ids; a row without any stays alone."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index in indices:
        row = examples[index]
        key = (
            (tuple(row.ids[: row.prefix_tokens]),)
            if shared_prefix and row.prefix_tokens
            else ("alone", index)
        )
        groups.setdefault(key, []).append(index)
    return groups


def _shared_tokens(rows: Sequence[Example]) -> int:
    """How many leading ids all rows have in common, so that each row keeps the state of its first label."""
    most = min(row.supervised.index(True) for row in rows) - 1 if rows else 0
    first = rows[0].ids
    for row in rows[1:]:
        most = next((at for at in range(most) if row.ids[at] != first[at]), most)
    return max(most, 0)


def _order(examples: Sequence[Example], seed: int, epoch: int, run_rows: int) -> list[int]:
    """Shuffled by hash: the same on every machine, backend and library version."""

    def rank(index: int) -> bytes:
        return hashlib.blake2b(f"{seed}/{epoch}/{index}".encode(), digest_size=8).digest()

    order = sorted(range(len(examples)), key=rank)
    if run_rows <= 1:
        return order
    roles: dict[str, list[int]] = {}
    for index in order:
        roles.setdefault(examples[index].role, []).append(index)
    runs = [rows[at : at + run_rows] for rows in roles.values() for at in range(0, len(rows), run_rows)]
    return [index for run in sorted(runs, key=lambda run: rank(run[0])) for index in run]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A row to be placed: which tree it belongs to, its own tokens, and those that its tree shares."""

    index: int
    tree: int
    own: int
    shared: int


@dataclass(slots=True)
class _Bin:
    """A pack being filled: its rows, its trees, and what it would cost at most."""

    rows: list[int]
    trees: set[int]
    tokens: int


def _even(pieces: Sequence[_Piece], pack_tokens: int) -> list[_Bin]:
    """As many bins as pack_tokens asks for, at the smallest capacity that still needs no more of them."""
    bins = _first_fit(pieces, pack_tokens)
    low, high = 0, max((bin_.tokens for bin_ in bins), default=0)
    while len(bins) > 1 and high - low > 1:
        middle = (low + high) // 2
        tried = _first_fit(pieces, middle)
        if len(tried) <= len(bins):
            bins, high = tried, middle
        else:
            low = middle
    return bins


def _first_fit(pieces: Sequence[_Piece], pack_tokens: int) -> list[_Bin]:
    bins: list[_Bin] = []
    for piece in pieces:
        for bin_ in sorted(bins, key=lambda bin_: piece.tree not in bin_.trees):
            cost = piece.own if piece.tree in bin_.trees else piece.own + piece.shared
            if bin_.tokens + cost <= pack_tokens:
                bin_.rows.append(piece.index)
                bin_.trees.add(piece.tree)
                bin_.tokens += cost
                break
        else:
            bins.append(_Bin([piece.index], {piece.tree}, piece.own + piece.shared))
    return bins
