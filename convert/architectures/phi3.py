"""Phi 3, 3.5 and 4: fused matrices, and two sets of rotary factors for short and long contexts."""

from __future__ import annotations

import math
from typing import Any

from rolekit.convert.architectures import common
from rolekit.convert.architectures.architecture import Architecture, linear
from rolekit.convert.architectures.config import Config, number
from rolekit.convert.architectures.rope import rope, window_notes
from rolekit.convert.metadata import MetaValue
from rolekit.errors import RolekitError


def _rotating(config: Config) -> int:
    factor = number(rope(config).get("partial_rotary_factor", 1.0), "partial_rotary_factor")
    return int(common.sizes(config)["head"] * factor)


def metadata(config: Config) -> dict[str, MetaValue]:
    """The common keys, the trained context and the attention's factor beyond it."""
    settings = rope(config)
    context = config.size("max_position_embeddings")
    trained = int(
        number(settings.get("original_max_position_embeddings", context), "original_max_position_embeddings")
    )
    keys = {
        **common.metadata(config),
        "rope.scaling.original_context_length": trained,
        "rope.dimension_count": _rotating(config),
        "attention.sliding_window": config.size("sliding_window", default=0)
        if config.get("sliding_window")
        else 0,
    }
    if settings["rope_type"] in ("su", "longrope"):
        keys["rope.scaling.attn_factor"] = _attention_factor(settings, context / trained, trained)
    return keys


def _attention_factor(settings: dict[str, Any], scale: float, trained: int) -> float:
    given = settings.get("attention_factor")
    if given is not None:
        return number(given, "attention_factor")
    return math.sqrt(1 + math.log(scale) / math.log(trained)) if scale > 1 else 1.0


def constants(config: Config) -> list[tuple[str, tuple[float, ...]]]:
    """The factors for contexts beyond the trained one, and for those within.

    Raises RolekitError when they are missing or not as many as there are frequencies.
    """
    settings = rope(config)
    if settings["rope_type"] not in ("su", "longrope"):
        return []
    tensors = []
    for name in ("long", "short"):
        factors = settings.get(f"{name}_factor")
        if not isinstance(factors, list) or len(factors) != _rotating(config) // 2:
            raise RolekitError(
                f"config.json has no {name}_factor of {_rotating(config) // 2} numbers in its rope settings.",
                "Fetch the model's files again.",
            )
        values = tuple(number(value, f"{name}_factor") for value in factors)
        tensors.append((f"rope_factors_{name}.weight", values))
    return tensors


ARCHITECTURE = Architecture(
    arch="phi3",
    classes=("Phi3ForCausalLM",),
    sizes=common.sizes,
    metadata=metadata,
    weights=common.decoder(
        [
            *linear("model.layers.{i}.self_attn.qkv_proj", "blk.{i}.attn_qkv", "qkv", "embd"),
            *linear("model.layers.{i}.self_attn.o_proj", "blk.{i}.attn_output", "embd", "q"),
        ],
        common.fused_feed_forward(),
    ),
    constants=constants,
    notes=window_notes,
)
