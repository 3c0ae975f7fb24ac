"""Rotary positions: the two spellings of config.json, and what llama.cpp wants of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rolekit.convert.architectures.config import LLAMA_CPP, Config, number
from rolekit.convert.metadata import MetaValue
from rolekit.errors import RolekitError
from rolekit.text import one_line


def rope(config: Config, layer_type: str = "full_attention") -> dict[str, Any]:
    """The rope settings of a kind of layer: transformers 5's rope_parameters, or rope_theta and rope_scaling.

    Always has rope_theta (10000 when nothing says otherwise) and rope_type (default).
    """
    found = dict(config.table("rope_parameters") or config.table("rope_scaling"))
    nested = found.get(layer_type)
    if isinstance(nested, dict):
        found = dict(nested)
    found["rope_type"] = str(found.get("rope_type") or found.get("type") or "default").lower()
    for name in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
        if found.get(name) is None and config.get(name) is not None:
            found[name] = config.get(name)
    found["rope_theta"] = number(found.get("rope_theta", 10000.0), "rope_theta")
    return found


def rope_metadata(config: Config) -> dict[str, MetaValue]:
    """The base frequency and the scaling that llama.cpp computes itself.

    Raises RolekitError for a kind of scaling that it does not have.
    """
    settings = rope(config)
    keys: dict[str, MetaValue] = {"rope.freq_base": settings["rope_theta"]}
    kind = settings["rope_type"]
    if kind == "linear":
        keys |= {"rope.scaling.type": "linear", "rope.scaling.factor": _setting(settings, "factor")}
    elif kind == "yarn":
        keys |= _yarn(config, settings)
    elif kind in ("su", "longrope"):
        keys |= {"rope.scaling.type": "longrope"}
    elif kind not in ("default", "llama3", "dynamic"):
        raise RolekitError(f"llama.cpp has no rotary scaling of the type {one_line(kind)}.", LLAMA_CPP)
    return keys


def _yarn(config: Config, settings: Mapping[str, Any]) -> dict[str, MetaValue]:
    if settings.get("truncate") is False:
        raise RolekitError("llama.cpp has no yarn scaling without rounding (truncate: false).", LLAMA_CPP)
    context = settings.get("original_max_position_embeddings") or config.size("max_position_embeddings")
    keys: dict[str, MetaValue] = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": _setting(settings, "factor"),
        "rope.scaling.original_context_length": int(context),
    }
    for name, key in (
        ("attention_factor", "rope.scaling.yarn_attn_factor"),
        ("beta_fast", "rope.scaling.yarn_beta_fast"),
        ("beta_slow", "rope.scaling.yarn_beta_slow"),
    ):
        if settings.get(name) is not None:
            keys[key] = _setting(settings, name)
    return keys


def _setting(settings: Mapping[str, Any], name: str) -> float:
    if name not in settings:
        raise RolekitError(
            f"config.json lacks {name} in its rope settings.", "Fetch the model's files again."
        )
    return number(settings[name], name)


def llama3_factors(config: Config, head: int) -> list[tuple[str, tuple[float, ...]]]:
    """Llama 3.1's scaling as a tensor: what each frequency is divided by.

    Long wavelengths are slowed by the factor, short ones stay, those between are blended.
    """
    settings = rope(config)
    if settings["rope_type"] != "llama3":
        return []
    factor = number(settings.get("factor", 8.0), "factor")
    low = number(settings.get("low_freq_factor", 1.0), "low_freq_factor")
    high = number(settings.get("high_freq_factor", 4.0), "high_freq_factor")
    context = number(
        settings.get("original_max_position_embeddings", 8192), "original_max_position_embeddings"
    )
    if factor <= 0 or low <= 0 or high <= low or context <= 0:
        raise RolekitError("config.json has llama3 rope settings that make no sense.", "Fetch it again.")
    factors = []
    for pair in range(0, head, 2):
        wavelength = 2 * math.pi * settings["rope_theta"] ** (pair / head)
        if wavelength < context / high:
            factors.append(1.0)
        elif wavelength > context / low:
            factors.append(factor)
        else:
            blend = (context / wavelength - low) / (high - low)
            factors.append(1 / ((1 - blend) / factor + blend))
    return [("rope_freqs.weight", tuple(factors))]


def scaling_notes(config: Config) -> list[str]:
    """Scalings that llama.cpp leaves to the user."""
    if rope(config)["rope_type"] == "dynamic":
        return [
            "llama.cpp has no dynamic rope scaling: beyond the trained context the model differs from transformers."
        ]
    return []


def window_notes(config: Config) -> list[str]:
    """A sliding window that llama.cpp does not have for this architecture."""
    window = config.get("sliding_window")
    if not isinstance(window, int) or window >= config.size("max_position_embeddings"):
        return []
    sentence = (
        f"The model was trained with a sliding window of {window} tokens, which llama.cpp does not apply to it: "
        f"keep --ctx at {window} or below for the same answers."
    )
    return [sentence]
