"""Gemma 2: norms around both halves of a layer, soft-capped logits, every other layer behind a window."""

from __future__ import annotations

import math

import numpy as np

from rolekit.convert.architectures import common
from rolekit.convert.architectures.architecture import Architecture, Weight
from rolekit.convert.architectures.config import LLAMA_CPP, Config
from rolekit.convert.metadata import MetaValue
from rolekit.errors import RolekitError

NORMS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def norm(name: str) -> Weight:
    """A layer's norm; Gemma keeps weight - 1."""
    return Weight(f"model.layers.{{i}}.{name}.weight", f"blk.{{i}}.{NORMS[name]}.weight", ("embd",), add=1.0)


def check_scale(config: Config, layers_of_27b: int) -> None:
    """Raise RolekitError when llama.cpp would scale the attention otherwise than the model asks.

    It divides by the root of the head's size, and in the 27B by that of the width per head.
    """
    scalar = config.number("query_pre_attn_scalar", default=256.0)
    heads = config.size("num_attention_heads")
    big = config.size("num_hidden_layers") == layers_of_27b
    expected = config.size("hidden_size") // heads if big else config.size("head_dim", default=256)
    if not math.isclose(scalar, expected):
        raise RolekitError(
            f"The model scales its attention by {scalar:g}, and llama.cpp would by {expected}.", LLAMA_CPP
        )


def window_metadata(config: Config, period: int) -> dict[str, MetaValue]:
    """The window, and which layers have it where they are not those that llama.cpp takes by itself."""
    keys: dict[str, MetaValue] = {"attention.sliding_window": config.size("sliding_window")}
    kinds = config.texts("layer_types")
    if not kinds and config.get("sliding_window_pattern"):
        period_here = config.size("sliding_window_pattern")
        kinds = tuple(
            "full_attention" if (layer + 1) % period_here == 0 else "sliding_attention"
            for layer in range(config.size("num_hidden_layers"))
        )
    windowed = [kind == "sliding_attention" for kind in kinds]
    usual = [layer % period < period - 1 for layer in range(len(windowed))]
    if windowed != usual:
        keys["attention.sliding_window_pattern"] = np.asarray(windowed, dtype=np.bool_)
    return keys


def metadata(config: Config) -> dict[str, MetaValue]:
    """The common keys, the window and the soft caps."""
    config.refuse(
        "hidden_activation",
        unless=["gelu_pytorch_tanh"],
        why="llama.cpp's gemma2 always uses gelu_pytorch_tanh",
    )
    check_scale(config, layers_of_27b=46)
    head = config.size("head_dim", default=256)
    return {
        **common.metadata(config),
        "attention.key_length": head,
        "attention.value_length": head,
        "attn_logit_softcapping": config.number("attn_logit_softcapping"),
        "final_logit_softcapping": config.number("final_logit_softcapping"),
        **window_metadata(config, period=2),
    }


def sizes(config: Config) -> dict[str, int]:
    """The common sizes; a head is 256 wide unless config.json says otherwise."""
    return common.sizes(Config({"head_dim": 256, **config.values}))


ARCHITECTURE = Architecture(
    arch="gemma2",
    classes=("Gemma2ForCausalLM",),
    sizes=sizes,
    metadata=metadata,
    weights=(
        common.EMBEDDING,
        norm("input_layernorm"),
        *common.attention(),
        norm("post_attention_layernorm"),
        norm("pre_feedforward_layernorm"),
        *common.feed_forward(),
        norm("post_feedforward_layernorm"),
        Weight("model.norm.weight", "output_norm.weight", ("embd",), add=1.0),
    ),
    tied=True,
)
