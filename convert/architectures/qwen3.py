"""Qwen 3 (dense): norms over each head of queries and keys."""

from __future__ import annotations

from rolekit.convert.architectures import common, qwen2
from rolekit.convert.architectures.architecture import Architecture

ARCHITECTURE = Architecture(
    arch="qwen3",
    classes=("Qwen3ForCausalLM",),
    sizes=common.sizes,
    metadata=common.metadata,
    weights=common.decoder(
        common.attention(bias=True), common.feed_forward(), behind_attention=common.query_key_norms()
    ),
    notes=qwen2.notes,
)
