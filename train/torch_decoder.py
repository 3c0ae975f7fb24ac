"""Llama-like decoders (Llama, Mistral, Qwen2, Qwen3) forward and backward by hand, for LoRA on a CPU.

The model is transformers' and peft's; only the arithmetic is ours: the adapter is merged into an fp32 copy of each
weight as it is used (one multiplication instead of three), frozen weights stay in 16 bits, nothing is kept that
is cheap to make again, and rows without a label leave before the last MLP.
Gradients go straight into the parameters' .grad.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from rolekit.train.packing import Pack
from rolekit.train.torch_attention import Heads, TreeAttention
from rolekit.train.torch_cache import PathCache
from rolekit.train.torch_lora import part_of
from rolekit.train.torch_loss import head_of, token_losses
from rolekit.train.torch_math import Group, Workspace, norm_backward, norm_forward, rotate

if TYPE_CHECKING:
    from peft import PeftModel

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(slots=True)
class Layer:
    """One block's weights; query_norm and key_norm only where the family has them (Qwen3)."""

    qkv: Group
    out: Group
    gate_up: Group
    down: Group
    input_norm: torch.Tensor
    mlp_norm: torch.Tensor
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    window: int

    @property
    def trained(self) -> bool:
        """Whether the layer has an adapter."""
        return any(group.ranks for group in (self.qkv, self.out, self.gate_up, self.down))


@dataclass(slots=True)
class _Kept:
    """What the backward pass of a layer needs; views into the workspace, fp32."""

    x: torch.Tensor
    x_scale: torch.Tensor
    raw: torch.Tensor | None
    qkv: torch.Tensor
    attended: torch.Tensor
    middle: torch.Tensor
    middle_scale: torch.Tensor
    gate_up: torch.Tensor


@dataclass(slots=True)
class _Pass:
    """What all layers of one pack share."""

    tokens: int
    cos: torch.Tensor
    sin: torch.Tensor
    attention: dict[int, TreeAttention]
    sources: torch.Tensor
    """The distinct rows that predict a label."""
    kept: list[_Kept] = field(default_factory=list)
    inputs: list[torch.Tensor] = field(default_factory=list)
    """With checkpointing: what went into each layer."""


def refusal(model: PeftModel) -> str:
    """Why this model cannot take the fast way; empty when it can."""
    config = model.config.get_text_config()
    peft = model.peft_config["default"]
    if config.model_type not in FAMILIES:
        return f"{config.model_type} is no Llama-like decoder"
    if getattr(config, "hidden_act", "silu") != "silu":
        return f"the activation is {config.hidden_act}"
    if getattr(config, "attention_dropout", 0.0):
        return "the attention has dropout"
    if peft.use_dora or peft.lora_dropout:
        return "DoRA and LoRA dropout go the general way"
    if any(parameter.is_cuda for parameter in model.parameters()):
        return "it is meant for processors"
    body = model.get_base_model().model
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    inside = {id(module) for layer in body.layers for module in layer.modules()}
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and (id(module) not in inside or not name.endswith(names)):
            return f"{name} has an adapter"
    if any("4bit" in type(module).__name__ for module in model.modules()):
        return "its weights are in 4 bits"
    return ""


class Decoder:
    """A Llama-like model with adapters, able to add a pack's gradient to them."""

    def __init__(self, model: PeftModel, *, checkpointing: bool = False) -> None:
        """checkpointing keeps only what goes into each layer and computes the layer again: less memory, 30 % slower."""
        base: Any = model.get_base_model()
        config = base.config.get_text_config()
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._heads = Heads(config.num_attention_heads, config.num_key_value_heads, size)
        self._eps = float(config.rms_norm_eps)
        self._embedding = base.model.embed_tokens.weight
        self._rotary = base.model.rotary_emb
        self._final_norm = base.model.norm.weight.detach().float()
        self._head = head_of(base)
        self._layers = [self._layer(block, config, number) for number, block in enumerate(base.model.layers)]
        self._lowest = next((at for at, layer in enumerate(self._layers) if layer.trained), 0)
        self._space = Workspace()
        self._checkpointing = checkpointing
        self._frozen = PathCache(config.hidden_size) if self._lowest else None

    def _layer(self, block: Any, config: Any, number: int) -> Layer:
        attention, mlp = block.self_attn, block.mlp
        kinds = getattr(config, "layer_types", None)
        sliding = kinds[number] == "sliding_attention" if kinds else config.model_type == "mistral"
        window = getattr(config, "sliding_window", None)
        if config.model_type == "qwen2" or config.model_type == "qwen3":
            window = window if sliding and getattr(config, "use_sliding_window", False) else None

        def group(*modules: Any) -> Group:
            return Group(tuple(part_of(module) for module in modules))

        def weight(module: Any) -> torch.Tensor | None:
            return None if module is None else module.weight.detach().float()

        return Layer(
            group(attention.q_proj, attention.k_proj, attention.v_proj),
            group(attention.o_proj),
            group(mlp.gate_proj, mlp.up_proj),
            group(mlp.down_proj),
            block.input_layernorm.weight.detach().float(),
            block.post_attention_layernorm.weight.detach().float(),
            weight(getattr(attention, "q_norm", None)),
            weight(getattr(attention, "k_norm", None)),
            int(window or 0) if sliding else 0,
        )

    def losses(self, pack: Pack) -> torch.Tensor:
        """The loss of each label of the pack, fp32 [m]."""
        with torch.no_grad():
            run = self._begin(pack)
            hidden = self._below(run, pack, None)
            for number in range(self._lowest, len(self._layers)):
                hidden = self._forward(run, number, hidden, keep=False)
            return self._head_losses(pack, run, hidden, gradient=False)[0]

    def forward_backward(
        self, pack: Pack, denominator: float, noise: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> torch.Tensor:
        """The losses as losses() gives them; adds d(sum / denominator) to the adapters' .grad.

        noise (NEFTune) gets the embedded rows [n, h] and returns what goes on.
        """
        with torch.no_grad():
            run = self._begin(pack)
            hidden = self._below(run, pack, noise)
            for number in range(self._lowest, len(self._layers)):
                if self._checkpointing:
                    run.inputs.append(hidden)
                hidden = self._forward(run, number, hidden, keep=not self._checkpointing)
            losses, slope = self._head_losses(pack, run, hidden, gradient=True)
            assert slope is not None
            slope /= denominator
            for number in range(len(self._layers) - 1, self._lowest - 1, -1):
                if self._checkpointing:
                    self._forward(run, number, run.inputs.pop(), keep=True)
                slope = self._backward(run, number, slope)
            return losses

    def release(self) -> None:
        """Give the memory of the last step back until the next one."""
        self._space.release()

    def remember(self, pack: Pack) -> None:
        """Keep what the layers below the first adapter make of the pack, for the epochs to come."""
        if self._frozen is not None and self._frozen.lookup(pack) is None:
            with torch.no_grad():
                self._frozen.remember(pack, self._below(self._begin(pack), pack, None))

    def _below(
        self, run: _Pass, pack: Pack, noise: Callable[[torch.Tensor], torch.Tensor] | None
    ) -> torch.Tensor:
        """What goes into the first layer with an adapter: remembered, or computed."""
        known = self._frozen.lookup(pack) if self._frozen is not None and noise is None else None
        if known is not None:
            return known
        hidden = self._embed(pack, noise)
        for number in range(self._lowest):
            hidden = self._forward(run, number, hidden, keep=False)
        return hidden

    def _begin(self, pack: Pack) -> _Pass:
        positions = torch.from_numpy(pack.positions)[None]
        cos, sin = self._rotary(torch.empty(0, dtype=torch.float32), positions)
        half = self._heads.size // 2
        longest = int(pack.positions.max()) + 1
        windows = {layer.window if layer.window < longest else 0 for layer in self._layers}
        attention = {window: TreeAttention(pack, self._heads, window) for window in windows}
        for layer in self._layers:
            attention.setdefault(layer.window, attention[layer.window if layer.window < longest else 0])
        return _Pass(
            pack.tokens,
            cos[0, :, :half].contiguous(),
            sin[0, :, :half].contiguous(),
            attention,
            torch.from_numpy(pack.sources).unique(),
        )

    def _embed(self, pack: Pack, noise: Callable[[torch.Tensor], torch.Tensor] | None) -> torch.Tensor:
        hidden = functional.embedding(torch.from_numpy(pack.ids), self._embedding).float()
        return noise(hidden) if noise else hidden

    def _head_losses(
        self, pack: Pack, run: _Pass, hidden: torch.Tensor, *, gradient: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Losses of the labels, and the slope of the last layer's output (its distinct source rows)."""
        normed, scale = norm_forward(hidden, self._final_norm, self._eps)
        sources = torch.from_numpy(pack.sources)
        place = torch.searchsorted(run.sources, sources)
        losses, slope = token_losses(
            normed.index_select(0, place), self._head, torch.from_numpy(pack.labels),
            gradient=gradient, space=self._space,
        )  # fmt: skip
        if slope is None:
            return losses, None
        upstream = torch.zeros_like(normed).index_add_(0, place, slope)
        out = torch.zeros_like(hidden)
        norm_backward(out, upstream, hidden, scale, self._final_norm)
        return losses, out

    def _forward(self, run: _Pass, number: int, x: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """One layer. The last one returns only the rows that predict something."""
        layer, space = self._layers[number], self._space
        key = number if keep and not self._checkpointing else -1
        width = x.shape[1]
        normed, x_scale = norm_forward(x, layer.input_norm, self._eps, space.get("normed", x.shape))
        qkv = layer.qkv.forward(normed, space, space.get(("qkv", key), (len(x), layer.qkv.out)))
        raw = self._rotated(layer, run, qkv, key)
        attended = space.get(("attended", key), (len(x), layer.out.inside))
        run.attention[layer.window].forward(qkv, attended, space)
        middle = layer.out.forward(attended, space, space.get(("middle", key), x.shape)).add_(x)
        if number == len(self._layers) - 1:
            middle = middle.index_select(0, run.sources)
        normed, middle_scale = norm_forward(
            middle, layer.mlp_norm, self._eps, space.get("normed", middle.shape)
        )
        gate_up = layer.gate_up.forward(
            normed, space, space.get(("gate_up", key), (len(middle), layer.gate_up.out))
        )
        half = layer.gate_up.out // 2
        active = self._silu(gate_up[:, :half]).mul_(gate_up[:, half:])
        if keep:
            run.kept.append(_Kept(x, x_scale, raw, qkv, attended, middle, middle_scale, gate_up))
        # The last layer's rows are not the next one's input, and the last but one's are still needed.
        place = ("hidden", number if keep or self._checkpointing else number % 2)
        return layer.down.forward(active, space, space.get(place, (len(middle), width))).add_(middle)

    def _silu(self, gate: torch.Tensor) -> torch.Tensor:
        active: torch.Tensor = torch.ops.aten.silu.out(gate, out=self._space.get("active", gate.shape))
        return active

    def _rotated(self, layer: Layer, run: _Pass, qkv: torch.Tensor, key: int) -> torch.Tensor | None:
        """Rotate queries (and scale them) and keys in place; what they were before a head norm, where there is one."""
        heads = self._heads
        view = qkv.view(len(qkv), heads.rows, heads.size)
        raw = None
        if layer.query_norm is not None and layer.key_norm is not None:
            raw = self._space.get(("raw", key), (len(qkv), heads.query + heads.key, heads.size))
            raw.copy_(view[:, : heads.query + heads.key])
            for part, norm in self._normed_heads(layer):
                view[:, part] = norm_forward(raw[:, part], norm, self._eps)[0]
        scale = heads.size**-0.5
        rotate(view[:, : heads.query], run.cos * scale, run.sin * scale)
        rotate(view[:, heads.query : heads.query + heads.key], run.cos, run.sin)
        return raw

    def _normed_heads(self, layer: Layer) -> list[tuple[slice, torch.Tensor]]:
        heads = self._heads
        if layer.query_norm is None or layer.key_norm is None:
            return []
        return [
            (slice(0, heads.query), layer.query_norm),
            (slice(heads.query, heads.query + heads.key), layer.key_norm),
        ]

    def _unrotated(self, layer: Layer, run: _Pass, kept: _Kept, slope: torch.Tensor) -> None:
        """The slope of the projections' output from that of the rotated queries and keys, in place."""
        heads = self._heads
        view = slope.view(len(slope), heads.rows, heads.size)
        scale = heads.size**-0.5
        rotate(view[:, : heads.query], run.cos * scale, -run.sin * scale)
        rotate(view[:, heads.query : heads.query + heads.key], run.cos, -run.sin)
        if kept.raw is None:
            return
        for part, norm in self._normed_heads(layer):
            raw = kept.raw[:, part].contiguous()
            given = view[:, part].contiguous()
            _, scales = norm_forward(raw, norm, self._eps)
            view[:, part] = 0.0
            norm_backward(view[:, part], given, raw, scales, norm)

    def _backward(self, run: _Pass, number: int, slope: torch.Tensor) -> torch.Tensor:
        """The slope of a layer's input from that of its output, adding to the adapters' gradients on the way."""
        layer, space, kept = self._layers[number], self._space, run.kept.pop()
        slope = self._mlp_backward(layer, kept, slope)
        if number == len(self._layers) - 1:
            whole = space.get("whole", kept.x.shape).zero_()
            slope = whole.index_copy_(0, run.sources, slope)
        attended = layer.out.backward(kept.attended, slope, space)
        qkv = run.attention[layer.window].backward(kept.qkv, attended, space)
        self._unrotated(layer, run, kept, qkv)
        normed = torch.mul(kept.x, kept.x_scale, out=space.get("normed", kept.x.shape)).mul_(layer.input_norm)
        if number == self._lowest:
            layer.qkv.backward(normed, qkv, space, into_input=False)
            return slope
        given = layer.qkv.backward(normed, qkv, space)
        norm_backward(slope, given, kept.x, kept.x_scale, layer.input_norm)
        return slope

    def _mlp_backward(self, layer: Layer, kept: _Kept, slope: torch.Tensor) -> torch.Tensor:
        space, half = self._space, layer.gate_up.out // 2
        gate, up = kept.gate_up[:, :half], kept.gate_up[:, half:]
        active = self._silu(gate)
        product = torch.mul(active, up, out=space.get("product", active.shape))
        given = layer.down.backward(product, slope, space)
        gate_up = space.get("gate_up slope", kept.gate_up.shape)
        torch.mul(given, active, out=gate_up[:, half:])
        torch.ops.aten.silu_backward.grad_input(given.mul_(up), gate, grad_input=gate_up[:, :half])
        normed = torch.mul(kept.middle, kept.middle_scale, out=space.get("normed", kept.middle.shape))
        given = layer.gate_up.backward(normed.mul_(layer.mlp_norm), gate_up, space)
        norm_backward(slope, given, kept.middle, kept.middle_scale, layer.mlp_norm)
        return slope
