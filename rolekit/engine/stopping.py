"""What of a generated stream the reader sees, and where the reply ends; text and bytes only, no model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

THINK_TAGS: Mapping[str, str] = MappingProxyType(
    {
        "<think>": "</think>",
        "<thinking>": "</thinking>",
        "<thought>": "</thought>",
        "<reasoning>": "</reasoning>",
        "<seed:think>": "</seed:think>",
        "<think:opensource>": "</think:opensource>",
        "[THINK]": "[/THINK]",
        "<|START_THINKING|>": "<|END_THINKING|>",
    }
)
