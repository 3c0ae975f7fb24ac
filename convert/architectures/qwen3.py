"""Qwen 3 (dense): norms over each head of queries and keys."""

from __future__ import annotations

from rolekit.convert.architectures import common, qwen2
from rolekit.convert.architectures.architecture import Architecture

ARCHITECTURE = Architecture(
    arch="qwen3",
    classes=("Qwen3ForCausalLM",),
    sizes=common.sizes,
    metadata=common.metadata,
    weights=(
        common.EMBEDDING,
        common.ATTENTION_NORM,
        *common.attention(bias=True),
        *common.query_key_norms(),
        common.FEED_FORWARD_NORM,
        *common.feed_forward(),
        common.OUTPUT_NORM,
        common.OUTPUT,
    ),
    notes=qwen2.notes,
)
