"""Faults in a GGUF's metadata that parse well but make llama.cpp abort the process instead of refusing the file."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping

_BYTE_TOKEN = 6
_MAX_LAYERS = 512


def metadata_fault(metadata: Mapping[str, object]) -> str:
    """What llama.cpp would not survive in this metadata, in a few words; empty when nothing is."""
    return _vocabulary_fault(metadata) or _hyperparameter_fault(metadata)


def _vocabulary_fault(metadata: Mapping[str, object]) -> str:
    """llama.cpp asserts that no two tokens have the same text, as C strings and after naming the empty ones."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    if tokens is None:
        return ""
    if not isinstance(tokens, list):
        return "its token list is no list of texts"
    if any(not token or "\0" in token for token in tokens):
        tokens = [token.partition("\0")[0] or f"[EMPTY_{index}]" for index, token in enumerate(tokens)]
    if len(set(tokens)) < len(tokens):
        return "two of its tokens have the same text"
    for key in ("tokenizer.ggml.token_type", "tokenizer.ggml.scores"):
        values = metadata.get(key)
        if values is not None and (not isinstance(values, array) or len(values) < len(tokens)):
            return f"{key} does not fit its token list"
    kinds = metadata.get("tokenizer.ggml.token_type")
    if metadata.get("tokenizer.ggml.model") == "bert" and isinstance(kinds, array) and _BYTE_TOKEN in kinds:
        return "a WordPiece vocabulary has no byte tokens"
    return ""


def _hyperparameter_fault(metadata: Mapping[str, object]) -> str:
    architecture = metadata.get("general.architecture")
    for key, value in metadata.items():
        if isinstance(value, float) and not math.isfinite(value):
            return f"{key} is not a finite number"
    layers = metadata.get(f"{architecture}.block_count")
    if isinstance(layers, int) and not 1 <= layers <= _MAX_LAYERS:
        return f"it claims {layers} layers (1 to {_MAX_LAYERS} are possible)"
    return ""
