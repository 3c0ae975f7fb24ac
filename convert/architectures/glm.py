"""GLM-4 as transformers keeps it (glm-4-9b-chat-hf): ChatGLM's model under Llama's names."""

from __future__ import annotations

from rolekit.convert.architectures import common
from rolekit.convert.architectures.architecture import Architecture
from rolekit.convert.architectures.config import LLAMA_CPP, Config, number
from rolekit.convert.architectures.rope import rope
from rolekit.convert.metadata import MetaValue
from rolekit.errors import RolekitError


def metadata(config: Config) -> dict[str, MetaValue]:
    """The common keys, and the part of a head that rotates.

    Raises RolekitError for heads that llama.cpp has no place for, and for rotary positions in three dimensions.
    """
    sizes, settings = common.sizes(config), rope(config)
    if "mrope_section" in settings:
        raise RolekitError("This GLM has the rotary positions of a vision model.", LLAMA_CPP)
    if sizes["q"] != sizes["embd"] and "Glm4ForCausalLM" not in config.texts("architectures"):
        raise RolekitError("The heads of this GLM are not as wide together as the model.", LLAMA_CPP)
    rotating = int(
        sizes["head"] * number(settings.get("partial_rotary_factor", 0.5), "partial_rotary_factor")
    )
    return {**common.metadata(config), "rope.dimension_count": rotating}


ARCHITECTURE = Architecture(
    arch="chatglm",
    classes=("GlmForCausalLM",),
    sizes=common.sizes,
    metadata=metadata,
    weights=common.decoder(common.attention(bias=True), common.fused_feed_forward()),
)
