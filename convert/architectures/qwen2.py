"""Qwen 2 and 2.5: biases on query, key and value."""

from __future__ import annotations

from rolekit.convert.architectures import common
from rolekit.convert.architectures.architecture import Architecture
from rolekit.convert.architectures.config import LLAMA_CPP, Config
from rolekit.convert.architectures.rope import scaling_notes
from rolekit.convert.metadata import MetaValue
from rolekit.errors import RolekitError


def metadata(config: Config) -> dict[str, MetaValue]:
    """The common keys. Raises RolekitError for heads that llama.cpp's qwen2 has no place for."""
    sizes = common.sizes(config)
    if sizes["q"] != sizes["embd"]:
        raise RolekitError(
            f"The heads of this Qwen 2 are {sizes['q']} wide together, not {sizes['embd']} as the model.",
            LLAMA_CPP,
        )
    return common.metadata(config)


def notes(config: Config) -> list[str]:
    """Where the window matters."""
    found = scaling_notes(config)
    if config.get("use_sliding_window"):
        found.append("The model uses a sliding window, which llama.cpp does not apply to it.")
    return found


ARCHITECTURE = Architecture(
    arch="qwen2",
    classes=("Qwen2ForCausalLM",),
    sizes=common.sizes,
    metadata=metadata,
    weights=common.decoder(common.attention(bias=True), common.feed_forward()),
    notes=notes,
)
