"""Attention of a tree pack, forward and backward by hand: every segment over [prefix | itself], nothing else.

A dense mask over a pack computes n² scores; here segments of similar length go as one batch over their own keys
and their tree's prefix, which is all there is to compute. Probabilities are made again in the backward pass.
Only what lies in the CPU cache at once is held.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rolekit.train.packing import Pack, Tree
from rolekit.train.torch_math import Workspace

SCORES_PER_CHUNK = 1_500_000
"""Scores of one chunk over all heads: about 6 MB."""


@dataclass(frozen=True, slots=True)
class Heads:
    """Query heads, key/value heads, and the size of each."""

    query: int
    key: int
    size: int

    @property
    def rows(self) -> int:
        """Rows of `size` numbers that q, k and v of one token take."""
        return self.query + 2 * self.key

    @property
    def group(self) -> int:
        """Query heads that share a key head."""
        return self.query // self.key


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Segments that are computed as one batch: count of them, padded to length, behind a prefix.

    The rows are indices into tokens * heads rows of `size` numbers, in the order [segment, key head, token, …].
    """

    count: int
    length: int
    prefix: int
    start: int
    """Where the prefix lies in the pack."""
    query_rows: torch.Tensor
    key_rows: torch.Tensor
    value_rows: torch.Tensor
    output_rows: torch.Tensor
    real: torch.Tensor | None
    """1 for output rows that exist, 0 for padding; None where nothing is padded."""
    hidden: torch.Tensor
    """[length, 1, keys from first_hidden on], -inf where a query may not look, else 0."""
    first_hidden: int


class TreeAttention:
    """The attention of one pack. qkv is [n, (q + 2k) * size]: rotated queries (scaled), rotated keys, values."""

    def __init__(self, pack: Pack, heads: Heads, window: int = 0) -> None:
        """window: how many tokens back a query sees, its own counted; 0: all."""
        self._heads = heads
        self._chunks: list[_Chunk] = []
        self._slots = 0
        self._inverse = torch.empty(pack.tokens * heads.rows, dtype=torch.int64)
        self._output_inverse = torch.empty(pack.tokens * heads.query, dtype=torch.int64)
        self._output_slots = 0
        for tree in pack.layout:
            self._add_tree(tree, window)

    def forward(self, qkv: torch.Tensor, out: torch.Tensor, space: Workspace) -> torch.Tensor:
        """[n, q * size], ready for the output projection, in out."""
        heads = self._heads
        rows = qkv.view(-1, heads.size)
        slots = space.get("slots", (self._output_slots, heads.size))
        at = 0
        for chunk in self._chunks:
            query, key, value = self._gathered(rows, chunk)
            chances = self._chances(chunk, query, key)
            size = query.shape[0] * query.shape[1]
            torch.bmm(chances, value, out=slots[at : at + size].view(query.shape))
            at += size
        torch.index_select(slots, 0, self._output_inverse, out=out.view(-1, heads.size))
        return out

    def backward(self, qkv: torch.Tensor, upstream: torch.Tensor, space: Workspace) -> torch.Tensor:
        """d loss / d qkv (in the workspace), for upstream = d loss / d forward(qkv), [n, q * size]."""
        heads = self._heads
        rows = qkv.view(-1, heads.size)
        given = upstream.reshape(-1, heads.size)
        slots = space.get("slots", (self._slots, heads.size))
        shared: dict[int, torch.Tensor] = {}
        at = 0
        for chunk in self._chunks:
            at = self._chunk_backward(chunk, rows, given, slots, at, shared)
        slope = space.get("qkv slope", (len(self._inverse), heads.size))
        torch.index_select(slots, 0, self._inverse, out=slope)
        slope = slope.view(-1, heads.rows, heads.size)
        for start, total in shared.items():
            slope[start : start + total.shape[0], heads.query :] += total
        return slope.view(len(qkv), -1)

    def _chunk_backward(
        self,
        chunk: _Chunk,
        rows: torch.Tensor,
        given: torch.Tensor,
        slots: torch.Tensor,
        at: int,
        shared: dict[int, torch.Tensor],
    ) -> int:
        heads, batch = self._heads, chunk.count * self._heads.key
        query, key, value = self._gathered(rows, chunk)
        chances = self._chances(chunk, query, key)
        out_slope = given.index_select(0, chunk.output_rows)
        if chunk.real is not None:
            out_slope *= chunk.real
        out_slope = out_slope.view(query.shape)
        value_slope = torch.bmm(chances.transpose(1, 2), out_slope)
        slope = torch.bmm(out_slope, value.transpose(1, 2))
        torch.ops.aten._softmax_backward_data.out(slope, chances, -1, slope.dtype, grad_input=slope)
        size = query.shape[0] * query.shape[1]
        torch.bmm(slope, key, out=slots[at : at + size].view(query.shape))
        at += size
        key_slope = torch.bmm(slope.transpose(1, 2), query)
        own = batch * chunk.length
        for each in (key_slope, value_slope):
            slots[at : at + own].view(batch, chunk.length, heads.size).copy_(each[:, chunk.prefix :])
            at += own
        if chunk.prefix:
            shape = (chunk.count, heads.key, -1, heads.size)
            both = [each.view(shape)[:, :, : chunk.prefix].sum(0) for each in (key_slope, value_slope)]
            total = torch.cat(both).transpose(0, 1)
            shared[chunk.start] = shared[chunk.start] + total if chunk.start in shared else total
        return at

    def _gathered(self, rows: torch.Tensor, chunk: _Chunk) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        size, batch = self._heads.size, chunk.count * self._heads.key
        keys = chunk.prefix + chunk.length
        return (
            rows.index_select(0, chunk.query_rows).view(batch, chunk.length * self._heads.group, size),
            rows.index_select(0, chunk.key_rows).view(batch, keys, size),
            rows.index_select(0, chunk.value_rows).view(batch, keys, size),
        )

    def _chances(self, chunk: _Chunk, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        scores = torch.bmm(query, key.transpose(1, 2))
        seen = scores.view(query.shape[0], chunk.length, self._heads.group, key.shape[1])
        seen[..., chunk.first_hidden :].add_(chunk.hidden)
        return torch.softmax(scores, dim=-1, out=scores)

    def _add_tree(self, tree: Tree, window: int) -> None:
        if tree.prefix:
            self._add_chunk(tree.start, 0, [(tree.start, tree.prefix)], window)
        segments, at = [], tree.start + tree.prefix
        for length in tree.segments:
            segments.append((at, length))
            at += length
        segments.sort(key=lambda segment: -segment[1])
        while segments:
            longest = segments[0][1]
            each = longest * (tree.prefix + longest) * self._heads.query
            count = max(SCORES_PER_CHUNK // each, 1)
            self._add_chunk(tree.start, tree.prefix, segments[:count], window)
            segments = segments[count:]

    def _add_chunk(self, start: int, prefix: int, segments: Sequence[tuple[int, int]], window: int) -> None:
        heads, length = self._heads, segments[0][1]
        place = torch.arange(length)
        first = torch.tensor([at for at, _ in segments])[:, None]
        lengths = torch.tensor([size for _, size in segments])[:, None]
        valid = place < lengths
        tokens = first + torch.minimum(place, lengths - 1)
        shared = (start + torch.arange(prefix)).expand(len(segments), -1)
        keys = torch.cat([shared, tokens], dim=1)[:, None, :] * heads.rows + heads.query
        key_head = torch.arange(heads.key)[None, :, None]
        query_head = torch.arange(heads.query).view(heads.key, 1, heads.group)
        by_head = tokens[:, None, :, None]
        real = valid[:, None, :, None].expand(-1, heads.key, -1, heads.group)
        chunk = _Chunk(
            count=len(segments),
            length=length,
            prefix=prefix,
            start=start,
            query_rows=(by_head * heads.rows + query_head).flatten(),
            key_rows=(keys + key_head).flatten(),
            value_rows=(keys + heads.key + key_head).flatten(),
            output_rows=(by_head * heads.query + query_head).flatten(),
            real=None if bool(valid.all()) else real.reshape(-1, 1).float(),
            **_hidden(prefix, length, window),
        )
        self._chunks.append(chunk)
        self._find_slots(chunk, real.reshape(-1), valid, tokens)

    def _find_slots(
        self, chunk: _Chunk, real: torch.Tensor, valid: torch.Tensor, tokens: torch.Tensor
    ) -> None:
        """Where each row of the pack will be found among the chunks' results."""
        heads = self._heads
        queries = len(chunk.query_rows)
        numbers = torch.arange(queries)
        self._output_inverse[chunk.output_rows[real]] = self._output_slots + numbers[real]
        self._output_slots += queries
        self._inverse[chunk.query_rows[real]] = self._slots + numbers[real]
        self._slots += queries
        own = valid[:, None, :].expand(-1, heads.key, -1).flatten()
        numbers = torch.arange(len(own))
        for head in (heads.query, heads.query + heads.key):
            rows = (tokens[:, None, :] * heads.rows + head + torch.arange(heads.key)[None, :, None]).flatten()
            self._inverse[rows[own]] = self._slots + numbers[own]
            self._slots += len(own)


def _hidden(prefix: int, length: int, window: int) -> dict[str, Any]:
    """What queries of a segment may not see: their future, and what a sliding window has left behind."""
    own = torch.arange(prefix, prefix + length)[:, None]
    first = 0 if 0 < window < prefix + length else prefix
    key = torch.arange(first, prefix + length)[None, :]
    hidden = key > own
    if first == 0 and window > 0:
        hidden |= own - key >= window
    bias = torch.zeros(hidden.shape).masked_fill_(hidden, -math.inf)
    return {"hidden": bias[:, None, :], "first_hidden": first}
