"""Cross-entropy from hidden rows, without ever holding all logits; exact, soft cap and logit scale included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from rolekit.train.torch_math import Workspace

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS_BYTES = 64 * 1024 * 1024
"""How much of the logits is held at once."""
VOCABULARY_BLOCK = 8192
"""How many rows of a 16-bit head are upcast at once."""


@dataclass(frozen=True, slots=True)
class Head:
    """What turns a normed hidden row into logits: scale * cap(h W^T + bias)."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    scale: float = 1.0
    softcap: float = 0.0


def head_of(model: PreTrainedModel) -> Head:
    """The model's output head with its scale and soft cap."""
    config = model.config.get_text_config()
    layer: Any = model.get_output_embeddings()
    layer = getattr(layer, "base_layer", layer)
    scale = getattr(config, "logit_scale", None)
    dividing = getattr(config, "logits_scaling", None)
    factor = float(scale) if scale is not None else 1.0 / float(dividing) if dividing else 1.0
    return Head(
        layer.weight, layer.bias, factor, float(getattr(config, "final_logit_softcapping", None) or 0.0)
    )


def token_losses(
    hidden: torch.Tensor, head: Head, labels: torch.Tensor, *, gradient: bool, space: Workspace | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Each row's loss in nats [m], and d(sum of losses)/d hidden [m, h] where asked for.

    hidden [m, h] and the arithmetic are fp32 or the compute dtype; losses are fp32. The head is frozen, so its
    own gradient is never formed. With a workspace the logits lie there.
    """
    losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    slope = torch.empty_like(hidden) if gradient else None
    rows = max(LOGITS_BYTES // (4 * head.weight.shape[0]), 1)
    for at in range(0, len(hidden), rows):
        some = slice(at, at + rows)
        logits, inner = _logits(hidden[some], head, space)
        losses[some] = _losses_then_chances(logits, labels[some])
        if slope is not None:
            logits[torch.arange(len(logits), device=logits.device), labels[some]] -= 1.0
            _through_cap(logits, inner, head)
            _into_hidden(logits, head, slope[some])
    return losses, slope


class LinearCrossEntropy(torch.autograd.Function):  # type: ignore[misc]
    """The sum of token_losses as one differentiable number; the gradient is made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, head: Head, labels: torch.Tensor) -> torch.Tensor:
        """The summed loss of hidden [m, h] against labels [m]."""
        losses, slope = token_losses(hidden, head, labels, gradient=hidden.requires_grad)
        ctx.save_for_backward(slope)
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Scale what forward made."""
        (slope,) = ctx.saved_tensors
        return slope * upstream.to(slope.dtype), None, None


def _blocks(head: Head) -> list[slice]:
    if head.weight.dtype == torch.float32:
        return [slice(0, head.weight.shape[0])]
    size = head.weight.shape[0]
    return [slice(at, min(at + VOCABULARY_BLOCK, size)) for at in range(0, size, VOCABULARY_BLOCK)]


def _logits(
    hidden: torch.Tensor, head: Head, space: Workspace | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """fp32 logits [rows, vocabulary], and tanh of what was capped (its derivative needs it)."""
    shape = (len(hidden), head.weight.shape[0])
    logits = space.get("logits", shape) if space else torch.empty(shape, device=hidden.device)
    for block in _blocks(head):
        weight = head.weight[block].to(hidden.dtype)
        if hidden.dtype == torch.float32:
            torch.mm(hidden, weight.t(), out=logits[:, block])
        else:
            logits[:, block] = hidden @ weight.t()
    if head.bias is not None:
        logits += head.bias.float()
    if head.scale != 1.0:
        logits *= head.scale
    if not head.softcap:
        return logits, None
    inner = torch.tanh_(logits.div_(head.softcap))
    return inner * head.softcap, inner


def _losses_then_chances(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Each row's loss; logits become probabilities in place."""
    aimed = logits.gather(1, labels[:, None]).squeeze(1)
    top, where = logits.max(dim=1)
    torch.softmax(logits, dim=1, out=logits)
    return top - torch.log(logits.gather(1, where[:, None]).squeeze(1)) - aimed


def _through_cap(slope: torch.Tensor, inner: torch.Tensor | None, head: Head) -> None:
    if inner is not None:
        slope *= inner.square_().neg_().add_(1.0)
    if head.scale != 1.0:
        slope *= head.scale


def _into_hidden(slope: torch.Tensor, head: Head, out: torch.Tensor) -> None:
    first = True
    for block in _blocks(head):
        weight = head.weight[block].to(out.dtype)
        given = slope[:, block].to(out.dtype)
        if first:
            torch.mm(given, weight, out=out)
        else:
            out.addmm_(given, weight)
        first = False
