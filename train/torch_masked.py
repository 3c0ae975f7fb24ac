"""The general way to train a pack: transformers' own decoder under an explicit mask, positions and labelled rows.

For every family whose decoder takes a 4-D mask: Gemma 2 and 3, Phi3, GLM and GLM4, and the Llama-like ones on a
GPU, with DoRA, dropout or 4-bit weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from rolekit.errors import RolekitError
from rolekit.train.packing import Pack, attention_mask
from rolekit.train.torch_flex import Kernel, block_mask, faster_kernel
from rolekit.train.torch_loss import LinearCrossEntropy, head_of, token_losses

if TYPE_CHECKING:
    from peft import PeftModel

FAMILIES = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "glm", "glm4", "smollm3",
)  # fmt: skip
"""Decoders that are tested to give the packed losses and gradients of unpacked rows."""


def check_family(model_type: str) -> None:
    """Raises RolekitError for a decoder that is not known to honour explicit masks and positions."""
    if model_type not in FAMILIES:
        raise RolekitError(
            f"Rows of {model_type} models cannot be packed: whether its decoder keeps the rows of a pack apart "
            "has not been verified.",
            f"Choose a base of one of these families: {', '.join(FAMILIES)}.",
        )


class MaskedDecoder:
    """A peft model that trains packs through transformers' own decoder."""

    def __init__(self, model: PeftModel, compute: torch.dtype) -> None:
        """compute: of activations. Raises RolekitError for a family not known to honour masks."""
        base: Any = model.get_base_model()
        self._config = base.config.get_text_config()
        check_family(self._config.model_type)
        self._body = base.model
        self._head = head_of(base)
        self._compute = compute
        self._device = next(model.parameters()).device
        self._kernel: Kernel | None = None if self._device.type == "cuda" else "sdpa"

    def losses(self, pack: Pack) -> torch.Tensor:
        """The loss of each label of the pack, fp32 [m]."""
        with torch.no_grad():
            hidden, labels = self._labelled(pack, None)
            return token_losses(hidden, self._head, labels, gradient=False)[0]

    def forward_backward(
        self, pack: Pack, denominator: float, noise: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> torch.Tensor:
        """The summed loss of the pack; adds d(sum / denominator) to the adapters' .grad."""
        hidden, labels = self._labelled(pack, noise)
        total: torch.Tensor = LinearCrossEntropy.apply(hidden, self._head, labels)
        (total / denominator).backward()
        return total.detach()

    def _labelled(
        self, pack: Pack, noise: Callable[[torch.Tensor], torch.Tensor] | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The normed hidden rows that predict a label, and the labels."""
        ids = torch.from_numpy(pack.ids)[None].to(self._device)
        given: dict[str, Any] = {"input_ids": ids}
        if noise is not None:
            handle = self._body.get_input_embeddings().register_forward_hook(
                lambda module, args, output: noise(output[0])[None]
            )
        try:
            out = self._body(
                **given,
                attention_mask=self._masks(pack),
                position_ids=torch.from_numpy(pack.positions)[None].to(self._device),
                use_cache=False,
            )
        finally:
            if noise is not None:
                handle.remove()
        sources = torch.from_numpy(pack.sources).to(self._device)
        hidden = out.last_hidden_state[0].index_select(0, sources)
        return hidden, torch.from_numpy(pack.labels).to(self._device)

    def _choose_kernel(self, pack: Pack) -> None:
        """On a GPU, once: measure which attention kernel suits packs like this one."""
        config = self._config
        self._kernel = "sdpa"
        if config._attn_implementation == "sdpa":
            size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
            heads = (config.num_attention_heads, config.num_key_value_heads, size)
            self._kernel = faster_kernel(pack, heads, self._compute, self._device)
            config._attn_implementation = self._kernel

    def _masks(self, pack: Pack) -> Any:
        """An additive 4-D mask, or one for each kind of layer where the family mixes full and sliding ones."""
        if self._kernel is None:
            self._choose_kernel(pack)
        kinds = set(getattr(self._config, "layer_types", None) or ())
        window = int(getattr(self._config, "sliding_window", None) or 0)
        if not kinds:
            return self._mask(pack, window)
        masks = {kind: self._mask(pack, window if kind == "sliding_attention" else 0) for kind in kinds}
        by_kind = self._config.model_type in ("gemma2", "gemma3_text", "qwen2", "qwen3", "smollm3")
        return masks if by_kind else next(iter(masks.values()))

    def _mask(self, pack: Pack, window: int) -> Any:
        if self._kernel == "flex_attention":
            return block_mask(pack, window, self._device)
        seen = torch.from_numpy(attention_mask(pack, window)).to(self._device)
        hidden = torch.zeros(seen.shape, dtype=self._compute, device=self._device)
        return hidden.masked_fill_(~seen, torch.finfo(self._compute).min)[None, None]
