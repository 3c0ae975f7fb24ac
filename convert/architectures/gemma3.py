"""Gemma 3, the text model: five windowed layers to one full, with rotary bases of their own."""

from __future__ import annotations

import re

from rolekit.convert.architectures import common, gemma2
from rolekit.convert.architectures.architecture import Architecture, Weight
from rolekit.convert.architectures.config import Config
from rolekit.convert.architectures.rope import rope
from rolekit.convert.metadata import MetaValue

_DEFAULTS = {
    "head_dim": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 262_208,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-6,
    "sliding_window": 4096,
}
"""What transformers takes where config.json says nothing, as in the released files."""


def complete(config: Config) -> Config:
    """config.json with Gemma 3's own defaults."""
    values = {**_DEFAULTS, **{name: value for name, value in config.values.items() if value is not None}}
    if not config.table("rope_parameters"):
        values.setdefault("rope_theta", 1_000_000.0)
    return Config(values)


def sizes(config: Config) -> dict[str, int]:
    """The common sizes."""
    return common.sizes(complete(config))


def metadata(config: Config) -> dict[str, MetaValue]:
    """The common keys, the window and the windowed layers' own rotary base."""
    config = complete(config)
    config.refuse(
        "hidden_activation",
        unless=["gelu_pytorch_tanh"],
        why="llama.cpp's gemma3 always uses gelu_pytorch_tanh",
    )
    config.refuse("attn_logit_softcapping", unless=[], why="llama.cpp's gemma3 has no cap on attention")
    config.refuse("use_bidirectional_attention", unless=[False], why="llama.cpp's gemma3 only looks back")
    gemma2.check_scale(config, layers_of_27b=62)
    keys = {**common.metadata(config), **gemma2.window_metadata(config, period=6)}
    local = config.get("rope_local_base_freq", 10_000.0)
    if isinstance(config.table("rope_parameters").get("sliding_attention"), dict):
        local = rope(config, "sliding_attention")["rope_theta"]
    keys["rope.freq_base_swa"] = float(local)
    if config.get("final_logit_softcapping"):
        keys["final_logit_softcapping"] = config.number("final_logit_softcapping")
    return keys


ARCHITECTURE = Architecture(
    arch="gemma3",
    classes=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
    sizes=sizes,
    metadata=metadata,
    weights=(
        common.EMBEDDING,
        gemma2.norm("input_layernorm"),
        *common.attention(),
        *common.query_key_norms(add=1.0),
        gemma2.norm("post_attention_layernorm"),
        gemma2.norm("pre_feedforward_layernorm"),
        *common.feed_forward(),
        gemma2.norm("post_feedforward_layernorm"),
        Weight("model.norm.weight", "output_norm.weight", ("embd",), add=1.0),
        common.OUTPUT,
    ),
    tied=True,
    prefixes=("", "language_model.", "model.language_model."),
    ignored=re.compile(r".*rotary_emb\.inv_freq|(model\.)?(vision_tower|multi_modal_projector)\..*"),
)
