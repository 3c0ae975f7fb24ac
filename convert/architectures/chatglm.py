"""ChatGLM 2 and 3 and glm-4-9b-chat, with their remote code's own names."""

from __future__ import annotations

from rolekit.convert.architectures.architecture import Architecture, Weight, linear
from rolekit.convert.architectures.config import Config
from rolekit.convert.metadata import MetaValue
from rolekit.errors import RolekitError

_LAYER = "encoder.layers.{i}."


def sizes(config: Config) -> dict[str, int]:
    """ChatGLM's own names for the lengths."""
    heads, head = config.size("num_attention_heads"), _head(config)
    ffn = config.size("ffn_hidden_size")
    return {
        "layers": config.size("num_layers", "num_hidden_layers"),
        "embd": config.size("hidden_size"),
        "ffn": ffn,
        "ffn2": 2 * ffn,
        "vocab": config.size("padded_vocab_size", "vocab_size"),
        "head": head,
        "q": heads * head,
        "kv": _kv_heads(config) * head,
        "qkv": (heads + 2 * _kv_heads(config)) * head,
    }


def _head(config: Config) -> int:
    return config.size(
        "kv_channels", default=config.size("hidden_size") // config.size("num_attention_heads")
    )


def _kv_heads(config: Config) -> int:
    heads = config.size("num_attention_heads")
    return config.size("multi_query_group_num") if config.get("multi_query_attention") else heads


def metadata(config: Config) -> dict[str, MetaValue]:
    """The keys; half of each head rotates, and rope_ratio stretches the base frequency."""
    config.refuse("rmsnorm", unless=[True], why="llama.cpp's chatglm always has RMS norms")
    config.refuse(
        "apply_residual_connection_post_layernorm",
        unless=[False],
        why="llama.cpp's chatglm takes it before the norm",
    )
    config.refuse("post_layer_norm", unless=[True], why="llama.cpp's chatglm always has a last norm")
    config.refuse(
        "add_bias_linear", unless=[False], why="llama.cpp's chatglm has biases on query, key and value only"
    )
    lengths = sizes(config)
    if lengths["q"] != lengths["embd"]:
        raise RolekitError(
            "The heads of this ChatGLM are not as wide together as the model.", "It cannot be converted."
        )
    return {
        "context_length": config.size("seq_length"),
        "embedding_length": lengths["embd"],
        "feed_forward_length": lengths["ffn"],
        "block_count": lengths["layers"],
        "attention.head_count": config.size("num_attention_heads"),
        "attention.head_count_kv": _kv_heads(config),
        "attention.layer_norm_rms_epsilon": config.number("layernorm_epsilon", default=1e-5),
        "rope.dimension_count": lengths["head"] // 2,
        "rope.freq_base": 10_000.0 * config.number("rope_ratio", default=1.0),
    }


ARCHITECTURE = Architecture(
    arch="chatglm",
    classes=("ChatGLMModel", "ChatGLMForConditionalGeneration"),
    sizes=sizes,
    metadata=metadata,
    weights=(
        Weight("embedding.word_embeddings.weight", "token_embd.weight", ("vocab", "embd")),
        Weight(f"{_LAYER}input_layernorm.weight", "blk.{i}.attn_norm.weight", ("embd",)),
        *linear(f"{_LAYER}self_attention.query_key_value", "blk.{i}.attn_qkv", "qkv", "embd", bias=True),
        *linear(f"{_LAYER}self_attention.dense", "blk.{i}.attn_output", "embd", "embd"),
        Weight(f"{_LAYER}post_attention_layernorm.weight", "blk.{i}.ffn_norm.weight", ("embd",)),
        *linear(f"{_LAYER}mlp.dense_h_to_4h", "blk.{i}.ffn_up", "ffn2", "embd"),
        *linear(f"{_LAYER}mlp.dense_4h_to_h", "blk.{i}.ffn_down", "embd", "ffn"),
        Weight("encoder.final_layernorm.weight", "output_norm.weight", ("embd",)),
        Weight("output_layer.weight", "output.weight", ("vocab", "embd"), required=False),
    ),
    output="output_layer.weight",
    prefixes=("transformer.", ""),
)
