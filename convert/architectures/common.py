"""What most decoders share: sizes, metadata and the names of the Llama layout."""

from __future__ import annotations

from collections.abc import Sequence

from rolekit.convert.architectures.architecture import Sizes, Weight, linear
from rolekit.convert.architectures.config import Config
from rolekit.convert.architectures.rope import rope_metadata
from rolekit.convert.metadata import MetaValue
from rolekit.convert.plan import InterleavedPairs, RowOrder
from rolekit.errors import RolekitError


def sizes(config: Config) -> dict[str, int]:
    """The lengths that a Llama-like config.json gives.

    Raises RolekitError when they do not fit each other.
    """
    heads = config.size("num_attention_heads")
    kv_heads = config.size("num_key_value_heads", default=heads)
    head = config.size("head_dim", default=max(config.size("hidden_size") // heads, 1))
    if heads % kv_heads or head % 2:
        raise RolekitError(
            f"config.json has {heads} attention heads of {head} for {kv_heads} key-value heads, which do not fit.",
            "Fetch the model's files again.",
        )
    return {
        "layers": config.size("num_hidden_layers"),
        "embd": config.size("hidden_size"),
        "ffn": config.size("intermediate_size"),
        "ffn2": 2 * config.size("intermediate_size"),
        "vocab": config.size("vocab_size"),
        "head": head,
        "q": heads * head,
        "kv": kv_heads * head,
        "qkv": (heads + 2 * kv_heads) * head,
    }


def metadata(config: Config) -> dict[str, MetaValue]:
    """The keys that every decoder has."""
    heads = config.size("num_attention_heads")
    keys: dict[str, MetaValue] = {
        "block_count": config.size("num_hidden_layers"),
        "context_length": config.size("max_position_embeddings"),
        "embedding_length": config.size("hidden_size"),
        "feed_forward_length": config.size("intermediate_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": config.size("num_key_value_heads", default=heads),
        **rope_metadata(config),
        "attention.layer_norm_rms_epsilon": config.number("rms_norm_eps"),
        "vocab_size": config.size("vocab_size"),
    }
    if config.get("head_dim"):
        keys |= {
            "attention.key_length": config.size("head_dim"),
            "attention.value_length": config.size("head_dim"),
        }
    return keys


def interleaved(sizes: Sizes) -> RowOrder:
    """llama.cpp's "norm" rope over whole heads."""
    return InterleavedPairs(sizes["head"])


EMBEDDING = Weight("model.embed_tokens.weight", "token_embd.weight", ("vocab", "embd"))
OUTPUT_NORM = Weight("model.norm.weight", "output_norm.weight", ("embd",))
OUTPUT = Weight("lm_head.weight", "output.weight", ("vocab", "embd"), required=False)
ATTENTION_NORM = Weight("model.layers.{i}.input_layernorm.weight", "blk.{i}.attn_norm.weight", ("embd",))
FEED_FORWARD_NORM = Weight(
    "model.layers.{i}.post_attention_layernorm.weight", "blk.{i}.ffn_norm.weight", ("embd",)
)


def attention(*, bias: bool = False, output_bias: bool = False, heads: bool = False) -> list[Weight]:
    """Separate query, key, value and output matrices."""
    return [
        *linear("model.layers.{i}.self_attn.q_proj", "blk.{i}.attn_q", "q", "embd", bias=bias, heads=heads),
        *linear("model.layers.{i}.self_attn.k_proj", "blk.{i}.attn_k", "kv", "embd", bias=bias, heads=heads),
        *linear("model.layers.{i}.self_attn.v_proj", "blk.{i}.attn_v", "kv", "embd", bias=bias),
        *linear("model.layers.{i}.self_attn.o_proj", "blk.{i}.attn_output", "embd", "q", bias=output_bias),
    ]


def query_key_norms(add: float = 0.0) -> list[Weight]:
    """RMS norms over each head of queries and keys."""
    return [
        Weight(
            f"model.layers.{{i}}.self_attn.{name}_norm.weight",
            f"blk.{{i}}.attn_{name}_norm.weight",
            ("head",),
            add=add,
        )
        for name in "qk"
    ]


def feed_forward(*, bias: bool = False) -> list[Weight]:
    """Separate gate, up and down matrices."""
    return [
        *linear("model.layers.{i}.mlp.gate_proj", "blk.{i}.ffn_gate", "ffn", "embd", bias=bias),
        *linear("model.layers.{i}.mlp.up_proj", "blk.{i}.ffn_up", "ffn", "embd", bias=bias),
        *linear("model.layers.{i}.mlp.down_proj", "blk.{i}.ffn_down", "embd", "ffn", bias=bias),
    ]


def fused_feed_forward() -> list[Weight]:
    """Gate and up in one matrix, the gate's rows first."""
    return [
        *linear("model.layers.{i}.mlp.gate_up_proj", "blk.{i}.ffn_up", "ffn2", "embd"),
        *linear("model.layers.{i}.mlp.down_proj", "blk.{i}.ffn_down", "embd", "ffn"),
    ]


def decoder(
    attention: Sequence[Weight],
    feed_forward: Sequence[Weight],
    *,
    behind_attention: Sequence[Weight] = (),
    behind_feed_forward: Sequence[Weight] = (),
) -> tuple[Weight, ...]:
    """The weights of a decoder with a norm in front of each half of a layer, and of what stands behind a half."""
    return (
        EMBEDDING,
        ATTENTION_NORM,
        *attention,
        *behind_attention,
        FEED_FORWARD_NORM,
        *feed_forward,
        *behind_feed_forward,
        OUTPUT_NORM,
        OUTPUT,
    )
