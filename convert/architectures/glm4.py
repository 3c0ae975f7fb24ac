"""GLM-4-0414: GLM with a norm behind each half of a layer too."""

from __future__ import annotations

from rolekit.convert.architectures import common, glm
from rolekit.convert.architectures.architecture import Architecture, Weight

ARCHITECTURE = Architecture(
    arch="glm4",
    classes=("Glm4ForCausalLM",),
    sizes=common.sizes,
    metadata=glm.metadata,
    weights=common.decoder(
        common.attention(bias=True),
        common.fused_feed_forward(),
        behind_attention=[
            Weight(
                "model.layers.{i}.post_self_attn_layernorm.weight",
                "blk.{i}.post_attention_norm.weight",
                ("embd",),
            )
        ],
        behind_feed_forward=[
            Weight("model.layers.{i}.post_mlp_layernorm.weight", "blk.{i}.post_ffw_norm.weight", ("embd",))
        ],
    ),
)
