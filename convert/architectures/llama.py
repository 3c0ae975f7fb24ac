"""Llama 1, 2 and 3, and what is built like them: Yi, SmolLM, SmolLM2."""

from __future__ import annotations

from rolekit.convert.architectures import common
from rolekit.convert.architectures.architecture import Architecture
from rolekit.convert.architectures.config import Config
from rolekit.convert.architectures.rope import llama3_factors, scaling_notes
from rolekit.convert.metadata import MetaValue

WEIGHTS = common.decoder(
    common.attention(bias=True, output_bias=True, heads=True), common.feed_forward(bias=True)
)


def metadata(config: Config) -> dict[str, MetaValue]:
    """The common keys, and how much of a head rotates: all of it, or llama.cpp refuses the file."""
    config.refuse("hidden_act", unless=["silu"], why="llama.cpp's llama always uses silu")
    config.refuse(
        "partial_rotary_factor", unless=[1, 1.0], why="llama.cpp's llama always rotates whole heads"
    )
    return {**common.metadata(config), "rope.dimension_count": common.sizes(config)["head"]}


def constants(config: Config) -> list[tuple[str, tuple[float, ...]]]:
    """Llama 3.1's frequency factors."""
    return llama3_factors(config, common.sizes(config)["head"])


ARCHITECTURE = Architecture(
    arch="llama",
    classes=("LlamaForCausalLM", "LLaMAForCausalLM"),
    sizes=common.sizes,
    metadata=metadata,
    weights=WEIGHTS,
    head_order=common.interleaved,
    constants=constants,
    notes=scaling_notes,
)
