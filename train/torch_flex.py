"""Attention kernels on a GPU: flex attention with the tree as a block mask, or SDPA with a dense one, by measurement.

Written for CUDA. No GPU was at hand when this was released: only the mask itself is tested (on the processor).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import torch

from rolekit.train.packing import Pack, attention_mask

Kernel = Literal["sdpa", "flex_attention"]
_ROUNDS = 5


def tree_rule(pack: Pack, window: int, device: torch.device) -> Callable[..., torch.Tensor]:
    """attention_mask() as flex attention's mask function of (batch, head, query, key)."""
    trees = torch.from_numpy(pack.trees).to(device)
    segments = torch.from_numpy(pack.segments).to(device)
    positions = torch.from_numpy(pack.positions).to(device)

    def seen(batch: Any, head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        related = (segments[key] == 0) | (segments[query] == segments[key])
        distance = positions[query] - positions[key]
        found = (trees[query] == trees[key]) & related & (distance >= 0)
        return found & (distance < window) if window > 0 else found

    return seen


def block_mask(pack: Pack, window: int, device: torch.device) -> Any:
    """The pack's tree as a BlockMask, which skips blocks that nobody looks at."""
    from torch.nn.attention.flex_attention import create_block_mask

    rule = tree_rule(pack, window, device)
    return create_block_mask(rule, None, None, pack.tokens, pack.tokens, device=str(device))


def faster_kernel(
    pack: Pack, heads: tuple[int, int, int], compute: torch.dtype, device: torch.device
) -> Kernel:
    """Which of the two takes less time forward and backward for this pack; heads: query, key/value, size of each.

    flex attention where it cannot be compiled counts as slower.
    """
    from torch.nn.attention.flex_attention import flex_attention
    from torch.nn.functional import scaled_dot_product_attention

    queries, keys, size = heads

    def made(count: int) -> torch.Tensor:
        shape = (1, count, pack.tokens, size)
        return torch.randn(shape, device=device, dtype=compute, requires_grad=True)

    query, key, value = made(queries), made(keys), made(keys)
    dense = torch.from_numpy(attention_mask(pack)).to(device)[None, None]
    blocks = block_mask(pack, 0, device)
    compiled = torch.compile(flex_attention, dynamic=True)

    def seconds(work: Callable[[], torch.Tensor]) -> float:
        with torch.enable_grad():  # also when the first pack is met in an evaluation
            for _ in range(2):
                work().sum().backward()
            torch.cuda.synchronize(device)
            began = time.perf_counter()
            for _ in range(_ROUNDS):
                work().sum().backward()
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    plain = seconds(lambda: scaled_dot_product_attention(query, key, value, dense, enable_gqa=True))
    try:
        flexible = seconds(lambda: compiled(query, key, value, block_mask=blocks, enable_gqa=True))
    except (RuntimeError, NotImplementedError, ImportError):
        return "sdpa"
    return "flex_attention" if flexible < plain else "sdpa"
