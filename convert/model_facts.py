"""What the mixes of quantization types have to know of a model: layers, heads, and whether its output is tied."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import numpy as np

from rolekit.convert.metadata import MetaValue, RawValue
from rolekit.convert.plan import ModelPlan, OutputTensor
from rolekit.errors import RolekitError

_BLOCK = re.compile(r"blk\.(\d+)\.")
_UINT32, _INT32, _ARRAY = 4, 5, 9
_VALUES = ("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The numbers that decide which tensors get more bits."""

    layers: int
    grouping: int
    """Query heads that share one key head."""
    value_tensors: int
    """Tensors that hold attention values, alone or with others."""
    tied: bool
    """Whether the output is the embedding."""
    is_70b: bool
    """Llama or Qwen2 of 80 layers whose heads share values: llama.cpp gives those values more bits."""


def facts_of(plan: ModelPlan) -> ModelFacts:
    """The facts of a plan's model.

    Raises RolekitError for mixtures of experts and Falcon, whose mixes follow other rules, and where a
    hyperparameter is missing.
    """
    if plan.arch == "falcon" or _number(plan, "expert_count", 0):
        raise RolekitError(
            f"rolekit does not know how the types of {plan.arch} models with experts are mixed."
            if plan.arch != "falcon"
            else "rolekit does not know how the types of falcon models are mixed.",
            "Quantize it with llama.cpp's llama-quantize, or choose F16, BF16 or F32.",
        )
    layers, heads = _number(plan, "block_count"), _number(plan, "attention.head_count")
    shared = _number(plan, "attention.head_count_kv", heads)
    names = {tensor.name for tensor in plan.tensors}
    return ModelFacts(
        layers=layers,
        grouping=heads // shared if shared else 0,
        value_tensors=sum(any(part in name for part in _VALUES) for name in names),
        tied="output.weight" not in names,
        is_70b=layers == 80 and (plan.arch == "qwen2" or (plan.arch == "llama" and heads != shared)),
    )


def layer_of(name: str) -> int:
    """The layer in a GGUF tensor's name; -1 where there is none."""
    found = _BLOCK.match(name)
    return int(found.group(1)) if found else -1


def file_order(tensor: OutputTensor) -> tuple[int, bytes]:
    """Sorts tensors as llama.cpp walks over them: by layer, then by name."""
    return layer_of(tensor.name), tensor.name.encode()


def _number(plan: ModelPlan, key: str, missing: int | None = None) -> int:
    value = plan.metadata.get(f"{plan.arch}.{key}")
    if value is None:
        if missing is None:
            raise RolekitError(
                f"The model does not say its {plan.arch}.{key}.", "Its file is incomplete: convert it again."
            )
        return missing
    return _integer(value, f"{plan.arch}.{key}")


def _integer(value: MetaValue, key: str) -> int:
    """A number, or the first of several (one a layer)."""
    if isinstance(value, RawValue):
        if value.kind in (_UINT32, _INT32):
            return int(struct.unpack_from("<I", value.data)[0])
        if value.kind == _ARRAY and value.data[:4] in (b"\4\0\0\0", b"\5\0\0\0") and len(value.data) >= 16:
            return int(struct.unpack_from("<I", value.data, 12)[0])
    elif isinstance(value, np.ndarray) and value.size and value.dtype.kind in "iu":
        return int(value.flat[0])
    elif isinstance(value, int | np.integer):
        return int(value)
    raise RolekitError(f"The model's {key} is no whole number.", "Its file is damaged: convert it again.")
