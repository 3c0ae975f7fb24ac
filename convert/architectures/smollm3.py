"""SmolLM3: Llama's layout without rotary positions in every fourth layer."""

from __future__ import annotations

from rolekit.convert.architectures import common, llama
from rolekit.convert.architectures.architecture import Architecture
from rolekit.convert.architectures.config import LLAMA_CPP, Config
from rolekit.convert.metadata import MetaValue
from rolekit.errors import RolekitError


def metadata(config: Config) -> dict[str, MetaValue]:
    """Llama's keys. Raises RolekitError for layers that rotate where llama.cpp's do not."""
    layers = range(config.size("num_hidden_layers"))
    rotating = config.get("no_rope_layers")
    if isinstance(rotating, list) and rotating[: len(layers)] != [int((i + 1) % 4 != 0) for i in layers]:
        raise RolekitError(
            "llama.cpp's smollm3 leaves out the rotation in every fourth layer, no others.", LLAMA_CPP
        )
    if config.get("use_sliding_window"):
        raise RolekitError("llama.cpp's smollm3 has no sliding window.", LLAMA_CPP)
    return llama.metadata(config)


ARCHITECTURE = Architecture(
    arch="smollm3",
    classes=("SmolLM3ForCausalLM",),
    sizes=common.sizes,
    metadata=metadata,
    weights=common.decoder(common.attention(heads=True), common.feed_forward()),
    head_order=common.interleaved,
    constants=llama.constants,
)
