"""The arithmetic of a decoder layer without autograd: linear layers with adapters, norms, rotation."""

from __future__ import annotations

import mmap
from collections.abc import Hashable, Sequence

import torch

from rolekit.train.torch_lora import Part


class Workspace:
    """Buffers that are used again step after step, so that the system does not hand out new pages each time.

    They are mapped with room to grow: what was never written to takes no memory, and nothing tears holes into the
    heap when a longer pack comes.
    """

    def __init__(self) -> None:
        self._buffers: dict[Hashable, torch.Tensor] = {}

    def get(self, name: Hashable, shape: Sequence[int]) -> torch.Tensor:
        """An fp32 tensor of this shape with any content; the same name gives the same memory."""
        size = 1
        for side in shape:
            size *= side
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size:
            mapped = mmap.mmap(-1, 4 * max(size + size // 2, 1024))
            buffer = self._buffers[name] = torch.frombuffer(mapped, dtype=torch.float32)
        return buffer[:size].view(tuple(shape))

    def release(self) -> None:
        """Give the memory back; the next step takes it anew."""
        self._buffers.clear()


class Group:
    """Linear layers with the same input, multiplied as one: q, k and v; gate and up."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        """parts: weights of [outputs, inputs], all with the same inputs; out and ranks are their sums."""
        self.parts = parts
        self.out = sum(part.weight.shape[0] for part in parts)
        self.ranks = sum(part.rank for part in parts)
        self.inside = parts[0].weight.shape[1]
        self._bias: torch.Tensor | None = None
        if any(part.bias is not None for part in parts):
            self._bias = torch.cat(
                [
                    torch.zeros(part.weight.shape[0]) if part.bias is None else part.bias.detach().float()
                    for part in parts
                ]
            )

    def _weight(self, space: Workspace) -> torch.Tensor:
        """W + scale * B A of all parts, [out, in], fp32."""
        if len(self.parts) == 1 and not self.ranks and self.parts[0].weight.dtype == torch.float32:
            return self.parts[0].weight
        merged = space.get(("weight", self.out, self.inside), (self.out, self.inside))
        at = 0
        for part in self.parts:
            rows = merged[at : at + part.weight.shape[0]]
            rows.copy_(part.weight)
            if part.a is not None and part.b is not None:
                rows.addmm_(part.b, part.a, alpha=part.scale)
            at += len(rows)
        return merged

    def forward(self, x: torch.Tensor, space: Workspace, out: torch.Tensor | None = None) -> torch.Tensor:
        """x [n, in] through all parts: [n, out]."""
        weight = self._weight(space)
        if self._bias is not None:
            return torch.addmm(self._bias, x, weight.t(), out=out)
        return torch.mm(x, weight.t(), out=out)

    def backward(
        self, x: torch.Tensor, slope: torch.Tensor, space: Workspace, *, into_input: bool = True
    ) -> torch.Tensor:
        """The slope of x [n, in] from that of the output [n, out]; adds to the adapters' gradients.

        Without into_input nothing is computed for x, and an empty tensor comes back.
        """
        if self.ranks:
            self._into_adapters(x, slope)
        if not into_input:
            return torch.empty(0)
        return torch.mm(slope, self._weight(space), out=space.get(("into", self.inside), x.shape))

    def _into_adapters(self, x: torch.Tensor, slope: torch.Tensor) -> None:
        trained = [part for part in self.parts if part.a is not None]
        downs = torch.cat([part.a for part in trained if part.a is not None])
        inner = x @ downs.t()
        inner_slope = torch.empty_like(inner)
        row, column = 0, 0
        for part in self.parts:
            size = part.weight.shape[0]
            if part.a is not None and part.b is not None:
                given = slope[:, row : row + size]
                some = slice(column, column + part.rank)
                assert part.b.grad is not None
                part.b.grad.addmm_(given.t(), inner[:, some], alpha=part.scale)
                torch.mm(given, part.b, out=inner_slope[:, some])
                inner_slope[:, some] *= part.scale
                column += part.rank
            row += size
        down_slope = inner_slope.t() @ x
        column = 0
        for part in trained:
            assert part.a is not None
            assert part.a.grad is not None
            part.a.grad += down_slope[column : column + part.rank]
            column += part.rank


def norm_forward(
    x: torch.Tensor, weight: torch.Tensor, eps: float, out: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """RMSNorm over the last axis, and 1 / rms of each row [..., 1]."""
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    scale = scale.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return torch.mul(x, scale, out=out).mul_(weight), scale


def norm_backward(
    into: torch.Tensor, slope: torch.Tensor, x: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor
) -> None:
    """Add the slope of norm_forward's x to `into`, from that of its output, which is overwritten."""
    slope.mul_(weight)
    along = (slope * x).sum(dim=-1, keepdim=True).mul_(scale.pow(3)).div_(x.shape[-1])
    into.addcmul_(slope, scale).addcmul_(x, along, value=-1.0)


def rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """Rotary embedding in place: heads [n, heads, size], cos and sin [n, size / 2]; -sin turns back."""
    half = heads.shape[-1] // 2
    first, second = heads[..., :half], heads[..., half:]
    cos, sin = cos[:, None], sin[:, None]
    turned = (first * cos).addcmul_(second, sin, value=-1.0)
    second.mul_(cos).addcmul_(first, sin)
    first.copy_(turned)
