"""Mistral: Llama's layout, and a sliding window that llama.cpp does not have for it."""

from __future__ import annotations

from rolekit.convert.architectures import common, llama
from rolekit.convert.architectures.architecture import Architecture
from rolekit.convert.architectures.config import LLAMA_CPP, Config
from rolekit.convert.architectures.rope import rope, scaling_notes, window_notes
from rolekit.convert.metadata import MetaValue
from rolekit.errors import RolekitError


def metadata(config: Config) -> dict[str, MetaValue]:
    """Llama's keys. Raises RolekitError for the temperature scaling of later Ministrals."""
    if any(name.startswith("llama_4_scaling") for name in rope(config)):
        raise RolekitError("This Mistral scales its attention by position.", LLAMA_CPP)
    return llama.metadata(config)


def notes(config: Config) -> list[str]:
    """Where llama.cpp's positions differ."""
    return scaling_notes(config) + window_notes(config)


ARCHITECTURE = Architecture(
    arch="llama",
    classes=("MistralForCausalLM",),
    sizes=common.sizes,
    metadata=metadata,
    weights=llama.WEIGHTS,
    head_order=common.interleaved,
    constants=llama.constants,
    notes=notes,
)
