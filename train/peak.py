"""How fast this machine multiplies matrices, and how much of that a training step uses."""

from __future__ import annotations

import time
from collections.abc import Callable

from rolekit.train.backends import Chosen
from rolekit.train.bases import Shape

_TOKENS = 1024
_SECONDS = 0.25


def step_flops(shape: Shape, computed: int, supervised: int) -> float:
    """The floating-point operations that a step cannot do without.

    Every computed token goes through the frozen matrices forward and, for the gradient of what came in, backward:
    4 a parameter. Only supervised tokens meet the output head. Attention and the adapter are not counted.
    """
    return 4.0 * (shape.body_parameters * computed + shape.vocabulary * shape.width * supervised)


def gemm_rate(shape: Shape, backend: Chosen, *, bfloat16: bool = False) -> float:
    """Floating-point operations a second of the library's own matrix product at the model's shapes.

    [1024 tokens, width] by [width, feed forward], repeated for a quarter of a second. 0 for a base that does not
    say its shape.
    """
    if not shape.width or not shape.feed_forward:
        return 0.0
    multiply = (_torch if backend == "torch" else _mlx)(shape, bfloat16)
    multiply()
    began, times = time.perf_counter(), 0
    while time.perf_counter() - began < _SECONDS:
        multiply()
        times += 1
    return times * 2.0 * _TOKENS * shape.width * shape.feed_forward / (time.perf_counter() - began)


def _torch(shape: Shape, bfloat16: bool) -> Callable[[], object]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    tokens = torch.ones(_TOKENS, shape.width, device=device, dtype=dtype)
    weights = torch.ones(shape.feed_forward, shape.width, device=device, dtype=dtype)

    def multiply() -> object:
        product = torch.nn.functional.linear(tokens, weights)
        if device == "cuda":
            torch.cuda.synchronize()
        return product

    return multiply


def _mlx(shape: Shape, bfloat16: bool) -> Callable[[], object]:
    import mlx.core as mx

    dtype = mx.bfloat16 if bfloat16 else mx.float32
    tokens = mx.ones((_TOKENS, shape.width), dtype)
    weights = mx.ones((shape.width, shape.feed_forward), dtype)

    def multiply() -> object:
        product = tokens @ weights
        mx.eval(product)
        return product

    return multiply
