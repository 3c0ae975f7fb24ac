"""The torch backend of the training loop: a frozen base, a LoRA adapter, AdamW."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from rolekit.engine.machine import available_memory_bytes
from rolekit.errors import RolekitError
from rolekit.train.checkpoints import State
from rolekit.train.packing import Pack
from rolekit.train.recipe import Recipe
from rolekit.train.torch_base import load_base
from rolekit.train.torch_decoder import Decoder, refusal
from rolekit.train.torch_dtype import Precision, precision
from rolekit.train.torch_linear import prepare, wide_bytes, wide_weights
from rolekit.train.torch_lora import add_lora, flatten, save_peft, trained
from rolekit.train.torch_masked import MaskedDecoder, check_family
from rolekit.train.torch_processes import Processes, join_processes

if TYPE_CHECKING:
    from peft import PeftModel


def open_torch(path: Path, recipe: Recipe, base_name: str, *, general: bool = False) -> TorchStepper:
    """The base at path with a fresh adapter, ready for the loop, on the best device of this machine.

    base_name is what the adapter calls its base. general forces the way through transformers' decoder.
    Raises RolekitError when the base cannot be read or trained.
    """
    processes = join_processes()
    chosen = precision(recipe.dtype, processes.device)
    base = load_base(path, chosen.storage, nf4=chosen.compute if recipe.lora.quantize == "nf4" else None)
    check_family(base.config.get_text_config().model_type)
    model = add_lora(base, recipe.lora, recipe.seed, base_name)
    return TorchStepper(model, recipe, chosen, processes, general=general)


class TorchStepper:
    """A peft model behind the Stepper protocol. Not for several threads at once."""

    def __init__(
        self,
        model: PeftModel,
        recipe: Recipe,
        chosen: Precision,
        processes: Processes | None = None,
        *,
        general: bool = False,
    ) -> None:
        """Moves the model to its device; general: take transformers' decoder even where ours could."""
        self._processes = processes or Processes()
        self._recipe, self._compute = recipe, chosen.compute
        self.model = model
        if next(model.parameters()).device != self._processes.device:
            model.to(self._processes.device)
        prepare(model, chosen.compute)
        self._flat = flatten(model, self._processes.device)
        reason = "it was asked for" if general else refusal(model)
        if not reason and self._processes.sharded:
            reason = "its weights are spread over processes"
        self.general_because = reason
        """Why the general way is taken; empty on the fast one."""
        self._fast = Decoder(model, checkpointing=recipe.checkpointing == "on") if not reason else None
        self._general = None if self._fast else self._masked(chosen)
        self._optimizer = _adamw(self._flat.values, self._flat.gradient, recipe)
        if recipe.lora.dropout:
            _train_dropout(model)

    def _masked(self, chosen: Precision) -> MaskedDecoder:
        if self._recipe.checkpointing == "on":
            _checkpoint_layers(self.model)
        if self._processes.sharded:
            self._processes.shard(self.model.get_base_model(), [p for _, p in trained(self.model)])
        return MaskedDecoder(self.model, chosen.compute)

    @property
    def rank(self) -> int:
        """This process's number."""
        return self._processes.rank

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return self._processes.count

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._processes.device

    @property
    def trained_parameters(self) -> int:
        """How many numbers the adapter has."""
        return int(self._flat.values.numel())

    def forward_backward(self, pack: Pack, denominator: float, key: tuple[int, int, int]) -> float:
        """Add the pack's gradient; the sum of its token losses."""
        noise = self._noise(pack, key)
        if self._fast is not None:
            return float(self._fast.forward_backward(pack, denominator, noise).sum())
        assert self._general is not None
        if self._recipe.lora.dropout:
            torch.manual_seed(_seed(key, "dropout"))
        return float(self._general.forward_backward(pack, denominator, noise))

    def _noise(self, pack: Pack, key: tuple[int, int, int]) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """NEFTune (arXiv 2310.05914): uniform noise of alpha / sqrt(length * width) on the embedded tokens."""
        alpha = self._recipe.batch.neftune
        if not alpha:
            return None
        length = int(pack.positions.max()) + 1

        def add(hidden: torch.Tensor) -> torch.Tensor:
            chance = torch.Generator().manual_seed(_seed(key, "neftune"))
            bound = float(alpha / (length * hidden.shape[-1]) ** 0.5)
            drawn = torch.empty(hidden.shape).uniform_(-bound, bound, generator=chance)
            return hidden + drawn.to(hidden)

        return add

    def remember(self, pack: Pack) -> None:
        """See Stepper.remember: only where the first layers have no adapter, and their input no noise."""
        if self._fast is not None and self.processes == 1 and not self._recipe.batch.neftune:
            self._fast.remember(pack)

    def idle(self, pack: Pack) -> None:
        """See Stepper.idle: with the base spread over processes, every one has to bring its part of the weights."""
        if self._processes.sharded and self._general is not None:
            self._general.forward_backward(pack, math.inf, None)

    def step(self, learning_rate: float, max_norm: float) -> float:
        """Sum the gradients of all processes, clip, update."""
        gradient = self._flat.gradient
        self._processes.add_up(gradient)
        norm = float(torch.linalg.vector_norm(gradient))
        if math.isfinite(norm):
            if max_norm and norm > max_norm:
                gradient.mul_(max_norm / (norm + 1e-6))
            self._optimizer.param_groups[0]["lr"] = learning_rate
            self._optimizer.step()
        self.discard()
        return norm

    def discard(self) -> None:
        """Forget the gradient."""
        self._flat.gradient.zero_()

    def evaluate(self, pack: Pack) -> float:
        """The sum of the pack's token losses."""
        if self._fast is not None:
            return float(self._fast.losses(pack).sum())
        assert self._general is not None
        with _without_dropout(self.model):
            return float(self._general.losses(pack).sum())

    def total(self, value: float) -> float:
        """The sum over all processes."""
        return self._processes.total(value)

    def state(self) -> State:
        """Adapter and moments as flat arrays."""
        moments = self._optimizer.state.get(self._optimizer.param_groups[0]["params"][0], {})
        zeros = torch.zeros_like(self._flat.values)
        return {
            "adapter": self._flat.values.cpu().numpy().copy(),
            "first": moments.get("exp_avg", zeros).cpu().numpy().copy(),
            "second": moments.get("exp_avg_sq", zeros).cpu().numpy().copy(),
            "steps": moments.get("step", torch.zeros(())).cpu().reshape(1).numpy().copy(),
        }

    def load_state(self, state: State) -> None:
        """Go on from what state() gave. Raises RolekitError when it belongs to another adapter."""
        values = self._flat.values
        if state["adapter"].shape != (values.numel(),):
            raise RolekitError(
                f"The checkpoint has {state['adapter'].size:,} trained numbers, this adapter {values.numel():,}.",
                "Train into a new folder.",
            )
        values.copy_(torch.from_numpy(state["adapter"]))
        parameter = self._optimizer.param_groups[0]["params"][0]
        self._optimizer.state[parameter] = {
            "step": torch.tensor(float(state["steps"][0]), device=values.device),
            "exp_avg": torch.from_numpy(state["first"].copy()).to(values.device),
            "exp_avg_sq": torch.from_numpy(state["second"].copy()).to(values.device),
        }

    def save_adapter(self, folder: Path) -> None:
        """A stock peft folder."""
        save_peft(self.model, folder)

    def generate(self, ids: tuple[int, ...], stop_ids: frozenset[int], max_tokens: int) -> tuple[int, ...]:
        """The most likely continuation of a prompt, without the token that ends it."""
        from transformers import DynamicCache

        base: Any = self.model.get_base_model()
        cache, given, found = DynamicCache(config=base.config), torch.tensor([ids]), list[int]()
        with torch.no_grad(), _without_dropout(self.model), self._ready_to_generate():
            for _ in range(max_tokens):
                hidden = base.model(input_ids=given.to(self.device), past_key_values=cache, use_cache=True)
                logits = base.lm_head(hidden.last_hidden_state[0, -1:])
                best = int(logits.argmax())
                if best in stop_ids:
                    break
                found.append(best)
                given = torch.tensor([[best]])
        return tuple(found)

    def _ready_to_generate(self) -> AbstractContextManager[None]:
        """Weights held in fp32 in the place of a step's buffers, where there is room for them."""
        if self._compute != torch.float32 or self.device.type != "cpu":
            return nullcontext()
        if self._fast is not None:
            self._fast.release()
        free = available_memory_bytes()
        return wide_weights(self.model) if not free or 2 * wide_bytes(self.model) < free else nullcontext()


def _adamw(values: torch.Tensor, gradient: torch.Tensor, recipe: Recipe) -> torch.optim.AdamW:
    parameter = torch.nn.Parameter(values)
    parameter.grad = gradient
    chosen = recipe.optimiser
    return torch.optim.AdamW(
        [parameter], lr=chosen.lr, betas=chosen.betas, eps=chosen.epsilon, weight_decay=chosen.weight_decay,
        fused=values.device.type in ("cpu", "cuda", "mps"),
    )  # fmt: skip


def _seed(key: tuple[int, int, int], purpose: str) -> int:
    text = f"{purpose}/{'/'.join(map(str, key))}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")


def _train_dropout(model: torch.nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "lora_dropout"):
            module.lora_dropout.train()


def _checkpoint_layers(model: PeftModel) -> None:
    """Recompute each layer's activations in the backward pass."""
    base: Any = model.get_base_model()
    for layer in base.model.layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


class _without_dropout:
    """Dropout off inside the block."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._modules = [m for m in model.modules() if isinstance(m, torch.nn.Dropout) and m.training]

    def __enter__(self) -> None:
        for module in self._modules:
            module.training = False

    def __exit__(self, *_: object) -> None:
        for module in self._modules:
            module.training = True
