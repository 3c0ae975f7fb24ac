"""How much memory a model needs at a context length, computed from its header alone.

Weights are the tensors' bytes. The KV cache follows llama.cpp's layout: f16 cells for every layer that has keys and
values, grouped heads counted once, sliding-window layers as long as their window where the cache is kept short.
The compute buffers are an estimate: the feed-forward activations, the mask and (without flash attention, as on a CPU)
the attention scores of one chunk, the logits of one token.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rolekit.engine.gguf_header import GgufHeader, Value

KV_VALUE_BYTES = 2
CELL_STEP = 256
CHUNK_TOKENS = 256
"""What rolekit.engine.context evaluates at a time."""

# architecture -> (every n-th layer sees everything, window where the file names none), as llama.cpp has it built in.
_WINDOWED: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "cohere2": (4, 0),
        "exaone4": (4, 0),
        "gemma2": (2, 4096),
        "gemma3": (6, 0),
        "gemma3n": (5, 0),
        "gpt-oss": (2, 0),
        "llama4": (4, 8192),
        "olmo2": (4, 0),
    }
)
_SHARED_FROM = MappingProxyType({"gemma3n": 20})


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of memory at a context length."""

    context_tokens: int
    weights_bytes: int
    kv_bytes: int
    state_bytes: int
    """Of recurrent layers, whatever the context length."""
    compute_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.kv_bytes + self.state_bytes + self.compute_bytes


class _Shape:
    """The numbers of a header, each with llama.cpp's default."""

    def __init__(self, metadata: Mapping[str, Value]) -> None:
        self.metadata = metadata
        self.architecture = str(metadata.get("general.architecture", ""))
        self.layers = max(self.one("block_count", 0) - self.one("nextn_predict_layers", 0), 0)
        self.embedding = self.one("embedding_length", 0)

    def one(self, name: str, default: int) -> int:
        value = self.metadata.get(f"{self.architecture}.{name}")
        if isinstance(value, array):
            return int(max(value, default=default))
        return int(value) if isinstance(value, int | float) else default

    def each(self, name: str, default: Sequence[int]) -> list[int]:
        """One number a layer; a single number stands for all."""
        value = self.metadata.get(f"{self.architecture}.{name}")
        if isinstance(value, array):
            return [*(int(number) for number in value), *default[len(value) :]][: self.layers]
        return [int(value)] * self.layers if isinstance(value, int | float) else list(default)


def footprint(
    header: GgufHeader, weights_bytes: int, context_tokens: int, *, short_windows: bool = False
) -> Footprint:
    """The memory that chatting with the model takes.

    weights_bytes is the sum over all parts of a split model. short_windows: sliding-window layers keep only their
    window (llama.cpp's swa_full = false), which saves memory and gives up reusing an older prefix.
    """
    shape = _Shape(header.metadata)
    return Footprint(
        context_tokens,
        weights_bytes,
        _kv_bytes(shape, context_tokens, short_windows),
        _state_bytes(shape),
        _compute_bytes(shape, header, context_tokens),
    )


def sliding_window(header: GgufHeader) -> int:
    """Tokens that the model's windowed layers look back; 0 where all layers see everything."""
    shape = _Shape(header.metadata)
    return _window(shape) if any(_windowed_layers(shape)) else 0


def _window(shape: _Shape) -> int:
    if shape.architecture == "phi3":  # llama.cpp ignores the window of Phi-3.
        return 0
    _, default = _WINDOWED.get(shape.architecture, (0, 0))
    return shape.one("attention.sliding_window", default)


def _windowed_layers(shape: _Shape) -> list[bool]:
    if not _window(shape):
        return [False] * shape.layers
    pattern = shape.metadata.get(f"{shape.architecture}.attention.sliding_window_pattern")
    if isinstance(pattern, array):
        return [bool(flag) for flag in pattern][: shape.layers]
    every, _ = _WINDOWED.get(shape.architecture, (0, 0))
    every = int(pattern) if isinstance(pattern, int) and not isinstance(pattern, bool) else every
    return [every > 0 and layer % every < every - 1 for layer in range(shape.layers)]


def _kv_bytes(shape: _Shape, context_tokens: int, short_windows: bool) -> int:
    heads = shape.each("attention.head_count", [1] * shape.layers)
    kv_heads = shape.each("attention.head_count_kv", heads)
    width = shape.embedding // max(shape.one("attention.head_count", 1), 1)
    keys, values = shape.one("attention.key_length", width), shape.one("attention.value_length", width)
    if shape.one("attention.key_length_mla", 0):  # Multi-head latent attention keeps one compressed vector.
        values = 0
    cells = _pad(context_tokens)
    window = _window(shape)
    short = _pad(min(cells, window + CHUNK_TOKENS)) if short_windows and window else cells
    last = shape.layers - shape.one("attention.shared_kv_layers", 0)
    last = min(last, _SHARED_FROM.get(shape.architecture, last))
    full_every = shape.one("full_attention_interval", 0)
    total = 0
    for layer, windowed in enumerate(_windowed_layers(shape)[:last]):
        if full_every and (layer + 1) % full_every:
            continue
        size = keys + values
        if windowed:
            size = shape.one("attention.key_length_swa", keys) + shape.one(
                "attention.value_length_swa", values
            )
        total += kv_heads[layer] * size * (short if windowed else cells) * KV_VALUE_BYTES
    return total


def _state_bytes(shape: _Shape) -> int:
    inner, state = shape.one("ssm.inner_size", 0), shape.one("ssm.state_size", 0)
    if not inner:
        return 0
    convolution = max(shape.one("ssm.conv_kernel", 1) - 1, 0) * (
        inner + 2 * shape.one("ssm.group_count", 0) * state
    )
    kv_heads = shape.each("attention.head_count_kv", [0] * shape.layers)
    recurrent = sum(heads == 0 for heads in kv_heads) or shape.layers
    if full_every := shape.one("full_attention_interval", 0):
        recurrent = shape.layers - shape.layers // full_every
    return recurrent * (convolution + inner * state) * 4


def _compute_bytes(shape: _Shape, header: GgufHeader, context_tokens: int) -> int:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    vocabulary = len(tokens) if isinstance(tokens, list) else shape.one("vocab_size", 0)
    feed_forward = max(shape.one("feed_forward_length", 0), shape.one("expert_feed_forward_length", 0) * 8)
    heads = max(shape.each("attention.head_count", [1]), default=1)
    scores = heads * _pad(context_tokens)
    # The buffer is used again from step to step: the larger of the two decides.
    activations = 4 * (max(3 * feed_forward, scores) + 4 * shape.embedding)
    mask = 2 * _pad(context_tokens)
    return CHUNK_TOKENS * (activations + mask) + 4 * vocabulary


def _pad(tokens: int) -> int:
    return -(-tokens // CELL_STEP) * CELL_STEP
