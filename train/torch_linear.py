"""Linear layers for the general way: frozen weights stay in 16 bits, adapters cost no copy of the activations."""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional

from rolekit.train.torch_lora import ADAPTER


class LoraLinear(torch.autograd.Function):  # type: ignore[misc]
    """x W^T + bias + scale * (x A^T) B^T for frozen W, with gradients for x, A and B.

    Only x is kept, and layers that read the same x keep it once. With fp32 arithmetic the adapter is merged into a
    passing copy of the weight; in 16 bits, where that would round it away, it is applied beside it.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
        a: torch.Tensor | None, b: torch.Tensor | None, scale: float,
    ) -> torch.Tensor:  # fmt: skip
        """x [..., in] to [..., out], in x's dtype."""
        ctx.save_for_backward(x if a is not None else None, weight, a, b)
        ctx.scale = scale
        out = functional.linear(x, _merged(weight, a, b, scale, x.dtype), _as(bias, x.dtype))
        if a is not None and b is not None and x.dtype != torch.float32:
            out += (x @ a.to(x.dtype).t()) @ (b * scale).to(x.dtype).t()
        return out

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of x, A and B."""
        x, weight, a, b = ctx.saved_tensors
        slope: torch.Tensor | None = None
        if ctx.needs_input_grad[0]:
            slope = upstream @ _merged(weight, a, b, ctx.scale, upstream.dtype)
        if a is None or b is None:
            return slope, None, None, None, None, None
        given = upstream.reshape(-1, upstream.shape[-1])
        rows = x.reshape(-1, x.shape[-1])
        into_inner = given @ (b * ctx.scale).to(given.dtype)
        a_slope = (into_inner.t() @ rows).to(a.dtype)
        b_slope = (given.t() @ (rows @ a.to(rows.dtype).t())).to(b.dtype) * ctx.scale
        if slope is not None and upstream.dtype != torch.float32:
            slope += (into_inner @ a.to(into_inner.dtype)).view(slope.shape)
        return slope, None, None, a_slope, b_slope, None


def _merged(
    weight: torch.Tensor, a: torch.Tensor | None, b: torch.Tensor | None, scale: float, dtype: torch.dtype
) -> torch.Tensor:
    wide = weight.to(dtype)
    if a is None or b is None or dtype != torch.float32:
        return wide
    return torch.addmm(wide, b, a, alpha=scale)


def _as(tensor: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    return None if tensor is None else tensor.to(dtype)


def prepare(model: torch.nn.Module, compute: torch.dtype) -> None:
    """Make every layer of a peft model compute in `compute` whatever its weights are stored in.

    Linear layers and embeddings keep their storage; norms, which are small, are converted. Layers with DoRA or
    dropout keep peft's own forward.
    """
    for module in model.modules():
        if hasattr(module, "lora_A") and _is_plain(module):
            module.forward = types.MethodType(_adapted, module)
        elif type(module) is torch.nn.Linear and not module.weight.requires_grad:
            module.forward = types.MethodType(_frozen, module)
        elif isinstance(module, torch.nn.Embedding):
            module._rolekit_dtype = compute
            module.forward = types.MethodType(_embedded, module)
        else:
            for parameter in module.parameters(recurse=False):
                if parameter.is_floating_point() and not parameter.requires_grad:
                    parameter.data = parameter.data.to(compute)


@contextmanager
def wide_weights(model: torch.nn.Module) -> Iterator[None]:
    """Inside, prepared layers hold their merged weights in fp32 instead of making them anew for every call.

    For many calls with few rows, without gradients. Takes wide_bytes(model) of memory, given back at the end.
    """
    layers = [module for module in model.modules() if _computes(module)]
    inner = {id(module.base_layer) for module in layers if hasattr(module, "base_layer")}
    held = [module for module in layers if id(module) not in inner]
    try:
        for module in held:
            module._rolekit_wide = _wide(module)
        yield
    finally:
        for module in held:
            module.__dict__.pop("_rolekit_wide", None)


def wide_bytes(model: torch.nn.Module) -> int:
    """What wide_weights takes: four bytes for every number of the linear layers."""
    linear = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    numbers: int = sum(module.weight.numel() for module in linear)
    return 4 * numbers


def _computes(module: torch.nn.Module) -> bool:
    forward = getattr(module.forward, "__func__", None)
    return forward in (_adapted, _frozen)


def _wide(module: Any) -> torch.Tensor:
    if not hasattr(module, "base_layer"):
        return _merged(module.weight, None, None, 1.0, torch.float32)
    a, b = module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight
    return _merged(module.base_layer.weight, a, b, float(module.scaling[ADAPTER]), torch.float32)


def _is_plain(module: Any) -> bool:
    base = getattr(module, "base_layer", None)
    return (
        type(base) is torch.nn.Linear
        and not module.use_dora.get(ADAPTER, False)
        and isinstance(module.lora_dropout[ADAPTER], torch.nn.Identity)
    )


def _adapted(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    base, held = self.base_layer, self.__dict__.get("_rolekit_wide")
    if held is not None:
        return functional.linear(x, held, _as(base.bias, x.dtype))
    if self.disable_adapters:
        return _frozen(base, x)
    out: torch.Tensor = LoraLinear.apply(
        x, base.weight, base.bias, self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight,
        float(self.scaling[ADAPTER]),
    )  # fmt: skip
    return out


def _frozen(self: Any, x: torch.Tensor) -> torch.Tensor:
    held = self.__dict__.get("_rolekit_wide")
    if held is not None:
        return functional.linear(x, held, _as(self.bias, x.dtype))
    out: torch.Tensor = LoraLinear.apply(x, self.weight, self.bias, None, None, 1.0)
    return out


def _embedded(self: Any, ids: torch.Tensor) -> torch.Tensor:
    rows = functional.embedding(ids, self.weight, self.padding_idx).to(self._rolekit_dtype)
    scale = getattr(self, "embed_scale", None)
    return rows if scale is None else rows * scale.to(rows.dtype)
