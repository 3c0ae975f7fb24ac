"""A pack through one of mlx-lm's models: each shared prefix once, then the rows that continue it, exactly.

mlx-lm's models take one position offset a call, so a tree is two calls: the prefix, whose keys and values each
layer leaves in a TreeCache, and the segments as batch rows that go on behind it. Segments of like length go
together; what pads the shorter ones stands behind them, where causal attention never looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rolekit.train.packing import Pack, Tree

_CALL_TOKENS = 48
"""What another call costs, in tokens: so much padding is cheaper than a call of its own."""
_CHUNK_BYTES = 64 << 20
"""Logits that exist at once, in float32."""


class TreeCache:
    """One layer's keys and values of a shared prefix, where mlx-lm's models expect a KV cache.

    Empty, it takes them in; made with them, it puts them in front of every row's own.
    """

    def __init__(self, keys: Any = None, values: Any = None) -> None:
        """keys, values: [1, heads, prefix tokens, head size] of the prefix, or None to take them in."""
        self.keys, self.values = keys, values
        self.offset = 0 if keys is None else keys.shape[2]
        self.windows: list[int | None] = []
        """The sliding windows that masks were asked for with, one entry a mask."""

    def update_and_fetch(self, keys: Any, values: Any) -> tuple[Any, Any]:
        """All keys and values that the new queries may look at: [rows, heads, offset + new, width]."""
        import mlx.core as mx

        if not self.offset:
            self.keys, self.values = keys, values
            return keys, values
        both = []
        for before, new in ((self.keys, keys), (self.values, values)):
            shared = mx.broadcast_to(before, (new.shape[0], *before.shape[1:]))
            both.append(mx.concatenate([shared, new], axis=2))
        return both[0], both[1]

    def make_mask(self, length: int, return_array: bool = False, window_size: int | None = None) -> Any:
        """The causal mask of `length` new tokens behind the prefix, within a window where the layer has one."""
        import mlx.core as mx

        self.windows.append(window_size)
        if not return_array and (window_size is None or self.offset + length <= window_size):
            return "causal"
        own = mx.arange(self.offset, self.offset + length)[:, None]
        distance = own - mx.arange(self.offset + length)[None]
        mask = distance >= 0
        return mask if window_size is None else mask & (distance < window_size)


def grouped(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of rows that go through the model together, so that padding and calls cost least.

    Each group holds rows of neighbouring lengths; the same lengths always give the same groups.
    """
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    best: list[tuple[int, int]] = [(0, 0)]
    """best[n]: the least cost of the n shortest rows, and where their last group begins."""
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        best.append(
            min((best[start][0] + (end - start) * longest + _CALL_TOKENS, start) for start in range(end))
        )
    groups, end = [], len(order)
    while end:
        start = best[end][1]
        groups.append(order[start:end])
        end = start
    return groups[::-1]


@dataclass(frozen=True, slots=True)
class _Segment:
    """One row's own part: where it lies in the pack."""

    start: int
    length: int


def hidden_at_sources(inner: Callable[..., Any], layers: int, pack: Pack) -> Any:
    """The last hidden states that predict the pack's labels: [labels, width].

    inner(ids, cache=...) is the model without its head, with so many layers.
    """
    import mlx.core as mx

    outputs: list[Any] = []
    place = np.zeros(pack.tokens, dtype=np.int64)
    filled = 0
    for prefix, segments in _families(pack):
        keys = _read_prefix(inner, layers, pack, prefix) if prefix else None
        for group in grouped([segment.length for segment in segments]):
            members = [segments[index] for index in group]
            longest = max(segment.length for segment in members)
            ids = np.zeros((len(members), longest), dtype=np.int64)
            for row, segment in enumerate(members):
                ids[row, : segment.length] = pack.ids[segment.start : segment.start + segment.length]
                begin = filled + row * longest
                place[segment.start : segment.start + segment.length] = np.arange(
                    begin, begin + segment.length
                )
            cache = [TreeCache(k, v) for k, v in keys] if keys else [TreeCache() for _ in range(layers)]
            hidden = inner(mx.array(ids), cache=cache)
            outputs.append(hidden.reshape(-1, hidden.shape[-1]))
            filled += ids.size
    flat = outputs[0] if len(outputs) == 1 else mx.concatenate(outputs)
    return flat[mx.array(place[pack.sources])]


def _families(pack: Pack) -> list[tuple[Tree | None, list[_Segment]]]:
    """Each tree with a prefix and its segments, and one family of all rows that share nothing."""
    families: list[tuple[Tree | None, list[_Segment]]] = []
    alone: list[_Segment] = []
    for tree in pack.layout:
        start = tree.start + tree.prefix
        segments = []
        for length in tree.segments:
            segments.append(_Segment(start, length))
            start += length
        if tree.prefix:
            families.append((tree, segments))
        else:
            alone += segments
    return [*families, (None, alone)] if alone else families


def _read_prefix(inner: Callable[..., Any], layers: int, pack: Pack, tree: Tree) -> list[tuple[Any, Any]]:
    """Each layer's keys and values of a tree's prefix; what the last layer makes of them is never computed."""
    import mlx.core as mx

    cache = [TreeCache() for _ in range(layers)]
    inner(mx.array(pack.ids[None, tree.start : tree.start + tree.prefix]), cache=cache)
    return [(layer.keys, layer.values) for layer in cache]


def loss_sum(head: Callable[[Any], Any], hidden: Any, labels: Any, vocabulary: int) -> Any:
    """The sum of the cross-entropies of hidden [n, width] against labels [n], in nats, in float32.

    Logits are made in chunks and never kept: the gradient with respect to hidden is found on the way forward,
    which is enough because the head is frozen.
    """
    import mlx.core as mx

    rows = max(_CHUNK_BYTES // (4 * vocabulary), 1)
    total = mx.array(0.0)
    for start in range(0, hidden.shape[0], rows):
        total = total + _chunk_loss(head, hidden[start : start + rows], labels[start : start + rows])
    return total


def _chunk_loss(head: Callable[[Any], Any], hidden: Any, labels: Any) -> Any:
    import mlx.core as mx

    def plain(hidden: Any) -> Any:
        logits = head(hidden[None])[0].astype(mx.float32)
        chosen = mx.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
        return (mx.logsumexp(logits, axis=-1) - chosen).sum()

    def forward(hidden: Any) -> Any:
        return mx.value_and_grad(plain)(hidden)

    def backward(hidden: Any, cotangents: Any, outputs: Any) -> Any:
        return (cotangents[0] * outputs[1]).astype(hidden.dtype)

    both: Any = mx.custom_function(forward)
    both.vjp(backward)
    return both(hidden)[0]
