"""Which architecture a model is of."""

from __future__ import annotations

from rolekit.convert.architectures import (
    chatglm,
    gemma2,
    gemma3,
    glm,
    glm4,
    llama,
    mistral,
    phi3,
    qwen2,
    qwen3,
    smollm3,
)
from rolekit.convert.architectures.architecture import Architecture
from rolekit.convert.architectures.config import LLAMA_CPP
from rolekit.errors import RolekitError
from rolekit.text import one_line

ARCHITECTURES: tuple[Architecture, ...] = (
    llama.ARCHITECTURE,
    mistral.ARCHITECTURE,
    smollm3.ARCHITECTURE,
    qwen2.ARCHITECTURE,
    qwen3.ARCHITECTURE,
    gemma2.ARCHITECTURE,
    gemma3.ARCHITECTURE,
    phi3.ARCHITECTURE,
    chatglm.ARCHITECTURE,
    glm.ARCHITECTURE,
    glm4.ARCHITECTURE,
)


def architecture_of(class_name: str) -> Architecture:
    """The architecture of a transformers class.

    Raises RolekitError, naming what can be converted, for any other.
    """
    for architecture in ARCHITECTURES:
        if class_name in architecture.classes:
            return architecture
    known = ", ".join(sorted(architecture.classes[0] for architecture in ARCHITECTURES))
    raise RolekitError(
        f"{one_line(class_name) or 'A model without an architecture'} cannot be converted here (only {known}).",
        LLAMA_CPP,
    )


def architecture_named(arch: str) -> Architecture | None:
    """The architecture of that GGUF name whose tensors have transformers' own names; None when there is none."""
    return next(
        (item for item in ARCHITECTURES if item.arch == arch and item is not chatglm.ARCHITECTURE), None
    )
